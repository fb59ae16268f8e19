//! A worker that stalls: it is said, newcomers are given to the others, and after a time it is ended, so that another
//! takes its place. So is one that is gone, as far as that goes.
//!
//! Who waits in the accept queue of such a worker stays there: until it moves again, or for its successor. To take them
//! out of it would be to reset them ([`steer`](crate::net::Supervising::steer); `src/sys/steer.rs` has what else was thought of).

use super::pulse::Step;
use super::{Phase, Supervisor};
use crate::core::time::{Duration, Instant};
use crate::net::Supervising;
use crate::observe::report;

/// How late a turn may begin before the supervisor takes it that it has stalled itself.
const LATE: Duration = Duration::from_millis(500);

impl<K: Supervising> Supervisor<K> {
    /// A turn that was to begin at `due` begins now. Whose answers could not be heard meanwhile is asked for them anew.
    pub(super) fn make_up_for_lateness(&mut self, due: Instant) {
        if self.now.since(due) > LATE {
            for worker in &mut self.workers {
                worker.restart_pulse(self.now);
            }
        }
    }

    /// Asks the workers for signs of life, and does what follows where there are none.
    pub(super) fn watch_workers(&mut self) {
        let patience = self.plan.settings.server.stall_timeout;
        for worker in &mut self.workers {
            match worker.take_pulse(self.now, patience) {
                Step::Wait | Step::Ask => {}
                Step::Stalled(since) => {
                    report::worker_stalled(worker.number, self.now.since(since), patience);
                }
                Step::End(since) => report::worker_given_up(worker.number, self.now.since(since)),
            }
        }
        self.steer();
    }

    /// Gives newcomers to the workers that answer them; to all, where none does.
    fn steer(&mut self) {
        let all = self.workers.len();
        let mut answer: Vec<_> = (0..all).filter(|&place| self.workers[place].answers()).collect();
        if answer.len() == all || self.phase != Phase::Serving {
            answer.clear();
        }
        if answer == self.steered {
            return;
        }
        // The program belongs to the group: any socket of it will do.
        for listener in &self.workers[0].listeners {
            if let Err(errno) = self.kernel.steer(listener, &answer, all) {
                report::not_steered(errno);
            }
        }
        self.steered = answer;
    }
}
