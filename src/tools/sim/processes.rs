//! The processes of a server: what a kernel keeps for each of them, and how a supervisor starts and ends them. A run of
//! one process has one entry, which is there from the beginning.
//!
//! A process that is started does not run by itself: `workers` gives each its turns.

use super::epoll::{Listening, Source, Watch};
use super::kernel::{SimKernel, SimListener, SimStream};
use super::oracle::nanos;
use super::world::World;
use crate::core::time::Duration;
use crate::net::{Exit, Fatal, ListenSpec, Listener as _, Process, Ready, Signal, Supervising};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// What the kernel keeps for a process.
#[derive(Default)]
pub(super) struct ProcessState {
    /// The ready list of its `epoll`.
    pub(super) ready: VecDeque<Source>,
    pub(super) signals: VecDeque<Signal>,
    pub(super) signal_ready: bool,
    /// Descriptors of accepted connections.
    pub(super) descriptors: usize,
    /// Connections by the generation that the process gave them.
    pub(super) named: Vec<usize>,
    /// When its loop stalled: from, until.
    pub(super) stalls: Vec<(u64, u64)>,
    /// What a poll has found for it, and it has not seen yet.
    pub(super) brought: Option<Vec<Ready>>,
    /// It gets no time before this.
    pub(super) runs_from: u64,
    /// Calls on its sockets until it is killed, in the middle of a turn.
    pub(super) calls_left: Option<u32>,
    /// It is killed: nothing that it does has an effect any more.
    pub(super) dead: bool,
    /// How it has ended, once its sockets are closed.
    pub(super) exit: Option<Exit>,
}

impl ProcessState {
    /// Whether a call of it takes effect; false from the moment on at which it is killed.
    pub(super) fn calls(&mut self) -> bool {
        if let Some(left) = &mut self.calls_left {
            self.dead |= *left == 0;
            *left = left.saturating_sub(1);
        }
        !self.dead
    }
}

/// Listening sockets that share an address (`SO_REUSEPORT`).
#[derive(Default)]
pub(super) struct Group {
    members: Vec<usize>,
    /// The places that are given new connections, if that is not all of them.
    steered: Vec<usize>,
}

/// A process that was started and has no program yet.
pub(super) struct Started {
    pub(super) process: usize,
    pub(super) number: u32,
    pub(super) of: u32,
    pub(super) listeners: Vec<SimListener>,
    pub(super) link: SimStream,
}

impl World {
    /// Adds a listening socket, which a program has one descriptor of.
    pub(super) fn add_listener(&mut self, spec: &ListenSpec, watch: Option<Watch>) -> usize {
        self.listeners.push(Listening {
            backlog: spec.backlog,
            options: spec.options,
            queue: VecDeque::new(),
            closed: false,
            descriptors: 1,
            watch,
            program: None,
        });
        self.listeners.len() - 1
    }

    /// Makes listening sockets the places that connections to one address go to.
    pub(super) fn group(&mut self, spec: &ListenSpec, members: Vec<usize>) {
        self.sockets.addresses.push(spec.address.clone());
        self.groups.push(Group { members, steered: Vec::new() });
    }

    /// The accept queue that a new connection goes to: chosen by a hash of where it comes from.
    pub(super) fn queue_for(&self, conn: usize) -> usize {
        let Group { members, steered } = &self.groups[self.conns[conn].listener];
        let hash = (conn as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let choose = |among: &[usize]| among[usize::try_from(hash).unwrap_or(0) % among.len()];
        let chosen = if steered.is_empty() { None } else { members.get(choose(steered)) };
        let open = |index: &&usize| !self.listeners[**index].closed;
        if let Some(&index) = chosen.filter(open) {
            return index;
        }
        let rest: Vec<usize> = members.iter().filter(open).copied().collect();
        if rest.is_empty() { members[0] } else { choose(&rest) }
    }

    /// The descriptor of a listening socket is closed: with the last one goes the socket.
    pub(super) fn drop_listener(&mut self, index: usize, watched: bool) {
        let listener = &mut self.listeners[index];
        listener.descriptors -= 1;
        if watched && let Some(watch) = listener.watch.take() {
            self.processes[watch.process].ready.retain(|source| *source != Source::Listener(index));
        }
        if self.listeners[index].descriptors == 0 {
            self.close_listener(index);
        }
    }
}

impl World {
    /// Whether a process that is not kept from its work has something to do now.
    pub(super) fn somebody_is_ready(&self) -> bool {
        let is_due = |process: &usize| {
            let state = &self.processes[*process];
            let waits = state.exit.is_none() && state.brought.is_none() && state.runs_from <= self.now;
            state.dead && state.exit.is_none() || waits && self.is_ready(*process)
        };
        (0..self.processes.len()).any(|process| is_due(&process))
    }

