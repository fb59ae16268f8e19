//! Connecting outwards, for what plays the client: [`Connector`] over the real kernel.

use super::listener::{bind, connect, socket};
use super::sockaddr::Name;
use super::{Os, Stream, errno, host, sockopt};
use crate::net::{
    Address, ConnectError, Connector, Fatal, Interest, Kernel, Readiness, Ready, SocketError, Token,
};
use crate::time::{Duration, Instant};
use libc::{c_int, c_long};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

/// `IP_BIND_ADDRESS_NO_PORT` (include/uapi/linux/in.h, Linux 4.2): the port is chosen by connect(2), which
/// needs it free only towards that destination.
const IP_BIND_ADDRESS_NO_PORT: c_int = 24;

/// A classic BPF program of one instruction, `ret #0`: keep nothing of any packet.
const DROP_ALL: libc::sock_filter = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 };

/// Most readiness entries taken in one poll.
const EVENTS_MAX: usize = 1024;

impl Connector for Os {
    fn connect(
        &mut self,
        from: Option<IpAddr>,
        to: SocketAddr,
        token: Token,
    ) -> Result<Stream, ConnectError> {
        let name = |socket| {
            Name::new(&Address::Tcp { socket, v6_only: false, interface: None })
                .expect("an internet address always fits")
        };
        let to = name(to);
        let fd = socket(to.family()).map_err(refusal)?;
        // Small requests must leave at once; where it is refused they leave later.
        let _ = sockopt::set(fd.as_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
        if let Some(ip) = from {
            let _ = sockopt::set(fd.as_fd(), libc::IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
            bind(&fd, &name(SocketAddr::new(ip, 0))).map_err(|errno| match errno {
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
        self.watch(&stream, token, Interest::ReadWrite).map_err(ConnectError::SocketError)?;
        Ok(stream)
    }

    fn poll_until(&mut self, deadline: Instant, ready: &mut Vec<Ready>) -> Result<(), Fatal> {
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

    #[expect(unsafe_code, reason = "shutdown(2)")]
    fn half_close(&mut self, stream: &Stream) {
        // SAFETY: the descriptor is open while `stream` lives.
        unsafe { libc::shutdown(stream.as_fd().as_raw_fd(), libc::SHUT_WR) };
    }

    /// A filter on the socket that keeps nothing (`net/ipv4/tcp_ipv4.c: tcp_v4_rcv` drops the packet before it
    /// looks at it). Needs no privilege; test `a_deaf_socket_answers_nothing_until_it_hears_again`.
    fn blackhole(&mut self, stream: &Stream) -> Result<(), SocketError> {
        let mut program = [DROP_ALL];
        let filter = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
        sockopt::set(stream.as_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, Filter(filter))
            .map_err(errno::fault)
    }

    fn hear_again(&mut self, stream: &Stream) {
        // ENOENT: it was not deaf.
        let _ = sockopt::set(stream.as_fd(), libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0);
    }

    fn shrink_buffers(&mut self, stream: &Stream) {
        // The kernel raises it to its own minimum (socket(7)).
        set_buffers(stream, 1);
    }

    fn widen(&mut self, stream: &Stream) {
        // The usual default (`net.core.rmem_default`); what was set once the kernel does not tune any more.
        set_buffers(stream, 212_992);
    }

    fn cpu_time_of(&mut self, pid: u32) -> Option<Duration> {
        host::cpu_time_of(pid)
    }

    fn waited(&mut self) -> Duration {
        host::waited().unwrap_or_default()
    }

    #[expect(unsafe_code, reason = "clock_gettime(2)")]
    fn cpu_time(&mut self) -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes one `timespec` where one is.
        unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    }
}

/// Asks for so many bytes in each direction.
fn set_buffers(stream: &Stream, bytes: c_int) {
    for option in [libc::SO_RCVBUF, libc::SO_SNDBUF] {
        let _ = sockopt::set(stream.as_fd(), libc::SOL_SOCKET, option, bytes);
    }
}

/// `struct sock_fprog` as an option: its pointer is read by the call and not kept.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Filter(libc::sock_fprog);

#[expect(unsafe_code, reason = "see Plain")]
// SAFETY: only ever set, from a value whose pointer is good for the call, and never read back. Its padding is
// read by the kernel as bytes and means nothing to it.
unsafe impl sockopt::Plain for Filter {}

/// What a failed socket(2), bind(2) or connect(2) says.
const fn refusal(errno: i32) -> ConnectError {
    match errno {
        libc::ECONNREFUSED => ConnectError::Refused,
        libc::EADDRNOTAVAIL | libc::EADDRINUSE => ConnectError::NoPort,
        libc::EMFILE | libc::ENFILE => ConnectError::NoDescriptor,
        other => ConnectError::SocketError(errno::fault(other)),
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
            | SocketError::Memory => Self::SocketError(fault),
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
    Ready {
        token: Token(token),
        readiness: Readiness {
            readable: has(libc::EPOLLIN | libc::EPOLLPRI),
            writable: has(libc::EPOLLOUT),
            read_closed: has(libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLPRI),
            write_closed: has(libc::EPOLLHUP),
            error: has(libc::EPOLLERR),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{CloseHow, Received, Sent, Stream as _};
    use crate::sys::Listener;
    use crate::sys::testing::{self, accept, recv, until};

    /// A connection made by [`Connector`], and the server's end of it.
    fn connected(os: &mut Os, listener: &mut Listener, from: Option<IpAddr>) -> (Stream, Stream, SocketAddr) {
        let mut client = os.connect(from, testing::socket_of(listener), Token(7)).unwrap();
        let (server, peer) = accept(listener);
        let mut ready = Vec::new();
        until("it is writable", || {
            let soon = os.now() + Duration::from_millis(10);
            os.poll_until(soon, &mut ready).unwrap();
            ready.iter().any(|event| event.token == Token(7) && event.readiness.writable)
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
        let closed = testing::socket_of(&Listener::open(&testing::loopback()).unwrap());
        let mut client = os.connect(None, closed, Token(7)).unwrap();
        let mut ready = Vec::new();
        until("the answer", || {
            let soon = os.now() + Duration::from_millis(10);
            os.poll_until(soon, &mut ready).unwrap();
            !ready.is_empty()
        });
        assert_eq!(client.take_error().map(ConnectError::from), Some(ConnectError::Refused));
        let elsewhere = os.connect(Some("192.0.2.1".parse().unwrap()), closed, Token(8));
        assert!(matches!(elsewhere, Err(ConnectError::NotOurs)));
    }

    #[test]
    fn a_deaf_socket_answers_nothing_until_it_hears_again() {
        let mut os = Os::without_signals().unwrap();
        let mut listener = Listener::open(&testing::loopback()).unwrap();
        let (client, mut server, _) = connected(&mut os, &mut listener, None);
        os.blackhole(&client).unwrap();
        assert_eq!(server.send(b"are you there?"), Sent::Bytes(14));
        // Any kernel that hears would have acknowledged long before the first retransmission.
        until("a retransmission", || server.evidence().is_some_and(|evidence| evidence.retransmits > 0));
        assert_eq!(server.evidence().unwrap().unacked, 1);
        os.hear_again(&client);
        until("an acknowledgement", || server.evidence().is_some_and(|evidence| evidence.unacked == 0));
        client.close(CloseHow::Reset);
        assert!(matches!(recv(&mut server, &mut [0; 8]), Received::Failed(SocketError::Reset)));
    }

    #[test]
    fn a_half_closed_socket_still_hears() {
        let mut os = Os::without_signals().unwrap();
        let mut listener = Listener::open(&testing::loopback()).unwrap();
        let (mut client, mut server, _) = connected(&mut os, &mut listener, None);
        os.half_close(&client);
        assert_eq!(recv(&mut server, &mut [0; 8]), Received::Eof);
        assert_eq!(server.send(b"owed"), Sent::Bytes(4));
        assert_eq!(recv(&mut client, &mut [0; 8]), Received::Bytes(4));
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
