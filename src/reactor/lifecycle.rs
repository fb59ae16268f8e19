//! What the operator does to a running server: drain it, reload it, ask how it is.

use super::accept::{AcceptState, ListenerState, least_output_high};
use super::connection::Connection;
use super::context::{Conn, Context};
use super::{Flow, Reactor, memory};
use crate::config::settings::{ListenerSettings, Settings};
use crate::core::end::{Detector, Reason};
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::net::{Kernel, Listener, Signal};
use crate::observe::metrics::Census;
use crate::observe::report;

/// Reads the configuration again, beside the loop: a disk may hang, and a long file takes its time.
pub trait Reload {
    /// Begins to. `file`: its text, where somebody has read that already. While an earlier request is under way, it is
    /// remembered, and follows it.
    fn request(&mut self, file: Option<String>) -> Requested;

    /// What has come of it, once it is there: the new settings, or all that is wrong with them. To be asked for after
    /// each [`request`](Self::request), and when [`Token::ASIDE`](crate::net::Token::ASIDE) is ready.
    fn take(&mut self) -> Option<Result<Settings, String>>;
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Requested {
    /// It is under way, or done.
    Begun,
    /// Its time comes after the earlier one.
    Waits,
}

/// When the configuration was last read, and whether it was sound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reloaded {
    pub(super) at: Instant,
    pub(super) successful: bool,
}

/// Steps in which a drain is spread: more would only wake the loop more often.
const DRAIN_STEPS: usize = 100;

/// A server that is going away.
#[derive(Debug)]
pub(super) struct Drain {
    /// When it exits, whoever is left.
    deadline: Instant,
    /// Time between two steps.
    step: Duration,
    /// Slots per step.
    stride: usize,
    /// The next slot to part from.
    cursor: usize,
    /// A second signal came.
    at_once: bool,
}

/// How a server's life ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drained {
    /// Connections accepted in its life.
    pub accepted: u64,
    /// Clients that had not parted in time and were closed on.
    pub left: u32,
    /// What was left of the time for the drain.
    pub spare: Duration,
}

impl<K: Kernel> Reactor<K> {
    pub(super) fn take_signals(&mut self) {
        while let Some(signal) = self.cx.kernel.next_signal() {
            self.on_signal(signal);
        }
    }

    pub(super) fn on_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Terminate => self.begin_drain(),
            Signal::Reload => self.request_settings(None),
            Signal::Report => self.report_state(),
            Signal::Child => {}
        }
    }

    /// Parts from everyone, spread over time so that they do not all come back at once, and accepts no more.
    /// What already waits in the accept queues is let in first: closing a listener resets it
    /// (`net/ipv4/inet_connection_sock.c: inet_csk_listen_stop`).
    pub(super) fn begin_drain(&mut self) {
        if let Some(drain) = &mut self.cx.drain {
            report::drain_hurried(self.cx.clients);
            drain.at_once = true;
            return;
        }
        self.cx.stop_audits();
        for slot in &mut self.cx.listeners {
            slot.accepting.empty();
        }
        let settings = self.cx.settings.drain;
        report::drain_begun(self.cx.clients, settings.spread, settings.timeout);
        let slots = self.table.slots_used();
        let steps = slots.clamp(1, DRAIN_STEPS);
        self.cx.drain = Some(Drain {
            deadline: self.cx.now + settings.timeout,
            step: settings.spread / u32::try_from(steps).expect("DRAIN_STEPS is small"),
            stride: slots.div_ceil(steps).max(1),
            cursor: 0,
            at_once: false,
        });
        self.cx.timers.drain = self.cx.now;
    }

    /// Parts from the next few.
    pub(super) fn drain_some(&mut self) {
        let Some(drain) = &mut self.cx.drain else { return };
        let used = self.table.slots_used();
        let end =
            if drain.step.is_zero() { used } else { used.min(drain.cursor.saturating_add(drain.stride)) };
        let slots = drain.cursor..end;
        let done = end == used;
        drain.cursor = if done { usize::MAX } else { end };
        self.cx.timers.drain = if done { drain.deadline } else { self.cx.now + drain.step };
        for index in slots {
            let index = u32::try_from(index).expect("descriptors are fewer than 2^32");
            if let Some((key, _)) = self.table.at(index) {
                self.drive(key, |cx, conn| cx.drain_one(key, conn));
            }
        }
    }

    /// Closes what is left, and sums up.
    pub(super) fn summary(&mut self) -> Drained {
        let left: Vec<_> = self.table.iter().map(|(key, _)| key).collect();
        let clients = self.cx.clients;
        for &key in &left {
            let (reason, detector) = (Reason::LocalDrain, Detector::Policy);
            self.drive(key, |cx, conn| cx.close_gracefully(key, conn, reason, detector));
            // Unread input would turn the close into a reset, goodbye and all.
            self.read_once_more(key);
            self.drive(key, |cx, conn| {
                cx.flush_all(key, conn);
                cx.close_now(key, conn, reason, detector);
            });
        }
        self.cx.report.summarize(self.cx.now);
        report::stopped(&self.cx.counters, clients, self.cx.now.since(self.cx.started));
        let spare = self.cx.drain.as_ref().filter(|drain| !drain.at_once);
        let spare = spare.map_or(Duration::ZERO, |drain| drain.deadline.since(self.cx.now));
        Drained { accepted: self.cx.counters.accepted(), left: clients, spare }
    }

    /// Has the configuration read again. `file`: its text, where it was read already.
    pub(super) fn request_settings(&mut self, file: Option<String>) {
        if self.cx.reload.request(file) == Requested::Waits {
            report::reload_waits();
        }
        self.take_settings();
    }

    /// Takes the configuration that was read again, if it was.
    pub(super) fn take_settings(&mut self) {
        match self.cx.reload.take() {
            Some(Ok(new)) => self.apply_settings(new),
            Some(Err(mistakes)) => {
                self.cx.reloaded = Reloaded { at: self.cx.now, successful: false };
                report::reload_refused(&mistakes);
            }
            None => {}
        }
    }

    /// Applies what can be applied to a running server; says what cannot.
    fn apply_settings(&mut self, new: Settings) {
        let mut notes = Vec::new();
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
        self.cx.report.set_endings_per_second(new.log.endings_per_second);
        self.cx.connections_max = new.server.connections_max.unwrap_or(u32::MAX).min(self.cx.descriptors_max);
        self.cx.memory_max = memory::bound(&new.server, self.cx.kernel.memory(), self.cx.workers());
        let interval = (self.cx.settings.audit.interval, new.audit.interval);
        self.cx.settings = new;
        self.cx.least_output_high = least_output_high(&self.cx.listeners);
        if interval.0 != interval.1 {
            self.cx.arm_audit();
        }
        self.reschedule_all();
        self.cx.retry_accepts();
        self.cx.reloaded = Reloaded { at: self.cx.now, successful: true };
        report::reloaded(&notes);
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
        report::state(&self.census(), &self.cx.counters);
        for slot in &self.cx.listeners {
            report::listener_state(&slot.settings.name, slot.connections, slot.queue());
        }
    }
}

