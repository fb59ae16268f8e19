//! Relaying: what one leg of a pair sends goes to the other leg, and each leg is told what happens to the other.
//!
//! A leg leaves its [`News`] in the aftermath, and the reactor, which has the table, hands it to the partner. The partner
//! acts on [`News`] alone: it never looks at the other connection.
//!
//! | what happens to one leg | what its partner is told |
//! | --- | --- |
//! | it is connected, or its output has moved, and the partner waits for that | nothing: it goes on ([`Next::Resume`]) |
//! | end of file was read, and the other direction may live on | [`News::Finished`]: FIN behind the last byte |
//! | it begins to end in order | [`News::Leaving`]: what it has brought is delivered, then the partner is closed |
//! | it is gone: by a reset, for good or in order | [`News::Gone`]: the same, and a reset stays a reset, unless `client_reset` softens it |

use super::Reactor;
use super::connection::{Connection, Pause, Reading};
use super::context::{Conn, Context};
use super::parts::aftermath::{News, Next};
use super::parts::cold_pair::ColdPair;
use super::parts::pairs::{Direction, Stage};
use crate::config::settings::Relay;
use crate::core::conn::liveness::Clocks;
use crate::core::conn::policy::LastRung;
use crate::core::conn::{Cause, Input, State};
use crate::core::end::{Class, CloseMode, Detector, Leg, Reason};
use crate::core::table::Key;
use crate::core::tcp::TcpSnapshot;
use crate::core::time::{Duration, Instant, Span};
use crate::net::{Kernel, Stream};
use crate::protocol::{ClientReset, HalfClose};

/// Age from which the kernel watches a connection (keepalive, user timeout). Most connections are shorter, and are spared
/// those calls.
pub(super) const LASTS: Duration = Duration::from_secs(1);

/// What a connection may send before it has an acknowledgement, at least: ten segments (RFC 6928), of 536 bytes where
/// nothing else is known (RFC 9293 3.7.1).
const INITIAL_WINDOW: u64 = 10 * 536;

impl<K: Kernel> Reactor<K> {
    /// Hands on what a leg has sent, unless its partner is not to have it any more. If the partner does not take all of it at
    /// once, the leg is not read until the partner has taken it.
    #[expect(
        clippy::inline_always,
        reason = "of two callers one is hot: a call is a twentieth of what a message takes"
    )]
    #[inline(always)]
    pub(super) fn relay(&mut self, key: Key, bytes: &[u8]) {
        let Some(source) = self.table.get(key) else { return };
        // Not before: what was sent of its batch may have found it broken.
        let is_wanted = source.takes_more() && !self.cx.is_cut_off(source);
        let (Some(leg), Some(pair)) = (source.leg, self.cx.gateway.pairs.of_mut(key)) else { return };
        pair.moved = self.cx.now;
        let partner = pair.leg(leg.other());
        let conn = partner.and_then(|partner| self.table.get_mut(partner));
        let (Some(partner), Some(conn)) = (partner, conn.filter(|conn| is_wanted && conn.takes_more()))
        else {
            return self.cx.gateway.lose(key, leg, bytes.len());
        };
        // Its server's layer takes nothing yet.
        if conn.is_opening() {
            if let Some(cold) = self.cx.gateway.pairs.cold_mut(key) {
                cold.add_early(bytes);
            }
            return;
        }
        let is_fresh = pair.stage == Stage::Fresh;
        let mut spoke = None;
        if leg == Leg::Upstream && !pair.has_answered() {
            pair.note_answer();
            spoke = pair.server().map(|server| (pair.to(), server));
            if let Some(times) = self.cx.gateway.pairs.times_mut(key) {
                times.first_byte = Span::between(conn.life.accepted(), self.cx.now).into();
            }
        }
        if is_fresh && conn.life.bytes_out > 0 {
            self.cx.complete_options(partner, conn);
        }
        self.cx.write(partner, conn, bytes);
        let waits = conn.pending_output() > 0;
        let is_bulk = bytes.len() >= K::BULK_BYTES && !is_fresh && conn.takes_output();
        if waits && let Some(conn) = self.table.get_mut(key) {
            self.cx.await_partner(key, conn);
        }
        if is_bulk {
            self.begin_bulk(key);
        }
        if let Some((upstream, server)) = spoke {
            self.cx.note_spoke(upstream, server);
        }
    }

    /// Closes a leg whose output is all sent. It is read one last time before: closing a socket with unread input sends a
    /// reset. A step of [`settle`](Self::settle), which goes on with what follows.
    pub(super) fn close_behind_last_look(&mut self, key: Key) {
        self.read_once_more(key);
        if let Some(conn) = self.table.get_mut(key)
            && conn.is_being_closed()
            && conn.pending_output() == 0
        {
            self.cx.close_unless_more_is_due(key, conn);
            if !conn.is_closed() {
                self.cx.schedule(key, conn);
            }
        }
    }
}

