//! Every way out that is not the one declared door.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};

use super::{Canaries, Finding, Probe};

/// A network that is there answers or refuses well within this time on one machine; the outer
/// limit of the whole set is kept by the host.
const WAIT: Duration = Duration::from_millis(300);

fn network(name: &'static str, run: impl Fn(&Canaries) -> Finding + 'static) -> Probe {
    Probe::new("network", name, run)
}

pub(super) fn probes() -> Vec<Probe> {
    let mut all = of_the_host();
    all.extend(of_the_world());
    all.extend(egress());
    all
}

fn of_the_host() -> Vec<Probe> {
    vec![
        network("interfaces", |_| interfaces()).fast(),
        network("routes", |_| routes()).fast(),
        network("host_loopback", |canaries| {
            connects(IpAddr::V4(Ipv4Addr::LOCALHOST), canaries.port)
        })
        .fast(),
        network("host_loopback_v6", |canaries| {
            connects(IpAddr::V6(Ipv6Addr::LOCALHOST), canaries.port)
        })
        .only_inside(),
        network("abstract_socket", |canaries| {
            let address = std::os::unix::net::SocketAddr::from_abstract_name(
                canaries.abstract_socket.as_bytes(),
            );
            let attempt = address.and_then(|address| UnixStream::connect_addr(&address));
            Finding::of(attempt, "the host's abstract socket answered")
        })
        .fast(),
        network("host_socket", |canaries| {
            Finding::of(
                UnixStream::connect(&canaries.socket),
                "the host's socket answered",
            )
        })
        .fast(),
    ]
}

fn of_the_world() -> Vec<Probe> {
    vec![
        network("metadata_service", |_| {
            connects(Ipv4Addr::new(169, 254, 169, 254).into(), 80)
        })
        .fast()
        .only_inside(),
        network("public_address", |_| {
            connects(Ipv4Addr::new(192, 0, 2, 1).into(), 443)
        })
        .fast()
        .only_inside(),
        network("private_address", |_| {
            connects(Ipv4Addr::new(10, 0, 0, 1).into(), 80)
        })
        .only_inside(),
        network("public_address_v6", |_| {
            connects(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(), 443)
        })
        .only_inside(),
        network("mapped_address_v6", |_| {
            connects(
                Ipv4Addr::new(169, 254, 169, 254).to_ipv6_mapped().into(),
                80,
            )
        })
        .only_inside(),
        network("datagram_out", |_| {
            datagram(Ipv4Addr::new(192, 0, 2, 53), 53)
        })
        .only_inside(),
        network("broadcast", |_| datagram(Ipv4Addr::BROADCAST, 9)).only_inside(),
        network("name_lookup", |_| {
            Finding::of(
                ("example.com", 443).to_socket_addrs(),
                "a name was resolved",
            )
        })
        .only_inside(),
        network("raw_socket", |_| {
            let attempt = rustix::net::socket(
                AddressFamily::INET,
                SocketType::RAW,
                Some(rustix::net::ipproto::ICMP),
            );
            Finding::of(attempt, "a raw socket was made")
        })
        .fast(),
    ]
}

fn connects(address: IpAddr, port: u16) -> Finding {
    Finding::of(
        TcpStream::connect_timeout(&SocketAddr::new(address, port), WAIT),
        "a connection was made",
    )
}

fn datagram(address: Ipv4Addr, port: u16) -> Finding {
    let attempt = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.set_broadcast(true)?;
        socket.send_to(b"probe", (address, port))
    });
    Finding::of(attempt, "a datagram was sent")
}

fn interfaces() -> Finding {
    let table = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let other = table
        .lines()
        .skip(2)
        .filter_map(|line| line.split(':').next())
        .map(str::trim)
        .find(|name| !name.is_empty() && *name != "lo");
    match other {
        Some(name) => Finding::open(format!("there is an interface {name}")),
        None if table.is_empty() => Finding::held("the list cannot be read"),
        None => Finding::held("only the loopback interface"),
    }
}

fn routes() -> Finding {
    let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
    match table.lines().nth(1) {
        Some(line) => Finding::open(line.to_owned()),
        None => Finding::held("none"),
    }
}

/// Asks the egress proxy for what it must refuse; without a proxy there is nothing to ask.
fn egress() -> Vec<Probe> {
    let asks = |name: &'static str, target: &'static str| {
        network(name, move |canaries| match canaries.egress {
            None => Finding::held("no egress"),
            Some(port) => {
                let answer = ask(
                    port,
                    &format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"),
                );
                judge(&answer)
            }
        })
        .only_inside()
    };
    vec![
        asks("egress_other_host", "not-on-the-list.invalid:443").fast(),
        asks("egress_literal_address", "1.1.1.1:443").fast(),
        asks("egress_metadata", "169.254.169.254:80").fast(),
        asks("egress_loopback", "127.0.0.1:22"),
        asks("egress_loopback_v6", "[::1]:22"),
        asks("egress_mapped_v6", "[::ffff:169.254.169.254]:80"),
        asks("egress_private", "10.0.0.1:80"),
        asks("egress_local_name", "localhost:22"),
        asks("egress_decimal_address", "2130706433:80"),
        network("egress_plain_request", |canaries| match canaries.egress {
            None => Finding::held("no egress"),
            Some(port) => judge(&ask(
                port,
                "GET http://169.254.169.254/latest/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
            )),
        })
        .only_inside(),
    ]
}

fn ask(port: u16, request: &str) -> String {
    let attempt = || -> std::io::Result<String> {
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let mut stream = TcpStream::connect_timeout(&address, WAIT)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = [0; 64];
        let length = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned())
    };
    attempt().unwrap_or_else(|error| error.to_string())
}

/// Only a plain refusal counts: silence could be an accident.
fn judge(answer: &str) -> Finding {
    let line = answer.lines().next().unwrap_or_default().to_owned();
    if line.starts_with("HTTP/1.1 403") {
        Finding::held(line)
    } else {
        Finding::open(format!("the proxy answered `{line}`"))
    }
}
