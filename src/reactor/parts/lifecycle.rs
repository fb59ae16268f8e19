//! The life of the server: when it started, its configuration, and how it goes away.

use crate::config::settings::{DrainSettings, Settings};
use crate::core::secret::Secret;
use crate::core::time::{Duration, Instant};
use crate::net::ServiceNotifier;
use crate::workers::link::last_words_until;
use std::ops::Range;

/// Reads the configuration again, beside the loop: a disk may hang, and a long file takes its time.
pub trait Reload {
    /// Begins to. `file`: its text, where somebody has read that already. While an earlier request is under way, it is
    /// remembered, and follows it.
    fn request(&mut self, file: Option<Secret<String>>) -> Requested;

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

/// Steps in which a drain is spread: more would only wake the loop more often.
const DRAIN_STEPS: usize = 100;

/// What is known of the life of the server.
pub(in crate::reactor) struct Lifecycle {
    started: Instant,
    reload: Box<dyn Reload>,
    /// When the configuration was last read, and whether it was sound.
    reloaded: (Instant, bool),
    /// The drain is put off, and the server says that it is not ready.
    put_off: bool,
    drain: Option<Drain>,
    leave: Option<Leave>,
    /// The way to the service manager.
    pub(in crate::reactor) service: ServiceNotifier,
}

/// A worker that has no clients any more.
#[derive(Clone, Copy, Debug)]
struct Leave {
    /// Clients that had not closed in time.
    left: u32,
    /// When it ends, even if not all was told.
    deadline: Instant,
    /// The number of its last event, as the supervisor was told.
    last: u64,
    /// All was told.
    is_released: bool,
}

/// A server that is going away.
#[derive(Debug)]
struct Drain {
    /// When it exits, even if clients are left.
    deadline: Instant,
    /// Time between two steps.
    step: Duration,
    /// Slots per step.
    stride: usize,
    /// The next slot whose connection is closed.
    cursor: usize,
    /// A second signal came.
    at_once: bool,
}

/// How a server's life ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drained {
    /// Connections accepted in its life.
    pub accepted: u64,
    /// Clients that had not closed in time.
    pub left: u32,
    /// What was left of the time for the drain.
    pub spare: Duration,
}

impl Lifecycle {
    /// Of a server that starts now.
    pub(in crate::reactor) fn new(now: Instant, reload: Box<dyn Reload>) -> Self {
        Self {
            started: now,
            reload,
            reloaded: (now, true),
            put_off: false,
            drain: None,
            leave: None,
            service: ServiceNotifier::default(),
        }
    }

    pub(in crate::reactor) const fn started(&self) -> Instant {
        self.started
    }

    /// Has the configuration read again. See [`Reload::request`].
    pub(in crate::reactor) fn request_settings(&mut self, file: Option<Secret<String>>) -> Requested {
        self.reload.request(file)
    }

    /// Takes the configuration that was read again, if it was.
    pub(in crate::reactor) fn take_settings(&mut self, now: Instant) -> Option<Result<Settings, String>> {
        let taken = self.reload.take()?;
        self.reloaded = (now, taken.is_ok());
        Some(taken)
    }

    /// When the configuration was last read, and whether it was sound.
    pub(in crate::reactor) const fn reloaded(&self) -> (Instant, bool) {
        self.reloaded
    }

    /// Whether it is going away.
    pub(in crate::reactor) const fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Whether it is going away, or will in a while.
    pub(in crate::reactor) const fn is_leaving(&self) -> bool {
        self.put_off || self.is_draining()
    }

    /// Whether its drain is put off.
    pub(in crate::reactor) const fn is_put_off(&self) -> bool {
        self.put_off
    }

    /// Puts the drain off, if that is asked for and was not done before.
    pub(in crate::reactor) const fn put_off(&mut self, delay: Duration) -> bool {
        let first = !self.is_leaving() && !delay.is_zero();
        self.put_off |= first;
        first
    }

