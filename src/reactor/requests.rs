//! What a session asks for while it serves a message: the server as the session of one connection sees it.
//!
//! What is left of a message is kept here as a task, until its session is through with it.

use super::Reactor;
use super::connection::Client;
use super::context::{Conn, Context};
use super::log_in::Elsewhere;
use super::naming::check_stays;
use super::parts::ask::Ask;
use super::parts::list::List;
use super::parts::task::Task;
use super::parts::worker::Place;
use super::work::cost;
use crate::core::conn::Input;
use crate::core::end::By;
use crate::core::table::Key;
use crate::hub::{Hub, Kind, Presence, Refused, is_reserved};
use crate::net::Kernel;
use crate::protocol::clients::{ClientFilter, GlobalKey, KillFilter};
use crate::protocol::server::{Contract, LogIn, Names, Refusal, Server, StateAndEnd, Use};
use crate::protocol::users::{Guard, Standing};
use crate::protocol::{Encoding, Identity, Naming};
use crate::transport::Layer;
use crate::workers::link::Query;
use std::task::Poll;

/// The server, for one message of one connection.
pub(super) struct Requests<'a, K: Kernel> {
    reactor: &'a mut Reactor<K>,
    key: Key,
    is_subscribed: bool,
    standing: Standing,
    /// What is left of the message.
    task: Option<Box<Task>>,
}

impl<'a, K: Kernel> Requests<'a, K> {
    pub(super) const fn new(
        reactor: &'a mut Reactor<K>,
        key: Key,
        is_subscribed: bool,
        standing: Standing,
    ) -> Self {
        Self { reactor, key, is_subscribed, standing, task: None }
    }

    /// What is left of the message.
    pub(super) fn into_task(self) -> Option<Box<Task>> {
        self.task
    }

    /// The connection, and all else but the other connections.
    fn parts(&mut self) -> (&mut Context<K>, &mut Conn<K>) {
        let conn = self.reactor.table.get_mut(self.key);
        (&mut self.reactor.cx, conn.expect("a connection is in the table while it is served"))
    }

    fn conn(&self) -> &Conn<K> {
        self.reactor.table.get(self.key).expect("a connection is in the table while it is served")
    }

    fn encoding(&self) -> Encoding {
        self.conn().encoding().expect(HAS_SESSION)
    }

    /// Keeps what is left of the message.
    fn keep(&mut self, task: Task) {
        self.task = Some(Box::new(task));
    }

    /// Asks about the clients of all workers.
    fn ask(&mut self, query: Query) -> Result<(), Refusal> {
        self.ask_with(query, |_| {})
    }

    /// The same, with what is to be done with the answer.
    fn ask_with(&mut self, query: Query, add: impl FnOnce(&mut Ask)) -> Result<(), Refusal> {
        let cx = &self.reactor.cx;
        cx.check_supervisor()?;
        let mut ask = Ask::new(query, self.encoding(), cx.worker.count());
        add(&mut ask);
        self.keep(Task::Ask(ask));
        Ok(())
    }
}

/// Why a connection that is being served is a client.
const HAS_SESSION: &str = "a connection that is served has a session";

/// The client behind a connection that is being served.
fn client_of<K: Kernel>(conn: &mut Conn<K>) -> &mut Client {
    conn.client_mut().expect(HAS_SESSION)
}