impl<K: Kernel> Context<K> {
    /// Pauses reading a leg until its partner has taken what the leg has sent.
    pub(super) fn await_partner(&mut self, key: Key, conn: &mut Conn<K>) {
        let (Some(leg), Some(pair)) = (conn.leg, self.gateway.pairs.of_mut(key)) else { return };
        if pair.flow(leg) == Direction::Open {
            pair.set_flow(leg, Direction::Paused);
        }
        self.pause(key, conn, Pause::Partner);
        // A reset that was flagged already is behind what waits now, and nothing would tell of it again. The flag was a hint.
        let flagged = conn.reading == Reading::Resetting && self.policy_of(conn).liveness.readiness;
        if flagged && leg == Leg::Client && conn.stream.evidence().is_none_or(|evidence| evidence.is_closed())
        {
            self.read_to_the_error(key, conn, Detector::Readiness, None);
        }
    }

    /// The upstream leg is connected: the client is read from now on. If the client has ended meanwhile, the upstream leg
    /// is told now.
    pub(super) fn note_connected(&mut self, key: Key, conn: &mut Conn<K>) {
        let Some(pair) = self.gateway.pairs.of_mut(key) else { return };
        if pair.is_finished(Leg::Client) {
            let is_there = pair.leg(Leg::Client).is_some();
            let forward = is_there && self.half_close(conn) == HalfClose::Forward;
            self.on_news(key, conn, if forward { News::Finished } else { News::Leaving });
        } else if pair.is_paused(Leg::Client) {
            pair.set_flow(Leg::Client, Direction::Open);
            self.aftermath.post_leg(pair.name(), Next::Resume);
        }
    }

    /// A leg's output has been sent: its partner goes on if it waits for that.
    pub(super) fn note_room(&mut self, key: Key, leg: Leg, pending: usize) {
        let Some(pair) = self.gateway.pairs.of_mut(key) else { return };
        if pending == 0 && pair.is_paused(leg.other()) && pair.stage != Stage::Connecting {
            pair.set_flow(leg.other(), Direction::Open);
            if let Some(partner) = pair.leg(leg.other()) {
                self.aftermath.post_leg(partner, Next::Resume);
            }
        }
    }

    /// A half-closed leg is ended: its partner is to send nothing more.
    pub(super) fn end_half_closed(&mut self, key: Key, leg: Leg) {
        self.notify_partner(key, leg, News::Leaving);
    }

    fn notify_partner(&mut self, key: Key, leg: Leg, news: News) {
        if let Some(partner) = self.gateway.pairs.of(key).and_then(|pair| pair.leg(leg.other())) {
            self.aftermath.post_leg(partner, Next::Partner(news));
        }
    }

    /// A leg is broken: its peer takes no more output. What the peer had sent before goes to the partner, as fast as the
    /// partner takes it. The exception is a client whose reset is passed on: it is read to its error at once.
    pub(super) fn on_leg_broken(&mut self, key: Key, conn: &mut Conn<K>, leg: Leg) {
        self.note_room(key, leg, 0);
        if self.is_cut_off(conn) {
            self.stop_waiting(key, conn);
        }
    }

    /// Whether it is a broken client whose reset is passed on to its server at once.
    pub(super) fn is_cut_off(&self, conn: &Conn<K>) -> bool {
        conn.leg == Some(Leg::Client) && conn.is_failing() && self.client_reset(conn) == ClientReset::Reset
    }

    /// The poller hints that a client has closed. While its server is being connected, the client is read once more, to see
    /// whether it has closed without sending anything.
    pub(super) fn look_for_departure(&mut self, key: Key, conn: &mut Conn<K>) {
        if conn.leg == Some(Leg::Client)
            && conn.pause == Pause::Partner
            && conn.life.bytes_in == self.annotations.proxied.header_bytes(key)
            && self.gateway.pairs.of(key).is_some_and(|pair| {
                // With TLS towards the server, what the client sends could not be encoded yet.
                pair.stage == Stage::Connecting && self.gateway.upstreams[pair.to()].settings().tls.is_none()
            })
        {
            conn.pause = Pause::None;
        }
    }

