//! One client's life, and what is kept of it: about 140 bytes, of which an idle one owns nothing more.

use super::faults::Fault;
use super::proto::Session;
use super::secure::Secure;
use crate::core::buf::ByteQueue;
use crate::core::table::Occupant;
use crate::core::time::Instant;
use crate::net::{Sent, SocketError, Stream};

/// Where in its life a client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The handshake is under way.
    Connecting,
    /// It has said who it is, and waits for the answer.
    Greeting,
    /// It sends requests and heartbeats.
    Up,
    /// It is about to commit its fault, or to leave, once its requests are answered. Nothing else would be
    /// fair: a close with an answer on its way is a reset, whatever was meant.
    Quieting,
    /// It has committed its fault, and stays connected.
    Misbehaving,
    /// It reads again what it had not taken for so long. It is heard in time, and asks for nothing more.
    CatchingUp,
    /// It has said its last, and closes once the server has answered.
    Leaving,
}

/// A client.
#[derive(Debug)]
pub struct Client<S> {
    /// Its connection.
    pub stream: S,
    generation: u32,
    /// Its number in the ledger.
    pub number: u32,
    /// Where in its life it is.
    pub state: State,
    /// What it is going to commit, or has.
    pub fault: Option<Fault>,
    /// It is in the ring of those that have room for a request.
    pub queued: bool,
    /// Requests given to it in this turn and not yet handed to the kernel.
    pub dispatched: u32,
    /// Requests without an answer.
    pub in_flight: u32,
    /// Place of the oldest of them in its ring of times. Of a fault that goes on: its steps so far.
    pub oldest: u32,
    /// When it began to connect, or to misbehave.
    pub since: Instant,
    /// When it last sent anything.
    pub spoke: Instant,
    /// When it commits its fault, or takes the next step of it.
    pub act_at: Instant,
    /// Where in the answers it is.
    pub session: Session,
    /// Its side of TLS, if it speaks that.
    pub secure: Option<Box<Secure>>,
    /// What the kernel had no room for.
    unsent: Option<Box<ByteQueue>>,
}

impl<S> Occupant for Client<S> {
    fn generation(&self) -> u32 {
        self.generation
    }
}

impl<S: Stream> Client<S> {
    /// One that begins to connect.
    pub fn new(stream: S, generation: u32, number: u32, now: Instant) -> Self {
        Self {
            stream,
            generation,
            number,
            state: State::Connecting,
            fault: None,
            queued: false,
            dispatched: 0,
            in_flight: 0,
            oldest: 0,
            since: now,
            spoke: now,
            act_at: Instant::NEVER,
            session: Session::default(),
            secure: None,
            unsent: None,
        }
    }

    /// Sends `bytes` behind what waits; how many the kernel took now. A failure is told by the next receive,
    /// which also has what the server said before.
    pub fn transmit(&mut self, bytes: &[u8], now: Instant) -> u64 {
        self.spoke = now;
        match self.encoded(bytes) {
            Some(wire) => self.push(wire.as_slice()),
            None => self.push(bytes),
        }
    }

    /// Sends bytes of the wire behind what waits; how many the kernel took now.
    pub(super) fn push(&mut self, bytes: &[u8]) -> u64 {
        if let Some(unsent) = &mut self.unsent {
            unsent.push(bytes);
            return self.flush();
        }
        let sent = send_all(&mut self.stream, bytes);
        if sent < bytes.len() {
            self.unsent.get_or_insert_default().push(&bytes[sent..]);
        }
        sent as u64
    }

    /// Sends what waits, as far as the kernel takes it; how many bytes that were.
    pub fn flush(&mut self) -> u64 {
        let Some(unsent) = &mut self.unsent else { return 0 };
        let sent = send_all(&mut self.stream, unsent.as_slice());
        unsent.consume(sent);
        if unsent.is_empty() {
            self.unsent = None;
        }
        sent as u64
    }

    /// Whether nothing waits to be sent.
    pub const fn is_flushed(&self) -> bool {
        self.unsent.is_none()
    }
}

/// Sends until the kernel has no room; how many bytes it took.
fn send_all(stream: &mut impl Stream, bytes: &[u8]) -> usize {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.send(&bytes[sent..]) {
            Sent::Bytes(count) => {
                sent += count;
                // A short send means a full buffer: asking again would only say EAGAIN.
                if sent < bytes.len() && count < 16 * 1024 {
                    break;
                }
            }
            Sent::Interrupted => {}
            Sent::WouldBlock | Sent::Failed(SocketError::Memory) => break,
            // Nobody takes it any more.
            Sent::Failed(_) => return bytes.len(),
        }
    }
    sent
}
