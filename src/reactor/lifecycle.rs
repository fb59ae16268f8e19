//! What the operator does to a running server: drain it, reload it, ask how it is.

use super::connection::Connection;
use super::context::{Conn, Context};
use super::parts::lifecycle::{Drained, Requested};
use super::parts::listener::{ListenerState, least_output_high};
use super::parts::pool::memory_bound;
use super::parts::server_timers::ServerTimer;
use super::{Flow, Reactor};
use crate::config::settings::Settings;
use crate::core::end::{Detector, Leg, Reason};
use crate::core::secret::Secret;
use crate::core::table::Key;
use crate::net::{Kernel, Signal};
use crate::observe::events::Kind;
use crate::observe::metrics::Census;
use crate::observe::report;
use crate::tls::{self, Expiry};
use serde_json::json;

impl<K: Kernel> Reactor<K> {
    pub(super) fn take_signals(&mut self) {
        while let Some(signal) = self.cx.kernel.next_signal() {
            self.on_signal(signal);
        }
    }

    pub(super) fn on_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Terminate => self.on_terminate(),
            Signal::Reload => self.request_settings(None),
            Signal::Report => self.report_state(),
            Signal::Child => {}
        }
    }

    /// The operator ends the server: when it has said for `drain.delay` that it is not ready.
    fn on_terminate(&mut self) {
        let delay = self.cx.settings.drain.delay;
        if !self.cx.lifecycle.put_off(delay) {
            return self.begin_drain();
        }
        report::drain_put_off(delay);
        self.cx.timers.arm(ServerTimer::Drain, self.cx.now + delay);
        self.cx.notify_stopping();
    }

    /// Begins to close all connections, spread over time so that the clients do not all come back at once. Accepts no more.
    /// What already waits in the accept queues is let in first: closing a listener resets it
    /// (`net/ipv4/inet_connection_sock.c: inet_csk_listen_stop`).
    pub(super) fn begin_drain(&mut self) {
        let (settings, slots) = (self.cx.settings.drain, self.table.slots_used());
        if !self.cx.lifecycle.begin_drain(self.cx.now, &settings, slots) {
            return report::drain_hurried(self.cx.places.clients());
        }
        self.cx.stop_audits();
        for slot in &mut self.cx.listeners {
            slot.begin_drain();
        }
        let clients = self.cx.places.clients();
        report::drain_begun(clients, settings.spread, settings.timeout);
        // Of several workers, their supervisor tells.
        if !self.cx.worker.has_others() {
            let fields = || json!({"connections": clients, "spread_s": settings.spread.as_secs_f64()});
            self.cx.note_event_of_server(Kind::Drain, fields);
        }
        self.cx.timers.arm(ServerTimer::Drain, self.cx.now);
        self.cx.notify_stopping();
    }

    /// Begins to close the next few.
    pub(super) fn drain_some(&mut self) {
        if self.cx.lifecycle.is_waiting_to_leave() {
            return;
        }
        if self.cx.lifecycle.is_put_off() {
            return self.begin_drain();
        }
        let used = self.table.slots_used();
        let Some((slots, next)) = self.cx.lifecycle.next_to_drain(self.cx.now, used) else { return };
        self.cx.timers.arm(ServerTimer::Drain, next);
        for index in slots {
            let index = u32::try_from(index).expect("descriptors are fewer than 2^32");
            if let Some((key, _)) = self.table.at(index) {
                self.drive(key, |cx, conn| cx.drain_one(key, conn));
            }
        }
    }

    /// Closes what is left, and sums up.
    pub(super) fn summary(&mut self) -> Drained {
        let clients = self.cx.lifecycle.left().unwrap_or_else(|| self.cx.places.clients());
        self.close_all_at_last(false);
        // Before their connections are closed, those who watch are told of all others.
        self.end_watches();
        self.close_all_at_last(true);
        self.cx.gateway.checks.close_all();
        self.cx.observer.report.summarize(self.cx.now);
        report::stopped(&self.cx.observer.counters, clients, self.cx.now.since(self.cx.lifecycle.started()));
        let spare = self.cx.lifecycle.spare(self.cx.now);
        Drained { accepted: self.cx.observer.counters.accepted(), left: clients, spare }
    }

    /// Whether the loop goes on. A worker of which events may have been asked closes what is left, and then waits a little
    /// until its supervisor has the last of them: there is nobody else to tell how its connections have ended.
    pub(super) fn conclude(&mut self) -> Flow {
        if self.cx.lifecycle.is_waiting_to_leave() {
            // Where the time for the drain was over, somebody may have come since.
            self.close_all_at_last(false);
            // Also where it ends now: what is not told any more is then known to be missing.
            if let Some(last) = self.cx.lifecycle.later_event(self.cx.observer.events.last_number()) {
                self.cx.notify_leaving(last);
            }
            let has_left = self.cx.lifecycle.has_left(self.cx.now);
            return if has_left { Flow::Finished } else { Flow::Continue };
        }
        let flow = self.cx.flow();
        if flow == Flow::Continue || !self.cx.worker.has_others() || !self.cx.observer.events.is_on() {
            return flow;
        }
        let left = self.cx.places.clients();
        self.close_all_at_last(false);
        let last = self.cx.observer.events.last_number();
        let deadline = self.cx.lifecycle.begin_leave(self.cx.now, left, last);
        self.cx.timers.arm(ServerTimer::Drain, deadline);
        self.cx.notify_leaving(last);
        Flow::Continue
    }

    /// Closes the connections of the admin interface, or all others.
    fn close_all_at_last(&mut self, of_admin: bool) {
        let all = self.table.iter().filter(|(_, conn)| conn.http().is_some() == of_admin);
        let keys: Vec<_> = all.map(|(key, _)| key).collect();
        for key in keys {
            self.close_at_last(key);
        }
    }

    /// Says goodbye, and closes without waiting for an answer.
    fn close_at_last(&mut self, key: Key) {
        let (reason, detector) = (Reason::LocalDrain, Detector::Policy);
        self.drive(key, |cx, conn| cx.close_gracefully(key, conn, reason, detector));
        // Unread input would turn the close into a reset, goodbye and all.
        self.read_once_more(key);
        self.drive(key, |cx, conn| {
            cx.flush_all(key, conn);
            cx.close_now(key, conn, reason, detector);
        });
    }

    /// Has the configuration read again. `file`: its text, where it was read already.
    pub(super) fn request_settings(&mut self, file: Option<Secret<String>>) {
        self.cx.lifecycle.service.on_reloading(&mut self.cx.kernel);
        if self.cx.lifecycle.request_settings(file) == Requested::Waits {
            report::reload_waits();
        }
        self.take_settings();
    }

    /// Takes the configuration that was read again, if it was.
    pub(super) fn take_settings(&mut self) {
        let Some(taken) = self.cx.lifecycle.take_settings(self.cx.now) else { return };
        match taken {
            Ok(new) => self.apply_settings(new),
            Err(mistakes) => {
                report::reload_refused(&mistakes);
                self.cx.note_event_of_server(
                    Kind::Reload,
                    || json!({"applied": false, "mistakes": mistakes.lines().count()}),
                );
            }
        }
        self.cx.lifecycle.service.on_reloaded(&mut self.cx.kernel);
    }

    /// Takes a configuration that was read after the one that it was made with.
    pub fn adopt(&mut self, newer: Settings) {
        self.apply_settings(newer);
    }

    /// Applies what can be applied to a running server; says what cannot.
    fn apply_settings(&mut self, new: Settings) {
        let mut notes = Vec::new();
        let guards: Vec<_> = self.cx.listeners.iter().map(|slot| slot.settings.guard.clone()).collect();
        for slot in &mut self.cx.listeners {
            match new.listeners.iter().find(|new| new.name == slot.settings.name) {
                Some(settings) => slot.adopt(settings, self.cx.now, &mut notes),
                None => notes.push(format!(
                    "listener {} is gone from the file and stays until a restart",
                    slot.settings.name
                )),
            }
        }
        for settings in &new.listeners {
            if !self.cx.listeners.iter().any(|slot| slot.settings.name == settings.name) {
                notes.push(format!("listener {} is new and needs a restart", settings.name));
            }
        }
        if new.log != self.cx.settings.log {
            notes.push("log filter and format need a restart".to_owned());
        }
        if new.server.workers != self.cx.settings.server.workers {
            notes.push("the number of workers needs a restart".to_owned());
        }
        self.cx.places.apply(&new.server);
        self.cx.observer.apply(&new, self.cx.now);
        let bound = memory_bound(&new.server, self.cx.kernel.memory(), self.cx.worker.count());
        self.cx.pool.set_max(bound);
        let interval = (self.cx.settings.audit.interval, new.audit.interval);
        self.cx.settings = new;
        self.cx.adopt_upstreams();
        self.cx.warn_of_expiries();
        self.cx.hand_out_tickets();
        self.cx.publishing.least_output_high = least_output_high(&self.cx.listeners);
        if interval.0 != interval.1 {
            self.cx.arm_audit();
        }
        self.adopt_guards(&guards);
        self.reschedule_all();
        self.cx.retry_accepts();
        report::reloaded(&notes);
        self.cx.note_event_of_server(Kind::Reload, || json!({"applied": true, "notes": notes}));
    }

    /// Deadlines may have come nearer: everyone's entry is looked at.
    fn reschedule_all(&mut self) {
        for (key, conn) in self.table.iter() {
            self.cx.schedule(key, conn);
        }
    }

    /// Counts the connections, one by one: for people and scrapers, who ask seldom.
    pub(super) fn census(&self) -> Census {
        let mut census = Census::default();
        for (_, conn) in self.table.iter().filter(|(_, conn)| conn.http().is_none()) {
            conn.count_in(&mut census);
        }
        census
    }

    fn report_state(&self) {
        report::state(&self.census(), &self.cx.observer.counters);
        for slot in &self.cx.listeners {
            report::listener_state(&slot.settings.name, slot.connections, slot.queue());
        }
    }
}