impl<K: Kernel> Context<K> {
    /// A connection that was let in during a drain: told at once if its turn has passed.
    pub(super) fn drain_late(&mut self, key: Key, conn: &mut Conn<K>) {
        if self.drain.as_ref().is_some_and(|drain| (key.index as usize) < drain.cursor) {
            self.drain_one(key, conn);
        }
    }

    /// Parts from a client. The operator may go on asking until the last of them has gone.
    fn drain_one(&mut self, key: Key, conn: &mut Conn<K>) {
        if self.listener_of(conn).protocol.serves_clients() {
            self.close_gracefully(key, conn, Reason::LocalDrain, Detector::Policy);
        }
    }

    /// Whether the loop goes on: a draining server stops when all clients have gone and none waits to be let
    /// in, or when time is up.
    pub(super) fn flow(&self) -> Flow {
        let Some(drain) = &self.drain else { return Flow::Continue };
        let waiting = self
            .listeners
            .iter()
            .any(|slot| slot.settings.protocol.serves_clients() && slot.accepting != AcceptState::Shut);
        // Also in a hurry, who waits is let in first: closing the listener would reset it.
        let letting_in = self.listeners.iter().any(|slot| slot.accepting == AcceptState::Open);
        let hurried = drain.at_once && !letting_in;
        let done = (self.clients == 0 && !waiting) || hurried || drain.deadline <= self.now;
        if done { Flow::Finished } else { Flow::Continue }
    }
}

impl<S> Connection<S> {
    /// Counts it, unless it has no place.
    pub(super) fn count_in(&self, census: &mut Census) {
        if self.is_refused() {
            return;
        }
        census.states[self.life.state().index()] += 1;
        census.owed_bytes += self.pending_output();
        census.paused += usize::from(self.is_paused());
    }
}

impl<L: Listener> ListenerState<L> {
    /// Takes over what a running listener can, and notes what it cannot.
    fn adopt(&mut self, new: &ListenerSettings, now: Instant, notes: &mut Vec<String>) {
        let old = &self.settings;
        if (new.protocol, &new.address, new.backlog) != (old.protocol, &old.address, old.backlog) {
            notes.push(format!("listener {}: protocol, address and backlog need a restart", new.name));
        }
        if new.socket_options() != old.socket_options() {
            if let Some(listener) = &mut self.listener {
                listener.set_options(&new.socket_options());
            }
            notes.push(format!(
                "listener {}: socket options hold for connections accepted from now on",
                new.name
            ));
        }
        self.linger2_inherited &= new.policy.parting.linger2;
        let before = old.policy.liveness.heartbeat;
        self.settings = ListenerSettings {
            protocol: old.protocol,
            address: old.address.clone(),
            backlog: old.backlog,
            ..new.clone()
        };
        let heartbeat = &mut self.settings.policy.liveness.heartbeat;
        heartbeat.since = before.since;
        if *heartbeat != before {
            // Who was silent before that has broken nothing.
            heartbeat.since = now;
        }
    }
}
