//! What is told of upstream servers, and what comes of the operator's word about one. Several workers see the same servers,
//! each for itself: what they count adds up, and where they do not agree that is said.

use crate::core::health::Word;
use crate::protocol::http::{Response, Status};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// An upstream, as a process sees it.
#[derive(Clone, PartialEq, Debug)]
pub struct UpstreamReport {
    /// Its name.
    pub name: String,
    /// Its servers, in their order.
    pub servers: Vec<ServerReport>,
}

/// One of its servers.
#[derive(Clone, PartialEq, Debug)]
pub struct ServerReport {
    /// Where it is.
    pub address: String,
    /// The operator's word. None: processes do not agree, as while one has just started.
    pub word: Option<Word>,
    /// How many processes tell of it, and how many of these take it for up.
    pub told_by: u32,
    /// See `told_by`.
    pub up_for: u32,
    /// What kind of sign has taken it down, if it is down.
    pub down_by: Option<String>,
    /// How long it is up or down, in seconds.
    pub since_s: f64,
    /// How often that has changed.
    pub changes: u64,
    /// Its share of the connections, beside the others.
    pub weight: u32,
    /// It is in the configuration.
    pub configured: bool,
    /// Connections to it.
    pub connections: u32,
    /// Connections that were begun on behalf of clients.
    pub attempts: u64,
    /// Those that came to nothing, by reason.
    pub failed: Vec<(String, u64)>,
    /// The last check, if there was one.
    pub check: Option<CheckReport>,
}

/// A check.
#[derive(Clone, PartialEq, Debug)]
pub struct CheckReport {
    /// What came of it.
    pub result: String,
    /// How long ago it ended, in seconds.
    pub age_s: f64,
    /// How long it took, in seconds.
    pub took_s: f64,
}

/// The response about all upstreams of a process.
pub fn upstreams(reports: &[UpstreamReport]) -> Response<'static> {
    let reports: Vec<_> = reports.iter().map(|report| report.value(false)).collect();
    Response::json(Status::Ok, format!("{}\n", json!({ "upstreams": reports })))
}

/// The response of several workers, some of which do not answer.
pub fn upstreams_of_workers(
    reports: impl IntoIterator<Item = Vec<UpstreamReport>>,
    unanswered: &[u32],
) -> Response<'static> {
    let mut merged: Vec<UpstreamReport> = Vec::new();
    for report in reports.into_iter().flatten() {
        match merged.iter_mut().find(|upstream| upstream.name == report.name) {
            Some(upstream) => upstream.merge(report),
            None => merged.push(report),
        }
    }
    let merged: Vec<_> = merged.iter().map(|report| report.value(true)).collect();
    let body = json!({ "upstreams": merged, "unanswered_workers": unanswered });
    Response::json(Status::Ok, format!("{body}\n"))
}

impl UpstreamReport {
    /// Another process tells of it, too.
    fn merge(&mut self, other: Self) {
        for report in other.servers {
            match self.servers.iter_mut().find(|server| server.address == report.address) {
                Some(server) => server.merge(report),
                None => self.servers.push(report),
            }
        }
    }

    fn value(&self, several: bool) -> Value {
        let servers: Vec<_> = self.servers.iter().map(|server| server.value(several)).collect();
        json!({ "name": self.name, "servers": servers })
    }
}

