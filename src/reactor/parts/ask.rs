//! A command that asks about the clients of all workers, and what was found.

use crate::hub::Presence;
use crate::protocol::resp::{Reply, Version};
use crate::workers::link::{Finding, InfoNumbers, Query, ServerNumbers};
use hashbrown::HashTable;
use std::hash::{BuildHasher, RandomState};

/// Who does not answer, if it is no worker: those count from 1.
pub(in crate::reactor) const SUPERVISOR: u32 = 0;

/// A command that asks, and what was found.
#[derive(Debug)]
pub(in crate::reactor) struct Ask {
    pub(in crate::reactor) query: Query,
    /// Under which its findings come; `None`: it waits for a place.
    pub(in crate::reactor) number: Option<u64>,
    /// Findings that are still to come.
    pub(in crate::reactor) outstanding: u32,
    /// Workers that do not answer, and [`SUPERVISOR`].
    pub(in crate::reactor) silent: Vec<u32>,
    pub(in crate::reactor) found: Found,
}

/// What was found so far.
#[derive(Debug)]
pub(in crate::reactor) enum Found {
    Sent(bool),
    State(Option<Presence>),
    Names(Names),
    Counts(Vec<u64>),
    Clients(Vec<u8>),
    Killed(u64),
    Info { sections: Vec<Vec<u8>>, numbers: Box<InfoNumbers>, server: ServerNumbers },
}

/// Names, each once, as the body of a reply.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Names {
    pub(in crate::reactor) body: Vec<u8>,
    /// Where each stands in the body.
    pub(in crate::reactor) places: HashTable<(usize, usize)>,
    hasher: RandomState,
}

impl Names {
    fn add(&mut self, name: &[u8]) {
        let Self { body, places, hasher } = self;
        let hash = hasher.hash_one(name);
        if places.find(hash, |&(begin, end)| body[begin..end] == *name).is_none() {
            Reply::new(body, Version::default()).bulk(name);
            let end = body.len() - b"\r\n".len();
            places.insert_unique(hash, (end - name.len(), end), |&(begin, end)| {
                hasher.hash_one(&body[begin..end])
            });
        }
    }
}

impl Ask {
    /// Of `workers` workers.
    pub(in crate::reactor) fn new(query: Query, sections: Vec<Vec<u8>>, workers: u32) -> Self {
        let found = match &query {
            Query::Send { .. } => Found::Sent(false),
            Query::State { .. } => Found::State(None),
            Query::Identities { .. } | Query::Channels { .. } => Found::Names(Names::default()),
            Query::Patterns => Found::Counts(vec![0]),
            Query::Subscribers { channels } => Found::Counts(vec![0; channels.len()]),
            Query::Clients { .. } => Found::Clients(Vec::new()),
            Query::Kill { .. } => Found::Killed(0),
            Query::Info => {
                let (numbers, server) = Default::default();
                Found::Info { sections, numbers, server }
            }
        };
        let outstanding = match &query {
            Query::Send { .. }
            | Query::State { .. }
            | Query::Identities { .. }
            | Query::Channels { .. }
            | Query::Patterns => 1,
            Query::Subscribers { .. } | Query::Clients { .. } | Query::Kill { .. } => workers,
            // The supervisor has numbers of its own.
            Query::Info => workers + 1,
        };
        Self { query, number: None, outstanding, silent: Vec::new(), found }
    }

    /// Whether it waits for somebody.
    pub(in crate::reactor) const fn is_waiting(&self) -> bool {
        self.outstanding > 0
    }

    /// Memory that it holds, in bytes.
    pub(in crate::reactor) fn memory(&self) -> usize {
        let found = match &self.found {
            Found::Names(names) => {
                names.body.capacity() + names.places.capacity() * size_of::<(usize, usize)>()
            }
            Found::Clients(lines) => lines.capacity(),
            Found::Counts(counts) => counts.capacity() * size_of::<u64>(),
            Found::Info { sections, .. } => sections.iter().map(Vec::capacity).sum(),
            Found::Sent(_) | Found::State(_) | Found::Killed(_) => 0,
        };
        found + self.query.memory()
    }

    /// The line that it stands in.
    pub(in crate::reactor) const fn line(&self) -> usize {
        matches!(self.found, Found::Names(_) | Found::Clients(_)) as usize
    }

    /// Adds a finding. Gives where the next page begins, if there is one.
    pub(in crate::reactor) fn add(&mut self, worker: u32, finding: Finding) -> Option<u32> {
        let mut more = None;
        match (&mut self.found, finding) {
            (_, Finding::Silent) => self.silent.push(worker),
            (Found::Sent(sum), Finding::Sent(sent)) => *sum = sent,
            (Found::State(state), Finding::State(found)) => *state = found,
            (Found::Names(sum), Finding::Names { names, next }) => {
                for name in &names {
                    sum.add(name);
                }
                more = next;
            }
            (Found::Counts(sums), Finding::Counts(counts)) => {
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
            (Found::Clients(sum), Finding::Clients { lines, next }) => {
                sum.extend_from_slice(&lines);
                more = next;
            }
            (Found::Killed(sum), Finding::Killed { count, next }) => {
                *sum += count;
                more = next;
            }
            (Found::Info { numbers: sum, .. }, Finding::Info(numbers)) => sum.add(*numbers),
            (Found::Info { server, .. }, Finding::Server(found)) => *server = found,
            // A worker without clients adds nothing, and nothing else fits the query.
            (_, _) => {}
        }
        if more.is_none() {
            self.outstanding -= 1;
        }
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_comes_twice_is_told_once() {
        let mut names = Names::default();
        for round in 0..2 {
            for number in 0..1000 {
                names.add(format!("name-{number}").as_bytes());
            }
            assert_eq!(names.places.len(), 1000, "in round {round}");
        }
        assert!(names.body.starts_with(b"$6\r\nname-0\r\n") && names.body.ends_with(b"$8\r\nname-999\r\n"));
    }

    #[test]
    fn an_answer_is_whole_when_all_have_found_something_or_will_not() {
        let filter = crate::protocol::resp::client::ClientFilter::All;
        let mut ask = Ask::new(Query::Clients { filter, from: None }, Vec::new(), 3);
        assert_eq!(ask.add(1, Finding::Clients { lines: b"a\n".to_vec(), next: Some(7) }), Some(7));
        assert_eq!(ask.add(2, Finding::Silent), None);
        assert_eq!(ask.add(3, Finding::Nothing), None);
        assert!(ask.is_waiting(), "the next page");
        assert_eq!(ask.add(1, Finding::Clients { lines: b"b\n".to_vec(), next: None }), None);
        assert!(!ask.is_waiting() && ask.silent == [2]);
        assert!(matches!(&ask.found, Found::Clients(lines) if lines == b"a\nb\n"));
        assert!(ask.memory() > 0);
    }
}