impl<K: Kernel> Server for Requests<'_, K> {
    #[inline]
    fn may_follow<'p>(&self, publication: impl FnOnce() -> Option<(&'p [u8], &'p [u8])>) -> bool {
        let cx = &self.reactor.cx;
        cx.publishing.gathered.is_empty()
            || publication().is_some_and(|(channel, payload)| cx.joins_gathered(channel, payload))
    }

    fn is_late(&self) -> bool {
        self.reactor.cx.work.is_long()
    }

    fn is_backlogged(&self) -> bool {
        self.reactor.cx.is_backlogged()
    }

    #[inline]
    fn begin(&mut self, message: Use) {
        let key = self.key;
        let (cx, conn) = self.parts();
        cx.begin_message(key, conn, message);
    }

    fn is_subscribed(&self) -> bool {
        self.is_subscribed
    }

    fn id(&self) -> u64 {
        self.reactor.cx.worker.id_of(self.key)
    }

    fn name(&self) -> &[u8] {
        let cold = self.conn().client().and_then(|client| client.cold.as_ref());
        cold.map_or(&[], |cold| &cold.name)
    }

    fn set_name(&mut self, name: &[u8]) {
        let (_, conn) = self.parts();
        client_of::<K>(conn).cold.get_or_insert_default().name = name.to_vec();
    }

    fn describe(&mut self, out: &mut Vec<u8>) {
        let key = self.key;
        let (cx, conn) = self.parts();
        cx.write_client(key, conn, out);
        cx.work.charge(cost::ROW);
    }

    fn goodbye(&mut self, replies: &mut Vec<u8>) {
        let key = self.key;
        let (cx, conn) = self.parts();
        cx.write(key, conn, replies);
        replies.clear();
        cx.apply(key, conn, Input::Goodbye);
    }

    fn reset(&mut self) {
        let key = self.key;
        let (cx, conn) = self.parts();
        cx.reset_client(key, conn);
    }

    fn standing(&self) -> Standing {
        self.standing
    }

    fn guard(&self) -> &Guard {
        &self.reactor.cx.listener_of(self.conn()).guard
    }

    fn note_denied(&mut self) {
        let listener = usize::from(self.conn().listener);
        self.reactor.cx.observer.counters.listeners[listener].access().denied += 1;
    }

    fn log_in(&mut self, user: &[u8], password: &[u8]) -> LogIn {
        let key = self.key;
        let (cx, conn) = self.parts();
        let came_of_it = cx.log_in(key, conn, user, password);
        self.standing = client_of::<K>(conn).standing;
        came_of_it
    }

    fn identify(&mut self, id: Identity<'_>, contract: Contract<'_>) -> Result<Poll<()>, Refusal> {
        let key = self.key;
        if self.standing == Standing::PROTECTED {
            match self.reactor.holder_elsewhere(key, id) {
                Elsewhere::Nobody => {}
                Elsewhere::Another => return Err(Refusal::HeldElsewhere),
                Elsewhere::Unknown => {
                    self.ask_with(Query::Holder { id: id.as_str().as_bytes().to_vec() }, |ask| {
                        ask.claim(contract);
                    })?;
                    return Ok(Poll::Pending);
                }
            }
        }
        let (cx, conn) = self.parts();
        cx.identify(key, conn, id, contract).map(Poll::Ready)
    }

    fn identify_other(&mut self, key: GlobalKey, id: Identity<'_>) -> Result<Poll<Naming>, Refusal> {
        Ok(Poll::Ready(match self.reactor.cx.worker.place_of(key) {
            Place::Here(key) => self.reactor.name_client(key, id),
            Place::Elsewhere => {
                self.ask(Query::Name { key, id: id.as_str().as_bytes().to_vec() })?;
                return Ok(Poll::Pending);
            }
            Place::Nowhere => Naming::Nowhere,
        }))
    }

    fn beat_for(&mut self, id: Identity<'_>, token: &[u8]) -> Result<(), Refusal> {
        let key = self.key;
        let agreed = self.reactor.may_beat(key, id.as_str().as_bytes(), token);
        let (cx, conn) = self.parts();
        if let Some(holder) = cx.beat_for(key, conn, id, token, agreed)? {
            self.reactor.mark_holder_alive(holder);
        }
        Ok(())
    }

    fn subscribe<'n>(
        &mut self,
        kind: Kind,
        names: impl ExactSizeIterator<Item = &'n [u8]>,
        mut each: impl FnMut(&'n [u8], Result<usize, Refused>),
    ) -> Result<(), Refusal> {
        let key = self.key;
        let (cx, conn) = self.parts();
        cx.check_supervisor()?;
        cx.work.charge(cost::SUBSCRIBE * names.len());
        let subscribe = match kind {
            Kind::Channel => Hub::subscribe,
            Kind::Pattern => Hub::psubscribe,
        };
        let membership = &mut client_of::<K>(conn).membership;
        for name in names {
            each(name, subscribe(&mut cx.hub, membership, key, name));
        }
        cx.send_topics();
        Ok(())
    }

    fn unsubscribe<'n>(
        &mut self,
        kind: Kind,
        names: impl ExactSizeIterator<Item = &'n [u8]>,
        mut each: impl FnMut(&'n [u8], usize),
    ) {
        let (cx, conn) = self.parts();
        cx.work.charge(cost::NAME * names.len());
        let unsubscribe = match kind {
            Kind::Channel => Hub::unsubscribe,
            Kind::Pattern => Hub::punsubscribe,
        };
        let membership = &mut client_of::<K>(conn).membership;
        for name in names {
            each(name, unsubscribe(&mut cx.hub, membership, name));
        }
    }

    fn unsubscribe_all(&mut self, kind: Kind, each: impl FnMut(&[u8], usize)) -> usize {
        let (cx, conn) = self.parts();
        let membership = &mut client_of::<K>(conn).membership;
        cx.work.charge(cost::NAME * membership.subscriptions());
        match kind {
            Kind::Channel => cx.hub.unsubscribe_all(membership, each),
            Kind::Pattern => cx.hub.punsubscribe_all(membership, each),
        }
        membership.subscriptions()
    }

    fn publish(&mut self, channel: &[u8], payload: &[u8]) -> Result<(), Refusal> {
        let cx = &mut self.reactor.cx;
        if is_reserved(channel) {
            return Err(Refusal::Reserved);
        }
        cx.hub.check_name(channel)?;
        cx.check_supervisor()?;
        cx.check_memory()?;
        if let Some(link) = cx.worker.link_mut() {
            link.on_published(channel, payload);
        }
        // It is published with those that follow it directly.
        cx.publishing.gathered.add(channel, payload, || cx.hub.route());
        Ok(())
    }

    fn send(
        &mut self,
        to: Identity<'_>,
        payload: &[u8],
        replies: &mut Vec<u8>,
        confirm: impl FnOnce(bool, &mut Vec<u8>),
    ) -> Result<(), Refusal> {
        let key = self.key;
        let (cx, conn) = self.parts();
        cx.check_memory()?;
        let id = to.as_str().as_bytes();
        let Some(holder) = cx.hub.holder(id) else {
            if cx.worker.has_others() {
                return self.ask(Query::Send { id: id.to_vec(), payload: payload.to_vec() });
            }
            confirm(false, replies);
            return Ok(());
        };
        // A client that sends to itself gets the reply before the message.
        if holder == key && !conn.is_ending() {
            confirm(true, replies);
            cx.write(key, conn, replies);
            replies.clear();
            self.reactor.send_to(key, to.as_str(), payload);
            return Ok(());
        }
        // One that is ending is sent nothing more: to count it would claim a delivery.
        confirm(self.reactor.send_to(holder, to.as_str(), payload), replies);
        Ok(())
    }

    fn state(&mut self, id: Identity<'_>) -> Result<Poll<Option<Presence>>, Refusal> {
        let id = id.as_str().as_bytes();
        match self.reactor.cx.hub.state(id) {
            None if self.reactor.cx.worker.has_others() => {
                self.ask(Query::State { id: id.to_vec() })?;
                Ok(Poll::Pending)
            }
            state => Ok(Poll::Ready(state)),
        }
    }

    fn last_end(&mut self, id: Identity<'_>) -> Result<Poll<StateAndEnd>, Refusal> {
        let id = id.as_str().as_bytes();
        if self.reactor.cx.worker.has_others() {
            self.ask(Query::LastEnd { id: id.to_vec() })?;
            return Ok(Poll::Pending);
        }
        Ok(Poll::Ready((self.reactor.cx.hub.state(id), self.reactor.cx.last_end(id))))
    }

    fn subscribers(
        &mut self,
        channels: impl ExactSizeIterator<Item: AsRef<[u8]>>,
    ) -> Result<Poll<Vec<u64>>, Refusal> {
        let cx = &mut self.reactor.cx;
        cx.work.charge(cost::NAME * channels.len());
        if cx.worker.has_others() {
            let channels = channels.map(|channel| channel.as_ref().to_vec()).collect();
            self.ask(Query::Subscribers { channels })?;
            return Ok(Poll::Pending);
        }
        Ok(Poll::Ready(channels.map(|channel| cx.hub.subscribers(channel.as_ref()) as u64).collect()))
    }

    fn patterns(&mut self) -> Result<Poll<u64>, Refusal> {
        if self.reactor.cx.worker.has_others() {
            self.ask(Query::Patterns)?;
            return Ok(Poll::Pending);
        }
        Ok(Poll::Ready(self.reactor.cx.hub.gauges().patterns as u64))
    }

    fn list(&mut self, names: Names, pattern: &[u8]) -> Result<(), Refusal> {
        self.reactor.cx.hub.check_name(pattern)?;
        self.reactor.cx.check_memory()?;
        let (pattern, encoding) = (pattern.to_vec(), self.encoding());
        if !self.reactor.cx.worker.has_others() {
            self.keep(Task::List(List::of_names(names, pattern, encoding)));
            return Ok(());
        }
        let query = match names {
            Names::Identities => Query::Identities { pattern, from: None },
            Names::Channels => Query::Channels { pattern, from: None },
        };
        self.ask(query)
    }

    fn list_clients(&mut self, filter: ClientFilter) -> Result<(), Refusal> {
        self.reactor.cx.check_memory()?;
        if self.reactor.cx.worker.concerns_others(filter.key()) {
            return self.ask(Query::Clients { filter, from: None });
        }
        self.keep(Task::List(List::of_clients(filter)));
        Ok(())
    }

    fn end_clients(&mut self, filter: KillFilter) -> Result<(), Refusal> {
        let by = self.reactor.cx.by(self.key, self.conn());
        if self.reactor.cx.worker.concerns_others(filter.key) {
            return self.ask(Query::Kill { filter, by: By::clone(&by), from: None });
        }
        let spared = filter.skip_me.then_some(self.key);
        self.keep(Task::List(List::of_victims(filter, Some(by), spared)));
        Ok(())
    }

    fn gather_numbers(&mut self, asked: Vec<Vec<u8>>) -> Result<(), Refusal> {
        if self.reactor.cx.worker.has_others() {
            return self.ask_with(Query::Info, |ask| ask.numbers(asked));
        }
        let ask = self.reactor.cx.own_numbers(asked);
        self.keep(Task::Ask(ask));
        Ok(())
    }
}

