//! Providers behind TLS: whose certificates are believed, and what is spoken.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use matrix_models::registry::ProviderKind;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::authority::Authority;
use crate::site::{Site, asking, question};
use crate::transcripts::{self, Has};

type Secured = StreamOwned<ServerConnection, TcpStream>;

/// What HTTP/2 begins with (RFC 9113).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frames, and flags of theirs.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A provider behind TLS that answers one call.
struct Secure {
    port: u16,
    /// What it spoke with the first one who believed it.
    spoken: JoinHandle<String>,
}

impl Secure {
    fn start(authority: &Authority, protocols: &[&str]) -> Self {
        let signed = authority.sign();
        let chain = vec![CertificateDer::from(signed.certificate)];
        let key = PrivateKeyDer::Pkcs8(signed.key.into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = builder.with_no_client_auth().with_single_cert(chain, key);
        let mut config = config.unwrap();
        let names = protocols.iter().map(|name| name.as_bytes().to_vec());
        config.alpn_protocols = names.collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let spoken = std::thread::spawn(move || {
            let config = Arc::new(config);
            loop {
                let (stream, _) = listener.accept().unwrap();
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                // Who does not believe it hangs up, and may come again.
                if let Ok(spoken) = answer(StreamOwned::new(connection, stream)) {
                    return spoken;
                }
            }
        });
        Self { port, spoken }
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}

fn answer(mut stream: Secured) -> std::io::Result<String> {
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    let body = transcripts::whole("openai", Has::Words);
    let protocol = stream.conn.alpn_protocol().unwrap_or_default().to_vec();
    if protocol == b"h2" {
        second(&mut stream, &body)?;
    } else {
        first(&mut stream, &body)?;
    }
    Ok(String::from_utf8(protocol).unwrap())
}

/// One answer over HTTP/1.1.
fn first(stream: &mut Secured, body: &str) -> std::io::Result<()> {
    let mut asked = Vec::new();
    while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut more = [0; 4096];
        let count = stream.read(&mut more)?;
        asked.extend_from_slice(&more[..count]);
    }
    let length = body.len();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
    write!(stream, "{head}\r\ncontent-length: {length}\r\n\r\n{body}")?;
    stream.flush()
}

/// One answer over HTTP/2.
fn second(stream: &mut Secured, body: &str) -> std::io::Result<()> {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface)?;
    assert_eq!(preface, PREFACE);
    frame(stream, (SETTINGS, 0, 0), &[])?;
    let asked = loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut inside = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut inside)?;
        match kind {
            SETTINGS if flags & ACK == 0 => frame(stream, (SETTINGS, ACK, 0), &[])?,
            HEADERS | DATA if flags & END_STREAM != 0 => break u32::from_be_bytes(id),
            _ => {}
        }
    };
    // `:status: 200` of the table of HPACK (RFC 7541).
    frame(stream, (HEADERS, END_HEADERS, asked), &[0x88])?;
    frame(stream, (DATA, END_STREAM, asked), body.as_bytes())?;
    // The asker may still say that it has heard.
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest));
    Ok(())
}

fn frame(
    stream: &mut Secured,
    (kind, flags, id): (u8, u8, u32),
    inside: &[u8],
) -> std::io::Result<()> {
    let length = u32::try_from(inside.len()).unwrap().to_be_bytes();
    let mut all = length[1..].to_vec();
    all.extend([kind, flags]);
    all.extend(id.to_be_bytes());
    all.extend_from_slice(inside);
    stream.write_all(&all)?;
    stream.flush()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_ones_own_is_believed_and_the_newer_protocol_is_spoken() {
    let authority = Authority::new("an authority");
    for (offered, spoken) in [
        (&["h2", "http/1.1"][..], "h2"),
        (&["http/1.1"], "http/1.1"),
        (&[], ""),
    ] {
        let site = Site::new().await;
        let provider = Secure::start(&authority, offered);
        site.model("m", ProviderKind::Openai, &provider.url()).await;
        let root = authority.certificate();
        let gateway = site.reaching(|options| options.roots = vec![root]);
        let answered = gateway.chat(&asking("m"), question()).await.unwrap();
        assert!(!answered.answer.choices[0].text().is_empty());
        drop(gateway);
        let said = tokio::task::spawn_blocking(|| provider.spoken.join());
        assert_eq!(said.await.unwrap().unwrap(), spoken);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_is_not_believed_and_the_error_says_where_to_name_it() {
    let site = Site::new().await;
    let provider = Secure::start(&Authority::new("an authority"), &["h2"]);
    site.model("m", ProviderKind::Openai, &provider.url()).await;
    // The same name does not make it the same authority.
    let roots = [
        Vec::new(),
        vec![Authority::new("an authority").certificate()],
    ];
    for roots in roots {
        let gateway = site.reaching(|options| options.roots = roots);
        let error = gateway.chat(&asking("m"), question()).await.unwrap_err();
        assert_eq!(error.code().text, "MODEL-0007");
        let text = error.to_string();
        assert!(
            text.contains("not trusted") && text.contains("`ca` under [models]"),
            "{text}"
        );
    }
}

#[test]
fn certificates_are_read_from_a_file_in_pem() {
    use base64::Engine as _;
    use matrix_models::provider::certificates;
    let authority = Authority::new("an authority").certificate();
    let body = base64::engine::general_purpose::STANDARD.encode(&authority);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let read = certificates(format!("# Ours\n{pem}{pem}").as_bytes()).unwrap();
    assert_eq!(read, [authority.clone(), authority]);
    assert_eq!(certificates(b"no certificate"), Ok(Vec::new()));
    let cut = pem.replace("-----END", "");
    assert!(certificates(cut.as_bytes()).is_err());
}
