//! The page of metrics, as numbers: what `linger top` needs of it, one snapshot a poll. What changes between two of them is for
//! [`picture`](super::picture) to say.

use crate::core::escape::printable;
use std::collections::BTreeMap;

/// What a server counts, at one moment.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Numbers {
    pub(super) version: String,
    pub(super) uptime_s: f64,
    /// When its process started, in seconds since 1970: another one is another process.
    pub(super) started: f64,
    pub(super) cpu_s: f64,
    pub(super) resident_bytes: u64,
    pub(super) connections_max: u64,
    pub(super) is_draining: bool,
    /// Client connections, by where they are in their life.
    pub(super) states: Vec<(String, u64)>,
    pub(super) listeners: Vec<Listener>,
    /// Connections of clients that ended, by reason.
    pub(super) reasons: BTreeMap<String, u64>,
    pub(super) commands: u64,
    pub(super) messages: u64,
    /// Workers that there are to be; `None`: it is one process.
    pub(super) workers_wanted: Option<u64>,
    pub(super) workers: Vec<Worker>,
}

/// What is counted of a listener.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) protocol: String,
    pub(super) connections: u64,
    pub(super) accepted: u64,
    pub(super) ended: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) queue: Option<u64>,
    pub(super) queue_limit: u64,
    pub(super) is_stalled: bool,
}

/// What is counted of a worker.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Worker {
    pub(super) number: String,
    pub(super) is_up: bool,
    pub(super) connections: u64,
    pub(super) restarts: u64,
    pub(super) is_stalled: bool,
    pub(super) stalls: u64,
    pub(super) unanswered: u64,
}

impl Numbers {
    /// Reads the page; `None`: it is none of linger's.
    pub(super) fn read(page: &str) -> Option<Self> {
        let mut numbers = Self::default();
        // Who asks is no client.
        let of_clients = |sample: &Sample<'_>| sample.label("listener") != "admin";
        page.lines().filter_map(Sample::read).filter(of_clients).for_each(|sample| numbers.take(&sample));
        (!numbers.version.is_empty()).then_some(numbers)
    }

    fn take(&mut self, sample: &Sample<'_>) {
        let count = sample.count();
        match sample.name {
            "linger_build_info" => self.version = sample.label("version"),
            "linger_uptime_seconds" => self.uptime_s = sample.value,
            "process_start_time_seconds" => self.started = sample.value,
            "process_cpu_seconds_total" => self.cpu_s = sample.value,
            "process_resident_memory_bytes" => self.resident_bytes = count,
            "linger_connections_max" => self.connections_max = count,
            "linger_draining" => self.is_draining = count > 0,
            "linger_connections" => self.states.push((sample.label("state"), count)),
            "linger_commands_total" => self.commands = count,
            "linger_messages_total" => self.messages = count,
            "linger_workers" => self.workers_wanted = Some(count),
            "linger_ends_total" => {
                *self.reasons.entry(sample.label("reason")).or_default() += count;
                self.listener(sample, |listener| listener.ended += count);
            }
            "linger_listener_connections" => {
                let protocol = sample.label("protocol");
                self.listener(sample, |listener| {
                    listener.connections = count;
                    listener.protocol = protocol;
                });
            }
            "linger_connections_accepted_total" => {
                self.listener(sample, |listener| listener.accepted += count);
            }
            "linger_received_bytes_total" => self.listener(sample, |listener| listener.bytes_in += count),
            "linger_sent_bytes_total" => self.listener(sample, |listener| listener.bytes_out += count),
            "linger_accept_queue_length" => self.listener(sample, |listener| listener.queue = Some(count)),
            "linger_accept_queue_limit" => self.listener(sample, |listener| listener.queue_limit = count),
            "linger_accept_stalled" => self.listener(sample, |listener| listener.is_stalled = count > 0),
            "linger_worker_connections" => self.worker(sample, |worker| worker.connections = count),
            "linger_worker_up" => self.worker(sample, |worker| worker.is_up = count > 0),
            "linger_worker_restarts_total" => self.worker(sample, |worker| worker.restarts = count),
            "linger_worker_stalled" => self.worker(sample, |worker| worker.is_stalled = count > 0),
            "linger_worker_stalls_total" => self.worker(sample, |worker| worker.stalls = count),
            "linger_worker_unanswered_total" => self.worker(sample, |worker| worker.unanswered = count),
            _ => {}
        }
    }

