//! What the process uses, by the names that Prometheus gives these.

use super::super::page::{Family, all};

pub(super) const CPU_SECONDS_TOTAL: Family = all(
    "process_cpu_seconds_total",
    "counter",
    "CPU time used, in user space and in the kernel.",
    |lines, _, gauges| {
        gauges
            .usage
            .iter()
            .for_each(|usage| lines.add(&[], (usage.cpu_user + usage.cpu_system).as_secs_f64()));
    },
);

pub(super) const RESIDENT_MEMORY_BYTES: Family =
    all("process_resident_memory_bytes", "gauge", "Memory that is resident.", |lines, _, gauges| {
        gauges.usage.iter().for_each(|usage| lines.add(&[], usage.resident_bytes));
    });

pub(super) const VIRTUAL_MEMORY_BYTES: Family =
    all("process_virtual_memory_bytes", "gauge", "Address space in use.", |lines, _, gauges| {
        gauges.usage.iter().for_each(|usage| lines.add(&[], usage.virtual_bytes));
    });

pub(super) const OPEN_FDS: Family =
    all("process_open_fds", "gauge", "Open descriptors, from Linux 6.2 on.", |lines, _, gauges| {
        gauges.usage.iter().filter_map(|usage| usage.descriptors).for_each(|open| lines.add(&[], open));
    });

pub(super) const MAX_FDS: Family =
    all("process_max_fds", "gauge", "Most descriptors that may be open.", |lines, _, gauges| {
        gauges.usage.iter().for_each(|usage| lines.add(&[], usage.descriptors_max));
    });

pub(super) const START_TIME_SECONDS: Family = all(
    "process_start_time_seconds",
    "gauge",
    "When the process started, since 1970.",
    |lines, _, gauges| {
        gauges.usage.iter().for_each(|usage| lines.add(&[], usage.started.as_secs_f64()));
    },
);
