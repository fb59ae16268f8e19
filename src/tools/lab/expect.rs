//! What the lab expects of each cell: the one table of verdicts.
//!
//! A row has what holds for every means, and the means for which something else does. Latencies are computed from the
//! settings ([`When`]); a cell that differs in anything fails the lab. What a gateway or TLS makes of some cells is in
//! `ways`.

mod ways;

use super::case::Case;
use super::method::Method;
use super::path::Path;
use super::settings::When;
use crate::core::end::{CloseMode, Detector, Reason};
use serde::Serialize;

/// What is left of a connection on either side: a TCP state, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Left {
    /// On the server.
    pub server: &'static str,
    /// On the client.
    pub client: &'static str,
}

/// What a cell is to show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// The connection ends, for this reason.
    Ended {
        /// The reason that is expected in the record.
        reason: Reason,
        /// Noticed by what.
        detector: Detector,
        /// How it is closed.
        close: CloseMode,
        /// When the record is written.
        when: When,
        /// What remains.
        left: Left,
    },
    /// It is suspected, and then revived.
    Revived,
    /// Nothing happens as long as the lab looks.
    Unnoticed(Left),
    /// The means has no part in this.
    NotApplicable,
    /// One of these: what comes first decides.
    Either(&'static [Self]),
}

impl Expected {
    /// All that is right; the first speaks for the cell.
    pub fn alternatives(&self) -> &[Self] {
        if let Self::Either(all) = self { all } else { std::slice::from_ref(self) }
    }

    /// In a few words.
    pub fn in_words(&self) -> String {
        match self {
            Self::Ended { reason, detector, close, .. } => format!("{reason}/{detector}/{close}"),
            Self::Revived => "suspected and revived".into(),
            Self::Unnoticed(_) => "not noticed".into(),
            Self::NotApplicable => "not tried".into(),
            Self::Either(all) => all.iter().map(Self::in_words).collect::<Vec<_>>().join(" or "),
        }
    }
}

use CloseMode::{Linger2, PeerFirst, PeerFirstAfterGoodbye, ProbeReset, Reset};
use Detector::{
    EofProbe, HeartbeatChannel, OobProbe, Protocol, Readiness, RecvError, TcpInfo, TcpKeepalive, ZeroRead,
};
use Expected::{Either, NotApplicable, Revived, Unnoticed};
use Method as M;
use Reason::{
    LocalAudit, LostHeartbeat, LostKeepalive, LostUnacked, PeerFin, PeerGoodbye, PeerReplaced, PeerReset,
    StuckFrozen, StuckZeroWindow,
};

const fn left(server: &'static str, client: &'static str) -> Left {
    Left { server, client }
}

/// Nothing on either side.
const CLEAN: Left = left("", "");
/// The client closed first, and pays.
const CLIENT_WAITS: Left = left("", "TIME_WAIT");
/// The client does not know that it is over.
const CLIENT_BELIEVES: Left = left("", "ESTABLISHED");
/// Both believe that all is well.
const BOTH_BELIEVE: Expected = Unnoticed(left("ESTABLISHED", "ESTABLISHED"));
/// The server believes in a client that is gone: a half-open ghost.
const GHOST: Expected = Unnoticed(left("ESTABLISHED", ""));

const fn ended(reason: Reason, detector: Detector, close: CloseMode, when: When, left: Left) -> Expected {
    Expected::Ended { reason, detector, close, when, left }
}

/// A row: what holds for every means, and for which something else does.
struct Row {
    case: Case,
    always: Expected,
    but: &'static [(&'static [Method], Expected)],
}

const fn row(case: Case, always: Expected, but: &'static [(&'static [Method], Expected)]) -> Row {
    Row { case, always, but }
}

