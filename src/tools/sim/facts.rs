//! What really happened to one connection, gathered where the server's calls come in.

use super::naming::is_by_name;
use super::peer::Said;
use super::secure::Marks;
use crate::core::end::End;
use crate::core::tcp::{TcpSnapshot, TcpState};
use crate::net::{CloseHow, Received, Sent, SocketError};

/// Facts about one connection. Times in nanoseconds.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts, each on its own")]
pub(super) struct Oracle {
    pub(super) token: Option<u64>,
    pub(super) accepted: Option<u64>,
    pub(super) unwatchable: bool,
    /// Bytes that the server has received.
    pub(super) read: u64,
    /// Bytes that it has sent.
    pub(super) written: u64,
    /// Those among them that a client of the gateway was sent by name.
    pub(super) by_name: u64,
    pub(super) last_read: u64,
    /// When the server had read the first whole frame.
    pub(super) spoke: Option<u64>,
    pub(super) last_write: u64,
    /// The server was told that the stream is at its end.
    pub(super) eof: bool,
    pub(super) failed: Option<SocketError>,
    /// When it was told that.
    pub(super) failed_at: u64,
    /// When the upstream's kernel agreed to what the server had begun to connect.
    pub(super) connected: Option<u64>,
    /// A turn has ended with the server knowing that.
    pub(super) known_connected: bool,
    /// The server has finished sending, and goes on receiving.
    pub(super) shut: bool,
    /// The server's account, once it was judged, of a leg of a pair.
    pub(super) end: Option<End>,
    pub(super) closed: Option<(u64, CloseHow)>,
    /// State, unread bytes, and `TCP_INFO` as it was closed.
    pub(super) at_close: Option<(TcpState, usize, TcpSnapshot)>,
    /// The server took a suspicion back.
    pub(super) revived: bool,
    /// Which process accepted it.
    pub(super) process: usize,
    /// That process died with it.
    pub(super) killed: bool,
    /// The ending was judged.
    pub(super) ended: bool,
    /// Since which turn input has been waiting.
    pub(super) waiting_since: Option<u64>,
    /// A turn has ended with it closing: what was done about it took longer than one.
    pub(super) closing: bool,
    /// What the client did.
    pub(super) said: Said,
    /// Where that is on the wire, if it speaks TLS.
    pub(super) tls: Option<Box<Marks>>,
}

impl Oracle {
    pub(super) fn on_recv(&mut self, got: &Received, now: u64) {
        match got {
            Received::Bytes(count) => {
                self.read += *count as u64;
                self.last_read = now;
                let is_open = self.tls.as_ref().is_some_and(|marks| marks.is_open_at(self.read));
                if is_open || self.has_read(self.said.first) {
                    self.spoke.get_or_insert(now);
                }
            }
            Received::Eof => self.eof = true,
            Received::Failed(SocketError::Memory) | Received::WouldBlock | Received::Interrupted => {}
            Received::Failed(fault) => self.on_failed(*fault, now),
        }
    }

    /// `bytes`: what it has offered of a stream in which something may be sent by name.
    pub(super) fn on_send(&mut self, sent: &Sent, bytes: Option<&[u8]>, now: u64) {
        match sent {
            Sent::Bytes(count) => {
                self.written += *count as u64;
                let taken = bytes.map_or(&[][..], |bytes| &bytes[..*count]);
                self.by_name += taken.iter().filter(|byte| is_by_name(**byte)).count() as u64;
                self.last_write = now;
            }
            Sent::Failed(fault) => self.on_failed(*fault, now),
            Sent::WouldBlock | Sent::Interrupted => {}
        }
    }

    pub(super) fn on_failed(&mut self, fault: SocketError, now: u64) {
        if self.failed.is_none() {
            (self.failed, self.failed_at) = (Some(fault), now);
        }
    }

    /// Bytes that the server has sent of what has come from the other leg of a pair.
    pub(super) const fn relayed(&self) -> u64 {
        self.written - self.by_name
    }

    /// Whether the server has read that it takes an identity.
    pub(super) fn has_claimed(&self) -> bool {
        self.has_read(self.said.ident)
    }

    /// Whether the server has read that far.
    pub(super) fn has_read(&self, mark: Option<u64>) -> bool {
        let read = self.tls.as_ref().map_or(self.read, |marks| marks.session_at(self.read));
        mark.is_some_and(|mark| read >= mark)
    }
}
