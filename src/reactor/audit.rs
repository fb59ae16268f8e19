//! The audit of ourselves: now and then the kernel's table of sockets is compared with our own. What is compared,
//! and what comes of it, is in [`audit::compare`](crate::observe::audit::compare); here it is driven, a bounded step a
//! turn, so that others are served in between.
//!
//! The steps: an index of our connections is made; the kernel is asked, and reads beside the loop; its rows are
//! taken as they come; the descriptors of connections that no row was seen of are asked; and what is found is
//! told, counted, and where policy says so ended. What an audit needs is given back when it is over.

use super::Reactor;
use super::connection::Connection;
use super::context::{Conn, Context};
use super::parts::audits::{Past, Running, Step, Todo};
use super::parts::link::WorkerLink;
use super::parts::listener::ListenerState;
use super::parts::proxied::ProxiedConnections;
use super::parts::server_timers::ServerTimer;
use crate::core::conn::Input;
use crate::core::conn::policy::AuditEnd;
use crate::core::end::{Detector, Leg, Reason};
use crate::core::table::{Key, Table};
use crate::core::tcp::{TcpState, TcpStates};
use crate::core::time::Instant;
use crate::net::{Address, Families, Kernel, Listener, Rows, SocketQuery, Stream};
use crate::observe::audit::Anomaly;
use crate::observe::audit::compare::{Comparison, Counts, Member, Place};
use crate::observe::report;
use std::net::SocketAddr;

/// Slots that are put into the index, or looked through for what is missing, in one step.
const SLOTS_PER_STEP: usize = 1024;
/// Slots that a question to a descriptor counts for, or an ending.
const CALL_SLOTS: usize = 32;

impl<K: Kernel> Reactor<K> {
    /// Starts an audit, unless there is nothing that the kernel's table could tell of: it has no unix sockets.
    #[cold]
    pub(super) fn begin_audit(&mut self) {
        let places: Vec<_> = self.cx.listeners.iter().map(ListenerState::place).collect();
        let tcp = || places.iter().flatten();
        let mut ports: Vec<_> = tcp().map(|place| place.address.port()).collect();
        ports.sort_unstable();
        ports.dedup();
        if ports.is_empty() || !self.cx.audits.are_over() {
            return;
        }
        let families = Families {
            ipv4: tcp().any(|place| place.address.is_ipv4()),
            ipv6: tcp().any(|place| place.address.is_ipv6()),
        };
        // Our listeners would only show their queues, which are watched anyway.
        let states = TcpStates::all_but(TcpState::Listen);
        let slots = self.table.slots_used();
        let before = self.cx.audits.take_memory();
        self.cx.audits.post(Box::new(Running {
            comparison: Comparison::new(self.cx.now, places, slots, self.table.len(), before)
                .among_workers(self.cx.worker.link().map(WorkerLink::judges_queues)),
            query: SocketQuery { ports, states, evidence: false },
            families,
            slots,
            step: Step::Index(0),
        }));
    }

    /// Makes one step of the audit under way.
    #[cold]
    #[inline(never)]
    pub(super) fn advance_audit(&mut self) {
        let begun = self.cx.kernel.now();
        match self.cx.audits.next_step() {
            Todo::Step(running) => self.step(running),
            Todo::End => self.end_some(),
            Todo::Nothing => return,
        }
        self.cx.audits.stepped(self.cx.kernel.now().since(begun));
    }

    fn step(&mut self, mut running: Box<Running>) {
        let slots = running.slots;
        match &mut running.step {
            Step::Index(next) if *next < slots => {
                let end = slots.min(*next + SLOTS_PER_STEP);
                for slot in *next..end {
                    running.comparison.index(slot_number(slot), |slot| {
                        member(&self.table, &self.cx.annotations.proxied, slot)
                    });
                }
                *next = end;
                self.cx.audits.post(running);
            }
            Step::Index(_) => match self.cx.kernel.start_sockets(&running.query, running.families) {
                Ok(()) => {
                    running.step = Step::Rows(Vec::new());
                    // It reports its rows by readiness.
                    self.cx.audits.wait(running);
                }
                Err(fatal) => self.refuse_audit(*running, &fatal),
            },
            Step::Rows(rows) => match self.cx.kernel.read_sockets(rows) {
                Ok(progress) => {
                    for row in rows.drain(..) {
                        running.comparison.row(&row, self.cx.now, |slot| {
                            member(&self.table, &self.cx.annotations.proxied, slot)
                        });
                    }
                    match progress {
                        Rows::Later => self.cx.audits.wait(running),
                        Rows::More => self.cx.audits.post(running),
                        Rows::Done => {
                            running.step = Step::Unseen(0);
                            self.cx.audits.post(running);
                        }
                    }
                }
                Err(fatal) => self.refuse_audit(*running, &fatal),
            },
            Step::Unseen(next) if *next < slots => {
                let mut budget = SLOTS_PER_STEP;
                while *next < slots && budget > 0 {
                    let slot = slot_number(*next);
                    *next += 1;
                    budget -= 1;
                    let Some(unseen) = running
                        .comparison
                        .is_unseen(slot, |slot| member(&self.table, &self.cx.annotations.proxied, slot))
                    else {
                        continue;
                    };
                    budget = budget.saturating_sub(CALL_SLOTS);
                    if self.is_closed(unseen.key) {
                        running.comparison.missing(&unseen);
                    }
                }
                self.cx.audits.post(running);
            }
            Step::Unseen(_) => self.conclude_audit(*running),
        }
    }

