//! What lies between a socket and a session: nothing, or a layer.
//!
//! On a plain listener the bytes of the socket are those of the session: [`recv`] is a receive of the socket and no more,
//! and a connection remembers nothing for it. A [`Layer`] makes bytes of the wire, which the socket carries, into bytes of
//! the session, and back. It is pure: it never sees the socket, so that it can be driven by a simulated kernel and fed in
//! any chunks. [`recv_through`] is the one place where it meets a socket.
//!
//! What follows from a layer for a connection is in `reactor/layered.rs`. The rules:
//!
//! - **Drained is the transport's word.** Nothing is left to be read when the socket is drained *and* the layer holds
//!   nothing. The edge of the socket is gone by then: who stops reading earlier is posted, as with a plain socket.
//! - **Output that waits is bytes of the wire.** It is encoded before it is queued. So bounds, watermarks, the flush and
//!   the close see what is really left to be sent, and what a layer says of its own stands in its place among it.
//! - **The end of the stream is the layer's, the FIN is the socket's.** A peer whose layer has said that nothing follows
//!   is answered in kind, and its FIN is waited for, as ever. A FIN before that word may have cut the stream.
//!
//! Before the first byte of either there may be a header, which says who the client is: [`proxy`]. It is read, and then it
//! is gone; what is behind it is for the layer, or for the session. Where TLS passes through, its first message is looked at,
//! and stays part of what passes: [`HelloReader`].
//!
//! A layer is a folder here, a variant of [`Transport`], and an arm of [`Transport::accept`]. A variant holds what all
//! connections of a listener share, such as keys and certificates; it is put into the listener's state where that is made
//! (`reactor/parts/listener.rs`). `toy` is a layer that only tests speak: the shortest way to see what one needs.

pub mod proxy;
#[cfg(test)]
mod tests;
mod tls;
#[cfg(test)]
mod toy;

use crate::core::buf::ByteQueue;
use crate::core::secured::{Certificate, Secured};
use crate::net::{self, SocketError, Stream};
use crate::protocol::ProtocolError;
use std::fmt;
use tls::Tls;
pub use tls::hello::{Begin, HelloReader, WIRE_BYTES_MAX as HELLO_BYTES_MAX};
#[cfg(test)]
pub(crate) use toy::Toy;

/// What lies between the sockets of a listener and their sessions.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Nothing.
    Plain,
    /// TLS.
    Tls(crate::tls::Server),
    /// Records that only tests speak.
    #[cfg(test)]
    Toy,
}

impl Transport {
    /// That of a listener with these certificates.
    pub fn new(tls: Option<&crate::tls::Server>) -> Self {
        tls.map_or(Self::Plain, |server| Self::Tls(server.clone()))
    }

    /// The layer of a connection that was just accepted.
    #[inline]
    pub fn accept(&self) -> Option<Box<dyn Layer>> {
        if self.is_plain() { None } else { self.layer() }
    }

    #[inline(never)]
    fn layer(&self) -> Option<Box<dyn Layer>> {
        match self {
            Self::Plain => None,
            Self::Tls(server) => Some(Box::new(Tls::accept(server))),
            #[cfg(test)]
            Self::Toy => Some(Box::new(Toy::server())),
        }
    }

    /// Lets sessions be resumed by tickets with these keys from now on, where there are any.
    pub fn use_ticket_keys(&self, keys: &crate::tls::TicketKeys) {
        match self {
            Self::Tls(server) => server.use_ticket_keys(keys),
            Self::Plain => {}
            #[cfg(test)]
            Self::Toy => {}
        }
    }

    /// Whether nothing lies between.
    pub const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }
}

/// The layer of a connection that is being made to an upstream server.
pub fn connect(tls: &crate::tls::Client) -> Box<dyn Layer> {
    Box::new(Tls::connect(tls))
}

/// How far the peer has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The opening exchange is not over: there are no bytes of a session yet.
    Opening,
    /// Bytes of the session come.
    Open,
    /// No more of them come: the peer has said so, or it broke the rules of the layer. Only its FIN counts.
    Ended,
}

/// One connection's layer. Bytes of the wire for the peer go to a queue that is given with each call.
pub trait Layer: fmt::Debug {
    /// Takes all that the socket has brought, which may begin and end anywhere, and holds what is for the session until
    /// it is [taken](Self::take). Called only while nothing is held, and not any more once it is [`Phase::Ended`].
    ///
    /// What it keeps of an unfinished record, and what it makes of one call, is bounded.
    ///
    /// # Errors
    /// When the peer broke the rules of the layer. Its phase is [`Phase::Ended`] then.
    fn receive(&mut self, wire: &[u8], answer: &mut ByteQueue) -> Result<(), ProtocolError>;

