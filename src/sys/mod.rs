//! The operating system: the only home of mio, libc, unsafe code, signals and the real clock.
//!
//! [`Os`] stands behind the traits of [`net`](crate::net); nothing here decides anything about a
//! connection. Read on in [`stream`] for receiving, sending and closing, in [`listener`] for accepting, in
//! [`facts`] for what the kernel does, and which test shows it.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("linger is built on Linux: epoll, TCP_INFO, TCP_LINGER2, and tokens of 64 bits");

pub mod admin_client;
pub mod aside;
mod client_faults;
pub mod connect;
mod dump;
mod errno;
#[cfg(not(test))]
#[doc = include_str!("facts.md")]
pub mod facts {}
#[cfg(test)]
mod facts;
pub mod file;
pub mod host;
pub mod limits;
pub mod listener;
pub mod memory;
pub mod names;
pub mod owners;
mod pipe;
#[cfg(test)]
mod polling_facts;
pub mod process;
mod service;
pub mod sock_diag;
mod sockaddr;
mod socket;
mod sockopt;
mod steer;
pub mod stream;
mod tcp_info;
#[cfg(test)]
mod testing;
pub mod thread;
pub mod worker;

pub use aside::Aside;
pub use listener::Listener;
pub use sock_diag::SocketTable;
pub use stream::Stream;

use crate::core::time::{Duration, Instant};
use crate::net::{
    Address, Answers, ConnectError, ConnectSpec, Families, Fatal, HostCounters, HostName, Interest, Kernel,
    ListenSpec, Polled, Readiness, Ready, Rows, ServiceNews, Signal, SocketError, SocketQuery, SocketRow,
    Spliced, Token, Usage,
};
use libc::c_int;
use mio::unix::SourceFd;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_mio::v1_0::Signals;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

/// Most readiness entries taken from the kernel in one poll (12 bytes each). What does not fit comes with
/// the next one: epoll goes round its ready list.
const EVENTS_MAX: usize = 1024;

/// The real kernel: an epoll set, a clock, and signals where asked for.
pub struct Os {
    poll: mio::Poll,
    events: mio::Events,
    /// What the clock said when this was made, in nanoseconds.
    origin: u64,
    signals: Option<Signals>,
    reserve: Option<limits::Reserve>,
    /// Entries of a poll by [`connect`]'s finer clock.
    fine: Vec<libc::epoll_event>,
    /// Made when the first thread beside the loop needs it, and kept: an epoll set of mio's has one and no other.
    waker: Option<Arc<mio::Waker>>,
    /// Listening sockets that were opened for this process, in the order in which it will ask for them, with whether a
    /// service manager has each as well.
    handed: VecDeque<(OwnedFd, bool)>,
    /// The service manager that started this process.
    service: Option<service::ServiceManager>,
    /// Listening sockets that it has opened, and that no listener has asked for yet.
    kept: Vec<service::Handed>,
    /// Children that end are nobody's but ours to wait for, and we have started none.
    reaps: bool,
    dump: Option<dump::Dump>,
    /// Made when names are first looked up beside the loop.
    resolver: Option<names::Resolver>,
    splicing: pipe::Splicing,
}

impl Os {
    /// For what a person starts and ends: SIGTERM, SIGINT, SIGHUP and SIGUSR1 become readiness of [`Token::SIGNAL`], SIGPIPE
    /// is ignored, and a descriptor is kept in reserve.
    ///
    /// # Errors
    /// When the kernel refuses an epoll set or a signal handler.
    pub fn new() -> Result<Self, Fatal> {
        Self::with_signals(&[SIGTERM, SIGINT, SIGHUP, SIGUSR1])
    }