    /// Ends the next of those that the audit has found wrong.
    fn end_some(&mut self) {
        for _ in 0..SLOTS_PER_STEP / CALL_SLOTS {
            let Some((key, anomaly)) = self.cx.audits.next_to_end() else { break };
            match self.table.get(key) {
                // One that is being read has its end of file before it.
                Some(conn) if anomaly != Anomaly::Missing && !conn.is_paused() => self.read_once_more(key),
                Some(_) | None => self.drive(key, |cx, conn| cx.end_audited(key, conn, anomaly)),
            }
        }
        self.rest();
    }

    /// Until the next audit, or until the next turn if this one has something left to end.
    fn rest(&mut self) {
        if self.cx.audits.are_over() {
            self.cx.arm_audit();
        } else {
            self.cx.audits.note();
        }
    }

    /// The kernel's table cannot be read. That may pass: descriptors may be free again the next time.
    fn refuse_audit(&mut self, running: Running, fatal: &crate::net::Fatal) {
        self.cx.kernel.stop_sockets();
        self.cx.observer.counters.audits_failed += 1;
        if self.cx.audits.abandon(running.comparison.abandon()) {
            report::audit_refused(fatal);
        }
        self.cx.arm_audit();
    }

    /// Whether a connection's own descriptor says that the kernel has closed it.
    fn is_closed(&self, key: Key) -> bool {
        let Some(conn) = self.table.get(key) else { return false };
        let evidence = conn.stream.evidence();
        evidence.is_some_and(|evidence| evidence.is_closed()) && !self.cx.gateway.has_sent_fin(key, conn.leg)
    }

    /// Tells what was found, and goes on to what is to be ended.
    fn conclude_audit(&mut self, running: Running) {
        let begun = running.comparison.begun();
        let (mut outcome, memory) = running.comparison.conclude();
        self.cx.observer.counters.audited(&outcome.fresh);
        self.report_anomalies(&outcome.present);
        let mut ending = std::mem::take(&mut outcome.ours);
        ending.retain(|(key, anomaly)| self.table.get(*key).is_some_and(|conn| self.cx.ends(conn, *anomaly)));
        let past = Past { at: self.cx.now, took: self.cx.now.since(begun), outcome };
        self.cx.audits.conclude(past, memory, ending);
        self.rest();
    }

    /// Says of each kind when it has come, and when it has gone.
    fn report_anomalies(&mut self, present: &Counts) {
        for &anomaly in Anomaly::ALL {
            let count = present[anomaly as usize];
            let since = self.cx.audits.since(anomaly);
            match (count, *since) {
                (0, Some(begun)) => {
                    *since = None;
                    self.cx.observer.report.anomaly_gone(anomaly, self.cx.now.since(begun), self.cx.now);
                }
                (0, None) | (_, Some(_)) => {}
                (_, None) => {
                    *since = Some(self.cx.now);
                    self.cx.observer.report.anomaly(anomaly, count, self.cx.now);
                }
            }
        }
    }
}

impl<K: Kernel> Context<K> {
    /// Arms the next audit. Without an interval, or once the server goes away, there is none.
    pub(super) fn arm_audit(&mut self) {
        let interval = self.settings.audit.interval.filter(|_| !self.lifecycle.is_draining());
        self.timers.arm(ServerTimer::Audit, interval.map_or(Instant::NEVER, |interval| self.now + interval));
    }

    /// Stops the audit under way: a draining server does not need it.
    #[cold]
    pub(super) fn stop_audits(&mut self) {
        self.timers.arm(ServerTimer::Audit, Instant::NEVER);
        self.kernel.stop_sockets();
        self.audits.stop();
    }

    /// Whether policy ends a connection for what was found.
    fn ends(&self, conn: &Conn<K>, anomaly: Anomaly) -> bool {
        match self.listener_of(conn).policy.liveness.audit.end {
            AuditEnd::Nothing => false,
            AuditEnd::Missing => anomaly == Anomaly::Missing,
            AuditEnd::All => true,
        }
    }

    /// Ends a connection that an audit has found wrong, if it still is.
    fn end_audited(&mut self, key: Key, conn: &mut Conn<K>, anomaly: Anomaly) {
        if anomaly == Anomaly::Missing {
            let (reason, detector) = (Reason::LocalAudit, Detector::Audit);
            return self.apply(key, conn, Input::Failed { reason, detector });
        }
        let waits = conn.stream.evidence().is_some_and(|evidence| evidence.state == TcpState::CloseWait);
        if waits && !conn.is_ending() {
            self.abort(key, conn, Reason::LocalAudit, Detector::Audit);
        }
    }
}

fn slot_number(slot: usize) -> u32 {
    u32::try_from(slot).expect("descriptors are fewer than 2^32")
}

/// What an audit is to know of the connection in `slot`. One that we made is not among the sockets of a listener.
fn member<S>(table: &Table<Connection<S>>, proxied: &ProxiedConnections, slot: u32) -> Option<Member> {
    let (key, conn) = table.at(slot).filter(|(_, conn)| conn.leg != Some(Leg::Upstream))?;
    Some(Member {
        key,
        // The kernel knows the proxy alone.
        peer: proxied.sender(key).unwrap_or(conn.peer),
        listener: usize::from(conn.listener),
        accepted: conn.life.accepted(),
        ending: conn.is_ending(),
        bytes: conn.life.bytes_in.wrapping_add(conn.life.bytes_out),
    })
}

impl<L: Listener> ListenerState<L> {
    /// Where the kernel shows its sockets, if it does. A listener that a drain has closed still has connections.
    fn place(&self) -> Option<Place> {
        match self.address {
            Address::Tcp { socket, v6_only, .. } => Some(Place {
                // The kernel's table tells no scope.
                address: SocketAddr::new(socket.ip(), socket.port()),
                v6_only,
                close_wait: self.settings.policy.liveness.audit.close_wait,
            }),
            Address::Unix(_) => None,
        }
    }
}
