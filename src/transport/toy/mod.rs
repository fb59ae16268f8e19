//! A toy: records with a length and a checksum, under a key that both sides have chosen. It is no part of the server, and
//! shows what a layer needs to become one: this folder, and a variant of [`Transport`](super::Transport).
//!
//! ```text
//! record = kind length check body       ; length of the body, in two bytes, the higher one first; check: the sum of its bytes
//! ```
//!
//! | kind | body | |
//! | --- | --- | --- |
//! | `h` | one byte | the opening: each side sends one, the client first; their sum is the key |
//! | `d` | bytes of the session | each has the key and its place in the stream added to it |
//! | `z` | a byte and a count, in four bytes | so many bytes of that kind: a record that becomes more than it was |
//! | `e` | | nothing follows |

#[cfg(test)]
mod tests;

use super::{Layer, Phase};
use crate::core::buf::ByteQueue;
use crate::protocol::ProtocolError;

/// Kind, length, checksum.
const HEAD_BYTES: usize = 4;
/// Most bytes of the session in a record.
const BODY_MAX: usize = 4096;
/// Most bytes that a record may become.
pub(crate) const RUN_MAX: u32 = 1024 * 1024;
/// The server's part of the key.
const SERVER_PART: u8 = 0x5a;

/// One side of a connection.
#[derive(Debug)]
pub(crate) struct Toy {
    is_server: bool,
    phase: Phase,
    /// It has said that nothing follows.
    finished: bool,
    /// It is not to say so.
    forgone: bool,
    /// Its own part of the key.
    part: u8,
    /// None before the opening exchange is over.
    key: Option<u8>,
    /// Places in the two streams, as far as they matter.
    received: u8,
    sent: u8,
    /// A record that is not whole.
    partial: ByteQueue,
    /// Bytes for the session.
    plain: ByteQueue,
}

impl Toy {
    pub(crate) fn server() -> Self {
        Self::new(true, SERVER_PART)
    }

    /// A client with its part of the key, and what it says first.
    pub(crate) fn client(part: u8) -> (Self, ByteQueue) {
        let mut wire = ByteQueue::default();
        record(b'h', &[part], &mut wire);
        (Self::new(false, part), wire)
    }

    fn new(is_server: bool, part: u8) -> Self {
        Self {
            is_server,
            phase: Phase::Opening,
            finished: false,
            forgone: false,
            part,
            key: None,
            received: 0,
            sent: 0,
            partial: ByteQueue::default(),
            plain: ByteQueue::default(),
        }
    }

    /// Encodes `count` bytes of this kind in one record.
    pub(crate) fn send_run(byte: u8, count: u32, wire: &mut ByteQueue) {
        let [a, b, c, d] = count.to_be_bytes();
        record(b'z', &[byte, a, b, c, d], wire);
    }

    fn receive_records(&mut self, answer: &mut ByteQueue) -> Result<(), ProtocolError> {
        while self.phase != Phase::Ended
            && let Some((&[kind, high, low, check], rest)) =
                self.partial.as_slice().split_first_chunk::<HEAD_BYTES>()
        {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length > BODY_MAX {
                return Err(ProtocolError::oversized("the record is too long"));
            }
            let Some(body) = rest.get(..length).map(<[u8]>::to_vec) else { break };
            if sum(&body) != check {
                return Err(ProtocolError::malformed("the checksum is wrong"));
            }
            self.partial.consume(HEAD_BYTES + length);
            self.receive_record(kind, &body, answer)?;
        }
        Ok(())
    }

    fn receive_record(&mut self, kind: u8, body: &[u8], answer: &mut ByteQueue) -> Result<(), ProtocolError> {
        match (self.key, kind, body) {
            (None, b'h', &[part]) => {
                if self.is_server {
                    record(b'h', &[self.part], answer);
                }
                self.key = Some(self.part.wrapping_add(part));
                self.phase = Phase::Open;
            }
            (Some(key), b'd', body) => {
                let mut plain = body.to_vec();
                for byte in &mut plain {
                    *byte = byte.wrapping_sub(key).wrapping_sub(self.received);
                    self.received = self.received.wrapping_add(1);
                }
                self.plain.append(plain);
            }
            (Some(_), b'z', &[byte, a, b, c, d]) => {
                let count = u32::from_be_bytes([a, b, c, d]) as usize;
                if self.plain.len() + count > RUN_MAX as usize {
                    return Err(ProtocolError::oversized("the record becomes too long"));
                }
                self.plain.append(vec![byte; count]);
            }
            (_, b'e', []) => self.phase = Phase::Ended,
            _ => return Err(ProtocolError::malformed("the record is out of place")),
        }
        Ok(())
    }
}

impl Layer for Toy {
    fn receive(&mut self, wire: &[u8], answer: &mut ByteQueue) -> Result<(), ProtocolError> {
        assert!(self.plain.is_empty() && self.phase != Phase::Ended, "it is not asked to receive now");
        self.partial.push(wire);
        let outcome = self.receive_records(answer);
        if outcome.is_err() {
            self.phase = Phase::Ended;
        }
        if self.partial.is_empty() || self.phase == Phase::Ended {
            self.partial.reset(0);
        }
        outcome
    }

    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let count = self.plain.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.plain.as_slice()[..count]);
        self.plain.consume(count);
        if self.plain.is_empty() {
            self.plain.reset(0);
        }
        count
    }

    fn held(&self) -> usize {
        self.plain.len()
    }

    fn phase(&self) -> Phase {
        self.phase
    }

    fn send(&mut self, bytes: &[u8], wire: &mut ByteQueue) {
        let key = self.key.expect("the opening exchange is over");
        assert!(!self.finished, "nothing follows what is said to be the last");
        for chunk in bytes.chunks(BODY_MAX) {
            let mut body = chunk.to_vec();
            for byte in &mut body {
                *byte = byte.wrapping_add(key).wrapping_add(self.sent);
                self.sent = self.sent.wrapping_add(1);
            }
            record(b'd', &body, wire);
        }
    }

    fn can_send(&self) -> bool {
        self.key.is_some() && !self.finished
    }

    fn forgo_last_word(&mut self) {
        self.forgone = true;
    }

    fn finish(&mut self, wire: &mut ByteQueue) {
        if self.can_send() && !self.forgone {
            record(b'e', &[], wire);
        }
        self.finished = true;
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.partial.capacity() + self.plain.capacity()
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn record(kind: u8, body: &[u8], wire: &mut ByteQueue) {
    let [high, low] = u16::try_from(body.len()).expect("BODY_MAX is less").to_be_bytes();
    wire.push(&[kind, high, low, sum(body)]);
    wire.push(body);
}
