//! The kernel as the reactor sees it: traits for the poller and clock, for listeners and for streams, and
//! the plain values that pass through them.
//!
//! [`sys`](crate::sys) implements them over mio and libc; a simulated kernel can stand behind the same
//! traits. No `io::Error` passes this line: what the reactor must tell apart has a variant here, and the
//! rest carries its errno for the log.

mod address;
mod connect;
mod names;
mod peer;
mod readiness;
mod service;
mod socket_table;
mod splice;
mod supervising;

pub use crate::core::table::Token;
pub use crate::core::tcp::{Keepalive, ProbeLimits};
pub use crate::core::timer::attention::Polled;
pub use connect::{ConnectError, ConnectSpec};
pub use names::{Answers, HostName};
pub use peer::Peer;
pub use readiness::{Readiness, Ready};
pub use service::{ServiceNews, ServiceNotifier};
pub use socket_table::{Families, Progress, Rows, SocketQuery, SocketRow, SocketTimer};
pub use splice::Spliced;
pub use supervising::{Exit, Process, Supervising};

use crate::core::tcp::TcpSnapshot;
use crate::core::time::{Duration, Instant};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The poller and the clock, and the maker of listeners.
pub trait Kernel {
    /// A listening socket.
    type Listener: Listener<Stream = Self::Stream>;
    /// A connected socket.
    type Stream: Stream;
    /// Who has sent so much at once is likely to send more: that is worth being spliced, as a window that brings a quarter of it
    /// still is.
    const BULK_BYTES: usize;

    /// The time now. The reactor reads it once a turn, and again only for a verdict on silence and to measure
    /// what an audit costs.
    fn now(&mut self) -> Instant;

    /// Nanoseconds by the clock that all processes of a host share (`CLOCK_MONOTONIC`), for what several of them have to
    /// bring into one order.
    fn shared_clock(&mut self) -> u64;

    /// Waits until something is ready, at most for `timeout` (`None`: until something is), and appends it
    /// to `ready`. A wait that a signal interrupts brings nothing. Spurious entries are allowed.
    ///
    /// # Errors
    /// When the poller itself has failed; the loop cannot go on.
    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> Result<Polled, Fatal>;

    /// Opens a listener and watches it under `token`.
    ///
    /// # Errors
    /// What was asked for and what the kernel answered, in a sentence for the operator.
    fn listen(&mut self, spec: &ListenSpec, token: Token) -> Result<Self::Listener, Fatal>;

