//! What is known of the server: what came in, the rates between two polls, and the last endings. No terminal and no clock: `now` is
//! an argument.

use super::super::follow::Message;
use super::super::tail;
use super::super::why;
use super::filter::Filter;
use super::numbers::Numbers;
use super::over_time::OverTime;
use crate::core::escape::printable;
use crate::core::time::Instant;
use serde_json::Value;
use std::collections::VecDeque;

/// In the row of one leg of a gateway's pair: the row of the other.
pub(super) const OTHER_SIDE: &str = "other_side";

/// Endings and events that are kept.
const KEPT: usize = 500;

/// What one round of questions has brought.
#[derive(Clone, Debug)]
pub(super) struct Polled {
    pub(super) numbers: Numbers,
    /// Whose connections were asked for.
    pub(super) filter: Option<Filter>,
    pub(super) connections: Value,
    /// The last endings, if they were asked for.
    pub(super) ends: Option<Value>,
    pub(super) upstreams: Value,
    /// The connection that is watched, and what is known of it.
    pub(super) watched: Option<(String, Option<Value>)>,
}

/// What is known of the server.
#[derive(Clone, Default, Debug)]
pub(super) struct Picture {
    pub(super) filter: Option<Filter>,
    /// What was counted at the last poll that was answered, and when that was.
    pub(super) numbers: Option<(Instant, Numbers)>,
    pub(super) rates: Option<Rates>,
    /// Endings by reason.
    pub(super) reasons: OverTime,
    pub(super) connections: Vec<Value>,
    /// How many connections pass the filter, listed or not.
    pub(super) matched: u64,
    /// The last endings, the newest first.
    pub(super) endings: VecDeque<Value>,
    /// What happened, the newest first, a line each, as far as it passes the filter.
    pub(super) events: VecDeque<String>,
    /// All that happened: the server tells of it only once.
    pub(super) happened: VecDeque<Message>,
    pub(super) upstreams: Value,
    /// Why polls are not answered, and since when.
    pub(super) trouble: Option<(Instant, String)>,
    /// Why events do not come.
    pub(super) events_trouble: Option<String>,
}

/// What happens in a second.
#[derive(Clone, Default, PartialEq, Debug)]
pub(super) struct Rates {
    pub(super) opened: f64,
    pub(super) ended: f64,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
    pub(super) commands: f64,
    pub(super) messages: f64,
    /// Of one processor.
    pub(super) cpu: f64,
    /// Of each listener, by its place: opened, ended, bytes received and sent.
    pub(super) listeners: Vec<[f64; 4]>,
}

impl Rates {
    /// Between two moments; `None`: what was counted cannot be compared, or no time has passed.
    fn between(before: &Numbers, now: &Numbers, seconds: f64) -> Option<Self> {
        if seconds <= 0.0 || !is_comparable(before, now) {
            return None;
        }
        let rate = |before, now| rate(before, now, seconds);
        let sum = |of: fn(&super::numbers::Listener) -> u64| rate(before.sum(of), now.sum(of));
        let listeners = now.listeners.iter().map(|now| {
            let Some(then) = before.listeners.iter().find(|then| then.name == now.name) else {
                return [0.0; 4];
            };
            [
                rate(then.accepted, now.accepted),
                rate(then.ended, now.ended),
                rate(then.bytes_in, now.bytes_in),
                rate(then.bytes_out, now.bytes_out),
            ]
        });
        Some(Self {
            opened: sum(|listener| listener.accepted),
            ended: sum(|listener| listener.ended),
            bytes_in: sum(|listener| listener.bytes_in),
            bytes_out: sum(|listener| listener.bytes_out),
            commands: rate(before.commands, now.commands),
            messages: rate(before.messages, now.messages),
            cpu: (now.cpu_s - before.cpu_s).max(0.0) / seconds,
            listeners: listeners.collect(),
        })
    }
}

/// A worker that was started anew counts from the beginning: a sum that is less than before says nothing.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(before: u64, now: u64, seconds: f64) -> f64 {
    now.saturating_sub(before) as f64 / seconds
}

/// Whether both are of the same server process, by when it was started.
pub(super) fn is_same_process(before: f64, now: f64) -> bool {
    (before - now).abs() <= 0.5
}

/// Whether what was counted can be compared: by the same process, or by the same workers. Each begins anew with its process, and
/// one that does not answer is missing in the sums.
fn is_comparable(before: &Numbers, now: &Numbers) -> bool {
    let workers = |numbers: &Numbers| -> Vec<_> {
        numbers.workers.iter().map(|one| (one.is_up, one.restarts)).collect()
    };
    is_same_process(before.started, now.started) && workers(before) == workers(now)
}

