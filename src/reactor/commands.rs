//! The commands that concern the server: its connections, its hub, its state; with their replies.

use super::Reactor;
use super::connection::{Connection, Resp};
use super::effects::Effect;
use super::lists::List;
use super::tasks::Task;
use super::work::cost;
use crate::core::conn::Input;
use crate::core::table::Key;
use crate::core::time::Duration;
use crate::hub::{Hub, Name, Presence, Refused};
use crate::net::Kernel;
use crate::protocol::presence::Event;
use crate::protocol::resp::{Arguments, Command, Confirmation, Identity, Reply, Version, answer};
use crate::workers::link::Query;

impl<K: Kernel> Reactor<K> {
    pub(super) fn execute(&mut self, key: Key, arguments: Arguments<'_>, typed: bool, replies: &mut Vec<u8>) {
        self.counters.commands += 1;
        self.work.charge(cost::COMMAND);
        let now = self.now;
        self.open(key);
        let Some(resp) = self.table.get_mut(key).and_then(Connection::resp_mut) else { return };
        resp.messages_in += 1;
        resp.typed = typed;
        let subscribed = resp.membership.subscriptions() > 0;
        let command = Command::parse(arguments).and_then(|command| {
            if subscribed && resp.version == Version::Resp2 {
                command.allowed_while_subscribed()?;
            }
            Ok(command)
        });
        let mut reply = Reply::new(replies, resp.version);
        match command {
            Ok(Command::Beat) => {}
            Ok(command) => {
                resp.messages_out += 1;
                if !matches!(command, Command::Ping(_)) {
                    resp.used = now;
                }
                if !answer(&command, subscribed, &mut reply) {
                    self.perform(key, command, replies);
                }
            }
            Err(refusal) => {
                resp.messages_out += 1;
                reply.error(&refusal.0);
            }
        }
    }

