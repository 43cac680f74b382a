"""A Kafka cluster of one broker in memory, the one that librdkafka brings for tests, behind a port.

    cluster.py PORT [refuse=COUNT] [user=NAME:PASSWORD]

A topic is made, with four partitions, for whoever asks for it by name. Of the requests to produce, the
first COUNT are answered that the message is too large. With a user, clients have to show its password
by SASL PLAIN, which the cluster does not know and the door in front of it does. What the cluster was
given is gone when this process is.
"""

import ctypes
import glob
import os
import socket
import struct
import sys
import threading

import confluent_kafka

PRODUCER = 0
PRODUCE, METADATA, API_VERSIONS, HANDSHAKE, AUTHENTICATE = 0, 3, 18, 17, 36
TOO_LARGE, UNSUPPORTED_MECHANISM, AUTHENTICATION_FAILED = 10, 33, 58


def library():
    packages = os.path.dirname(os.path.dirname(confluent_kafka.__file__))
    (path,) = glob.glob(os.path.join(packages, "confluent_kafka.libs", "librdkafka*"))
    rdkafka = ctypes.CDLL(path)
    for name in ["conf_new", "new", "mock_cluster_new", "mock_cluster_bootstraps"]:
        getattr(rdkafka, "rd_kafka_" + name).restype = ctypes.c_void_p
    return rdkafka


def cluster(port, refuse):
    """Starts it, announced under the door's port; says where it really is."""
    rdkafka = library()
    why = ctypes.create_string_buffer(512)
    conf = ctypes.c_void_p(rdkafka.rd_kafka_conf_new())
    client = ctypes.c_void_p(rdkafka.rd_kafka_new(PRODUCER, conf, why, len(why)))
    made = ctypes.c_void_p(rdkafka.rd_kafka_mock_cluster_new(client, 1))
    place = rdkafka.rd_kafka_mock_cluster_bootstraps(made)
    host, _, real = ctypes.string_at(place).decode().rpartition(":")
    rdkafka.rd_kafka_mock_broker_set_host_port(made, 1, b"127.0.0.1", port)
    if refuse:
        errors = (ctypes.c_int * refuse)(*[TOO_LARGE] * refuse)
        rdkafka.rd_kafka_mock_push_request_errors_array(
            made, ctypes.c_int16(PRODUCE), ctypes.c_size_t(refuse), errors
        )
    return host, int(real)


def exactly(stream, count):
    data = stream.recv(count, socket.MSG_WAITALL) if count else b""
    if len(data) < count:
        raise EOFError
    return data


def request(client):
    size = exactly(client, 4)
    return size + exactly(client, *struct.unpack(">i", size))


def answer(client, correlation, body):
    client.sendall(struct.pack(">i", 4 + len(body)) + correlation + body)


def show(client, user):
    """Lets a client in, or raises."""
    while True:
        message = request(client)
        key, version = struct.unpack(">hh", message[4:8])
        correlation = message[8:12]
        (name,) = struct.unpack(">h", message[12:14])
        body = message[14 + max(name, 0) :]
        if key == API_VERSIONS:
            known = [(PRODUCE, 3, 7), (METADATA, 0, 4), (API_VERSIONS, 0, 0)]
            known += [(HANDSHAKE, 1, 1), (AUTHENTICATE, 0, 1)]
            rows = b"".join(struct.pack(">hhh", *row) for row in known)
            error = 35 if version else 0
            answer(client, correlation, struct.pack(">hi", error, len(known)) + rows)
        elif key == HANDSHAKE:
            plain = body[2:] == b"PLAIN"
            error = 0 if plain else UNSUPPORTED_MECHANISM
            answer(client, correlation, struct.pack(">hih5s", error, 1, 5, b"PLAIN"))
        elif key == AUTHENTICATE:
            _, name, password = body[4:].split(b"\0")
            good = name + b":" + password == user
            error = 0 if good else AUTHENTICATION_FAILED
            lifetime = struct.pack(">q", 0) if version else b""
            body = struct.pack(">hhi", error, -1, 0) + lifetime
            answer(client, correlation, body)
            if good:
                return
        else:
            raise EOFError


def copy(source, to):
    try:
        while data := source.recv(65536):
            to.sendall(data)
    except OSError:
        pass
    for end in (source, to):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(client, real, user):
    try:
        if user:
            show(client, user)
        behind = socket.create_connection(real)
    except (EOFError, OSError):
        client.close()
        return
    threading.Thread(target=copy, args=(behind, client), daemon=True).start()
    copy(client, behind)


def main(port, *options):
    options = dict(option.split("=", 1) for option in options)
    real = cluster(int(port), int(options.get("refuse", 0)))
    user = options.get("user", "").encode()
    door = socket.create_server(("127.0.0.1", int(port)))
    while True:
        client, _ = door.accept()
        threading.Thread(target=serve, args=(client, real, user), daemon=True).start()


main(*sys.argv[1:])
