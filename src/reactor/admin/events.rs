//! What happens, told to those who watch as it happens: each has a cursor, and takes what is behind it. One that has been told
//! all waits in no queue; at the end of a turn in which something happened it is queued like who has asked.

use super::super::parts::server_timers::ServerTimer;
use super::page::LOOK_WORK;
use crate::core::table::Key;
use crate::core::time::Duration;
use crate::core::units::{seconds, utc_text};
use crate::net::Kernel;
use crate::observe::answers::events;
use crate::observe::events::{Event, Kind, Position, What, Whose};
use crate::observe::history::Record;
use crate::observe::report::EndLine;
use crate::protocol::admin::EventsQuery;
use crate::reactor::Reactor;
use crate::reactor::context::{Conn, Context};
use crate::reactor::parts::admin::{Page, Produced, Stage, Watch};
use crate::workers::link::{EventRow, EventRows, ToSupervisor};
use serde_json::{Map, Value, json};

/// Work for the last words to one who watches. Who is further behind is cut off.
const LAST_WORK: usize = 1024 * 1024;

/// What came of reading on.
enum Read {
    /// There is no more.
    All,
    /// The share is spent.
    Some,
    /// So many were dropped before they were read.
    Dropped(u64),
}

impl<K: Kernel> Reactor<K> {
    /// Lets those who watch have what happened in this turn.
    #[inline]
    pub(in crate::reactor) fn notify_watchers(&mut self) {
        if self.cx.observer.events.take_news() {
            self.wake_watchers(false);
            self.cx.notify_supervisor_of_events();
        }
    }

    /// Nothing happened for a while.
    pub(in crate::reactor) fn notify_watchers_alive(&mut self) {
        if self.wake_watchers(true) {
            self.cx.timers.arm_no_later(ServerTimer::Watchers, self.cx.now + events::ALIVE);
        }
    }

    /// Queues all who watch. Whether there is one.
    fn wake_watchers(&mut self, is_alive_due: bool) -> bool {
        let mut is_any = false;
        for place in 0.. {
            let Some(key) = self.cx.admin.open_at(place) else { break };
            let Some(conn) = self.table.get_mut(key) else { continue };
            let Some(http) = conn.http_mut() else { continue };
            let is_woken = http.wake();
            if let Stage::Taking(page) = &mut http.stage
                && let Page::Watch(watch) = &mut **page
            {
                watch.is_alive_due |= is_alive_due;
                is_any = true;
            }
            if is_woken {
                self.cx.queue_asker(key, conn);
            }
        }
        is_any
    }

    /// The server ends: those who watch are told all that happened, and that this is all.
    pub(in crate::reactor) fn end_watches(&mut self) {
        let open: Vec<_> = self.cx.admin.open().collect();
        for key in open {
            let Some(http) = self.table.get_mut(key).and_then(|conn| conn.http_mut()) else { continue };
            http.wake();
            let Stage::Taking(page) = &mut http.stage else { continue };
            let Page::Watch(watch) = &mut **page else { continue };
            watch.is_last = true;
            self.serve_asker(key, LAST_WORK);
        }
    }
}

impl<K: Kernel> Reactor<K> {
    /// Somebody watches already: what happens is kept from now on.
    pub fn keep_events(&mut self) {
        self.cx.observer.events.begin_keeping();
    }
}

impl<K: Kernel> Context<K> {
    /// Something happened to a connection. Those of the admin interface are nobody's news.
    #[inline]
    pub(in crate::reactor) fn note_event(&mut self, key: Key, conn: &Conn<K>, what: What<'_>) {
        if self.observer.events.is_on() {
            self.note_event_now(key, conn, what);
        }
    }

    #[inline(never)]
    fn note_event_now(&mut self, key: Key, conn: &Conn<K>, what: What<'_>) {
        if !self.listener_of(conn).protocol.serves_clients() {
            return;
        }
        let held = conn.membership().and_then(|membership| self.hub.identity_of(membership, key));
        let identity = held.unwrap_or_default();
        let whose = Whose { key, peer: &conn.peer, listener: conn.listener, identity };
        self.observer.events.add(&whose, what, self.now);
    }

    /// Something happened to the server.
    pub(in crate::reactor) fn note_event_of_server(&mut self, kind: Kind, fields: impl FnOnce() -> Value) {
        self.observer.events.add_of_server(kind, fields, self.now);
    }

    /// The loop was stalled.
    #[cold]
    pub(in crate::reactor) fn note_standstill(&mut self, lasted: Duration) {
        self.note_event_of_server(Kind::Stalled, || json!({"what": "loop", "lasted_s": seconds(lasted)}));
    }

    /// The supervisor is told once that there is something for it to ask for.
    fn notify_supervisor_of_events(&mut self) {
        if std::mem::take(&mut self.admin.supervisor_watches) {
            self.worker.tell_supervisor(&ToSupervisor::Events);
        }
    }

    /// The supervisor is told that nothing more happens here than that.
    pub(in crate::reactor) fn notify_leaving(&mut self, last: u64) {
        self.worker.tell_supervisor(&ToSupervisor::Leaving { last });
    }

