//! The list of the last endings, as a cursor: the newest first, and each row is made when it is asked for.

use super::page::{LOOK_WORK, SNAPSHOT_WORK};
use crate::core::time::Duration;
use crate::core::units::{seconds, utc_text};
use crate::net::Kernel;
use crate::observe::answers::{ENDS_BEGIN, EndsTail, Kept};
use crate::observe::history::Record;
use crate::observe::report::EndLine;
use crate::observe::ring::Place;
use crate::protocol::admin::{Cursor, EndsQuery};
use crate::reactor::Reactor;
use crate::reactor::context::Context;
use crate::reactor::parts::admin::{Ends, EndsStage};
use crate::workers::link::{EndRow, EndRows};
use std::collections::BTreeSet;

/// What time it is, by all clocks.
struct Clocks {
    /// Since 1970; `None`: the kernel does not say.
    wall: Option<Duration>,
    /// See [`Kernel::shared_clock`].
    shared: u64,
}

impl<K: Kernel> Reactor<K> {
    /// Goes on with a list of endings, up to its share of work; true once it is finished.
    pub(super) fn ends_on(
        &mut self,
        ends: &mut Ends,
        share: usize,
        work: &mut usize,
        out: &mut String,
    ) -> bool {
        if matches!(ends.stage, EndsStage::New) {
            out.push_str(ENDS_BEGIN);
            // What ends while the list is written is not in it: who asks for what came later must get it then.
            ends.newest = self.cx.observer.history.last_number();
        }
        let mut is_first = ends.listed == 0;
        self.cx.walk(ends, share, work, |row| {
            out.push_str(if std::mem::take(&mut is_first) { "" } else { "," });
            out.push_str(&row.text);
        });
        let next = match ends.stage {
            EndsStage::At(place) if ends.listed == ends.query.limit => Some(place),
            EndsStage::At(_) => return false,
            EndsStage::New | EndsStage::Over => None,
        };
        let kept = self.cx.kept(&ends.query);
        let tail = EndsTail {
            listed: ends.listed as u64,
            before: next.map(|place| Cursor(vec![(None, place.number + 1)])),
            after: Cursor(vec![(None, ends.newest)]),
            kept,
            unanswered: None,
        };
        tail.write(out);
        true
    }

    /// A page of a list of endings for the supervisor: so many rows at most, from that place on.
    pub(super) fn end_rows(
        &mut self,
        query: EndsQuery,
        from: Option<Place>,
        rows: u32,
        share: usize,
        work: &mut usize,
    ) -> EndRows {
        let kept = self.cx.kept(&query);
        let query = EndsQuery { limit: query.limit.min(rows as usize), ..query };
        let stage = from.map_or(EndsStage::New, EndsStage::At);
        let mut ends = Ends { query, stage, listed: 0, newest: kept.last_number };
        let mut rows = Vec::new();
        self.cx.walk(&mut ends, share, work, |row| rows.push(row));
        let next = match ends.stage {
            EndsStage::At(place) => Some(place),
            EndsStage::New | EndsStage::Over => None,
        };
        EndRows { rows, next, kept }
    }
}

impl<K: Kernel> Context<K> {
    /// Walks from newer to older endings, and gives the rows of those that are wanted, until the share or the limit is reached.
    fn walk(&mut self, ends: &mut Ends, share: usize, work: &mut usize, mut each: impl FnMut(EndRow)) {
        let clocks = Clocks { wall: self.kernel.unix_time(), shared: self.kernel.shared_clock() };
        let mut place = match ends.stage {
            EndsStage::New => self.observer.history.newest(),
            EndsStage::At(place) => self.observer.history.moved(place),
            EndsStage::Over => None,
        };
        let mut spent = SNAPSHOT_WORK.min(share / 2);
        let worker = self.worker.number();
        let bound = |cursor: &Option<Cursor>| cursor.as_ref().and_then(|cursor| cursor.of(worker));
        let before = bound(&ends.query.before).unwrap_or(u64::MAX);
        // A number that was not given yet is one of a worker that was there before.
        let after = bound(&ends.query.after)
            .filter(|after| *after <= self.observer.history.last_number())
            .unwrap_or(0);
        let oldest = ends.query.last_ns.map(|last| self.now.before(Duration::from_nanos(last)));
        let key = ends.query.filter.key.as_ref().map(|name| self.worker.key_named(name));
        let names = ends.query.pairs.iter();
        let pairs: BTreeSet<_> = names.filter_map(|name| self.worker.key_named(name)).collect();
        let is_of_pair = |record: Record<'_>| record.pair().is_some_and(|pair| pairs.contains(&pair));
        while let Some(at) = place
            && spent < share
            && ends.listed < ends.query.limit
        {
            spent += LOOK_WORK;
            // What was dropped meanwhile was the rest.
            let Some(record) = self.observer.history.get(at) else {
                place = None;
                break;
            };
            if record.number() <= after || oldest.is_some_and(|oldest| record.at() < oldest) {
                place = None;
                break;
            }
            let is_wanted = record.number() < before
                && key.is_none_or(|key| key == Some(record.key()))
                && (ends.query.pairs.is_empty() || is_of_pair(record))
                && self.is_ending_wanted(&ends.query, record);
            if is_wanted {
                let row = self.row(record, &clocks, worker);
                spent += row.text.len();
                ends.listed += 1;
                each(row);
            }
            place = self.observer.history.before(at);
        }
        ends.stage = place.map_or(EndsStage::Over, EndsStage::At);
        *work += spent;
    }

    fn is_ending_wanted(&self, query: &EndsQuery, record: Record<'_>) -> bool {
        query.filter.wants(self.listener_named(record), Some(record.reason()), record.peer().address())
            && query.filter.wants_identity(record.identity())
    }

    fn listener_named(&self, record: Record<'_>) -> &str {
        &self.listeners[usize::from(record.listener())].settings.name
    }

    fn row(&self, record: Record<'_>, clocks: &Clocks, worker: Option<u32>) -> EndRow {
        let ago = self.now.since(record.at());
        let (peer, end) = (record.peer(), record.end());
        let identity = String::from_utf8_lossy(record.identity());
        let listener = self.listener_named(record);
        let mut fields = EndLine::new((worker, record.key()), &peer, listener, &identity, &end).json();
        fields.insert("number".to_owned(), record.number().into());
        fields.insert("ago_s".to_owned(), seconds(ago).into());
        let time = clocks.wall.map(|wall| utc_text(wall.saturating_sub(ago)));
        fields.insert("time".to_owned(), time.into());
        if let Some(worker) = worker {
            fields.insert("worker".to_owned(), worker.into());
        }
        let at = clocks.shared.saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX));
        EndRow { at, number: record.number(), text: serde_json::Value::Object(fields).to_string() }
    }

    /// How far back the history reaches.
    fn kept(&self, query: &EndsQuery) -> Kept {
        let history = &self.observer.history;
        let worker = self.worker.number();
        let after = query.after.as_ref().and_then(|cursor| cursor.of(worker));
        let after = after.map(|after| if after <= history.last_number() { after } else { 0 });
        let (since, started) = (history.complete_since(), self.lifecycle.started());
        let reach = self.now.since(if history.is_on() { since.max(started) } else { self.now });
        Kept {
            kept: history.kept(),
            dropped: history.dropped(),
            missed: after.map_or(0, |after| history.dropped().saturating_sub(after)),
            reach_ms: u64::try_from(reach.as_millis()).unwrap_or(u64::MAX),
            from_start: history.is_on() && since <= started,
            bytes: history.size() as u64,
            last_number: history.last_number(),
        }
    }
}
