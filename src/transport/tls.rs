//! TLS as a layer (RFC 8446): rustls, fed with what sockets bring, and drained of what it says.
//!
//! rustls reads 4 KiB at a time and holds no more than a record or two of plaintext; it is given the rest once that was
//! moved on. What it holds for the session stays with it until it is taken, so that a byte is copied once less; only what
//! more of one receive brings is kept here.

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enums of rustls grow, and what is new has no words yet"
)]
mod failure;
pub(super) mod hello;
mod old_hello;
#[cfg(test)]
mod tests;

use super::{Layer, Phase};
use crate::core::buf::ByteQueue;
use crate::core::secured::{Alpn, Certificate, Secured};
use crate::protocol::ProtocolError;
use crate::tls;
use failure::{FirstBytes, TOO_LONG, is_too_long, oversized, refusal};
use rustls::{ClientConnection, Connection, Error, HandshakeKind, ProtocolVersion, ServerConnection};
use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

/// Plaintext that rustls holds before it takes nothing more (`common_state.rs: DEFAULT_RECEIVED_PLAINTEXT_LIMIT`).
const HELD_MAX: usize = 16 * 1024;
/// What rustls itself takes for a connection that is open, beside its struct: a buffer of 4 KiB for what is received, and
/// the state of two ciphers on the heap (measured: `benches/RESULTS.md`).
const INSIDE: usize = 4096 + 1024;

/// One connection's.
pub(crate) struct Tls {
    connection: Connection,
    phase: Phase,
    /// We have said that nothing follows.
    finished: bool,
    /// We are not to say so.
    forgone: bool,
    /// What came first, while nothing is known to be TLS.
    first: FirstBytes,
    /// Plaintext that rustls holds, in bytes.
    held: usize,
    /// What came before that and had to make room for it.
    before: ByteQueue,
    identity: Option<tls::Field>,
    /// Bytes of the session, received and sent.
    traffic: (u64, u64),
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("phase", &self.phase).field("held", &self.held).finish_non_exhaustive()
    }
}

impl Tls {
    /// The server's side of a connection that was just accepted.
    pub(crate) fn accept(server: &tls::Server) -> Self {
        let connection = ServerConnection::new(Arc::clone(&server.config))
            .expect("what it needs was there when it was loaded");
        Self::new(Connection::Server(connection), server.identity())
    }

    /// The client's side of a connection that is being made.
    pub(crate) fn connect(client: &tls::Client) -> Self {
        let connection = ClientConnection::new(Arc::clone(&client.config), client.name());
        Self::new(Connection::Client(connection.expect("there is randomness, and the name is sound")), None)
    }

    fn new(mut connection: Connection, identity: Option<tls::Field>) -> Self {
        // What is written is taken at once.
        connection.set_buffer_limit(None);
        Self {
            connection,
            phase: Phase::Opening,
            finished: false,
            forgone: false,
            first: FirstBytes::default(),
            held: 0,
            before: ByteQueue::default(),
            identity,
            traffic: (0, 0),
        }
    }

    /// Moves what rustls holds for the session out of its way.
    fn make_room(&mut self) {
        let mut plaintext = vec![0; self.held];
        let count = read(&mut self.connection, &mut plaintext);
        plaintext.truncate(count);
        self.before.append(plaintext);
        self.held = 0;
    }

    fn process(&mut self, mut wire: &[u8]) -> Result<(), Error> {
        while !wire.is_empty() && self.phase != Phase::Ended {
            if self.held >= HELD_MAX {
                self.make_room();
            }
            // It fails when it holds too much, which was just seen to: a record or a message over its bound.
            if self.connection.read_tls(&mut wire).is_err() {
                return Err(Error::PeerSentOversizedRecord);
            }
            let state = self.connection.process_new_packets()?;
            let held = state.plaintext_bytes_to_read();
            self.traffic.0 += (held - self.held) as u64;
            self.held = held;
            if state.peer_has_closed() {
                self.phase = Phase::Ended;
            } else if !self.connection.is_handshaking() {
                self.phase = Phase::Open;
            }
        }
        Ok(())
    }

    fn write(&mut self, wire: &mut ByteQueue) {
        let mut wire = Queue(wire);
        while self.connection.wants_write() {
            self.connection.write_tls(&mut wire).expect("a queue takes all");
        }
    }
}

