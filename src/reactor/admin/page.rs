//! Long answers, as cursors: the list of connections goes on from a slot of the table, the metrics from a step of their
//! page. A connection that was accepted or has ended meanwhile may be missing; each row is true when it is written.

use crate::core::conn::policy::HeartbeatStyle;
use crate::core::end::{Leg, Reason};
use crate::core::proxied::Proxied;
use crate::core::table::Key;
use crate::net::Address;
use crate::net::Kernel;
use crate::observe::answers::{AuditReport, Audited, Example, LIST_BEGIN, ListenerSockets, end_list};
use crate::observe::metrics::{
    self, AuditGauges, Census, CertificateGauges, Gauges, ListenerGauges, Samples, UpstreamGauges,
};
use crate::observe::report;
use crate::protocol::admin::ListQuery;
use crate::reactor::Reactor;
use crate::reactor::context::{Conn, Context};
use crate::reactor::parts::admin::{List, Metrics, Page, Produced};
use crate::reactor::parts::audits::Past;
use crate::reactor::parts::link::WorkerLink;
use crate::reactor::parts::server::Server;
use crate::tls::{self, Expiry};
use crate::workers::link::Rows;
use serde::Serialize;

/// To look at a connection, in bytes that cost as much to write.
pub(super) const LOOK_WORK: usize = 16;
/// To read what the host and the kernel tell of the process, and of each listener.
pub(super) const SNAPSHOT_WORK: usize = 8 * 1024;
const LISTENER_WORK: usize = 128;
/// To put together what an audit found: a hundred examples.
pub(super) const AUDIT_WORK: usize = 16 * 1024;

/// A row of a list, in the order of its keys.
#[derive(Serialize)]
struct Row<'a> {
    age_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    alpn: Option<String>,
    bytes_in: u64,
    bytes_out: u64,
    heartbeat: Option<Contract>,
    id: Option<&'a str>,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    leg: Option<&'static str>,
    listener: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pair: Option<String>,
    /// The other leg of its pair, while that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    partner: Option<String>,
    peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<&'a Proxied>,
    queue_bytes: usize,
    reading_paused: bool,
    /// Of a client leg: the server that it was connected to, or is being.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    silence_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sni: Option<String>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspect_for_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    /// What it would have ended for, if that was reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<u32>,
}

/// The heartbeat contract in force.
#[derive(Serialize)]
struct Contract {
    grace_s: f64,
    /// Whose it is.
    of: &'static str,
    timeout_s: f64,
}

impl<K: Kernel> Reactor<K> {
    /// Goes on with an answer, up to its share of work.
    pub(super) fn produce(
        &mut self,
        page: &mut Page,
        share: usize,
        work: &mut usize,
        out: &mut String,
    ) -> Produced {
        let is_done = match page {
            Page::Watch(watch) => return self.cx.watch_on(watch, share, work, out),
            Page::List(list) => self.list_on(list, share, work, out),
            Page::Ends(ends) => self.ends_on(ends, share, work, out),
            Page::Metrics(metrics) => self.metrics_on(metrics, share, work, |page, left| {
                let before = out.len();
                let done = page.write(left, out);
                (done, out.len() - before)
            }),
        };
        if is_done { Produced::All } else { Produced::Some }
    }

    /// A page of a list for the supervisor: from that slot on, and so many rows at most.
    pub(super) fn rows(
        &self,
        mut query: ListQuery,
        from: u32,
        rows: u32,
        share: usize,
        work: &mut usize,
    ) -> Rows {
        query.limit = query.limit.min(rows as usize);
        let mut list = List { query, slot: from, matched: 0, listed: 0, rows_only: true };
        let mut text = String::new();
        let done = self.list_on(&mut list, share, work, &mut text);
        let next = (!done).then_some(list.slot);
        Rows { text, matched: list.matched, next }
    }

    /// Goes on with metrics for the supervisor, as numbers; true once they are finished.
    pub(super) fn numbers_on(
        &mut self,
        metrics: &mut Metrics,
        share: usize,
        work: &mut usize,
        samples: &mut Vec<Samples>,
    ) -> bool {
        self.metrics_on(metrics, share, work, |page, left| (page.take(left, samples), left))
    }