    /// For a server alone: as [`new`](Self::new), and no zombie stays. It starts no process, but as the first one of a
    /// container every orphan becomes its child, and where a shell was replaced by it, so do the shell's children.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn for_server() -> Result<Self, Fatal> {
        let mut os = Self::for_supervisor()?;
        os.reaps = true;
        // Those that ended before anybody listened.
        process::reap(|_| false);
        Ok(os)
    }

    /// For the supervisor of workers: as [`new`](Self::new), and told of children that end.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn for_supervisor() -> Result<Self, Fatal> {
        let mut os = Self::with_signals(&[SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD])?;
        os.service = service::ServiceManager::from_environment();
        os.kept = service::take_sockets()?;
        Ok(os)
    }

    /// Addresses of listening sockets that the service manager has opened and no listener has asked for.
    pub fn unused_sockets(&self) -> impl Iterator<Item = &Address> {
        self.kept.iter().map(|socket| &socket.address)
    }

    /// For a worker, that was handed its listening sockets in the order of its settings. Its supervisor tells it
    /// when to end and to read the configuration again; the signals for that reach both of them, from a terminal
    /// or a service manager that means the whole group, and must not count twice.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn for_worker(handed: Vec<(OwnedFd, bool)>) -> Result<Self, Fatal> {
        worker::ignore_group_signals();
        let mut os = Self::with_signals(&[SIGUSR1])?;
        os.handed = handed.into();
        Ok(os)
    }

    fn with_signals(numbers: &[c_int]) -> Result<Self, Fatal> {
        let mut os = Self::without_signals()?;
        let refused = |error: std::io::Error| errno::fatal("handle signals", errno::number(&error));
        let mut signals = Signals::new(numbers).map_err(refused)?;
        let token = mio_token(Token::SIGNAL);
        os.poll.registry().register(&mut signals, token, mio::Interest::READABLE).map_err(refused)?;
        os.signals = Some(signals);
        os.reserve = Some(limits::Reserve::new()?);
        ignore_sigpipe();
        memory::give_large_buffers_back();
        Ok(os)
    }

    /// For a part of a process: what signals do is left as it is.
    ///
    /// # Errors
    /// When the kernel refuses an epoll set.
    pub fn without_signals() -> Result<Self, Fatal> {
        let poll =
            mio::Poll::new().map_err(|error| errno::fatal("create an epoll set", errno::number(&error)))?;
        let events = mio::Events::with_capacity(EVENTS_MAX);
        Ok(Self {
            poll,
            events,
            origin: monotonic_nanos(),
            signals: None,
            reserve: None,
            fine: Vec::new(),
            waker: None,
            handed: VecDeque::new(),
            service: None,
            kept: Vec::new(),
            reaps: false,
            dump: None,
            resolver: None,
            splicing: pipe::Splicing::default(),
        })
    }
}

impl Os {
    /// A kind of work for threads beside the loop, called `name`.
    ///
    /// # Errors
    /// When there is no descriptor to be woken by.
    pub fn aside<In: Send + 'static, Out: Send + 'static>(
        &mut self,
        name: &'static str,
        work: impl Fn(In) -> Out + Send + Sync + 'static,
    ) -> Result<Aside<In, Out>, Fatal> {
        Ok(Aside::new(name, self.waker()?, work))
    }

    fn waker(&mut self) -> Result<Arc<mio::Waker>, Fatal> {
        if self.waker.is_none() {
            let waker = mio::Waker::new(self.poll.registry(), mio_token(Token::ASIDE))
                .map_err(|error| errno::fatal("be woken by another thread", errno::number(&error)))?;
            self.waker = Some(Arc::new(waker));
        }
        Ok(Arc::clone(self.waker.as_ref().expect("it was made just now, if not before")))
    }
}

