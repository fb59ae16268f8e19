//! Publishing: one walk over the subscribers, as far at a time as its share of work goes. Messages of one client to one
//! channel that follow each other directly go together, in one walk and one frame.
//!
//! A frame is put into the output of each subscriber, and sent in the flush at the end of the turn, together with what
//! else has come by then; only a large one is offered to the socket at once. The walk stops while a subscriber, or all of
//! them together, have more of that than the flush has taken. Only the publisher waits then.
//!
//! Between messages of one client, and between presence events, the order is kept for everybody. Between messages of
//! two clients it is kept where each is through with its walk in one go, as almost all are.

use super::Reactor;
use super::connection::{Connection, Flags, Pause};
use super::context::{Conn, Context};
use super::parts::effect::Effect;
use super::parts::listener::ListenerState;
use super::parts::pool::Pool;
use super::parts::posted::Posted;
use super::publication::{BACKLOG_MAX, Frames, Messages, Publication};
use super::work::{self, Work, cost};
use crate::core::conn::policy::Bounds;
use crate::core::end::Detector;
use crate::core::table::{Key, Table};
use crate::core::time::Instant;
use crate::hub::{Hub, Name, Recipient, Visit, presence_channel};
use crate::net::{Kernel, Sent, SocketError, Stream};
use crate::observe::metrics::{Counters, ListenerCounters};
use crate::protocol::AnySession;
use crate::protocol::presence::{Event, Form, Origin};
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// Delivered bytes that wait for the flush, of all connections together: more would only fill memory, as the flush
/// sends what is there in one call either way.
const UNFLUSHED_MAX: usize = 8 * 1024 * 1024;

/// Bytes of a frame that gains nothing by waiting for others: to copy it costs more than a call.
const LARGE_FRAME: usize = 8 * 1024;

impl<K: Kernel> Context<K> {
    /// Whether one more message can go with those that were gathered. One that would be refused does not:
    /// the replies to those before it come first.
    pub(super) fn joins_gathered(&self, channel: &[u8], payload: &[u8]) -> bool {
        let (name_max, frame_max) = (self.hub.name_bytes_max(), self.publishing.least_output_high);
        self.publishing.gathered.joins(channel, payload, name_max, frame_max)
            && !self.worker.is_supervisor_behind()
            && !self.memory_is_short()
    }

    /// Tells those who watch an identity. Among other workers, the supervisor does, which alone knows what came first: it
    /// has been told already, by a claim, a release, or as it happened.
    pub(super) fn publish_presence(&mut self, id: &Name, event: &Event, origin: Option<&Origin>) {
        if self.worker.has_others() {
            return;
        }
        let mut payload = Vec::new();
        event.write(&mut payload);
        let (form, time) = (self.settings.server.presence, || self.kernel.unix_time());
        let payload = self.publishing.presence.message(form, payload, id, origin, time);
        let channel = presence_channel(id);
        self.publish_later(&channel, &payload);
    }

    /// What those who watch its identity are told of a connection, if they are.
    pub(super) fn origin(&self, key: Key, conn: &Conn<K>) -> Option<Box<Origin>> {
        (self.settings.server.presence == Form::Record && !self.worker.has_others()).then(|| {
            let listener = self.listener_of(conn).name.clone();
            Box::new(Origin { key: self.worker.name_of(key), peer: conn.peer.to_string(), listener })
        })
    }

    /// Publishes to those who listen now, behind all that was published so before.
    pub(super) fn publish_later(&mut self, channel: &[u8], payload: &[u8]) {
        self.publishing.publications.push(Publication::new(channel, payload, self.hub.route()));
    }

    /// Lets a connection go on with its messages.
    pub(super) fn go_on_with(&mut self, key: Key, conn: &mut Conn<K>) {
        conn.pause = Pause::Turn;
        self.posted.resume(key, conn);
    }
}

