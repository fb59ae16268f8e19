//! The health of upstream servers: what checks of them and clients find out, and what the operator says.
//!
//! What follows from a sign is for [`core::health`](crate::core::health) to say; how a check goes, for `parts/checks`. Here
//! checks are begun and ended. One timer stands for all of them, and where nothing is checked it is never set.

use super::Reactor;
use super::context::Context;
use super::parts::check::{Checked, Next, outcome_of};
use super::parts::checks::longest;
use super::parts::server::Server;
use super::parts::server_timers::ServerTimer;
use super::work::cost;
use crate::core::end::{Class, Reason};
use crate::core::health::{Change, Outcome, Sign};
use crate::core::time::{Duration, Instant};
use crate::net::{ConnectSpec, Kernel, Readiness, SocketOptions};
use crate::observe::answers::{CheckReport, Said, ServerReport, UpstreamReport};
use crate::observe::report::{self, ServerState};
use crate::protocol::admin::Spoken;

/// Checks that are begun in a turn, after a time in which none could be.
const BEGUN_PER_TURN: usize = 16;

impl<K: Kernel> Reactor<K> {
    /// The poller has something to say about a check.
    pub(super) fn on_check_ready(&mut self, number: u32, readiness: Readiness) {
        let Some(running) = self.cx.gateway.checks.get_mut(number) else {
            self.cx.observer.counters.stale_events += 1;
            return;
        };
        let of = running.of;
        let server = self.cx.gateway.upstreams[of.upstream].checked_mut(of.server, number);
        let could_be_own_peer = server.is_some_and(|server| server.could_be_own_peer());
        let next = running.on_ready(readiness, could_be_own_peer, &mut self.read_buffer);
        self.cx.after_check(number, next);
        self.cx.arm_checks();
    }

    /// Ends checks that have taken too long, and begins those that are due.
    pub(super) fn run_checks(&mut self) {
        // As with clients: the answer that a check waits for may be there unread, and after a stall of our own none is late.
        let (horizon, patient_until) = (self.cx.deadlines.horizon(), self.cx.deadlines.patient_until());
        while let Some(number) = self.cx.gateway.checks.late(horizon)
            && let Some(running) = self.cx.gateway.checks.get_mut(number)
        {
            if patient_until > self.cx.now {
                running.deadline = patient_until;
                continue;
            }
            let next = running.on_deadline(&mut self.read_buffer);
            self.cx.after_check(number, next);
        }
        if !self.cx.lifecycle.is_draining() {
            self.cx.begin_checks();
        }
        self.cx.arm_checks();
    }
}

impl<K: Kernel> Context<K> {
    fn begin_checks(&mut self) {
        let mut begun = 0;
        for upstream in self.gateway.upstreams.places() {
            for server in 0..self.gateway.upstreams[upstream].len() {
                let log = &self.gateway.upstreams[upstream].get(server).checks;
                if log.runs.is_none() && log.due.is_some_and(|due| due <= self.now) {
                    self.begin_check(upstream, server);
                    begun += 1;
                }
                if begun == BEGUN_PER_TURN {
                    return;
                }
            }
        }
    }

    fn begin_check(&mut self, upstream: u16, at: usize) {
        let servers = &mut self.gateway.upstreams[upstream];
        let check = servers.settings().is.check.clone();
        let due = self.now + self.gateway.checks.until_next(check.interval);
        let from = servers.next_source(at);
        let server = servers.get_mut(at);
        server.checks.due = Some(due);
        let options = SocketOptions { linger2: true, ..SocketOptions::default() };
        let spec = ConnectSpec { to: server.address(), from, options };
        self.work.charge(cost::ACCEPT);
        match self.kernel.connect(&spec, self.gateway.checks.next_token()) {
            Ok(stream) => {
                let of = Checked { upstream, server: at };
                server.checks.runs = Some(self.gateway.checks.add(of, check, stream, self.now));
            }
            Err(error) => self.on_outcome(upstream, at, outcome_of(error), Duration::ZERO),
        }
    }

    fn after_check(&mut self, number: u32, next: Next) {
        let Some(running) = self.gateway.checks.get_mut(number) else { return };
        let (of, took) = (running.of, self.now.since(running.begun));
        let server = self.gateway.upstreams[of.upstream].checked_mut(of.server, number);
        let is_still = server.is_some();
        let outcome = match next {
            Next::Wait => return,
            Next::Note(outcome) => {
                running.noted(self.now);
                Some(outcome)
            }
            Next::Close(how, outcome) => {
                self.gateway.checks.close(number, how);
                if let Some(server) = server {
                    server.checks.runs = None;
                }
                outcome
            }
        };
        if let Some(outcome) = outcome.filter(|_| is_still) {
            self.on_outcome(of.upstream, of.server, outcome, took);
        }
    }

    /// A check has its outcome.
    fn on_outcome(&mut self, upstream: u16, server: usize, outcome: Outcome, took: Duration) {
        self.gateway.upstreams[upstream].get_mut(server).checks.note(outcome, self.now, took);
        if let Some(sign) = outcome.sign() {
            self.on_sign(upstream, server, sign, outcome.name());
        }
    }

