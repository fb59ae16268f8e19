//! A question about the clients of all workers, and what was found.

use crate::core::time::Duration;
use crate::hub::Presence;
use crate::protocol::numbers::{InfoNumbers, ServerNumbers};
use crate::protocol::server::{Contract, LastEnd};
use crate::protocol::{Encode, Encoding, Naming};
use crate::workers::link::{Finding, Query};
use hashbrown::HashTable;
use std::hash::{BuildHasher, RandomState};

/// A question, and what was found.
#[derive(Debug)]
pub(in crate::reactor) struct Ask {
    pub(in crate::reactor) query: Query,
    /// Under which its findings come; `None`: it waits for a place.
    pub(in crate::reactor) number: Option<u64>,
    /// Findings that are still to come.
    pub(in crate::reactor) outstanding: u32,
    /// Workers that do not answer, and [`SUPERVISOR`](crate::protocol::session::SUPERVISOR).
    pub(in crate::reactor) silent: Vec<u32>,
    pub(in crate::reactor) sum: Sum,
}

/// What was found so far.
#[derive(Debug)]
pub(in crate::reactor) enum Sum {
    Sent(bool),
    Named(Naming),
    State(Option<Presence>),
    LastEnd {
        state: Option<Presence>,
        last: Option<LastEnd>,
    },
    /// Where the holder of an identity comes from, if there is one, and what the identity is claimed with.
    Holder {
        from: Option<String>,
        claim: Claim,
    },
    Names(Names),
    Counts(Vec<u64>),
    Clients(Vec<u8>),
    Killed(u64),
    Info {
        asked: Vec<Vec<u8>>,
        numbers: Box<InfoNumbers>,
        server: ServerNumbers,
    },
}

/// What an identity is claimed with.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Claim {
    pub(in crate::reactor) beat: Option<Duration>,
    pub(in crate::reactor) server_ping: bool,
    pub(in crate::reactor) token: Box<[u8]>,
}

/// Names, each once, as the rows of an answer.
#[derive(Debug)]
pub(in crate::reactor) struct Names {
    encoding: Encoding,
    pub(in crate::reactor) rows: Vec<u8>,
    /// Where each stands in the rows.
    pub(in crate::reactor) places: HashTable<(usize, usize)>,
    hasher: RandomState,
}

impl Names {
    fn new(encoding: Encoding) -> Self {
        Self { encoding, rows: Vec::new(), places: HashTable::new(), hasher: RandomState::new() }
    }

    fn add(&mut self, name: &[u8]) {
        let Self { encoding, rows, places, hasher } = self;
        let hash = hasher.hash_one(name);
        if places.find(hash, |&(begin, end)| rows[begin..end] == *name).is_none() {
            let begin = encoding.name(name, rows);
            places.insert_unique(hash, (begin, begin + name.len()), |&(begin, end)| {
                hasher.hash_one(&rows[begin..end])
            });
        }
    }
}

impl Ask {
    /// Of `workers` workers, for who gets messages in that encoding.
    pub(in crate::reactor) fn new(query: Query, encoding: Encoding, workers: u32) -> Self {
        let sum = match &query {
            Query::Send { .. } => Sum::Sent(false),
            // A worker that has ended meanwhile had that connection.
            Query::Name { .. } => Sum::Named(Naming::Gone),
            Query::State { .. } => Sum::State(None),
            Query::LastEnd { .. } => Sum::LastEnd { state: None, last: None },
            Query::Holder { .. } => Sum::Holder { from: None, claim: Claim::default() },
            Query::Identities { .. } | Query::Channels { .. } => Sum::Names(Names::new(encoding)),
            Query::Patterns => Sum::Counts(vec![0]),
            Query::Subscribers { channels } => Sum::Counts(vec![0; channels.len()]),
            Query::Clients { .. } => Sum::Clients(Vec::new()),
            Query::Kill { .. } => Sum::Killed(0),
            Query::Info => {
                let (asked, numbers, server) = Default::default();
                Sum::Info { asked, numbers, server }
            }
        };
        let outstanding = match &query {
            query if query.worker().is_some() => 1,
            Query::Send { .. }
            | Query::Name { .. }
            | Query::State { .. }
            | Query::Holder { .. }
            | Query::Identities { .. }
            | Query::Channels { .. }
            | Query::Patterns => 1,
            Query::Subscribers { .. } | Query::Clients { .. } | Query::Kill { .. } => workers,
            // The supervisor has something of its own to say.
            Query::Info | Query::LastEnd { .. } => workers + 1,
        };
        Self { query, number: None, outstanding, silent: Vec::new(), sum }
    }

    /// What numbers are asked for.
    pub(in crate::reactor) fn numbers(&mut self, wanted: Vec<Vec<u8>>) {
        if let Sum::Info { asked, .. } = &mut self.sum {
            *asked = wanted;
        }
    }

    /// What an identity is claimed with, if nobody elsewhere holds it.
    pub(in crate::reactor) fn claim(&mut self, Contract { beat, server_ping, token }: Contract<'_>) {
        if let Sum::Holder { claim, .. } = &mut self.sum {
            *claim = Claim { beat, server_ping, token: token.into() };
        }
    }

