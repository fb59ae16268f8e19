//! Commands that walk over everybody: `WHO`, `PUBSUB CHANNELS`, `CLIENT LIST`, `CLIENT KILL`. A walk goes as far at a time
//! as its share of work; its reply is made on the way, for the protocol wants its length first, and does not count as
//! output that its reader is slow to take.

use super::Reactor;
use super::connection::Connection;
use super::context::{Conn, Context};
use super::parts::effect::Effect;
use super::parts::list::{List, Subject};
use super::work::{Work, cost};
use crate::core::end::{Detector, Reason};
use crate::core::table::{Key, Table};
use crate::hub::Visit;
use crate::net::{Address, Kernel};
use crate::protocol::resp::client::{ClientFilter, ClientType, KillFilter, KillForm, NO_SUCH_CLIENT};
use crate::protocol::resp::{Reply, Version};
use std::io::Write;
use std::ops::ControlFlow;
use std::rc::Rc;

/// Lists that are made at once: each is held until it is whole. Others wait for their turn.
const LISTS_AT_ONCE: usize = 8;
/// Bytes of a list that is a reply as any other.
const SHORT_LIST: usize = 16 * 1024;
/// Waiting effects above which nobody is added to those who are to be ended.
const KILLS_WAITING_MAX: usize = 10_000;

impl<K: Kernel> Reactor<K> {
    /// Goes on with a walk. Returns whether it is over.
    pub(super) fn go_on_listing(&mut self, list: &mut List) -> ControlFlow<()> {
        if list.permit.is_none() {
            if Rc::strong_count(&self.list_permits) > LISTS_AT_ONCE {
                return ControlFlow::Break(());
            }
            list.permit = Some(Rc::clone(&self.list_permits));
        }
        self.walk(list)
    }

    /// A walk from there on, as far as its share of work goes: its body, how many it has found, and where to go on.
    pub(super) fn page(&mut self, mut list: List, from: Option<u32>) -> (Vec<u8>, u64, Option<u32>) {
        list.at = from.unwrap_or_default() as usize;
        let is_over = self.walk(&mut list).is_continue();
        let next = (!is_over).then(|| u32::try_from(list.at).unwrap_or(u32::MAX));
        (list.body, list.found as u64, next)
    }

