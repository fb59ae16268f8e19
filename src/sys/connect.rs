//! Connecting outwards, and waiting with a finer clock than a server needs.

use super::sockaddr::Name;
use super::socket::{bind, connect, set_options_of_new, socket, with_scope};
use super::{Os, Stream, errno, sockopt};
use crate::core::time::{Duration, Instant};
use crate::net::{
    Address, ConnectError, ConnectSpec, Fatal, Interest, Kernel, Readiness, Ready, SocketError, Token,
};
use libc::{c_int, c_long};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

/// `IP_BIND_ADDRESS_NO_PORT` (include/uapi/linux/in.h, Linux 4.2): the port is chosen by connect(2), which
/// needs it free only towards that destination.
const IP_BIND_ADDRESS_NO_PORT: c_int = 24;

/// Most readiness entries taken in one poll.
const EVENTS_MAX: usize = 1024;

impl Os {
    pub(super) fn begin_connect(
        &mut self,
        spec: &ConnectSpec<'_>,
        token: Token,
    ) -> Result<Stream, ConnectError> {
        let to = with_scope(spec.to).map_err(|_| ConnectError::Socket(SocketError::Unreachable))?;
        // One that does not fit cannot exist.
        let to = Name::new(&to).ok_or(ConnectError::NoSocket)?;
        let fd = socket(to.family()).map_err(refusal)?;
        set_options_of_new(fd.as_fd(), spec.to, &spec.options);
        if let (Some(ip), Address::Tcp { .. }) = (spec.from, spec.to) {
            let _ = sockopt::set(fd.as_fd(), libc::IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
            let from = Name::internet(SocketAddr::new(ip, 0));
            bind(&fd, &from).map_err(|errno| match errno {
                // The port is not chosen yet: it is the address that is not available.
                libc::EADDRNOTAVAIL => ConnectError::NotOurs,
                other => refusal(other),
            })?;
        }
        match connect(&fd, &to) {
            Ok(()) | Err(libc::EINPROGRESS) => {}
            Err(errno) => return Err(refusal(errno)),
        }
        // After connect(2): a socket that is neither connected nor connecting is flagged as hung up.
        let stream = Stream::new(fd);
        self.watch(&stream, token, Interest::ReadWrite).map_err(ConnectError::Socket)?;
        Ok(stream)
    }
}

impl Os {
    /// As [`poll`](Kernel::poll), until an instant that may be finer than a millisecond.
    ///
    /// # Errors
    /// When the poller itself has failed.
    pub fn poll_until(&mut self, deadline: Instant, ready: &mut Vec<Ready>) -> Result<(), Fatal> {
        let timeout = deadline.since(self.now());
        self.fine.resize(EVENTS_MAX, libc::epoll_event { events: 0, u64: 0 });
        match wait(self.poll.as_raw_fd(), &mut self.fine, timeout) {
            Ok(count) => {
                ready.extend(self.fine[..count].iter().map(to_ready));
                Ok(())
            }
            Err(libc::EINTR) => Ok(()),
            // Before Linux 5.11: whole milliseconds must do.
            Err(libc::ENOSYS) => self.poll(Some(timeout), ready).map(|_| ()),
            Err(errno) => Err(errno::fatal("wait for readiness", errno)),
        }
    }
}

/// What a failed socket(2), bind(2) or connect(2) says.
const fn refusal(errno: i32) -> ConnectError {
    match errno {
        libc::ECONNREFUSED => ConnectError::Refused,
        libc::ENOENT => ConnectError::NoSocket,
        libc::EAGAIN => ConnectError::QueueFull,
        libc::EADDRNOTAVAIL | libc::EADDRINUSE => ConnectError::NoPort,
        libc::EMFILE | libc::ENFILE => ConnectError::NoDescriptor,
        other => ConnectError::Socket(errno::fault(other)),
    }
}

impl From<SocketError> for ConnectError {
    /// What [`take_error`](crate::net::Stream::take_error) said of a connection that was being made.
    fn from(fault: SocketError) -> Self {
        match fault {
            SocketError::Other(errno) => refusal(errno),
            SocketError::Reset
            | SocketError::BrokenPipe
            | SocketError::TimedOut
            | SocketError::Unreachable
            | SocketError::Memory => Self::Socket(fault),
        }
    }
}

/// Lets timers of this thread fire when they are due, and not up to 50 us later to save wake-ups
/// (`PR_SET_TIMERSLACK`, prctl(2)).
#[expect(unsafe_code, reason = "prctl(2)")]
pub fn wake_on_time() {
    let slack_ns: libc::c_ulong = 1;
    // SAFETY: numbers.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack_ns) };
}

/// Sends a signal to a process that we started.
#[expect(unsafe_code, reason = "kill(2)")]
pub fn signal_child(pid: u32, signal: ChildSignal) {
    let signal = match signal {
        ChildSignal::Go => libc::SIGUSR1,
        ChildSignal::End => libc::SIGINT,
    };
    let Ok(pid) = libc::pid_t::try_from(pid) else { return };
    // SAFETY: numbers; a child that was not waited for keeps its number.
    unsafe { libc::kill(pid, signal) };
}

/// What a child is told by a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChildSignal {
    /// SIGUSR1: go on.
    Go,
    /// SIGINT: come to an end.
    End,
}