    /// Begins to go away, with so many slots of the table in use. False: it does already, and now in a hurry.
    pub(in crate::reactor) fn begin_drain(
        &mut self,
        now: Instant,
        settings: &DrainSettings,
        slots: usize,
    ) -> bool {
        self.put_off = false;
        if let Some(drain) = &mut self.drain {
            drain.at_once = true;
            // Who watches is not waited for any more.
            self.release();
            return false;
        }
        let steps = slots.clamp(1, DRAIN_STEPS);
        self.drain = Some(Drain {
            deadline: now + settings.timeout,
            step: settings.spread / u32::try_from(steps).expect("DRAIN_STEPS is small"),
            stride: slots.div_ceil(steps).max(1),
            cursor: 0,
            at_once: false,
        });
        true
    }

    /// The slots whose connections are closed now, of so many that are in use, and when to go on or to exit.
    pub(in crate::reactor) fn next_to_drain(
        &mut self,
        now: Instant,
        slots: usize,
    ) -> Option<(Range<usize>, Instant)> {
        let drain = self.drain.as_mut()?;
        let end =
            if drain.step.is_zero() { slots } else { slots.min(drain.cursor.saturating_add(drain.stride)) };
        let next = drain.cursor..end;
        let done = end == slots;
        drain.cursor = if done { usize::MAX } else { end };
        Some((next, if done { drain.deadline } else { now + drain.step }))
    }

    /// Whether a connection that is accepted now, into that slot, has missed the step that would have closed it.
    pub(in crate::reactor) fn has_drained(&self, slot: u32) -> bool {
        self.drain.as_ref().is_some_and(|drain| (slot as usize) < drain.cursor)
    }

    /// Whether the drain is over, even if clients are left: time is up, or it is in a hurry and not `letting_in`
    /// clients from an accept queue.
    pub(in crate::reactor) fn is_over(&self, now: Instant, letting_in: bool) -> bool {
        self.drain.as_ref().is_some_and(|drain| (drain.at_once && !letting_in) || drain.deadline <= now)
    }

    /// A worker ends, once what happened was told, up to the event of number `last`. Such a number of clients had not closed
    /// in time. Gives until when it waits.
    pub(in crate::reactor) fn begin_leave(&mut self, now: Instant, left: u32, last: u64) -> Instant {
        let deadline = last_words_until(now, self.spare(now));
        self.leave = Some(Leave { left, deadline, last, is_released: false });
        deadline
    }

    /// Whether it only waits for that.
    pub(in crate::reactor) const fn is_waiting_to_leave(&self) -> bool {
        self.leave.is_some()
    }

    /// Something may have happened since it was said which event is the last one. If so, gives that of now, and what is told
    /// of the one before releases nothing.
    pub(in crate::reactor) fn later_event(&mut self, last: u64) -> Option<u64> {
        let leave = self.leave.as_mut().filter(|leave| leave.last != last)?;
        leave.last = last;
        leave.is_released = self.drain.as_ref().is_some_and(|drain| drain.at_once);
        Some(last)
    }

    /// What happened was told, up to the event of that number.
    pub(in crate::reactor) const fn on_told(&mut self, last: u64) {
        if let Some(leave) = &mut self.leave {
            leave.is_released |= leave.last == last;
        }
    }

    /// Nobody waits for what is not told yet.
    const fn release(&mut self) {
        if let Some(leave) = &mut self.leave {
            leave.is_released = true;
        }
    }

    /// Whether it is to end now.
    pub(in crate::reactor) fn has_left(&self, now: Instant) -> bool {
        self.leave.is_some_and(|leave| leave.is_released || leave.deadline <= now)
    }

    /// Clients that had not closed in time, of a worker that only waited to leave.
    pub(in crate::reactor) fn left(&self) -> Option<u32> {
        self.leave.map(|leave| leave.left)
    }

    /// What is left of the time for the drain.
    pub(in crate::reactor) fn spare(&self, now: Instant) -> Duration {
        let drain = self.drain.as_ref().filter(|drain| !drain.at_once);
        drain.map_or(Duration::ZERO, |drain| drain.deadline.since(now))
    }
}
