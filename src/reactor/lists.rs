//! Walks over everybody, for lists of identities, channels and clients, and to end clients. A walk goes as far at a time
//! as its share of work; its rows are made on the way, for a protocol may want their length first, and do not count as
//! output that their reader is slow to take.

use super::Reactor;
use super::connection::Connection;
use super::context::{Conn, Context};
use super::parts::effect::{ENDINGS_WAITING_MAX, Effect};
use super::parts::list::{List, Subject};
use super::parts::worker::Place;
use super::work::{Work, cost};
use crate::core::end::{Detector, Reason};
use crate::core::table::{Key, Table};
use crate::hub::{Membership, Visit};
use crate::net::{Address, Kernel};
use crate::protocol::clients::{ClientFilter, ClientRow, ClientType, KillFilter};
use crate::protocol::server::Names;
use crate::protocol::session::Found;
use crate::protocol::{AnySession, Encode, Encoding};
use std::ops::ControlFlow;
use std::rc::Rc;

/// Lists that are made at once: each is held until it is whole. Others wait for their turn.
const LISTS_AT_ONCE: usize = 8;
/// Bytes of a list that is a reply as any other.
const SHORT_LIST: usize = 16 * 1024;

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
        (list.rows, list.found as u64, next)
    }

    fn walk(&mut self, list: &mut List) -> ControlFlow<()> {
        match &list.subject {
            Subject::Names { names, pattern, encoding } => {
                let collect = collect(&mut self.cx.work, *encoding, &mut list.found, &mut list.rows);
                match names {
                    Names::Identities => self.cx.hub.who(pattern, &mut list.at, collect),
                    Names::Channels => self.cx.hub.channels(pattern, &mut list.at, collect),
                }
            }
            Subject::Clients(filter) => {
                let only = filter.key().map(|key| self.cx.worker.place_of(key));
                while let Some((key, conn)) = next_client(&self.table, &mut self.cx.work, &mut list.at, only)?
                {
                    if self.cx.is_wanted(filter, key, conn) {
                        self.cx.write_client(key, conn, &mut list.rows);
                        self.cx.work.charge(cost::ROW);
                    }
                }
                ControlFlow::Continue(())
            }
            Subject::Kill { filter, by, spared } => {
                let only = filter.key.map(|key| self.cx.worker.place_of(key));
                while let Some((key, conn)) = next_client(&self.table, &mut self.cx.work, &mut list.at, only)?
                {
                    if *spared != Some(key) && self.cx.is_victim(filter, key, conn) {
                        list.found += 1;
                        let (reason, detector, by) = (Reason::LocalKicked, Detector::Client, by.clone());
                        self.cx.effects.push_back(Effect::Close { key, reason, detector, by });
                    }
                    if self.cx.effects.len() >= ENDINGS_WAITING_MAX {
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            }
        }
    }
}

impl<K: Kernel> Context<K> {
    /// Whether a list of clients describes connection `key`.
    fn is_wanted(&self, filter: &ClientFilter, key: Key, conn: &Conn<K>) -> bool {
        match filter {
            ClientFilter::All | ClientFilter::Key(_) => true,
            ClientFilter::Type(wanted) => client_type(conn) == *wanted,
            ClientFilter::Ids(ids) => ids.binary_search(&self.worker.id_of(key)).is_ok(),
        }
    }

    /// Whether connection `key` is to be ended. The one that asks may be among them; it gets its reply first, because
    /// endings are posted.
    pub(super) fn is_victim(&self, filter: &KillFilter, key: Key, conn: &Conn<K>) -> bool {
        let local = match &self.listeners[usize::from(conn.listener)].address {
            Address::Tcp { socket, .. } => Some(*socket),
            Address::Unix(_) => None,
        };
        filter.id.is_none_or(|id| id == self.worker.id_of(key))
            && filter.key.is_none_or(|wanted| self.worker.place_of(wanted) == Place::Here(key))
            && filter.peer.is_none_or(|peer| conn.peer.address() == Some(peer))
            && filter.local.is_none_or(|address| local == Some(address))
            && filter.client_type.is_none_or(|wanted| client_type(conn) == wanted)
            && filter.user.as_ref().is_none_or(|wanted| self.user_of(conn).as_bytes() == wanted)
    }

    /// Replies with what a walk has found.
    pub(super) fn finish_list(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        session: &mut AnySession,
        list: &mut List,
        replies: &mut Vec<u8>,
    ) {
        let mut rows = std::mem::take(&mut list.rows);
        let found = match &list.subject {
            Subject::Names { .. } => Found::Names { count: list.found, rows: &mut rows },
            Subject::Clients(_) => Found::Clients { rows: &mut rows },
            Subject::Kill { filter, .. } => Found::Ended { form: filter.form, count: list.found as u64 },
        };
        session.answered(found.into(), replies);
        self.write_list(key, conn, replies, rows);
    }

    /// Puts a list behind what replies there are. A long one becomes output as it is, and is sent when others have had
    /// their turn.
    pub(super) fn write_list(&mut self, key: Key, conn: &mut Conn<K>, replies: &mut Vec<u8>, rows: Vec<u8>) {
        if rows.len() <= SHORT_LIST {
            return replies.extend_from_slice(&rows);
        }
        self.write(key, conn, replies);
        replies.clear();
        conn.buffers_mut(&mut self.pool).listed += rows.len();
        if self.keep(key, conn, rows.into()) {
            self.posted.flush(key, conn);
        }
    }

    /// Appends one line about a client.
    pub(super) fn write_client(&self, key: Key, conn: &Conn<K>, out: &mut Vec<u8>) {
        let (client, membership) = (conn.client(), conn.membership());
        let row = ClientRow {
            id: self.worker.id_of(key),
            peer: &conn.peer,
            local: &self.listeners[usize::from(conn.listener)].address,
            name: client.and_then(|client| client.cold.as_deref()).map_or(&[], |cold| &cold.name),
            identity: membership.and_then(|member| self.hub.identity_of(member, key)).unwrap_or_default(),
            user: self.user_of(conn),
            age_s: self.now.since(conn.life.accepted()).as_secs(),
            silence_s: self.now.since(conn.life.heard()).as_secs(),
            subscriptions: membership.map_or(0, Membership::subscriptions),
            input_bytes: conn.buffers.as_ref().map_or(0, |buffers| buffers.input.len()),
            output_bytes: conn.pending_output(),
            version: conn.encoding().map_or(0, Encode::version),
            state: conn.life.state().name(),
            bytes_in: conn.life.bytes_in,
            bytes_out: conn.life.bytes_out,
            messages_in: client.map_or(0, |client| client.messages_in),
        };
        row.write(out);
    }
}

/// The next client that is not ending, at or behind slot `at`, which is moved past it. Breaks
/// when the share of work is used up. `only`: where the only one is that is wanted; it is looked up, not walked to.
fn next_client<'a, S>(
    table: &'a Table<Connection<S>>,
    work: &mut Work,
    at: &mut usize,
    only: Option<Place>,
) -> ControlFlow<(), Option<(Key, &'a Connection<S>)>> {
    if let Some(place) = only {
        // As a page carries it.
        const OVER: usize = u32::MAX as usize;
        let is_over = std::mem::replace(at, OVER) == OVER;
        let Place::Here(key) = place else { return ControlFlow::Continue(None) };
        let conn = table.get(key).filter(|conn| !is_over && conn.can_be_named());
        return ControlFlow::Continue(conn.map(|conn| (key, conn)));
    }
    while *at < table.slots_used() {
        if work.is_over() {
            return ControlFlow::Break(());
        }
        work.charge(cost::LOOK);
        let entry = u32::try_from(*at).ok().and_then(|index| table.at(index));
        *at += 1;
        if let Some((key, conn)) = entry.filter(|(_, conn)| conn.membership().is_some() && !conn.is_ending())
        {
            return ControlFlow::Continue(Some((key, conn)));
        }
    }
    ControlFlow::Continue(None)
}

fn client_type<S>(conn: &Connection<S>) -> ClientType {
    match conn.membership() {
        Some(membership) if membership.subscriptions() > 0 => ClientType::Pubsub,
        Some(_) | None => ClientType::Normal,
    }
}

/// Makes rows of the names that a walk finds, as far as the share of work goes.
fn collect<'a>(
    work: &'a mut Work,
    encoding: Encoding,
    found: &'a mut usize,
    rows: &'a mut Vec<u8>,
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
                encoding.name(name, rows);
            }
        }
        ControlFlow::Continue(())
    }
}
