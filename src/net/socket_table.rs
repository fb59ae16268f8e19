//! The kernel's own table of TCP sockets, as plain values: what `ss -t` shows, row by row.
//!
//! It is the one view on connections that does not pass through our descriptors: it shows the ones nobody has
//! accepted, the ones we have closed and the kernel has not, and the state of all the others.

use crate::core::tcp::{TcpSnapshot, TcpState, TcpStates};
use std::net::SocketAddr;

/// Which rows are wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SocketQuery {
    /// Those on these local ports; of all ports if there is none.
    pub ports: Vec<u16>,
    /// Those in these states.
    pub states: TcpStates,
    /// With [`SocketRow::evidence`], which makes each row several times as dear.
    pub evidence: bool,
}

/// Families of sockets. The kernel walks its whole table once for each that is wanted. The IPv4 clients of an IPv6
/// listener are of its family (`net/ipv6/tcp_ipv6.c: tcp_v6_syn_recv_sock`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Families {
    /// `AF_INET`.
    pub ipv4: bool,
    /// `AF_INET6`.
    pub ipv6: bool,
}

impl Families {
    /// Both.
    pub const ALL: Self = Self { ipv4: true, ipv6: true };
}

/// The timer that runs on a socket (`idiag_timer`, `net/ipv4/inet_diag.c: inet_sk_diag_fill`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketTimer {
    /// None: if the peer's host is gone, nothing will ever notice.
    None,
    /// Retransmission: something is not acknowledged.
    Retransmit,
    /// Keepalive; of an orphan in `FIN_WAIT2`, the end of its waiting.
    Keepalive,
    /// The end of a `TIME_WAIT`.
    TimeWait,
    /// Zero-window probes.
    WindowProbe,
}

/// One row of the kernel's table (`sock_diag(7)`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketRow {
    /// Its state.
    pub state: TcpState,
    /// Our end. IPv4 is shown as such, even on an IPv6 socket.
    pub local: SocketAddr,
    /// The peer's end; of a listener, nothing.
    pub remote: SocketAddr,
    /// `SO_COOKIE`: names the socket for as long as the host is up, whatever becomes of its descriptor.
    pub cookie: u64,
    /// Inode of the descriptor; 0 if no program holds one: it waits in an accept queue, or was closed.
    pub inode: u32,
    /// User that made it.
    pub uid: u32,
    /// Bytes received and not read. Of a listener, the length of its accept queue.
    pub unread: u32,
    /// Bytes written and not acknowledged. Of a listener, the limit of its queue.
    pub unacknowledged: u32,
    /// Which timer runs.
    pub timer: SocketTimer,
    /// When it expires, in milliseconds from now.
    pub expires_ms: u32,
    /// Retransmissions or probes of that timer so far, without an answer.
    pub retries: u8,
    /// `TCP_INFO`, where it was asked for and the socket is a whole one (no `TIME_WAIT`, no `SYN_RECV`).
    pub evidence: Option<TcpSnapshot>,
    /// With the evidence: milliseconds since data was last sent, probes without data not counted. While the
    /// peer's window is shut, that is how long it has been shut: only data that arrives can shut it.
    pub sent_ms: u32,
}

impl SocketRow {
    /// No program holds it.
    pub const fn is_orphan(&self) -> bool {
        self.inode == 0
    }
}

/// Whether a table has been read to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// There are more rows.
    More,
    /// That was all.
    Done,
}

/// What comes of asking for rows without waiting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rows {
    /// Some were there, and there may be more.
    More,
    /// None are there yet.
    Later,
    /// That was all.
    Done,
}
