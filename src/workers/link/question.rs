//! Questions of the supervisor's admin interface to a worker, and their answers: their meaning and their bytes.

use super::wire::{Fields, Malformed, Wire, lists, wire};
use crate::core::event::Kind as EventKind;
use crate::core::health::Word;
use crate::core::table::Key;
use crate::observe::answers::{
    AuditReport, Audited, CheckReport, Ending, EndingMany, Example, Kept, ListenerSockets, Readiness, Said,
    ServerReport, UpstreamReport,
};
use crate::observe::audit::Anomaly;
use crate::observe::events::Position;
use crate::observe::metrics::{Part, Samples, Series};
use crate::observe::ring::Place;
use crate::protocol::Naming;
use crate::protocol::admin::{
    Cursor, EndMany, EndsQuery, EventsQuery, Filter, ListQuery, PeerFilter, Spoken,
};

/// A question to a worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Comes back with the answer.
    pub number: u64,
    /// What is asked.
    pub about: About,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum About {
    /// Whether it serves newcomers.
    Readiness,
    /// Its metrics.
    Metrics,
    /// What its last audit found.
    Audit,
    /// A page of the list of its connections.
    Connections {
        /// The filters of the list.
        query: ListQuery,
        /// The slot of its table from which to go on.
        from: u32,
        /// How many rows are wanted at most.
        rows: u32,
    },
    /// A page of the list of its last endings.
    Ends {
        /// The filters of the list.
        query: EndsQuery,
        /// Where to go on; `None`: with the newest.
        from: Option<Place>,
        /// How many rows are wanted at most.
        rows: u32,
    },
    /// What happened behind the event of that number; if nothing has, it says so once when something has.
    Events {
        /// The filters of the list.
        query: EventsQuery,
        /// The last one that was read; `None`: the query says where to begin.
        from: Option<Position>,
    },
    /// A client of a gateway is to get an identity.
    Name {
        /// The key of the connection.
        key: Key,
        /// The identity.
        id: String,
    },
    /// A connection is to be ended.
    End {
        /// The key of the connection.
        key: Key,
        /// Who wants it: the peer at the supervisor's admin interface.
        peer: String,
    },
    /// Many connections are to be ended.
    EndMany {
        /// Which, and how.
        many: EndMany,
        /// Who wants it.
        peer: String,
    },
    /// Its upstream servers.
    Upstreams,
    /// The operator's word about one of them.
    Word(Spoken),
}

/// An answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// Of the question.
    pub number: u64,
    /// What is answered.
    pub content: Content,
}

/// What is answered.
#[derive(Clone, PartialEq, Debug)]
pub enum Content {
    /// Whether it serves newcomers.
    Readiness(Readiness),
    /// Some of its metrics.
    Metrics {
        /// The numbers.
        samples: Vec<Samples>,
        /// These are the last; else more follows unasked.
        last: bool,
    },
    /// What its last audit found.
    Audit(AuditReport),
    /// A page of the list of its connections.
    Rows(Rows),
    /// A page of the list of its last endings.
    Ends(EndRows),
    /// What happened.
    Events(EventRows),
    /// What comes of a connection that is to be ended.
    Ending(Ending),
    /// What comes of many that are to be ended.
    EndingMany(EndingMany),
    /// What came of giving a connection an identity.
    Named(Naming),
    /// Its upstream servers.
    Upstreams(Vec<UpstreamReport>),
    /// What comes of the operator's word.
    Said(Said),
}

/// A page of a list of connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rows {
    /// The rows in JSON, each on a line.
    pub text: String,
    /// Connections that passed the filters, on this page.
    pub matched: u64,
    /// The slot from which the next page goes on, if there is one.
    pub next: Option<u32>,
}

/// A page of a list of endings, the newest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndRows {
    /// The rows of this page, the newest first.
    pub rows: Vec<EndRow>,
    /// Where the next page goes on, if there is one.
    pub next: Option<Place>,
    /// How far back the list reaches.
    pub kept: Kept,
}

/// A row of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndRow {
    /// When it was, by the clock that all workers share.
    pub at: u64,
    /// Its number.
    pub number: u64,
    /// The row, in JSON.
    pub text: String,
}

/// Some of what happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventRows {
    /// They, in their order.
    pub rows: Vec<EventRow>,
    /// How far the worker has looked.
    pub read: Position,
    /// How many had been dropped before they were read; `None`: nobody knows, for they were of a process before this one.
    pub missed: Option<u64>,
    /// Of those, some between the last answer and this one: the reader was too slow, and no row is here.
    pub is_dropped: bool,
    /// There are more.
    pub more: bool,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventRow {
    /// Its number.
    pub number: u64,
    /// What it is.
    pub kind: EventKind,
    /// It, in JSON.
    pub text: String,
}

impl Content {
    /// Whether nothing follows it.
    pub const fn is_last(&self) -> bool {
        match self {
            Self::Metrics { last, .. } => *last,
            Self::Readiness(_)
            | Self::Audit(_)
            | Self::Rows(_)
            | Self::Ends(_)
            | Self::Events(_)
            | Self::Ending(_)
            | Self::EndingMany(_)
            | Self::Named(_)
            | Self::Upstreams(_)
            | Self::Said(_) => true,
        }
    }
}

