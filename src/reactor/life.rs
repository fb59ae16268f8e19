//! Inputs go to a connection's life here, and the action that it returns is carried out. This is the one way into every
//! state. The failures of the socket are here too, and the server's two ways to end a connection: a graceful close of a
//! peer that answers, and an abort of one that does not.

use super::connection::{Client, Reading};
use super::context::{Conn, Context};
use super::parts::aftermath::Next;
use super::relay::LASTS;
use crate::core::conn::policy::LastRung;
use crate::core::conn::{Action, Cause, Input, State, explain_timeout};
use crate::core::end::{Detector, Leg, Reason};
use crate::core::table::Key;
use crate::core::timer::TICK;
use crate::hub::Presence;
use crate::net::{Kernel, SocketError, Stream};
use crate::transport::Layer;

impl<K: Kernel> Context<K> {
    /// Tells a connection's life what happened, and does what follows. If that is its end, it leaves the table after it was
    /// driven.
    pub(super) fn apply(&mut self, key: Key, conn: &mut Conn<K>, mut input: Input) {
        if conn.leg == Some(Leg::Upstream) && input.is_of_peer() {
            input = input.of_upstream();
        }
        let (before, was_ending) = (conn.life.state().index(), conn.is_ending());
        let mut action = self.advance_life(key, conn, input);
        // Nothing is pending: what follows from that is told at once.
        if action == Action::Flush && conn.buffers.is_none() {
            action = match self.flushed(key, conn) {
                Some(next) => self.advance_life(key, conn, next),
                None => Action::None,
            };
        }
        match action {
            Action::None => {}
            Action::Probe => self.probe_suspect(key, conn),
            Action::ProbeAgain => Self::probe_again(conn),
            Action::Revive { withheld } => self.revive(key, conn, withheld),
            Action::Release => self.release(key, conn),
            Action::Flush => self.flush(key, conn),
            Action::Close(mode) => {
                conn.reading = Reading::Ended;
                return self.aftermath.post_close(key, mode);
            }
        }
        // What followed may have been the end.
        if conn.is_closed() {
            return;
        }
        // The deadline after a goodbye is shorter once all output is flushed.
        let moved = before != conn.life.state().index() || matches!(input, Input::Flushed { .. });
        if moved && !self.is_scheduled_already(key, conn, input) {
            self.schedule(key, conn);
        }
        if !was_ending && conn.is_ending() {
            self.on_ending(key, conn);
        } else if let (Some(leg), Input::PeerFin { .. }) = (conn.leg, input) {
            self.on_leg_eof(key, leg);
        }
    }

    #[expect(clippy::inline_always, reason = "left alone, the state and the input are copied once more")]
    #[inline(always)]
    fn advance_life(&mut self, key: Key, conn: &mut Conn<K>, input: Input) -> Action {
        let was_ending = conn.is_ending();
        let action = conn.life.on(input, self.now, &self.policy_of(conn).closing);
        if !was_ending && conn.is_ending() && conn.layer().is_some() {
            // Its layer says its last word after all output of this turn.
            self.posted.flush(key, conn);
        }
        action
    }

    /// Whether a connection is looked at in time whatever its deadlines have become: a leg that is closed within this turn, and
    /// one that was connected and is looked at when it has lasted.
    fn is_scheduled_already(&self, key: Key, conn: &Conn<K>, input: Input) -> bool {
        let lasts = conn.life.accepted() + LASTS + TICK;
        (matches!(input, Input::Connected) && self.deadlines.of_slot(key.index).is_some_and(|at| at <= lasts))
            || self.aftermath.was_posted_last(key, Next::LastLook)
    }

    /// Its first message is there: the opening exchange is over, unless it has to log in.
    pub(super) fn open(&mut self, key: Key, conn: &mut Conn<K>) {
        if conn.life.state() == State::Handshaking && !conn.is_anonymous() {
            self.apply(key, conn, Input::Opened);
        }
    }

    /// A connection is ending: from now on its identity counts as offline, because no message reaches it any more.
    fn on_ending(&mut self, key: Key, conn: &Conn<K>) {
        if let Some(leg) = conn.leg {
            self.on_leg_ending(key, conn, leg);
        }
        let Some(membership) = conn.membership() else { return };
        self.hub.set_presence(membership, key, Presence::Ending);
        if let Some(link) = self.worker.link_mut()
            && let Some(id) = self.hub.identity_of(membership, key)
        {
            link.on_ending(key, id);
        }
    }

    /// The socket has an error that no read will report.
    pub(super) fn take_error(&mut self, key: Key, conn: &mut Conn<K>, detector: Detector) {
        let fault = conn.stream.take_error().unwrap_or(SocketError::BrokenPipe);
        self.fail(key, conn, fault, detector);
    }

