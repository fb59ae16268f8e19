//! Where a gateway or TLS makes something else of a cell than the one table says.

use super::{
    BOTH_BELIEVE, CLEAN, CLIENT_BELIEVES, CLIENT_WAITS, Expected, FIN, FIN_PROBED, Left, RST, UNHEARD, ended,
    left,
};
use crate::core::end::CloseMode::{Linger2, PeerFirst, PeerFirstAfterGoodbye, ProbeReset, Reset};
use crate::core::end::Detector::{EofProbe, Protocol, SendError, TcpInfo, ZeroRead};
use crate::core::end::Reason::{PeerFin, PeerGoodbye, PeerReplaced, PeerReset, PeerTruncated};
use crate::tools::lab::case::Case;
use crate::tools::lab::method::Method as M;
use crate::tools::lab::path::{Path, Transport, Via};
use crate::tools::lab::settings::When;
use Expected::Either;

type Cells = &'static [(Case, &'static [M], Expected)];

/// Of a gateway. Here, all together beat, too: on the connection itself.
const GATEWAY: Cells = &[
    (Case::Close, &[M::All], FIN),
    (Case::HalfClose, &[M::All], FIN),
    (Case::Kill, &[M::All], FIN),
    // What the client does not take pauses the server behind the gateway, and not what is read of the client. Output
    // waits, too: what is tried first tells.
    (Case::KillPaused, M::ALL, Either(&[RST, RST_SEEN_BY_SEND])),
    (Case::DropToClient, &[M::All], UNHEARD),
    // Nobody says goodbye to a client of a gateway. So there is nothing to wait for, and no answer to that.
    (Case::Freeze, &[M::TakeOver], replaced(When::Comeback, CLEAN)),
    (Case::Cable, &[M::TakeOver], replaced(When::Comeback, CLIENT_BELIEVES)),
    (Case::CableFlight, &[M::TakeOver], refused(When::ComebackAndRetries, CLIENT_BELIEVES)),
    // It closes at our FIN, and nobody hears its own.
    (Case::DropFromClient, &[M::TakeOver], replaced(When::Comeback, left("", "LAST_ACK"))),
    (Case::DropToClient, &[M::TakeOver], replaced(When::Comeback, CLIENT_BELIEVES)),
    (Case::DropBoth, &[M::TakeOver], replaced(When::Comeback, CLIENT_BELIEVES)),
    (Case::NatReset, &[M::TakeOver], replaced(When::Comeback, CLIENT_BELIEVES)),
    (Case::Vanish, &[M::TakeOver], replaced(When::Comeback, CLEAN)),
    (Case::Reboot, M::ALL, replaced(When::Now, CLEAN)),
    (Case::LateBeat, &[M::TakeOver], Expected::NotApplicable),
    // Nothing tells of suspicion there; it is not ended.
    (Case::LateBeat, M::ALL, BOTH_BELIEVE),
];

/// Of TLS at a server.
const TLS: Cells = &[
    // The server has answered its last word before it closes, and has nothing more to probe with: only time tells.
    (
        Case::Goodbye,
        &[M::EofProbe, M::All],
        ended(PeerGoodbye, Protocol, PeerFirstAfterGoodbye, When::Linger, CLIENT_WAITS),
    ),
    (
        Case::Close,
        &[M::EofProbe, M::All],
        Either(&[FIN_PROBED, closed(Protocol, ProbeReset), closed(Protocol, Reset)]),
    ),
    (Case::Close, M::ALL, CLOSED),
    (
        Case::HalfClose,
        &[M::EofProbe, M::All],
        // It takes the last word as it takes a probe.
        Either(&[half_closed(ZeroRead, When::Linger), half_closed(Protocol, When::Linger)]),
    ),
    (Case::HalfClose, M::ALL, HALF_CLOSED),
    (Case::Kill, &[M::EofProbe, M::All], ended(PeerTruncated, EofProbe, ProbeReset, When::Now, CLEAN)),
    (Case::Kill, M::ALL, TRUNCATED),
    (
        Case::KillPaused,
        &[M::Ping],
        Either(&[
            ended(PeerReset, SendError, Reset, When::MissedBeat, CLEAN),
            ended(PeerReset, TcpInfo, Reset, When::MissedBeat, CLEAN),
            RST,
        ]),
    ),
    (Case::QueueReset, M::ALL, RST_SEEN_BY_SEND),
];

