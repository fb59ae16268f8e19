//! One end of a TCP connection, as a kernel keeps it: states, windows, retransmission, closing.
//!
//! Segments come in and go out through an [`Outbox`]; which of them arrive is for the network in `world` to
//! say. It follows Linux where a program can see the difference (`KERNEL` facts, `src/sys/facts.rs`), and is
//! simple elsewhere: no congestion control, no reordering within a path, every segment acknowledged at once.
//! Timers are in `timers`; what a program sees through its descriptor is in `socket`.

use super::timers::Clockwork;
use crate::core::tcp::TcpState;
use crate::net::{SocketError, SocketOptions};
use std::collections::VecDeque;

/// What travels.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    /// Place of the first byte in the sender's stream.
    pub seq: u64,
    /// What the sender has received so far.
    pub ack: u64,
    /// What the sender has room for beyond `ack`.
    pub window: u32,
    /// Payload.
    pub data: Vec<u8>,
    /// Flags.
    pub flags: Flags,
}

/// The flags of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Flags {
    /// Opens; from who connects.
    Syn,
    /// Opens; from who is connected to.
    SynAck,
    /// Acknowledges, and may carry data.
    #[default]
    Ack,
    /// The same, and the stream ends behind the data.
    Fin,
    /// Wants to be acknowledged, and carries nothing new: keepalive and window probes.
    Probe,
    /// One byte out of band: a plain reader never sees it.
    Urgent,
    /// There is no such connection, or not any more.
    Rst,
}

/// Nobody listens there.
const ECONNREFUSED: i32 = 111;

/// Segments that want to leave.
pub type Outbox = Vec<Segment>;

/// Who is woken: the key of a wake-up, as `epoll` sees it.
pub mod wake {
    /// Input, or its end.
    pub const IN: u8 = 1;
    /// Room for output.
    pub const OUT: u8 = 2;
    /// An error.
    pub const ERR: u8 = 4;
    /// Any of it: the state has changed.
    pub const ALL: u8 = 8;
}

/// How a connection died in the kernel, other than by its own program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Death {
    /// The peer's RST.
    Reset,
    /// The peer's RST, after its FIN.
    ResetAfterFin,
    /// Keepalive probes went unanswered.
    Keepalive,
    /// Data or a FIN went unacknowledged.
    Unacked,
    /// The window stayed shut, and the peer's kernel answered the probes.
    ZeroWindow,
    /// The same, but the answer to the last probe was still on its way, or would never come: nobody can tell.
    ZeroWindowUnclear,
    /// The window was shut, and the probes went unanswered.
    ZeroWindowSilent,
    /// The connection was never set up.
    Refused,
}

/// One end of a connection.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the kernel's, each with its own name there")]
pub struct Sock {
    pub(super) state: TcpState,
    /// From the first unacknowledged byte on.
    pub(super) output: VecDeque<u8>,
    /// Places in the output of bytes that go out of band.
    pub(super) urgent: VecDeque<u64>,
    pub(super) snd_una: u64,
    pub(super) snd_nxt: u64,
    /// A FIN follows the output.
    pub(super) fin_queued: bool,
    pub(super) snd_wnd: u32,
    pub(super) output_max: usize,
    pub(super) segment_max: usize,
    /// A program found no room, and is to be woken once there is (`SOCK_NOSPACE`).
    pub(super) nospace: bool,
    pub(super) input: VecDeque<u8>,
    pub(super) rcv_nxt: u64,
    pub(super) input_max: usize,
    pub(super) window_told: u32,
    /// The peer's FIN is behind the input (`SOCK_DONE`).
    pub(super) fin_seen: bool,
    /// Nothing more can be sent or received (`sk_shutdown`).
    pub(super) shut: bool,
    /// Bytes of the input before an urgent byte that was not passed yet (`urg_seq`).
    pub(super) urgent_behind: Option<usize>,
    /// An urgent byte has become one of the stream.
    pub(super) urgent_strayed: bool,
    pub(super) error: Option<SocketError>,
    pub(super) soft_error: Option<SocketError>,
    /// No program has it any more.
    pub(super) orphan: bool,
    pub(super) options: SocketOptions,
    pub(super) clocks: Clockwork,
    /// Bytes that were never sent when it died: `write_seq` and `snd_nxt` outlive the queue.
    pub(super) never_sent: u64,
    /// How it died, if not by its program.
    pub(super) death: Option<(u64, Death)>,
}

