//! What the admin interface answers, as values, and how they read over HTTP: of one process, and of several workers,
//! whose answers are values until all are there. Long answers, which are produced as they are taken, have only their
//! frame here.

mod ends;
pub mod events;
mod upstreams;

pub use ends::{ENDS_BEGIN, EndsTail, Kept};
pub use upstreams::{CheckReport, Said, ServerReport, UpstreamReport, upstreams, upstreams_of_workers};

use super::audit::Anomaly;
use super::metrics::TCP_STATES;
use crate::core::tcp::TcpState;
use crate::core::time::Duration;
use crate::core::units::span;
use crate::protocol::http::{Response, Status};
use serde_json::{Map, Value, json};
use std::fmt::{self, Display, Write as _};

/// Whether newcomers are served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// They are.
    Ready,
    /// The server goes away.
    Draining,
    /// A listener cannot accept.
    Blocked {
        /// Its name.
        listener: String,
        /// Why.
        why: String,
    },
}

impl Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Draining => f.write_str("draining"),
            Self::Blocked { listener, why } => write!(f, "listener {listener} cannot accept: {why}"),
        }
    }
}

impl Readiness {
    /// The response of one process.
    pub fn response(&self) -> Response<'static> {
        let status = if *self == Self::Ready { Status::Ok } else { Status::Unavailable };
        Response::text(status, format!("{self}\n"))
    }

    /// The response of several workers, each with its number, some of which do not answer.
    pub fn of_workers(answers: &[(u32, Self)], unanswered: &[u32]) -> Response<'static> {
        let mut text = String::new();
        for (number, readiness) in answers.iter().filter(|(_, readiness)| *readiness != Self::Ready) {
            let _ = writeln!(text, "worker {number}: {readiness}");
        }
        for number in unanswered {
            let _ = writeln!(text, "worker {number}: does not answer");
        }
        if text.is_empty() { Self::Ready.response() } else { Response::text(Status::Unavailable, text) }
    }
}

/// What came of the request to end a connection, with its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It is being ended.
    Begun(String),
    /// There is no such connection any more.
    Gone(String),
}

impl Ending {
    /// The response.
    pub fn response(&self) -> Response<'static> {
        match self {
            Self::Begun(name) => {
                Response::text(Status::Accepted, format!("connection {name} is being ended\n"))
            }
            Self::Gone(name) => Response::text(Status::NotFound, format!("connection {name} is gone\n")),
        }
    }
}

/// What comes of ending many connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndingMany {
    /// Those that are meant end within this time.
    Begun(Duration),
    /// So many orders to end connections are carried out no further.
    Stopped(u64),
    /// Too many are under way.
    TooMany,
}

impl EndingMany {
    /// What comes of it at several workers; `None`: none has answered.
    pub fn of_workers(answers: impl Iterator<Item = Self>) -> Option<Self> {
        answers.reduce(|all, one| match (all, one) {
            (Self::Stopped(all), Self::Stopped(one)) => Self::Stopped(all.max(one)),
            (Self::TooMany, _) | (_, Self::TooMany) => Self::TooMany,
            (all, _) => all,
        })
    }

    /// The response; some workers may not have answered.
    pub fn response(&self, unanswered: &[u32]) -> Response<'static> {
        let (status, mut text) = match self {
            Self::Begun(over) if over.is_zero() => {
                (Status::Accepted, "the connections that are meant are being ended\n".to_owned())
            }
            Self::Begun(over) => (
                Status::Accepted,
                format!("the connections that are meant are being ended over {}\n", span(*over)),
            ),
            Self::Stopped(0) => (Status::Ok, "no connections were being ended\n".to_owned()),
            Self::Stopped(_) => (Status::Ok, "no more connections are ended\n".to_owned()),
            Self::TooMany => {
                let text = "too many orders to end connections are under way: stop=true ends them\n";
                (Status::Unavailable, text.to_owned())
            }
        };
        for worker in unanswered {
            let _ = writeln!(text, "worker {worker} does not answer, and its connections stay");
        }
        Response::text(status, text)
    }
}