    /// A leg does not wait for its partner any more: its input is read and dropped.
    fn stop_waiting(&mut self, key: Key, conn: &mut Conn<K>) {
        if conn.pause == Pause::Partner
            && let (Some(leg), Some(pair)) = (conn.leg, self.gateway.pairs.of_mut(key))
        {
            pair.set_flow(leg, Direction::Open);
            conn.pause = Pause::None;
            self.posted.resume(key, conn);
        }
    }

    fn relay_of(&self, conn: &Conn<K>) -> Option<&Relay> {
        self.listener_of(conn).relay.as_ref()
    }

    fn client_reset(&self, conn: &Conn<K>) -> ClientReset {
        self.relay_of(conn).map_or(ClientReset::Reset, |relay| relay.client_reset)
    }

    pub(super) fn half_close(&self, conn: &Conn<K>) -> HalfClose {
        self.relay_of(conn).map_or(HalfClose::End, |relay| relay.half_close)
    }

    /// A leg begins to end: its partner is told.
    pub(super) fn on_leg_ending(&mut self, key: Key, conn: &Conn<K>, leg: Leg) {
        let Some(cause) = conn.life.cause() else { return };
        let half_close = self.half_close(conn);
        let Some(pair) = self.gateway.pairs.note_cause(key, leg, cause) else { return };
        // If a layer has reported the end of the stream before, the partner knows.
        let read_to_the_end = matches!(conn.life.state(), State::PeerClosed { .. });
        let is_news = !pair.is_finished(leg);
        if read_to_the_end && is_news {
            pair.set_flow(leg, Direction::Finished);
        }
        // An end that the partner has caused is no news to it.
        if read_to_the_end && half_close == HalfClose::Forward {
            if is_news {
                self.notify_partner(key, leg, News::Finished);
            }
        } else if cause.detector != Detector::Partner {
            self.notify_partner(key, leg, News::Leaving);
        }
    }

    /// The end of file was read on a leg that had begun to end before.
    pub(super) fn on_leg_eof(&mut self, key: Key, leg: Leg) {
        if let Some(pair) = self.gateway.pairs.of_mut(key)
            && !pair.is_finished(leg)
        {
            pair.set_flow(leg, Direction::Finished);
            self.notify_partner(key, leg, News::Finished);
        }
    }

    /// The layer of a leg has said that nothing follows: its partner may end by that before its FIN comes.
    pub(super) fn on_leg_last_word(&mut self, key: Key, leg: Leg) {
        let reason = match leg {
            Leg::Client => Reason::PeerFin,
            Leg::Upstream => Reason::PeerFin.of_upstream(),
        };
        self.gateway.pairs.note_cause(key, leg, Cause { reason, detector: Detector::Protocol });
        self.on_leg_eof(key, leg);
    }

    /// A leg is told of its partner.
    pub(super) fn on_news(&mut self, key: Key, conn: &mut Conn<K>, news: News) {
        // If the partner's TLS stream was truncated, ours ends in the same way: a FIN without `close_notify`.
        if let Some(leg) = conn.leg
            && let Some(layer) = conn.buffers.as_deref_mut().and_then(|buffers| buffers.layer.as_deref_mut())
            && self.gateway.pairs.cold(key).is_some_and(|cold| cold.truncated[leg.other() as usize])
        {
            layer.forgo_last_word();
        }
        let cause = self.gateway.cause_of_pair(key, conn.leg);
        match news {
            News::Finished | News::Leaving | News::Gone(LastRung::Linger2)
                if conn.life.state().is_connecting() =>
            {
                // What the partner has sent is delivered first, if there is any.
                let pair = self.gateway.pairs.of(key);
                let nothing = pair.is_none_or(|pair| {
                    let header_only = conn.is_opening() || pair.is_header_only(conn.pending_output());
                    header_only && !self.gateway.pairs.cold(key).is_some_and(ColdPair::has_early)
                });
                if news != News::Finished && nothing {
                    self.apply(key, conn, Input::PartnerGone { cause, rung: LastRung::Reset });
                }
            }
            News::Finished => {
                let patience = self.relay_of(conn).map(|relay| relay.half_close_timeout);
                let patience = patience.unwrap_or_default();
                self.apply(key, conn, Input::PartnerFin { cause, patience });
            }
            News::Leaving => self.close_leg(key, conn, cause, LastRung::Linger2),
            News::Gone(rung) => self.close_leg(key, conn, cause, rung),
        }
    }

