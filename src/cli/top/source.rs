//! Where it comes from: a thread that asks the server again and again, and one that follows its events. Both go on where the server
//! does not answer, and end when nobody takes what they bring.

use super::super::admin::{AdminArgs, NOT_LINGER, encoded};
use super::super::follow::{Ended, Message, News, follow, wait};
use super::filter::{Ask, Filter};
use super::numbers::Numbers;
use super::picture::{OTHER_SIDE, Polled, is_same_process, list};
use crate::core::time::Duration;
use crate::sys::admin_client::Answer;
use crate::sys::process::monotonic;
use serde_json::Value;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};

/// Connections that are listed.
const CONNECTIONS: usize = 500;
/// Endings that are asked for when it begins.
const ENDINGS: usize = 200;
/// What waits to be shown. A reader that does not keep up is told by the server that it has missed something.
const WAITING: usize = 4096;
/// Where answers take long, the server has much to tell: it is asked in at most this part of the time, down to once in so long.
const SHARE: u32 = 10;
const RAREST: Duration = Duration::from_secs(30);
/// What happens often, and is seen in the numbers, is left out: opened, identified.
const EVENTS: &str = "?event=suspect,verdict,revived,replaced,ended,stalled,drain,reload,server_up,server_down,worker_started,\
                      worker_ended";

/// What comes.
pub(super) enum Came {
    /// Answers to all that is asked again and again.
    Polled(Box<Polled>),
    /// No answer, for this reason.
    Failed(String),
    /// Something has happened.
    Event(Message),
    /// Events do not come any more, for this reason.
    EventsLost(String),
    /// What came of what was asked once.
    Answer(String),
}

/// Starts both threads.
///
/// # Errors
/// When there can be no more of them.
pub(super) fn start(
    admin: AdminArgs,
    every: Duration,
    filter: Option<Filter>,
) -> io::Result<(Receiver<Came>, Sender<Ask>)> {
    let (out, came) = sync_channel(WAITING);
    let (asks, asked) = channel();
    let admin = Arc::new(admin);
    let (following, events) = (Arc::clone(&admin), out.clone());
    let thread = |name: &str| std::thread::Builder::new().name(format!("linger-{name}"));
    thread("events").spawn(move || follow_events(&following, &events))?;
    let mut poller = Poller { admin, filter, watched: None, wants_endings: true, started: 0.0 };
    thread("poll").spawn(move || poller.run(every, &asked, &out))?;
    Ok((came, asks))
}

fn follow_events(admin: &AdminArgs, out: &SyncSender<Came>) {
    loop {
        let ended = follow(admin, EVENTS, |news| {
            let came = match news {
                News::Message(message) => Came::Event(message),
                News::Lost(why) => Came::EventsLost(why),
            };
            if out.send(came).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let why = match ended {
            Ended::Enough => return,
            Ended::Refused(answer) => answer.body,
            Ended::Unreachable(why) => why,
        };
        if out.send(Came::EventsLost(why)).is_err() {
            return;
        }
        wait();
    }
}

struct Poller {
    admin: Arc<AdminArgs>,
    filter: Option<Filter>,
    watched: Option<String>,
    /// The last endings are to be asked for: not all are known by events.
    wants_endings: bool,
    /// When the server was started that was asked last, in seconds since 1970.
    started: f64,
}

impl Poller {
    /// Asks until nobody takes the answers.
    fn run(&mut self, every: Duration, asked: &Receiver<Ask>, out: &SyncSender<Came>) {
        loop {
            let begun = monotonic();
            let (came, pause) = match self.poll() {
                Ok(polled) => {
                    let rest = monotonic().since(begun).saturating_mul(SHARE).min(RAREST);
                    (Came::Polled(Box::new(polled)), every.max(rest))
                }
                Err(why) => {
                    self.wants_endings = true;
                    (Came::Failed(why), every)
                }
            };
            if out.send(came).is_err() {
                return;
            }
            match asked.recv_timeout(pause) {
                Ok(ask) => {
                    // All that is asked by now, before the next round.
                    for ask in std::iter::once(ask).chain(asked.try_iter()) {
                        if let Some(answer) = self.on_ask(ask)
                            && out.send(Came::Answer(answer)).is_err()
                        {
                            return;
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Does what is asked once, and keeps what is to be asked from now on.
    fn on_ask(&mut self, ask: Ask) -> Option<String> {
        match ask {
            Ask::Filter(filter) => (self.filter, self.wants_endings) = (filter, true),
            Ask::Watch(key) => self.watched = key,
            Ask::Endings => self.wants_endings = true,
            Ask::End(key) => {
                let answer = self.admin.ask("POST", &format!("/connections/{}/end", encoded(&key)));
                return Some(answer.map_or_else(|why| why, |answer| answer.body));
            }
        }
        None
    }

    fn poll(&mut self) -> Result<Polled, String> {
        let numbers = Numbers::read(&self.get("/metrics")?).ok_or(NOT_LINGER)?;
        self.wants_endings |= !is_same_process(self.started, numbers.started);
        let filter =
            self.filter.as_ref().map(|filter| format!("&{}", filter.parameter())).unwrap_or_default();
        let connections = self.json(&format!("/connections?clients=true&limit={CONNECTIONS}{filter}"))?;
        let upstreams = self.json("/upstreams")?;
        let endings = self.wants_endings.then(|| self.json(&format!("/ends?limit={ENDINGS}{filter}")));
        let watched = self.watched.as_ref().map(|key| {
            let mut found = self.connection(key)?;
            if let Some(row) = &mut found
                && let Some(partner) = row["partner"].as_str().map(str::to_owned)
            {
                row[OTHER_SIDE] = self.connection(&partner)?.unwrap_or_default();
            }
            Ok::<_, String>((key.clone(), found))
        });
        let polled = Polled {
            filter: self.filter.clone(),
            connections,
            ends: endings.transpose()?,
            upstreams,
            watched: watched.transpose()?,
            numbers,
        };
        (self.started, self.wants_endings) = (polled.numbers.started, false);
        Ok(polled)
    }

    /// The connection of that name, if it is there.
    fn connection(&self, key: &str) -> Result<Option<Value>, String> {
        let found = self.json(&format!("/connections?limit=1&key={}", encoded(key)))?;
        Ok(list(&found["connections"]).first().cloned())
    }

    fn get(&self, target: &str) -> Result<String, String> {
        match self.admin.ask("GET", target)? {
            Answer { status: 200, body } => Ok(body),
            Answer { body, .. } => Err(body.trim_end().to_owned()),
        }
    }

    fn json(&self, target: &str) -> Result<Value, String> {
        serde_json::from_str(&self.get(target)?).map_err(|_| NOT_LINGER.to_owned())
    }
}