impl<K: Kernel> Context<K> {
    #[inline]
    fn begin_message(&mut self, key: Key, conn: &mut Conn<K>, message: Use) {
        self.observer.counters.commands += 1;
        self.work.charge(cost::COMMAND);
        self.open(key, conn);
        let client = client_of::<K>(conn);
        client.messages_in += 1;
        match message {
            Use::Beat => {}
            Use::Ping => client.messages_out += 1,
            Use::Request => {
                client.messages_out += 1;
                client.used = self.now;
            }
        }
    }

    fn reset_client(&mut self, key: Key, conn: &mut Conn<K>) {
        let token: Box<[u8]> = conn.beats_with().into();
        let standing = self.listener_of(conn).guard.initial();
        let client = client_of::<K>(conn);
        let membership = std::mem::take(&mut client.membership);
        client.standing = standing;
        (client.used, client.beat_ms, client.cold) = (self.now, 0, None);
        self.leave_hub(key, conn, membership, token, None);
        // It keeps the identity of its certificate. If that is refused at this moment, the connection goes on without.
        if let Some(name) = conn.layer().and_then(Layer::identity) {
            let _ = self.identify_by_layer(key, conn, &name);
        }
        // The listener's contract may be stricter than the one that the wheel is armed for.
        self.schedule(key, conn);
    }

