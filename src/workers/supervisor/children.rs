//! The processes of the workers: who is started, and who has ended.

use super::tickets::packed;
use super::worker::Life;
use super::{Phase, Supervisor, token_of};
use crate::core::time::Duration;
use crate::core::units::seconds;
use crate::net::{Fatal, Supervising};
use crate::observe::events::Kind;
use crate::observe::report;
use crate::workers::link::ToWorker;
use serde_json::json;

impl<K: Supervising> Supervisor<K> {
    /// Starts those whose time has come. Where that is not possible, it is tried again later.
    pub(super) fn start_workers(&mut self) -> Result<(), Fatal> {
        for place in 0..self.workers.len() {
            let now = self.now;
            let worker = &mut self.workers[place];
            if !matches!(worker.life, Life::Resting { until } if until <= now) {
                continue;
            }
            let newer = (self.file != self.plan.file).then(|| self.file.clone());
            let file = self.plan.file.clone();
            let (tickets, is_watched) = (packed(&self.tickets), self.fanout.is_watched());
            let start = ToWorker::Start { file, newer, tickets, is_watched };
            match worker.start(&mut self.kernel, self.plan.workers, token_of(place), now, start) {
                Ok(pid) => {
                    for word in self.fanout.words() {
                        worker.send(&ToWorker::Word(word));
                    }
                    report::worker_started(worker.number, pid, worker.restarts);
                    let fields = || json!({"worker": worker.number, "pid": pid, "restarts": worker.restarts});
                    self.events.add_of_server(Kind::WorkerStarted, fields, now);
                    self.fanout.on_started(place);
                }
                Err(fatal) => {
                    let pause = worker.rest(Duration::ZERO, now);
                    report::worker_not_started(worker.number, &fatal, pause);
                    self.all_failed(&fatal.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// Takes in those that have ended, so that none is left as a zombie.
    pub(super) fn reap(&mut self) -> Result<(), Fatal> {
        for place in 0..self.workers.len() {
            let Some((status, lived)) = self.workers[place].reap(self.now) else { continue };
            // What it said last, since it was heard in this turn: what is left of that, then what came since.
            self.hear(place, usize::MAX);
            self.hear(place, usize::MAX);
            let worker = &mut self.workers[place];
            let pause = worker.rest(lived, self.now);
            let draining = self.phase == Phase::Draining;
            report::worker_ended(worker.number, &status.text, lived, (!draining).then_some(pause));
            let fields =
                || json!({"worker": worker.number, "status": status.text, "lived_s": seconds(lived)});
            self.events.add_of_server(Kind::WorkerEnded, fields, self.now);
            if draining {
                worker.life = Life::Over;
                self.failed |= !status.success;
            }
            self.fanout.on_gone(place);
            self.identities.gone(place);
            self.topics.gone(place);
            self.inquiries.gone(place, &mut self.workers);
            self.all_failed(&status.text)?;
        }
        // As the first process of a container, or in the place of a shell, it has children that it never started.
        let workers = &self.workers;
        self.kernel.reap_others(|pid| workers.iter().any(|worker| worker.pid() == Some(pid)));
        Ok(())
    }

    /// Where not one worker has ever served and all have failed, the next try would be no better.
    fn all_failed(&self, last: &str) -> Result<(), Fatal> {
        let failed = self.workers.iter().all(|worker| worker.ends > 0);
        if self.phase == Phase::Starting && failed {
            let what = format!("start {} workers", self.workers.len());
            return Err(Fatal { what, why: format!("all of them failed; the last: {last}") });
        }
        Ok(())
    }
}
