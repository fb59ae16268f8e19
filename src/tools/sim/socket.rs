//! What a program sees of a connection through its descriptor: receiving, sending, closing, readiness, and
//! the kernel's evidence. The order of the checks is the kernel's.

use super::tcp::{Flags, Outbox, Sock, reset, wake};
use super::timers::SECOND;
use crate::core::tcp::{TcpSnapshot, TcpState};
use crate::net::{CloseHow, Keepalive, Readiness, Received, Sent, SocketError};

/// The mask of `tcp_poll`, as bits of `epoll`.
pub mod mask {
    /// `EPOLLIN`.
    pub const IN: u8 = 1;
    /// `EPOLLOUT`.
    pub const OUT: u8 = 2;
    /// `EPOLLERR`.
    pub const ERR: u8 = 4;
    /// `EPOLLRDHUP`.
    pub const RDHUP: u8 = 8;
    /// `EPOLLHUP`.
    pub const HUP: u8 = 16;
    /// `EPOLLPRI`.
    pub const PRI: u8 = 32;
}

/// The flags that mio makes of a mask, and `sys` of mio's.
pub fn readiness(bits: u8) -> Readiness {
    let has = |bit| bits & bit != 0;
    let read_closed = has(mask::HUP) || has(mask::PRI) || has(mask::IN) && has(mask::RDHUP);
    let write_closed = has(mask::HUP) || has(mask::OUT) && has(mask::ERR) || bits == mask::ERR;
    Readiness::READABLE.only_if(has(mask::IN) || has(mask::PRI))
        | Readiness::WRITABLE.only_if(has(mask::OUT))
        | Readiness::READ_CLOSED.only_if(read_closed)
        | Readiness::WRITE_CLOSED.only_if(write_closed)
        | Readiness::ERROR.only_if(has(mask::ERR))
}

impl Sock {
    /// Receives (`net/ipv4/tcp.c: tcp_recvmsg_locked`). May tell the peer that there is room again.
    pub fn recv(&mut self, buffer: &mut [u8], out: &mut Outbox) -> Received {
        // It stops before an urgent byte, and the next one steps over it.
        self.urgent_behind = self.urgent_behind.filter(|&before| before > 0);
        if !self.input.is_empty() {
            let count = self.input.len().min(buffer.len()).min(self.urgent_behind.unwrap_or(usize::MAX));
            self.urgent_behind = self.urgent_behind.map(|before| before - count);
            let (front, back) = self.input.as_slices();
            let first = front.len().min(count);
            buffer[..first].copy_from_slice(&front[..first]);
            buffer[first..count].copy_from_slice(&back[..count - first]);
            self.input.drain(..count);
            let room = self.input_max - self.input.len();
            let worth_telling = self.segment_max.min(self.input_max / 2);
            if (self.window_told as usize) < worth_telling && room >= worth_telling && self.is_open() {
                self.acknowledge(out);
            }
            return Received::Bytes(count);
        }
        if self.fin_seen {
            return Received::Eof;
        }
        if let Some(fault) = self.error.take() {
            return Received::Failed(fault);
        }
        if self.shut { Received::Eof } else { Received::WouldBlock }
    }

    const fn is_open(&self) -> bool {
        matches!(self.state, TcpState::Established | TcpState::FinWait1 | TcpState::FinWait2)
    }

    /// Sends (`net/ipv4/tcp.c: tcp_sendmsg_locked`, `sk_stream_error`).
    pub fn send(&mut self, bytes: &[u8], now: u64, out: &mut Outbox) -> Sent {
        if self.error.is_some() || self.shut || self.fin_queued {
            return Sent::Failed(self.error.take().unwrap_or(SocketError::BrokenPipe));
        }
        if self.state == TcpState::SynSent {
            return Sent::WouldBlock;
        }
        let room = self.output_max.saturating_sub(self.output.len());
        let count = room.min(bytes.len());
        if count < bytes.len() {
            self.nospace = true;
        }
        if count == 0 {
            return Sent::WouldBlock;
        }
        self.output.extend(&bytes[..count]);
        self.transmit(now, out);
        Sent::Bytes(count)
    }

    /// An urgent byte has come (`net/ipv4/tcp_input.c: tcp_check_urg`). Of an older one nobody has passed, the
    /// mark is lost: it is one of the stream.
    pub(super) fn take_urgent(&mut self, seq: u64) -> u8 {
        if seq != self.rcv_nxt || self.fin_seen {
            return 0;
        }
        self.rcv_nxt += 1;
        if let Some(before) = self.urgent_behind.filter(|&before| before > 0) {
            self.input.insert(before, b'!');
            self.urgent_strayed = true;
        }
        self.urgent_behind = Some(self.input.len());
        wake::IN
    }

    /// Sends one byte out of band (`MSG_OOB`).
    pub fn send_urgent(&mut self, now: u64, out: &mut Outbox) -> Sent {
        self.urgent.push_back(self.output_end());
        let sent = self.send(b"!", now, out);
        if !matches!(sent, Sent::Bytes(_)) {
            self.urgent.pop_back();
        }
        sent
    }