wire!(struct Question { number, about });
wire!(enum About {
    0 Readiness,
    1 Metrics,
    2 Audit,
    3 Connections { query, from, rows },
    4 End { key, peer },
    5 Name { key, id },
    6 Upstreams,
    7 Word(spoken),
    8 Ends { query, from, rows },
    9 Events { query, from },
    10 EndMany { many, peer },
});
wire!(struct Spoken { upstream, server, word });
wire!(enum Word { 0 Ready, 1 Drain, 2 Down, });
wire!(struct ListQuery { limit, listener, state, identity, peer, key, age_over, clients });
wire!(enum EndMany { 0 Begin { query, over }, 1 Stop, });
wire!(enum EndingMany { 0 Begun(over), 1 Stopped(orders), 2 TooMany, });
wire!(enum PeerFilter { 0 Host(address), 1 Socket(address), 2 Unix, 3 Network(network), });
wire!(struct Filter { listener, identity, peer, key, reason });
wire!(struct EndsQuery { limit, filter, pairs, last_ns, before, after });
wire!(struct EventsQuery { filter, kinds, after });
wire!(struct Place { number, at, moves });

wire!(struct Answer { number, content });
wire!(enum Content {
    0 Readiness(readiness),
    1 Metrics { samples, last },
    2 Audit(report),
    3 Rows(rows),
    4 Ending(ending),
    5 Named(naming),
    6 Upstreams(reports),
    7 Said(said),
    8 Ends(page),
    9 Events(page),
    10 EndingMany(ending),
});
wire!(struct EventRows { rows, read, missed, is_dropped, more });
wire!(struct Position { number, place });
wire!(struct EventRow { number, kind, text });
wire!(enum EventKind {
    0 Opened, 1 Identified, 2 Suspect, 3 Revived, 4 Replaced, 5 Ended, 6 Stalled, 7 Drain, 8 Reload, 9 ServerUp,
    10 ServerDown, 11 WorkerStarted, 12 WorkerEnded, 13 Verdict,
});
wire!(struct EndRows { rows, next, kept });
wire!(struct EndRow { at, number, text });
wire!(struct Kept { kept, dropped, missed, reach_ms, from_start, bytes, last_number });
wire!(struct UpstreamReport { name, servers });
wire!(struct ServerReport {
    address, word, told_by, up_for, down_by, since_s, changes, weight, configured, connections, attempts, failed, check,
});
wire!(struct CheckReport { result, age_s, took_s });
wire!(enum Said { 0 Done { word, in_service }, 1 NoUpstream(names), 2 NoServer(addresses), });
wire!(struct Rows { text, matched, next });
wire!(enum Readiness { 0 Ready, 1 Draining, 2 Blocked { listener, why }, });
wire!(enum Ending { 0 Begun(name), 1 Gone(name), });

wire!(struct Samples { family, values });
wire!(struct Series { part, labels });
wire!(enum Part { 0 Value, 1 Bucket, 2 Sum, 3 Count, });

wire!(struct AuditReport { worker, interval_s, last });
wire!(struct Audited { age_s, took_s, step_max_s, sockets, listeners, anomalies, examples });
wire!(struct ListenerSockets { listener, states, unsent_bytes, unread_bytes });
wire!(struct Example { kind, listener, peer, key, audits });
wire!(enum Anomaly {
    0 QueueFull, 1 QueuedGhost, 2 QueuedLong, 3 Missing, 4 Unknown, 5 CloseWait, 6 Orphan, 7 FinWait2, 8 TimeWait,
    9 Unread, 10 Unacknowledged, 11 ZeroWindow, 12 Unwatched, 13 SynRecv,
    14 LateKeepalive,
});
impl Wire for Cursor {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Wire::take(fields).map(Self)
    }
}

lists!(
    Samples,
    (Series, f64),
    ListenerSockets,
    Example,
    UpstreamReport,
    ServerReport,
    EndRow,
    EventRow,
    (String, u64),
    (Option<u32>, u64),
    String
);

#[cfg(test)]
mod tests {
    use super::super::message::tests::returns;
    use super::super::{ToSupervisor, ToWorker};
    use super::*;
    use crate::core::time::Duration;

