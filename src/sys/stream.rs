//! A connected socket: four bytes, a descriptor and nothing else. TCP or unix alike: what only TCP has
//! (`TCP_INFO`, keepalive, `TCP_LINGER2`) the kernel refuses on the other, and that changes nothing.
//!
//! Received, sent and closed is by `rustix`, which calls the kernel itself: recv(3), send(3) and close(3) of the C library are
//! cancellation points, which costs each of them 45 instructions in a process that has ever had a second thread
//! (`nptl/cancellation.c`), and its syscall(3) costs 15.

use super::{errno, socket, sockopt, tcp_info, whole_seconds};
use crate::core::tcp::TcpSnapshot;
use crate::core::time::Duration;
use crate::net::{CloseHow, Keepalive, ProbeLimits, Received, Sent, SocketError, Stream as Contract};
use libc::c_int;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

/// A connected, non-blocking socket that nobody else has a descriptor of.
#[derive(Debug)]
pub struct Stream(OwnedFd);

const _: () =
    assert!(size_of::<Stream>() == 4 && size_of::<Option<Stream>>() == 4, "one in every connection");

impl Stream {
    /// `fd` must be a non-blocking stream socket.
    pub(super) const fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    #[inline]
    fn send_with(&self, bytes: &[u8], flags: SendFlags) -> Sent {
        match rustix::net::send(&self.0, bytes, flags | SendFlags::NOSIGNAL) {
            Ok(length) => Sent::Bytes(length),
            Err(errno) => not_sent(errno),
        }
    }