    /// Makes a connection the heartbeat channel of an identity, if that is `agreed`. Gives who holds it here.
    fn beat_for(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        identity: Identity<'_>,
        token: &[u8],
        agreed: bool,
    ) -> Result<Option<Key>, Refusal> {
        check_stays(conn)?;
        self.check_supervisor()?;
        if !agreed {
            return Err(Refused::NotAgreed.into());
        }
        let id = identity.as_str().as_bytes();
        let before: Box<[u8]> = conn.beats_with().into();
        let client = client_of::<K>(conn);
        // One that nobody holds here may be held elsewhere.
        let beat_for = if self.worker.has_others() { Hub::beat_for_any } else { Hub::beat_for };
        let beat_for = beat_for(&mut self.hub, &mut client.membership, key, id)?;
        if !token.is_empty() || client.cold.is_some() {
            client.cold.get_or_insert_default().beats_with = token.into();
        }
        if let Some(link) = self.worker.link_mut() {
            link.on_beat_for(key, id, token, beat_for, (self.now, self.kernel.shared_clock()));
        }
        self.aftermath.post_orphan(beat_for.orphaned_holder, before);
        Ok(beat_for.holder)
    }

    /// Nothing more is to be claimed or published while the supervisor does not keep up.
    pub(super) fn check_supervisor(&self) -> Result<(), Refusal> {
        if self.worker.is_supervisor_behind() { Err(Refusal::Behind) } else { Ok(()) }
    }

    /// Nothing more is to be added to what waits while there is no memory for it.
    fn check_memory(&self) -> Result<(), Refusal> {
        if self.memory_is_short() { Err(Refusal::Memory) } else { Ok(()) }
    }
}
