//! The stream between a worker and its supervisor: bytes in their order, bounded, each on its way for a while. It never
//! breaks by itself. What a process wrote before it closed its end, or died, is still read at the other (unix(7)).

use super::epoll::{Source, Watch};
use super::event_queue::Event;
use super::faults::Canary;
use super::socket::mask;
use super::world::World;
use crate::net::{Received, Sent, SocketError};
use std::collections::VecDeque;

/// Bytes that wait for a reader, on their way or there (`net.core.wmem_default`).
const BYTES_MAX: usize = 212_992;

/// A stream between two processes.
#[derive(Default)]
pub(super) struct Link {
    /// The supervisor's end, the worker's.
    ends: [LinkEnd; 2],
}

/// One end, and what comes to it.
#[derive(Default)]
struct LinkEnd {
    input: VecDeque<u8>,
    /// On its way, and when it is there.
    coming: VecDeque<(u64, Vec<u8>)>,
    coming_bytes: usize,
    /// The other end is closed, and all of it is there.
    eof: bool,
    closed: bool,
    /// Its last send found too little room.
    full: bool,
    watch: Option<Watch>,
}

impl LinkEnd {
    fn room(&self) -> usize {
        BYTES_MAX - self.input.len() - self.coming_bytes
    }
}

impl World {
    /// Makes one between two processes.
    pub(super) fn add_link(&mut self) -> usize {
        self.links.push(Link::default());
        self.links.len() - 1
    }

    pub(super) fn link_watch(&mut self, link: usize, end: usize, watch: Watch) {
        self.links[link].ends[end].watch = Some(watch);
        self.queue_source(Source::Link(link, end));
    }

    pub(super) fn link_watch_of(&mut self, link: usize, end: usize) -> Option<&mut Watch> {
        self.links[link].ends[end].watch.as_mut()
    }

    /// Whether the process at an end lives.
    fn link_calls(&mut self, link: usize, end: usize) -> bool {
        let process = self.links[link].ends[end].watch.map_or(0, |watch| watch.process);
        self.processes[process].calls()
    }

    /// What a poll finds at an end.
    pub(super) fn link_poll(&self, link: usize, end: usize) -> u8 {
        let ends = &self.links[link].ends;
        let (own, other) = (&ends[end], &ends[1 - end]);
        let input = if own.input.is_empty() && !own.eof { 0 } else { mask::IN };
        let output = if other.room() > 0 { mask::OUT } else { 0 };
        input | output | if own.eof { mask::RDHUP | mask::HUP } else { 0 }
    }

    pub(super) fn link_recv(&mut self, link: usize, end: usize, buffer: &mut [u8]) -> Received {
        if !self.link_calls(link, end) {
            return Received::WouldBlock;
        }
        let ends = &mut self.links[link].ends;
        let own = &mut ends[end];
        let count = own.input.len().min(buffer.len());
        if count == 0 {
            return if own.eof { Received::Eof } else { Received::WouldBlock };
        }
        for (to, from) in buffer.iter_mut().zip(own.input.drain(..count)) {
            *to = from;
        }
        if std::mem::take(&mut ends[1 - end].full) {
            self.queue_source(Source::Link(link, 1 - end));
        }
        Received::Bytes(count)
    }

    pub(super) fn link_send(&mut self, link: usize, end: usize, bytes: &[u8]) -> Sent {
        if !self.link_calls(link, end) {
            return Sent::WouldBlock;
        }
        let latency =
            self.chance.within(self.worker_faults.link_latency / 4..self.worker_faults.link_latency + 1);
        let at = self.now + latency;
        let ends = &mut self.links[link].ends;
        let other = &mut ends[1 - end];
        if other.closed {
            return Sent::Failed(SocketError::BrokenPipe);
        }
        let count = other.room().min(bytes.len());
        let at = other.coming.back().map_or(at, |(before, _)| at.max(*before));
        let whole = count == bytes.len();
        let before = other.coming.len().saturating_sub(1);
        let (loses, reorders) = match self.canary {
            Some(Canary::LinkLoses) => (whole && self.chance.chance(5_000), false),
            Some(Canary::LinkReorders) => (false, whole && self.chance.chance(50_000)),
            _ => (false, false),
        };
        let other = &mut self.links[link].ends[1 - end];
        if loses {
            return Sent::Bytes(count);
        }
        if reorders && let Some((_, last)) = other.coming.get_mut(before) {
            // In front of what was sent at once before it.
            other.coming_bytes += count;
            last.splice(0..0, bytes.iter().copied());
        } else if count > 0 {
            other.coming.push_back((at, bytes[..count].to_vec()));
            other.coming_bytes += count;
            self.schedule(at, Event::Link(link, 1 - end));
        }
        let own = &mut self.links[link].ends[end];
        own.full = count < bytes.len();
        if count == 0 { Sent::WouldBlock } else { Sent::Bytes(count) }
    }

    /// What was on its way to an end is there.
    pub(super) fn link_arrive(&mut self, link: usize, end: usize, until: u64) {
        let own = &mut self.links[link].ends[end];
        while own.coming.front().is_some_and(|(at, _)| *at <= until) {
            let Some((_, bytes)) = own.coming.pop_front() else { break };
            own.coming_bytes -= bytes.len();
            own.input.extend(bytes);
        }
        self.queue_source(Source::Link(link, end));
    }

    /// A process has closed its end.
    pub(super) fn link_close(&mut self, link: usize, end: usize) {
        let ends = &mut self.links[link].ends;
        (ends[end].closed, ends[end].watch) = (true, None);
        ends[1 - end].eof = true;
        self.link_arrive(link, 1 - end, u64::MAX);
    }
}