impl Layer for Tls {
    fn receive(&mut self, wire: &[u8], answer: &mut ByteQueue) -> Result<(), ProtocolError> {
        if self.phase == Phase::Opening {
            self.first.note(wire);
        }
        let outcome = self.process(wire);
        let before = answer.len();
        // Nothing follows our last word, whatever rustls has to say of what comes.
        let mut unsaid = ByteQueue::default();
        self.write(if self.finished { &mut unsaid } else { &mut *answer });
        outcome.map_err(|error| {
            self.phase = Phase::Ended;
            // Nothing follows our alert.
            self.finished = true;
            let is_first = self.connection.negotiated_cipher_suite().is_none();
            if is_first && is_too_long(&error) && matches!(self.connection, Connection::Server(_)) {
                answer.push(&TOO_LONG);
                return oversized("the client's first message of TLS is longer than 64 KiB");
            }
            let said = &answer.as_slice()[before..];
            match self.connection {
                Connection::Client(_) => refusal(&error, said, None),
                Connection::Server(_) => refusal(&error, said, Some(&self.first)),
            }
        })
    }

    fn begin(&mut self, wire: &mut ByteQueue) {
        self.write(wire);
    }

    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let early = self.before.len().min(buffer.len());
        if early > 0 {
            buffer[..early].copy_from_slice(&self.before.as_slice()[..early]);
            self.before.consume(early);
            if self.before.is_empty() {
                self.before.reset(0);
            }
            return early;
        }
        if self.held == 0 {
            return 0;
        }
        let count = read(&mut self.connection, buffer);
        self.held -= count;
        count
    }

    fn held(&self) -> usize {
        self.before.len() + self.held
    }

    fn phase(&self) -> Phase {
        self.phase
    }

    fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    fn traffic(&self) -> Option<(u64, u64)> {
        Some(self.traffic)
    }

    fn send(&mut self, bytes: &[u8], wire: &mut ByteQueue) {
        self.connection.writer().write_all(bytes).expect("there is no limit to what it takes");
        let before = wire.len();
        self.write(wire);
        if wire.len() < before + bytes.len() {
            // It has said its last word by itself: as many records as one key is good for (RFC 8446, 5.5).
            self.finished = true;
            return;
        }
        self.traffic.1 += bytes.len() as u64;
    }

    fn can_send(&self) -> bool {
        !self.finished && !self.connection.is_handshaking()
    }

    fn finish(&mut self, wire: &mut ByteQueue) {
        if self.can_send() && !self.forgone {
            self.connection.send_close_notify();
            self.write(wire);
        }
        self.finished = true;
    }

    fn identity(&self) -> Option<String> {
        let field = self.identity?;
        let certificate = self.connection.peer_certificates()?.first()?;
        Some(tls::identity(certificate, field).unwrap_or_default())
    }

    fn secured(&self) -> Option<Secured> {
        let Connection::Server(connection) = &self.connection else { return None };
        let version = connection.protocol_version().filter(|_| !connection.is_handshaking());
        Some(Secured {
            server_name: connection.server_name().map(str::to_owned),
            alpn: Alpn(connection.alpn_protocol().map(<[u8]>::to_vec).into_iter().collect()),
            version: version
                .map(|version| if version == ProtocolVersion::TLSv1_2 { "TLSv1.2" } else { "TLSv1.3" }),
        })
    }

    fn certificate(&self) -> Option<Certificate> {
        let shown = self.connection.peer_certificates()?.first()?;
        Some(Certificate { common_name: tls::common_name(shown) })
    }

    fn forgo_last_word(&mut self) {
        self.forgone = true;
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + INSIDE + self.before.capacity() + self.held
    }
}

/// Reads plaintext that is there.
fn read(connection: &mut Connection, buffer: &mut [u8]) -> usize {
    // It fails where there is none, which says as much.
    let mut count = 0;
    while count < buffer.len()
        && let Ok(more @ 1..) = connection.reader().read(&mut buffer[count..])
    {
        count += more;
    }
    count
}

/// A queue that is written to.
struct Queue<'a>(&'a mut ByteQueue);

impl Write for Queue<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