    /// Sets an option on a socket that may be dead by now, and then needs it no more.
    fn try_set(&self, level: c_int, name: c_int, value: c_int) {
        let _ = sockopt::set(self.as_fd(), level, name, value);
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Why nothing came. Apart from the receiving itself, which is so short that it needs no call.
#[cold]
fn not_received(errno: Errno) -> Received {
    match errno.raw_os_error() {
        libc::EAGAIN => Received::WouldBlock,
        libc::EINTR => Received::Interrupted,
        errno => Received::Failed(errno::fault(errno)),
    }
}

/// Why nothing went. Apart, because it is rare.
#[cold]
fn not_sent(errno: Errno) -> Sent {
    match errno.raw_os_error() {
        libc::EAGAIN => Sent::WouldBlock,
        libc::EINTR => Sent::Interrupted,
        errno => Sent::Failed(errno::fault(errno)),
    }
}

impl Contract for Stream {
    #[inline]
    fn recv(&mut self, buffer: &mut [u8]) -> Received {
        debug_assert!(!buffer.is_empty(), "receiving into nothing would look like end of file");
        match rustix::net::recv(&self.0, buffer, RecvFlags::empty()) {
            Ok((0, _)) => Received::Eof,
            Ok((length, _)) => Received::Bytes(length),
            Err(errno) => not_received(errno),
        }
    }

    #[inline]
    fn send(&mut self, bytes: &[u8]) -> Sent {
        self.send_with(bytes, SendFlags::empty())
    }

    fn send_oob(&mut self, byte: u8) -> Sent {
        self.send_with(&[byte], SendFlags::OOB)
    }

    #[expect(unsafe_code, reason = "shutdown(2)")]
    fn shutdown_send(&mut self) {
        // SAFETY: the descriptor is open while `self` lives. One that is not connected any more refuses, and needs no FIN.
        unsafe { libc::shutdown(self.0.as_raw_fd(), libc::SHUT_WR) };
    }

    fn local_address(&self) -> Option<SocketAddr> {
        socket::local_name(&self.0)
    }

    fn is_own_peer(&self) -> bool {
        let own = socket::local_name(&self.0);
        own.is_some() && own == socket::peer_name(&self.0)
    }

    fn take_error(&mut self) -> Option<SocketError> {
        match sockopt::read(self.as_fd(), libc::SOL_SOCKET, libc::SO_ERROR) {
            Ok(0) => None,
            Ok(errno) | Err(errno) => Some(errno::fault(errno)),
        }
    }

    fn evidence(&self) -> Option<TcpSnapshot> {
        tcp_info::evidence(self.as_fd())
    }

    /// Setting `TCP_KEEPIDLE` re-arms the keepalive timer at once, for the new idle time less the quiet time
    /// so far (`net/ipv4/tcp.c: tcp_sock_set_keepidle_locked`): on a connection quiet for over a second, 1
    /// makes a probe leave now. The peer's kernel acknowledges it, which shows in `last_ack_recv_ms`; test
    /// `a_probe_makes_the_kernel_of_a_silent_peer_speak`.
    ///
    /// From then on the kernel probes at the listener's interval, and ends the connection by its count. With
    /// output in flight no probe leaves; the retransmissions are the evidence.
    ///
    /// While a probe is unanswered the timer, re-armed, may end the connection at once, without waiting for the
    /// interval: see `core::conn::liveness::may_probe_again`.
    fn probe_peer(&mut self) {
        self.try_set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
        self.try_set(libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 1);
    }

    fn probe_limits(&self) -> ProbeLimits {
        let read = |name| sockopt::read::<c_int>(self.as_fd(), libc::IPPROTO_TCP, name);
        let number = |name| read(name).ok().and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
        let user_timeout = u64::from(number(libc::TCP_USER_TIMEOUT));
        ProbeLimits {
            count: number(libc::TCP_KEEPCNT),
            user_timeout: (user_timeout > 0).then(|| Duration::from_millis(user_timeout)),
        }
    }

    fn restore_keepalive(&mut self, keepalive: Option<Keepalive>) {
        match keepalive {
            Some(Keepalive { idle, .. }) => {
                self.try_set(libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, whole_seconds(idle));
            }
            // The idle time of 1 stays, and means nothing while keepalive is off.
            None => self.try_set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, 0),
        }
    }

    fn set_nodelay(&mut self) {
        self.try_set(libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    }

    /// Test `an_urgent_byte_keeps_its_place_if_that_is_asked_for_before_it_is_read`.
    fn set_oob_inline(&mut self) {
        self.try_set(libc::SOL_SOCKET, libc::SO_OOBINLINE, 1);
    }

    fn set_keepalive(&mut self, keepalive: Keepalive) {
        let count = c_int::try_from(keepalive.count).unwrap_or(c_int::MAX);
        self.try_set(libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, whole_seconds(keepalive.idle));
        self.try_set(libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, whole_seconds(keepalive.interval));
        self.try_set(libc::IPPROTO_TCP, libc::TCP_KEEPCNT, count);
        self.try_set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
    }

    fn set_user_timeout(&mut self, timeout: Duration) {
        let millis = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        self.try_set(libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, millis);
    }

    #[expect(unsafe_code, reason = "close(2)")]
    #[inline]
    fn close(self, how: CloseHow) {
        match how {
            CloseHow::Plain => {}
            // Our FIN goes out after everything queued; its acknowledgement ends the socket here, and is
            // answered by a reset, which a Linux peer that has the FIN does not see as an error of recv
            // (test `a_linger2_close_is_a_fin_and_once_that_is_acknowledged_a_reset`).
            CloseHow::Linger2 => self.try_set(libc::IPPROTO_TCP, libc::TCP_LINGER2, -1),
            CloseHow::Reset => {
                let abort = libc::linger { l_onoff: 1, l_linger: 0 };
                let _ = sockopt::set(self.as_fd(), libc::SOL_SOCKET, libc::SO_LINGER, abort);
            }
        }
        // No EPOLL_CTL_DEL before: closing the last descriptor of a socket takes it out of every epoll set
        // (epoll(7)), and this one is never duplicated: it is close-on-exec and nothing here calls dup.
        // SAFETY: the descriptor is open and nobody else's, and given up with `self`.
        unsafe { rustix::io::close(self.0.into_raw_fd()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tcp::TcpState;
    use crate::core::time::Duration;
    use crate::net::Listener as _;
    use crate::sys::Listener;
    use crate::sys::testing::{self, recv, until};
    use std::io::{ErrorKind, Read, Write};
    use std::mem::MaybeUninit;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    #[test]
    fn bytes_pass_both_ways_and_nothing_would_block() {
        let (mut client, mut server) = testing::pair();
        assert_eq!(server.recv(&mut [0; 8]), Received::WouldBlock);
        client.write_all(b"ping").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(recv(&mut server, &mut buffer), Received::Bytes(4));
        assert_eq!(server.send(b"pong"), Sent::Bytes(4));
        client.read_exact(&mut buffer[..4]).unwrap();
        assert_eq!(&buffer[..4], b"pong");
        assert_eq!(server.take_error(), None);
    }

    #[test]
    fn a_peer_that_does_not_read_makes_send_block() {
        let (_client, mut server) = testing::pair();
        testing::fill(&mut server);
        assert_eq!(server.send(b"x"), Sent::WouldBlock);
    }

    #[test]
    fn a_half_closed_peer_still_takes_pending_output() {
        let (mut client, mut server) = testing::pair();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(recv(&mut server, &mut [0; 8]), Received::Eof);
        assert_eq!(server.send(b"rest"), Sent::Bytes(4));
        server.close(CloseHow::Plain);
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"rest");
    }

    #[test]
    fn an_out_of_band_byte_is_invisible_to_a_plain_reader() {
        let (mut client, mut server) = testing::pair();
        assert_eq!(server.send(b"a"), Sent::Bytes(1));
        assert_eq!(server.send_oob(b'!'), Sent::Bytes(1));
        assert_eq!(server.send(b"b"), Sent::Bytes(1));
        server.close(CloseHow::Plain);
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"ab");
    }

    #[test]
    fn sending_to_a_reset_peer_fails_without_sigpipe() {
        block_sigpipe();
        let (client, mut server) = testing::pair();
        Stream::new(client.into()).close(CloseHow::Reset);
        assert_eq!(recv(&mut server, &mut [0; 8]), Received::Failed(SocketError::Reset));
        assert_eq!(server.send(b"x"), Sent::Failed(SocketError::BrokenPipe));
        assert!(!sigpipe_pending());
        assert_eq!(server.send_oob(b'x'), Sent::Failed(SocketError::BrokenPipe));
        assert!(!sigpipe_pending());
        // The same without MSG_NOSIGNAL, to see that the two lines above could have failed.
        send_without_nosignal(&server);
        assert!(sigpipe_pending());
    }

    #[test]
    fn the_first_send_after_a_peer_closed_succeeds_and_the_next_fails() {
        let (client, mut server) = testing::pair();
        drop(client);
        assert_eq!(recv(&mut server, &mut [0; 8]), Received::Eof);
        assert_eq!(server.send(b"x"), Sent::Bytes(1));
        until("the RST is here", || server.evidence().unwrap().state != TcpState::CloseWait);
        assert_eq!(server.send(b"x"), Sent::Failed(SocketError::BrokenPipe));
    }

    #[test]
    fn a_probe_makes_the_kernel_of_a_silent_peer_speak() {
        let (mut client, mut server) = testing::pair();
        let heard_ms = |server: &Stream| server.evidence().unwrap().last_ack_recv_ms;
        until("1.3 s of silence", || heard_ms(&server) > 1300);
        let quiet = heard_ms(&server);
        server.probe_peer();
        until("the peer's kernel answers", || heard_ms(&server) < 1000);
        println!("last_ack_recv_ms {quiet} before, {} after the probe", heard_ms(&server));
        assert_eq!(server.recv(&mut [0; 8]), Received::WouldBlock, "no byte of it is seen here");
        client.set_nonblocking(true).unwrap();
        assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock, "nor there");
        let evidence = server.evidence().unwrap();
        assert!(evidence.last_data_recv_ms > 1300, "silence of the program goes on: {evidence}");
        assert_eq!(evidence.probes, 0);

        server.restore_keepalive(Some(Keepalive {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(10),
            count: 3,
        }));
        assert_eq!(testing::option(&server, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE), 60);
        assert_eq!(testing::option(&server, libc::SOL_SOCKET, libc::SO_KEEPALIVE), 1);
        server.restore_keepalive(None);
        assert_eq!(testing::option(&server, libc::SOL_SOCKET, libc::SO_KEEPALIVE), 0);
    }

    #[test]
    fn the_limits_of_probes_are_those_of_the_socket() {
        let (_client, mut server) = testing::pair();
        assert_eq!(server.probe_limits().user_timeout, None);
        assert!(server.probe_limits().count > 0, "the host's (tcp_keepalive_probes)");
        let second = Duration::from_secs(1);
        server.set_keepalive(Keepalive { idle: second, interval: second, count: 5 });
        server.set_user_timeout(Duration::from_millis(89_500));
        let user_timeout = Some(Duration::from_millis(89_500));
        assert_eq!(server.probe_limits(), ProbeLimits { count: 5, user_timeout });
    }

    #[test]
    fn without_a_probe_the_silence_grows() {
        // The control of the test above: on this listener nothing else makes the peer's kernel speak.
        let (_client, server) = testing::pair();
        let heard_ms = || server.evidence().unwrap().last_ack_recv_ms;
        let mut highest = 0;
        until("2 s of silence", || {
            let now = heard_ms();
            assert!(now >= highest, "the peer's kernel spoke after {highest} ms");
            highest = now;
            now > 2000
        });
    }

    #[test]
    fn a_unix_stream_works_alike() {
        let directory = testing::Directory::new();
        let mut listener = Listener::open(&testing::unix(directory.path("s"))).unwrap();
        let mut client = UnixStream::connect(directory.path("s")).unwrap();
        let (mut server, peer) = testing::accept(&mut listener);
        assert_eq!(peer.to_string(), "unix");
        client.write_all(b"ping").unwrap();
        assert_eq!(recv(&mut server, &mut [0; 8]), Received::Bytes(4));
        assert_eq!(server.evidence(), None);
        assert_eq!(listener.queue(), None);
        server.restore_keepalive(None);
        server.close(CloseHow::Linger2);
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    }

    #[expect(unsafe_code, reason = "pthread_sigmask(3)")]
    fn block_sigpipe() {
        let set = sigpipe();
        // SAFETY: the set is initialised; the old mask is not asked for. Each test has its own thread.
        let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        assert_eq!(result, 0);
    }

    /// A blocked signal is kept even where its disposition is to be ignored (kernel/signal.c:
    /// `sig_ignored`), so that it can be asked for.
    #[expect(unsafe_code, reason = "sigtimedwait(2)")]
    fn sigpipe_pending() -> bool {
        let set = sigpipe();
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: set and time are initialised; no information is asked for.
        unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const now) == libc::SIGPIPE }
    }

    #[expect(unsafe_code, reason = "sigsetops(3)")]
    fn sigpipe() -> libc::sigset_t {
        let mut set = MaybeUninit::uninit();
        // SAFETY: it initialises the set.
        assert_eq!(unsafe { libc::sigemptyset(set.as_mut_ptr()) }, 0);
        // SAFETY: the set was initialised by the line before.
        let mut set = unsafe { set.assume_init() };
        // SAFETY: an initialised set and a signal that exists.
        assert_eq!(unsafe { libc::sigaddset(&raw mut set, libc::SIGPIPE) }, 0);
        set
    }

    #[expect(unsafe_code, reason = "send(2) as Stream does not call it")]
    fn send_without_nosignal(stream: &Stream) {
        // SAFETY: the descriptor is open; one byte is read.
        let result = unsafe { libc::send(stream.0.as_raw_fd(), b"x".as_ptr().cast(), 1, 0) };
        assert_eq!(result, -1);
    }
}