/// `epoll_pwait2`, or the errno.
#[expect(unsafe_code, reason = "epoll_pwait2(2)")]
fn wait(epoll: c_int, events: &mut [libc::epoll_event], timeout: Duration) -> Result<usize, i32> {
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: c_long::from(timeout.subsec_nanos().cast_signed()),
    };
    let room = c_int::try_from(events.len()).unwrap_or(c_int::MAX);
    // SAFETY: the descriptor is open; the kernel writes at most `room` entries, which `events` has, and reads
    // one `timespec`; the signal mask is none.
    let count = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll,
            events.as_mut_ptr(),
            room,
            &raw const timeout,
            std::ptr::null::<libc::sigset_t>(),
            size_of::<u64>(),
        )
    };
    usize::try_from(count).map_err(|_| errno::last())
}

fn to_ready(event: &libc::epoll_event) -> Ready {
    let (flags, token) = (event.events.cast_signed(), event.u64);
    let has = |flag: c_int| flags & flag != 0;
    let readiness = Readiness::READABLE.only_if(has(libc::EPOLLIN | libc::EPOLLPRI))
        | Readiness::WRITABLE.only_if(has(libc::EPOLLOUT))
        | Readiness::READ_CLOSED.only_if(has(libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLPRI))
        | Readiness::WRITE_CLOSED.only_if(has(libc::EPOLLHUP))
        | Readiness::ERROR.only_if(has(libc::EPOLLERR));
    Ready { token: Token(token), readiness }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::net::{Received, Sent, SocketOptions, Stream as _};
    use crate::sys::Listener;
    use crate::sys::testing::{self, accept, recv, until};
    use std::net::IpAddr;

    fn spec(to: &Address, from: Option<IpAddr>) -> ConnectSpec<'_> {
        ConnectSpec { to, from, options: SocketOptions { nodelay: true, ..SocketOptions::default() } }
    }

    /// A connection made by [`connect`](Kernel::connect), and the server's end of it.
    pub(in crate::sys) fn connected(
        os: &mut Os,
        listener: &mut Listener,
        from: Option<IpAddr>,
    ) -> (Stream, Stream, SocketAddr) {
        let to = testing::address_of(listener);
        let mut client = os.connect(&spec(&to, from), Token(7)).unwrap();
        let (server, peer) = accept(listener);
        let mut ready = Vec::new();
        until("it is writable", || {
            let soon = os.now() + Duration::from_millis(10);
            os.poll_until(soon, &mut ready).unwrap();
            ready.iter().any(|event| event.token == Token(7) && event.readiness.has(Readiness::WRITABLE))
        });
        assert_eq!(client.take_error(), None);
        (client, server, peer.address().unwrap())
    }

    #[test]
    fn a_connection_comes_from_where_it_was_told_to() {
        let mut os = Os::without_signals().unwrap();
        let mut listener = Listener::open(&testing::loopback()).unwrap();
        let from: IpAddr = "127.1.2.3".parse().unwrap();
        let (mut client, mut server, peer) = connected(&mut os, &mut listener, Some(from));
        assert_eq!(peer.ip(), from);
        assert_eq!(client.send(b"ping"), Sent::Bytes(4));
        assert_eq!(recv(&mut server, &mut [0; 8]), Received::Bytes(4));
    }

    #[test]
    fn a_refusal_is_told_by_the_error_of_the_socket() {
        let mut os = Os::without_signals().unwrap();
        let closed = testing::address_of(&Listener::open(&testing::loopback()).unwrap());
        let mut client = os.connect(&spec(&closed, None), Token(7)).unwrap();
        let mut ready = Vec::new();
        until("the answer", || {
            let soon = os.now() + Duration::from_millis(10);
            os.poll_until(soon, &mut ready).unwrap();
            !ready.is_empty()
        });
        assert_eq!(client.take_error().map(ConnectError::from), Some(ConnectError::Refused));
        let elsewhere = os.connect(&spec(&closed, Some("192.0.2.1".parse().unwrap())), Token(8));
        assert!(matches!(elsewhere, Err(ConnectError::NotOurs)));
    }

    #[test]
    fn a_connection_to_oneself_is_told_apart() {
        let mut os = Os::without_signals().unwrap();
        let mut listener = Listener::open(&testing::loopback()).unwrap();
        let (client, server, peer) = connected(&mut os, &mut listener, None);
        assert!(!client.is_own_peer() && !server.is_own_peer());
        let chosen = Address::Tcp { socket: peer, v6_only: false, interface: None };
        assert!(os.could_be_own_peer(&chosen), "{chosen}");

        // Bound to the very port that it connects to.
        let fd = socket(libc::AF_INET).unwrap();
        bind(&fd, &Name::internet("127.0.0.1:0".parse().unwrap())).unwrap();
        let own = crate::sys::socket::local_name(&fd).unwrap();
        assert_eq!(connect(&fd, &Name::internet(own)), Err(libc::EINPROGRESS));
        let stream = Stream::new(fd);
        until("it has found itself", || stream.is_own_peer());
    }

    #[test]
    fn the_options_of_a_socket_are_set_before_it_connects() {
        let mut os = Os::without_signals().unwrap();
        let listener = Listener::open(&testing::loopback()).unwrap();
        let to = testing::address_of(&listener);
        let options = SocketOptions { linger2: true, oob_inline: true, ..SocketOptions::default() };
        let stream = os.connect(&ConnectSpec { to: &to, from: None, options }, Token(7)).unwrap();
        assert_eq!(testing::option(&stream, libc::IPPROTO_TCP, libc::TCP_LINGER2), -1);
        assert_eq!(testing::option(&stream, libc::SOL_SOCKET, libc::SO_OOBINLINE), 1);
        assert_eq!(testing::option(&stream, libc::IPPROTO_TCP, libc::TCP_NODELAY), 0);
    }

    #[test]
    fn a_unix_socket_refuses_in_ways_of_its_own() {
        let mut os = Os::without_signals().unwrap();
        let directory = testing::Directory::new();
        let to = Address::Unix(directory.path("s"));
        assert!(matches!(os.connect(&spec(&to, None), Token(7)), Err(ConnectError::NoSocket)));
        let mut listening = testing::unix(directory.path("s"));
        listening.backlog = 1;
        let _listener = Listener::open(&listening).unwrap();
        let mut waiting = Vec::new();
        let full = loop {
            match os.connect(&spec(&to, None), Token(8)) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert!(matches!(full, ConnectError::QueueFull), "{full:?}");
        assert_eq!(waiting.len(), 2, "the queue holds one more than its backlog");
    }

    #[test]
    fn a_wait_may_be_finer_than_a_millisecond() {
        wake_on_time();
        let mut os = Os::without_signals().unwrap();
        let begun = os.now();
        for _ in 0..20 {
            let deadline = os.now() + Duration::from_micros(100);
            os.poll_until(deadline, &mut Vec::new()).unwrap();
            assert!(os.now() >= deadline);
        }
        let passed = os.now().since(begun);
        assert!(passed >= Duration::from_millis(2), "{passed:?}");
    }
}