    /// Says what comes first, if we are who begins.
    fn begin(&mut self, wire: &mut ByteQueue) {
        let _ = wire;
    }

    /// Moves bytes for the session to `buffer`, as far as there are and they fit; says how many.
    fn take(&mut self, buffer: &mut [u8]) -> usize;

    /// Bytes for the session that are held.
    fn held(&self) -> usize;

    /// How far the peer has come.
    fn phase(&self) -> Phase;

    /// Encodes bytes of the session. Called only while it [can send](Self::can_send).
    fn send(&mut self, bytes: &[u8], wire: &mut ByteQueue);

    /// Whether bytes of the session can be sent: the opening exchange is over, and we have not said that nothing follows.
    fn can_send(&self) -> bool;

    /// Says that nothing follows, unless that was said before or cannot be said.
    fn finish(&mut self, wire: &mut ByteQueue);

    /// Whether its opening exchange has gone on from an earlier connection's.
    fn is_resumed(&self) -> bool {
        false
    }

    /// Bytes of the session that it has received and sent, if it counts them.
    fn traffic(&self) -> Option<(u64, u64)> {
        None
    }

    /// The identity that the peer has proved, once it is open; empty: it should have, and what it has shown has no such name.
    fn identity(&self) -> Option<String> {
        None
    }

    /// What the peer has asked for, as far as that is known, if it is a client.
    fn secured(&self) -> Option<Secured> {
        None
    }

    /// The certificate that the peer has shown, which is read for it each time.
    fn certificate(&self) -> Option<Certificate> {
        None
    }

    /// What is sent may have been cut on its way to us: it is not to be said that nothing follows.
    fn forgo_last_word(&mut self);

    /// Memory that it holds, in bytes, itself included.
    fn memory(&self) -> usize;
}

/// What a receive has brought to a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// Bytes.
    Bytes {
        /// How many are for it; 0: all of them were the layer's own.
        count: usize,
        /// How many were received from the socket; 0: the layer had held them.
        wire: usize,
        /// The socket has given less than it was asked for, and the layer holds nothing.
        short: bool,
    },
    /// End of file: the peer's FIN. Also what follows an error that was already returned.
    Eof,
    /// Nothing now (EAGAIN), and nothing is held.
    WouldBlock,
    /// A signal came first (EINTR): not an ending, try again.
    Interrupted,
    /// The connection has failed.
    Failed(SocketError),
}

/// Receives from a socket without a layer.
#[inline]
pub fn recv(stream: &mut impl Stream, buffer: &mut [u8]) -> Received {
    match stream.recv(buffer) {
        net::Received::Bytes(count) => Received::Bytes { count, wire: count, short: count < buffer.len() },
        net::Received::Eof => Received::Eof,
        net::Received::WouldBlock => Received::WouldBlock,
        net::Received::Interrupted => Received::Interrupted,
        net::Received::Failed(fault) => Received::Failed(fault),
    }
}

/// Receives through a layer: what it holds, else what the socket brings, for which it may have an `answer`. With it comes how
/// the peer broke the rules of the layer, if it did.
pub fn recv_through(
    layer: &mut dyn Layer,
    stream: &mut impl Stream,
    buffer: &mut [u8],
    answer: &mut ByteQueue,
) -> (Received, Option<ProtocolError>) {
    let held = layer.take(buffer);
    if held > 0 {
        // What the socket has by now is not known.
        return (Received::Bytes { count: held, wire: 0, short: false }, None);
    }
    let received = recv(stream, buffer);
    pass_through(layer, received, buffer, answer)
}

/// Passes on what was `received` into `buffer`, by a layer that holds nothing.
pub fn pass_through(
    layer: &mut dyn Layer,
    received: Received,
    buffer: &mut [u8],
    answer: &mut ByteQueue,
) -> (Received, Option<ProtocolError>) {
    let Received::Bytes { wire, short, .. } = received else { return (received, None) };
    let before = layer.phase();
    if before == Phase::Ended {
        return (Received::Bytes { count: 0, wire, short }, None);
    }
    if let Err(error) = layer.receive(&buffer[..wire], answer) {
        return (Received::Bytes { count: 0, wire, short: false }, Some(error));
    }
    // Who was not open yet may have to wait before it is heard.
    let count = if before == Phase::Opening { 0 } else { layer.take(buffer) };
    // That the peer has ended is told by the next receive, behind these bytes.
    let short = short && layer.held() == 0 && layer.phase() != Phase::Ended;
    (Received::Bytes { count, wire, short }, None)
}