    /// Commands that concern the server: its connections, its hub, its state.
    fn perform(&mut self, key: Key, command: Command<'_>, replies: &mut Vec<u8>) {
        // What the peer says still counts, but who was replaced must not take the identity back.
        if matches!(command, Command::Ident { .. } | Command::BeatFor { .. }) && self.is_ending(key) {
            return self.reply(key, replies, |reply| {
                reply.error("ERR this connection is being ended; come back on another");
            });
        }
        match command {
            Command::Quit => {
                reply_ok(replies);
                self.write(key, replies);
                replies.clear();
                self.apply(key, Input::Goodbye);
            }
            Command::Reset => self.reset_session(key, replies),
            Command::Hello { version, name } => self.hello(key, version, name, replies),
            Command::Client(command) => self.client(key, command, replies),
            Command::Ident { identity, beat, server_ping, token } => {
                self.identify(key, identity, beat, (server_ping, token), replies);
            }
            Command::BeatFor { identity, token } => self.beat_for(key, identity, token, replies),
            Command::Send { identity, payload } => self.send_direct(key, identity, payload, replies),
            Command::Who(pattern) => {
                let query = |pattern| Query::Identities { pattern, from: None };
                self.list_names(key, pattern, List::of_identities, query, replies);
            }
            Command::State(identity) => self.tell_state(key, identity, replies),
            Command::Subscribe(names) => {
                self.subscribe(key, names, Confirmation::Subscribe, Hub::subscribe, replies);
            }
            Command::Psubscribe(names) => {
                self.subscribe(key, names, Confirmation::Psubscribe, Hub::psubscribe, replies);
            }
            Command::Unsubscribe(names) => {
                self.unsubscribe(key, names, Confirmation::Unsubscribe, Hub::unsubscribe, replies);
            }
            Command::Punsubscribe(names) => {
                self.unsubscribe(key, names, Confirmation::Punsubscribe, Hub::punsubscribe, replies);
            }
            Command::Publish { channel, payload } => self.publish_from(key, channel, payload, replies),
            Command::PubsubChannels(pattern) => {
                let query = |pattern| Query::Channels { pattern, from: None };
                self.list_names(key, pattern, List::of_channels, query, replies);
            }
            Command::PubsubNumsub(channels) => self.numsub(key, channels, replies),
            Command::PubsubNumpat if self.link.is_some() => self.ask_all(key, Query::Patterns, replies),
            Command::PubsubNumpat => {
                self.reply(key, replies, |reply| reply.count(self.hub.gauges().patterns));
            }
            Command::Info(sections) => self.info(key, sections, replies),
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
    }

    /// Whether a cause of its ending is recorded.
    fn is_ending(&self, key: Key) -> bool {
        self.table.get(key).is_none_or(|conn| conn.life.state().cause().is_some())
    }

    /// Appends a reply in the version that the connection speaks.
    pub(super) fn reply(&self, key: Key, replies: &mut Vec<u8>, write: impl FnOnce(&mut Reply<'_>)) {
        let version =
            self.table.get(key).and_then(Connection::resp).map_or_else(Version::default, |resp| resp.version);
        write(&mut Reply::new(replies, version));
    }

    pub(super) fn resp_of(&mut self, key: Key) -> Option<&mut Resp> {
        self.table.get_mut(key)?.resp_mut()
    }

    fn hello(&mut self, key: Key, version: Option<Version>, name: Option<&[u8]>, replies: &mut Vec<u8>) {
        let Some(resp) = self.resp_of(key) else { return };
        if let Some(version) = version {
            resp.version = version;
        }
        if let Some(name) = name {
            resp.cold.get_or_insert_default().name = name.to_vec();
        }
        let id = self.id_of(key);
        self.reply(key, replies, |reply| reply.hello(id));
    }

    fn reset_session(&mut self, key: Key, replies: &mut Vec<u8>) {
        let now = self.now;
        let token: Box<[u8]> = self.table.get(key).map_or(&[][..], Connection::beats_with).into();
        let Some(resp) = self.resp_of(key) else { return };
        let membership = std::mem::take(&mut resp.membership);
        let Resp { messages_in, messages_out, typed, .. } = *resp;
        *resp = Resp { messages_in, messages_out, typed, ..Resp::new(now) };
        self.leave_hub(key, membership, &token, None);
        // The listener's contract may be stricter than the one that the wheel is armed for.
        self.schedule(key);
        self.reply(key, replies, |reply| reply.simple("RESET"));
    }

    /// Takes an identity, and makes the heartbeat contract that goes with it.
    fn identify(
        &mut self,
        key: Key,
        identity: Identity<'_>,
        beat: Option<Duration>,
        (server_ping, token): (bool, &[u8]),
        replies: &mut Vec<u8>,
    ) {
        if self.refuses_claims(key, replies) {
            return;
        }
        let (hub, table) = (&mut self.hub, &mut self.table);
        let Some(resp) = table.get_mut(key).and_then(|conn| conn.resp_mut()) else { return };
        let identified = match hub.identify(&mut resp.membership, key, identity.as_str().as_bytes()) {
            Ok(identified) => identified,
            Err(refused) => return self.reply_refused(key, refused, replies),
        };
        resp.beat_ms = beat.map_or(0, |beat| u32::try_from(beat.as_millis()).unwrap_or(u32::MAX));
        if server_ping || !token.is_empty() || resp.cold.is_some() {
            let cold = resp.cold.get_or_insert_default();
            (cold.server_ping, cold.consent) = (server_ping, token.into());
        }
        self.claim_identity(key, identity.as_str().as_bytes(), &identified);
        if let Some(id) = identified.left {
            self.effects.push_back(Effect::Presence { id, event: Event::Offline(None) });
        }
        if let Some(older) = identified.replaced
            && let Some(by) = self.by(key)
        {
            self.post_replaced(older, identity.as_str().as_bytes(), by);
        }
        if identified.fresh {
            let id = Name::new(identity.as_str().as_bytes());
            self.effects.push_back(Effect::Presence { id, event: Event::Online });
        }
        // The contract may be stricter than the one that the wheel is armed for.
        self.schedule(key);
        reply_ok(replies);
    }

    fn beat_for(&mut self, key: Key, identity: Identity<'_>, token: &[u8], replies: &mut Vec<u8>) {
        if self.refuses_claims(key, replies) {
            return;
        }
        let id = identity.as_str().as_bytes();
        if !self.may_beat(key, id, token) {
            return self.reply_refused(key, Refused::NotAgreed, replies);
        }
        let before: Box<[u8]> = self.table.get(key).map_or(&[][..], Connection::beats_with).into();
        let (hub, table) = (&mut self.hub, &mut self.table);
        let Some(resp) = table.get_mut(key).and_then(|conn| conn.resp_mut()) else { return };
        // One that nobody holds here may be held elsewhere.
        let beat_for = if self.link.is_some() { Hub::beat_for_any } else { Hub::beat_for };
        let beat_for = match beat_for(hub, &mut resp.membership, key, id) {
            Ok(beat_for) => beat_for,
            Err(refused) => return self.reply_refused(key, refused, replies),
        };
        if !token.is_empty() || resp.cold.is_some() {
            resp.cold.get_or_insert_default().beats_with = token.into();
        }
        if let Some(link) = &mut self.link {
            link.on_beat_for(key, id, token, beat_for, self.now);
        }
        if let Some(holder) = beat_for.holder {
            self.mark_alive(holder);
        }
        self.orphan(beat_for.orphaned_holder, &before);
        reply_ok(replies);
    }

    pub(super) fn supervisor_is_behind(&self) -> bool {
        self.link.as_ref().is_some_and(|link| !link.keeps_up())
    }

    /// Whether nothing more is to be claimed or published, because the supervisor does not keep up; says so.
    pub(super) fn refuses_claims(&self, key: Key, replies: &mut Vec<u8>) -> bool {
        let refuses = self.supervisor_is_behind();
        if refuses {
            self.reply(key, replies, |reply| {
                reply.error("ERR the supervisor does not keep up; come back later");
            });
        }
        refuses
    }

    pub(super) fn reply_refused(&self, key: Key, refused: Refused, replies: &mut Vec<u8>) {
        self.reply(key, replies, |reply| reply.error(&format!("ERR {refused}")));
    }

    fn tell_state(&mut self, key: Key, identity: Identity<'_>, replies: &mut Vec<u8>) {
        let id = identity.as_str().as_bytes();
        match self.hub.state(id) {
            None if self.link.is_some() => self.ask_all(key, Query::State { id: id.to_vec() }, replies),
            state => {
                self.reply(key, replies, |reply| reply.simple(state.map_or("offline", Presence::name)));
            }
        }
    }

    fn send_direct(&mut self, key: Key, identity: Identity<'_>, payload: &[u8], replies: &mut Vec<u8>) {
        if self.refuses_for_memory(key, replies) {
            return;
        }
        let id = identity.as_str().as_bytes();
        let Some(holder) = self.hub.holder(id) else {
            if self.link.is_some() {
                let query = Query::Send { id: id.to_vec(), payload: payload.to_vec() };
                return self.ask_all(key, query, replies);
            }
            return self.reply(key, replies, |reply| reply.count(0));
        };
        // Who sends to itself has the reply first, as it has asked first.
        if holder == key && !self.is_ending(key) {
            self.reply(key, replies, |reply| reply.count(1));
            self.write(key, replies);
            replies.clear();
            self.send_to(key, identity.as_str(), payload);
            return;
        }
        // One that is ending is sent nothing more: to count it would claim a delivery.
        let sent = self.send_to(holder, identity.as_str(), payload);
        self.reply(key, replies, |reply| reply.count(usize::from(sent)));
    }

    /// Lists the identities or channels that a pattern matches; all, without one.
    fn list_names(
        &mut self,
        key: Key,
        pattern: Option<&[u8]>,
        list: fn(Vec<u8>) -> List,
        query: fn(Vec<u8>) -> Query,
        replies: &mut Vec<u8>,
    ) {
        let pattern = pattern.unwrap_or(b"*");
        match self.hub.check_name(pattern) {
            Ok(()) => self.begin_list(key, pattern.to_vec(), list, query, replies),
            Err(refused) => self.reply_refused(key, refused, replies),
        }
    }

    /// Begins a walk over everybody, here or at all workers.
    pub(super) fn begin_list<T>(
        &mut self,
        key: Key,
        wanted: T,
        list: fn(T) -> List,
        query: fn(T) -> Query,
        replies: &mut Vec<u8>,
    ) {
        if self.refuses_for_memory(key, replies) {
            return;
        }
        match self.link {
            Some(_) => self.ask_all(key, query(wanted), replies),
            None => self.begin_task(key, Task::List(list(wanted)), replies),
        }
    }

    /// Whether nothing more is to be added to what waits, because there is no memory for it; says so.
    pub(super) fn refuses_for_memory(&self, key: Key, replies: &mut Vec<u8>) -> bool {
        let refuses = self.memory_is_short();
        if refuses {
            self.reply(key, replies, |reply| reply.error(Self::SHORT_OF_MEMORY));
        }
        refuses
    }
}

/// `+OK`, which is the same in every version.
pub(super) fn reply_ok(replies: &mut Vec<u8>) {
    Reply::new(replies, Version::default()).ok();
}
