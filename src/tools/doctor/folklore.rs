//! What is said about servers with many connections, and is not so. Each entry names the test that shows what
//! is so on the running kernel; where a host can be tuned by it, it is looked whether this one has been.

use super::{Aim, Host, Tale, Verdict};

/// One piece of folklore.
#[derive(Debug)]
pub struct Belief {
    /// The setting it is about, or a name for it.
    pub name: &'static str,
    /// What is said.
    pub claim: &'static str,
    /// What is so.
    pub fact: &'static str,
    /// The page of the guide about it.
    pub page: &'static str,
    /// The test that shows it, as `file: name`.
    pub test: &'static str,
    trace: fn(&Host, &Aim, &str) -> Trace,
}

/// What a belief has left on the host.
#[derive(Debug, PartialEq, Eq)]
struct Trace {
    value: Option<String>,
    verdict: Verdict,
    set: Vec<String>,
}

impl Belief {
    pub(super) fn look(&self, host: &Host, aim: &Aim) -> Tale {
        let Self { name, claim, fact, page, test, trace } = *self;
        let Trace { value, verdict, set } = trace(host, aim, name);
        Tale { name, claim, fact, page, test, value, verdict, set }
    }
}

/// A belief of programs, which leaves nothing on a host.
fn none(_: &Host, _: &Aim, _: &str) -> Trace {
    Trace { value: None, verdict: Verdict::Ok, set: Vec::new() }
}

/// `tuned` says whether a value is another than the kernel's own, and what that is.
fn of_sysctl(host: &Host, name: &str, verdict: Verdict, tuned: impl Fn(i64) -> Option<i64>) -> Trace {
    let Some(value) = host.sysctl(name).and_then(|text| text.parse().ok()) else {
        return Trace { value: None, verdict: Verdict::Unknown, set: Vec::new() };
    };
    match tuned(value) {
        None => Trace { value: Some(value.to_string()), verdict: Verdict::Ok, set: Vec::new() },
        Some(usual) => {
            let mut set = vec![format!("sysctl -w {name}={usual}")];
            set.extend(host.tuning(name).map(|tuning| format!("and take it out of {}", tuning.file)));
            Trace { value: Some(value.to_string()), verdict, set }
        }
    }
}

fn tw_reuse(host: &Host, aim: &Aim, name: &str) -> Trace {
    // A gateway connects: it has its ports again sooner.
    let gateway = !aim.relays.is_empty();
    // 2 is for loopback only (since Linux 4.19).
    of_sysctl(host, name, Verdict::Advice, |value| (value == 1 && !gateway).then_some(2))
}

fn fin_timeout(host: &Host, _: &Aim, name: &str) -> Trace {
    of_sysctl(host, name, Verdict::Advice, |value| (value < 60).then_some(60))
}

fn abort_on_overflow(host: &Host, _: &Aim, name: &str) -> Trace {
    of_sysctl(host, name, Verdict::Harm, |value| (value != 0).then_some(0))
}

fn tw_buckets(host: &Host, _: &Aim, name: &str) -> Trace {
    // Half of the hash table's entries (net/ipv4/tcp_ipv4.c: tcp_sk_init); negative where it is shared.
    let entries = host.sysctl("net.ipv4.tcp_ehash_entries").and_then(|text| text.parse::<i64>().ok());
    // Before Linux 6.1 the table's size is not told; no host that is a server has a smaller one.
    let usual = entries.map_or(4_096, |entries| entries.saturating_abs() / 2);
    of_sysctl(host, name, Verdict::Advice, |value| (value < usual).then_some(usual))
}