    /// The socket failed: what it means, with the kernel's evidence where a name alone does not tell.
    pub(super) fn fail(&mut self, key: Key, conn: &mut Conn<K>, fault: SocketError, detector: Detector) {
        let probing = conn.buffers.as_ref().is_some_and(|buffers| buffers.oob_sent > conn.life.heard());
        let (reason, kernel_timer) = match fault {
            SocketError::Reset => (Reason::PeerReset, None),
            SocketError::BrokenPipe => (Reason::PeerResetAfterFin, None),
            SocketError::TimedOut => {
                let (reason, timer) = explain_timeout(conn.stream.evidence());
                (reason, Some(timer))
            }
            // ICMP alone ends no connection: it is told in the place of ETIMEDOUT when a timer of the kernel
            // gives up (net/ipv4/tcp_timer.c: tcp_write_err; tests/kernel/liveness_netns.rs).
            SocketError::Unreachable => {
                let (_, timer) = explain_timeout(conn.stream.evidence());
                (Reason::LostUnreachable, Some(timer))
            }
            SocketError::Memory => (Reason::LocalInternal, None),
            SocketError::Other(errno) => {
                self.observer.report.unforeseen(key, errno, self.now);
                (Reason::LocalInternal, None)
            }
        };
        let asked = matches!(detector, Detector::EofProbe | Detector::TcpInfo | Detector::OobProbe);
        let detector = match kernel_timer {
            _ if conn.life.state().is_connecting() => Detector::Connect,
            _ if asked => detector,
            _ if probing => Detector::OobProbe,
            Some(timer) => timer,
            None => detector,
        };
        self.apply(key, conn, Input::Failed { reason, detector });
    }

    /// Ends a connection whose peer answers: sends the protocol's goodbye, and begins to close.
    pub(super) fn close_gracefully(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        reason: Reason,
        detector: Detector,
    ) {
        if conn.is_ending() && !conn.is_half_closed() {
            return;
        }
        if let Some(leg) = conn.leg {
            if conn.is_half_closed() {
                self.end_half_closed(key, leg);
            }
            // A relayed protocol has no goodbye of ours that would make the peer close first.
            return self.close_leg(key, conn, Cause { reason, detector }, LastRung::Linger2);
        }
        let protocol = self.listener_of(conn).protocol;
        let mut goodbye = Vec::new();
        if conn.client().is_none_or(Client::takes_goodbye) {
            protocol.goodbye(conn.encoding(), reason, &mut goodbye);
        }
        // A layer has a last word of its own.
        let has_words = conn.layer().map_or(!goodbye.is_empty(), Layer::can_send);
        // A peer that still has output to read is waited for as well, or it would lose that output.
        let notified = has_words || conn.pending_output() > 0;
        self.begin_close(key, conn, reason, detector, notified);
        self.write(key, conn, &goodbye);
    }

    /// Begins to close. `notified`: the peer was sent a goodbye that it can act upon, or is about to be.
    ///
    /// The state changes before the goodbye is written: output that was held back from a suspect peer goes out first.
    pub(super) fn begin_close(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        reason: Reason,
        detector: Detector,
        notified: bool,
    ) {
        let reason = if conn.leg == Some(Leg::Upstream) { reason.of_upstream() } else { reason };
        // A failure in an upstream server's TLS handshake is a failure to connect: another server may be tried.
        let detector = if conn.life.state().is_connecting() { Detector::Connect } else { detector };
        self.apply(key, conn, Input::CloseGracefully { reason, detector, notified });
    }

    /// Ends a connection whose peer no longer answers.
    pub(super) fn abort(&mut self, key: Key, conn: &mut Conn<K>, reason: Reason, detector: Detector) {
        let closing = &self.policy_of(conn).closing;
        let rung = if reason == Reason::StuckFrozen { closing.frozen } else { closing.unreachable };
        let output_pending = conn.pending_output() > 0;
        let connected = !conn.life.state().is_connecting();
        if conn.leg.is_some() && connected && rung == LastRung::Linger2 && output_pending {
            // It is closed after its output, and no goodbye follows that the peer could answer.
            return self.close_leg(key, conn, Cause { reason, detector }, rung);
        }
        self.apply(key, conn, Input::Abort { reason, detector, rung, output_pending });
    }

    /// Ends a connection without waiting; what the kernel holds is still delivered.
    pub(super) fn close_now(&mut self, key: Key, conn: &mut Conn<K>, reason: Reason, detector: Detector) {
        let rung = LastRung::Linger2;
        self.apply(key, conn, Input::Abort { reason, detector, rung, output_pending: false });
    }
}
