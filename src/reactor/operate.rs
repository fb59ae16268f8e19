//! What the operator does to a running server: drain it, reload it, ask how it is; and what it tells the
//! operator unasked, that an accept queue fills.

use super::accept::Gate;
use super::{Flow, Reactor};
use crate::config::settings::Settings;
use crate::end::{Detector, Reason};
use crate::net::{Kernel, Listener, Signal};
use crate::report;
use crate::time::{Duration, Instant};

/// Reads the configuration again: the new settings, or all that is wrong with them.
pub type Reload = Box<dyn FnMut() -> Result<Settings, String>>;

/// Steps in which a drain is spread: more would only wake the loop more often.
const DRAIN_STEPS: u32 = 100;

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
    /// Connections that had not parted in time and were reset.
    pub left: usize,
}

impl<K: Kernel> Reactor<K> {
    pub(super) fn take_signals(&mut self) {
        while let Some(signal) = self.kernel.next_signal() {
            match signal {
                Signal::Terminate => self.begin_drain(),
                Signal::Reload => self.reload_settings(),
                Signal::Report => self.report_state(),
            }
        }
    }

    /// Stops accepting and parts from everyone, spread over time so that they do not all come back at once.
    /// What already waits in the accept queues is let in first: closing a listener resets it
    /// (`net/ipv4/inet_connection_sock.c: inet_csk_listen_stop`).
    pub(super) fn begin_drain(&mut self) {
        if let Some(drain) = &mut self.drain {
            report::drain_hurried(self.table.len());
            drain.at_once = true;
            return;
        }
        for slot in &mut self.listeners {
            slot.gate.retry();
        }
        self.accept_all();
        for slot in &mut self.listeners {
            slot.gate = Gate::Shut;
        }
        let settings = self.settings.drain;
        report::drain_begun(self.table.len(), settings.spread);
        let slots = self.table.slots_used();
        self.drain = Some(Drain {
            deadline: self.now + settings.timeout,
            step: settings.spread / DRAIN_STEPS,
            stride: slots.div_ceil(DRAIN_STEPS as usize).max(1),
            cursor: 0,
            at_once: false,
        });
        self.house.drain = self.now;
    }

    /// Parts from the next few.
    pub(super) fn drain_some(&mut self) {
        let Some(drain) = &mut self.drain else { return };
        let end = if drain.step.is_zero() { usize::MAX } else { drain.cursor + drain.stride };
        let end = end.min(self.table.slots_used());
        let slots = drain.cursor..end;
        drain.cursor = end;
        self.house.drain = if end < self.table.slots_used() { self.now + drain.step } else { drain.deadline };
        for index in slots {
            let index = u32::try_from(index).expect("descriptors are fewer than 2^32");
            if let Some(key) = self.table.key_at(index) {
                self.leave(key, Reason::LocalDrain, Detector::Policy);
            }
        }
    }

    /// Whether the loop goes on: a draining server stops when all have gone, or when time is up.
    pub(super) fn flow(&self) -> Flow {
        match &self.drain {
            Some(drain) if self.table.is_empty() || drain.at_once || drain.deadline <= self.now => {
                Flow::Finished
            }
            Some(_) | None => Flow::Continue,
        }
    }

    /// Closes what is left, and sums up.
    pub(super) fn summary(&mut self) -> Drained {
        let left: Vec<_> = self.table.iter().map(|(key, _)| key).collect();
        for &key in &left {
            self.leave(key, Reason::LocalDrain, Detector::Policy);
            self.cut(key, Reason::LocalDrain, Detector::Policy);
        }
        self.report.summarize(self.now);
        report::stopped(&self.counters, left.len());
        Drained { accepted: self.counters.accepted, left: left.len() }
    }

    /// Applies what can be applied to a running server; says what cannot.
    fn reload_settings(&mut self) {
        let new = match (self.reload)() {
            Ok(new) => new,
            Err(mistakes) => return report::reload_refused(&mistakes),
        };
        let mut kept = Vec::new();
        for slot in &mut self.listeners {
            let Some(settings) = new.listeners.iter().find(|new| new.name == slot.settings.name) else {
                kept.push(format!(
                    "listener {} is gone from the file and stays until a restart",
                    slot.settings.name
                ));
                continue;
            };
            let same_socket = settings.address == slot.settings.address
                && settings.protocol == slot.settings.protocol
                && settings.backlog == slot.settings.backlog;
            if !same_socket {
                kept.push(format!(
                    "listener {}: protocol, address and backlog need a restart",
                    settings.name
                ));
            }
            if settings.socket_options() != slot.settings.socket_options() {
                slot.listener.set_options(&settings.socket_options());
                kept.push(format!(
                    "listener {}: socket options hold for connections accepted from now on",
                    settings.name
                ));
            }
            let (protocol, address, backlog) =
                (slot.settings.protocol, slot.settings.address.clone(), slot.settings.backlog);
            slot.settings.clone_from(settings);
            (slot.settings.protocol, slot.settings.address, slot.settings.backlog) =
                (protocol, address, backlog);
        }
        for settings in &new.listeners {
            if !self.listeners.iter().any(|slot| slot.settings.name == settings.name) {
                kept.push(format!("listener {} is new and needs a restart", settings.name));
            }
        }
        if new.log != self.settings.log {
            kept.push("log filter and format need a restart".to_owned());
        }
        self.report.set_endings_per_second(new.log.endings_per_second);
        self.connections_max = new.server.connections_max.unwrap_or(u32::MAX).min(self.descriptors_max);
        self.settings = new;
        self.reschedule_all();
        self.retry_accepts();
        report::reloaded(&kept);
    }

    /// Deadlines may have come nearer: everyone's entry is looked at.
    fn reschedule_all(&mut self) {
        let keys: Vec<_> = self.table.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.schedule(key);
        }
    }

    fn report_state(&self) {
        let mut states = [0usize; 6];
        let (mut owed, mut paused) = (0, 0usize);
        for (_, conn) in self.table.iter() {
            states[conn.life.state().index()] += 1;
            owed += conn.owed();
            paused += usize::from(conn.paused);
        }
        report::state(&states, owed, paused, &self.counters);
        for slot in &self.listeners {
            report::listener_state(&slot.settings.name, slot.connections, slot.listener.queue());
        }
    }

    /// Looks at the accept queues: a full one looks ESTABLISHED to the client that is in it, or believes to be.
    /// Armed only while something keeps us from emptying them.
    pub(super) fn watch_queues(&mut self) {
        let drops = self.kernel.listen_drops().unwrap_or_default();
        let overflowed = drops.overflows.saturating_sub(self.counters.listen_drops.overflows);
        self.counters.listen_drops = drops;
        for slot in &mut self.listeners {
            let Some(queue) = slot.listener.queue() else { continue };
            let full = queue.length > queue.limit;
            let filling = queue.length > queue.limit / 2;
            if filling && !slot.queue_warned {
                report::queue_fills(&slot.settings.name, queue, full, overflowed);
            }
            slot.queue_warned = filling;
        }
        if self.listeners.iter().any(|slot| slot.gate.is_stalled() || slot.queue_warned) {
            self.house.watch_queue_at(self.now + self.settings.server.queue_watch);
        }
    }
}