impl<K: Kernel> Reactor<K> {
    /// Publishes what was gathered, and replies. Returns it if not everybody has it yet.
    pub(super) fn publish_gathered(
        &mut self,
        key: Key,
        session: &mut AnySession,
        replies: &mut Vec<u8>,
    ) -> Option<Publication> {
        // A publisher that is subscribed itself gets the message after the replies to its earlier commands.
        if let Some(conn) = self.table.get_mut(key)
            && conn.client().is_some_and(|client| client.membership.subscriptions() > 0)
        {
            self.cx.write(key, conn, replies);
            replies.clear();
        }
        let mut publication = std::mem::take(&mut self.cx.publishing.gathered);
        if self.go_on_publishing(&mut publication).is_break() {
            return Some(publication);
        }
        session.answered(publication.answer(), replies);
        publication.clear();
        self.cx.publishing.gathered = publication;
        None
    }

    /// Goes on with a publication, as far as the share of work goes. Returns whether all have it.
    pub(super) fn go_on_publishing(&mut self, publication: &mut Publication) -> ControlFlow<()> {
        // Those who do not read are being ended; until then every delivery would add to what they hold.
        if self.cx.memory_is_short() {
            return ControlFlow::Break(());
        }
        let Publication { channel, payloads, ends, route, receivers } = publication;
        let messages = Messages { channel, payloads, ends };
        let (hub, work, frames, mut outlets) = self.outlets();
        let mut encoded_for: Option<&[u8]> = None;
        frames.clear();
        hub.publish(messages.channel, route, |visit| {
            if work.is_over() {
                return ControlFlow::Break(());
            }
            let Recipient { key, pattern } = match visit {
                Visit::Looked(steps) => {
                    work.charge(cost::COMPARE + steps);
                    return ControlFlow::Continue(());
                }
                Visit::Found(recipient) => recipient,
            };
            // The subscribers of one pattern follow each other.
            if pattern.map(<[u8]>::as_ptr) != encoded_for.map(<[u8]>::as_ptr) {
                frames.clear();
                encoded_for = pattern;
            }
            let outlet = outlets.of(key).and_then(|outlet| Some((outlet.conn.encoding()?, outlet)));
            let Some((encoding, outlet)) = outlet else {
                work.charge(cost::LOOK);
                return ControlFlow::Continue(());
            };
            let frame = frames.get(encoding, messages, pattern);
            outlet.await_flush(frame.len())?;
            work.charge(outlet.deliver(frame, messages.ends.len()));
            *receivers += 1;
            ControlFlow::Continue(())
        })
    }

    /// Advances the publications that no single connection waits for, then resumes connections that waited behind them.
    pub(super) fn publish_some(&mut self) {
        self.cx.work.begin_share(work::PUBLISHED);
        while !self.cx.work.is_over()
            && let Some(mut publication) = self.cx.publishing.publications.queue.pop_front()
        {
            self.cx.work.charge(cost::PUBLICATION);
            if self.go_on_publishing(&mut publication).is_break() {
                self.cx.publishing.publications.queue.push_front(publication);
                break;
            }
            self.cx.publishing.publications.finish(&publication);
        }
        while let Some(key) = self.cx.publishing.publications.next_ready() {
            self.drive(key, |cx, conn| cx.go_on_with(key, conn));
        }
        // They go on before newcomers are read, so that the room there is goes to those who have waited.
        let room = if self.cx.is_backlogged() {
            0
        } else {
            BACKLOG_MAX - self.cx.effects.len().max(self.cx.publishing.publications.len())
        };
        for _ in 0..room {
            let Some(key) = self.cx.publishing.publications.held_back.pop_front() else { break };
            self.drive(key, |cx, conn| cx.go_on_with(key, conn));
        }
    }

    /// Sends the holder of an identity a message. False: it is being ended, and gets nothing more.
    pub(super) fn send_to(&mut self, to: Key, identity: &str, payload: &[u8]) -> bool {
        let (_, work, _, mut outlets) = self.outlets();
        let Some(outlet) = outlets.of(to) else { return false };
        let mut frame = Vec::new();
        if !outlet.conn.encode_direct(identity, payload, &mut frame) {
            return false;
        }
        work.charge(outlet.deliver(&frame, 1));
        self.cx.gateway.note_moved(to, self.cx.now);
        true
    }

