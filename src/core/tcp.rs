//! What the kernel says of a TCP socket, as plain values: its [state](TcpState), and the [snapshot](TcpSnapshot) that one
//! `TCP_INFO` gives.

use crate::core::named::named;
use crate::core::time::Duration;
use std::fmt;

named! {
    /// State of a TCP socket, by the kernel's numbers (`include/net/tcp_states.h`; RFC 9293 3.3.2).
    #[derive(Default)]
    TcpState {
        /// A number that this list does not have.
        #[default]
        Unknown = "UNKNOWN",
        /// Both directions are open.
        Established = "ESTABLISHED",
        /// The SYN of this end is not answered yet.
        SynSent = "SYN_SENT",
        /// The handshake is not complete yet.
        SynRecv = "SYN_RECV",
        /// This end has sent its FIN, and the peer has not acknowledged it.
        FinWait1 = "FIN_WAIT1",
        /// The peer has acknowledged the FIN of this end, and has not sent its own.
        FinWait2 = "FIN_WAIT2",
        /// This end sent the first FIN, and both are acknowledged: the pair of addresses is kept for 60 s.
        TimeWait = "TIME_WAIT",
        /// The kernel keeps nothing of a connection here.
        Close = "CLOSE",
        /// The peer has sent its FIN, and the program has not closed.
        CloseWait = "CLOSE_WAIT",
        /// The peer's FIN came first, and it has not acknowledged the FIN of this end.
        LastAck = "LAST_ACK",
        /// It accepts connections.
        Listen = "LISTEN",
        /// Both ends have sent their FIN before either arrived.
        Closing = "CLOSING",
    }
}

impl TcpState {
    /// The state with the kernel's number.
    pub const fn from_number(number: u8) -> Self {
        // A cast, because indexing converts nothing in a constant function.
        if (number as usize) < Self::ALL.len() { Self::ALL[number as usize] } else { Self::Unknown }
    }
}

/// A set of states, as `sock_diag(7)` takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpStates(u32);

impl TcpStates {
    /// All states, that of listeners among them.
    pub const ALL: Self = Self(0xfff);

    /// Only this one.
    pub const fn only(state: TcpState) -> Self {
        Self(1 << state as u8)
    }

    /// All but this one.
    pub const fn all_but(state: TcpState) -> Self {
        Self(Self::ALL.0 & !(1 << state as u8))
    }

    /// Whether the set has this state.
    pub const fn has(self, state: TcpState) -> bool {
        self.0 & (1 << state as u8) != 0
    }

    /// Bit `n` for the state with the kernel's number `n`.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

/// What the kernel knew about a connection at one moment, from one `TCP_INFO` (tcp(7), `include/uapi/linux/tcp.h`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcpSnapshot {
    /// State of the socket.
    pub state: TcpState,
    /// Retransmission timeouts in a row without an acknowledgement.
    pub retransmits: u8,
    /// Unanswered zero-window or keepalive probes.
    pub probes: u8,
    /// Segments sent and not acknowledged.
    pub unacked: u32,
    /// Time since the peer's kernel last acknowledged anything, in milliseconds.
    pub last_ack_recv_ms: u32,
    /// Time since data last arrived, in milliseconds.
    pub last_data_recv_ms: u32,
    /// The peer's receive window, in bytes.
    pub snd_wnd: u32,
    /// Output that the kernel holds and has not sent yet, in bytes.
    pub notsent_bytes: u32,
}

impl TcpSnapshot {
    /// Whether the kernel has discarded the connection, even if the program has not read that yet.
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, TcpState::Close)
    }
}

impl fmt::Display for TcpSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "tcp_state={} retransmits={} probes={} unacked={} last_ack_recv_ms={} \
             last_data_recv_ms={} snd_wnd={} notsent_bytes={}",
            self.state,
            self.retransmits,
            self.probes,
            self.unacked,
            self.last_ack_recv_ms,
            self.last_data_recv_ms,
            self.snd_wnd,
            self.notsent_bytes
        )
    }
}

/// TCP keepalive: when a quiet connection is probed, how often, and how many probes may go unanswered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalive {
    /// Quiet time before the first probe (`TCP_KEEPIDLE`, whole seconds).
    pub idle: Duration,
    /// Time between probes (`TCP_KEEPINTVL`, whole seconds).
    pub interval: Duration,
    /// Unanswered probes that end the connection (`TCP_KEEPCNT`).
    pub count: u32,
}

/// When the kernel ends a connection whose probes are unanswered (`net/ipv4/tcp_timer.c: tcp_keepalive_timer`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProbeLimits {
    /// So many are unanswered (`TCP_KEEPCNT`). Of no account with a user timeout.
    pub count: u32,
    /// One is, and the peer has been quiet for so long (`TCP_USER_TIMEOUT`).
    pub user_timeout: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_numbers_of_the_kernel() {
        // include/net/tcp_states.h
        let numbers = [
            (1, TcpState::Established),
            (2, TcpState::SynSent),
            (3, TcpState::SynRecv),
            (4, TcpState::FinWait1),
            (5, TcpState::FinWait2),
            (6, TcpState::TimeWait),
            (7, TcpState::Close),
            (8, TcpState::CloseWait),
            (9, TcpState::LastAck),
            (10, TcpState::Listen),
            (11, TcpState::Closing),
        ];
        for (number, state) in numbers {
            assert_eq!((state as u8, TcpState::from_number(number)), (number, state));
            assert!(TcpStates::ALL.has(state) && !TcpStates::all_but(state).has(state));
            assert_eq!(TcpStates::only(state).bits(), 1 << number);
        }
        assert_eq!([0, 12, 255].map(TcpState::from_number), [TcpState::Unknown; 3]);
    }
}