    fn list_on(&self, list: &mut List, share: usize, work: &mut usize, out: &mut String) -> bool {
        if list.slot == 0 && !list.rows_only {
            out.push_str(LIST_BEGIN);
        }
        let mut spent = 0;
        if let Some(name) = list.query.key.take() {
            // One is looked up, not walked to.
            list.slot = u32::MAX;
            if let Some((key, conn)) =
                self.cx.worker.key_named(&name).and_then(|key| Some((key, self.table.get(key)?)))
            {
                self.cx.list_one(list, key, conn, out);
            }
        }
        while (list.slot as usize) < self.table.slots_used() {
            if spent + out.len() >= share {
                *work += spent + out.len();
                return false;
            }
            spent += LOOK_WORK;
            let slot = list.slot;
            list.slot += 1;
            if let Some((key, conn)) = self.table.at(slot) {
                self.cx.list_one(list, key, conn, out);
            }
        }
        if !list.rows_only {
            end_list(list.listed, list.matched, None, out);
        }
        *work += spent + out.len();
        true
    }

    /// `write` writes up to so many bytes of the page; gives whether that is all of it, and how many bytes it was.
    fn metrics_on(
        &mut self,
        page: &mut Metrics,
        share: usize,
        work: &mut usize,
        write: impl FnOnce(&mut metrics::Page, usize) -> (bool, usize),
    ) -> bool {
        let mut spent = 0;
        while (page.slot as usize) < self.table.slots_used() {
            if spent >= share {
                *work += spent;
                return false;
            }
            spent += LOOK_WORK;
            // Connections of the interface are no clients.
            if let Some((_, conn)) = self.table.at(page.slot).filter(|(_, conn)| conn.http().is_none()) {
                conn.count_in(&mut page.census);
            }
            page.slot += 1;
        }
        let census = page.census;
        let text = page.page.get_or_insert_with(|| {
            spent += SNAPSHOT_WORK + LISTENER_WORK * self.cx.listeners.len();
            Box::new(self.cx.metrics(census))
        });
        let (done, written) = write(text, share.saturating_sub(spent));
        *work += spent + written;
        done
    }
}

fn certificate(Expiry { file, at }: &Expiry) -> CertificateGauges {
    CertificateGauges { file: file.clone(), expires: *at }
}

impl<K: Kernel> Context<K> {
    /// Adds a connection to the list, if it passes the filters.
    fn list_one(&self, list: &mut List, key: Key, conn: &Conn<K>, out: &mut String) {
        if !self.is_listed(&list.query, key, conn) {
            return;
        }
        let listener = &self.listener_of(conn).name;
        let state = conn.life.state();
        let suspicion = state.suspicion();
        let identity = conn.membership().and_then(|membership| self.hub.identity_of(membership, key));
        list.matched += 1;
        if list.listed == list.query.limit as u64 {
            return;
        }
        if list.listed > 0 {
            out.push(if list.rows_only { '\n' } else { ',' });
        }
        list.listed += 1;
        let identity = identity.map(String::from_utf8_lossy);
        let secured = self.secured_of(key, conn);
        let pair = self.gateway.pairs.of(key);
        let partner = pair.zip(conn.leg).and_then(|(pair, leg)| pair.leg(leg.other()));
        let relayed = pair.filter(|_| conn.leg == Some(Leg::Client));
        let server =
            relayed.and_then(|pair| Some(self.gateway.upstreams[pair.to()].get(pair.server()?).address()));
        let row = Row {
            age_s: self.now.since(conn.life.accepted()).as_secs_f64(),
            alpn: secured.as_ref().and_then(|secured| secured.alpn_text()),
            bytes_in: conn.life.bytes_in,
            bytes_out: conn.life.bytes_out,
            heartbeat: self.contract(conn),
            id: identity.as_deref(),
            key: self.worker.name_of(key),
            leg: conn.leg.map(Leg::name),
            listener,
            pair: pair.map(|pair| self.worker.name_of(pair.name())),
            partner: partner.map(|partner| self.worker.name_of(partner)),
            peer: conn.peer.to_string(),
            proxy: self.annotations.proxied.of(key),
            queue_bytes: conn.pending_output(),
            reading_paused: conn.is_paused(),
            server: server.map(ToString::to_string),
            silence_s: self.now.since(conn.life.heard()).as_secs_f64(),
            sni: secured.and_then(|secured| secured.server_name.clone()),
            state: state.name(),
            suspect_for_s: suspicion.map(|(since, _)| self.now.since(since).as_secs_f64()),
            user: self.logged_in_as(conn),
            verdict: suspicion.and_then(|(_, reported)| reported).map(Reason::name),
            worker: self.worker.number(),
        };
        out.push_str(&serde_json::to_string(&row).expect("a row has neither maps nor anything that fails"));
    }

    /// Whether a connection passes the filters.
    pub(in crate::reactor) fn is_listed(&self, query: &ListQuery, key: Key, conn: &Conn<K>) -> bool {
        let age = || self.now.since(conn.life.accepted());
        let identity = || conn.membership().and_then(|membership| self.hub.identity_of(membership, key));
        let listener = self.listener_of(conn);
        let is_client = || listener.protocol.serves_clients() && conn.leg != Some(Leg::Upstream);
        query.wants(&listener.name, conn.life.state().name(), conn.peer.address())
            && (!query.clients || is_client())
            && query.age_over.is_none_or(|over| age() > over)
            && (query.identity.is_none() || query.wants_identity(identity()))
    }

