//! One connection that shows something, and what its row says besides: bytes, and when the kernel gives it up.

use crate::core::tcp::TcpState;
use crate::core::time::Duration;
use crate::net::{SocketRow, SocketTimer};

/// `TCP_TIMEWAIT_LEN`: not a setting.
pub(super) const TIME_WAIT_LASTS: Duration = Duration::from_secs(60);
/// `TCP_RTO_MIN` and `TCP_RTO_MAX`, in milliseconds.
pub(super) const RTO_MS: (u64, u64) = (200, 120_000);
/// Retransmissions after which the kernel gives an orphan up (`tcp_timer.c: tcp_orphan_retries`).
const ORPHAN_RETRIES: u8 = 8;

/// One connection that shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Case {
    /// As the table has it.
    pub row: SocketRow,
    /// How long that has lasted at least.
    pub at_least: Duration,
}

impl Case {
    /// Whether the program has read the end of file, and keeps the descriptor.
    pub fn is_read(&self) -> bool {
        self.row.state == TcpState::CloseWait && !self.row.is_orphan() && self.row.unread == 0
    }

    /// Bytes that have arrived and were not read; the FIN is none.
    pub fn unread(&self) -> u64 {
        unread(&self.row)
    }

    /// Bytes that were written and are not acknowledged; the FIN is none.
    pub fn undelivered(&self) -> u64 {
        undelivered(&self.row)
    }

    /// When the kernel gives it up by itself: exact of a `TIME_WAIT` and of a closed `FIN_WAIT2`, about right
    /// and at most of others that were closed.
    pub fn left(&self) -> Option<Duration> {
        let row = &self.row;
        if !row.is_orphan() {
            return None;
        }
        let expires = Duration::from_millis(row.expires_ms.into());
        match (row.state, row.timer) {
            (TcpState::TimeWait | TcpState::FinWait2, SocketTimer::TimeWait) => Some(expires),
            // What is longer than a minute waits as a whole socket first (tcp.c: __tcp_close).
            (TcpState::FinWait2, SocketTimer::Keepalive) => Some(expires + TIME_WAIT_LASTS),
            (TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck, SocketTimer::Retransmit)
                if row.retries <= ORPHAN_RETRIES =>
            {
                let all = doubling(RTO_MS, ORPHAN_RETRIES + 1);
                Some(expires + all.saturating_sub(doubling(RTO_MS, row.retries + 1)))
            }
            _ => None,
        }
    }

    /// In how long keepalive looks whether to ask; zero if no such timer runs.
    pub fn probe_in(&self) -> Duration {
        let is_keepalive = self.row.timer == SocketTimer::Keepalive;
        Duration::from_millis(if is_keepalive { self.row.expires_ms.into() } else { 0 })
    }
}

/// Bytes to read.
pub(super) fn unread(row: &SocketRow) -> u64 {
    // The peer's FIN counts as a byte until it is read.
    u64::from(if row.state == TcpState::CloseWait { row.unread.saturating_sub(1) } else { row.unread })
}

/// Bytes to deliver.
pub(super) fn undelivered(row: &SocketRow) -> u64 {
    let fin = matches!(row.state, TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck);
    u64::from(row.unacknowledged.saturating_sub(u32::from(fin)))
}

/// What a timer with `(first, longest)` waits takes, that doubles each time, to expire so many times.
pub(super) fn doubling((first_ms, longest_ms): (u64, u64), times: u8) -> Duration {
    let wait = |time: u8| first_ms.checked_shl(time.into()).map_or(longest_ms, |ms| ms.min(longest_ms));
    Duration::from_millis((0..times.min(32)).map(wait).sum())
}
