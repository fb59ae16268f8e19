//! What clients of any worker ask about the clients of this one. The supervisor asks for them, this one's own included;
//! `ask` has the other side.
//!
//! Nothing is kept of a query but its place in the line: what takes more than its share of a turn is answered by a page,
//! and the next page is another query.

use super::Reactor;
use super::context::Context;
use super::parts::list::List;
use super::parts::worker::local_key;
use super::work::{self, cost};
use crate::net::Kernel;
use crate::protocol::server::LastEnd;
use crate::protocol::{Identity, Naming};
use crate::workers::link::{Finding, Query, ToSupervisor};
use std::sync::Arc;

/// How many of the last endings are looked at for that of one identity: about a third of a millisecond.
const LOOKED_AT: usize = 32_768;

impl<K: Kernel> Reactor<K> {
    /// Answers queries, as far as a turn allows.
    pub(super) fn answer_queries(&mut self) {
        let share = self.cx.work.after(work::RESUMED);
        while !self.cx.work.is_past(share) {
            let Some(link) = self.cx.worker.link_mut() else { return };
            let Some((number, query)) = link.queries.pop_front() else { return };
            self.cx.work.begin_serving();
            self.cx.work.charge(cost::COMMAND);
            let finding = self.find(query);
            self.cx.worker.tell_supervisor(&ToSupervisor::Found { number, finding });
        }
        // No edge will come for the others.
        self.cx.worker.note_supervisor();
    }

    fn find(&mut self, query: Query) -> Finding {
        match query {
            Query::Send { id, payload } => {
                let to = Identity::new(&id).zip(self.cx.hub.holder(&id));
                Finding::Sent(
                    to.is_some_and(|(identity, holder)| self.send_to(holder, identity.as_str(), &payload)),
                )
            }
            Query::Name { key, id } => {
                let identity = Identity::new(&id);
                Finding::Named(identity.map_or(Naming::Nowhere, |id| self.name_client(local_key(key), id)))
            }
            Query::Subscribers { channels } => {
                self.cx.work.charge(cost::NAME * channels.len());
                let counts = channels.iter().map(|channel| self.cx.hub.subscribers(channel) as u64);
                Finding::Counts(counts.collect())
            }
            Query::Clients { filter, from } => {
                let (lines, _, next) = self.page(List::of_clients(filter), from);
                Finding::Clients { lines, next }
            }
            Query::Kill { filter, by, from } => {
                let asker = self.cx.worker.key_named(&by.key);
                let (_, count, next) = self.page(List::of_victims(filter, Some(Arc::new(by)), asker), from);
                Finding::Killed { count, next }
            }
            Query::LastEnd { id } => Finding::LastEnd(self.cx.last_end(&id)),
            Query::Info => Finding::Info(Box::new(self.cx.info_numbers())),
            // The supervisor knows these by itself.
            Query::State { .. }
            | Query::Holder { .. }
            | Query::Identities { .. }
            | Query::Channels { .. }
            | Query::Patterns => Finding::Nothing,
        }
    }
}

impl<K: Kernel> Context<K> {
    /// How the last connection that held an identity ended, as far as that is known.
    pub(super) fn last_end(&mut self, id: &[u8]) -> Option<LastEnd> {
        let mut looked_at = 0;
        let mut records = self.observer.history.records().take(LOOKED_AT).inspect(|_| looked_at += 1);
        let found = records.find(|record| record.identity() == id);
        let last = found.map(|record| LastEnd {
            reason: record.reason(),
            ago_ms: u64::try_from(self.now.since(record.at()).as_millis()).unwrap_or(u64::MAX),
        });
        self.work.charge(cost::COMPARE * looked_at);
        last
    }
}