/// Of TLS that ends at a gateway, which has no probe.
const TLS_AT_GATEWAY: Cells = &[
    (Case::Close, M::ALL, CLOSED),
    (
        Case::HalfClose,
        M::ALL,
        // The server behind may have answered its last word, and closed, before its FIN has come: then ours is first.
        Either(&[
            half_closed(Protocol, When::Now),
            half_closed(ZeroRead, When::Now),
            closed(Protocol, Linger2),
        ]),
    ),
    (Case::Kill, M::ALL, TRUNCATED),
    (Case::QueueReset, M::ALL, RST_SEEN_BY_SEND),
    (
        Case::NatReset,
        &[M::TakeOver],
        Either(&[refused(When::Comeback, CLIENT_BELIEVES), replaced(When::Comeback, CLIENT_BELIEVES)]),
    ),
    (
        Case::Vanish,
        &[M::TakeOver],
        Either(&[refused(When::Comeback, CLEAN), replaced(When::Comeback, CLEAN)]),
    ),
    (Case::Reboot, M::ALL, Either(&[refused(When::Now, CLEAN), replaced(When::Now, CLEAN)])),
];

/// Its last word and its FIN may be read together or one after the other. Ours in answer comes to a closed socket, whose
/// reset may be there before the close.
const CLOSED: Expected = Either(&[
    closed(Protocol, PeerFirst),
    closed(ZeroRead, PeerFirst),
    closed(Protocol, Reset),
    closed(ZeroRead, Reset),
    closed(Protocol, Linger2),
]);
const HALF_CLOSED: Expected = Either(&[half_closed(Protocol, When::Now), half_closed(ZeroRead, When::Now)]);
/// The kernel of a client that was killed closes for it, and knows no last word. Ours is answered by a reset.
const TRUNCATED: Expected = ended(PeerTruncated, ZeroRead, PeerFirst, When::Now, CLEAN);
/// What the client had said before its reset is read first, and the answer finds that.
const RST_SEEN_BY_SEND: Expected = ended(PeerReset, SendError, Reset, When::Now, CLEAN);

const fn closed(detector: super::Detector, close: super::CloseMode) -> Expected {
    ended(PeerFin, detector, close, When::Now, CLEAN)
}

const fn replaced(when: When, left: Left) -> Expected {
    ended(PeerReplaced, Protocol, Linger2, when, left)
}

/// What it was sent before the close is answered by a reset, or by nothing at all.
const fn refused(when: When, left: Left) -> Expected {
    ended(PeerReplaced, Protocol, Reset, when, left)
}

const fn half_closed(detector: super::Detector, when: When) -> Expected {
    ended(PeerFin, detector, PeerFirst, when, CLIENT_WAITS)
}

/// What holds on a way in the place of what usually does.
pub(super) fn instead(path: Path, case: Case, method: M) -> Option<Expected> {
    let tables: &[Cells] = match (path.via, path.transport) {
        (Via::Direct, Transport::Plain) => &[],
        (Via::Gateway, Transport::Plain) => &[GATEWAY],
        (Via::Direct, Transport::Tls) => &[TLS],
        (Via::Gateway, Transport::Tls) => &[TLS_AT_GATEWAY, GATEWAY],
    };
    let mut all = tables.iter().copied().flatten();
    let (.., expected) = all.find(|(row, methods, _)| *row == case && methods.contains(&method))?;
    Some(*expected)
}