    /// Sees to it that checks are begun and ended in time. What is new is checked soon.
    pub(super) fn arm_checks(&mut self) {
        let mut next = Instant::NEVER;
        for upstream in self.gateway.upstreams.places() {
            let check = self.gateway.upstreams[upstream].settings().is.check.clone();
            for server in self.gateway.upstreams[upstream].all_mut() {
                let is_checked = check.is_on() && server.is_to_be_checked();
                let log = &mut server.checks;
                match log.due {
                    _ if !is_checked => log.due = None,
                    // The interval may have become shorter.
                    Some(due) => log.due = Some(due.min(self.now + longest(check.interval))),
                    None => log.due = Some(self.now + self.gateway.checks.until_first(check.interval)),
                }
                if log.runs.is_none() {
                    next = next.min(log.due.unwrap_or(Instant::NEVER));
                }
            }
        }
        if self.lifecycle.is_draining() {
            next = Instant::NEVER;
        }
        let deadlines = self.gateway.checks.iter().map(|running| running.deadline);
        self.timers.arm(ServerTimer::Checks, deadlines.min().unwrap_or(Instant::NEVER).min(next));
    }

    /// Something was seen of a server. `why`: what in particular.
    pub(super) fn on_sign(&mut self, upstream: u16, server: usize, sign: Sign, why: &'static str) {
        // Of most servers, nothing but good is ever seen.
        if !self.gateway.upstreams[upstream].get(server).health().is_confirmed_by(sign) {
            self.judge_sign(upstream, server, sign, why);
        }
    }

    #[inline(never)]
    fn judge_sign(&mut self, upstream: u16, server: usize, sign: Sign, why: &'static str) {
        if let Some(change) = self.gateway.upstreams[upstream].on_sign(server, sign, self.now) {
            self.report_server_state(upstream, server, change, sign.source(), why);
        }
    }

    /// The first byte of a server has come on a connection.
    pub(super) fn note_spoke(&mut self, upstream: u16, server: usize) {
        // Also if silence is no longer watched: the server may be down for an earlier one.
        self.on_sign(upstream, server, Sign::Spoke, "first_byte");
    }

    /// A connection has ended without a byte of the server, which was sent some.
    pub(super) fn note_mute(&mut self, upstream: u16, server: usize, reason: Reason) {
        // Others are our doing.
        if reason.class() == Class::Upstream
            && self.gateway.upstreams[upstream].settings().is.check.first_byte
        {
            self.on_sign(upstream, server, Sign::Mute, reason.name());
        }
    }

    fn report_server_state(&mut self, upstream: u16, server: usize, change: Change, by: &str, why: &str) {
        let servers = &self.gateway.upstreams[upstream];
        let state = ServerState {
            upstream: &servers.settings().name,
            server: servers.get(server).address(),
            change,
            by,
            reason: why,
            rules: servers.rules(),
            in_service: servers.in_service(),
        };
        self.observer.server_state(&state, self.now);
    }

    /// The operator says how a server is to be.
    pub(super) fn on_word(&mut self, spoken: &Spoken) -> Said {
        let Some(upstream) = self.gateway.upstreams.place_of(&spoken.upstream) else {
            return Said::NoUpstream(self.gateway.upstreams.names());
        };
        let servers = &mut self.gateway.upstreams[upstream];
        let Some(server) = servers.place_of(&spoken.server) else {
            let addresses = servers.iter().filter(|server| server.is_configured());
            return Said::NoServer(addresses.map(|server| server.address().to_string()).collect());
        };
        let change = servers.on_word(server, spoken.word, self.now);
        report::server_word(&spoken.upstream, &spoken.server, spoken.word);
        self.gateway.upstreams.remember(spoken);
        if let Some(change) = change {
            self.report_server_state(upstream, server, change, "operator", spoken.word.name());
        }
        self.arm_checks();
        let in_service = u32::try_from(self.gateway.upstreams[upstream].in_service()).unwrap_or(u32::MAX);
        Said::Done { word: spoken.word, in_service }
    }

    /// What the operator has said before this process started. The server may belong to a configuration that is still being
    /// read.
    pub(super) fn on_word_before(&mut self, spoken: &Spoken) {
        self.gateway.upstreams.remember(spoken);
        // One that holds no longer is not remembered.
        self.gateway.upstreams.hear(spoken, self.now);
        self.arm_checks();
    }

    /// How the servers of all upstreams are.
    pub(super) fn upstream_reports(&self) -> Vec<UpstreamReport> {
        let report = |upstream: u16| {
            let servers = &self.gateway.upstreams[upstream];
            UpstreamReport {
                name: servers.settings().name.clone(),
                servers: servers.iter().map(|server| self.server_report(server)).collect(),
            }
        };
        self.gateway.upstreams.places().map(report).collect()
    }

    fn server_report(&self, server: &Server) -> ServerReport {
        let health = server.health();
        ServerReport {
            address: server.address().to_string(),
            word: Some(health.word()),
            told_by: 1,
            up_for: u32::from(health.is_up()),
            down_by: health.down_by().map(|sign| sign.source().to_owned()),
            since_s: self.now.since(health.since()).as_secs_f64(),
            changes: health.changes(),
            weight: server.weight(),
            configured: server.is_configured(),
            connections: server.connections(),
            attempts: server.attempts(),
            failed: server
                .failed()
                .iter()
                .map(|(reason, count)| (reason.name().to_owned(), *count))
                .collect(),
            check: server.checks.last.map(|last| CheckReport {
                result: last.outcome.name().to_owned(),
                age_s: self.now.since(last.at).as_secs_f64(),
                took_s: last.took.as_secs_f64(),
            }),
        }
    }
}
