//! Joining a loopback port inside to a Unix socket outside, in either direction.
//!
//! The first process inside does this with plain threads. It holds what the host opened for it;
//! the program inside holds neither the socket nor its path.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::launcher::enter::Door;
use crate::spec::Network;

/// Connections at once; more are closed at once.
const CONNECTIONS: usize = 128;

/// Threads of ours inside: the first process, and two for each connection it forwards. They count
/// in the sandbox's number of processes, which is raised by as many.
pub(crate) const fn threads(network: &Network) -> u64 {
    match network {
        Network::None => 2,
        Network::Egress { .. } | Network::Publish { .. } => 2 + 2 * CONNECTIONS as u64,
    }
}

/// A door with its inner side listening.
pub(crate) enum Listening {
    Closed,
    Out {
        listener: TcpListener,
        socket: OwnedFd,
    },
    In {
        listener: UnixListener,
        port: u16,
    },
}

/// Opens the inner side.
pub(crate) fn listen(door: Door) -> io::Result<Listening> {
    Ok(match door {
        Door::Closed => Listening::Closed,
        Door::Out { port, socket } => Listening::Out {
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, port))?,
            socket,
        },
        Door::In { port, listener } => Listening::In { listener, port },
    })
}

/// Forwards until the process ends.
pub(crate) fn serve(door: Listening) {
    match door {
        Listening::Closed => {}
        Listening::Out { listener, socket } => spawn(move || outward(&listener, &socket)),
        Listening::In { listener, port } => spawn(move || inward(&listener, port)),
    }
}

/// A thread that could not be started closes what it was given.
fn spawn(work: impl FnOnce() + Send + 'static) {
    drop(thread::Builder::new().stack_size(256 << 10).spawn(work));
}

fn outward(listener: &TcpListener, socket: &OwnedFd) {
    // The descriptor names the socket even where its path no longer exists.
    let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
    let open = Arc::new(AtomicUsize::new(0));
    for inner in listener.incoming().flatten() {
        let Some(place) = Place::take(&open) else {
            continue;
        };
        let path = path.clone();
        spawn(move || {
            if let Ok(outer) = UnixStream::connect(path) {
                join(&inner, &outer);
            }
            drop(place);
        });
    }
}

fn inward(listener: &UnixListener, port: u16) {
    let open = Arc::new(AtomicUsize::new(0));
    for outer in listener.incoming().flatten() {
        let Some(place) = Place::take(&open) else {
            continue;
        };
        spawn(move || {
            if let Ok(inner) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                join(&inner, &outer);
            }
            drop(place);
        });
    }
}

/// One of the places for connections.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let before = open.fetch_add(1, Ordering::AcqRel);
        let place = Self(Arc::clone(open));
        (before < CONNECTIONS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Copies both ways until both have ended.
fn join(inner: &TcpStream, outer: &UnixStream) {
    thread::scope(|scope| {
        let back = thread::Builder::new()
            .stack_size(256 << 10)
            .spawn_scoped(scope, || {
                copy(&mut &*outer, &mut &*inner);
                drop(inner.shutdown(Shutdown::Write));
                drop(outer.shutdown(Shutdown::Read));
            });
        if back.is_err() {
            drop(inner.shutdown(Shutdown::Both));
            drop(outer.shutdown(Shutdown::Both));
            return;
        }
        copy(&mut &*inner, &mut &*outer);
        drop(outer.shutdown(Shutdown::Write));
        drop(inner.shutdown(Shutdown::Read));
    });
}

fn copy(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = vec![0; 32 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if to
                    .write_all(buffer.get(..length).unwrap_or_default())
                    .is_err()
                {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
