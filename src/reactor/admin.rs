//! The admin interface: requests in, answers from the table and the counters out.

use super::Reactor;
use super::entry::{Connection, Session};
use super::posted::Effect;
use crate::audit::Anomaly;
use crate::end::{Detector, Reason};
use crate::metrics::{AuditGauges, Gauges, ListenerGauges, TCP_STATES, prometheus};
use crate::net::{Address, Kernel};
use crate::proto::http::{Method, Request, Response, Status};
use crate::proto::resp;
use crate::table::Key;
use serde_json::json;

/// Connections listed unless the query asks for another number, and at most: the list is made in one turn,
/// and nobody else is served meanwhile.
const LIST_DEFAULT: usize = 1_000;
const LIST_MAX: usize = 10_000;

const INDEX: &str = "linger admin interface\n\n\
    GET  /metrics                  Prometheus text\n\
    GET  /healthz                  200 while the loop turns\n\
    GET  /readyz                   503 while draining or unable to accept\n\
    GET  /connections              JSON; ?listener= &state= &identity= &peer= &limit=\n\
    GET  /audit                    JSON; the last audit of the kernel's sockets\n\
    POST /connections/{key}/end    ends one connection; the key is from the list\n";

impl<K: Kernel> Reactor<K> {
    /// Serves requests; the rest of a partial one is kept.
    pub(super) fn serve_http(&mut self, key: Key, fresh: &[u8]) {
        let mut held = self.take_queue(key);
        held.push(fresh);
        let mut replies = std::mem::take(&mut self.replies);
        let mut input = held.as_slice();
        while let Some(conn) = self.table.get_mut(key)
            && conn.life.state().cause().is_none()
            && !conn.paused
        {
            let Some(Session::Http(decoder)) = conn.session.as_deref_mut() else { break };
            match decoder.next_request(&mut input) {
                Ok(Some(request)) => {
                    self.apply(key, crate::conn::Input::Opened);
                    self.respond(&request, Some(key)).write(&request, &mut replies);
                    self.write(key, &replies);
                    replies.clear();
                    if !request.keep_alive {
                        // RFC 9112 9.6: after the last response it is the server that closes, and a client of
                        // HTTP/1.0 may read until it does. Only output that has not left yet is waited for.
                        let owing = self.table.get(key).is_some_and(|conn| conn.owed() > 0);
                        self.part(key, Reason::PeerGoodbye, Detector::Protocol, owing);
                    }
                }
                Ok(None) => break,
                Err(rejected) => {
                    rejected.write(&mut replies);
                    self.write(key, &replies);
                    replies.clear();
                    self.part(key, rejected.protocol_error().reason, Detector::Protocol, true);
                }
            }
        }
        // What follows the last request is nobody's; kept, it would grow until the deadline.
        let over = self.table.get(key).is_none_or(|conn| conn.life.state().cause().is_some());
        let rest = if over { 0 } else { input.len() };
        held.consume(held.len() - rest);
        self.keep_input(key, held, resp::Decoder::default());
        self.replies = replies;
    }