    /// The listener that a sample is about, in the order in which they come.
    fn listener(&mut self, sample: &Sample<'_>, change: impl FnOnce(&mut Listener)) {
        let name = sample.label("listener");
        let place = self.listeners.iter().position(|listener| listener.name == name);
        let place = place.unwrap_or_else(|| {
            self.listeners.push(Listener { name, ..Listener::default() });
            self.listeners.len() - 1
        });
        change(&mut self.listeners[place]);
    }

    fn worker(&mut self, sample: &Sample<'_>, change: impl FnOnce(&mut Worker)) {
        let number = sample.label("worker");
        let place = self.workers.iter().position(|worker| worker.number == number);
        let place = place.unwrap_or_else(|| {
            self.workers.push(Worker { number, ..Worker::default() });
            self.workers.len() - 1
        });
        change(&mut self.workers[place]);
    }

    /// Of all listeners together.
    pub(super) fn sum(&self, of: impl Fn(&Listener) -> u64) -> u64 {
        self.listeners.iter().map(of).sum()
    }
}

/// A line of the page.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

impl<'a> Sample<'a> {
    /// Reads `name{label="value",...} number`.
    fn read(line: &'a str) -> Option<Self> {
        let end = line.find(['{', ' ']).filter(|_| !line.starts_with('#'))?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.starts_with('}') {
                let (label, behind) = rest.trim_start_matches(',').split_once("=\"")?;
                let (value, behind) = quoted(behind)?;
                labels.push((label, value));
                rest = behind;
            }
            rest = &rest[1..];
        }
        Some(Self { name, labels, value: rest.split_whitespace().next()?.parse().ok()? })
    }

    fn label(&self, wanted: &str) -> String {
        let found = self.labels.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| printable(value)).unwrap_or_default()
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts; the cast saturates")]
    const fn count(&self) -> u64 {
        self.value as u64
    }
}

/// The value of a label up to its closing quote, and what is behind that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            _ => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_becomes_numbers() {
        let page = "\
# HELP linger_build_info 1
# TYPE linger_build_info gauge
linger_build_info{version=\"0.1.0\"} 1
linger_connections{state=\"open\"} 3
linger_connections_accepted_total{listener=\"resp\"} 7
linger_connections_accepted_total{listener=\"admin\"} 9
linger_ends_total{listener=\"resp\",class=\"peer\",reason=\"peer.fin\"} 2
linger_ends_total{listener=\"echo\",class=\"peer\",reason=\"peer.fin\"} 1
linger_listener_connections{listener=\"resp\",protocol=\"resp\"} 3
linger_accept_queue_length{listener=\"resp\",protocol=\"resp\"} 4
linger_accept_queue_limit{listener=\"resp\",protocol=\"resp\"} 4096
linger_worker_up{worker=\"1\"} 1
linger_worker_stalled{worker=\"1\"} 0
process_cpu_seconds_total 1.5
something_else{a=\"b\"} NaN
";
        let numbers = Numbers::read(page).unwrap();
        assert_eq!(numbers.states, [("open".to_owned(), 3)]);
        assert_eq!(numbers.reasons, BTreeMap::from([("peer.fin".to_owned(), 3)]));
        let [resp, echo] = &numbers.listeners[..] else { panic!("{:?}", numbers.listeners) };
        assert_eq!((resp.accepted, resp.ended, resp.connections, resp.protocol.as_str()), (7, 2, 3, "resp"));
        assert_eq!((resp.queue, resp.queue_limit), (Some(4), 4096));
        assert_eq!((echo.name.as_str(), echo.ended, echo.queue), ("echo", 1, None));
        let [worker] = &numbers.workers[..] else { panic!("{:?}", numbers.workers) };
        assert!(worker.is_up && !worker.is_stalled);
        assert!((numbers.cpu_s - 1.5).abs() < f64::EPSILON);
        assert_eq!(numbers.sum(|listener| listener.ended), 3);
    }

    #[test]
    fn a_page_of_others_is_refused_and_bad_lines_are_passed_over() {
        for page in
            ["", "<html>", "node_load1 0.5", "linger_build_info{version=\"0.1.0\"", "linger_build_info{} 1"]
        {
            assert_eq!(Numbers::read(page), None, "{page}");
        }
    }

    #[test]
    fn labels_are_unescaped_and_then_made_printable() {
        let sample = Sample::read(r#"a{b="x\"y\\z\n",c="}, ="} 2"#).unwrap();
        assert_eq!(sample.label("b"), "x\"y\\z\\x0a");
        assert_eq!((sample.label("c").as_str(), sample.count()), ("}, =", 2));
    }
}
