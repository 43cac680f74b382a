//! A server that speaks the protocol of S3, with a bucket, and a link to it that can be cut: moto,
//! which keeps everything in its memory. It ends with the test.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The bucket's name, which is its own percent-encoding.
pub(crate) const BUCKET: &str = "matrixblobs";

/// How often a server that begins is asked whether it is there, 50 ms apart.
const LOOKS: u32 = 1_200;

pub(crate) struct Bucket {
    server: Child,
    place: SocketAddr,
}

impl Bucket {
    /// Starts a server with an empty bucket.
    pub(crate) fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = free.local_addr().unwrap();
        drop(free);
        let server = Command::new(program())
            .args(["-H", "127.0.0.1", "-p", &place.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let bucket = Self { server, place };
        for _ in 0..LOOKS {
            if TcpStream::connect(place).is_ok() {
                let (status, text) = bucket.ask("PUT", &format!("/{BUCKET}"), b"");
                assert_eq!(status, 200, "{text}");
                return bucket;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server does not answer");
    }

    /// Where the server itself is.
    pub(crate) fn place(&self) -> SocketAddr {
        self.place
    }

    /// The names of the objects that begin with this.
    pub(crate) fn names(&self, beginning: &str) -> Vec<String> {
        let path = format!("/{BUCKET}?list-type=2&prefix={beginning}");
        let (status, text) = self.ask("GET", &path, b"");
        assert_eq!(status, 200, "{text}");
        let keys = text.split("<Key>").skip(1);
        keys.map(|rest| rest.split('<').next().unwrap().to_owned())
            .collect()
    }

    /// Replaces an object behind everybody's back.
    pub(crate) fn overwrite(&self, name: &str, bytes: &[u8]) {
        let (status, text) = self.ask("PUT", &format!("/{BUCKET}/{name}"), bytes);
        assert_eq!(status, 200, "{text}");
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.place).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/s3/aws4_request, \
             SignedHeaders=host, Signature=0\r\nConnection: close\r\n\r\n",
            self.place
        )
        .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.unwrap_or_else(|| panic!("no status: {text}")), text)
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

/// The server's program, in the environment that `cargo xtask test` makes beside the tests. A
/// machine without it fails the test.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let found = own
        .ancestors()
        .map(|folder| folder.join("test-stores/bin/moto_server"))
        .find(|program| program.exists());
    found.unwrap_or_else(|| {
        panic!(
            "moto is not installed, so nothing can be said about object stores: \
             run `cargo xtask test`, which does that"
        )
    })
}

/// A way to a server that can be cut and mended, which is how a server looks that ends and is
/// started again with what it had.
pub(crate) struct Link {
    place: SocketAddr,
    to: SocketAddr,
    open: Mutex<Option<Arc<AtomicBool>>>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Link {
    pub(crate) fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = Self {
            place: listener.local_addr().unwrap(),
            to,
            open: Mutex::default(),
            streams: Arc::default(),
        };
        link.listen(listener);
        link
    }

    pub(crate) fn place(&self) -> SocketAddr {
        self.place
    }

    fn listen(&self, listener: TcpListener) {
        let open = Arc::new(AtomicBool::new(true));
        *self.open.lock().unwrap() = Some(Arc::clone(&open));
        let (to, streams) = (self.to, Arc::clone(&self.streams));
        std::thread::spawn(move || {
            for incoming in listener.incoming() {
                if !open.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(near), Ok(far)) = (incoming, TcpStream::connect(to)) else {
                    continue;
                };
                let mut kept = streams.lock().unwrap();
                kept.extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                drop(kept);
                carry(near.try_clone().unwrap(), far.try_clone().unwrap());
                carry(far, near);
            }
        });
    }

    /// Nobody is reached through it any more.
    pub(crate) fn cut(&self) {
        if let Some(open) = self.open.lock().unwrap().take() {
            open.store(false, Ordering::SeqCst);
            // Whoever listens looks once more, and ends.
            drop(TcpStream::connect(self.place));
        }
        for stream in self.streams.lock().unwrap().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    pub(crate) fn mend(&self) {
        self.listen(self.bind());
    }

    /// Listens in the server's place.
    pub(crate) fn bind(&self) -> TcpListener {
        for _ in 0..LOOKS {
            // The listener before may still be on its way out.
            if let Ok(listener) = TcpListener::bind(self.place) {
                return listener;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the link's place is taken");
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        drop(std::io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Write));
    });
}