    /// Ends a leg: at once, or when its peer has all that the partner has sent.
    pub(super) fn close_leg(&mut self, key: Key, conn: &mut Conn<K>, cause: Cause, rung: LastRung) {
        self.stop_waiting(key, conn);
        let Cause { mut reason, detector } = cause;
        if conn.leg == Some(Leg::Upstream) && detector != Detector::Partner {
            reason = reason.of_upstream();
        }
        // The client is gone, so the server's answers have no reader; or the client has received everything already.
        let at_once = rung == LastRung::Reset
            && (conn.leg == Some(Leg::Upstream) || (conn.pending_output() == 0 && peer_has_everything(conn)));
        if at_once {
            self.apply(key, conn, Input::Abort { reason, detector, rung, output_pending: false });
        } else {
            self.apply(key, conn, Input::PartnerGone { cause: Cause { reason, detector }, rung });
        }
    }

    /// A leg that is ending has no pending output. Sends our FIN if the partner has sent its own. Returns whether the leg can
    /// be closed: not while the partner may send more.
    pub(super) fn on_leg_drained(&mut self, key: Key, conn: &mut Conn<K>, leg: Leg) -> bool {
        let State::Closing { last, .. } = conn.life.state() else {
            let ends = self.half_close(conn) == HalfClose::End;
            let pair = self.gateway.pairs.of(key);
            // A server for what it has sent may still be looked for.
            return pair.is_none_or(|pair| {
                pair.is_finished(leg.other()) || (ends && pair.stage != Stage::Connecting)
            });
        };
        // A broken socket takes no FIN.
        if last.is_none()
            && !conn.is_failing()
            && self.gateway.pairs.of(key).is_some_and(|pair| pair.flow(leg.other()) == Direction::Finished)
        {
            // A layer says its last word (`close_notify`) before the FIN.
            if self.say_last_word(conn) {
                self.flush(key, conn);
                return false;
            }
            let Some(pair) = self.gateway.pairs.of_mut(key) else { return false };
            pair.set_flow(leg.other(), Direction::Forwarded);
            conn.stream.shutdown_send();
            self.observer.counters.listeners[usize::from(conn.listener)].forwarded_fin();
        }
        last.is_some()
    }

    /// The deadline of a leg that is ending has passed. Returns the new deadline if bytes still move in the pair.
    pub(super) fn extended_leg_deadline(&self, key: Key, conn: &Conn<K>) -> Option<Instant> {
        if conn.is_being_closed() {
            return None;
        }
        let relay = self.relay_of(conn)?;
        let pair = self.gateway.pairs.of(key)?;
        // Nothing moves without a partner.
        if conn.leg.is_none_or(|leg| pair.leg(leg.other()).is_none()) {
            return None;
        }
        let until = pair.moved + relay.half_close_timeout;
        (until > self.now).then_some(until)
    }

    /// Whether a leg whose output is all sent must wait until the peer's kernel has acknowledged it. A reset would destroy
    /// output that is on its way; so would the kernel's answer to anything that the peer sends after the close.
    pub(super) fn must_be_delivered(&self, key: Key, conn: &Conn<K>) -> bool {
        let State::Closing { last: Some(last), .. } = conn.life.state() else { return false };
        let sends_on = || conn.leg.is_some_and(|leg| self.gateway.has_lost(key, leg));
        (last == LastRung::Reset || sends_on()) && !peer_has_everything(conn)
    }

    /// Whether an upstream server was connected so lately that the kernel need not be asked whether it is reachable. It has
    /// answered then, and was sent no more than the kernel sends at once.
    pub(super) fn has_answered_lately(&self, conn: &Conn<K>) -> bool {
        conn.leg == Some(Leg::Upstream)
            && conn.life.bytes_out <= INITIAL_WINDOW
            && self.now.since(conn.life.accepted()) < LASTS
    }

