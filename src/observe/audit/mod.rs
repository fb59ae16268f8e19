//! The kernel's table of sockets compared with what a server believes: what can be wrong, by name and in a
//! sentence. Pure.
//!
//! The server looks for it in itself every `audit.interval` (`src/reactor/audit.rs`); `linger audit` looks at any
//! server on the host (`src/tools/audit/`).

pub mod compare;

#[cfg(test)]
mod tests;

use crate::core::named::named;

named! {
    /// Something about a server's connections that its descriptors do not show, or that it has overlooked.
    Anomaly {
        /// The accept queue is full: more clients believe that they are connected than it holds.
        QueueFull = "queue_full",
        /// In the accept queue, and its peer has already gone: a ghost, which nobody reads.
        QueuedGhost = "queued_ghost",
        /// In the accept queue for too long: to its client it is connected, to the program it is not there.
        QueuedLong = "queued_long",
        /// Ours, and the kernel has no such connection any more: its end was overlooked.
        Missing = "missing",
        /// A program holds it on one of the ports, and it is not the one that was asked.
        Unknown = "unknown",
        /// The peer has closed, and the program has not, for too long: a descriptor leak.
        CloseWait = "close_wait",
        /// Closed by the program, and the peer does not take what was still to be sent, or the FIN.
        Orphan = "orphan",
        /// The program has closed or shut its side, the peer has taken all of it, and does not close.
        FinWait2 = "fin_wait2",
        /// The program closed first: its host keeps the `TIME_WAIT`s.
        TimeWait = "time_wait",
        /// Input that the program has not read for too long.
        Unread = "unread",
        /// Output that is not acknowledged, with retransmissions: the peer's host cannot be reached.
        Unacknowledged = "unacknowledged",
        /// Output that cannot be sent: the peer's window is shut, its program does not read.
        ZeroWindow = "zero_window",
        /// Idle, and no timer runs: if the peer's host is gone, nothing will ever notice.
        Unwatched = "unwatched",
        /// Handshakes that the clients do not finish.
        SynRecv = "syn_recv",
        /// Idle, and the first keepalive probe is hours away.
        LateKeepalive = "late_keepalive",
    }
}