/// The last audit of a process.
#[derive(Clone, PartialEq, Debug)]
pub struct AuditReport {
    /// The number of the worker; `None`: there is only one process.
    pub worker: Option<u32>,
    /// Between audits; `None`: there are none.
    pub interval_s: Option<f64>,
    /// What the last one found; `None`: none came to its end yet.
    pub last: Option<Audited>,
}

/// What an audit found.
#[derive(Clone, PartialEq, Debug)]
pub struct Audited {
    /// How long ago it ended.
    pub age_s: f64,
    /// How long it took.
    pub took_s: f64,
    /// The longest step of any audit since the start.
    pub step_max_s: f64,
    /// Sockets that were looked at.
    pub sockets: u64,
    /// Those of each listener.
    pub listeners: Vec<ListenerSockets>,
    /// How many of each kind of anomaly, in their order.
    pub anomalies: Vec<u32>,
    /// Some of them, one by one.
    pub examples: Vec<Example>,
}

/// The kernel's sockets of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerSockets {
    /// Its name.
    pub listener: String,
    /// How many, by [`TcpState`].
    pub states: Vec<u32>,
    /// Bytes written and not acknowledged by their peers.
    pub unsent_bytes: u64,
    /// Bytes received and not read.
    pub unread_bytes: u64,
}

/// An anomaly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Example {
    /// Its kind.
    pub kind: Anomaly,
    /// On which listener.
    pub listener: String,
    /// With whom.
    pub peer: String,
    /// The connection as a list names it, if it is one of ours.
    pub key: Option<String>,
    /// How many audits in a row have seen it.
    pub audits: u32,
}

impl AuditReport {
    /// The response of one process.
    pub fn response(&self) -> Response<'static> {
        Response::json(Status::Ok, format!("{}\n", self.value()))
    }

    /// The response of several workers, some of which do not answer.
    pub fn of_workers(reports: &[Self], unanswered: &[u32]) -> Response<'static> {
        let workers: Vec<_> = reports.iter().map(Self::value).collect();
        let body = json!({ "workers": workers, "unanswered_workers": unanswered });
        Response::json(Status::Ok, format!("{body}\n"))
    }

    fn value(&self) -> Value {
        let mut value = self.last.as_ref().map_or_else(|| json!({ "age_s": null }), Audited::value);
        value["interval_s"] = self.interval_s.into();
        if let Some(worker) = self.worker {
            value["worker"] = worker.into();
        }
        value
    }
}

impl Audited {
    fn value(&self) -> Value {
        let anomalies: Map<_, _> = Anomaly::ALL
            .iter()
            .zip(&self.anomalies)
            .map(|(anomaly, count)| (anomaly.name().to_owned(), (*count).into()))
            .collect();
        json!({
            "age_s": self.age_s,
            "took_s": self.took_s,
            "slice_max_s": self.step_max_s,
            "sockets": self.sockets,
            "listeners": self.listeners.iter().map(ListenerSockets::value).collect::<Vec<_>>(),
            "anomalies": anomalies,
            "found": self.examples.iter().map(Example::value).collect::<Vec<_>>(),
        })
    }
}

impl ListenerSockets {
    fn value(&self) -> Value {
        let count = |state: TcpState| self.states.get(state as usize).copied().unwrap_or_default();
        let states: Map<_, _> =
            TCP_STATES.iter().map(|state| (state.name().to_owned(), count(*state).into())).collect();
        json!({
            "listener": self.listener,
            "states": states,
            "unsent_bytes": self.unsent_bytes,
            "unread_bytes": self.unread_bytes,
        })
    }
}

impl Example {
    fn value(&self) -> Value {
        json!({
            "kind": self.kind.name(),
            "listener": self.listener,
            "peer": self.peer,
            "key": self.key,
            "audits": self.audits,
        })
    }
}

