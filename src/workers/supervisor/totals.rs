//! The metrics of a server with workers: the sums of theirs, and what the supervisor itself has to tell.

use super::admin_fanout::Gathered;
use super::merge;
use super::worker::Worker;
use crate::core::time::Duration;
use crate::net::{Supervising, Usage};
use crate::observe::report;
use indexmap::IndexMap;

/// What the supervisor itself has to tell.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Own {
    pub(super) uptime_seconds: f64,
    pub(super) draining: bool,
    pub(super) channels: usize,
    pub(super) patterns: usize,
    pub(super) identities_moved: u64,
    pub(super) dropped: u64,
    /// Of the process; only where it is wanted.
    pub(super) usage: Option<Usage>,
    /// Whether the configuration was sound when it was last read, and how long ago that was.
    pub(super) reload: (bool, Duration),
    /// Connections of the admin interface: accepted, and those that made way.
    pub(super) admin: (u64, u64),
}

pub(super) fn metrics<K: Supervising>(
    mut answers: IndexMap<usize, Gathered>,
    workers: &mut [Worker<K>],
    own: Own,
) -> merge::Page {
    #[expect(clippy::cast_precision_loss, reason = "counts, far below 2^53")]
    let number = |count: u64| count as f64;
    let up: Vec<_> = (0..workers.len()).map(|place| answers.contains_key(&place)).collect();
    let all = workers.iter_mut().enumerate();
    let all = all.map(|(place, worker)| {
        let told = answers.swap_remove(&place).map(|answer| answer.page);
        (worker.number, &mut worker.ledger, told)
    });
    let mut page = merge::metrics(all.collect());
    page.put("linger_uptime_seconds", "gauge", "Time since the server started.", "", own.uptime_seconds);
    let help = "1 while the server drains: it says goodbye and accepts no clients.";
    page.put("linger_draining", "gauge", help, "", f64::from(u8::from(own.draining)));
    page.put("linger_workers", "gauge", "Workers that there are to be.", "", number(workers.len() as u64));
    // A topic may have subscribers in several workers, each of which counts it.
    let channels = number(own.channels as u64);
    page.put("linger_channels", "gauge", "Channels with a subscriber.", "", channels);
    let patterns = number(own.patterns as u64);
    page.put("linger_patterns", "gauge", "Patterns with a subscriber.", "", patterns);
    let help = "Identities that went from a client of one worker to a client of another.";
    let moved = number(own.identities_moved);
    page.put("linger_identities_moved_total", "counter", help, "", moved);
    let help = "Messages and presence events that did not reach a worker, because somebody did not keep up.";
    let dropped = page.sum("linger_relays_dropped_total") + number(own.dropped);
    page.put("linger_relays_dropped_total", "counter", help, "", dropped);
    let help = "Lines of the log of any process that were lost because nobody took them.";
    let dropped = page.sum("linger_log_lines_dropped_total") + number(report::lines_dropped_total());
    page.put("linger_log_lines_dropped_total", "counter", help, "", dropped);
    let (accepted, made_way) = (number(own.admin.0), number(own.admin.1));
    let (name, help) = ("linger_connections_accepted_total", "Connections accepted.");
    page.put(name, "counter", help, "{listener=\"admin\"}", accepted);
    let help = "Idle connections of the admin interface that were closed because all places were taken.";
    page.put("linger_admin_made_way_total", "counter", help, "", made_way);
    if let Some(usage) = own.usage {
        add_usage(&mut page, &usage, own.reload);
    }
    for (worker, up) in workers.iter().zip(up) {
        let labels = format!("{{worker=\"{}\"}}", worker.number);
        let up = f64::from(u8::from(up));
        page.put("linger_worker_up", "gauge", "1 if the worker answered this question in time.", &labels, up);
        let help = "Times that the worker was started anew after it had ended.";
        page.put("linger_worker_restarts_total", "counter", help, &labels, number(worker.restarts));
        let help = "1 while the loop of the worker does not turn.";
        let stalled = f64::from(u8::from(worker.is_stalled()));
        page.put("linger_worker_stalled", "gauge", help, &labels, stalled);
        let help = "Times that the loop of the worker was found standing still.";
        page.put("linger_worker_stalls_total", "counter", help, &labels, number(worker.stalls));
        let help = "Questions of the admin interface that the worker did not answer in time.";
        page.put("linger_worker_unanswered_total", "counter", help, &labels, number(worker.unanswered));
    }
    page
}

/// Makes of what the workers use what the whole server uses.
fn add_usage(page: &mut merge::Page, own: &Usage, (successful, since): (bool, Duration)) {
    #[expect(clippy::cast_precision_loss, reason = "bytes and descriptors, far below 2^53")]
    let number = |count: u64| count as f64;
    let sums = [
        ("process_cpu_seconds_total", "counter", (own.cpu_user + own.cpu_system).as_secs_f64()),
        ("process_resident_memory_bytes", "gauge", number(own.resident_bytes)),
        ("process_virtual_memory_bytes", "gauge", number(own.virtual_bytes)),
        ("process_open_fds", "gauge", number(own.descriptors.unwrap_or(0))),
        ("process_max_fds", "gauge", number(own.descriptors_max)),
    ];
    for (name, kind, value) in sums {
        let whole = page.sum(name) + value;
        page.put(name, kind, "Of the supervisor and all workers together.", "", whole);
    }
    let help = "When the supervisor started, since 1970.";
    page.put("process_start_time_seconds", "gauge", help, "", own.started.as_secs_f64());
    let help = "1 if the configuration was sound when it was last read, at the start or by SIGHUP.";
    let successful = f64::from(u8::from(successful));
    page.put("linger_config_last_reload_successful", "gauge", help, "", successful);
    let help = "When the configuration was last read, at the start or by SIGHUP, since 1970.";
    let at = own.unix_time.saturating_sub(since).as_secs_f64();
    page.put("linger_config_last_reload_timestamp_seconds", "gauge", help, "", at);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_told_in_full_also_when_no_worker_answers() {
        let mut workers = [Worker::<crate::sys::Os>::new(1, Vec::new()), Worker::new(2, Vec::new())];
        let own = Own {
            uptime_seconds: 1.0,
            draining: false,
            channels: 0,
            patterns: 0,
            identities_moved: 0,
            dropped: 1,
            usage: None,
            reload: (true, Duration::ZERO),
            admin: (0, 0),
        };
        let body = "# HELP linger_relays_dropped_total D.\n# TYPE linger_relays_dropped_total counter\n\
                    linger_relays_dropped_total 2\n";
        let mut page = merge::Page::default();
        page.read(body);
        let mut answer = Gathered::default();
        answer.page = page;
        for answers in [IndexMap::from([(0, answer)]), IndexMap::new()] {
            let answered = answers.len();
            let page = metrics(answers, &mut workers, own).text();
            assert!(page.contains("\nlinger_relays_dropped_total 3\n"), "{answered} answers: {page}");
            assert!(
                page.contains("# HELP linger_relays_dropped_total Messages and"),
                "it is the sum's: {page}"
            );
        }
    }
}