/// What finds it, and how, where nothing arrives in either direction and nothing is in flight.
const UNREACHED: &[(&[Method], Expected)] = &[
    (
        &[M::Keepalive, M::KeepaliveAndUserTimeout],
        ended(LostKeepalive, TcpKeepalive, Reset, When::Keepalive, CLIENT_BELIEVES),
    ),
    (&[M::Heartbeat, M::All], silent(Detector::Heartbeat, When::Heartbeat)),
    (&[M::Ping], silent(Detector::Heartbeat, When::Ping)),
    (&[M::Channel], silent(HeartbeatChannel, When::Channel)),
    (&[M::OobProbe], ended(LostUnacked, OobProbe, Reset, When::Oob, CLIENT_BELIEVES)),
    (&[M::TakeOver], replaced_unreached(CLIENT_BELIEVES)),
];

const FIN: Expected = ended(PeerFin, ZeroRead, PeerFirst, When::Now, CLIENT_WAITS);
const FIN_PROBED: Expected = ended(PeerFin, EofProbe, ProbeReset, When::Now, CLEAN);
const RST: Expected = ended(PeerReset, RecvError, Reset, When::Now, CLEAN);

const fn frozen(detector: Detector, when: When) -> Expected {
    ended(StuckFrozen, detector, Linger2, when, CLEAN)
}

const fn silent(detector: Detector, when: When) -> Expected {
    ended(LostHeartbeat, detector, Reset, when, CLIENT_BELIEVES)
}

const fn shut(detector: Detector, when: When, left: Left) -> Expected {
    ended(StuckZeroWindow, detector, Reset, when, left)
}

/// The older connection is told, and does not hear it: its kernel acknowledges nothing.
const fn replaced_unreached(left: Left) -> Expected {
    ended(PeerReplaced, Protocol, Reset, When::ComebackAndSilence, left)
}

/// Its kernel retransmits what it does not know to have arrived, and passes for one that answers. A FIN that it does not
/// acknowledge has a second here; a ping that it has not acknowledged tells at once.
const fn unheard_frozen(close: CloseMode) -> Expected {
    ended(StuckFrozen, Detector::Heartbeat, close, When::HeartbeatAfterRetries, CLIENT_BELIEVES)
}

const UNHEARD: Expected = Either(&[
    unheard_frozen(Linger2),
    unheard_frozen(Reset),
    silent(Detector::Heartbeat, When::HeartbeatAfterRetries),
]);

/// The network answers with a reset what is sent at last.
const fn answered(detector: Detector, when: When, left: Left) -> Expected {
    ended(PeerReset, detector, Reset, when, left)
}

