//! What is different about the metrics of a server with several workers: families that only the supervisor has, those that
//! do not add up, and those that mean more there.

use super::families::FAMILIES;
use super::page::{Family, Of};

/// Gauges and counters that show the same thing in every worker, of which the largest is right.
const LARGEST: &[&str] = &[
    "linger_accept_stalled",
    "linger_audit_age_seconds",
    "linger_audit_seconds",
    "linger_audit_slice_seconds_max",
    "linger_build_info",
    "linger_config_last_reload_timestamp_seconds",
    "linger_draining",
    "linger_host_listen_overflows_total",
    "linger_host_listen_drops_total",
    "linger_host_time_waits_total",
    "linger_tls_certificate_expiry_timestamp_seconds",
    "linger_upstream_tls_certificate_expiry_timestamp_seconds",
    "linger_upstream_up",
    "linger_uptime_seconds",
    "process_start_time_seconds",
];

/// What a family means there, where that is something else.
const HELP: &[(&str, &str)] = &[
    (
        "linger_relays_dropped_total",
        "Messages and presence events that did not reach a worker, because somebody did not keep up.",
    ),
    (
        "linger_log_lines_dropped_total",
        "Lines of the log of any process that were lost because nobody took them.",
    ),
    ("linger_upstream_up", "1 while an upstream server is up for at least one worker, and not taken out."),
    ("process_cpu_seconds_total", OF_ALL),
    ("process_resident_memory_bytes", OF_ALL),
    ("process_virtual_memory_bytes", OF_ALL),
    ("process_open_fds", OF_ALL),
    ("process_max_fds", OF_ALL),
    ("process_start_time_seconds", "When the supervisor started, since 1970."),
];
const OF_ALL: &str = "Of the supervisor and all workers together.";

/// Families of the supervisor, behind the others on the page.
static OWN: &[Family] = &[
    own("linger_worker_connections", "gauge", "Connections of a worker, those in every state."),
    own("linger_workers", "gauge", "Workers that there are to be."),
    own(
        "linger_identities_moved_total",
        "counter",
        "Identities that went from a client of one worker to a client of another.",
    ),
    own("linger_worker_up", "gauge", "1 if the worker answered this question in time."),
    own(
        "linger_worker_restarts_total",
        "counter",
        "Times that the worker was started anew after it had ended.",
    ),
    own("linger_worker_stalled", "gauge", "1 while the loop of the worker does not turn."),
    own("linger_worker_stalls_total", "counter", "Times that the loop of the worker was found stalled."),
    own(
        "linger_worker_unanswered_total",
        "counter",
        "Questions of the admin interface that the worker did not answer in time.",
    ),
];

const fn own(name: &'static str, kind: &'static str, help: &'static str) -> Family {
    Family { name, kind, help, of: Of::Supervisor }
}

fn all() -> impl Iterator<Item = &'static Family> {
    FAMILIES.iter().chain(OWN)
}

/// The family at a place of the table.
pub(super) fn family(place: u32) -> Option<&'static Family> {
    all().nth(place as usize)
}

/// The place of a family in the table.
pub(super) fn place_of(name: &str) -> u32 {
    let place = all().position(|family| family.name == name).expect("the table has every metric");
    u32::try_from(place).expect("the table is short")
}

/// Whether it shows the same thing in every worker.
pub(super) fn is_largest(family: &Family) -> bool {
    LARGEST.contains(&family.name)
}

/// What it means for all workers together.
pub(super) fn help_of(family: &Family) -> &'static str {
    HELP.iter().find(|(name, _)| *name == family.name).map_or(family.help, |(_, help)| help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_family_is_said_of_one_that_there_is() {
        for name in LARGEST.iter().chain(HELP.iter().map(|(name, _)| name)) {
            assert!(all().filter(|family| family.name == *name).count() == 1, "{name}");
        }
    }
}
