//! The commands that concern the server: its connections, its hub, its state; with their replies.
//!
//! Those that reach another connection are the reactor's. All others work on the connection that they came from, and give
//! back what takes longer than a turn.

use super::Reactor;
use super::connection::{Connection, Resp};
use super::context::{Conn, Context};
use super::parts::effect::Effect;
use super::parts::list::List;
use super::parts::task::Task;
use super::work::cost;
use crate::core::conn::Input;
use crate::core::table::Key;
use crate::core::time::Duration;
use crate::hub::{Hub, Name, Presence, Refused};
use crate::net::Kernel;
use crate::protocol::presence::Event;
use crate::protocol::resp::{Arguments, Command, Confirmation, Identity, Reply, Version, answer};
use crate::workers::link::Query;

/// What is left of a command for who has the table.
enum Next<'a> {
    /// It takes longer.
    Task(Box<Task>),
    /// It reaches another connection.
    Send { identity: Identity<'a>, payload: &'a [u8] },
    /// The same.
    BeatFor { identity: Identity<'a>, token: &'a [u8] },
}

impl<K: Kernel> Reactor<K> {
    /// Carries a command out. Returns what is left of it.
    pub(super) fn execute(
        &mut self,
        key: Key,
        arguments: Arguments<'_>,
        typed: bool,
        replies: &mut Vec<u8>,
    ) -> Option<Box<Task>> {
        let conn = self.table.get_mut(key)?;
        let command = self.cx.understand(key, conn, arguments, typed, replies)?;
        match self.cx.perform(key, conn, command, replies)? {
            Next::Task(task) => Some(task),
            Next::Send { identity, payload } => self.send_direct(key, identity, payload, replies),
            Next::BeatFor { identity, token } => {
                self.beat_for(key, identity, token, replies);
                None
            }
        }
    }

    /// `BEATFOR`: the connection beats for another one from now on.
    fn beat_for(&mut self, key: Key, identity: Identity<'_>, token: &[u8], replies: &mut Vec<u8>) {
        let agreed = self.may_beat(key, identity.as_str().as_bytes(), token);
        let Some(conn) = self.table.get_mut(key) else { return };
        if let Some(holder) = self.cx.beat_for(key, conn, identity, (token, agreed), replies) {
            self.mark_holder_alive(holder);
        }
    }

    /// `SEND`: a message to whoever holds an identity.
    fn send_direct(
        &mut self,
        key: Key,
        identity: Identity<'_>,
        payload: &[u8],
        replies: &mut Vec<u8>,
    ) -> Option<Box<Task>> {
        let conn = self.table.get_mut(key)?;
        if self.cx.refuses_for_memory(conn, replies) {
            return None;
        }
        let id = identity.as_str().as_bytes();
        let Some(holder) = self.cx.hub.holder(id) else {
            if self.cx.link.is_some() {
                let query = Query::Send { id: id.to_vec(), payload: payload.to_vec() };
                return self.cx.ask_all(conn, query, replies);
            }
            conn.reply(replies, |reply| reply.count(0));
            return None;
        };
        // Who sends to itself has the reply first, as it has asked first.
        if holder == key && !conn.is_ending() {
            conn.reply(replies, |reply| reply.count(1));
            self.cx.write(key, conn, replies);
            replies.clear();
            self.send_to(key, identity.as_str(), payload);
            return None;
        }
        // One that is ending is sent nothing more: to count it would claim a delivery.
        let sent = self.send_to(holder, identity.as_str(), payload);
        let conn = self.table.get(key)?;
        conn.reply(replies, |reply| reply.count(usize::from(sent)));
        None
    }
}