    /// Begins to connect, non-blocking, and watches the stream for both directions, edge triggered. Once it is writable,
    /// or an error is flagged, [`take_error`](Stream::take_error) tells what became of it.
    ///
    /// # Errors
    /// When it cannot even begin.
    fn connect(&mut self, spec: &ConnectSpec<'_>, token: Token) -> Result<Self::Stream, ConnectError>;

    /// Whether a connection to that address could be its own peer: where the address is this host's, the kernel may choose
    /// the very port that is connected to as the source port, if nobody listens there and it is of the ephemeral range (a
    /// simultaneous open, RFC 9293 3.5). [`Stream::is_own_peer`] tells whether it has.
    fn could_be_own_peer(&self, to: &Address) -> bool;

    /// Looks names up, and waits for that: only before anybody is served.
    fn resolve(&mut self, names: &[HostName]) -> Answers;

    /// Begins to look names up beside the loop; [`resolved`](Self::resolved) has what came of it, and [`Token::ASIDE`] is ready
    /// then. Not before earlier ones have come.
    ///
    /// # Errors
    /// When there is no descriptor to be woken by.
    fn start_resolving(&mut self, names: Vec<HostName>) -> Result<(), Fatal>;

    /// The addresses of the names that were asked for, once they are there.
    fn resolved(&mut self) -> Option<Answers>;

    /// Starts to watch a stream, edge triggered.
    ///
    /// # Errors
    /// When the kernel is out of memory or watches (ENOMEM, ENOSPC).
    fn watch(&mut self, stream: &Self::Stream, token: Token, interest: Interest) -> Result<(), SocketError>;

    /// Changes what a watched stream is watched for.
    ///
    /// # Errors
    /// As [`watch`](Self::watch).
    fn rewatch(&mut self, stream: &Self::Stream, token: Token, interest: Interest)
    -> Result<(), SocketError>;

    /// Lets up to `rest.len()` bytes that `from` has received go to `to` without copying them (splice(2)). What `to` has no room
    /// for comes to the beginning of `rest`.
    fn splice(&mut self, from: &Self::Stream, to: &Self::Stream, rest: &mut [u8]) -> Spliced;

    /// The next signal that arrived, after [`Token::SIGNAL`] was ready.
    fn next_signal(&mut self) -> Option<Signal>;

    /// The host's counters; `None` where it does not tell.
    fn host_counters(&mut self) -> Option<HostCounters>;

    /// Memory that this process may have, in bytes; `None` where the host does not tell.
    fn memory(&self) -> Option<u64>;

    /// What this process uses; `None` where the host does not tell.
    fn usage(&mut self) -> Option<Usage>;

    /// The time since 1970; `None` where the host does not tell.
    fn unix_time(&self) -> Option<Duration> {
        None
    }

    /// Gives up a descriptor kept in reserve, so that one accept can succeed under EMFILE; false if it is
    /// given up already.
    fn release_reserve(&mut self) -> bool;

    /// Takes the reserve back, if a descriptor is free.
    fn retake_reserve(&mut self);

    /// Asks for rows of the kernel's table of sockets; [`read_sockets`](Self::read_sockets) brings them, and
    /// [`Token::ASIDE`] is ready when there are some. An earlier question is forgotten.
    ///
    /// # Errors
    /// When the kernel does not tell, or there is no descriptor to ask it through.
    fn start_sockets(&mut self, query: &SocketQuery, families: Families) -> Result<(), Fatal>;

    /// Appends the next rows, if they are there: about a hundred at a time. It does not wait for any.
    ///
    /// # Errors
    /// When the kernel stops telling.
    fn read_sockets(&mut self, rows: &mut Vec<SocketRow>) -> Result<Rows, Fatal>;

    /// Forgets the question, and gives back what it held.
    fn stop_sockets(&mut self);

    /// How often the service manager that started this process is to hear from it; `None`: there is no service manager.
    fn service_interval(&self) -> Option<Duration> {
        None
    }

    /// Notifies that service manager. It waits for nobody: news that is not taken is lost.
    fn notify_service(&mut self, _news: ServiceNews<'_>) {}
}

/// A listening socket, non-blocking.
pub trait Listener {
    /// What accepting yields.
    type Stream;

    /// Takes one connection from the accept queue.
    fn try_accept(&mut self) -> Accepted<Self::Stream>;

    /// Length and limit of the accept queue; `None` where the kernel does not tell (unix sockets).
    fn queue(&self) -> Option<Queue>;

    /// The address it is bound to, with the port that the kernel chose.
    fn address(&self) -> &Address;

    /// Applies changed options; connections accepted from now on inherit them.
    fn set_options(&mut self, options: &SocketOptions);

    /// Whether a service manager has the socket as well: its queue stays for who serves next when this one is closed.
    fn is_kept_by_service_manager(&self) -> bool {
        false
    }
}

/// A connected socket, non-blocking. Dropping one closes it plainly; [`close`](Stream::close) chooses how.
pub trait Stream {
    /// Receives into `buffer`.
    fn recv(&mut self, buffer: &mut [u8]) -> Received;

    /// Sends from `bytes`; never raises SIGPIPE.
    fn send(&mut self, bytes: &[u8]) -> Sent;

    /// Sends one byte out of band (`MSG_OOB`).
    fn send_oob(&mut self, byte: u8) -> Sent;

    /// Sends FIN behind what was sent; what the peer sends can still be received (`shutdown(2)`, `SHUT_WR`).
    fn shutdown_send(&mut self);

    /// The address that it is bound to; `None` for a unix socket.
    fn local_address(&self) -> Option<SocketAddr>;

    /// Whether it is connected to itself. See [`Kernel::could_be_own_peer`].
    fn is_own_peer(&self) -> bool;

    /// Takes the pending error of the socket (`SO_ERROR`). It may be a soft error of a live connection.
    fn take_error(&mut self) -> Option<SocketError>;

    /// What the kernel knows (`TCP_INFO`); `None` for a unix socket.
    fn evidence(&self) -> Option<TcpSnapshot>;

    /// Makes the kernel send a keepalive probe now, so that the peer's kernel shows whether it is there.
    /// Not one byte of it is seen by either program. Only for TCP, and only while no probe is out, or
    /// `core::conn::liveness::may_probe_again` allows it.
    fn probe_peer(&mut self);

    /// When the kernel gives up a peer that answers no probe. Only for TCP.
    fn probe_limits(&self) -> ProbeLimits;

    /// Undoes [`probe_peer`](Self::probe_peer): keepalive as the listener has it.
    fn restore_keepalive(&mut self, keepalive: Option<Keepalive>);

    /// Sends what follows at once, whatever is still on its way (`TCP_NODELAY`).
    fn set_nodelay(&mut self);

    /// Lets an urgent byte stay in its place in the stream (`SO_OOBINLINE`), one that has come already as well.
    fn set_oob_inline(&mut self);

    /// Makes the kernel probe the peer while it is quiet (`SO_KEEPALIVE` and its three numbers).
    fn set_keepalive(&mut self, keepalive: Keepalive);

    /// How long what is sent may stay unacknowledged from now on (`TCP_USER_TIMEOUT`), a FIN included.
    fn set_user_timeout(&mut self, timeout: Duration);

    /// Closes the socket in the given way.
    fn close(self, how: CloseHow);
}

/// What a stream is watched for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// Input only: nothing is waiting to be sent.
    Read,
    /// Input, and room for output.
    ReadWrite,
}

/// The outcome of a receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// That many bytes, at least one.
    Bytes(usize),
    /// End of file: the peer's FIN. Also what follows an error that was already returned.
    Eof,
    /// Nothing now (EAGAIN).
    WouldBlock,
    /// A signal came first (EINTR): not an ending, try again.
    Interrupted,
    /// The connection has failed.
    Failed(SocketError),
}

