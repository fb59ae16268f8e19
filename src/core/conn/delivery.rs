//! What the kernel still holds for a peer when we want to let go of the socket, and how it can be closed then.
//!
//! A socket that is closed while its peer has not closed lives on until our FIN is acknowledged. A peer whose host
//! is gone acknowledges nothing, and the kernel would retransmit for minutes. It is asked once, before the close.

use crate::core::tcp::TcpSnapshot;
use crate::core::time::Duration;

/// What stands between a close and a socket that is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// Acknowledgements, no more: the peer has room for all of it, and for a FIN behind it.
    Underway,
    /// The peer's program: its kernel is there, and has no room. It may read as slowly as it likes.
    Held,
    /// It is too early to tell: something is on its way that should have been acknowledged, or stands before the rest.
    Unclear,
    /// The peer's kernel: it acknowledges nothing any more.
    Unanswered,
}

/// Retransmission timeouts in a row, or probes, after which a peer's kernel is not going to answer. Each takes twice as
/// long as the one before, and the first at least 200 ms (`TCP_RTO_MIN`): this many take 1.4 s.
const UNANSWERED: u8 = 3;

/// Shortest time that a FIN has to be acknowledged: room for two retransmissions of it.
const FIN_MIN: Duration = Duration::from_secs(1);

/// What `evidence` says about the delivery of what the kernel holds.
pub const fn delivery(evidence: &TcpSnapshot) -> Delivery {
    let TcpSnapshot { retransmits, probes, unacked, notsent_bytes, snd_wnd, .. } = *evidence;
    if retransmits >= UNANSWERED || probes >= UNANSWERED {
        Delivery::Unanswered
    } else if unacked > 0 && (retransmits > 0 || notsent_bytes > 0) {
        Delivery::Unclear
    } else if notsent_bytes > 0 || snd_wnd == 0 {
        Delivery::Held
    } else {
        Delivery::Underway
    }
}

/// How long what the kernel holds, and our FIN, may stay unacknowledged after the close: `linger`, which is how long the
/// peer has to answer us anyhow. `None`: as long as before, because only a close under way is bounded. The bound
/// (`TCP_USER_TIMEOUT`) would count the time that a window is shut as well, and a slow reader would lose its pending output.
pub fn fin_timeout(
    evidence: &TcpSnapshot,
    linger: Duration,
    user_timeout: Option<Duration>,
) -> Option<Duration> {
    let bound = linger.max(FIN_MIN);
    let fits = evidence.notsent_bytes == 0 && evidence.snd_wnd > 0;
    (fits && user_timeout.is_none_or(|inherited| bound < inherited)).then_some(bound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tcp::TcpState;

    const IDLE: TcpSnapshot = TcpSnapshot {
        state: TcpState::Established,
        retransmits: 0,
        probes: 0,
        unacked: 0,
        last_ack_recv_ms: 0,
        last_data_recv_ms: 0,
        snd_wnd: 65_536,
        notsent_bytes: 0,
    };

    #[test]
    fn a_peer_that_has_everything_or_will_have_is_under_way() {
        assert_eq!(delivery(&IDLE), Delivery::Underway);
        assert_eq!(delivery(&TcpSnapshot { unacked: 3, ..IDLE }), Delivery::Underway);
    }

    #[test]
    fn a_reader_that_is_slow_is_never_taken_for_one_that_is_gone() {
        let shut = TcpSnapshot { snd_wnd: 0, notsent_bytes: 9000, probes: 1, ..IDLE };
        assert_eq!(delivery(&shut), Delivery::Held);
        let narrow = TcpSnapshot { notsent_bytes: 9000, ..IDLE };
        assert_eq!(delivery(&narrow), Delivery::Held);
        // All of it has arrived, and there is no room for the FIN.
        let full = TcpSnapshot { snd_wnd: 0, ..IDLE };
        assert_eq!(delivery(&full), Delivery::Held);
        for evidence in [shut, narrow, full] {
            assert_eq!(fin_timeout(&evidence, Duration::from_secs(5), None), None, "{evidence}");
        }
    }

    #[test]
    fn some_loss_is_unclear_and_more_of_it_is_an_answer() {
        let lossy = |retransmits| delivery(&TcpSnapshot { retransmits, unacked: 1, ..IDLE });
        assert_eq!(
            [lossy(1), lossy(2), lossy(3)],
            [Delivery::Unclear, Delivery::Unclear, Delivery::Unanswered]
        );
        assert_eq!(delivery(&TcpSnapshot { unacked: 10, notsent_bytes: 9000, ..IDLE }), Delivery::Unclear);
        assert_eq!(
            delivery(&TcpSnapshot { snd_wnd: 0, notsent_bytes: 1, probes: 3, ..IDLE }),
            Delivery::Unanswered
        );
    }

    #[test]
    fn a_fin_has_the_time_of_linger_and_never_more_than_the_listener_gives() {
        let second = Duration::from_secs;
        assert_eq!(fin_timeout(&IDLE, second(5), None), Some(second(5)));
        assert_eq!(fin_timeout(&IDLE, Duration::ZERO, Some(second(9))), Some(FIN_MIN));
        assert_eq!(fin_timeout(&IDLE, second(5), Some(second(5))), None);
    }
}
