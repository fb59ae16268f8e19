//! The table of checks. Each is a name, a function of host and aim, and the test that shows what it rests on.
//!
//! A rule answers `None` where the value that it is named for cannot be read: what that means is said here,
//! once. The rules stand by subject in `descriptors.rs`, `queues.rs`, `memory.rs`, `timers.rs`, `ports.rs`,
//! `half_closes.rs` and `counters.rs`.

mod counters;
mod descriptors;
mod half_closes;
pub(super) mod memory;
mod ports;
mod queues;
mod timers;

use super::host::Reading;
use super::{Aim, Finding, Host, Judgement, Verdict};

/// One rule.
#[derive(Debug)]
pub struct Check {
    /// The sysctl, limit or counter.
    pub name: &'static str,
    judge: fn(&Host, &Aim) -> Option<Judgement>,
    absent: Absent,
    concerns: fn(&Aim) -> bool,
    /// The page of the guide about it.
    pub page: &'static str,
    /// The test that shows the kernel behave so, as `file: name`.
    pub test: Option<&'static str>,
}

/// What it means when there is no such value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Absent {
    /// It would be there on any kernel that this runs on.
    Strange,
    /// The kernel shows it in the first network namespace only, and it holds in all of them.
    Elsewhere,
    /// What it bounds is not there, so nothing is bounded.
    Fine(&'static str),
}

impl Check {
    const fn new(name: &'static str, judge: fn(&Host, &Aim) -> Option<Judgement>) -> Self {
        Self { name, judge, absent: Absent::Strange, concerns: |_| true, page: "million", test: None }
    }

    /// Of another subject than room for very many.
    const fn explained_by(self, page: &'static str) -> Self {
        Self { page, ..self }
    }

    const fn elsewhere(self) -> Self {
        Self { absent: Absent::Elsewhere, ..self }
    }

    const fn fine_without(self, why: &'static str) -> Self {
        Self { absent: Absent::Fine(why), ..self }
    }

    /// Nothing is said of it where it does not concern the aim.
    const fn only_where(self, concerns: fn(&Aim) -> bool) -> Self {
        Self { concerns, ..self }
    }

    const fn shown_by(self, test: &'static str) -> Self {
        Self { test: Some(test), ..self }
    }

    pub(super) fn concerns(&self, aim: &Aim) -> bool {
        (self.concerns)(aim)
    }

    pub(super) fn find(&self, host: &Host, aim: &Aim) -> Finding {
        let Self { name, page, test, .. } = *self;
        if let Some(Judgement { value, verdict, set, why }) = (self.judge)(host, aim) {
            return Finding { name, value: Some(value), verdict, set, why, page, test };
        }
        let denied = host.sysctls.get(name) == Some(&Reading::Denied);
        let (verdict, why) = match self.absent {
            _ if denied => (Verdict::Unknown, "may not be read here: ask as root"),
            Absent::Strange => (Verdict::Unknown, "not shown by this host"),
            Absent::Elsewhere => (
                Verdict::Unknown,
                "shown in the host's first network namespace only, and in force here too: ask there",
            ),
            Absent::Fine(why) => (Verdict::Ok, why),
        };
        Finding { name, value: None, verdict, set: Vec::new(), why: why.to_owned(), page, test }
    }
}

const NO_CONNTRACK: &str = "the kernel tracks no connections, so no table of theirs can fill up";

