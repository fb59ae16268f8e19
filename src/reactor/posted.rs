//! Posted work: effects of one connection on others, performed between connections and never inside
//! another one's callback.

use super::Reactor;
use super::entry::Session;
use crate::end::{By, Detector, Reason};
use crate::hub::{Name, presence_channel};
use crate::net::Kernel;
use crate::proto::presence::Event;
use crate::proto::resp::{Reply, Version};
use crate::table::Key;
use std::rc::Rc;
use std::sync::Arc;

/// Effects performed in one turn; the rest makes the next poll not wait.
const EFFECTS_PER_TURN: usize = 100_000;
/// Above this many waiting effects no connection's commands are served: they would only add to them.
pub(super) const EFFECTS_HIGH: usize = 10_000;
/// Delivered bytes that may lie in the outputs of all connections before they are offered to the sockets: a
/// large message to many would otherwise be copied for each of them first.
const FRESH_BYTES: usize = 4 * 1024 * 1024;

/// What one connection, or the hub on its behalf, does to another.
#[derive(Debug)]
pub(super) enum Effect {
    /// A message for a subscriber or an addressee, encoded for it.
    Deliver { to: Key, frame: Rc<[u8]> },
    /// Something happened to an identity: those who watch it are told.
    Presence { id: Name, event: Event },
    /// It is ended on behalf of another connection, if that is known: a kick.
    Leave { key: Key, reason: Reason, detector: Detector, by: Option<Arc<By>> },
    /// A newer connection has taken its identity: it is ended, and those who watch the identity are told.
    Replaced { key: Key, id: Name, by: Arc<By> },
    /// Its heartbeat connection died.
    Doubt { key: Key },
    /// Its heartbeat connection vouched for it.
    Vouch { key: Key },
}

impl<K: Kernel> Reactor<K> {
    pub(super) fn run_posted(&mut self) {
        let mut fresh = 0;
        for _ in 0..EFFECTS_PER_TURN {
            let Some(effect) = self.posted.pop_front() else { return };
            match effect {
                Effect::Deliver { to, frame } => {
                    self.deliver(to, &frame);
                    fresh += frame.len();
                    if fresh >= FRESH_BYTES {
                        self.flush_all();
                        fresh = 0;
                    }
                }
                Effect::Presence { id, event } => self.publish_presence(&id, &event),
                Effect::Leave { key, reason, detector, by } => self.leave_by(key, reason, detector, by),
                Effect::Replaced { key, id, by } => self.replace(key, &id, by),
                Effect::Doubt { key } => self.doubt(key, Detector::HeartbeatChannel),
                Effect::Vouch { key } => self.hear(key),
            }
        }
    }

    /// Whether it holds an identity: it may have taken one again since it was replaced.
    pub(super) fn is_current(&self, key: Key) -> bool {
        let resp = self.table.get(key).and_then(|conn| conn.resp());
        resp.is_some_and(|resp| self.hub.is_current(&resp.membership, key))
    }

    /// Appends a message to a connection's output; it is sent with whatever else comes in this turn.
    fn deliver(&mut self, to: Key, frame: &[u8]) {
        let Some(conn) = self.table.get_mut(to) else { return };
        if conn.life.state().cause().is_some() {
            return;
        }
        if let Some(Session::Resp(resp)) = conn.session.as_deref_mut() {
            resp.messages_out += 1;
        }
        self.counters.messages += 1;
        // A burst within one turn says nothing about the reader: it is asked first.
        let high = Self::listener_of(&self.listeners, conn).policy.bounds.output_high;
        if conn.owed() + frame.len() > high {
            self.flush(to);
        }
        self.owe(to, frame);
        self.post_flush(to);
    }

    pub(super) fn post_flush(&mut self, key: Key) {
        if let Some(conn) = self.table.get_mut(key)
            && !conn.flush_posted
        {
            conn.flush_posted = true;
            self.flush.push_back(key);
        }
    }

    pub(super) fn flush_all(&mut self) {
        while let Some(key) = self.flush.pop_front() {
            if let Some(conn) = self.table.get_mut(key) {
                conn.flush_posted = false;
                self.flush(key);
            }
        }
    }

    /// Posts `payload` to everyone who listens on `channel`; how many that are.
    pub(super) fn publish(&mut self, channel: &[u8], payload: &[u8]) -> usize {
        let (table, posted) = (&self.table, &mut self.posted);
        let mut plain = Encodings::default();
        let mut matched: Option<(&[u8], Encodings)> = None;
        self.hub.publish(channel, |recipient| {
            let version = table.get(recipient.key).and_then(|conn| conn.resp()).map(|resp| resp.version);
            let Some(version) = version else { return };
            let frame = match recipient.pattern {
                // The same bytes for every subscriber of the channel: encoded once a version.
                None => plain.get(version, |reply| reply.message(channel, payload)),
                // Likewise for those of a pattern, who are named one after the other.
                Some(pattern) => {
                    if matched.as_ref().is_none_or(|(last, _)| *last != pattern) {
                        matched = None;
                    }
                    let (_, frames) = matched.get_or_insert_with(|| (pattern, Encodings::default()));
                    frames.get(version, |reply| reply.pattern_message(pattern, channel, payload))
                }
            };
            posted.push_back(Effect::Deliver { to: recipient.key, frame });
        })
    }

    /// Tells those who watch an identity; among other workers, by way of the supervisor, which alone knows what came first.
    pub(super) fn publish_presence(&mut self, id: &Name, event: &Event) {
        if self.fellows.is_some() {
            return self.tell_presence(id, event);
        }
        let mut payload = Vec::new();
        event.write(&mut payload);
        self.publish(&presence_channel(id), &payload);
    }
}

/// One encoding of a message for each version of the protocol, made when first wanted.
#[derive(Default)]
struct Encodings {
    frames: [Option<Rc<[u8]>>; 2],
}

impl Encodings {
    fn get(&mut self, version: Version, write: impl FnOnce(&mut Reply<'_>)) -> Rc<[u8]> {
        self.frames[version as usize].get_or_insert_with(|| encode(version, write)).clone()
    }
}

fn encode(version: Version, write: impl FnOnce(&mut Reply<'_>)) -> Rc<[u8]> {
    let mut out = Vec::new();
    write(&mut Reply::new(&mut out, version));
    out.into()
}
