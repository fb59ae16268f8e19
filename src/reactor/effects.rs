//! Posted work: effects of one connection on others, performed between connections and never inside
//! another one's callback. Whoever has posted some goes on when they are done.

use super::Reactor;
use super::publication::BACKLOG_MAX;
use super::work::{self, cost};
use crate::core::end::{By, Detector, Reason};
use crate::core::table::Key;
use crate::hub::Name;
use crate::net::Kernel;
use crate::protocol::presence::Event;
use std::sync::Arc;

/// What one connection, or the hub on its behalf, does to another.
#[derive(Debug)]
pub(super) enum Effect {
    /// Something happened to an identity: those who watch it are told.
    Presence { id: Name, event: Event },
    /// It is ended on behalf of another connection, if that is known: a kick.
    Close { key: Key, reason: Reason, detector: Detector, by: Option<Arc<By>> },
    /// A newer connection has taken its identity: it is ended, and those who watch the identity are told.
    Replaced { key: Key, id: Name, by: Arc<By> },
    /// A message had no room in its output.
    Overflow { key: Key },
    /// Its heartbeat connection died.
    Suspect { key: Key },
    /// It goes on when all that was posted before is done.
    Resume { key: Key },
}

impl<K: Kernel> Reactor<K> {
    pub(super) fn run_effects(&mut self) {
        let share = self.work.after(work::EFFECTS);
        while !self.work.is_past(share) {
            let Some(effect) = self.effects.pop_front() else { break };
            self.work.charge(cost::COMMAND);
            match effect {
                Effect::Presence { id, event } => self.publish_presence(&id, &event),
                Effect::Close { key, reason, detector, by } => {
                    self.leave_by(key, reason, detector, by);
                }
                Effect::Replaced { key, id, by } => {
                    self.replace(key, &id, by);
                }
                Effect::Overflow { key } => {
                    self.abort(key, Reason::SlowBytes, Detector::Policy);
                }
                Effect::Suspect { key } => self.suspect(key, Detector::HeartbeatChannel),
                Effect::Resume { key } => self.publications.wait(key),
            }
        }
        if self.effects.is_empty() {
            self.effects.shrink_to(BACKLOG_MAX);
        }
    }

    /// Whether so many effects wait that nobody should add to them.
    pub(super) fn is_backlogged(&self) -> bool {
        self.effects.len() >= BACKLOG_MAX || self.publications.is_long()
    }

    /// Whether it holds an identity: it may have taken one again since it was replaced.
    pub(super) fn is_current(&self, key: Key) -> bool {
        let resp = self.table.get(key).and_then(|conn| conn.resp());
        resp.is_some_and(|resp| self.hub.is_current(&resp.membership, key))
    }

    pub(super) fn post_flush(&mut self, key: Key) {
        if let Some(conn) = self.table.get_mut(key)
            && !conn.flush_posted
        {
            conn.flush_posted = true;
            self.flush.push_back(key);
        }
    }

    /// Sends what was delivered; what is over the share waits for the next turn, and more may be delivered meanwhile.
    pub(super) fn flush_some(&mut self) {
        let share = self.work.after(work::FLUSHED);
        while !self.work.is_past(share) {
            let Some(key) = self.flush.pop_front() else { break };
            let Some(conn) = self.table.get_mut(key) else { continue };
            conn.flush_posted = false;
            self.work.charge(cost::LOOK);
            self.flush(key);
        }
    }
}
