//! Questions to the admin interface of a worker, and their answers: their meaning and their bytes.

use super::wire::{lists, wire};
use crate::observe::metrics::{self, Samples, Series};
use crate::protocol::admin::{ListQuery, PeerFilter, Route};

/// A question to the admin interface of a worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Comes back with the answer.
    pub number: u64,
    /// What is asked.
    pub route: Route,
    /// Where it comes from: the peer at the supervisor's admin interface.
    pub peer: String,
    /// Of a list: the slot of the worker's table from which to go on.
    pub from: u32,
    /// Of a list: how many rows are wanted at most.
    pub rows: u32,
}

/// Which part of an answer it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// All of it, or the last part.
    Last,
    /// More follows unasked.
    More,
    /// A page of a list; what is behind it is asked for.
    Rows {
        /// Connections that passed the filters, on this page.
        matched: u64,
        /// Rows on it.
        listed: u64,
        /// From where the next page goes on, if there is one.
        next: Option<u32>,
    },
}

/// Its answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// Of the question.
    pub number: u64,
    /// Status of HTTP.
    pub status: u16,
    /// The body, where that is made of text.
    pub body: String,
    /// Metrics.
    pub samples: Vec<Samples>,
    /// How much of it this is.
    pub part: Part,
}

wire!(struct Question { number, route, peer, from, rows });
wire!(enum Route { 0 Index, 1 Health, 2 Ready, 3 Metrics, 4 Audit, 5 Connections(query), 6 End(key), });
wire!(struct ListQuery { limit, listener, state, identity, peer });
wire!(enum PeerFilter { 0 Host(address), 1 Socket(address), 2 Nobody, });
wire!(struct Answer { number, status, body, samples, part });
wire!(struct Samples { family, values });
wire!(struct Series { part, labels });
wire!(enum metrics::Part { 0 Value, 1 Bucket, 2 Sum, 3 Count, });
lists!(Samples, (Series, f64));
wire!(enum Part { 0 Last, 1 More, 2 Rows { matched, listed, next }, });

#[cfg(test)]
mod tests {
    use super::super::message::tests::returns;
    use super::super::{ToSupervisor, ToWorker};
    use super::*;

    #[test]
    fn questions_and_answers_read_back() {
        let peer = PeerFilter::Host("::1".parse().unwrap());
        let (listener, state) = (Some("resp".to_owned()), None);
        let list = ListQuery { limit: 7, listener, state, identity: Some("ü".to_owned()), peer: Some(peer) };
        for route in [Route::Metrics, Route::Connections(list), Route::End("17-4711".to_owned())] {
            returns(&ToWorker::Ask(Question {
                number: u64::MAX,
                route,
                peer: "127.0.0.1:9".to_owned(),
                from: 7,
                rows: u32::MAX,
            }));
        }
        for next in [None, Some(0), Some(u32::MAX)] {
            for part in [Part::Last, Part::More, Part::Rows { matched: 7, listed: 2, next }] {
                let series = Series { part: metrics::Part::Sum, labels: "{a=\"b\"}".to_owned() };
                let samples = vec![Samples { family: 3, values: vec![(series, 0.1)] }];
                let body = "ok\n".to_owned();
                returns(&ToSupervisor::Answer(Answer { number: 4, status: 200, body, samples, part }));
            }
        }
    }
}
