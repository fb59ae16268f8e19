//! What the operator does to a running server: drain it, reload it, ask how it is; and what it tells the
//! operator unasked, that an accept queue fills.

use super::accept::Gate;
use super::{Flow, Reactor};
use crate::config::settings::Settings;
use crate::end::{Detector, Reason};
use crate::net::{Kernel, Listener, Signal};
use crate::report;
use crate::table::Key;
use crate::time::{Duration, Instant};

/// Reads the configuration again: the new settings, or all that is wrong with them.
pub type Reload = Box<dyn FnMut() -> Result<Settings, String>>;

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

    /// Parts from everyone, spread over time so that they do not all come back at once, and accepts no more.
    /// What already waits in the accept queues is let in first: closing a listener resets it
    /// (`net/ipv4/inet_connection_sock.c: inet_csk_listen_stop`).
    pub(super) fn begin_drain(&mut self) {
        if let Some(drain) = &mut self.drain {
            report::drain_hurried(self.clients);
            drain.at_once = true;
            return;
        }
        for slot in &mut self.listeners {
            slot.gate.empty();
        }
        let settings = self.settings.drain;
        report::drain_begun(self.clients, settings.spread, settings.timeout);
        let slots = self.table.slots_used();
        let steps = slots.clamp(1, DRAIN_STEPS);
        self.drain = Some(Drain {
            deadline: self.now + settings.timeout,
            step: settings.spread / u32::try_from(steps).expect("DRAIN_STEPS is small"),
            stride: slots.div_ceil(steps).max(1),
            cursor: 0,
            at_once: false,
        });
        self.house.drain = self.now;
    }

    /// Parts from the next few.
    pub(super) fn drain_some(&mut self) {
        let Some(drain) = &mut self.drain else { return };
        let used = self.table.slots_used();
        let end =
            if drain.step.is_zero() { used } else { used.min(drain.cursor.saturating_add(drain.stride)) };
        let slots = drain.cursor..end;
        let done = end == used;
        drain.cursor = if done { usize::MAX } else { end };
        self.house.drain = if done { drain.deadline } else { self.now + drain.step };
        for index in slots {
            let index = u32::try_from(index).expect("descriptors are fewer than 2^32");
            if let Some(key) = self.table.key_at(index) {
                self.drain_one(key);
            }
        }
    }

    /// A connection that was let in during a drain: told at once if its turn has passed.
    pub(super) fn drain_late(&mut self, key: Key) {
        if self.drain.as_ref().is_some_and(|drain| (key.index as usize) < drain.cursor) {
            self.drain_one(key);
        }
    }

    /// Parts from a client. The operator may go on asking until the last of them has gone.
    fn drain_one(&mut self, key: Key) {
        if self.is_client(key) {
            self.leave(key, Reason::LocalDrain, Detector::Policy);
        }
    }

    fn is_client(&self, key: Key) -> bool {
        let conn = self.table.get(key);
        conn.is_some_and(|conn| Self::listener_of(&self.listeners, conn).protocol.serves_clients())
    }

    /// Whether the loop goes on: a draining server stops when all clients have gone and none waits to be let
    /// in, or when time is up.
    pub(super) fn flow(&self) -> Flow {
        let Some(drain) = &self.drain else { return Flow::Continue };
        let waiting = self
            .listeners
            .iter()
            .any(|slot| slot.settings.protocol.serves_clients() && slot.gate != Gate::Shut);
        let done = (self.clients == 0 && !waiting) || drain.at_once || drain.deadline <= self.now;
        if done { Flow::Finished } else { Flow::Continue }
    }

    /// Closes what is left, and sums up.
    pub(super) fn summary(&mut self) -> Drained {
        let left: Vec<_> = self.table.iter().map(|(key, _)| key).collect();
        let clients = self.clients;
        for &key in &left {
            self.leave(key, Reason::LocalDrain, Detector::Policy);
            // Unread input would turn the close into a reset, goodbye and all.
            self.read_once_more(key);
            self.cut(key, Reason::LocalDrain, Detector::Policy);
        }
        self.report.summarize(self.now);
        report::stopped(&self.counters, clients, self.now.since(self.started));
        Drained { accepted: self.counters.accepted, left: clients }
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
                if let Some(listener) = &mut slot.listener {
                    listener.set_options(&settings.socket_options());
                }
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
            report::listener_state(&slot.settings.name, slot.connections, slot.queue());
        }
    }

    /// Looks at the accept queues: a full one looks ESTABLISHED to the client that is in it, or believes to be.
    /// Armed only while something keeps us from emptying them.
    pub(super) fn watch_queues(&mut self) {
        let overflowed = self.overflows();
        for slot in &mut self.listeners {
            let Some(queue) = slot.queue() else { continue };
            let full = queue.length > queue.limit;
            let filling = queue.length > queue.limit / 2;
            if filling && !slot.queue_warned {
                report::queue_fills(&slot.settings.name, queue, full, overflowed);
            }
            slot.queue_warned = filling;
        }
        self.watch_on();
    }

    /// A queue was emptied of as many as fill it: the loop was held up, or was not there at all. What the host
    /// counted meanwhile tells whether newcomers found it full. Looked at no more often than the queues are,
    /// because a small queue is emptied that way in the best of times.
    pub(super) fn was_it_full(&mut self, index: usize, taken: u32) {
        let slot = &mut self.listeners[index];
        let Some(limit) = slot.queue_limit.filter(|&limit| taken > limit) else { return };
        if slot.looked.is_some_and(|at| self.now.since(at) < self.settings.server.queue_watch) {
            return;
        }
        slot.looked = Some(self.now);
        let overflowed = self.overflows();
        let slot = &mut self.listeners[index];
        if overflowed > 0 && !slot.queue_warned {
            slot.queue_warned = true;
            report::queue_was_full(&slot.settings.name, taken, limit, overflowed);
            self.watch_on();
        }
    }

    /// How often the host found an accept queue full since the last look.
    fn overflows(&mut self) -> u64 {
        // Without a descriptor to read them with, the counters stay as they were.
        let Some(drops) = self.kernel.listen_drops() else { return 0 };
        let before = std::mem::replace(&mut self.counters.listen_drops, drops);
        drops.overflows.saturating_sub(before.overflows)
    }

    fn watch_on(&mut self) {
        if self.listeners.iter().any(|slot| slot.gate.is_stalled() || slot.queue_warned) {
            self.house.watch_queue_at(self.now + self.settings.server.queue_watch);
        }
    }
}