/// The outcome of a send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// That many bytes were taken, maybe fewer than offered.
    Bytes(usize),
    /// No room now (EAGAIN).
    WouldBlock,
    /// A signal came first (EINTR): try again.
    Interrupted,
    /// The connection has failed.
    Failed(SocketError),
}

/// How a socket call on a connection failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketError {
    /// ECONNRESET, ECONNABORTED: the peer reset.
    Reset,
    /// EPIPE: the peer had closed and then reset, or we had shut down sending.
    BrokenPipe,
    /// ETIMEDOUT: keepalive, retransmissions or the user timeout gave up.
    TimedOut,
    /// EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENETDOWN, ENONET: the network said there is no way.
    Unreachable,
    /// ENOBUFS, ENOMEM: the system's trouble, not the connection's.
    Memory,
    /// Any other errno.
    Other(i32),
}

/// The outcome of one accept.
#[derive(Debug)]
pub enum Accepted<S> {
    /// A connection and where it comes from.
    Stream(S, Peer),
    /// The queue is empty (EAGAIN).
    WouldBlock,
    /// A signal came first (EINTR): try again.
    Interrupted,
    /// That one had already failed in the queue (ECONNABORTED, EPROTO and the network errors that
    /// accept(2) passes on): the next may be well.
    Aborted(i32),
    /// Something ran out; the connection stays in the queue.
    Exhausted(Resource),
    /// Any other errno.
    Failed(i32),
}

/// What accepting ran out of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// EMFILE: this process's descriptors.
    ProcessFiles,
    /// ENFILE: the system's descriptors.
    SystemFiles,
    /// ENOBUFS, ENOMEM: socket memory.
    Memory,
}

impl Resource {
    /// The errno by name, and what would help.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::ProcessFiles => "EMFILE: this process is out of descriptors; raise RLIMIT_NOFILE",
            Self::SystemFiles => "ENFILE: the host is out of file handles; raise fs.file-max",
            Self::Memory => "ENOBUFS: the host is out of socket memory; see net.ipv4.tcp_mem",
        }
    }
}

