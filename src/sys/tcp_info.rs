//! `TCP_INFO` (tcp(7)): of a connection, the [`TcpSnapshot`] of what became of its peer; of a listener, the
//! fill of its accept queue.

use super::sockopt::{self, Plain};
use crate::core::tcp::{TcpSnapshot, TcpState};
use crate::net::Queue;
use std::mem::{offset_of, size_of};
use std::os::fd::BorrowedFd;

/// What the kernel knows about a connection; `None` if the socket is not TCP.
pub(super) fn evidence(fd: BorrowedFd<'_>) -> Option<TcpSnapshot> {
    Some(read(fd)?.evidence())
}

/// The accept queue of a listener; `None` if the socket is not TCP.
pub(super) fn queue(fd: BorrowedFd<'_>) -> Option<Queue> {
    // net/ipv4/tcp.c: tcp_get_info, "reporting the accept queue" in two fields that a listener has no other
    // use for.
    let TcpInfo { unacked: length, sacked: limit, .. } = read(fd)?;
    Some(Queue { length, limit })
}

fn read(fd: BorrowedFd<'_>) -> Option<TcpInfo> {
    sockopt::read(fd, libc::IPPROTO_TCP, libc::TCP_INFO).ok()
}

/// The same structure as netlink brings it, however long it is there (`INET_DIAG_INFO`): the evidence, and the
/// milliseconds since data was last sent.
pub(super) fn from_bytes(bytes: &[u8]) -> (TcpSnapshot, u32) {
    let info = sockopt::from_bytes::<TcpInfo>(bytes);
    (info.evidence(), info.last_data_sent)
}

/// The first 232 bytes of `struct tcp_info` (`include/uapi/linux/tcp.h`). The structure has only ever grown
/// at its end: an older kernel writes less, and what it leaves out stays zero.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct TcpInfo {
    state: u8,
    _ca_state: u8,
    retransmits: u8,
    probes: u8,
    _backoff_to_flags: [u8; 4],
    _rto_to_rcv_mss: [u32; 4],
    unacked: u32,
    sacked: u32,
    _lost_to_fackets: [u32; 3],
    last_data_sent: u32,
    _last_ack_sent: u32,
    last_data_recv: u32,
    last_ack_recv: u32,
    _pmtu_to_total_retrans: [u32; 11],
    _pacing_rate_to_segs_in: [u32; 10],
    /// Linux 4.6.
    notsent_bytes: u32,
    _min_rtt_to_rcv_ooopack: [u32; 20],
    /// Linux 5.4.
    snd_wnd: u32,
}

const _: () = {
    assert!(offset_of!(TcpInfo, unacked) == 24, "tcpi_unacked");
    assert!(offset_of!(TcpInfo, last_data_sent) == 44, "tcpi_last_data_sent");
    assert!(offset_of!(TcpInfo, last_data_recv) == 52, "tcpi_last_data_recv");
    assert!(offset_of!(TcpInfo, last_ack_recv) == 56, "tcpi_last_ack_recv");
    assert!(offset_of!(TcpInfo, notsent_bytes) == 144, "tcpi_notsent_bytes");
    assert!(offset_of!(TcpInfo, snd_wnd) == 228, "tcpi_snd_wnd");
    assert!(size_of::<TcpInfo>() == 232, "no padding");
};

#[expect(unsafe_code, reason = "see Plain")]
// SAFETY: integers only, and the size asserted above leaves no room for padding.
unsafe impl Plain for TcpInfo {}

impl TcpInfo {
    const fn evidence(&self) -> TcpSnapshot {
        TcpSnapshot {
            state: TcpState::from_number(self.state),
            retransmits: self.retransmits,
            probes: self.probes,
            unacked: self.unacked,
            last_ack_recv_ms: self.last_ack_recv,
            last_data_recv_ms: self.last_data_recv,
            snd_wnd: self.snd_wnd,
            notsent_bytes: self.notsent_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Stream as _;
    use crate::sys::testing::{self, fill};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_kernel_that_knows_less_leaves_the_rest_zero() {
        let (_client, mut server) = testing::pair();
        fill(&mut server);
        let prefix = |length| {
            sockopt::read_prefix::<TcpInfo>(server.as_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, length)
                .unwrap()
                .evidence()
        };
        let whole = server.evidence().unwrap();
        assert_eq!(whole.state, TcpState::Established);
        assert!(whole.notsent_bytes > 0, "{whole}");
        assert!(prefix(232).notsent_bytes > 0);
        assert_eq!(prefix(144), TcpSnapshot { notsent_bytes: 0, snd_wnd: 0, ..prefix(144) });
        assert_eq!(prefix(144).state, TcpState::Established);
        assert_eq!(prefix(0), TcpSnapshot::default());
    }

    #[test]
    fn an_idle_peer_shows_an_open_window_and_nothing_in_flight() {
        let (_client, server) = testing::pair();
        let evidence = server.evidence().unwrap();
        assert!(evidence.snd_wnd > 0);
        assert_eq!((evidence.unacked, evidence.retransmits, evidence.notsent_bytes), (0, 0, 0));
    }

    #[test]
    fn a_unix_socket_has_none() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(evidence(one.as_fd()), None);
        assert_eq!(queue(one.as_fd()), None);
    }
}
