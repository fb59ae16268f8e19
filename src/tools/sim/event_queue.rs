//! What will happen, and when: the one queue that simulated time is made of.

use super::tcp::Segment;
use super::world::Side;
use crate::net::Signal;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Display;

/// What will happen.
#[derive(Debug)]
pub enum Event {
    /// A segment arrives.
    Arrive(usize, Side, Segment),
    /// A kernel timer of an end may be due, unless it was armed anew since, for another time.
    Timer(usize, Side, u64),
    /// There is memory again for a send that got less than it could have.
    Room(usize),
    /// A router says that an upstream cannot be reached.
    Unreachable(usize),
    /// A program has something to do.
    Program(usize, u32),
    /// Rows of the socket table can be read.
    Sockets,
    /// Bytes arrive at an end of a link between processes.
    Link(usize, usize),
    /// A signal for the server.
    Signal(Signal),
}

/// The queue of what will happen. The heap holds no more than when and where, as it moves its entries about.
#[derive(Default)]
pub(super) struct EventQueue {
    /// When, in which order of those at the same time, and the slot.
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    slots: Vec<Option<Event>>,
    free: Vec<usize>,
    order: u64,
}

impl EventQueue {
    pub(super) fn push(&mut self, at: u64, event: Event) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(event);
        self.order += 1;
        self.heap.push(Reverse((at, self.order, slot)));
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        let Reverse((_, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        self.slots[slot].take()
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }
}

/// For people.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(super) fn in_seconds(nanos: u64) -> impl Display {
    nanos as f64 / 1e9
}
