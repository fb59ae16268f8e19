//! What goes wrong with whole processes: a worker dies, at once or in the middle of a turn, or somebody stalls.

use super::{Cluster, SUPERVISOR};
use crate::core::time::Duration;
use crate::tools::sim::faults::WorkerFaults;
use crate::tools::sim::oracle::nanos;

impl Cluster {
    pub(super) fn draw_fault(&mut self) {
        let apart = self.faults.apart;
        self.next_fault = match apart {
            Some(apart) => self.now() + nanos(self.rng.between(Duration::from_millis(1), apart)),
            None => u64::MAX,
        };
    }

    /// A worker dies, or somebody stalls.
    pub(super) fn break_something(&mut self) {
        self.draw_fault();
        let processes = self.due.len();
        let WorkerFaults { stall_max, .. } = self.faults;
        let world = &mut self.stage.borrow_mut().world;
        let living: Vec<_> = (1..processes).filter(|&at| world.processes[at].exit.is_none()).collect();
        let Some(&victim) = living.get(self.rng.index(living.len().max(1))) else { return };
        match self.rng.index(5) {
            0 if self.faults.kills => {
                world.note(|| format!("p{victim} is killed"));
                world.processes[victim].dead = true;
            }
            1 if self.faults.kills => {
                let calls = u32::try_from(self.rng.within(0..60)).unwrap_or(0);
                world.note(|| format!("p{victim} is killed in {calls} calls"));
                world.processes[victim].calls_left = Some(calls);
            }
            2 if self.faults.stalls => {
                let stall = self.rng.between(Duration::ZERO, stall_max / 4);
                world.stall_for(SUPERVISOR, stall);
            }
            _ if self.faults.stalls => {
                let stall = self.rng.between(Duration::ZERO, stall_max);
                world.stall_for(victim, stall);
            }
            _ => {}
        }
    }
}
