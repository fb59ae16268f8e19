//! Posted work: effects of one connection on others, performed between connections and never inside
//! another one's callback. A connection that has posted some goes on when they are done.

use super::Reactor;
use super::connection::Flags;
use super::context::{Conn, Context};
use super::parts::effect::Effect;
use super::publication::BACKLOG_MAX;
use super::work::{self, cost};
use crate::core::end::{Detector, Reason};
use crate::core::table::Key;
use crate::net::Kernel;

impl<K: Kernel> Reactor<K> {
    pub(super) fn run_effects(&mut self) {
        let share = self.cx.work.after(work::EFFECTS);
        while !self.cx.work.is_past(share) {
            let Some(effect) = self.cx.effects.pop_front() else { break };
            self.cx.work.charge(cost::COMMAND);
            self.run_effect(effect);
        }
        if self.cx.effects.is_empty() {
            self.cx.effects.shrink_to(BACKLOG_MAX);
        }
    }

    fn run_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Presence { id, event, origin } => {
                self.cx.publish_presence(&id, &event, origin.as_deref());
            }
            Effect::Close { key, reason, detector, by } => {
                self.drive(key, |cx, conn| cx.close_gracefully_by(key, conn, reason, detector, by));
            }
            Effect::Replaced { key, id, by } => self.replace(key, &id, by),
            Effect::Overflow { key } => {
                self.drive(key, |cx, conn| cx.abort(key, conn, Reason::SlowBytes, Detector::Policy));
            }
            Effect::Suspect { key } => {
                self.drive(key, |cx, conn| cx.suspect(key, conn, Detector::HeartbeatChannel));
            }
            Effect::Resume { key } => self.cx.publishing.publications.wait(key),
        }
    }

    /// Sends what was delivered; what is over the share waits for the next turn, and more may be delivered meanwhile.
    pub(super) fn flush_some(&mut self) {
        let share = self.cx.work.after(work::FLUSHED);
        while !self.cx.work.is_past(share) {
            let Some(key) = self.cx.posted.next_to_flush() else { break };
            self.drive(key, |cx, conn| {
                conn.flags.clear(Flags::TO_FLUSH);
                cx.work.charge(cost::LOOK);
                cx.flush(key, conn);
            });
        }
    }
}

impl<K: Kernel> Context<K> {
    /// Whether so many effects wait that nobody should add to them.
    pub(super) fn is_backlogged(&self) -> bool {
        self.effects.len() >= BACKLOG_MAX || self.publishing.publications.is_long()
    }

    /// Whether a connection holds an identity: it may have taken one again since it was replaced.
    pub(super) fn is_current(&self, key: Key, conn: &Conn<K>) -> bool {
        conn.membership().is_some_and(|membership| self.hub.is_current(membership, key))
    }
}
