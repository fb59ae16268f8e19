//! Hearing the verdicts: one connection of its own, subscribed to the presence of every client of this run
//! before the first of them connects.

use super::{Engine, Phase};
use crate::core::table::Key;
use crate::core::time::Instant;
use crate::net::Fatal;
use crate::tools::load::engine::traffic::{accepted, excerpt};
use crate::tools::load::proto::{Answer, Expecting, resp};

/// The watcher is no client: it has no number.
const NO_NUMBER: u32 = u32::MAX;

impl Engine {
    pub(super) fn open_watcher(&mut self) -> Result<(), Fatal> {
        let key = self.open(NO_NUMBER).map_err(|error| Fatal {
            what: format!("connect to {}", self.plan.target.address),
            why: format!("{error:?}"),
        })?;
        self.watcher = Some(key);
        self.phase_ends = self.now + self.plan.contract.patience;
        Ok(())
    }

    pub(super) fn subscribe(&mut self, key: Key) {
        if let Some(client) = self.table.get_mut(key) {
            client.session.expecting = Expecting::Messages;
        }
        let line = resp::command(&["PSUBSCRIBE", &self.ledger.pattern()]);
        self.say(key, &line);
    }

    pub(super) fn hear_verdicts(&mut self, key: Key, bytes: &[u8], at: Instant) {
        let Some(client) = self.table.get_mut(key) else { return };
        let (ledger, detection) = (&mut self.ledger, &mut self.totals.detection);
        let mut subscribed = false;
        let (mut refused, mut logged_in) = (None, None);
        let taken = self.wire.take(&mut client.session, bytes, |answer| {
            let message = match answer {
                Answer::Unasked(message) => message,
                Answer::LoggedIn(text) => return logged_in = Some(accepted(text)),
                Answer::Expected | Answer::Refused(_) | Answer::Greeted(_) => return,
            };
            let mut parts = resp::bulks(message);
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(b"pmessage"), Some(_), Some(channel), Some(payload)) => {
                    if let Some((fault, latency)) = ledger.hear(channel, payload, at) {
                        detection.entry(fault).or_default().record(latency);
                    }
                }
                (Some(b"psubscribe"), ..) => subscribed = true,
                _ if message.starts_with(b"-") => refused = Some(excerpt(message)),
                _ => {}
            }
        });
        if let Some(Err(text)) = logged_in {
            self.fail("log in", text);
        } else if logged_in.is_some() {
            self.introduce(key);
        } else if let Some(text) = refused {
            self.fail("subscribe to presence", text);
        } else if let Err(broken) = taken {
            self.fail("hear the verdicts", broken);
        } else if subscribed && self.phase == Phase::Watching {
            self.phase = Phase::Ramping;
            self.opening.begin(&self.plan, self.now);
            self.phase_ends = self.opening.patience_ends(&self.plan);
        }
    }
}
