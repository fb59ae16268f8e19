//! Questions to the admin interface of a worker, and their answers: their meaning and their bytes.

use super::wire::{lists, wire};
use crate::observe::metrics::{self, Samples, Series};

/// A question to the admin interface of a worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Comes back with the answer.
    pub number: u64,
    /// Something is to be done, rather than told: POST.
    pub act: bool,
    /// The path, decoded.
    pub path: String,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
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

wire!(struct Question { number, act, path, query, peer, from, rows });
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
        returns(&ToWorker::Ask(Question {
            number: u64::MAX,
            act: true,
            path: "/connections".to_owned(),
            query: vec![("limit".to_owned(), "2".to_owned()), (String::new(), "ü".to_owned())],
            peer: "127.0.0.1:9".to_owned(),
            from: 7,
            rows: u32::MAX,
        }));
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