/// How a socket is closed: the act behind [`CloseMode`](crate::core::end::CloseMode).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseHow {
    /// `close`, nothing else: the peer's FIN or RST is already here, or `TCP_LINGER2 = -1` was inherited.
    Plain,
    /// `TCP_LINGER2 = -1`, then `close`.
    Linger2,
    /// `SO_LINGER {1,0}`, then `close`.
    Reset,
}

/// Options set on a listener and inherited by what it accepts (`src/sys/facts.rs` shows that they are), or set on a socket
/// before it connects. By default those of a new socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SocketOptions {
    /// `TCP_NODELAY`.
    pub nodelay: bool,
    /// `SO_KEEPALIVE` and its three numbers.
    pub keepalive: Option<Keepalive>,
    /// `TCP_USER_TIMEOUT`.
    pub user_timeout: Option<Duration>,
    /// `TCP_LINGER2 = -1`.
    pub linger2: bool,
    /// `SO_SNDBUF` in bytes; `None` leaves it to the kernel's autotuning.
    pub send_buffer: Option<u32>,
    /// `SO_OOBINLINE`: an urgent byte stays in the stream, in its place.
    pub oob_inline: bool,
}

/// What to listen on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenSpec {
    /// The address that is listened on.
    pub address: Address,
    /// Length of the accept queue asked for; the kernel caps it at `net.core.somaxconn`.
    pub backlog: u32,
    /// Inherited options.
    pub options: SocketOptions,
    /// Permissions of the file of a unix socket.
    pub socket_mode: u32,
}

/// A place to listen on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// IPv4 or IPv6. `[::]` takes IPv4 as well unless `v6_only`.
    Tcp {
        /// Address and port; port 0 lets the kernel choose.
        socket: SocketAddr,
        /// `IPV6_V6ONLY`.
        v6_only: bool,
        /// The interface that a link-local address is of, where it was said by name. Its number is looked up as the
        /// socket is opened: interfaces come and go.
        interface: Option<Box<str>>,
    },
    /// A unix stream socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { socket, interface: Some(name), .. } => {
                write!(f, "[{}%{name}]:{}", socket.ip(), socket.port())
            }
            Self::Tcp { socket, interface: None, .. } => write!(f, "{socket}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An accept queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Queue {
    /// Connections that wait in it now (`tcpi_unacked` of a listener).
    pub length: u32,
    /// Its limit (`tcpi_sacked`); it holds one more than that.
    pub limit: u32,
}

/// Counters of the host that concern us (`/proc/net/netstat`, TcpExt), since boot: of all programs in the
/// network namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HostCounters {
    /// `ListenOverflows`: the accept queue was full.
    pub overflows: u64,
    /// `ListenDrops`: the same, and every other reason to drop a SYN or the last ACK.
    pub drops: u64,
    /// `TW` and `TWKilled`: sockets that went into TIME_WAIT.
    pub time_waits: u64,
}

/// What a process uses of its host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Memory that is resident now, in bytes.
    pub resident_bytes: u64,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Open descriptors; `None` where counting them would mean to walk them.
    pub descriptors: Option<u64>,
    /// Most descriptors that may be open.
    pub descriptors_max: u64,
    /// When the process started, since 1970.
    pub started: Duration,
    /// What time it is, since 1970.
    pub unix_time: Duration,
    /// CPU time in user space.
    pub cpu_user: Duration,
    /// CPU time in the kernel.
    pub cpu_system: Duration,
}

/// A signal, by what it asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGTERM or SIGINT: drain, then exit. A second one: exit now.
    Terminate,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: log a summary of the state.
    Report,
    /// SIGCHLD, where it was asked for: a child may have ended.
    Child,
}

/// The loop cannot start or go on: what was tried, and the kernel's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fatal {
    /// What was tried, with what, as in `bind 127.0.0.1:7007`.
    pub what: String,
    /// The kernel's answer in words, and what would help.
    pub why: String,
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl std::error::Error for Fatal {}