impl ServerReport {
    fn merge(&mut self, other: Self) {
        self.word = self.word.filter(|word| other.word == Some(*word));
        self.told_by += other.told_by;
        self.up_for += other.up_for;
        self.down_by = self.down_by.take().or(other.down_by);
        self.since_s = self.since_s.min(other.since_s);
        self.changes += other.changes;
        self.configured |= other.configured;
        self.connections += other.connections;
        self.attempts += other.attempts;
        for (reason, count) in other.failed {
            match self.failed.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, sum)) => *sum += count,
                None => self.failed.push((reason, count)),
            }
        }
        let age = |check: &Option<CheckReport>| check.as_ref().map_or(f64::INFINITY, |check| check.age_s);
        if age(&other.check) < age(&self.check) {
            self.check = other.check;
        }
    }

    const fn state(&self) -> &'static str {
        match self.up_for {
            0 => "down",
            up if up == self.told_by => "up",
            _ => "mixed",
        }
    }

    fn value(&self, several: bool) -> Value {
        let failed: Map<_, _> =
            self.failed.iter().map(|(reason, count)| (reason.clone(), (*count).into())).collect();
        let check = self
            .check
            .as_ref()
            .map(|check| json!({ "result": check.result, "age_s": check.age_s, "took_s": check.took_s }));
        let mut value = json!({
            "address": self.address,
            "state": self.state(),
            "operator": self.word.map_or("mixed", Word::name),
            "down_by": self.down_by,
            "since_s": self.since_s,
            "changes": self.changes,
            "weight": self.weight,
            "configured": self.configured,
            "connections": self.connections,
            "attempts": self.attempts,
            "failed": failed,
            "check": check,
        });
        if several {
            value["workers"] = self.told_by.into();
            value["workers_up"] = self.up_for.into();
        }
        value
    }
}

/// What came of the operator's word about a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// It holds.
    Done {
        /// What is said.
        word: Word,
        /// How many of its servers can get new connections now.
        in_service: u32,
    },
    /// There is no such upstream. Which there are.
    NoUpstream(Vec<String>),
    /// It has no such server. Which it has.
    NoServer(Vec<String>),
}