    /// One that was answered: the numbers of a server of one process.
    pub(in crate::reactor) fn of_numbers(
        asked: Vec<Vec<u8>>,
        numbers: InfoNumbers,
        server: ServerNumbers,
    ) -> Self {
        let sum = Sum::Info { asked, numbers: numbers.into(), server };
        Self { query: Query::Info, number: None, outstanding: 0, silent: Vec::new(), sum }
    }

    /// Whether it waits for somebody.
    pub(in crate::reactor) const fn is_waiting(&self) -> bool {
        self.outstanding > 0
    }

    /// Memory that it holds, in bytes.
    pub(in crate::reactor) fn memory(&self) -> usize {
        let found = match &self.sum {
            Sum::Names(names) => {
                names.rows.capacity() + names.places.capacity() * size_of::<(usize, usize)>()
            }
            Sum::Clients(lines) => lines.capacity(),
            Sum::Counts(counts) => counts.capacity() * size_of::<u64>(),
            Sum::Info { asked, .. } => asked.iter().map(Vec::capacity).sum(),
            Sum::Holder { claim, .. } => claim.token.len(),
            Sum::Sent(_) | Sum::Named(_) | Sum::State(_) | Sum::LastEnd { .. } | Sum::Killed(_) => 0,
        };
        found + self.query.memory()
    }

    /// The line that it stands in.
    pub(in crate::reactor) const fn line(&self) -> usize {
        matches!(self.sum, Sum::Names(_) | Sum::Clients(_)) as usize
    }

    /// Adds a finding. Gives where the next page begins, if there is one.
    pub(in crate::reactor) fn add(&mut self, worker: u32, finding: Finding) -> Option<u32> {
        let mut more = None;
        match (&mut self.sum, finding) {
            (_, Finding::Silent) => self.silent.push(worker),
            (Sum::Sent(sum), Finding::Sent(sent)) => *sum = sent,
            (Sum::Named(sum), Finding::Named(naming)) => *sum = naming,
            (Sum::State(state) | Sum::LastEnd { state, .. }, Finding::State(found)) => *state = found,
            (Sum::LastEnd { last, .. }, Finding::LastEnd(found)) => {
                *last = last.iter().chain(&found).min_by_key(|end| end.ago_ms).copied();
            }
            (Sum::Holder { from, .. }, Finding::Holder(found)) => *from = found,
            (Sum::Names(sum), Finding::Names { names, next }) => {
                for name in &names {
                    sum.add(name);
                }
                more = next;
            }
            (Sum::Counts(sums), Finding::Counts(counts)) => {
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
            (Sum::Clients(sum), Finding::Clients { lines, next }) => {
                sum.extend_from_slice(&lines);
                more = next;
            }
            (Sum::Killed(sum), Finding::Killed { count, next }) => {
                *sum += count;
                more = next;
            }
            (Sum::Info { numbers: sum, .. }, Finding::Info(numbers)) => sum.add(*numbers),
            (Sum::Info { server, .. }, Finding::Server(found)) => *server = found,
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
    use crate::protocol::Protocol;
    use crate::protocol::clients::{ClientFilter, GlobalKey};

    /// That of any protocol with sessions.
    fn encoding() -> Encoding {
        Protocol::ALL.iter().find_map(|protocol| protocol.open()).unwrap().encoding()
    }

    #[test]
    fn a_name_that_comes_twice_is_told_once() {
        let encoding = encoding();
        let mut names = Names::new(encoding);
        for round in 0..2 {
            for number in 0..1000 {
                names.add(format!("name-{number}").as_bytes());
            }
            assert_eq!(names.places.len(), 1000, "in round {round}");
        }
        let mut row = Vec::new();
        encoding.name(b"name-999", &mut row);
        assert!(names.rows.ends_with(&row));
    }

    #[test]
    fn a_connection_of_a_worker_that_has_ended_has_ended_as_well() {
        let key = GlobalKey { worker: Some(2), index: 0, generation: 1 };
        let mut ask = Ask::new(Query::Name { key, id: b"a".to_vec() }, encoding(), 3);
        assert_eq!(ask.add(2, Finding::Nothing), None);
        assert!(!ask.is_waiting() && matches!(ask.sum, Sum::Named(Naming::Gone)));
        let filter = ClientFilter::Key(key);
        let mut ask = Ask::new(Query::Clients { filter, from: None }, encoding(), 3);
        assert_eq!(ask.add(2, Finding::Clients { lines: b"a\n".to_vec(), next: None }), None);
        assert!(!ask.is_waiting(), "nobody else was asked");
    }

    #[test]
    fn an_answer_is_whole_when_all_have_found_something_or_will_not() {
        let filter = ClientFilter::All;
        let mut ask = Ask::new(Query::Clients { filter, from: None }, encoding(), 3);
        assert_eq!(ask.add(1, Finding::Clients { lines: b"a\n".to_vec(), next: Some(7) }), Some(7));
        assert_eq!(ask.add(2, Finding::Silent), None);
        assert_eq!(ask.add(3, Finding::Nothing), None);
        assert!(ask.is_waiting(), "the next page");
        assert_eq!(ask.add(1, Finding::Clients { lines: b"b\n".to_vec(), next: None }), None);
        assert!(!ask.is_waiting() && ask.silent == [2]);
        assert!(matches!(&ask.sum, Sum::Clients(lines) if lines == b"a\nb\n"));
        assert!(ask.memory() > 0);
    }
}