/// `CLOCK_MONOTONIC`. Not by the standard library, whose checks of what cannot be cost more than the call: a load
/// generator asks for every answer.
#[expect(unsafe_code, reason = "clock_gettime(2)")]
#[inline]
fn monotonic_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec` where one is.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// A stopwatch that starts now, for what runs without a kernel of its own.
#[expect(clippy::disallowed_methods, reason = "the real clock")]
pub fn clock() -> impl Fn() -> Duration {
    let started = std::time::Instant::now();
    move || started.elapsed()
}

impl Kernel for Os {
    type Listener = Listener;
    type Stream = Stream;
    /// Less costs fewer calls when it is copied.
    const BULK_BYTES: usize = 64 * 1024;

    /// `CLOCK_MONOTONIC`, from when this was made.
    fn now(&mut self) -> Instant {
        Instant::from_nanos(monotonic_nanos() - self.origin)
    }

    fn shared_clock(&mut self) -> u64 {
        monotonic_nanos()
    }

    /// The timeout is rounded up to whole milliseconds, so that a deadline has passed when its poll ends.
    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> Result<Polled, Fatal> {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {
                let before = ready.len();
                ready.extend(self.events.iter().map(to_ready));
                let count = ready.len() - before;
                Ok(if count < EVENTS_MAX { Polled::All } else { Polled::Part(count) })
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Polled::Part(0)),
            Err(error) => Err(errno::fatal("wait for readiness", errno::number(&error))),
        }
    }

    fn listen(&mut self, spec: &ListenSpec, token: Token) -> Result<Listener, Fatal> {
        let listener = match self.handed.pop_front() {
            Some((fd, kept)) => Listener::adopt(fd, &spec.address, kept),
            None => match service::take_for(&mut self.kept, &spec.address, 1)?.pop() {
                Some(kept) => Listener::keep(kept, spec)?,
                None => Listener::open(spec)?,
            },
        };
        let mut source = SourceFd(&listener.as_fd().as_raw_fd());
        self.poll
            .registry()
            .register(&mut source, mio_token(token), mio::Interest::READABLE)
            .map_err(|error| errno::fatal(format!("watch {}", spec.address), errno::number(&error)))?;
        Ok(listener)
    }

    fn connect(&mut self, spec: &ConnectSpec<'_>, token: Token) -> Result<Stream, ConnectError> {
        self.begin_connect(spec, token)
    }

    fn could_be_own_peer(&self, to: &Address) -> bool {
        match to {
            Address::Tcp { socket, .. } => {
                host::ephemeral_ports().is_none_or(|ports| ports.contains(&socket.port()))
            }
            Address::Unix(_) => false,
        }
    }

    fn resolve(&mut self, names: &[HostName]) -> Answers {
        names::resolve_all(names)
    }

    fn start_resolving(&mut self, names: Vec<HostName>) -> Result<(), Fatal> {
        self.begin_resolving(names)
    }

    fn resolved(&mut self) -> Option<Answers> {
        self.resolver.as_mut()?.take()
    }

    #[expect(clippy::inline_always, reason = "what is watched for is known where it is called")]
    #[inline(always)]
    fn watch(&mut self, stream: &Stream, token: Token, interest: Interest) -> Result<(), SocketError> {
        self.poll
            .registry()
            .register(&mut SourceFd(&stream.as_fd().as_raw_fd()), mio_token(token), mio_interest(interest))
            .map_err(|error| errno::fault(errno::number(&error)))
    }

    fn rewatch(&mut self, stream: &Stream, token: Token, interest: Interest) -> Result<(), SocketError> {
        self.poll
            .registry()
            .reregister(&mut SourceFd(&stream.as_fd().as_raw_fd()), mio_token(token), mio_interest(interest))
            .map_err(|error| errno::fault(errno::number(&error)))
    }

    fn splice(&mut self, from: &Stream, to: &Stream, rest: &mut [u8]) -> Spliced {
        self.splicing.run(from.as_fd(), to.as_fd(), rest)
    }

    fn next_signal(&mut self) -> Option<Signal> {
        match self.signals.as_mut()?.pending().next()? {
            SIGHUP => Some(Signal::Reload),
            SIGUSR1 => Some(Signal::Report),
            SIGCHLD => {
                if self.reaps {
                    process::reap(|_| false);
                }
                Some(Signal::Child)
            }
            // SIGTERM and SIGINT.
            _ => Some(Signal::Terminate),
        }
    }

    fn host_counters(&mut self) -> Option<HostCounters> {
        host::host_counters()
    }

    fn usage(&mut self) -> Option<Usage> {
        host::usage()
    }

    fn unix_time(&self) -> Option<Duration> {
        Some(host::unix_time())
    }

    fn memory(&self) -> Option<u64> {
        memory::available()
    }

    fn release_reserve(&mut self) -> bool {
        self.reserve.as_mut().is_some_and(limits::Reserve::release)
    }

    fn retake_reserve(&mut self) {
        if let Some(reserve) = &mut self.reserve {
            reserve.retake();
        }
    }

    fn start_sockets(&mut self, query: &SocketQuery, families: Families) -> Result<(), Fatal> {
        self.dump = Some(dump::Dump::start(self.waker()?, query, families)?);
        Ok(())
    }

    fn read_sockets(&mut self, rows: &mut Vec<SocketRow>) -> Result<Rows, Fatal> {
        let Some(dump) = &mut self.dump else { return Ok(Rows::Done) };
        let read = dump.read(rows);
        if !matches!(read, Ok(Rows::More | Rows::Later)) {
            self.dump = None;
        }
        read
    }

    fn stop_sockets(&mut self) {
        self.dump = None;
    }

    fn service_interval(&self) -> Option<Duration> {
        self.service.as_ref().map(service::ServiceManager::interval)
    }

    fn notify_service(&mut self, news: ServiceNews<'_>) {
        if let Some(service) = &self.service {
            service.notify(news);
        }
    }
}

#[inline]
fn to_ready(event: &mio::event::Event) -> Ready {
    // A closed write side comes with an error, or with the end of reading (EPOLLHUP).
    let readiness = if event.is_priority() || event.is_read_closed() || event.is_error() {
        readiness(event)
    } else {
        Readiness::READABLE.only_if(event.is_readable()) | Readiness::WRITABLE.only_if(event.is_writable())
    };
    Ready { token: Token(event.token().0 as u64), readiness }
}

/// Apart, because by far the most events are input, or input and room for output.
#[inline(never)]
fn readiness(event: &mio::event::Event) -> Readiness {
    // Urgent data, too: a receive stops at its mark, so that a short one does not mean a drained
    // socket (net/ipv4/tcp.c: tcp_recvmsg_locked; tests/server/hostile.rs: urgent_data_hides_nothing_behind_it).
    let read_closed = event.is_read_closed() || event.is_priority();
    Readiness::READABLE.only_if(event.is_readable())
        | Readiness::WRITABLE.only_if(event.is_writable())
        | Readiness::READ_CLOSED.only_if(read_closed)
        | Readiness::WRITE_CLOSED.only_if(event.is_write_closed())
        | Readiness::ERROR.only_if(event.is_error())
}

#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits where this compiles")]
const fn mio_token(token: Token) -> mio::Token {
    mio::Token(token.0 as usize)
}

const fn mio_interest(interest: Interest) -> mio::Interest {
    match interest {
        Interest::Read => mio::Interest::READABLE.add(mio::Interest::PRIORITY),
        Interest::ReadWrite => {
            mio::Interest::READABLE.add(mio::Interest::PRIORITY).add(mio::Interest::WRITABLE)
        }
    }
}

/// Every send here says `MSG_NOSIGNAL`; this is for the writes of others, such as the log's to a pipe that
/// nobody reads any more. The standard library gives worker processes the default back before exec.
#[expect(unsafe_code, reason = "signal(2)")]
fn ignore_sigpipe() {
    // SAFETY: ignoring installs no handler, so that no code of ours runs in a signal's context.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// A duration as the kernel's keepalive options take it: whole seconds, rounded up, at least 1.
fn whole_seconds(duration: Duration) -> c_int {
    let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    c_int::try_from(seconds.max(1)).unwrap_or(c_int::MAX)
}

#[cfg(test)]
mod tests;
