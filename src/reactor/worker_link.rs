//! A worker among others: what it tells its supervisor, and what it is told. The others are never seen from here,
//! only what the supervisor makes of them; a server of one process has none of this, and pays a test a turn for it.
//!
//! Each role of an identity that a connection takes is claimed under a number that no other claim of this worker
//! has. What the supervisor says of a role names the number, so that a directive that crossed a newer claim on its
//! way finds nothing. Who wins is for `src/workers/supervisor/identities.rs` to say; and nobody here is told that an
//! identity has come or gone before the supervisor has said so, which alone knows in which order that was.

use super::Reactor;
use super::context::{Conn, Context};
use super::parts::effect::Effect;
use super::parts::link::{OurEnd, WorkerLink};
use super::parts::pool::memory_bound;
use super::parts::worker::Worker;
use super::work;
use crate::core::end::By;
use crate::core::table::Key;
use crate::hub::{Change, Identified, Kind, Presence};
use crate::net::{Fatal, Kernel, Signal};
use crate::protocol::presence::{Event, Origin};
use crate::tls::TicketKeys;
use crate::workers::link::{Role, ToSupervisor, ToWorker, Topic};

/// Messages of the supervisor that are taken in a turn. What they publish is matched later.
const HEARD_PER_TURN: usize = 4096;

/// Holders of which the supervisor is told in a turn, after it had not kept up.
const CATCH_UP: usize = 1024;

impl<K: Kernel> Reactor<K> {
    /// Makes this server worker `number` of `of`, from 1. The channel's stream is watched as
    /// [`Token::SUPERVISOR`](crate::net::Token::SUPERVISOR) already, and may hold messages that nobody has taken. `tickets`:
    /// the keys of session tickets that all workers have.
    pub fn join(&mut self, channel: OurEnd<K::Stream>, number: u32, of: u32, tickets: Option<TicketKeys>) {
        self.cx.worker = Worker::among_others(WorkerLink::new(channel, number, of, self.cx.now));
        self.cx.hub.note_changes();
        let bound = memory_bound(&self.cx.settings.server, self.cx.kernel.memory(), of);
        self.cx.pool.set_max(bound);
        self.cx.take_ticket_keys(tickets);
    }

    /// Takes what the supervisor says, up to where its effects are too many to wait or those who are answered here have had
    /// their share: the rest is for the next turn.
    #[cold]
    #[inline(never)]
    pub(super) fn receive_from_supervisor(&mut self) -> Result<(), Fatal> {
        let mut received = false;
        let mut heard = 0;
        let share = self.cx.work.after(work::RESUMED);
        while !self.cx.is_backlogged() && heard < HEARD_PER_TURN && !self.cx.work.is_past(share) {
            if let Some(message) = self.cx.worker.link_mut().map_or(Ok(None), WorkerLink::next_message)? {
                heard += 1;
                self.on_told(message);
            } else if received {
                return Ok(());
            } else {
                // Once a turn, which bounds how much there is to be told.
                let Some(link) = self.cx.worker.link_mut() else { return Ok(()) };
                link.receive()?;
                received = true;
            }
        }
        // What is left was received already: no edge will come for it.
        self.cx.worker.note_supervisor();
        Ok(())
    }

    /// Sends what this turn has to tell.
    pub(super) fn send_to_supervisor(&mut self) -> Result<(), Fatal> {
        self.cx.send_topics();
        self.catch_up();
        let Some(link) = self.cx.worker.link_mut() else { return Ok(()) };
        link.say_alive_unasked(self.cx.now);
        link.flush()?;
        for key in link.take_deferred() {
            if let Some(conn) = self.table.get_mut(key) {
                self.cx.posted.resume(key, conn);
            }
        }
        Ok(())
    }

    /// Tells how those are whose events had to wait for the supervisor: the last word on each, if not every word.
    fn catch_up(&mut self) {
        let Self { table, cx, .. } = self;
        let Some(link) = cx.worker.link_mut() else { return };
        for _ in 0..CATCH_UP {
            let Some(key) = link.next_behind() else { return };
            let membership = table.get(key).and_then(|conn| conn.membership());
            let Some(id) = membership.and_then(|membership| cx.hub.identity_of(membership, key)) else {
                continue;
            };
            let event = match cx.hub.state(id) {
                Some(Presence::Suspect) => Event::Suspect,
                Some(Presence::Online) => Event::Revived,
                // Its end is what comes next.
                Some(Presence::Ending) | None => continue,
            };
            link.on_presence(key, id, &event);
        }
        // The others are for the next turn.
        link.note();
    }