impl<K: Kernel> Context<K> {
    /// Counts a command, and answers it where that takes no server. Gives one that does.
    fn understand<'a>(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        arguments: Arguments<'a>,
        typed: bool,
        replies: &mut Vec<u8>,
    ) -> Option<Command<'a>> {
        self.counters.commands += 1;
        self.work.charge(cost::COMMAND);
        self.open(key, conn);
        let ending = conn.is_ending();
        let resp = conn.resp_mut()?;
        resp.messages_in += 1;
        resp.typed = typed;
        let subscribed = resp.membership.subscriptions() > 0;
        let command = Command::parse(arguments).and_then(|command| {
            if subscribed && resp.version == Version::Resp2 {
                command.allowed_while_subscribed()?;
            }
            Ok(command)
        });
        if let Ok(Command::Beat) = command {
            return None;
        }
        resp.messages_out += 1;
        let mut reply = Reply::new(replies, resp.version);
        match command {
            Ok(command) => {
                if !matches!(command, Command::Ping(_)) {
                    resp.used = self.now;
                }
                if answer(&command, subscribed, &mut reply) {
                    return None;
                }
                // What the peer says still counts, but who was replaced must not take the identity back.
                if ending && matches!(command, Command::Ident { .. } | Command::BeatFor { .. }) {
                    reply.error("ERR this connection is being ended; come back on another");
                    return None;
                }
                Some(command)
            }
            Err(refusal) => {
                reply.error(&refusal.0);
                None
            }
        }
    }

    /// Commands that concern the server: its hub, its state, and the connection that they come from.
    fn perform<'a>(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        command: Command<'a>,
        replies: &mut Vec<u8>,
    ) -> Option<Next<'a>> {
        match command {
            Command::Send { identity, payload } => return Some(Next::Send { identity, payload }),
            Command::BeatFor { identity, token } => return Some(Next::BeatFor { identity, token }),
            Command::Who(pattern) => {
                let query = |pattern| Query::Identities { pattern, from: None };
                return self.list_names(conn, pattern, List::of_identities, query, replies).map(Next::Task);
            }
            Command::PubsubChannels(pattern) => {
                let query = |pattern| Query::Channels { pattern, from: None };
                return self.list_names(conn, pattern, List::of_channels, query, replies).map(Next::Task);
            }
            Command::State(identity) => return self.tell_state(conn, identity, replies).map(Next::Task),
            Command::PubsubNumsub(channels) => return self.numsub(conn, channels, replies).map(Next::Task),
            Command::PubsubNumpat => return self.numpat(conn, replies).map(Next::Task),
            Command::Info(sections) => return self.info(conn, sections, replies).map(Next::Task),
            Command::Client(command) => return self.client(key, conn, command, replies).map(Next::Task),
            Command::Quit => {
                reply_ok(replies);
                self.write(key, conn, replies);
                replies.clear();
                self.apply(key, conn, Input::Goodbye);
            }
            Command::Reset => self.reset_session(key, conn, replies),
            Command::Hello { version, name } => self.hello(key, conn, version, name, replies),
            Command::Ident { identity, beat, server_ping, token } => {
                self.identify(key, conn, identity, beat, (server_ping, token), replies);
            }
            Command::Subscribe(names) => {
                self.subscribe(key, conn, names, Confirmation::Subscribe, Hub::subscribe, replies);
            }
            Command::Psubscribe(names) => {
                self.subscribe(key, conn, names, Confirmation::Psubscribe, Hub::psubscribe, replies);
            }
            Command::Unsubscribe(names) => {
                self.unsubscribe(conn, names, Confirmation::Unsubscribe, Hub::unsubscribe, replies);
            }
            Command::Punsubscribe(names) => {
                self.unsubscribe(conn, names, Confirmation::Punsubscribe, Hub::punsubscribe, replies);
            }
            Command::Publish { channel, payload } => self.publish_from(conn, channel, payload, replies),
            // Answered from the protocol alone, before it comes here.
            Command::Ping(_)
            | Command::Echo(_)
            | Command::Auth
            | Command::Select
            | Command::Beat
            | Command::Command(_)
            | Command::Help
            | Command::ConfigGet(_) => {}
        }
        None
    }

    fn hello(
        &self,
        key: Key,
        conn: &mut Conn<K>,
        version: Option<Version>,
        name: Option<&[u8]>,
        replies: &mut Vec<u8>,
    ) {
        let Some(resp) = conn.resp_mut() else { return };
        if let Some(version) = version {
            resp.version = version;
        }
        if let Some(name) = name {
            resp.cold.get_or_insert_default().name = name.to_vec();
        }
        conn.reply(replies, |reply| reply.hello(self.id_of(key)));
    }

    fn reset_session(&mut self, key: Key, conn: &mut Conn<K>, replies: &mut Vec<u8>) {
        let token: Box<[u8]> = conn.beats_with().into();
        let Some(resp) = conn.resp_mut() else { return };
        let membership = std::mem::take(&mut resp.membership);
        let Resp { messages_in, messages_out, typed, .. } = *resp;
        *resp = Resp { messages_in, messages_out, typed, ..Resp::new(self.now) };
        self.leave_hub(key, membership, token, None);
        // The listener's contract may be stricter than the one that the wheel is armed for.
        self.schedule(key, conn);
        conn.reply(replies, |reply| reply.simple("RESET"));
    }

    /// Takes an identity, and makes the heartbeat contract that goes with it.
    fn identify(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        identity: Identity<'_>,
        beat: Option<Duration>,
        (server_ping, token): (bool, &[u8]),
        replies: &mut Vec<u8>,
    ) {
        if self.refuses_claims(conn, replies) {
            return;
        }
        let id = identity.as_str().as_bytes();
        let Some(resp) = conn.resp_mut() else { return };
        let identified = match self.hub.identify(&mut resp.membership, key, id) {
            Ok(identified) => identified,
            Err(refused) => return reply_refused(conn, refused, replies),
        };
        resp.beat_ms = beat.map_or(0, |beat| u32::try_from(beat.as_millis()).unwrap_or(u32::MAX));
        if server_ping || !token.is_empty() || resp.cold.is_some() {
            let cold = resp.cold.get_or_insert_default();
            (cold.server_ping, cold.consent) = (server_ping, token.into());
        }
        self.claim_identity(key, conn, id, &identified);
        if let Some(id) = identified.left {
            self.effects.push_back(Effect::Presence { id, event: Event::Offline(None) });
        }
        if let Some(older) = identified.replaced {
            let by = self.by(key, conn);
            self.post_replaced(older, id, by);
        }
        if identified.fresh {
            self.effects.push_back(Effect::Presence { id: Name::new(id), event: Event::Online });
        }
        // The contract may be stricter than the one that the wheel is armed for.
        self.schedule(key, conn);
        reply_ok(replies);
    }

    /// Makes a connection the heartbeat channel of an identity, if that is agreed. Gives who holds it here.
    fn beat_for(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        identity: Identity<'_>,
        (token, agreed): (&[u8], bool),
        replies: &mut Vec<u8>,
    ) -> Option<Key> {
        if self.refuses_claims(conn, replies) {
            return None;
        }
        if !agreed {
            reply_refused(conn, Refused::NotAgreed, replies);
            return None;
        }
        let id = identity.as_str().as_bytes();
        let before: Box<[u8]> = conn.beats_with().into();
        let resp = conn.resp_mut()?;
        // One that nobody holds here may be held elsewhere.
        let beat_for = if self.link.is_some() { Hub::beat_for_any } else { Hub::beat_for };
        let beat_for = match beat_for(&mut self.hub, &mut resp.membership, key, id) {
            Ok(beat_for) => beat_for,
            Err(refused) => {
                reply_refused(conn, refused, replies);
                return None;
            }
        };
        if !token.is_empty() || resp.cold.is_some() {
            resp.cold.get_or_insert_default().beats_with = token.into();
        }
        if let Some(link) = &mut self.link {
            link.on_beat_for(key, id, token, beat_for, self.now);
        }
        self.orphan(beat_for.orphaned_holder, before);
        reply_ok(replies);
        beat_for.holder
    }

    pub(super) fn supervisor_is_behind(&self) -> bool {
        self.link.as_ref().is_some_and(|link| !link.keeps_up())
    }

    /// Whether nothing more is to be claimed or published, because the supervisor does not keep up; says so.
    pub(super) fn refuses_claims(&self, conn: &Conn<K>, replies: &mut Vec<u8>) -> bool {
        let refuses = self.supervisor_is_behind();
        if refuses {
            conn.reply(replies, |reply| {
                reply.error("ERR the supervisor does not keep up; come back later");
            });
        }
        refuses
    }

    fn tell_state(&self, conn: &Conn<K>, identity: Identity<'_>, replies: &mut Vec<u8>) -> Option<Box<Task>> {
        let id = identity.as_str().as_bytes();
        match self.hub.state(id) {
            None if self.link.is_some() => self.ask_all(conn, Query::State { id: id.to_vec() }, replies),
            state => {
                conn.reply(replies, |reply| reply.simple(Presence::name_of(state)));
                None
            }
        }
    }

    /// Lists the identities or channels that a pattern matches; all, without one.
    fn list_names(
        &self,
        conn: &Conn<K>,
        pattern: Option<&[u8]>,
        list: fn(Vec<u8>) -> List,
        query: fn(Vec<u8>) -> Query,
        replies: &mut Vec<u8>,
    ) -> Option<Box<Task>> {
        let pattern = pattern.unwrap_or(b"*");
        match self.hub.check_name(pattern) {
            Ok(()) => self.begin_list(conn, pattern.to_vec(), list, query, replies),
            Err(refused) => {
                reply_refused(conn, refused, replies);
                None
            }
        }
    }

    /// Begins a walk over everybody, here or at all workers.
    pub(super) fn begin_list<T>(
        &self,
        conn: &Conn<K>,
        wanted: T,
        list: fn(T) -> List,
        query: fn(T) -> Query,
        replies: &mut Vec<u8>,
    ) -> Option<Box<Task>> {
        if self.refuses_for_memory(conn, replies) {
            return None;
        }
        match self.link {
            Some(_) => self.ask_all(conn, query(wanted), replies),
            None => Some(Box::new(Task::List(list(wanted)))),
        }
    }

    /// Whether nothing more is to be added to what waits, because there is no memory for it; says so.
    pub(super) fn refuses_for_memory(&self, conn: &Conn<K>, replies: &mut Vec<u8>) -> bool {
        let refuses = self.memory_is_short();
        if refuses {
            conn.reply(replies, |reply| reply.error(Self::SHORT_OF_MEMORY));
        }
        refuses
    }
}

/// `+OK`, which is the same in every version.
pub(super) fn reply_ok(replies: &mut Vec<u8>) {
    Reply::new(replies, Version::default()).ok();
}

/// What the hub has refused.
pub(super) fn reply_refused<S>(conn: &Connection<S>, refused: Refused, replies: &mut Vec<u8>) {
    conn.reply(replies, |reply| reply.error(&format!("ERR {refused}")));
}