impl Picture {
    /// A round was answered.
    pub(super) fn on_polled(&mut self, polled: Polled, now: Instant) {
        self.trouble = None;
        self.on_numbers(polled.numbers, now);
        self.upstreams = polled.upstreams;
        if polled.filter != self.filter {
            // It was asked before the filter was changed.
            return;
        }
        self.matched = polled.connections["matched"].as_u64().unwrap_or_default();
        self.connections = list(&polled.connections["connections"]).to_vec();
        if let Some(ends) = polled.ends {
            self.on_endings(list(&ends["ends"]));
        }
    }

    fn on_numbers(&mut self, numbers: Numbers, now: Instant) {
        self.reasons.advance(now);
        if let Some((then, before)) = &self.numbers {
            self.rates = Rates::between(before, &numbers, now.since(*then).as_secs_f64());
            let is_anew = !is_same_process(before.started, numbers.started);
            let is_told = is_anew || is_comparable(before, &numbers);
            for (reason, &count) in numbers.reasons.iter().filter(|_| is_told) {
                let known = if is_anew { 0 } else { before.reasons.get(reason).copied().unwrap_or_default() };
                self.reasons.add(reason, count.saturating_sub(known), now);
            }
        }
        self.numbers = Some((now, numbers));
    }

    /// The last endings, as the server has them.
    fn on_endings(&mut self, rows: &[Value]) {
        for row in rows {
            if !self.endings.iter().any(|known| is_same(known, row)) {
                self.endings.push_back(row.clone());
            }
        }
        let time = |row: &Value| row["time"].as_str().unwrap_or_default().to_owned();
        self.endings.make_contiguous().sort_by_key(|row| std::cmp::Reverse(time(row)));
        self.endings.truncate(KEPT);
    }

    /// A round was not answered.
    pub(super) fn on_failed(&mut self, why: &str, now: Instant) {
        let since = self.trouble.take().map_or(now, |(since, _)| since);
        self.rates = None;
        self.trouble = Some((since, printable(why)));
    }

    /// Events do not come, for this reason; `None`: they do.
    pub(super) fn on_events(&mut self, trouble: Option<&str>) {
        self.events_trouble = trouble.map(printable);
    }

    /// Something has happened.
    pub(super) fn on_event(&mut self, message: &Message) {
        self.happened.push_front(message.clone());
        self.happened.truncate(KEPT);
        if !self.is_wanted(message) {
            return;
        }
        if message.name == "ended" && !self.endings.iter().any(|known| is_same(known, &message.data)) {
            self.endings.push_front(message.data.clone());
            self.endings.truncate(KEPT);
        }
        self.events.push_front(tail::line(message));
        self.events.truncate(KEPT);
    }

    /// The ending of the other leg of its pair, if it is known.
    pub(super) fn partner_of(&self, ending: &Value) -> Option<&Value> {
        why::partner_of(ending, &self.endings)
    }

    fn is_wanted(&self, message: &Message) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.wants(&message.data))
    }

    /// Other connections are meant from now on.
    pub(super) fn on_filter(&mut self, filter: Option<Filter>) {
        self.filter = filter;
        self.connections.clear();
        self.matched = 0;
        self.endings.clear();
        let wanted = self.happened.iter().filter(|message| self.is_wanted(message));
        self.events = wanted.map(tail::line).collect();
    }

    /// The reasons for which connections ended: most often in the last minute first. Each with that, and how often since the start.
    pub(super) fn reasons(&self) -> Vec<(&str, u64, u64)> {
        let Some((_, numbers)) = &self.numbers else { return Vec::new() };
        let ended = numbers.reasons.iter().filter(|(_, count)| **count > 0);
        let mut rows: Vec<_> = ended
            .map(|(reason, &count)| (reason.as_str(), self.reasons.last_minute(reason), count))
            .collect();
        rows.sort_by_key(|&(reason, minute, count)| (std::cmp::Reverse((minute, count)), reason));
        rows
    }
}

