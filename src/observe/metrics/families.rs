//! Every metric: its name, its kind, what it says, and where its values are. In the order of the page.

mod process;
mod tls;
mod upstream;

use super::access;
use super::page::{Family, all, each};
use crate::core::conn::State;
use crate::core::conn::liveness::VERDICTS;
use crate::core::end::{CloseMode, Detector};
use crate::core::tcp::TcpState;
use crate::observe::audit::Anomaly;

/// TCP states that a connection on a listener's port can be in.
pub const TCP_STATES: [TcpState; 8] = [
    TcpState::Established,
    TcpState::SynRecv,
    TcpState::FinWait1,
    TcpState::FinWait2,
    TcpState::TimeWait,
    TcpState::CloseWait,
    TcpState::LastAck,
    TcpState::Closing,
];

pub(super) static FAMILIES: &[Family] = &[
    all("linger_build_info", "gauge", "1, labelled by the version of the server.", |lines, _, _| {
        lines.add(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    }),
    all(
        "linger_connections",
        "gauge",
        "Client connections, by where they are in their life.",
        |lines, _, gauges| {
            // No client is being connected by us, and closed connections have left the table.
            for (name, count) in State::NAMES.iter().zip(gauges.census.states).skip(1).take(5) {
                lines.add(&[("state", name)], count);
            }
        },
    ),
    all(
        "linger_connections_max",
        "gauge",
        "Most client connections that may be open at once.",
        |lines, _, gauges| lines.add(&[], gauges.connections_max),
    ),
    all(
        "linger_connections_paused",
        "gauge",
        "Client connections that are not read until they take their output.",
        |lines, _, gauges| lines.add(&[], gauges.census.paused),
    ),
    each(
        "linger_connections_accepted_total",
        "counter",
        "Connections accepted.",
        |lines, counters, gauges| {
            lines.add_of(gauges, &[], counters.accepted);
        },
    ),
    each(
        "linger_connections_shed_total",
        "counter",
        "Connections turned away because the server was full.",
        |lines, counters, gauges| lines.add_of(gauges, &[], counters.shed),
    ),
    access::LOG_INS,
    access::DENIED,
    all(
        "linger_suspected_total",
        "counter",
        "Times that a connection became suspect.",
        |lines, counters, _| {
            lines.add(&[], counters.suspected);
        },
    ),
    all(
        "linger_verdicts_reported_total",
        "counter",
        "Verdicts on silence that ended nothing (heartbeat.verdict = \"report\"), by reason.",
        |lines, counters, _| {
            for (reason, count) in VERDICTS.iter().zip(counters.verdicts_reported) {
                lines.add(&[("reason", reason.name())], count);
            }
        },
    ),
    all(
        "linger_revived_total",
        "counter",
        "Times that a suspect connection was heard from again.",
        |lines, counters, _| {
            lines.add(&[], counters.revived);
        },
    ),
    all(
        "linger_stale_events_total",
        "counter",
        "Readiness reported for connections that were already gone; ignored.",
        |lines, counters, _| lines.add(&[], counters.stale_events),
    ),
    each("linger_ends_total", "counter", "Connections ended, by reason.", |lines, counters, gauges| {
        lines.add_reasons(gauges, &counters.reasons);
    }),
    each(
        "linger_detections_total",
        "counter",
        "Connections ended, by what noticed it.",
        |lines, counters, gauges| {
            for &detector in Detector::ALL {
                let labels = [("detector", detector.name())];
                lines.add_of(gauges, &labels, counters.detectors[detector as usize]);
            }
        },
    ),
    each(
        "linger_closes_total",
        "counter",
        "Connections ended, by how the socket was closed.",
        |lines, counters, gauges| {
            for &mode in CloseMode::ALL {
                lines.add_of(gauges, &[("mode", mode.name())], counters.closes[mode as usize]);
            }
        },
    ),
    each(
        "linger_connection_lifetime_seconds",
        "histogram",
        "How long connections lasted, from accept to close.",
        |lines, counters, gauges| {
            lines.histogram(&[("listener", &gauges.name)], &counters.lifetimes);
        },
    ),
    each(
        "linger_detection_silence_seconds",
        "histogram",
        "How long peers had been silent when it was decided that they were lost or stuck.",
        |lines, counters, gauges| {
            lines.histogram(&[("listener", &gauges.name)], &counters.silences);
        },
    ),
    each("linger_received_bytes_total", "counter", "Bytes received.", |lines, counters, gauges| {
        lines.add_of(gauges, &[], counters.traffic.bytes_in);
    }),
    each(
        "linger_sent_bytes_total",
        "counter",
        "Bytes that the kernel took for sending.",
        |lines, counters, gauges| {
            lines.add_of(gauges, &[], counters.traffic.bytes_out);
        },
    ),
    each(
        "linger_undelivered_bytes_total",
        "counter",
        "Output that the server still held when its connection ended.",
        |lines, counters, gauges| lines.add_of(gauges, &[], counters.traffic.bytes_undelivered),
    ),
    upstream::CONNECTS_TOTAL,
    upstream::CONNECT_SECONDS,
    upstream::ENDS_TOTAL,
    upstream::CONNECTIONS,
    upstream::UP,
    upstream::STATE_CHANGES_TOTAL,
    upstream::CHECKS_TOTAL,
    upstream::RESOLVE_FAILURES_TOTAL,
    upstream::RECEIVED_BYTES_TOTAL,
    upstream::SENT_BYTES_TOTAL,
    upstream::UNDELIVERED_BYTES_TOTAL,
    upstream::SPLICED_BYTES_TOTAL,
    upstream::FORWARDED_FINS_TOTAL,
    tls::HANDSHAKES,
    tls::EXPIRY,
    tls::UPSTREAM_EXPIRY,
    all("linger_output_waiting_bytes", "gauge", "Output held until clients take it.", |lines, _, gauges| {
        lines.add(&[], gauges.census.pending_bytes);
    }),
    all(
        "linger_buffered_bytes",
        "gauge",
        "Memory in bytes that wait to be sent or understood, all connections together.",
        |lines, _, gauges| lines.add(&[], gauges.buffered_bytes),
    ),
    all(
        "linger_buffered_bytes_max",
        "gauge",
        "Most such memory (memory_max): near it, publishing is refused and those who hold most are ended.",
        |lines, _, gauges| lines.add(&[], gauges.buffered_bytes_max),
    ),
    all(
        "linger_reading_pauses_total",
        "counter",
        "Times that reading was paused for output.",
        |lines, counters, _| {
            lines.add(&[], counters.pauses);
        },
    ),
    all("linger_commands_total", "counter", "Commands received by resp listeners.", |lines, counters, _| {
        lines.add(&[], counters.commands);
    }),
    all(
        "linger_messages_total",
        "counter",
        "Messages posted to subscribers and addressees.",
        |lines, counters, _| {
            lines.add(&[], counters.messages);
        },
    ),
    all(
        "linger_heartbeat_pings_total",
        "counter",
        "Pings sent to clients that had been silent.",
        |lines, counters, _| {
            lines.add(&[], counters.pings);
        },
    ),
    all("linger_identities", "gauge", "Identities known.", |lines, _, gauges| {
        lines.add(&[], gauges.identities);
    }),
    all("linger_channels", "gauge", "Channels with a subscriber.", |lines, _, gauges| {
        lines.add(&[], gauges.channels);
    }),
    all("linger_patterns", "gauge", "Patterns with a subscriber.", |lines, _, gauges| {
        lines.add(&[], gauges.patterns);
    }),
    each("linger_listener_connections", "gauge", "Connections of a listener.", |lines, _, gauges| {
        lines.add(&gauges.labels(), gauges.connections);
    }),
    each(
        "linger_accept_queue_length",
        "gauge",
        "Connections waiting in the accept queue of a listener.",
        |lines, _, gauges| gauges.queue.iter().for_each(|queue| lines.add(&gauges.labels(), queue.length)),
    ),
    each(
        "linger_accept_queue_limit",
        "gauge",
        "Limit of the accept queue of a listener.",
        |lines, _, gauges| {
            gauges.queue.iter().for_each(|queue| lines.add(&gauges.labels(), queue.limit));
        },
    ),
    each(
        "linger_accept_stalled",
        "gauge",
        "1 while a listener does not accept, being full or out of resources.",
        |lines, _, gauges| lines.add(&gauges.labels(), u8::from(gauges.stalled)),
    ),
    all(
        "linger_accept_stalls_total",
        "counter",
        "Times that a listener stopped accepting, being full or out of resources.",
        |lines, counters, _| lines.add(&[], counters.accept_stalls),
    ),
    all(
        "linger_accept_aborted_total",
        "counter",
        "Connections that had failed before they were accepted.",
        |lines, counters, _| lines.add(&[], counters.accept_aborted),
    ),
    // The supervisor of several workers tells of this itself.
    all(
        "linger_admin_made_way_total",
        "counter",
        "Idle connections of the admin interface that were closed because all places were taken.",
        |lines, counters, _| {
            if counters.listeners.iter().any(|listener| !listener.clients) {
                lines.add(&[], counters.admin_made_way);
            }
        },
    ),
    all(
        "linger_host_listen_overflows_total",
        "counter",
        "The host's TcpExtListenOverflows: accept queues found full, of any program.",
        |lines, counters, _| lines.add(&[], counters.host_counters.overflows),
    ),
    all(
        "linger_host_listen_drops_total",
        "counter",
        "The host's TcpExtListenDrops: connection attempts dropped by listeners, of any program.",
        |lines, counters, _| lines.add(&[], counters.host_counters.drops),
    ),
    // Closing first is never needed, but two FINs may cross on the way: that is how one of these can be ours.
    all(
        "linger_host_time_waits_total",
        "counter",
        "The host's TcpExtTW and TcpExtTWKilled: sockets that went into TIME_WAIT, of any program.",
        |lines, counters, _| lines.add(&[], counters.host_counters.time_waits),
    ),
    all(
        "linger_audits_total",
        "counter",
        "Audits of the kernel's sockets that came to their end.",
        |lines, counters, _| {
            lines.add(&[], counters.audits);
        },
    ),
    all(
        "linger_audits_failed_total",
        "counter",
        "Audits that the kernel did not answer.",
        |lines, counters, _| {
            lines.add(&[], counters.audits_failed);
        },
    ),
    all(
        "linger_audit_anomalies_total",
        "counter",
        "What audits found wrong, each finding once.",
        |lines, counters, _| {
            for &anomaly in Anomaly::ALL {
                lines.add(&[("kind", anomaly.name())], counters.anomalies[anomaly as usize]);
            }
        },
    ),
    all("linger_audit_age_seconds", "gauge", "Time since the last audit.", |lines, _, gauges| {
        gauges.audit.iter().for_each(|audit| lines.add(&[], audit.age_seconds));
    }),
    all(
        "linger_audit_seconds",
        "gauge",
        "How long the last audit took, from begin to end.",
        |lines, _, gauges| {
            gauges.audit.iter().for_each(|audit| lines.add(&[], audit.seconds));
        },
    ),
    all(
        "linger_audit_slice_seconds_max",
        "gauge",
        "Longest time that the loop gave to an audit at once, since the start.",
        |lines, _, gauges| gauges.audit.iter().for_each(|audit| lines.add(&[], audit.step_seconds_max)),
    ),
    each(
        "linger_audit_sockets",
        "gauge",
        "The kernel's sockets on a listener's port at the last audit, by TCP state.",
        |lines, _, gauges| {
            if let Some(tally) = &gauges.tally {
                for state in TCP_STATES {
                    lines.add(
                        &[("listener", &gauges.name), ("state", state.name())],
                        tally.states[state as usize],
                    );
                }
            }
        },
    ),
    each(
        "linger_audit_unsent_bytes",
        "gauge",
        "Output in the kernel that peers have not acknowledged.",
        |lines, _, gauges| {
            gauges
                .tally
                .iter()
                .for_each(|tally| lines.add(&[("listener", &gauges.name)], tally.unsent_bytes));
        },
    ),
    each(
        "linger_audit_unread_bytes",
        "gauge",
        "Input in the kernel that the server has not read.",
        |lines, _, gauges| {
            gauges
                .tally
                .iter()
                .for_each(|tally| lines.add(&[("listener", &gauges.name)], tally.unread_bytes));
        },
    ),
    all("linger_uptime_seconds", "gauge", "Time since the server started.", |lines, _, gauges| {
        lines.add(&[], gauges.uptime_seconds);
    }),
    all(
        "linger_draining",
        "gauge",
        "1 while the server drains: it says goodbye and accepts no clients.",
        |lines, _, gauges| lines.add(&[], u8::from(gauges.draining)),
    ),
    all(
        "linger_config_last_reload_successful",
        "gauge",
        "1 if the configuration was sound when it was last read, at the start or by SIGHUP.",
        |lines, _, gauges| lines.add(&[], u8::from(gauges.reload_successful)),
    ),
    all(
        "linger_config_last_reload_timestamp_seconds",
        "gauge",
        "When the configuration was last read, at the start or by SIGHUP, since 1970.",
        |lines, _, gauges| gauges.reload_seconds.iter().for_each(|at| lines.add(&[], at)),
    ),
    all(
        "linger_relays_dropped_total",
        "counter",
        "Presence events not passed on to other workers.",
        |lines, _, gauges| gauges.relays_dropped.iter().for_each(|dropped| lines.add(&[], dropped)),
    ),
    all(
        "linger_log_lines_dropped_total",
        "counter",
        "Lines of the log that were lost because nobody took them.",
        |lines, _, gauges| lines.add(&[], gauges.log_lines_dropped),
    ),
    all("linger_loop_turns_total", "counter", "Turns of the event loop.", |lines, counters, _| {
        lines.add(&[], counters.turns);
    }),
    all(
        "linger_turn_seconds",
        "histogram",
        "How long turns of the event loop took, without those that served one echo.",
        |lines, counters, _| lines.histogram(&[], &counters.turn_times),
    ),
    process::CPU_SECONDS_TOTAL,
    process::RESIDENT_MEMORY_BYTES,
    process::VIRTUAL_MEMORY_BYTES,
    process::OPEN_FDS,
    process::MAX_FDS,
    process::START_TIME_SECONDS,
];
