//! What must be true of the pairs of a gateway: while both legs are there, and of how they end.

use super::checks::Server;
use super::facts::Oracle;
use super::kernel::SimKernel;
use super::oracle::{Case, nanos};
use super::tcp::Death;
use super::world::{Conn, Side, World};
use crate::config::settings::ListenerSettings;
use crate::core::conn::State;
use crate::core::conn::delivery::{Delivery, delivery};
use crate::core::conn::policy::Policy;
use crate::core::end::{Detector, End, Leg, Reason};
use crate::core::table::{Key, Token};
use crate::core::tcp::TcpState;
use crate::core::time::Duration;
use crate::net::{CloseHow, SocketError};
use crate::protocol::ClientReset;
use crate::protocol::gateway::{Removed, ServerAddress, ServerSpec};
use crate::reactor::{ConnSnapshot, DebugView};

/// What connect(2) says where nobody listens.
const ECONNREFUSED: i32 = 111;

/// The side of a listener that a connection is on.
pub(super) fn policy_of<'a>(settings: &'a ListenerSettings, conn: &Conn) -> &'a Policy {
    match (&settings.relay, conn.opener) {
        (Some(relay), Side::Ours) => &relay.policy,
        (_, _) => &settings.policy,
    }
}

impl Server {
    /// Says who belongs to whom, of the connections that were begun in the turn.
    pub(super) fn note_pairs(&self) {
        let world = &mut self.stage.borrow_mut().world;
        for upstream in std::mem::take(&mut world.connects) {
            let token = world.conns[upstream].oracle.token;
            let key = token.map(|token| Key::from_token(Token(token)));
            let snapshot = key.and_then(|key| self.reactor.inspect().snapshot(key));
            if let Some((Leg::Upstream, client)) = snapshot.and_then(|snapshot| snapshot.pair) {
                let client = self.conn_of(world, client);
                world.pair(client, upstream);
            }
        }
    }

    /// The listener of a connection, or of its pair's client.
    pub(super) fn settings_of(&self, world: &World, conn: usize) -> &ListenerSettings {
        let conn = &world.conns[conn];
        let client = conn.partner.filter(|_| conn.opener == Side::Ours);
        &self.settings.listeners[client.map_or(conn.listener, |client| world.conns[client].listener)]
    }
}

/// What is wrong with the count of what goes from a leg of a pair to the other, while both take all: what came in has gone
/// out, or waits.
pub(super) fn miscounted(
    world: &World,
    conn: usize,
    snapshot: &ConnSnapshot,
    inspection: &DebugView<'_, SimKernel>,
) -> Option<String> {
    snapshot.pair?;
    let takes_all = |state| match state {
        // Its FIN has come while it was being closed for another reason.
        State::PeerClosed { cause, .. } => cause.reason != Reason::PeerReplaced,
        State::Open | State::Suspect { .. } => true,
        State::Connecting { .. } | State::Handshaking | State::Closing { .. } | State::Closed { .. } => false,
    };
    let partner = world.conns[conn].partner?;
    let key = Key::from_token(Token(world.conns[partner].oracle.token?));
    let other = inspection.snapshot(key)?;
    let both = takes_all(snapshot.state)
        && (takes_all(other.state) || matches!(other.state, State::Connecting { .. }));
    let (from, to) = (&world.conns[conn].oracle, &world.conns[partner].oracle);
    let (came, went) = (from.read, to.written);
    let waits = (other.queued + snapshot.held) as u64;
    let by_name = other.direct;
    // What comes for a leg that is broken has no taker, while what had come of it is still delivered.
    let dead = |conn: usize| {
        let sock = world.conns[conn].end(Side::Ours);
        sock.is_none_or(|sock| sock.state() == TcpState::Close)
    };
    let broken = from.failed.is_some() || to.failed.is_some() || dead(conn) || dead(partner);
    // It has been told, and has nothing left to say before.
    let is_told = matches!(other.state, State::Closing { last: None, .. }) && other.queued == 0;
    if from.eof && !to.shut && !broken && is_told && inspection.sleep() != Some(Duration::ZERO) {
        return Some(format!("has finished, and its FIN was not handed on to c{partner}"));
    }
    if both && !broken && to.by_name > by_name {
        return Some(format!("c{partner} was sent {} bytes by name, and {by_name} are counted", to.by_name));
    }
    (both && !broken && came + by_name != went + waits).then(|| {
        format!("has brought {came} bytes beside {by_name} by name; {went} went to c{partner}, {waits} wait")
    })
}