/// Whether two records are of the same ending: an event and a row of the list tell of it alike.
fn is_same(one: &Value, other: &Value) -> bool {
    one["key"] == other["key"] && one["time"] == other["time"]
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::super::numbers::{Listener, Worker};
    use super::*;
    use serde_json::json;

    fn numbers(started: f64, accepted: u64, fins: u64) -> Numbers {
        let listener = Listener { name: "resp".to_owned(), accepted, ended: fins, ..Listener::default() };
        Numbers {
            started,
            listeners: vec![listener],
            reasons: [("peer.fin".to_owned(), fins)].into(),
            ..Numbers::default()
        }
    }

    fn polled(numbers: Numbers) -> Polled {
        let connections = json!({"matched": 2, "connections": [{"key": "2-1", "listener": "resp"}]});
        Polled { numbers, filter: None, connections, ends: None, upstreams: Value::Null, watched: None }
    }

    fn ended(key: &str, time: &str) -> Message {
        let data = json!({"key": key, "time": time, "reason": "peer.fin", "identity": "dev1"});
        Message { name: "ended".to_owned(), data }
    }

    const fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn rates_are_what_changed_between_two_polls() {
        let mut picture = Picture::default();
        picture.on_polled(polled(numbers(5.0, 10, 4)), at(1000));
        assert_eq!((&picture.rates, picture.reasons()), (&None, vec![("peer.fin", 0, 4)]));
        picture.on_polled(polled(numbers(5.0, 16, 6)), at(3000));
        let rates = picture.rates.clone().unwrap();
        assert!((rates.opened - 3.0).abs() < 1e-9 && (rates.listeners[0][1] - 1.0).abs() < 1e-9, "{rates:?}");
        assert_eq!(picture.reasons(), [("peer.fin", 2, 6)]);
        // A server that was started anew counts from the beginning.
        picture.on_polled(polled(numbers(9.0, 7, 1)), at(4000));
        assert_eq!((&picture.rates, picture.reasons()), (&None, vec![("peer.fin", 3, 1)]));
        // And so does one worker of several.
        picture.on_polled(polled(numbers(9.0, 2, 0)), at(5000));
        assert_eq!(picture.rates.as_ref().map(|rates| rates.opened), Some(0.0));
    }

    #[test]
    fn a_worker_that_is_missing_or_was_started_anew_makes_no_endings_and_no_rates() {
        let worker = |is_up, restarts| Worker { is_up, restarts, ..Worker::default() };
        let of =
            |workers: [Worker; 2], fins| Numbers { workers: workers.to_vec(), ..numbers(5.0, fins, fins) };
        let mut picture = Picture::default();
        for (at_ms, numbers, endings) in [
            (1000, of([worker(true, 0), worker(true, 0)], 100), 0),
            // Half of them are not told of.
            (2000, of([worker(true, 0), worker(false, 0)], 50), 0),
            (3000, of([worker(true, 0), worker(true, 0)], 101), 0),
            (4000, of([worker(true, 0), worker(true, 0)], 103), 2),
            (5000, of([worker(true, 1), worker(true, 0)], 60), 2),
            (6000, of([worker(true, 1), worker(true, 0)], 61), 3),
        ] {
            let before = picture.reasons().first().map_or(0, |(_, minute, _)| *minute);
            picture.on_polled(polled(numbers), at(at_ms));
            let (_, minute, _) = picture.reasons()[0];
            assert_eq!(minute, endings, "{at_ms}");
            assert_eq!(picture.rates.is_some(), minute > before, "{at_ms}");
        }
    }

    #[test]
    fn an_ending_that_is_told_twice_is_shown_once_and_the_newest_is_first() {
        let mut picture = Picture::default();
        picture.on_event(&ended("2-1", "2026-11-27T08:00:02.000Z"));
        let mut round = polled(numbers(5.0, 0, 0));
        let [older, same, reused] = [("1-1", "01"), ("2-1", "02"), ("1-1", "03")]
            .map(|(key, second)| ended(key, &format!("2026-11-27T08:00:{second}.000Z")).data);
        round.ends = Some(json!({"ends": [reused, same, older]}));
        picture.on_polled(round, at(0));
        picture.on_event(&ended("2-1", "2026-11-27T08:00:02.000Z"));
        let keys: Vec<_> = picture.endings.iter().map(|row| row["key"].as_str().unwrap()).collect();
        assert_eq!(keys, ["1-1", "2-1", "1-1"]);
        for number in 0..2 * KEPT {
            picture.on_event(&ended(&format!("{number}-1"), "2026-11-27T08:01:00.000Z"));
        }
        assert_eq!((picture.endings.len(), picture.events.len()), (KEPT, KEPT));
    }

    #[test]
    fn the_last_picture_stays_when_the_server_is_lost() {
        let mut picture = Picture::default();
        picture.on_polled(polled(numbers(5.0, 10, 4)), at(1000));
        picture.on_failed("refused\x1b[2J", at(2000));
        picture.on_failed("timed out", at(3000));
        assert_eq!(picture.trouble, Some((at(2000), "timed out".to_owned())));
        assert!(picture.connections.len() == 1 && picture.numbers.is_some());
        picture.on_polled(polled(numbers(5.0, 10, 4)), at(4000));
        assert_eq!(picture.trouble, None);
    }

    #[test]
    fn what_was_asked_before_the_filter_changed_is_not_shown() {
        let mut picture = Picture::default();
        picture.on_polled(polled(numbers(5.0, 10, 4)), at(0));
        picture.on_event(&ended("2-1", ""));
        picture.on_filter(Filter::of("dev2"));
        picture.on_polled(polled(numbers(5.0, 10, 4)), at(0));
        picture.on_event(&ended("2-1", ""));
        picture.on_event(&Message { name: "reload".to_owned(), data: json!({"applied": true}) });
        assert!(picture.connections.is_empty() && picture.endings.is_empty() && picture.events.is_empty());
        // What has happened is told once, and is not lost by that.
        picture.on_filter(None);
        assert_eq!(picture.events.len(), 3);
    }
}