/// Every rule, in the order of the report.
pub const CHECKS: &[Check] = &[
    Check::new("RLIMIT_NOFILE", descriptors::process)
        .shown_by("src/sys/limits.rs: out_of_descriptors_accept_stalls_until_the_reserve_is_released"),
    Check::new("fs.nr_open", descriptors::ceiling).shown_by("tests/kernel/folklore/limits.rs: nr_open_is_the_ceiling_of_descriptors_even_for_root"),
    Check::new("fs.file-max", descriptors::host),
    Check::new("fs.epoll.max_user_watches", descriptors::watches),
    Check::new("net.core.somaxconn", queues::somaxconn).explained_by("accept_queue")
        .shown_by("src/sys/facts.rs: the_backlog_is_capped_by_the_host"),
    Check::new("net.ipv4.tcp_syncookies", queues::syncookies).explained_by("accept_queue").shown_by("tests/kernel/folklore/limits.rs: without_syn_cookies_half_open_connections_shut_the_others_out"),
    Check::new("net.ipv4.tcp_max_syn_backlog", queues::syn_backlog).explained_by("accept_queue").shown_by("tests/kernel/folklore/limits.rs: tcp_max_syn_backlog_bounds_half_open_connections_only_without_syn_cookies"),
    Check::new("net.core.netdev_max_backlog", queues::netdev).elsewhere(),
    Check::new("net.netfilter.nf_conntrack_max", queues::conntrack).fine_without(NO_CONNTRACK),
    Check::new("net.netfilter.nf_conntrack_tcp_timeout_established", timers::conntrack).explained_by("ghosts").shown_by("tests/kernel/folklore/limits.rs: connection_tracking_that_forgets_cuts_an_idle_connection_without_a_word")
        .fine_without(NO_CONNTRACK),
    Check::new("MemAvailable", memory::host),
    Check::new("memory.max", memory::group)
        .fine_without("no control group bounds the memory of this process"),
    Check::new("net.ipv4.tcp_mem", memory::tcp_mem).elsewhere(),
    Check::new("net.ipv4.tcp_rmem", memory::receive_buffer),
    Check::new("net.ipv4.tcp_wmem", memory::send_buffer),
    Check::new("net.ipv4.tcp_max_orphans", memory::orphans).explained_by("fin_wait2").elsewhere(),
    Check::new("net.ipv4.tcp_orphan_retries", timers::orphan_retries).explained_by("fin_wait2").shown_by("tests/kernel/folklore/limits.rs: tcp_orphan_retries_of_one_gives_a_closed_socket_up_at_once"),
    Check::new("net.ipv4.tcp_retries2", timers::retries2).explained_by("heartbeats").shown_by("tests/kernel/folklore/limits.rs: tcp_retries2_is_for_those_without_a_user_timeout"),
    Check::new("net.ipv4.tcp_keepalive_time", timers::keepalive_time).explained_by("heartbeats")
        .shown_by("tests/kernel/folklore/detecting.rs: so_keepalive_alone_waits_for_two_hours"),
    Check::new("net.ipv4.tcp_keepalive_intvl", timers::keepalive_interval).explained_by("heartbeats").shown_by("tests/kernel/folklore/detecting.rs: keepalive_sysctls_do_nothing_for_a_socket_without_the_option"),
    Check::new("net.ipv4.tcp_keepalive_probes", timers::keepalive_probes).explained_by("heartbeats").shown_by("tests/kernel/folklore/detecting.rs: keepalive_sysctls_do_nothing_for_a_socket_without_the_option"),
    Check::new("net.ipv4.tcp_timestamps", timers::timestamps).explained_by("accept_queue").shown_by("tests/kernel/folklore/limits.rs: without_timestamps_a_syn_cookie_loses_the_window_scale"),
    Check::new("net.ipv4.ip_local_port_range", ports::range).explained_by("time_wait")
        .shown_by("tests/kernel/folklore/accepting.rs: one_client_port_serves_two_connections_to_one_listener"),
    Check::new("net.ipv4.ip_local_reserved_ports", ports::reserved).explained_by("gateway").shown_by("tests/kernel/folklore/limits.rs: a_connection_going_out_holds_a_servers_port_unless_that_is_reserved"),
    Check::new("linger_forwarded_fins_total", half_closes::half_closes).explained_by("gateway")
        .only_where(half_closes::concern)
        .shown_by("tests/kernel/folklore/closing.rs: tcp_tw_reuse_says_when_connect_may_use_a_port_again"),
    Check::new("net.ipv4.tcp_migrate_req", queues::migrate).explained_by("accept_queue")
        .shown_by("tests/kernel/folklore/limits.rs: tcp_migrate_req_lets_another_listener_of_the_port_take_over_a_queue"),
    Check::new("net.ipv4.tcp_congestion_control", timers::congestion),
    Check::new("TcpExt.ListenOverflows", counters::overflows).explained_by("accept_queue")
        .shown_by("src/sys/facts.rs: a_full_accept_queue_is_seen_and_counted"),
    Check::new("TcpExt.ListenDrops", counters::listen_drops).explained_by("accept_queue")
        .shown_by("src/sys/facts.rs: a_full_accept_queue_is_seen_and_counted"),
    Check::new("TcpExt.TCPReqQFullDrop", counters::request_drops).explained_by("accept_queue").shown_by("tests/kernel/folklore/limits.rs: without_syn_cookies_half_open_connections_shut_the_others_out"),
    Check::new("TcpExt.TW", counters::time_waits).explained_by("time_wait"),
    Check::new("TcpExt.TCPTimeWaitOverflow", counters::time_wait_overflow).explained_by("time_wait")
        .shown_by("tests/kernel/folklore/closing.rs: a_lowered_tcp_max_tw_buckets_only_drops_time_waits_early"),
    Check::new("TcpExt.TCPAbortOnMemory", counters::aborted),
    Check::new("TcpExt.PruneCalled", counters::pruned),
];