const TABLE: &[Row] = &[
    row(
        Case::Goodbye,
        ended(PeerGoodbye, Protocol, PeerFirstAfterGoodbye, When::Now, CLIENT_WAITS),
        &[(&[M::EofProbe, M::All], ended(PeerGoodbye, EofProbe, ProbeReset, When::Now, CLEAN))],
    ),
    row(Case::Close, FIN, &[(&[M::EofProbe, M::All], FIN_PROBED)]),
    row(
        Case::HalfClose,
        FIN,
        // It takes the probe, so that only time tells that it is not closed.
        &[(&[M::EofProbe, M::All], ended(PeerFin, ZeroRead, PeerFirst, When::Linger, CLIENT_WAITS))],
    ),
    row(Case::Reset, RST, &[]),
    row(Case::Kill, FIN, &[(&[M::EofProbe, M::All], FIN_PROBED)]),
    row(Case::KillUnread, RST, &[]),
    row(
        Case::KillPaused,
        // The kernel has discarded the connection, and the server sits on its descriptor.
        Unnoticed(CLEAN),
        &[
            (&[M::Readiness], ended(PeerReset, Readiness, Reset, When::Now, CLEAN)),
            (&[M::TcpInfo], ended(PeerReset, TcpInfo, Reset, When::TcpInfo, CLEAN)),
            // The kernel may be asked in the very turn in which its flag is on its way.
            (
                &[M::All],
                Either(&[
                    ended(PeerReset, Readiness, Reset, When::Now, CLEAN),
                    ended(PeerReset, TcpInfo, Reset, When::Now, CLEAN),
                ]),
            ),
            // Beats that wait to be read are no silence, a reset is. Who beats only when it is pinged is deaf here:
            // once that has made it suspect, it is read.
            (&[M::Heartbeat], ended(PeerReset, TcpInfo, Reset, When::MissedBeat, CLEAN)),
            (&[M::Ping], Either(&[ended(PeerReset, TcpInfo, Reset, When::MissedBeat, CLEAN), RST])),
            (&[M::OobProbe], ended(PeerReset, OobProbe, Reset, When::FirstOob, CLEAN)),
            (&[M::Audit], ended(LocalAudit, Detector::Audit, Reset, When::Audit, CLEAN)),
            // The channel is killed as well, and its end makes the data connection suspect at once: the reset is there
            // already, or comes to a suspect, which is read.
            (&[M::Channel], Either(&[ended(PeerReset, TcpInfo, Reset, When::Now, CLEAN), RST])),
            (&[M::TakeOver], ended(PeerReplaced, Protocol, Reset, When::Comeback, CLEAN)),
        ],
    ),
    row(
        Case::Freeze,
        BOTH_BELIEVE,
        &[
            (&[M::Heartbeat], frozen(Detector::Heartbeat, When::Heartbeat)),
            (&[M::All], frozen(Detector::Heartbeat, When::Heartbeat)),
            (&[M::Ping], frozen(Detector::Heartbeat, When::Ping)),
            (&[M::Channel], frozen(HeartbeatChannel, When::Channel)),
            (&[M::TakeOver], ended(PeerReplaced, Protocol, Linger2, When::ComebackAndLinger, CLEAN)),
        ],
    ),
    row(
        Case::FreezeFlight,
        BOTH_BELIEVE,
        &[
            (
                &[M::UserTimeout, M::KeepaliveAndUserTimeout],
                shut(Detector::UserTimeout, When::UserTimeout, CLIENT_BELIEVES),
            ),
            (&[M::Heartbeat, M::All], shut(Detector::Heartbeat, When::Heartbeat, CLEAN)),
            (&[M::Ping], shut(Detector::Heartbeat, When::Ping, CLEAN)),
            (&[M::Channel], shut(HeartbeatChannel, When::Channel, CLEAN)),
            (&[M::TakeOver], ended(PeerReplaced, Protocol, Reset, When::ComebackAndLinger, CLEAN)),
        ],
    ),
    row(Case::Cable, BOTH_BELIEVE, UNREACHED),
    row(
        Case::CableFlight,
        // Keepalive rests while data is in flight.
        BOTH_BELIEVE,
        &[
            (
                &[M::UserTimeout, M::KeepaliveAndUserTimeout],
                ended(LostUnacked, Detector::UserTimeout, Reset, When::UserTimeout, CLIENT_BELIEVES),
            ),
            (&[M::Heartbeat, M::All], silent(Detector::Heartbeat, When::Heartbeat)),
            (&[M::Ping], silent(Detector::Heartbeat, When::Ping)),
            (&[M::Channel], silent(HeartbeatChannel, When::Channel)),
            (&[M::OobProbe], ended(LostUnacked, OobProbe, Reset, When::Oob, CLIENT_BELIEVES)),
            (&[M::TakeOver], replaced_unreached(CLIENT_BELIEVES)),
        ],
    ),
    row(
        Case::Outage,
        BOTH_BELIEVE,
        // The ping was in flight, and the limit counts from it. Without one, nothing has happened.
        &[
            (
                &[M::Ping],
                ended(LostUnacked, Detector::UserTimeout, Reset, When::UserTimeout, CLIENT_BELIEVES),
            ),
            (&[M::TakeOver], NotApplicable),
        ],
    ),
    row(
        Case::DropFromClient,
        BOTH_BELIEVE,
        &[
            // What the server says last still arrives: its reset tells the client.
            (
                &[M::Keepalive, M::KeepaliveAndUserTimeout],
                ended(LostKeepalive, TcpKeepalive, Reset, When::Keepalive, CLEAN),
            ),
            (
                &[M::Heartbeat, M::All],
                ended(LostHeartbeat, Detector::Heartbeat, Reset, When::Heartbeat, CLEAN),
            ),
            (&[M::Ping], ended(LostHeartbeat, Detector::Heartbeat, Reset, When::Ping, CLEAN)),
            (&[M::Channel], ended(LostHeartbeat, HeartbeatChannel, Reset, When::Channel, CLEAN)),
            (&[M::OobProbe], ended(LostUnacked, OobProbe, Reset, When::Oob, CLEAN)),
            (&[M::TakeOver], replaced_unreached(CLEAN)),
        ],
    ),
    row(
        Case::DropToClient,
        BOTH_BELIEVE,
        &[
            (
                &[M::Keepalive, M::KeepaliveAndUserTimeout],
                ended(LostKeepalive, TcpKeepalive, Reset, When::Keepalive, CLIENT_BELIEVES),
            ),
            // Its beats still come, until its kernel retransmits the first, whose acknowledgement does not.
            // A retransmission within the grace passes for life.
            (&[M::Heartbeat], UNHEARD),
            (
                &[M::Ping],
                Either(&[
                    unheard_frozen(Reset),
                    unheard_frozen(Linger2),
                    silent(Detector::Heartbeat, When::Ping),
                ]),
            ),
            (&[M::All], silent(Detector::Heartbeat, When::HeartbeatAfterRetries)),
            (&[M::Channel], silent(HeartbeatChannel, When::ChannelAfterRetries)),
            (&[M::OobProbe], ended(LostUnacked, OobProbe, Reset, When::Oob, CLIENT_BELIEVES)),
            (&[M::TakeOver], replaced_unreached(CLIENT_BELIEVES)),
        ],
    ),
    row(Case::DropBoth, BOTH_BELIEVE, UNREACHED),
    row(
        Case::NatReset,
        BOTH_BELIEVE,
        &[
            (
                &[M::Keepalive, M::KeepaliveAndUserTimeout],
                answered(RecvError, When::FirstProbe, CLIENT_BELIEVES),
            ),
            (&[M::Heartbeat, M::All], answered(RecvError, When::Suspicion, CLIENT_BELIEVES)),
            (&[M::Ping], answered(RecvError, When::FirstPing, CLIENT_BELIEVES)),
            (&[M::Channel], answered(RecvError, When::ChannelSuspicion, CLIENT_BELIEVES)),
            (&[M::OobProbe], answered(OobProbe, When::FirstOob, CLIENT_BELIEVES)),
            (&[M::TakeOver], ended(PeerReplaced, Protocol, Reset, When::Comeback, CLIENT_BELIEVES)),
        ],
    ),
    row(
        Case::Vanish,
        GHOST,
        &[
            (&[M::Keepalive, M::KeepaliveAndUserTimeout], answered(RecvError, When::FirstProbe, CLEAN)),
            (&[M::Heartbeat, M::All], answered(RecvError, When::Suspicion, CLEAN)),
            (&[M::Ping], answered(RecvError, When::FirstPing, CLEAN)),
            (&[M::Channel], answered(RecvError, When::ChannelSuspicion, CLEAN)),
            (&[M::OobProbe], answered(OobProbe, When::FirstOob, CLEAN)),
            (&[M::TakeOver], ended(PeerReplaced, Protocol, Reset, When::Comeback, CLEAN)),
        ],
    ),
    // Identities are always on: the newer connection wins, whatever else watches the older.
    row(Case::Reboot, ended(PeerReplaced, Protocol, Reset, When::Now, CLEAN), &[]),
    row(
        Case::LateBeat,
        BOTH_BELIEVE,
        &[(&[M::Heartbeat, M::Ping, M::All], Revived), (&[M::TakeOver], NotApplicable)],
    ),
    row(
        Case::TooLateBeat,
        BOTH_BELIEVE,
        &[
            (&[M::Heartbeat, M::All], frozen(Detector::Heartbeat, When::Heartbeat)),
            (&[M::Ping], frozen(Detector::Heartbeat, When::Ping)),
            (&[M::Channel], frozen(HeartbeatChannel, When::Channel)),
            (&[M::TakeOver], NotApplicable),
        ],
    ),
    row(Case::QueueReset, RST, &[]),
    row(
        Case::ChannelDeath,
        NotApplicable,
        &[(&[M::Channel, M::All], frozen(HeartbeatChannel, When::ChannelGrace))],
    ),
];