    /// The parts of the reactor that a delivery needs, borrowed apart.
    fn outlets(&mut self) -> (&Hub, &mut Work, &mut Frames, Outlets<'_, K>) {
        let cx = &mut self.cx;
        let outlets = Outlets {
            now: cx.now,
            table: &mut self.table,
            listeners: &cx.listeners,
            pool: &mut cx.pool,
            posted: &mut cx.posted,
            effects: &mut cx.effects,
            counters: &mut cx.observer.counters,
        };
        (&cx.hub, &mut cx.work, &mut self.frames, outlets)
    }
}

/// The parts of the reactor that a delivery needs.
struct Outlets<'a, K: Kernel> {
    now: Instant,
    table: &'a mut Table<Connection<K::Stream>>,
    listeners: &'a [ListenerState<K::Listener>],
    pool: &'a mut Pool,
    posted: &'a mut Posted,
    effects: &'a mut VecDeque<Effect>,
    counters: &'a mut Counters,
}

impl<K: Kernel> Outlets<'_, K> {
    /// That of one connection; none if it is gone, or is being ended and gets nothing more.
    fn of(&mut self, key: Key) -> Option<Outlet<'_, K::Stream>> {
        let conn = self.table.get_mut(key)?;
        let takes = !conn.is_ending() && !conn.is_gapped();
        let listener = usize::from(conn.listener);
        takes.then_some(Outlet {
            key,
            bounds: &self.listeners[listener].settings.policy.bounds,
            counters: &mut self.counters.listeners[listener],
            messages: &mut self.counters.messages,
            now: self.now,
            conn,
            pool: self.pool,
            posted: self.posted,
            effects: self.effects,
        })
    }
}

/// Where messages for one connection go.
struct Outlet<'a, S> {
    key: Key,
    now: Instant,
    conn: &'a mut Connection<S>,
    bounds: &'a Bounds,
    counters: &'a mut ListenerCounters,
    messages: &'a mut u64,
    pool: &'a mut Pool,
    posted: &'a mut Posted,
    effects: &'a mut VecDeque<Effect>,
}

impl<S: Stream> Outlet<'_, S> {
    /// Breaks where a delivery has to wait for the flush: a burst within one turn does not show that its reader is slow.
    fn await_flush(&self, len: usize) -> ControlFlow<()> {
        let pending = self.conn.pending_output();
        let crowded =
            self.conn.flags.has(Flags::TO_FLUSH) && pending > 0 && pending + len > self.bounds.output_high;
        if crowded || self.pool.unflushed() >= UNFLUSHED_MAX {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Delivers a frame of `count` messages, and returns what that costs. It goes to the output, where others may join it
    /// before the flush sends them; a large one goes to the socket at once, as far as there is room.
    fn deliver(self, frame: &[u8], count: usize) -> usize {
        let Self { key, conn, counters, .. } = self;
        conn.count_delivered(count, frame.len());
        *self.messages += count as u64;
        let (mut rest, mut price) = (frame, cost::DELIVERY);
        if frame.len() >= LARGE_FRAME && conn.takes_output() {
            match conn.stream.send(frame) {
                Sent::Bytes(sent) => {
                    conn.life.bytes_out += sent as u64;
                    counters.traffic.bytes_out += sent as u64;
                    rest = &frame[sent..];
                    price += cost::SEND + cost::moved(sent);
                    conn.mark_used(self.now);
                }
                Sent::WouldBlock | Sent::Interrupted | Sent::Failed(SocketError::Memory) => {
                    price += cost::CALL;
                }
                Sent::Failed(fault) => {
                    conn.note_broken(self.pool, Detector::SendError, Some(fault));
                    self.posted.resume(key, conn);
                }
            }
        }
        if rest.is_empty() {
            return price;
        }
        if self.pool.deliver(conn, rest, self.bounds.output_max, self.now).is_break() {
            counters.traffic.bytes_undelivered += rest.len() as u64;
            self.effects.push_back(Effect::Overflow { key });
        } else {
            self.posted.flush(key, conn);
        }
        price + cost::copied(rest.len())
    }
}