impl<K: Kernel> Context<K> {
    /// Says which certificates of ours are about to expire.
    pub(super) fn warn_of_expiries(&mut self) {
        let Some(usage) = self.kernel.usage() else { return };
        let now = usage.unix_time.as_secs();
        let soon = |expiry: &Expiry, of: report::CertificateOf<'_>| {
            if let Some(days) = expiry.few_days_left(now) {
                report::certificate_expires(of, &expiry.file, days);
            }
        };
        for slot in &self.listeners {
            let expiries = slot.settings.tls.iter().flat_map(tls::Server::expiries);
            for expiry in expiries {
                soon(expiry, report::CertificateOf::Listener(&slot.settings.name));
            }
        }
        for upstream in &self.settings.upstreams {
            let expiry = upstream.tls.as_ref().and_then(tls::Client::expiry);
            if let Some(expiry) = expiry {
                soon(expiry, report::CertificateOf::Upstream(&upstream.name));
            }
        }
    }

    /// A connection that was let in during a drain: told at once if its turn has passed.
    pub(super) fn drain_late(&mut self, key: Key, conn: &mut Conn<K>) {
        if self.lifecycle.has_drained(key.index) {
            self.drain_one(key, conn);
        }
    }

    /// Begins to close a client. The operator may use the admin interface until the last client has gone.
    fn drain_one(&mut self, key: Key, conn: &mut Conn<K>) {
        // An upstream leg ends with its client.
        if self.listener_of(conn).protocol.serves_clients() && conn.leg != Some(Leg::Upstream) {
            self.close_gracefully(key, conn, Reason::LocalDrain, Detector::Policy);
        }
    }

    /// Whether the loop goes on: a draining server stops when all clients have gone and none waits to be let
    /// in, or when time is up.
    pub(super) fn flow(&self) -> Flow {
        if !self.lifecycle.is_draining() {
            return Flow::Continue;
        }
        let mut listeners = self.listeners.iter().filter(|slot| slot.settings.protocol.serves_clients());
        let waiting = listeners.any(|slot| !slot.is_shut());
        // Even in a hurry, waiting newcomers are let in first: closing the listener would reset them.
        let letting_in = self.listeners.iter().any(ListenerState::wants_accept);
        let done = (self.places.clients() == 0 && self.places.upstreams() == 0 && !waiting)
            || self.lifecycle.is_over(self.now, letting_in);
        if done { Flow::Finished } else { Flow::Continue }
    }
}

impl<S> Connection<S> {
    /// Counts it, unless it has no place, or is no client's.
    pub(super) fn count_in(&self, census: &mut Census) {
        if self.is_refused() || self.leg == Some(Leg::Upstream) {
            return;
        }
        census.states[self.life.state().index()] += 1;
        census.pending_bytes += self.pending_output();
        census.paused += usize::from(self.is_paused());
    }
}