/// What is expected of a cell.
pub fn expected(path: Path, case: Case, method: Method) -> Expected {
    if !path.tries(case, method) {
        return NotApplicable;
    }
    let row = TABLE.iter().find(|row| row.case == case).expect("a test says that every case has a row");
    let other = row.but.iter().find(|(methods, _)| methods.contains(&method));
    let usual = other.map_or(row.always, |(_, expected)| *expected);
    ways::instead(path, case, method).unwrap_or(usual)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::lab::path::Via;

    #[test]
    fn every_case_has_one_row_and_every_cell_one_verdict() {
        for &case in Case::ALL {
            let rows: Vec<_> = TABLE.iter().filter(|row| row.case == case).collect();
            assert_eq!(rows.len(), 1, "{case}");
            for &method in Method::ALL {
                let said = rows[0].but.iter().filter(|(methods, _)| methods.contains(&method)).count();
                assert!(said <= 1, "{case}, {method}");
            }
        }
        assert!(TABLE.iter().map(|row| row.case).eq(Case::ALL.iter().copied()), "in the order of the cases");
    }

    fn cells() -> impl Iterator<Item = (Path, Case, Method)> {
        let rows = Path::ALL.into_iter().flat_map(|path| Case::ALL.iter().map(move |case| (path, *case)));
        rows.flat_map(|(path, case)| Method::ALL.iter().map(move |method| (path, case, *method)))
    }

    #[test]
    fn whatever_happens_something_notices_and_all_together_do() {
        for (path, case, _) in cells().filter(|(path, case, method)| {
            path.via == Via::Direct && *case != Case::Outage && *method == M::All
        }) {
            let noticed = |expected: &Expected| matches!(expected, Expected::Ended { .. } | Revived);
            assert!(expected(path, case, M::All).alternatives().iter().all(noticed), "{path:?}, {case}");
        }
    }

    #[test]
    fn an_outage_that_is_over_ends_only_those_who_are_pinged_often() {
        for (path, case, method) in
            cells().filter(|(_, case, method)| *case == Case::Outage && *method != M::TakeOver)
        {
            let ends = matches!(expected(path, case, method), Expected::Ended { .. });
            assert_eq!(ends, method == M::Ping && path.via == Via::Direct, "{path:?}, {method}");
        }
    }

    #[test]
    fn what_the_server_ends_leaves_nothing_on_the_server() {
        for (path, case, method) in cells() {
            for one in expected(path, case, method).alternatives() {
                if let Expected::Ended { left, .. } = one {
                    assert_eq!(left.server, "", "{path:?}, {case}, {method}");
                }
            }
        }
    }

    #[test]
    fn a_gateway_says_of_the_client_what_the_server_says_without_it() {
        let reasons = |expected: &Expected| -> Vec<Option<Reason>> {
            let reason = |one: &Expected| match one {
                Expected::Ended { reason, .. } => Some(*reason),
                Revived | Unnoticed(_) | NotApplicable | Either(_) => None,
            };
            expected.alternatives().iter().map(reason).collect()
        };
        let through = cells().filter(|(path, ..)| path.via == Via::Gateway);
        for (path, case, method) in through.filter(|(path, case, method)| path.tries(*case, *method)) {
            let direct = expected(Path::new(Via::Direct, path.transport), case, method);
            let through = expected(path, case, method);
            // It goes on reading there: it sees the reset by whatever means.
            let sees_more = case == Case::KillPaused;
            let same = reasons(&through).iter().any(|reason| reasons(&direct).contains(reason));
            assert!(
                same || sees_more,
                "{path:?}, {case}, {method}: {} or {}",
                direct.in_words(),
                through.in_words()
            );
        }
    }
}