    /// `shutdown(SHUT_WR)`.
    pub fn finish(&mut self, now: u64, out: &mut Outbox) {
        self.state = match self.state {
            TcpState::Established | TcpState::SynRecv => TcpState::FinWait1,
            TcpState::CloseWait => TcpState::LastAck,
            TcpState::SynSent => {
                self.done();
                return;
            }
            TcpState::FinWait1
            | TcpState::FinWait2
            | TcpState::TimeWait
            | TcpState::Close
            | TcpState::LastAck
            | TcpState::Closing
            | TcpState::Listen
            | TcpState::Unknown => {
                return;
            }
        };
        self.fin_queued = true;
        self.transmit(now, out);
    }

    /// `close` (`net/ipv4/tcp.c: __tcp_close`): unread input, then `SO_LINGER {1,0}`, else a FIN.
    pub fn close(&mut self, how: CloseHow, now: u64, out: &mut Outbox) {
        if how == CloseHow::Linger2 {
            self.options.linger2 = true;
        }
        let unread = !self.input.is_empty() || self.urgent_behind.is_some();
        self.orphan = true;
        self.input.clear();
        match self.state {
            TcpState::Close | TcpState::TimeWait | TcpState::Listen | TcpState::Unknown => return,
            TcpState::SynSent => return self.done(),
            TcpState::Established
            | TcpState::SynRecv
            | TcpState::FinWait1
            | TcpState::FinWait2
            | TcpState::CloseWait
            | TcpState::LastAck
            | TcpState::Closing => {}
        }
        if unread || how == CloseHow::Reset {
            out.push(reset(self.snd_nxt));
            return self.done();
        }
        match self.state {
            TcpState::FinWait2 if self.options.linger2 => {
                out.push(reset(self.snd_nxt));
                self.done();
            }
            TcpState::FinWait2 => self.clocks.start_waiting(now),
            TcpState::Established
            | TcpState::SynSent
            | TcpState::SynRecv
            | TcpState::FinWait1
            | TcpState::TimeWait
            | TcpState::Close
            | TcpState::CloseWait
            | TcpState::LastAck
            | TcpState::Closing
            | TcpState::Listen
            | TcpState::Unknown => self.finish(now, out),
        }
    }

    /// `SO_ERROR`, and then the soft error.
    pub fn take_error(&mut self) -> Option<SocketError> {
        self.error.take().or_else(|| self.soft_error.take())
    }

    /// `TCP_INFO`.
    pub fn evidence(&self, now: u64) -> TcpSnapshot {
        let ms = |since: u64| u32::try_from(now.saturating_sub(since) / 1_000_000).unwrap_or(u32::MAX);
        let syn = u64::from(self.state == TcpState::SynSent);
        let in_flight = syn + self.in_flight().div_ceil(self.segment_max as u64);
        let unsent = if self.state == TcpState::Close {
            self.never_sent
        } else {
            (self.output.len() as u64).saturating_sub(self.in_flight())
        };
        TcpSnapshot {
            // What waits is no socket of the program's any more (net/ipv4/tcp_minisocks.c: tcp_time_wait).
            state: if self.state == TcpState::TimeWait { TcpState::Close } else { self.state },
            retransmits: u8::try_from(self.clocks.retransmits).unwrap_or(u8::MAX),
            probes: u8::try_from(self.clocks.probes).unwrap_or(u8::MAX),
            unacked: u32::try_from(in_flight).unwrap_or(u32::MAX),
            last_ack_recv_ms: ms(self.clocks.last_ack),
            last_data_recv_ms: ms(self.clocks.last_data),
            snd_wnd: self.snd_wnd,
            notsent_bytes: u32::try_from(unsent).unwrap_or(u32::MAX),
        }
    }

    /// Makes the peer's kernel speak, as `sys::Stream::probe_peer` does.
    pub fn probe_peer(&mut self, now: u64) {
        self.set_keep_idle(Some(SECOND), now);
    }

    /// Undoes that.
    pub fn restore_keepalive(&mut self, keepalive: Option<Keepalive>, now: u64) {
        self.options.keepalive = keepalive;
        self.set_keep_idle(None, now);
    }

    /// `net/ipv4/tcp.c: tcp_poll`.
    pub fn poll(&mut self) -> u8 {
        let mut bits = 0;
        if self.shut
            || self.fin_seen && self.fin_queued
            || matches!(self.state, TcpState::Close | TcpState::TimeWait)
        {
            bits |= mask::HUP;
        }
        if self.shut || self.fin_seen {
            bits |= mask::IN | mask::RDHUP;
        }
        if !self.input.is_empty() {
            bits |= mask::IN;
        }
        if self.state == TcpState::SynSent {
            // Writable is connected: before that there is nothing to say.
        } else if self.shut || self.fin_queued || self.has_room() {
            bits |= mask::OUT;
        } else {
            self.nospace = true;
        }
        if self.urgent_behind.is_some() {
            bits |= mask::PRI;
        }
        if self.error.is_some() {
            bits |= mask::ERR;
        }
        bits
    }

    /// Whether a receive would yield something other than "not now".
    pub fn has_news(&self) -> bool {
        !self.input.is_empty() || self.fin_seen || self.error.is_some() || self.shut
    }

    /// The first segment of who connects.
    pub(super) fn open(&mut self, now: u64, out: &mut Outbox) {
        let segment = self.segment(Flags::Syn, 0, Vec::new());
        out.push(segment);
        self.arm_handshake(now);
    }

    /// And the answer to it.
    pub(super) fn answer(&mut self, now: u64, out: &mut Outbox) {
        let segment = self.segment(Flags::SynAck, 0, Vec::new());
        out.push(segment);
        self.arm_handshake(now);
    }
}
