//! The metrics of who comes in and what is refused, where listeners ask something of their clients.

use super::page::{Family, each};

pub(super) const LOG_INS: Family = each(
    "linger_log_ins_total",
    "counter",
    "Attempts to log in: accepted, wrong (name or password, or the user is off), or refused because too many had failed.",
    |lines, counters, gauges| {
        if let Some(access) = &counters.access {
            for (result, count) in
                [("accepted", access.accepted), ("wrong", access.wrong), ("refused", access.refused)]
            {
                lines.add(&[("listener", &gauges.name), ("result", result)], count);
            }
        }
    },
);

pub(super) const DENIED: Family = each(
    "linger_denied_total",
    "counter",
    "Commands that were refused because the client may not give them: NOAUTH, NOPERM, DENIED.",
    |lines, counters, gauges| {
        counters.access.iter().for_each(|access| lines.add(&[("listener", &gauges.name)], access.denied));
    },
);