    fn on_told(&mut self, message: ToWorker) {
        match message {
            // The first one was taken before the reactor was made; a second one is ignored.
            ToWorker::Start { .. } => {}
            ToWorker::Reload { file } => self.request_settings(Some(file)),
            ToWorker::Tickets { keys } => self.cx.take_ticket_keys(TicketKeys::from_bytes(&keys)),
            ToWorker::Terminate => self.begin_drain(),
            ToWorker::Leave { last } => self.cx.lifecycle.on_told(last),
            ToWorker::Report => self.on_signal(Signal::Report),
            ToWorker::Lost { role: Role::Holder, number, id, key, peer } => {
                let identity = Some(String::from_utf8_lossy(&id).into_owned());
                self.cx.lose_holder(number, &id, By { key, peer, identity });
            }
            ToWorker::Lost { role: Role::Channel, number, id, .. } => self.cx.lose_channel(number, &id),
            ToWorker::Heartbeat { id } => {
                if let Some(holder) = self.cx.hub.holder(&id) {
                    self.mark_holder_alive(holder);
                }
            }
            ToWorker::HeartbeatLost { id } => {
                self.cx.effects.extend(self.cx.hub.holder(&id).map(|key| Effect::Suspect { key }));
            }
            ToWorker::Publish { channel, payload } => {
                self.cx.publish_later(&channel, &payload);
            }
            ToWorker::Ask(question) => self.cx.admin.ask(question),
            ToWorker::Word(spoken) => self.cx.on_word_before(&spoken),
            ToWorker::AskAlive => self.cx.say_alive(),
            ToWorker::Query { number, query } => {
                if let Some(link) = self.cx.worker.link_mut() {
                    link.queries.push_back((number, query));
                }
            }
            ToWorker::Found { number, worker, finding } => self.on_found(number, worker, finding),
        }
    }
}

impl<K: Kernel> Context<K> {
    /// Tells which topics have listeners here, before a client has the answer that it listens: who then publishes
    /// elsewhere is heard here.
    pub(super) fn send_topics(&mut self) {
        let Some(link) = self.worker.link_mut() else { return };
        for Change { kind, name, listened } in self.hub.take_changes() {
            let topic = match kind {
                Kind::Channel => Topic::Channel(name.to_vec()),
                Kind::Pattern => Topic::Pattern(name.to_vec()),
            };
            let message = if listened { ToSupervisor::Listens(topic) } else { ToSupervisor::Stopped(topic) };
            link.send(&message);
        }
        link.flush_now();
    }

    /// A connection has taken an identity, or has said so again.
    pub(super) fn claim_identity(&mut self, key: Key, conn: &Conn<K>, id: &[u8], identified: &Identified) {
        let Some(link) = self.worker.link_mut() else { return };
        // Later than what the client was told of its earlier connections, by whichever worker: not the time of this turn.
        let at = self.kernel.shared_clock();
        let listener = &self.listeners[usize::from(conn.listener)].settings.name;
        let origin = |key| Origin { key, peer: conn.peer.to_string(), listener: listener.clone() };
        link.on_identified(key, id, conn.consent(), origin, identified, at);
        if identified.fresh {
            // Before the client has the answer that it holds it: who asks elsewhere then finds it here. If the supervisor is
            // gone, the end of this turn finds out.
            link.flush_now();
        }
    }

    fn say_alive(&mut self) {
        if let Some(link) = self.worker.link_mut() {
            link.say_alive(self.now);
        }
    }

    /// A later claim to the identity was made elsewhere.
    fn lose_holder(&mut self, number: u64, id: &[u8], by: By) {
        let Some(link) = self.worker.link_mut() else { return };
        let Some(key) = self.hub.holder(id).filter(|key| link.holds_by(*key, number)) else { return };
        self.hub.vacate(id);
        self.post_replaced(key, id, by.into());
    }

    /// Another connection elsewhere beats for the identity from now on.
    fn lose_channel(&mut self, number: u64, id: &[u8]) {
        let Some(link) = self.worker.link_mut() else { return };
        if self.hub.channel(id).is_some_and(|key| link.lose_channel(key, number)) {
            self.hub.vacate_channel(id);
        }
    }
}