impl Case<'_> {
    /// The facts without which the reason is wrong that an upstream server, or the way to it, is named for.
    pub(super) fn upstream_is_wrong(&self) -> Option<String> {
        let need = |fact: bool, what: &str| if fact { None } else { Some(what.to_owned()) };
        let conn = &self.world.conns[self.conn];
        if conn.opener == Side::Theirs {
            return self.attempts_are_wrong();
        }
        let (truth, death) = (self.oracle(), self.death());
        let sent_fin = self.server().is_some_and(|sock| sock.fin_seen);
        let timeout = self.upstream.map(|upstream| upstream.connect_timeout);
        match self.end.reason {
            Reason::UpstreamFin => need(sent_fin && truth.eof, "no FIN had come"),
            Reason::UpstreamReset => {
                need(matches!(death, Some(Death::Reset | Death::ResetAfterFin)), "no RST had come")
            }
            Reason::UpstreamRefused => {
                need(truth.failed == Some(SocketError::Other(ECONNREFUSED)), "it had not refused")
            }
            Reason::UpstreamUnreachable => need(
                truth.failed == Some(SocketError::Unreachable) || self.end.detector == Detector::TcpInfo,
                "no router had said so",
            ),
            Reason::UpstreamConnectTimeout if self.end.detector == Detector::Timer => {
                need(
                    timeout.is_some_and(|timeout| Duration::from(self.end.age) >= timeout),
                    "it had time left",
                )
                .or_else(|| {
                    let late = truth.connected.map(|at| self.closed_at().saturating_sub(at));
                    // It is told with the next poll.
                    let excuse = 20_000_000 + self.world.stalled(truth.process, self.closed_at(), u64::MAX);
                    need(late.is_none_or(|late| late <= excuse), "it had been connected for long")
                })
            }
            Reason::UpstreamConnectTimeout => need(
                truth.failed == Some(SocketError::TimedOut) && death == Some(Death::Refused),
                "nothing timed out",
            ),
            Reason::UpstreamLost => need(
                matches!(
                    death,
                    Some(
                        Death::Keepalive
                            | Death::Unacked
                            | Death::ZeroWindowUnclear
                            | Death::ZeroWindowSilent
                    )
                ),
                "its kernel had not given up",
            ),
            Reason::UpstreamStuck => {
                let (.., evidence) = self.at_close();
                let full = evidence.unacked > 0 || evidence.notsent_bytes > 0 || self.end.unsent_bytes > 0;
                let window = matches!(death, Some(Death::ZeroWindow | Death::ZeroWindowUnclear));
                need(full || window || self.closed_slowly(), "nothing waited for it")
            }
            Reason::UpstreamUnavailable => need(
                self.removes_servers(&[Removed::Drain, Removed::Cut])
                    && self.end.detector == Detector::Connect,
                "it was not taken away while it was connected to",
            ),
            Reason::PeerGoodbye
            | Reason::PeerFin
            | Reason::PeerFinMidframe
            | Reason::PeerTruncated
            | Reason::ProtocolTls
            | Reason::ProtocolNoRoute
            | Reason::UpstreamTruncated
            | Reason::UpstreamTls
            | Reason::PeerReset
            | Reason::PeerResetAfterFin
            | Reason::PeerReplaced
            | Reason::LostKeepalive
            | Reason::LostUnacked
            | Reason::LostUnreachable
            | Reason::LostHeartbeat
            | Reason::StuckFrozen
            | Reason::StuckZeroWindow
            | Reason::SlowBytes
            | Reason::SlowTime
            | Reason::ProtocolMalformed
            | Reason::ProtocolOversized
            | Reason::ProtocolUnsupported
            | Reason::ProtocolHandshakeTimeout
            | Reason::ProtocolAuth
            | Reason::ProtocolProxyMissing
            | Reason::ProtocolProxyMalformed
            | Reason::ProtocolProxyUntrusted
            | Reason::ProtocolProxyTimeout
            | Reason::LocalIdle
            | Reason::LocalKicked
            | Reason::LocalDrain
            | Reason::LocalLimit
            | Reason::LocalAcceptRate
            | Reason::LocalSourceLimit
            | Reason::LocalSourceRate
            | Reason::LocalDenied
            | Reason::LocalMaxAge
            | Reason::LocalAudit
            | Reason::LocalInternal
            | Reason::UpstreamNoPorts => need(false, "it is no reason of a server that was connected to"),
        }
    }

    /// Whether pairs are ended in one of these ways because their server is one no more.
    pub(super) fn removes_servers(&self, how: &[Removed]) -> bool {
        self.upstream.is_some_and(|upstream| {
            let is_name = |server: &ServerSpec| matches!(server.address, ServerAddress::Name { .. });
            how.contains(&upstream.removed) && upstream.servers.iter().any(is_name)
        })
    }

    /// A client that could not be connected: the last attempt failed for that reason.
    fn attempts_are_wrong(&self) -> Option<String> {
        let of_client = |conn: &&Conn| conn.partner == Some(self.conn) && conn.opener == Side::Ours;
        let last = self.world.conns.iter().rev().find(of_client);
        let said = last.and_then(|conn| conn.oracle.end.as_ref()).map(|end| end.reason);
        let wanting = matches!(self.end.reason, Reason::UpstreamNoPorts | Reason::LocalInternal);
        if said == Some(self.end.reason) || wanting && self.world.not_begun > 0 {
            return None;
        }
        let bounded = self
            .upstream
            .is_some_and(|upstream| upstream.servers.iter().any(|server| server.connections_max.is_some()));
        if self.end.reason == Reason::UpstreamUnavailable && bounded {
            return None;
        }
        Some(format!("the last attempt ended with {said:?}"))
    }

    /// How a pair has ended, if this is the second of its legs to be judged.
    pub(super) fn judge_pair(&self) -> Result<(), String> {
        let conn = &self.world.conns[self.conn];
        let Some(partner) =
            conn.partner.filter(|&partner| self.world.conns[partner].partner == Some(self.conn))
        else {
            return Ok(());
        };
        let other = &self.world.conns[partner].oracle;
        let Some(end) = &other.end else { return Ok(()) };
        let legs = [LegEnd { truth: self.oracle(), end: self.end }, LegEnd { truth: other, end }];
        let connected = [&conn.oracle, other].iter().any(|oracle| oracle.known_connected);
        let wrong = self.notified_wrongly(&legs, connected);
        match wrong {
            None => Ok(()),
            Some(what) => Err(format!(
                "c{} and c{partner}: {what}; the server says: {} and {}",
                self.conn, legs[0].end, legs[1].end
            )),
        }
    }

    /// The table "who is told what".
    fn notified_wrongly(&self, legs: &[LegEnd<'_>; 2], connected: bool) -> Option<String> {
        let [one, two] = legs;
        if one.is_told() && two.is_told() {
            return Some("each names the other as the cause".into());
        }
        // Both are reset where their server was cut off, whatever they were about.
        let both_reset = legs.iter().all(|leg| leg.how() == Some(CloseHow::Reset));
        if !connected || (both_reset && self.removes_servers(&[Removed::Cut])) {
            return None;
        }
        let clean = legs.iter().all(|leg| leg.truth.failed.is_none() && leg.was_taken() && leg.is_of_fin());
        let all_went = one.truth.relayed() == two.truth.read && two.truth.relayed() == one.truth.read;
        // A peer that acknowledges nothing any more is not waited for.
        let answers = |leg: &LegEnd<'_>| {
            leg.end.evidence.is_none_or(|evidence| delivery(&evidence) != Delivery::Unanswered)
        };
        if clean && all_went && legs.iter().any(|leg| leg.how() == Some(CloseHow::Reset) && answers(leg)) {
            return Some("a FIN has become a reset".into());
        }
        legs.iter().zip(legs.iter().rev()).find_map(|(told, cause)| self.was_told_wrongly(told, cause))
    }

    /// What one leg was told of how the other ended.
    fn was_told_wrongly(&self, told: &LegEnd<'_>, cause: &LegEnd<'_>) -> Option<String> {
        if !told.is_told() {
            return None;
        }
        let after_fin =
            told.is_of_fin() && matches!(cause.end.reason, Reason::PeerResetAfterFin | Reason::UpstreamReset);
        if told.end.reason != cause.end.reason && !after_fin {
            return Some("the partner has ended for another reason".into());
        }
        let closed = told.truth.closed.map_or(0, |(at, _)| at);
        let was_reset = matches!(cause.truth.failed, Some(SocketError::Reset | SocketError::BrokenPipe))
            && matches!(
                cause.end.reason,
                Reason::PeerReset | Reason::PeerResetAfterFin | Reason::UpstreamReset
            );
        let open_still = closed > cause.truth.failed_at;
        let is_client = told.end.pair.is_some_and(|(leg, _)| leg == Leg::Client);
        let is_soft = !is_client
            && self.settings.relay.as_ref().is_some_and(|relay| relay.client_reset == ClientReset::Fin);
        let is_reset = told.how() == Some(CloseHow::Reset);
        if was_reset && open_still && told.truth.failed.is_none() && !is_reset && !is_soft {
            return Some("a reset was not handed on".into());
        }
        if was_reset
            && is_soft
            && is_reset
            && told.truth.known_connected
            && told.was_there()
            && told.was_taken()
        {
            return Some("a reset was handed on that was to be a FIN".into());
        }
        // What was read of it is delivered, if its partner takes it, and no reset has followed its FIN.
        let lost = cause.truth.read - told.truth.relayed().min(cause.truth.read);
        let due = (told.is_of_fin() && !after_fin) || ((is_client || is_soft) && was_reset);
        let in_time =
            cause.truth.closed.is_none_or(|(at, _)| closed < at + nanos(self.policy.closing.linger));
        (due && lost > 0 && told.truth.failed.is_none() && told.was_there() && told.was_taken() && in_time)
            .then(|| format!("{lost} bytes were lost behind which it ended"))
    }
}

/// A leg, and what is said of its end.
struct LegEnd<'a> {
    truth: &'a Oracle,
    end: &'a End,
}

impl LegEnd<'_> {
    /// It was ended because its partner was.
    fn is_told(&self) -> bool {
        self.end.detector == Detector::Partner
    }

    fn is_of_fin(&self) -> bool {
        matches!(self.end.reason, Reason::PeerFin | Reason::UpstreamFin)
    }

    fn how(&self) -> Option<CloseHow> {
        self.truth.closed.map(|(_, how)| how)
    }

    /// Its peer had not reset it, unread.
    fn was_there(&self) -> bool {
        self.truth.at_close.is_none_or(|(state, ..)| state != TcpState::Close)
    }

    /// Its peer had taken all that its kernel was given, and left no probe unanswered: who seems to be gone is sent no FIN.
    fn was_taken(&self) -> bool {
        self.truth.at_close.is_none_or(|(.., evidence)| {
            evidence.unacked == 0 && evidence.notsent_bytes == 0 && evidence.probes == 0
        })
    }
}