impl Sock {
    /// An end in `state` that nothing has happened to. `now` in nanoseconds.
    pub fn new(state: TcpState, sizes: Sizes, options: SocketOptions, now: u64) -> Self {
        Self {
            state,
            output: VecDeque::new(),
            urgent: VecDeque::new(),
            snd_una: 0,
            snd_nxt: 0,
            fin_queued: false,
            snd_wnd: 0,
            output_max: sizes.output_max,
            segment_max: sizes.segment_max,
            nospace: false,
            input: VecDeque::new(),
            rcv_nxt: 0,
            input_max: sizes.input_max,
            window_told: 0,
            fin_seen: false,
            urgent_behind: None,
            urgent_strayed: false,
            shut: false,
            error: None,
            soft_error: None,
            orphan: false,
            options,
            clocks: Clockwork::new(now, sizes.rto),
            never_sent: 0,
            death: None,
        }
    }

    /// Its state.
    pub const fn state(&self) -> TcpState {
        self.state
    }

    /// How it died, and when, if not by its program.
    pub const fn death(&self) -> Option<(u64, Death)> {
        self.death
    }

    /// Bytes that a program has given away, and the peer has not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.output.len()
    }

    /// Bytes that no program has read yet.
    pub fn unread(&self) -> usize {
        self.input.len()
    }

    /// Bytes in flight.
    pub(super) const fn in_flight(&self) -> u64 {
        self.snd_nxt - self.snd_una
    }

    /// Whether a program would find room for output (`sk_stream_is_writeable`: a third is free).
    pub(super) fn has_room(&self) -> bool {
        self.output.len() * 3 <= self.output_max * 2
    }

    /// The end of the stream, where the FIN is.
    pub(super) fn output_end(&self) -> u64 {
        self.snd_una + self.output.len() as u64
    }

    fn fin_acked(&self) -> bool {
        self.fin_queued && self.snd_una > 0 && self.output.is_empty() && self.clocks.fin_acked
    }

    /// Our answer to whatever came: what we have, and what we have room for.
    pub(super) fn acknowledge(&mut self, out: &mut Outbox) {
        let segment = self.segment(Flags::Ack, self.snd_nxt, Vec::new());
        out.push(segment);
    }

    pub(super) fn segment(&mut self, flags: Flags, seq: u64, data: Vec<u8>) -> Segment {
        let window = u32::try_from(self.input_max.saturating_sub(self.input.len())).unwrap_or(u32::MAX);
        self.window_told = window;
        Segment { seq, ack: self.rcv_nxt, window, data, flags }
    }

    /// Sends what the window allows, and the FIN behind it.
    pub(super) fn transmit(&mut self, now: u64, out: &mut Outbox) {
        if !self.may_send() {
            return;
        }
        let fin_at = self.output_end();
        loop {
            let offset = self.snd_nxt - self.snd_una;
            let waiting = (self.output.len() as u64).saturating_sub(offset);
            let allowed = u64::from(self.snd_wnd).saturating_sub(offset);
            let mut count = waiting.min(allowed).min(self.segment_max as u64);
            if count == 0 {
                break;
            }
            let mut flags = Flags::Ack;
            if let Some(&urgent) = self.urgent.iter().find(|&&at| at >= self.snd_nxt) {
                if urgent == self.snd_nxt {
                    (count, flags) = (1, Flags::Urgent);
                } else {
                    count = count.min(urgent - self.snd_nxt);
                }
            }
            let start = usize::try_from(offset).expect("within the output");
            let count = usize::try_from(count).expect("within the output");
            let data = copy(&self.output, start, count);
            let segment = self.segment(flags, self.snd_nxt, data);
            out.push(segment);
            self.snd_nxt += count as u64;
        }
        if self.fin_queued && self.snd_nxt == fin_at && !self.clocks.fin_acked {
            let segment = self.segment(Flags::Fin, self.snd_nxt, Vec::new());
            out.push(segment);
            self.snd_nxt += 1;
        }
        self.arm_output_timers(now);
    }

    const fn may_send(&self) -> bool {
        matches!(
            self.state,
            TcpState::Established
                | TcpState::CloseWait
                | TcpState::FinWait1
                | TcpState::LastAck
                | TcpState::Closing
        )
    }

    /// Something came from the peer. Returns who is to be woken.
    pub fn on_segment(&mut self, segment: Segment, now: u64, out: &mut Outbox) -> u8 {
        match (self.state, segment.flags) {
            (TcpState::Close, Flags::Rst) => 0,
            (TcpState::Close, _) => {
                out.push(reset(segment.ack));
                0
            }
            (_, Flags::Rst) => self.on_reset(now),
            (TcpState::SynSent, Flags::SynAck) => {
                self.state = TcpState::Established;
                self.clocks.on_contact(now);
                self.snd_wnd = segment.window;
                self.acknowledge(out);
                self.transmit(now, out);
                wake::ALL
            }
            (TcpState::SynSent, _) | (_, Flags::Syn) => 0,
            // The handshake's last ACK was lost: the SYN-ACK comes again.
            (_, Flags::SynAck) => {
                self.acknowledge(out);
                0
            }
            (_, Flags::Ack | Flags::Fin | Flags::Probe | Flags::Urgent) => self.on_stream(segment, now, out),
        }
    }

    fn on_reset(&mut self, now: u64) -> u8 {
        let (fault, death) = match self.state {
            TcpState::CloseWait => (SocketError::BrokenPipe, Death::ResetAfterFin),
            TcpState::LastAck | TcpState::Closing => (SocketError::Reset, Death::ResetAfterFin),
            TcpState::SynSent => (SocketError::Other(ECONNREFUSED), Death::Refused),
            TcpState::TimeWait | TcpState::Close | TcpState::Listen | TcpState::Unknown => {
                self.state = TcpState::Close;
                return 0;
            }
            TcpState::Established | TcpState::SynRecv | TcpState::FinWait1 | TcpState::FinWait2 => {
                (SocketError::Reset, Death::Reset)
            }
        };
        self.die(fault, death, now)
    }

    /// The end, with an error for the program (`tcp_reset`, `tcp_write_err`).
    pub(super) fn die(&mut self, fault: SocketError, death: Death, now: u64) -> u8 {
        self.death = Some((now, death));
        self.error = Some(fault);
        self.done();
        if self.orphan { 0 } else { wake::ERR | wake::ALL }
    }

    /// Nothing is left of the connection but what was received.
    pub(super) fn done(&mut self) {
        self.state = TcpState::Close;
        self.shut = true;
        self.never_sent = (self.output.len() as u64).saturating_sub(self.in_flight());
        self.output.clear();
        self.snd_nxt = self.snd_una;
        self.clocks.stop();
    }

    fn on_stream(&mut self, segment: Segment, now: u64, out: &mut Outbox) -> u8 {
        self.clocks.on_contact(now);
        self.soft_error = None;
        let mut woken = self.on_ack(segment.ack, segment.window, now, out);
        if self.state == TcpState::Close {
            return woken;
        }
        let Segment { seq, data, flags, .. } = segment;
        if self.orphan && !data.is_empty() && seq + data.len() as u64 > self.rcv_nxt {
            // Data that nobody can read any more (TCPAbortOnData).
            out.push(reset(self.snd_nxt));
            self.done();
            return woken;
        }
        let wants_answer = !data.is_empty() || matches!(flags, Flags::Fin | Flags::Probe);
        if flags == Flags::Urgent {
            woken |= self.take_urgent(seq);
        } else {
            woken |= self.take_input(seq, &data, flags == Flags::Fin, now);
        }
        if wants_answer && self.state != TcpState::Close {
            self.acknowledge(out);
        }
        woken
    }

    fn on_ack(&mut self, ack: u64, window: u32, now: u64, out: &mut Outbox) -> u8 {
        let ack = ack.min(self.output_end() + u64::from(self.fin_queued));
        let opened = window > self.snd_wnd;
        self.snd_wnd = window;
        if ack <= self.snd_una {
            if opened || self.in_flight() == 0 {
                self.transmit(now, out);
            }
            return 0;
        }
        let end = self.output_end();
        let bytes = usize::try_from(ack.min(end) - self.snd_una).expect("within the output");
        self.output.drain(..bytes);
        self.snd_una = ack;
        while self.urgent.front().is_some_and(|&at| at < ack) {
            self.urgent.pop_front();
        }
        self.snd_nxt = self.snd_nxt.max(ack);
        self.clocks.on_progress(now);
        if ack > end {
            self.clocks.fin_acked = true;
        }
        let mut woken = 0;
        if self.nospace && self.has_room() {
            self.nospace = false;
            woken |= wake::OUT;
        }
        if self.fin_acked() {
            woken |= self.on_fin_acked(now, out);
        } else {
            self.transmit(now, out);
        }
        woken
    }

    fn on_fin_acked(&mut self, now: u64, out: &mut Outbox) -> u8 {
        match self.state {
            // net/ipv4/tcp_input.c: tcp_rcv_state_process, TCP_FIN_WAIT1.
            TcpState::FinWait1 if self.orphan && self.options.linger2 => {
                out.push(reset(self.snd_nxt));
                self.done();
            }
            TcpState::FinWait1 => {
                self.state = TcpState::FinWait2;
                if self.orphan {
                    self.clocks.start_waiting(now);
                }
            }
            TcpState::Closing => self.wait_out(now),
            TcpState::LastAck => self.done(),
            TcpState::Established
            | TcpState::SynSent
            | TcpState::SynRecv
            | TcpState::FinWait2
            | TcpState::TimeWait
            | TcpState::Close
            | TcpState::CloseWait
            | TcpState::Listen
            | TcpState::Unknown => return 0,
        }
        if self.orphan { 0 } else { wake::ALL }
    }

    /// Enters `TIME_WAIT`.
    fn wait_out(&mut self, now: u64) {
        self.done();
        self.state = TcpState::TimeWait;
        self.clocks.start_waiting(now);
    }

    fn take_input(&mut self, seq: u64, data: &[u8], fin: bool, now: u64) -> u8 {
        // What comes again was lost on the way back, what comes too early has lost its forerunner.
        if seq > self.rcv_nxt || self.fin_seen {
            return 0;
        }
        let known = usize::try_from(self.rcv_nxt - seq).expect("streams are short");
        let mut woken = 0;
        if known < data.len() {
            let fresh = &data[known..];
            let room = self.input_max.saturating_sub(self.input.len());
            let fresh = &fresh[..fresh.len().min(room)];
            self.input.extend(fresh);
            self.rcv_nxt += fresh.len() as u64;
            self.clocks.last_data = now;
            if !fresh.is_empty() {
                woken |= wake::IN;
            }
        }
        if fin && self.rcv_nxt == seq + data.len() as u64 {
            woken |= self.on_fin(now);
        }
        woken
    }

    /// `net/ipv4/tcp_input.c: tcp_fin`.
    fn on_fin(&mut self, now: u64) -> u8 {
        self.rcv_nxt += 1;
        self.fin_seen = true;
        match self.state {
            TcpState::Established | TcpState::SynRecv => self.state = TcpState::CloseWait,
            TcpState::FinWait1 => self.state = TcpState::Closing,
            TcpState::FinWait2 => self.wait_out(now),
            TcpState::SynSent
            | TcpState::TimeWait
            | TcpState::Close
            | TcpState::CloseWait
            | TcpState::LastAck
            | TcpState::Closing
            | TcpState::Listen
            | TcpState::Unknown => {}
        }
        if self.orphan { 0 } else { wake::ALL }
    }
}

/// `count` bytes of a queue, from `start` on.
fn copy(queue: &VecDeque<u8>, start: usize, count: usize) -> Vec<u8> {
    let mut data = Vec::with_capacity(count);
    let (front, back) = queue.as_slices();
    if start < front.len() {
        data.extend_from_slice(&front[start..front.len().min(start + count)]);
    }
    let from = (start + data.len()).saturating_sub(front.len());
    data.extend_from_slice(&back[from.min(back.len())..][..count - data.len()]);
    data
}

/// A segment that says there is no such connection.
pub(super) fn reset(seq: u64) -> Segment {
    Segment { seq, flags: Flags::Rst, ..Segment::default() }
}

/// The sizes of an end, drawn for each connection.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Room for output, in bytes.
    pub output_max: usize,
    /// Room for input, in bytes: the window.
    pub input_max: usize,
    /// Largest segment, in bytes.
    pub segment_max: usize,
    /// First retransmission timeout of its path, in nanoseconds.
    pub rto: u64,
}