/// It was there before Linux 4.12; after that, it is only in files.
fn tw_recycle(host: &Host, aim: &Aim, name: &str) -> Trace {
    let tuning = host.tuning(name);
    let remove = tuning.map(|tuning| format!("take it out of {}", tuning.file));
    match (host.number(name, 0), tuning) {
        (Some(value), _) if value != 0 => {
            let mut set = vec![format!("sysctl -w {name}=0")];
            set.extend(remove);
            Trace { value: Some(value.to_string()), verdict: Verdict::Harm, set }
        }
        (_, Some(tuning)) => Trace {
            value: Some(format!("{} in {}", tuning.value, tuning.file)),
            verdict: Verdict::Advice,
            set: remove.into_iter().collect(),
        },
        (_, None) => none(host, aim, name),
    }
}

/// Every entry, in the order of the report: those of hosts first, then those of programs.
pub const FOLKLORE: &[Belief] = &[
    Belief {
        name: "net.ipv4.tcp_tw_recycle",
        claim: "set it to 1 to get rid of TIME_WAITs",
        fact: "it broke clients behind NAT, and Linux has not had it since 4.12",
        page: "time_wait",
        test: "tests/kernel/folklore/closing.rs: tcp_tw_recycle_is_gone",
        trace: tw_recycle,
    },
    Belief {
        name: "net.ipv4.tcp_tw_reuse",
        claim: "set it to 1 to spare a server its TIME_WAITs",
        fact: "it concerns who connects, as a gateway does, and not who accepts: a server keeps every one of them",
        page: "time_wait",
        test: "tests/kernel/folklore/closing.rs: tcp_tw_reuse_spares_a_server_nothing",
        trace: tw_reuse,
    },
    Belief {
        name: "net.ipv4.tcp_max_tw_buckets",
        claim: "lower it to have fewer TIME_WAITs",
        fact: "those above it are dropped at once, so a late FIN of such a connection is answered by a reset; \
               they cost 256 bytes each",
        page: "time_wait",
        test: "tests/kernel/folklore/closing.rs: a_lowered_tcp_max_tw_buckets_only_drops_time_waits_early",
        trace: tw_buckets,
    },
    Belief {
        name: "net.ipv4.tcp_fin_timeout",
        claim: "lower it to shorten TIME_WAIT",
        fact: "TIME_WAIT lasts 60 s whatever it says; it bounds how long a closed socket waits for the peer's FIN",
        page: "fin_wait2",
        test: "tests/kernel/folklore/closing.rs: tcp_fin_timeout_bounds_orphans_in_fin_wait2_and_nothing_else",
        trace: fin_timeout,
    },
    Belief {
        name: "net.ipv4.tcp_abort_on_overflow",
        claim: "set it to 1 so that clients learn of a full accept queue",
        fact: "a burst that a moment's patience would have absorbed becomes errors at the clients",
        page: "accept_queue",
        test: "tests/kernel/folklore/accepting.rs: tcp_abort_on_overflow_turns_a_burst_into_errors",
        trace: abort_on_overflow,
    },
    Belief {
        name: "somaxconn at once",
        claim: "raise net.core.somaxconn, and the running server has a longer queue",
        fact: "a listener has what held when it called listen, until it calls it again",
        page: "accept_queue",
        test: "tests/kernel/folklore/accepting.rs: a_raised_somaxconn_waits_for_the_next_listen",
        trace: none,
    },
    Belief {
        name: "65,535 connections",
        claim: "a server runs out of ports",
        fact: "all its connections have one port of its own; a client's port serves again for each other address",
        page: "million",
        test: "tests/kernel/folklore/accepting.rs: more_connections_than_there_are_client_ports",
        trace: none,
    },
    Belief {
        name: "connected",
        claim: "connect succeeded, so the server has the connection",
        fact: "the kernel answers for it: nobody needs to accept, and a full queue may have dropped it",
        page: "accept_queue",
        test: "tests/kernel/folklore/accepting.rs: a_client_is_connected_to_nobody_once_the_queue_overflows",
        trace: none,
    },
    Belief {
        name: "SO_LINGER as a timer",
        claim: "a time in SO_LINGER shortens TIME_WAIT",
        fact: "close waits that long for acknowledgements, non-blocking or not, and TIME_WAIT follows all the same",
        page: "time_wait",
        test: "tests/kernel/folklore/closing.rs: a_linger_time_makes_close_wait_and_leaves_the_time_wait",
        trace: none,
    },
    Belief {
        name: "SO_LINGER {1,0}",
        claim: "a reset is the cheap way to close without TIME_WAIT",
        fact: "what was sent and not yet read by the peer is lost",
        page: "time_wait",
        test: "tests/kernel/folklore/closing.rs: a_reset_loses_what_is_on_its_way",
        trace: none,
    },
    Belief {
        name: "SO_REUSEADDR",
        claim: "it removes TIME_WAITs, or lets two servers listen on a port",
        fact: "bind succeeds beside TIME_WAITs, which stay; beside a listener it fails",
        page: "time_wait",
        test: "tests/kernel/folklore/closing.rs: so_reuseaddr_binds_beside_a_time_wait_and_not_beside_a_listener",
        trace: none,
    },
    Belief {
        name: "shutdown, then close",
        claim: "parting in two steps avoids TIME_WAIT",
        fact: "the side that sends the first FIN keeps it, and no option removes it afterwards",
        page: "half_close",
        test: "tests/kernel/folklore/closing.rs: a_half_close_first_still_ends_in_time_wait_that_no_option_removes",
        trace: none,
    },
    Belief {
        name: "a pair in TIME_WAIT",
        claim: "a client cannot come back from the same port for 60 s",
        fact: "a SYN that is newer than the old connection opens it again at once",
        page: "time_wait",
        test: "tests/kernel/folklore/closing.rs: a_new_syn_reopens_a_pair_in_time_wait",
        trace: none,
    },
    Belief {
        name: "CLOSE_WAIT",
        claim: "the kernel cleans up connections in CLOSE_WAIT after a while",
        fact: "no timer runs: it stays until the program closes it",
        page: "close_wait",
        test: "tests/kernel/folklore/closing.rs: a_close_wait_has_no_timer",
        trace: none,
    },
    Belief {
        name: "SO_KEEPALIVE",
        claim: "turn it on, and dead peers are noticed",
        fact: "the first probe leaves after tcp_keepalive_time, 2 hours, and none while output is in flight",
        page: "heartbeats",
        test: "tests/kernel/folklore/detecting.rs: so_keepalive_alone_waits_for_two_hours",
        trace: none,
    },
    Belief {
        name: "tcp_keepalive_* for all",
        claim: "lower net.ipv4.tcp_keepalive_time, and the host notices dead peers",
        fact: "only sockets with SO_KEEPALIVE, whose program has set no times of its own, ever look at it",
        page: "heartbeats",
        test: "tests/kernel/folklore/detecting.rs: keepalive_sysctls_do_nothing_for_a_socket_without_the_option",
        trace: none,
    },
    Belief {
        name: "TCP_USER_TIMEOUT",
        claim: "it finds dead peers by itself",
        fact: "it never fires while nothing is in flight: an idle connection needs keepalive or a heartbeat",
        page: "heartbeats",
        test: "tests/kernel/liveness_netns.rs: user_timeout_finds_data_in_flight_that_is_not_acknowledged",
        trace: none,
    },
    Belief {
        name: "send",
        claim: "send succeeded, so the peer has it",
        fact: "it is in a buffer here; the peer may never read it, nor be there any more",
        page: "sigpipe",
        test: "tests/kernel/folklore/detecting.rs: a_send_that_succeeded_may_reach_nobody",
        trace: none,
    },
    Belief {
        name: "readiness",
        claim: "poll says readable, so recv has something",
        fact: "it is a hint: by the time of recv there may be nothing",
        page: "detection",
        test: "src/sys/polling_facts.rs: readiness_is_a_hint_and_no_proof",
        trace: none,
    },
];