    /// Goes on telling one who watches.
    pub(super) fn watch_on(
        &mut self,
        watch: &mut Watch,
        share: usize,
        work: &mut usize,
        out: &mut String,
    ) -> Produced {
        let mut at = if let Some(at) = watch.at {
            at
        } else {
            let after = watch.query.after.as_ref().and_then(|cursor| cursor.of(None));
            let (at, missed) = self.observer.events.begin(after);
            events::begin(&at.number, missed, self.time().as_deref(), out);
            self.timers.arm_no_later(ServerTimer::Watchers, self.now + events::ALIVE);
            at
        };
        let read = self.read_events(&watch.query, &mut at, share, work, |row| {
            events::write(&row.number, row.kind, &row.text, out);
        });
        watch.at = Some(at);
        if std::mem::take(&mut watch.is_alive_due) && out.is_empty() {
            events::alive(&at.number, out);
        }
        match read {
            Read::Dropped(missed) => {
                events::dropped(&at.number, missed, out);
                Produced::All
            }
            Read::Some => Produced::Some,
            Read::All if watch.is_last => Produced::All,
            Read::All => Produced::AllForNow,
        }
    }

    /// Some of what happened, for the supervisor. If there is no more, it is told once when there is.
    pub(super) fn event_rows(
        &mut self,
        query: &EventsQuery,
        from: Option<Position>,
        share: usize,
        work: &mut usize,
    ) -> EventRows {
        let (mut read, missed) = if let Some(from) = from {
            (from, Some(0))
        } else {
            let worker = self.worker.number();
            self.observer.events.begin(query.after.as_ref().and_then(|cursor| cursor.of(worker)))
        };
        let mut rows = Vec::new();
        let found = self.read_events(query, &mut read, share, work, |row| rows.push(row));
        self.admin.supervisor_watches |= matches!(found, Read::All);
        let (missed, is_dropped) = match found {
            Read::Dropped(dropped) => (missed.map(|missed| missed + dropped), true),
            Read::Some | Read::All => (missed, false),
        };
        EventRows { rows, read, missed, is_dropped, more: matches!(found, Read::Some) }
    }

    /// Reads on from there, and gives the rows of those that are wanted, until the share is spent.
    fn read_events(
        &self,
        query: &EventsQuery,
        at: &mut Position,
        share: usize,
        work: &mut usize,
        mut each: impl FnMut(EventRow),
    ) -> Read {
        let wall = self.kernel.unix_time();
        let mut spent = 0;
        let read = loop {
            let Some((place, missed)) = self.observer.events.after(at) else { break Read::All };
            if missed > 0 {
                break Read::Dropped(missed);
            }
            if spent >= share {
                break Read::Some;
            }
            let Some(event) = self.observer.events.get(place) else { break Read::All };
            *at = Position { number: event.number(), place: Some(place) };
            spent += LOOK_WORK;
            if self.is_event_wanted(query, event) {
                let row = self.event_row(event, wall);
                spent += row.text.len();
                each(row);
            }
        };
        *work += spent;
        read
    }

    fn is_event_wanted(&self, query: &EventsQuery, event: Event<'_>) -> bool {
        if !query.wants_kind(event.kind()) {
            return false;
        }
        let Some((own, peer, listener)) = event.whose() else { return true };
        let listener = &self.listeners[usize::from(listener)].settings.name;
        let reason = event.ended().map(Record::reason);
        query.filter.key.as_ref().is_none_or(|name| self.worker.key_named(name) == Some(own))
            && query.filter.wants(listener, reason, peer.address())
            && query.filter.wants_identity(event.identity())
    }

    fn event_row(&self, event: Event<'_>, wall: Option<Duration>) -> EventRow {
        let worker = self.worker.number();
        let identity = String::from_utf8_lossy(event.identity());
        let mut fields = Map::new();
        if let Some((key, peer, listener)) = event.whose() {
            let listener = &self.listeners[usize::from(listener)].settings.name;
            if let Some(ended) = event.ended() {
                let end = ended.end();
                fields = EndLine::new((worker, key), &peer, listener, &identity, &end).json();
            } else {
                fields.insert("key".to_owned(), self.worker.name_of(key).into());
                fields.insert("peer".to_owned(), peer.to_string().into());
                fields.insert("listener".to_owned(), listener.as_str().into());
                fields.insert("identity".to_owned(), identity.into());
            }
        }
        event.add_fields(&mut fields);
        let (number, kind) = (event.number(), event.kind());
        let ago = self.now.since(event.at());
        let time = wall.map(|wall| utc_text(wall.saturating_sub(ago)));
        events::fields(&mut fields, number, kind, time.as_deref(), worker);
        EventRow { number, kind, text: Value::Object(fields).to_string() }
    }

    /// What time it is, as text; `None`: the kernel does not say.
    fn time(&self) -> Option<String> {
        self.kernel.unix_time().map(utc_text)
    }
}
