//! Clients that speak TLS, and what they trust.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use super::file::TempFile;
use super::pki::{Authority, Signed};
use super::{Client, DEADLINE, Server};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// An authority, a certificate of it for `localhost`, and their files.
pub struct House {
    pub authority: Authority,
    /// The authority's own certificate.
    pub ca: TempFile,
    /// The server's, with its key.
    pub server: TempFile,
}

impl House {
    pub fn new() -> Self {
        let authority = Authority::new("house");
        let ca = TempFile::new(&authority.pem);
        let server = TempFile::new(&authority.sign("localhost").both());
        Self { authority, ca, server }
    }

    /// A listener with its certificate. `query`: more parameters, each with `&` before it.
    pub fn listener(&self, scheme: &str, query: &str) -> String {
        let more = if scheme == "tls" { "&upstream=127.0.0.1:1" } else { "" };
        let more = if query.contains("upstream=") { "" } else { more };
        format!("{scheme}://127.0.0.1:0?tls.certificate={}{query}{more}", self.server.path())
    }

    /// What a client needs that trusts this authority; with a certificate of its own, if it has one.
    pub fn trust(&self, own: Option<&Signed>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.authority.pem)).unwrap();
        let builder =
            ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into());
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![certificate(&own.certificate)], key).unwrap()
            }
        })
    }
}

/// The same, that offers these protocols.
pub fn offering(config: &Arc<ClientConfig>, alpn: &[&str]) -> Arc<ClientConfig> {
    let mut config = (**config).clone();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// What a client that asks for that host sends first.
pub fn hello(config: &Arc<ClientConfig>, name: &str) -> Vec<u8> {
    let mut connection =
        ClientConnection::new(Arc::clone(config), name.to_owned().try_into().unwrap()).unwrap();
    let mut wire = Vec::new();
    connection.write_tls(&mut wire).unwrap();
    wire
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A client that speaks TLS.
pub struct TlsClient(pub StreamOwned<ClientConnection, TcpStream>);

impl TlsClient {
    pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        Self::connect_as(Client::connect(address), config, "localhost")
    }

    /// One that asks for that host.
    pub fn connect_as(Client { stream }: Client, config: &Arc<ClientConfig>, name: &str) -> Self {
        let name = name.to_owned().try_into().unwrap();
        let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(StreamOwned::new(connection, stream))
    }

    /// Finishes the handshake.
    pub fn shake_hands(&mut self) -> std::io::Result<()> {
        let StreamOwned { conn, sock } = &mut self.0;
        while conn.is_handshaking() {
            conn.complete_io(sock)?;
        }
        Ok(())
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
        self.0.flush().unwrap();
    }

    pub fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let mut got = vec![0; expected.as_ref().len()];
        self.0.read_exact(&mut got).unwrap();
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected.as_ref()));
    }

    /// The next line, without its end.
    pub fn next_line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        String::from_utf8_lossy(&line[..line.len() - 2]).into_owned()
    }

    /// Sends something and receives that.
    pub fn asks(&mut self, bytes: impl AsRef<[u8]>, expected: impl AsRef<[u8]>) {
        self.send(bytes);
        self.expect(expected);
    }

    /// Says that nothing follows; the socket stays open.
    pub fn say_last_word(&mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().unwrap();
    }

    /// Sends something, and is refused.
    pub fn expect_refusal(mut self) {
        assert!(self.0.write_all(b"x").and_then(|()| self.0.read_exact(&mut [0])).is_err());
    }

    /// Reads to the server's last word, behind nothing else.
    pub fn expect_end(&mut self) {
        assert_eq!(self.0.read(&mut [0; 64]).unwrap(), 0, "its last word, not a FIN alone");
    }
}

impl Server {
    /// A client of that listener that has finished its handshake.
    pub fn connect_tls(&self, listener: &str, config: &Arc<ClientConfig>) -> TlsClient {
        let mut client = TlsClient::connect(self.address(listener), config);
        client.shake_hands().unwrap();
        client
    }
}