    fn walk(&mut self, list: &mut List) -> ControlFlow<()> {
        match &list.subject {
            Subject::Identities { pattern } => {
                let collect = collect(&mut self.cx.work, &mut list.found, &mut list.body);
                self.cx.hub.who(pattern, &mut list.at, collect)
            }
            Subject::Channels { pattern } => {
                let collect = collect(&mut self.cx.work, &mut list.found, &mut list.body);
                self.cx.hub.channels(pattern, &mut list.at, collect)
            }
            Subject::Clients(filter) => {
                while let Some((key, conn)) = next_client(&self.table, &mut self.cx.work, &mut list.at)? {
                    if self.cx.is_wanted(filter, key, conn) {
                        self.cx.write_client(key, conn, &mut list.body);
                        self.cx.work.charge(cost::ROW);
                    }
                }
                ControlFlow::Continue(())
            }
            Subject::Kill { filter, by, spared } => {
                while let Some((key, conn)) = next_client(&self.table, &mut self.cx.work, &mut list.at)? {
                    if *spared != Some(key) && self.cx.is_victim(filter, key, conn) {
                        list.found += 1;
                        let (reason, detector, by) = (Reason::LocalKicked, Detector::Client, by.clone());
                        self.cx.effects.push_back(Effect::Close { key, reason, detector, by });
                    }
                    if self.cx.effects.len() >= KILLS_WAITING_MAX {
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            }
        }
    }
}

impl<K: Kernel> Context<K> {
    /// Whether `CLIENT LIST` describes connection `key`.
    fn is_wanted(&self, filter: &ClientFilter, key: Key, conn: &Conn<K>) -> bool {
        match filter {
            ClientFilter::All => true,
            ClientFilter::Type(wanted) => client_type(conn) == *wanted,
            ClientFilter::Ids(ids) => ids.binary_search(&self.id_of(key)).is_ok(),
        }
    }

    /// Whether `CLIENT KILL` ends connection `key`. The one that asks may be among them; it gets its reply first, because
    /// endings are posted.
    pub(super) fn is_victim(&self, filter: &KillFilter, key: Key, conn: &Conn<K>) -> bool {
        let local = match &self.listeners[usize::from(conn.listener)].address {
            Address::Tcp { socket, .. } => Some(*socket),
            Address::Unix(_) => None,
        };
        filter.id.is_none_or(|id| id == self.id_of(key))
            && filter.peer.is_none_or(|peer| conn.peer.address() == Some(peer))
            && filter.local.is_none_or(|address| local == Some(address))
            && filter.client_type.is_none_or(|wanted| client_type(conn) == wanted)
    }

    /// What `CLIENT` calls a connection.
    pub(super) fn id_of(&self, key: Key) -> u64 {
        self.link.as_ref().map_or(key.generation.into(), |link| link.id_of(key))
    }

    /// Replies with what a walk has found.
    pub(super) fn finish_list(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        list: &mut List,
        replies: &mut Vec<u8>,
    ) {
        let List { subject, found, body, .. } = list;
        let body = std::mem::take(body);
        match subject {
            Subject::Identities { .. } | Subject::Channels { .. } => {
                conn.reply(replies, |reply| reply.array(*found));
                self.write_list(key, conn, replies, body);
            }
            Subject::Clients(_) => self.write_lines(key, conn, replies, body),
            Subject::Kill { filter, .. } => reply_killed(conn, filter.form, *found as u64, replies),
        }
    }

    /// Replies with a line of each client.
    pub(super) fn write_lines(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        replies: &mut Vec<u8>,
        mut lines: Vec<u8>,
    ) {
        conn.reply(replies, |reply| reply.verbatim_header(lines.len()));
        conn.reply(&mut lines, |reply| {
            reply.verbatim_end();
        });
        self.write_list(key, conn, replies, lines);
    }

    /// Puts a list behind what replies there are. A long one becomes output as it is, and is sent when others have had
    /// their turn.
    pub(super) fn write_list(&mut self, key: Key, conn: &mut Conn<K>, replies: &mut Vec<u8>, body: Vec<u8>) {
        if body.len() <= SHORT_LIST {
            return replies.extend_from_slice(&body);
        }
        self.write(key, conn, replies);
        replies.clear();
        conn.buffers_mut(&mut self.pool).listed += body.len();
        if self.keep(key, conn, body.into()) {
            self.posted.flush(key, conn);
        }
    }

    /// Appends one line about a connection, in the form of Redis' `CLIENT LIST`. Also the fields that mean nothing here:
    /// client libraries read all numbers of Redis 6.2, and fail where one is missing.
    pub(super) fn write_client(&self, key: Key, conn: &Conn<K>, out: &mut Vec<u8>) {
        let Some(resp) = conn.resp() else { return };
        let cold = resp.cold.as_deref();
        let name = cold.map(|cold| String::from_utf8_lossy(&cold.name)).unwrap_or_default();
        let identity =
            self.hub.identity_of(&resp.membership, key).map(String::from_utf8_lossy).unwrap_or_default();
        let version = match resp.version {
            Version::Resp2 => 2,
            Version::Resp3 => 3,
        };
        let input = conn.buffers.as_ref().map_or(0, |buffers| buffers.input.len());
        let written = writeln!(
            out,
            "id={} addr={} laddr={} name={name} age={} idle={} flags={} db=0 sub={} psub=0 multi=-1 qbuf={} \
             qbuf-free=0 argv-mem=0 obl=0 oll=0 omem={} tot-mem={} resp={version} user=default state={} \
             identity={identity} tot-net-in={} tot-net-out={} tot-cmds={}",
            self.id_of(key),
            conn.peer,
            &self.listeners[usize::from(conn.listener)].address,
            self.now.since(conn.life.accepted()).as_secs(),
            self.now.since(conn.life.heard()).as_secs(),
            if resp.membership.subscriptions() > 0 { 'P' } else { 'N' },
            resp.membership.subscriptions(),
            input,
            conn.pending_output(),
            input + conn.pending_output(),
            conn.life.state().name(),
            conn.life.bytes_in,
            conn.life.bytes_out,
            resp.messages_in,
        );
        written.expect("memory takes what is written to it");
    }
}

/// The next connection of the command protocol that is not ending, at or behind slot `at`, which is moved past it. Breaks
/// when the share of work is used up.
fn next_client<'a, S>(
    table: &'a Table<Connection<S>>,
    work: &mut Work,
    at: &mut usize,
) -> ControlFlow<(), Option<(Key, &'a Connection<S>)>> {
    while *at < table.slots_used() {
        if work.is_over() {
            return ControlFlow::Break(());
        }
        work.charge(cost::LOOK);
        let entry = u32::try_from(*at).ok().and_then(|index| table.at(index));
        *at += 1;
        if let Some((key, conn)) = entry.filter(|(_, conn)| conn.resp().is_some() && !conn.is_ending()) {
            return ControlFlow::Continue(Some((key, conn)));
        }
    }
    ControlFlow::Continue(None)
}

/// Replies to `CLIENT KILL`.
pub(super) fn reply_killed<S>(conn: &Connection<S>, form: KillForm, count: u64, replies: &mut Vec<u8>) {
    conn.reply(replies, |reply| match (form, count) {
        (KillForm::Filter, _) => reply.number(count),
        (KillForm::Address, 0) => reply.error(NO_SUCH_CLIENT),
        (KillForm::Address, _) => reply.ok(),
    });
}

fn client_type<S>(conn: &Connection<S>) -> ClientType {
    match conn.resp() {
        Some(resp) if resp.membership.subscriptions() > 0 => ClientType::Pubsub,
        Some(_) | None => ClientType::Normal,
    }
}

/// Puts the names that a walk finds into a reply, as far as the share of work goes.
fn collect<'a>(
    work: &'a mut Work,
    found: &'a mut usize,
    body: &'a mut Vec<u8>,
) -> impl FnMut(Visit<&[u8]>) -> ControlFlow<()> + 'a {
    move |visit| {
        if work.is_over() {
            return ControlFlow::Break(());
        }
        match visit {
            Visit::Looked(steps) => work.charge(cost::COMPARE + steps),
            Visit::Found(name) => {
                work.charge(cost::DELIVERY + cost::copied(name.len()));
                *found += 1;
                Reply::new(body, Version::default()).bulk(name);
            }
        }
        ControlFlow::Continue(())
    }
}
