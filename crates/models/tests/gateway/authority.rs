//! A certificate authority of a test: as much of X.509 (RFC 5280) as a name on this machine needs.

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};

/// An authority that signs for servers.
pub(crate) struct Authority {
    keys: Ed25519KeyPair,
    name: &'static str,
}

/// A server's certificate, in DER, and its key, in PKCS #8.
pub(crate) struct Signed {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

/// A value of DER: its tag, its length, and what is in it.
fn value(tag: u8, inside: &[u8]) -> Vec<u8> {
    let length = inside.len();
    let mut all = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 128 => all.push(short),
        Ok(long) => all.extend([0x81, long]),
        Err(_) => {
            let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
            all.extend([0x82, high, low]);
        }
    }
    all.extend_from_slice(inside);
    all
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    value(0x30, &parts.concat())
}

fn object(bytes: &[u8]) -> Vec<u8> {
    value(0x06, bytes)
}

fn bits(bytes: &[u8]) -> Vec<u8> {
    value(0x03, &[&[0], bytes].concat())
}

/// Ed25519 (RFC 8410).
fn algorithm() -> Vec<u8> {
    sequence(&[object(&[0x2b, 0x65, 0x70])])
}

/// A common name.
fn name(text: &str) -> Vec<u8> {
    let pair = sequence(&[object(&[0x55, 0x04, 0x03]), value(0x0c, text.as_bytes())]);
    sequence(&[value(0x31, &pair)])
}

/// An extension that must be understood.
fn extension(id: u8, inside: &[u8]) -> Vec<u8> {
    let critical = value(0x01, &[0xff]);
    sequence(&[object(&[0x55, 0x1d, id]), critical, value(0x04, inside)])
}

fn generate() -> (Ed25519KeyPair, Vec<u8>) {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap();
    (pair, key.as_ref().to_vec())
}

impl Authority {
    pub(crate) fn new(name: &'static str) -> Self {
        let keys = generate().0;
        Self { keys, name }
    }

    /// Its own certificate, in DER.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        let authority = sequence(&[value(0x01, &[0xff])]);
        let extensions = extension(0x13, &authority);
        self.signed(self.name, self.keys.public_key().as_ref(), extensions)
    }

    /// A certificate for a server at `127.0.0.1`.
    pub(crate) fn sign(&self) -> Signed {
        let (pair, key) = generate();
        let here = value(0x87, &[127, 0, 0, 1]);
        let extensions = extension(0x11, &sequence(&[here]));
        Signed {
            certificate: self.signed("a provider", pair.public_key().as_ref(), extensions),
            key,
        }
    }

    fn signed(&self, subject: &str, public: &[u8], extensions: Vec<u8>) -> Vec<u8> {
        let version = value(0xa0, &value(0x02, &[2]));
        let from = value(0x17, b"200101000000Z");
        let until = value(0x17, b"491231235959Z");
        let said = sequence(&[
            version,
            value(0x02, &[7]),
            algorithm(),
            name(self.name),
            sequence(&[from, until]),
            name(subject),
            sequence(&[algorithm(), bits(public)]),
            value(0xa3, &sequence(&[extensions])),
        ]);
        let signature = self.keys.sign(&said);
        sequence(&[said, algorithm(), bits(signature.as_ref())])
    }
}
