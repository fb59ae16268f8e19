//! What workers say, and what others are told of it. Each of these has its bound for a turn, for clients choose how much
//! their workers have to say: what is over it waits for the next turn, and the admin interface and signals have theirs
//! in between. Nothing here looks for who matches what: a message goes to each worker that may have somebody who listens
//! ([`topics`](super::topics)), and it is there that patterns are matched, at the expense of who has asked for it.

use super::Supervisor;
use super::identities::{Claim, Directive};
use super::inquiries::Known;
use crate::hub::{PRESENCE_PREFIX, presence_channel};
use crate::net::Supervising;
use crate::observe::report;
use crate::protocol::presence::{Form, Origin, repeated};
use crate::workers::link::{Role, ServerNumbers, ToSupervisor, ToWorker};
use std::collections::VecDeque;
use std::sync::Arc;

/// Messages of all workers that are taken in a turn: a few milliseconds. Each has its share of them.
const HEARD_PER_TURN: usize = 8192;
/// Orders carried out, and messages relayed, in a turn. Each message that is heard makes two orders at most; only the
/// end of a worker makes more.
const DIRECTIVES_PER_TURN: usize = 2 * HEARD_PER_TURN;
const RELAYS_PER_TURN: usize = 2 * HEARD_PER_TURN;

/// Identities of which a worker that was behind is told in a turn.
const CAUGHT_UP_PER_TURN: usize = 1024;

/// What a client of a worker has published, or what happened to an identity.
pub(super) struct Published {
    /// Whose clients have been told already.
    from: Option<usize>,
    channel: Vec<u8>,
    payload: Vec<u8>,
}

/// Messages that are to be relayed, in their order.
#[derive(Default)]
pub(super) struct Relays {
    waiting: VecDeque<Published>,
    /// Messages of one worker that another one, stalled, was not told.
    pub(super) dropped: u64,
}

impl Relays {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many may be relayed once all have been heard.
    pub(super) fn due(&self) -> usize {
        self.waiting.len().min(RELAYS_PER_TURN)
    }
}

impl<K: Supervising> Supervisor<K> {
    pub(super) fn hear_workers(&mut self) {
        let share = HEARD_PER_TURN / self.workers.len();
        for place in 0..self.workers.len() {
            self.hear(place, share);
        }
    }

    /// Takes what a worker says, up to so many messages.
    pub(super) fn hear(&mut self, place: usize, most: usize) {
        // What was received before comes first, and nothing is received meanwhile: it would pile up.
        if !std::mem::take(&mut self.workers[place].has_more) {
            self.workers[place].receive(self.now);
        }
        for _ in 0..most {
            let Some(message) = self.workers[place].next_message() else { return };
            self.on_told(place, message);
        }
        self.workers[place].has_more = true;
    }

    fn on_told(&mut self, place: usize, message: ToSupervisor) {
        if let Some(since) = self.workers[place].on_sign(self.now) {
            report::worker_resumed(self.workers[place].number, self.now.since(since));
        }
        match message {
            ToSupervisor::Alive => {}
            ToSupervisor::Ready => self.workers[place].on_serving(self.now),
            ToSupervisor::Events => self.fanout.on_events(place),
            ToSupervisor::Leaving { last } => self.fanout.on_leaving(place, last),
            ToSupervisor::Claim { role, number, at, id, token, key, peer, listener } => {
                let by = Arc::new(Origin { key, peer, listener });
                let claim = Claim { worker: place, number, at, id, token, by };
                match role {
                    Role::Holder => self.identities.hold(claim, self.now),
                    Role::Channel => self.identities.claim_channel(claim),
                }
            }
            ToSupervisor::Consent { number, id, token } => self.identities.consent(place, number, &id, token),
            ToSupervisor::Release { role: Role::Holder, number, id, record } => {
                self.identities.release(place, number, id, &record);
            }
            ToSupervisor::Release { role: Role::Channel, number, id, .. } => {
                self.identities.release_channel(place, number, id);
            }
            ToSupervisor::Beat { number, id } => self.identities.beat(place, number, id),
            ToSupervisor::Presence { number, id, payload } => {
                self.identities.happened(place, number, id, payload);
            }
            ToSupervisor::Publish { channel, payload } => {
                self.relays.waiting.push_back(Published { from: Some(place), channel, payload });
            }
            ToSupervisor::Listens(topic) => self.topics.listens(place, topic),
            ToSupervisor::Stopped(topic) => self.topics.stopped(place, topic),
            ToSupervisor::Ending { number, id } => self.identities.ending(place, number, &id),
            ToSupervisor::Answer(answer) => self.fanout.on_answer(place, answer),
            ToSupervisor::Query { number, worker, query } => {
                self.inquiries.push(place, number, worker, query);
            }
            ToSupervisor::Found { number, finding } => {
                self.inquiries.on_found(place, number, finding, &mut self.workers);
            }
        }
        // At once, so that a message and an event stay in their order.
        self.carry_out(2);
    }