    /// A process gets no time for a while.
    pub(super) fn stall_for(&mut self, process: usize, stall: Duration) {
        self.note(|| format!("p{process} stalls for {stall:?}"));
        let now = self.now;
        let state = &mut self.processes[process];
        let until = state.runs_from.max(now + nanos(stall));
        state.runs_from = until;
        state.stalls.push((now, until));
    }
}

impl Supervising for SimKernel {
    type Process = SimProcess;

    fn open_shared(&mut self, spec: &ListenSpec, count: usize) -> Result<Vec<SimListener>, Fatal> {
        let world = &mut self.stage.borrow_mut().world;
        let members: Vec<_> = (0..count).map(|_| world.add_listener(spec, None)).collect();
        world.group(spec, members.clone());
        let share = |index| SimListener::new(Rc::clone(&self.stage), index, spec.address.clone());
        Ok(members.into_iter().map(share).collect())
    }

    fn steer(&mut self, listener: &SimListener, places: &[usize], of: usize) -> Result<(), i32> {
        let world = &mut self.stage.borrow_mut().world;
        world.note(|| format!("{} is steered to {places:?} of {of}", listener.address()));
        let index = listener.index();
        let group = world.groups.iter_mut().find(|group| group.members.contains(&index));
        group.expect("a listener is in a group").steered = places.to_vec();
        Ok(())
    }

    fn start_worker(
        &mut self,
        number: u32,
        of: u32,
        listeners: &[SimListener],
    ) -> Result<(SimProcess, SimStream), Fatal> {
        let mut stage = self.stage.borrow_mut();
        let world = &mut stage.world;
        if world.chance.chance(world.worker_faults.unstartable) {
            return Err(Fatal {
                what: format!("start worker {number}"),
                why: "the simulation says so".into(),
            });
        }
        let process = world.processes.len();
        world.processes.push(ProcessState::default());
        world.note(|| format!("p{process} is started as worker {number} of {of}"));
        let handed = listeners.iter().map(|listener| {
            world.listeners[listener.index()].descriptors += 1;
            SimListener::new(Rc::clone(&self.stage), listener.index(), listener.address().clone())
        });
        let listeners = handed.collect();
        let [ours, theirs] = SimStream::linked(world, &self.stage);
        world.started.push(Started { process, number, of, listeners, link: theirs });
        Ok((SimProcess { stage: Rc::clone(&self.stage), process }, ours))
    }

    /// It has no other children.
    fn reap_others(&mut self, _: impl Fn(u32) -> bool) {}
}

/// A worker's process.
pub struct SimProcess {
    stage: Rc<RefCell<super::kernel::SimEnv>>,
    process: usize,
}

impl Process for SimProcess {
    fn id(&self) -> u32 {
        u32::try_from(self.process).unwrap_or(u32::MAX)
    }

    fn kill(&mut self) {
        let world = &mut self.stage.borrow_mut().world;
        if world.processes[self.process].exit.is_none() {
            world.note(|| format!("p{} is killed by its supervisor", self.process));
            world.processes[self.process].dead = true;
        }
    }

    fn try_wait(&mut self) -> Option<Exit> {
        self.stage.borrow().world.processes[self.process].exit.clone()
    }
}

impl Drop for SimProcess {
    fn drop(&mut self) {
        if let Ok(mut stage) = self.stage.try_borrow_mut() {
            stage.world.processes[self.process].dead = true;
        }
    }
}