    /// What is agreed with a connection about its silence; none: nothing is.
    fn contract(&self, conn: &Conn<K>) -> Option<Contract> {
        let contract = conn.heartbeat(&self.policy_of(conn).liveness.heartbeat);
        let own = conn.client().is_some_and(|client| client.beat_ms > 0);
        (contract.style != HeartbeatStyle::Off).then_some(Contract {
            grace_s: contract.grace.as_secs_f64(),
            of: if own { "client" } else { "listener" },
            timeout_s: contract.timeout.as_secs_f64(),
        })
    }

    /// What is to be told of this moment.
    fn metrics(&mut self, census: Census) -> metrics::Page {
        self.watch_queues();
        // Shown as they are now, also where no queue fills.
        self.read_overflows();
        let hub = self.hub.gauges();
        let audit = self.audits.last();
        let listeners = self.listeners.iter().enumerate().map(|(index, slot)| ListenerGauges {
            name: slot.settings.name.clone(),
            protocol: slot.settings.protocol.name(),
            connections: slot.connections,
            queue: slot.queue(),
            stalled: slot.has_stalled(),
            tally: audit.map(|past| past.outcome.tallies[index]),
            certificates: slot.settings.tls.iter().flat_map(tls::Server::expiries).map(certificate).collect(),
        });
        let upstreams = self.gateway.upstreams.iter().filter(|servers| servers.is_shown()).map(|servers| {
            UpstreamGauges {
                name: servers.settings().name.clone(),
                servers: servers.iter().map(Server::gauges).collect(),
                resolve_failures: servers.names().failures(),
                certificate: servers.settings().tls.as_ref().and_then(tls::Client::expiry).map(certificate),
            }
        });
        let usage = self.kernel.usage();
        let (reloaded, sound) = self.lifecycle.reloaded();
        let since_reload = self.now.since(reloaded);
        let gauges = Gauges {
            census,
            connections_max: self.places.clients_max(),
            buffered_bytes: self.pool.held(),
            buffered_bytes_max: self.pool.max(),
            identities: hub.identities,
            channels: hub.channels,
            patterns: hub.patterns,
            listeners: listeners.collect(),
            upstreams: upstreams.collect(),
            audit: audit.map(|past| AuditGauges {
                age_seconds: self.now.since(past.at).as_secs_f64(),
                seconds: past.took.as_secs_f64(),
                step_seconds_max: self.audits.step_max().as_secs_f64(),
            }),
            uptime_seconds: self.now.since(self.lifecycle.started()).as_secs_f64(),
            draining: self.lifecycle.is_draining(),
            log_lines_dropped: report::lines_dropped_total(),
            relays_dropped: self.worker.link().map(WorkerLink::dropped),
            usage,
            reload_successful: sound,
            reload_seconds: usage.map(|usage| usage.unix_time.saturating_sub(since_reload).as_secs_f64()),
        };
        metrics::Page::new(self.observer.counters.clone(), gauges)
    }

    /// What the last audit found.
    pub(super) fn audit(&self) -> AuditReport {
        AuditReport {
            worker: self.worker.number(),
            interval_s: self.settings.audit.interval.map(|interval| interval.as_secs_f64()),
            last: self.audits.last().map(|past| self.audited(past)),
        }
    }

    fn audited(&self, past: &Past) -> Audited {
        let name = |listener: usize| self.listeners[listener].settings.name.clone();
        let outcome = &past.outcome;
        let tallies = outcome.tallies.iter().enumerate();
        let tallies =
            tallies.filter(|(listener, _)| matches!(self.listeners[*listener].address, Address::Tcp { .. }));
        let listeners = tallies.map(|(listener, tally)| ListenerSockets {
            listener: name(listener),
            states: tally.states.to_vec(),
            unsent_bytes: tally.unsent_bytes,
            unread_bytes: tally.unread_bytes,
        });
        let examples = outcome.examples.iter().map(|found| Example {
            kind: found.anomaly,
            listener: name(found.listener),
            peer: found.peer.to_string(),
            key: found.key.map(|key| self.worker.name_of(key)),
            audits: found.audits,
        });
        Audited {
            age_s: self.now.since(past.at).as_secs_f64(),
            took_s: past.took.as_secs_f64(),
            step_max_s: self.audits.step_max().as_secs_f64(),
            sockets: outcome.rows,
            listeners: listeners.collect(),
            anomalies: outcome.present.to_vec(),
            examples: examples.collect(),
        }
    }
}
