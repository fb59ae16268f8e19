//! Misbehaving as a client: what a generator of faults does to its own sockets, and a server never does.

use super::{Stream, errno, sockopt};
use crate::net::SocketError;
use libc::c_int;
use std::os::fd::{AsFd, AsRawFd};

/// A classic BPF program of one instruction, `ret #0`: keep nothing of any packet.
const DROP_ALL: libc::sock_filter = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 };

impl Stream {
    /// Sends our FIN and keeps the other direction.
    #[expect(unsafe_code, reason = "shutdown(2)")]
    pub fn half_close(&self) {
        // SAFETY: the descriptor is open while this lives.
        unsafe { libc::shutdown(self.as_fd().as_raw_fd(), libc::SHUT_WR) };
    }

    /// Lets nothing in any more: whatever arrives is dropped before TCP sees it, so that not even an
    /// acknowledgement leaves. To the peer the host is gone.
    ///
    /// A filter on the socket keeps nothing (`net/ipv4/tcp_ipv4.c: tcp_v4_rcv` drops the packet before it
    /// looks at it). It needs no privilege; test `a_deaf_socket_answers_nothing_until_it_hears_again`.
    ///
    /// # Errors
    /// When the kernel does not allow it.
    pub fn blackhole(&self) -> Result<(), SocketError> {
        let mut program = [DROP_ALL];
        let filter = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
        sockopt::set(self.as_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, Filter(filter))
            .map_err(errno::fault)
    }

    /// Undoes [`blackhole`](Self::blackhole): the host is back, and knows nothing of what it missed.
    pub fn hear_again(&self) {
        // ENOENT: it had no filter.
        let _ = sockopt::set(self.as_fd(), libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0);
    }

    /// Gives the socket the smallest buffers there are.
    pub fn shrink_buffers(&self) {
        // The kernel raises it to its own minimum (socket(7)).
        set_buffers(self, 1);
    }

    /// Undoes [`shrink_buffers`](Self::shrink_buffers).
    pub fn widen_buffers(&self) {
        // The usual default (`net.core.rmem_default`); what was set once the kernel does not tune any more.
        set_buffers(self, 212_992);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::conn::liveness::may_probe_again;
    use crate::net::{CloseHow, Kernel as _, Received, Sent, Stream as _};
    use crate::sys::connect::tests::connected;
    use crate::sys::testing::{self, recv, until};
    use crate::sys::{Listener, Os};
    use std::time::Duration;

    #[test]
    fn a_deaf_socket_answers_nothing_until_it_hears_again() {
        let mut os = Os::without_signals().unwrap();
        let mut listener = Listener::open(&testing::loopback()).unwrap();
        let (client, mut server, _) = connected(&mut os, &mut listener, None);
        client.blackhole().unwrap();
        assert_eq!(server.send(b"are you there?"), Sent::Bytes(14));
        // Any kernel that hears would have acknowledged long before the first retransmission.
        until("a retransmission", || server.evidence().is_some_and(|evidence| evidence.retransmits > 0));
        assert_eq!(server.evidence().unwrap().unacked, 1);
        client.hear_again();
        until("an acknowledgement", || server.evidence().is_some_and(|evidence| evidence.unacked == 0));
        client.close(CloseHow::Reset);
        assert!(matches!(recv(&mut server, &mut [0; 8]), Received::Failed(SocketError::Reset)));
    }

    /// By then a packet has gone through the queues of this host.
    const ARRIVED: Duration = Duration::from_millis(100);

    /// What a second probe is for, and what shows that the first was lost.
    #[test]
    fn a_probe_that_was_lost_is_sent_once_more() {
        let mut os = Os::without_signals().unwrap();
        let mut listener = Listener::open(&testing::loopback()).unwrap();
        let (client, mut server, _) = connected(&mut os, &mut listener, None);
        let evidence = |server: &Stream| server.evidence().unwrap();
        until("1.3 s of silence", || evidence(&server).last_ack_recv_ms > 1300);
        client.blackhole().unwrap();
        server.probe_peer();
        until("a probe is out", || evidence(&server).probes == 1);
        let out = os.now();
        until("it was dropped", || os.now().since(out) > ARRIVED);
        client.hear_again();
        // The kernel would probe again in 75 s (`tcp_keepalive_intvl`).
        assert!(may_probe_again(&evidence(&server), server.probe_limits()));
        server.probe_peer();
        until("the peer's kernel answers", || evidence(&server).probes == 0);
    }

    #[test]
    fn a_lost_answer_is_given_again_but_not_within_half_a_second() {
        /// `net.ipv4.tcp_invalid_ratelimit`, unless somebody has changed it.
        const LIMIT: Duration = Duration::from_millis(500);
        /// The kernel counts it in ticks, of 10 ms at most (`CONFIG_HZ`).
        const TICKS: Duration = Duration::from_millis(20);
        let mut os = Os::without_signals().unwrap();
        let mut listener = Listener::open(&testing::loopback()).unwrap();
        let evidence = |server: &Stream| server.evidence().unwrap();
        // Where the machine was too slow for that, another one shows it.
        until("a second probe within that time", || {
            let (_client, mut server, _) = connected(&mut os, &mut listener, None);
            until("1.3 s of silence", || evidence(&server).last_ack_recv_ms > 1300);
            server.blackhole().unwrap();
            let first = os.now();
            server.probe_peer();
            until("its answer was dropped", || {
                evidence(&server).probes == 1 && os.now().since(first) > ARRIVED
            });
            server.hear_again();
            server.probe_peer();
            until("the second is out", || evidence(&server).probes != 1);
            let out = os.now();
            let in_time = out.since(first) < LIMIT;
            if in_time {
                assert_eq!(evidence(&server).probes, 2, "it was answered");
            }
            until("that time", || os.now().since(out) > LIMIT + TICKS);
            server.probe_peer();
            until("the peer's kernel answers", || evidence(&server).probes == 0);
            in_time
        });
    }

    #[test]
    fn a_half_closed_socket_still_hears() {
        let mut os = Os::without_signals().unwrap();
        let mut listener = Listener::open(&testing::loopback()).unwrap();
        let (mut client, mut server, _) = connected(&mut os, &mut listener, None);
        client.half_close();
        assert_eq!(recv(&mut server, &mut [0; 8]), Received::Eof);
        assert_eq!(server.send(b"rest"), Sent::Bytes(4));
        assert_eq!(recv(&mut client, &mut [0; 8]), Received::Bytes(4));
    }
}