/// What stands before the rows of a list of connections.
pub const LIST_BEGIN: &str = "{\"connections\":[";

/// Appends what stands behind the rows. `unanswered`: the workers whose rows are missing; `None`: there are no workers.
pub fn end_list(listed: u64, matched: u64, unanswered: Option<&[u32]>, out: &mut String) {
    let _ = write!(out, "],\"listed\":{listed},\"matched\":{matched}");
    end_with(unanswered, out);
}

/// Appends the last field of a list, if there are workers, and its end.
fn end_with(unanswered: Option<&[u32]>, out: &mut String) {
    if let Some(unanswered) = unanswered {
        let _ = write!(out, ",\"unanswered_workers\":{}", json!(unanswered));
    }
    out.push_str("}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_are_not_ready_are_named() {
        let blocked = Readiness::Blocked { listener: "resp".to_owned(), why: "no descriptors".to_owned() };
        let answers = [(1, Readiness::Ready), (2, blocked)];
        let response = Readiness::of_workers(&answers, &[3]);
        assert_eq!(response.status, Status::Unavailable);
        assert_eq!(
            response.body,
            "worker 2: listener resp cannot accept: no descriptors\nworker 3: does not answer\n"
        );
        assert_eq!(Readiness::of_workers(&answers[..1], &[]), Readiness::Ready.response());
    }

    #[test]
    fn audits_of_workers_stand_side_by_side() {
        let none = AuditReport { worker: Some(2), interval_s: Some(0.5), last: None };
        let mut anomalies = vec![0; Anomaly::ALL.len()];
        anomalies[Anomaly::Missing as usize] = 7;
        let example = Example {
            kind: Anomaly::Missing,
            listener: "echo".to_owned(),
            peer: "[::1]:7".to_owned(),
            key: Some("1.0-1".to_owned()),
            audits: 2,
        };
        let mut states = vec![0; TcpState::ALL.len()];
        states[TcpState::Established as usize] = 3;
        let sockets =
            ListenerSockets { listener: "echo".to_owned(), states, unsent_bytes: 4, unread_bytes: 5 };
        let one = AuditReport {
            worker: Some(1),
            interval_s: None,
            last: Some(Audited {
                age_s: 1.5,
                took_s: 0.25,
                step_max_s: 0.125,
                sockets: 3,
                listeners: vec![sockets],
                anomalies,
                examples: vec![example],
            }),
        };
        let response = AuditReport::of_workers(&[one, none], &[3]);
        let value: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(value["unanswered_workers"], json!([3]));
        assert_eq!(value["workers"][1], json!({ "age_s": null, "interval_s": 0.5, "worker": 2 }));
        let first = &value["workers"][0];
        assert_eq!(
            (&first["worker"], &first["interval_s"], &first["age_s"]),
            (&1.into(), &Value::Null, &1.5.into())
        );
        assert_eq!((&first["anomalies"]["missing"], &first["anomalies"]["unknown"]), (&7.into(), &0.into()));
        assert_eq!(first["listeners"][0]["states"]["ESTABLISHED"], 3);
        assert_eq!(
            first["found"],
            json!([{ "kind": "missing", "listener": "echo", "peer": "[::1]:7", "key": "1.0-1", "audits": 2 }])
        );
    }

    #[test]
    fn a_list_ends_with_what_is_missing() {
        let end = |unanswered: Option<&[u32]>| {
            let mut text = String::new();
            end_list(1, 2, unanswered, &mut text);
            text
        };
        assert_eq!(end(None), "],\"listed\":1,\"matched\":2}\n");
        assert_eq!(end(Some(&[])), "],\"listed\":1,\"matched\":2,\"unanswered_workers\":[]}\n");
        assert_eq!(end(Some(&[1, 3])), "],\"listed\":1,\"matched\":2,\"unanswered_workers\":[1,3]}\n");
    }
}