    /// Does what follows from the claims that were heard.
    pub(super) fn carry_out_directives(&mut self) {
        self.identities.expire(self.now);
        self.carry_out(DIRECTIVES_PER_TURN);
    }

    fn carry_out(&mut self, most: usize) {
        for _ in 0..most {
            let Some(directive) = self.identities.next_directive() else { return };
            match directive {
                Directive::Lost { worker, role, number, id, to } => {
                    let (key, peer) = (to.key.clone(), to.peer.clone());
                    self.workers[worker].send(&ToWorker::Lost { role, number, id, key, peer });
                }
                // A beat that cannot be delivered is worth nothing later.
                Directive::Heartbeat { worker, id } => {
                    self.workers[worker].relay(&ToWorker::Heartbeat { id });
                }
                // Who stalls has no use for it; the holder's own deadlines stay.
                Directive::HeartbeatLost { worker, id } => {
                    self.workers[worker].relay(&ToWorker::HeartbeatLost { id });
                }
                // The worker that it comes from has told nobody either.
                Directive::Announce { id, payload, origin } => {
                    let channel = presence_channel(&id);
                    let (form, time) = (self.plan.settings.server.presence, || self.kernel.unix_time());
                    let payload = self.presence.message(form, payload, &id, Some(&origin), time);
                    self.relays.waiting.push_back(Published { from: None, channel, payload });
                }
            }
        }
    }

    /// Answers what clients ask about those of all workers.
    pub(super) fn answer_clients(&mut self, due: usize) {
        let server = ServerNumbers {
            pid: std::process::id().into(),
            uptime_s: self.now.since(self.started).as_secs(),
            channels: self.topics.channels() as u64,
            patterns: self.topics.patterns() as u64,
        };
        let known = Known { identities: &self.identities, topics: &self.topics, server };
        self.inquiries.answer(due, &known, &mut self.workers, self.now);
    }

    /// Tells workers that keep up again how those identities are of which they have missed something.
    pub(super) fn catch_up(&mut self) {
        for worker in &mut self.workers {
            for _ in 0..CAUGHT_UP_PER_TURN {
                let Some(id) = worker.next_missed() else { break };
                // What is still to be announced will be relayed.
                if let Some((word, origin)) = self.identities.last_word(&id) {
                    let payload = match self.plan.settings.server.presence {
                        Form::Word => word.into(),
                        Form::Record => repeated(word, &id, origin),
                    };
                    let channel = presence_channel(&id);
                    worker.relay(&ToWorker::Publish { channel, payload });
                }
            }
        }
    }

    /// Lets those know who may have somebody who listens.
    pub(super) fn relay(&mut self, most: usize) {
        let mut places = Vec::new();
        for Published { from, channel, payload } in self.relays.waiting.drain(..most) {
            self.topics.listeners(&channel, &mut places);
            let message = ToWorker::Publish { channel, payload };
            for &place in places.iter().filter(|&&place| Some(place) != from) {
                if self.workers[place].relay(&message) {
                    continue;
                }
                self.relays.dropped += 1;
                // Of an identity, the last word at least is told later.
                if let (None, ToWorker::Publish { channel, .. }) = (from, &message) {
                    self.workers[place].missed.insert(channel[PRESENCE_PREFIX.len()..].to_vec());
                }
            }
        }
        if self.relays.waiting.is_empty() && self.relays.waiting.capacity() > DIRECTIVES_PER_TURN {
            self.relays.waiting = VecDeque::new();
        }
    }
}