impl Said {
    /// The response, to who spoke of this server of this upstream.
    pub fn response(&self, upstream: &str, server: &str) -> Response<'static> {
        let list = |of: &[String]| if of.is_empty() { "none".to_owned() } else { of.join(", ") };
        match self {
            Self::Done { word, in_service } => {
                let what = match word {
                    Word::Ready => "gets connections as its checks and its clients find it",
                    Word::Drain => "gets no new connections; those that it has go on, and so do its checks",
                    Word::Down => "gets no new connections and no checks; the connections that it has go on",
                };
                let mut text = format!("{server} of {upstream} {what}\n");
                if *in_service == 0 && *word != Word::Ready {
                    let _ = writeln!(text, "no server of {upstream} is up and ready now");
                }
                Response::text(Status::Ok, text)
            }
            Self::NoUpstream(names) => Response::text(
                Status::NotFound,
                format!("there is no upstream {upstream:?}; there is {}\n", list(names)),
            ),
            Self::NoServer(addresses) => Response::text(
                Status::NotFound,
                format!("{upstream} has no server {server:?}; it has {}\n", list(addresses)),
            ),
        }
    }

    /// What several workers say: those that are about to take a new configuration may not know the server yet.
    pub fn of_workers(answers: impl IntoIterator<Item = Self>) -> Option<Self> {
        answers.into_iter().reduce(|one, other| match (one, other) {
            (Self::Done { word, in_service }, Self::Done { in_service: more, .. }) => {
                Self::Done { word, in_service: in_service.max(more) }
            }
            (done @ Self::Done { .. }, _) | (_, done @ Self::Done { .. }) => done,
            (Self::NoServer(has), _) | (_, Self::NoServer(has)) => Self::NoServer(has),
            (names @ Self::NoUpstream(_), Self::NoUpstream(_)) => names,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(address: &str, up: bool) -> ServerReport {
        ServerReport {
            address: address.to_owned(),
            word: Some(Word::Ready),
            told_by: 1,
            up_for: up.into(),
            down_by: (!up).then(|| "check".to_owned()),
            since_s: 8.0,
            changes: 1,
            weight: 2,
            configured: true,
            connections: 3,
            attempts: 10,
            failed: vec![("upstream.refused".to_owned(), 4)],
            check: None,
        }
    }

    fn told(servers: Vec<ServerReport>) -> Vec<UpstreamReport> {
        vec![UpstreamReport { name: "app".to_owned(), servers }]
    }

    fn value(response: &Response<'_>) -> Value {
        serde_json::from_str(&response.body).unwrap()
    }

    #[test]
    fn a_process_tells_of_its_servers() {
        let check = CheckReport { result: "refused".to_owned(), age_s: 1.5, took_s: 0.25 };
        let down = ServerReport { check: Some(check), ..server("10.0.0.5:9001", false) };
        let told = value(&upstreams(&told(vec![down])));
        let expected = json!({
            "address": "10.0.0.5:9001", "state": "down", "operator": "ready", "down_by": "check", "since_s": 8.0,
            "changes": 1, "weight": 2, "configured": true, "connections": 3, "attempts": 10,
            "failed": { "upstream.refused": 4 },
            "check": { "result": "refused", "age_s": 1.5, "took_s": 0.25 },
        });
        assert_eq!(told, json!({ "upstreams": [{ "name": "app", "servers": [expected] }] }));
    }

    #[test]
    fn what_workers_count_adds_up_and_where_they_differ_is_said() {
        let check = |age_s| Some(CheckReport { result: "passed".to_owned(), age_s, took_s: age_s });
        let one = vec![server("a:1", true), ServerReport { check: check(3.0), ..server("b:1", true) }];
        let mut failed = server("b:1", false);
        failed.failed = vec![("upstream.reset".to_owned(), 1), ("upstream.refused".to_owned(), 1)];
        let two = vec![
            server("a:1", true),
            ServerReport { check: check(2.0), since_s: 1.0, word: Some(Word::Drain), ..failed },
            server("c:1", false),
        ];
        let merged = value(&upstreams_of_workers([told(one), told(two)], &[3]));
        assert_eq!(merged["unanswered_workers"], json!([3]));
        let servers = merged["upstreams"][0]["servers"].as_array().unwrap();
        let of = |field: &str| servers.iter().map(|server| server[field].clone()).collect::<Vec<_>>();
        assert_eq!(of("state"), ["up", "mixed", "down"]);
        assert_eq!(of("operator"), ["ready", "mixed", "ready"]);
        assert_eq!(of("workers"), [2, 2, 1]);
        assert_eq!(of("workers_up"), [2, 1, 0]);
        assert_eq!(of("connections"), [6, 6, 3]);
        assert_eq!(of("attempts"), [20, 20, 10]);
        assert_eq!(of("since_s"), [8.0, 1.0, 8.0]);
        assert_eq!(of("failed")[1], json!({ "upstream.refused": 5, "upstream.reset": 1 }));
        assert_eq!(of("check")[1]["age_s"], 2.0);
    }

    #[test]
    fn the_operator_is_told_what_comes_of_a_word() {
        let done = |word, in_service| Said::Done { word, in_service };
        let text = |said: Said| said.response("app", "a:1").body.into_owned();
        assert!(text(done(Word::Drain, 1)).ends_with("and so do its checks\n"));
        assert!(text(done(Word::Down, 0)).ends_with("no server of app is up and ready now\n"));
        let no_server = || Said::NoServer(vec!["b:1".to_owned(), "c:1".to_owned()]);
        assert_eq!(text(no_server()), "app has no server \"a:1\"; it has b:1, c:1\n");
        let no_upstream = || Said::NoUpstream(Vec::new());
        assert_eq!(text(no_upstream()), "there is no upstream \"app\"; there is none\n");
        assert_eq!(no_upstream().response("app", "a:1").status, Status::NotFound);
        let merged = |answers: [Said; 2]| Said::of_workers(answers);
        assert_eq!(merged([done(Word::Drain, 0), done(Word::Drain, 2)]), Some(done(Word::Drain, 2)));
        assert_eq!(merged([no_server(), done(Word::Drain, 2)]), Some(done(Word::Drain, 2)));
        assert_eq!(merged([no_upstream(), no_server()]), Some(no_server()));
        assert_eq!(Said::of_workers([]), None);
    }
}
