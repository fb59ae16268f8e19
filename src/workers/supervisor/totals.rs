//! The metrics of a server with workers: the sums of theirs, and what the supervisor itself has to tell.

use super::admin_server::Counted;
use super::worker::Worker;
use crate::core::time::Duration;
use crate::net::{Supervising, Usage};
use crate::observe::metrics::Snapshot;
use crate::observe::report;
use crate::tls::Expiry;
use indexmap::IndexMap;

/// What the supervisor itself has to tell.
#[derive(Clone, PartialEq, Debug)]
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
    /// Of the admin interface.
    pub(super) admin: Counted,
    /// Its certificates; only where they are wanted.
    pub(super) certificates: Vec<Expiry>,
}

pub(super) fn metrics<K: Supervising>(
    mut answers: IndexMap<usize, Snapshot>,
    workers: &mut [Worker<K>],
    own: &Own,
) -> Snapshot {
    #[expect(clippy::cast_precision_loss, reason = "counts, far below 2^53")]
    let number = |count: u64| count as f64;
    let up: Vec<_> = (0..workers.len()).map(|place| answers.contains_key(&place)).collect();
    let all = workers.iter_mut().enumerate();
    let all = all.map(|(place, worker)| (worker.number, &mut worker.ledger, answers.swap_remove(&place)));
    let mut sums = Snapshot::merge(all.collect());
    for (name, value) in [
        ("linger_uptime_seconds", own.uptime_seconds),
        ("linger_draining", f64::from(u8::from(own.draining))),
        ("linger_workers", number(workers.len() as u64)),
        // A topic may have subscribers in several workers, each of which counts it.
        ("linger_channels", number(own.channels as u64)),
        ("linger_patterns", number(own.patterns as u64)),
        ("linger_identities_moved_total", number(own.identities_moved)),
        ("linger_admin_made_way_total", number(own.admin.made_way)),
    ] {
        sums.put(name, &[], value);
    }
    sums.put("linger_connections_accepted_total", &[("listener", "admin")], number(own.admin.accepted));
    if !own.certificates.is_empty() {
        for (kind, count) in ["full", "resumed"].into_iter().zip(own.admin.handshakes) {
            sums.put("linger_tls_handshakes_total", &[("listener", "admin"), ("kind", kind)], number(count));
        }
    }
    for Expiry { file, at } in &own.certificates {
        let labels = [("listener", "admin"), ("protocol", "admin"), ("file", file.as_str())];
        sums.put("linger_tls_certificate_expiry_timestamp_seconds", &labels, number(*at));
    }
    let lost = [
        ("linger_relays_dropped_total", own.dropped),
        ("linger_log_lines_dropped_total", report::lines_dropped_total()),
    ];
    for (name, own) in lost {
        sums.put(name, &[], sums.sum(name) + number(own));
    }
    if let Some(usage) = &own.usage {
        add_usage(&mut sums, usage, own.reload);
    }
    for (worker, up) in workers.iter().zip(up) {
        let label = worker.number.to_string();
        for (name, value) in [
            ("linger_worker_up", u64::from(up)),
            ("linger_worker_restarts_total", worker.restarts),
            ("linger_worker_stalled", u64::from(worker.is_stalled())),
            ("linger_worker_stalls_total", worker.stalls),
            ("linger_worker_unanswered_total", worker.unanswered),
        ] {
            sums.put(name, &[("worker", &label)], number(value));
        }
    }
    sums
}

/// Makes of what the workers use what the whole server uses.
fn add_usage(sums: &mut Snapshot, own: &Usage, (successful, since): (bool, Duration)) {
    #[expect(clippy::cast_precision_loss, reason = "bytes and descriptors, far below 2^53")]
    let number = |count: u64| count as f64;
    for (name, value) in [
        ("process_cpu_seconds_total", (own.cpu_user + own.cpu_system).as_secs_f64()),
        ("process_resident_memory_bytes", number(own.resident_bytes)),
        ("process_virtual_memory_bytes", number(own.virtual_bytes)),
        ("process_open_fds", number(own.descriptors.unwrap_or(0))),
        ("process_max_fds", number(own.descriptors_max)),
    ] {
        sums.put(name, &[], sums.sum(name) + value);
    }
    sums.put("process_start_time_seconds", &[], own.started.as_secs_f64());
    sums.put("linger_config_last_reload_successful", &[], f64::from(u8::from(successful)));
    let at = own.unix_time.saturating_sub(since).as_secs_f64();
    sums.put("linger_config_last_reload_timestamp_seconds", &[], at);
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
            admin: Counted::default(),
            certificates: Vec::new(),
        };
        let mut told = Snapshot::default();
        told.put("linger_relays_dropped_total", &[], 2.0);
        for answers in [IndexMap::from([(0, told)]), IndexMap::new()] {
            let answered = answers.len();
            let (mut page, mut text) = (String::new(), metrics(answers, &mut workers, &own).into_text());
            while !text.write(&mut page) {}
            assert!(page.contains("\nlinger_relays_dropped_total 3\n"), "{answered} answers: {page}");
            assert!(
                page.contains("# HELP linger_relays_dropped_total Messages and"),
                "it is the sum's: {page}"
            );
        }
    }
}