    /// `asks`: the connection that the request came on, if it is one of ours.
    pub(super) fn respond(&mut self, request: &Request, asks: Option<Key>) -> Response<'static> {
        // A web page can make a browser on this host send requests here; it cannot hide that it did.
        if request.origin.is_some() {
            return Response::text(Status::Forbidden, "requests from web pages are refused\n");
        }
        let reading = matches!(request.method, Method::Get | Method::Head);
        match (reading, request.path.as_str()) {
            (true, "/") => Response::text(Status::Ok, INDEX),
            (true, "/metrics") => Response::metrics(self.metrics()),
            (true, "/healthz") => Response::text(Status::Ok, "ok\n"),
            (true, "/readyz") => self.readiness(),
            (true, "/connections") => self.connections(request),
            (true, "/audit") => self.audit(),
            (false, path) if path.starts_with("/connections/") => self.end_connection(path, asks),
            (_, "/" | "/metrics" | "/healthz" | "/readyz" | "/connections" | "/audit") => {
                Response::text(Status::MethodNotAllowed, "this path is for reading: use GET\n")
            }
            (true, path) if path.starts_with("/connections/") => {
                Response::text(Status::MethodNotAllowed, "ending a connection is an action: use POST\n")
            }
            (_, path) => Response::text(Status::NotFound, format!("no such path: {path}\n\n{INDEX}")),
        }
    }

    fn readiness(&self) -> Response<'static> {
        if self.drain.is_some() {
            return Response::text(Status::Unavailable, "draining\n");
        }
        match self.unready() {
            Some((listener, why)) => {
                Response::text(Status::Unavailable, format!("listener {listener} cannot accept: {why}\n"))
            }
            None => Response::text(Status::Ok, "ready\n"),
        }
    }

    fn metrics(&mut self) -> String {
        self.watch_queues();
        let hub = self.hub.gauges();
        let listeners = self.listeners.iter().map(|slot| ListenerGauges {
            name: &slot.settings.name,
            protocol: slot.settings.protocol.name(),
            connections: slot.connections,
            queue: slot.queue(),
            stalled: slot.stalled_since.is_some(),
        });
        let gauges = Gauges {
            census: self.census(),
            connections_max: self.connections_max,
            identities: hub.identities,
            channels: hub.channels,
            patterns: hub.patterns,
            listeners: listeners.collect(),
            audit: self.audits.last().map(|past| AuditGauges {
                age_seconds: self.now.since(past.at).as_secs_f64(),
                seconds: past.took.as_secs_f64(),
                step_seconds_max: self.audits.step_max().as_secs_f64(),
                tallies: &past.outcome.tallies,
            }),
            uptime_seconds: self.now.since(self.started).as_secs_f64(),
            draining: self.drain.is_some(),
            relays_dropped: self.fellows.as_ref().map(|fellows| fellows.dropped()),
        };
        prometheus(&self.counters, &gauges)
    }

    /// The connections that pass the filters of the query.
    fn connections(&self, request: &Request) -> Response<'static> {
        let limit = match list_limit(request) {
            Ok(limit) => limit,
            Err(why) => return Response::text(Status::BadRequest, why),
        };
        let mut listed = Vec::new();
        let mut matched = 0usize;
        for (key, conn) in self.table.iter() {
            let identity = conn.resp().and_then(|resp| self.hub.identity_of(&resp.membership, key));
            let identity = identity.map(String::from_utf8_lossy);
            if !self.is_wanted(request, conn, identity.as_deref()) {
                continue;
            }
            matched += 1;
            if listed.len() < limit {
                listed.push(self.listed(key, conn, identity.as_deref()));
            }
        }
        let body = json!({ "matched": matched, "listed": listed.len(), "connections": listed });
        Response::json(Status::Ok, format!("{body}\n"))
    }

    /// Whether a connection passes the filters of a request for the list.
    fn is_wanted(&self, request: &Request, conn: &Connection<K::Stream>, identity: Option<&str>) -> bool {
        let is = |name: &str, value: &str| request.query_value(name).is_none_or(|wanted| wanted == value);
        let peer = conn.peer.address();
        let from = |wanted: &str| {
            peer.is_some_and(|peer| peer.to_string() == wanted || peer.ip().to_string() == wanted)
        };
        is("listener", &Self::listener_of(&self.listeners, conn).name)
            && is("state", conn.life.state().name())
            && is("identity", identity.unwrap_or_default())
            && request.query_value("peer").is_none_or(from)
    }

    /// A row of the list.
    fn listed(&self, key: Key, conn: &Connection<K::Stream>, identity: Option<&str>) -> serde_json::Value {
        json!({
            "key": self.name_of(key),
            "id": identity,
            "peer": conn.peer.to_string(),
            "listener": Self::listener_of(&self.listeners, conn).name,
            "state": conn.life.state().name(),
            "age_s": self.now.since(conn.life.accepted()).as_secs_f64(),
            "silence_s": self.now.since(conn.life.heard()).as_secs_f64(),
            "bytes_in": conn.life.bytes_in,
            "bytes_out": conn.life.bytes_out,
            "queue_bytes": conn.owed(),
            "reading_paused": conn.paused,
        })
    }

    /// What the last audit found.
    fn audit(&self) -> Response<'static> {
        let Some(past) = self.audits.last() else {
            let interval = self.settings.audit.interval.map(|interval| interval.as_secs_f64());
            return Response::json(
                Status::Ok,
                format!("{}\n", json!({ "age_s": null, "interval_s": interval })),
            );
        };
        let name = |listener: usize| self.listeners[listener].settings.name.as_str();
        let listeners: Vec<_> = (past.outcome.tallies.iter().enumerate())
            .filter(|(listener, _)| matches!(self.listeners[*listener].address, Address::Tcp { .. }))
            .map(|(listener, tally)| {
                let states: serde_json::Map<_, _> = TCP_STATES
                    .iter()
                    .map(|&(state, name)| (name.to_owned(), tally.states[state].into()))
                    .collect();
                json!({
                    "listener": name(listener),
                    "states": states,
                    "unsent_bytes": tally.unsent_bytes,
                    "unread_bytes": tally.unread_bytes,
                })
            })
            .collect();
        let anomalies: serde_json::Map<_, _> = Anomaly::ALL
            .iter()
            .map(|&anomaly| (anomaly.name().to_owned(), past.outcome.present[anomaly as usize].into()))
            .collect();
        let examples: Vec<_> = past
            .outcome
            .examples
            .iter()
            .map(|found| {
                json!({
                    "kind": found.anomaly.name(),
                    "listener": name(found.listener),
                    "peer": found.peer.to_string(),
                    "key": found.key.map(|key| self.name_of(key)),
                    "audits": found.audits,
                })
            })
            .collect();
        let body = json!({
            "age_s": self.now.since(past.at).as_secs_f64(),
            "interval_s": self.settings.audit.interval.map(|interval| interval.as_secs_f64()),
            "took_s": past.took.as_secs_f64(),
            "slice_max_s": self.audits.step_max().as_secs_f64(),
            "sockets": past.outcome.rows,
            "listeners": listeners,
            "anomalies": anomalies,
            "found": examples,
        });
        Response::json(Status::Ok, format!("{body}\n"))
    }

    /// Posts the ending of one connection. A key whose generation is gone ends nobody.
    fn end_connection(&mut self, path: &str, asks: Option<Key>) -> Response<'static> {
        let Some(text) = path.strip_prefix("/connections/").and_then(|rest| rest.strip_suffix("/end")) else {
            return Response::text(Status::NotFound, format!("no such path: {path}\n\n{INDEX}"));
        };
        let Ok(key) = text.parse::<Key>() else {
            return Response::text(
                Status::BadRequest,
                format!("{text:?} is not a key: it has the form 17-4711, as /connections lists it\n"),
            );
        };
        if self.table.get(key).is_none() {
            let name = self.name_of(key);
            return Response::text(Status::NotFound, format!("connection {name} is gone\n"));
        }
        self.posted.push_back(Effect::Leave {
            key,
            reason: Reason::LocalKicked,
            detector: Detector::Operator,
            by: asks.and_then(|asks| self.by(asks)),
        });
        Response::text(Status::Accepted, format!("connection {} is being ended\n", self.name_of(key)))
    }

    /// What the admin interface calls a connection: its key, with its worker before it if there are several.
    pub(super) fn name_of(&self, key: Key) -> String {
        self.fellows.as_ref().map_or_else(|| key.to_string(), |fellows| fellows.name_of(key))
    }
}

/// How many connections a request wants listed.
///
/// # Errors
/// What of its query is not understood.
fn list_limit(request: &Request) -> Result<usize, String> {
    let known = ["limit", "listener", "state", "identity", "peer"];
    if let Some((unknown, _)) = request.query.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        return Err(format!("unknown parameter {unknown}: known are {}\n", known.join(", ")));
    }
    match request.query_value("limit").map(str::parse) {
        None => Ok(LIST_DEFAULT),
        Some(Ok(limit)) if limit <= LIST_MAX => Ok(limit),
        Some(_) => Err(format!("limit must be a number up to {LIST_MAX}\n")),
    }
}