    /// Adds the clocks of the pair to those of a leg: its deadlines are counted from both.
    pub(super) fn add_clocks_of_pair(&self, key: Key, conn: &Conn<K>, clocks: &mut Clocks) {
        let Some(pair) = self.gateway.pairs.of(key) else { return };
        // A pair is in use whichever side speaks, and as long as one has bytes for the other.
        let waits = [Leg::Client, Leg::Upstream].iter().any(|leg| pair.is_paused(*leg));
        clocks.used = if waits { self.now } else { clocks.used.max(pair.moved) };
        if conn.leg == Some(Leg::Upstream) && matches!(pair.stage, Stage::Fresh | Stage::Used) {
            clocks.lasts = Some(conn.life.accepted() + LASTS);
        }
    }

    /// A leg leaves the table: its partner is told. Returns the mode of the close as it is recorded.
    #[inline(never)]
    pub(super) fn on_leg_closing(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        leg: Leg,
        mode: CloseMode,
    ) -> CloseMode {
        let Some(cause) = conn.life.cause() else { return mode };
        let softened = leg == Leg::Client
            && was_reset_or_lost(cause.reason)
            && self.client_reset(conn) == ClientReset::Fin;
        // Another server may be tried: the pair does not end with this one, and its output is kept for the next.
        if leg == Leg::Upstream
            && was_not_reached(cause)
            && self.gateway.pairs.of(key).is_some_and(|pair| pair.stage == Stage::Connecting)
        {
            if let Some(buffers) = &mut conn.buffers {
                // What a layer has encoded is for this server alone.
                if buffers.layer.is_none()
                    && let Some(cold) = self.gateway.pairs.cold_mut(key)
                {
                    cold.carry(buffers.output.as_slice());
                }
                buffers.output.consume(buffers.output.len());
            }
            return mode;
        }
        let Some(pair) = self.gateway.pairs.note_cause(key, leg, cause) else { return mode };
        // An attempt to connect that we abort is not a reset by a peer.
        let is_reset = mode == CloseMode::Reset && !(leg == Leg::Upstream && pair.stage == Stage::Connecting);
        let rung = if is_reset && !softened { LastRung::Reset } else { LastRung::Linger2 };
        let forwarded = pair.flow(leg.other()) == Direction::Forwarded;
        if let Some(partner) = pair.leg(leg.other()) {
            self.aftermath.post_leg(partner, Next::Partner(News::Gone(rung)));
        }
        let peer_first = matches!(mode, CloseMode::PeerFirst | CloseMode::PeerFirstAfterGoodbye);
        if forwarded && peer_first { CloseMode::ForwardedFin } else { mode }
    }
}

impl<S> Connection<S> {
    /// Whether it is a leg of which one direction has ended and the other is open. It can still be ended.
    pub(super) const fn is_half_closed(&self) -> bool {
        self.leg.is_some()
            && matches!(self.life.state(), State::PeerClosed { .. } | State::Closing { last: None, .. })
    }

    /// Whether it is closed as soon as its output is sent. What the peer sends meanwhile does not put that off: it may never
    /// end.
    pub(super) const fn is_being_closed(&self) -> bool {
        matches!(self.life.state(), State::Closing { last: Some(_), .. })
    }

    /// Whether it takes what its partner sends, and its own input goes to the partner. A leg that is being closed is read
    /// only so that its close is no reset.
    pub(super) fn takes_more(&self) -> bool {
        match self.life.state() {
            State::Connecting { .. }
            | State::Handshaking
            | State::Open
            | State::Suspect { .. }
            | State::PeerClosed { .. } => true,
            State::Closing { last, .. } => last.is_none(),
            State::Closed { .. } => false,
        }
    }
}

/// Whether a client has gone without a FIN, and not by our doing.
const fn was_reset_or_lost(reason: Reason) -> bool {
    matches!(reason, Reason::PeerReset | Reason::PeerResetAfterFin)
        || matches!(reason.class(), Class::Lost | Class::Stuck)
}

/// Whether a connection that was being made has ended because its server could not be reached.
pub(super) const fn was_not_reached(cause: Cause) -> bool {
    matches!(cause.detector, Detector::Connect | Detector::Timer)
}

/// Whether the peer's kernel has acknowledged all that ours was given.
fn peer_has_everything<S: Stream>(conn: &Connection<S>) -> bool {
    let delivered = |evidence: TcpSnapshot| evidence.unacked == 0 && evidence.notsent_bytes == 0;
    conn.stream.evidence().is_none_or(delivered)
}