    #[test]
    fn questions_read_back() {
        let peer = PeerFilter::Host("::1".parse().unwrap());
        let (listener, state) = (Some("resp".to_owned()), None);
        let query = ListQuery {
            limit: 7,
            listener,
            state,
            identity: Some("ü".to_owned()),
            peer: Some(peer),
            key: None,
            age_over: Some(Duration::from_millis(1500)),
            clients: true,
        };
        let filter = Filter {
            listener: None,
            identity: Some("ü".to_owned()),
            peer: Some(PeerFilter::Network("10.0.0.0/8".parse().unwrap())),
            key: Some("1.7-1".to_owned()),
            reason: Some("lost.*".to_owned()),
        };
        let ends = EndsQuery {
            limit: 7,
            filter: filter.clone(),
            pairs: vec!["1.7-1".to_owned()],
            last_ns: Some(u64::MAX),
            before: Some(Cursor(vec![(Some(1), u64::MAX), (Some(2), 0)])),
            after: Some(Cursor(vec![(None, 7)])),
        };
        for about in [
            About::Readiness,
            About::Metrics,
            About::Audit,
            About::Connections { query: query.clone(), from: 7, rows: u32::MAX },
            About::Ends { query: ends, from: Some(Place { number: 9, at: 8, moves: u32::MAX }), rows: 7 },
            About::Events {
                query: EventsQuery { filter, kinds: u32::MAX, after: Some(Cursor(vec![(Some(0), 9)])) },
                from: Some(Position {
                    number: u64::MAX,
                    place: Some(Place { number: u64::MAX, at: 8, moves: 1 }),
                }),
            },
            About::End { key: Key { index: 17, generation: 4711 }, peer: "127.0.0.1:9".to_owned() },
            About::Name { key: Key { index: 17, generation: 4711 }, id: "dev".to_owned() },
            About::EndMany { many: EndMany::Stop, peer: "127.0.0.1:9".to_owned() },
            About::EndMany {
                many: EndMany::Begin { query: query.clone(), over: Duration::from_secs(60) },
                peer: String::new(),
            },
            About::Upstreams,
            About::Word(Spoken { upstream: "app".to_owned(), server: "::1".to_owned(), word: Word::Down }),
        ] {
            returns(&ToWorker::Ask(Question { number: u64::MAX, about }));
        }
    }

    #[test]
    fn answers_read_back() {
        let series = Series { part: Part::Sum, labels: "{a=\"b\"}".to_owned() };
        let samples = vec![Samples { family: 3, values: vec![(series, 0.1)] }];
        let text = || "ü".to_owned();
        let example = |kind: &Anomaly| Example {
            kind: *kind,
            listener: text(),
            peer: text(),
            key: Some(text()),
            audits: u32::MAX,
        };
        let listeners =
            vec![ListenerSockets { listener: text(), states: vec![0, 7], unsent_bytes: 1, unread_bytes: 2 }];
        let last = Audited {
            age_s: 0.5,
            took_s: 0.25,
            step_max_s: 0.125,
            sockets: 3,
            listeners,
            anomalies: vec![1, 0],
            examples: Anomaly::ALL.iter().map(example).collect(),
        };
        let servers = [None, Some(CheckReport { result: text(), age_s: 0.5, took_s: 0.25 })].map(|check| {
            ServerReport {
                address: text(),
                word: Some(Word::Ready),
                told_by: 1,
                up_for: 0,
                down_by: Some(text()),
                since_s: 0.75,
                changes: 1,
                weight: 2,
                configured: true,
                connections: 3,
                attempts: 4,
                failed: vec![(text(), 5)],
                check,
            }
        });
        let servers = servers.to_vec();
        for content in [
            Content::Readiness(Readiness::Ready),
            Content::Readiness(Readiness::Draining),
            Content::Readiness(Readiness::Blocked { listener: text(), why: text() }),
            Content::Metrics { samples, last: false },
            Content::Audit(AuditReport { worker: Some(2), interval_s: None, last: Some(last) }),
            Content::Audit(AuditReport { worker: None, interval_s: Some(0.5), last: None }),
            Content::Rows(Rows { text: text(), matched: 7, next: Some(u32::MAX) }),
            Content::Rows(Rows { text: String::new(), matched: 0, next: None }),
            Content::Ends(EndRows {
                rows: vec![EndRow { at: u64::MAX, number: 7, text: text() }],
                next: Some(Place { number: 6, at: 5, moves: 4 }),
                kept: Kept {
                    kept: 1,
                    dropped: 2,
                    missed: 3,
                    reach_ms: 4,
                    from_start: true,
                    bytes: 5,
                    last_number: 6,
                },
            }),
            Content::Events(EventRows {
                rows: EventKind::ALL.iter().map(|&kind| EventRow { number: 7, kind, text: text() }).collect(),
                read: Position { number: 7, place: None },
                missed: None,
                is_dropped: true,
                more: true,
            }),
            Content::Ending(Ending::Begun(text())),
            Content::Ending(Ending::Gone(text())),
            Content::EndingMany(EndingMany::Begun(Duration::from_millis(7))),
            Content::EndingMany(EndingMany::Stopped(7)),
            Content::EndingMany(EndingMany::TooMany),
            Content::Named(Naming::NotRelayed),
            Content::Upstreams(vec![UpstreamReport { name: text(), servers }]),
            Content::Said(Said::Done { word: Word::Drain, in_service: 1 }),
            Content::Said(Said::NoUpstream(Vec::new())),
            Content::Said(Said::NoServer(vec![text()])),
        ] {
            returns(&ToSupervisor::Answer(Answer { number: 4, content }));
        }
    }
}
