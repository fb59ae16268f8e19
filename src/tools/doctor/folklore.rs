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
    /// What is said, in Chinese, for `linger explain`.
    pub claim_zh: &'static str,
    /// What is so, in Chinese.
    pub fact_zh: &'static str,
    /// The page of the guide about it.
    pub page: &'static str,
    /// The test that shows it, as `file: name`.
    pub test: &'static str,
    remains: fn(&Host, &Aim, &str) -> Remains,
}

/// What a belief has left on the host.
#[derive(Debug, PartialEq, Eq)]
struct Remains {
    value: Option<String>,
    verdict: Verdict,
    set: Vec<String>,
}

impl Belief {
    pub(super) fn look(&self, host: &Host, aim: &Aim) -> Tale {
        let Self { name, claim, fact, page, test, remains, .. } = *self;
        let Remains { value, verdict, set } = remains(host, aim, name);
        Tale { name, claim, fact, page, test, value, verdict, set }
    }
}

/// A belief of programs, which leaves nothing on a host.
fn leaves_nothing(_: &Host, _: &Aim, _: &str) -> Remains {
    Remains { value: None, verdict: Verdict::Ok, set: Vec::new() }
}

/// `tuned` says whether a value is another than the kernel's own, and what that is.
fn left_in_sysctl(host: &Host, name: &str, verdict: Verdict, tuned: impl Fn(i64) -> Option<i64>) -> Remains {
    let Some(value) = host.sysctl(name).and_then(|text| text.parse().ok()) else {
        return Remains { value: None, verdict: Verdict::Unknown, set: Vec::new() };
    };
    match tuned(value) {
        None => Remains { value: Some(value.to_string()), verdict: Verdict::Ok, set: Vec::new() },
        Some(usual) => {
            let mut set = vec![format!("sysctl -w {name}={usual}")];
            set.extend(host.tuning(name).map(|tuning| format!("and take it out of {}", tuning.file)));
            Remains { value: Some(value.to_string()), verdict, set }
        }
    }
}

fn tw_reuse(host: &Host, aim: &Aim, name: &str) -> Remains {
    // A gateway connects: it has its ports again sooner.
    let gateway = !aim.relays.is_empty();
    // 2 is for loopback only (since Linux 4.19).
    left_in_sysctl(host, name, Verdict::Advice, |value| (value == 1 && !gateway).then_some(2))
}

fn fin_timeout(host: &Host, _: &Aim, name: &str) -> Remains {
    left_in_sysctl(host, name, Verdict::Advice, |value| (value < 60).then_some(60))
}

fn abort_on_overflow(host: &Host, _: &Aim, name: &str) -> Remains {
    left_in_sysctl(host, name, Verdict::Harm, |value| (value != 0).then_some(0))
}

fn tw_buckets(host: &Host, _: &Aim, name: &str) -> Remains {
    // Half of the hash table's entries (net/ipv4/tcp_ipv4.c: tcp_sk_init); negative where it is shared.
    let entries = host.sysctl("net.ipv4.tcp_ehash_entries").and_then(|text| text.parse::<i64>().ok());
    // Before Linux 6.1 the table's size is not told; no host that is a server has a smaller one.
    let usual = entries.map_or(4_096, |entries| entries.saturating_abs() / 2);
    left_in_sysctl(host, name, Verdict::Advice, |value| (value < usual).then_some(usual))
}

/// It was there before Linux 4.12; after that, it is only in files.
fn tw_recycle(host: &Host, aim: &Aim, name: &str) -> Remains {
    let tuning = host.tuning(name);
    let remove = tuning.map(|tuning| format!("take it out of {}", tuning.file));
    match (host.number(name, 0), tuning) {
        (Some(value), _) if value != 0 => {
            let mut set = vec![format!("sysctl -w {name}=0")];
            set.extend(remove);
            Remains { value: Some(value.to_string()), verdict: Verdict::Harm, set }
        }
        (_, Some(tuning)) => Remains {
            value: Some(format!("{} in {}", tuning.value, tuning.file)),
            verdict: Verdict::Advice,
            set: remove.into_iter().collect(),
        },
        (_, None) => leaves_nothing(host, aim, name),
    }
}

/// Every entry, in the order of the report: those of hosts first, then those of programs.
pub const FOLKLORE: &[Belief] = &[
    Belief {
        name: "net.ipv4.tcp_tw_recycle",
        claim: "set it to 1 to get rid of TIME_WAITs",
        fact: "it broke clients behind NAT, and Linux has not had it since 4.12",
        claim_zh: "设为 1 就能消除 TIME_WAIT",
        fact_zh: "它曾弄断 NAT 后面的客户端，Linux 从 4.12 起已删除它",
        page: "time_wait",
        test: "tests/kernel/folklore/closing.rs: tcp_tw_recycle_is_gone",
        remains: tw_recycle,
    },
    Belief {
        name: "net.ipv4.tcp_tw_reuse",
        claim: "set it to 1 to spare a server its TIME_WAITs",
        fact: "it concerns who connects, as a gateway does, and not who accepts: a server keeps every one of them",
        claim_zh: "设为 1，服务器就不再留下 TIME_WAIT",
        fact_zh: "它只关系到主动连接的一方（例如网关），与接受连接的一方无关：服务器的 TIME_WAIT 一个也不少",
        page: "time_wait",
        test: "tests/kernel/folklore/closing.rs: tcp_tw_reuse_spares_a_server_nothing",
        remains: tw_reuse,
    },
    Belief {
        name: "net.ipv4.tcp_max_tw_buckets",
        claim: "lower it to have fewer TIME_WAITs",
        fact: "those above it are dropped at once, so a late FIN of such a connection is answered by a reset; \
               they cost 256 bytes each",
        claim_zh: "调低它，TIME_WAIT 就少了",
        fact_zh: "超出的会被立即丢弃，这样的连接迟到的 FIN 会得到 RST；每个只占 256 字节",
        page: "time_wait",
        test: "tests/kernel/folklore/closing.rs: a_lowered_tcp_max_tw_buckets_only_drops_time_waits_early",
        remains: tw_buckets,
    },
    Belief {
        name: "net.ipv4.tcp_fin_timeout",
        claim: "lower it to shorten TIME_WAIT",
        fact: "TIME_WAIT lasts 60 s whatever it says; it bounds how long a closed socket waits for the peer's FIN",
        claim_zh: "调低它就能缩短 TIME_WAIT",
        fact_zh: "无论它是多少，TIME_WAIT 都是 60 秒；它限制的是已关闭的 socket 等待对端 FIN 的时间",
        page: "fin_wait2",
        test: "tests/kernel/folklore/closing.rs: tcp_fin_timeout_bounds_orphans_in_fin_wait2_and_nothing_else",
        remains: fin_timeout,
    },
    Belief {
        name: "net.ipv4.tcp_abort_on_overflow",
        claim: "set it to 1 so that clients learn of a full accept queue",
        fact: "a burst that a moment's patience would have absorbed becomes errors at the clients",
        claim_zh: "设为 1，客户端就知道 accept 队列满了",
        fact_zh: "稍等片刻就能消化的突发，会变成客户端的错误",
        page: "accept_queue",
        test: "tests/kernel/folklore/accepting.rs: tcp_abort_on_overflow_turns_a_burst_into_errors",
        remains: abort_on_overflow,
    },
    Belief {
        name: "somaxconn at once",
        claim: "raise net.core.somaxconn, and the running server has a longer queue",
        fact: "a listener has what held when it called listen, until it calls it again",
        claim_zh: "调高 net.core.somaxconn，正在运行的服务器的队列就变长",
        fact_zh: "监听者的队列长度由它调用 listen 时的值决定，再次调用才会改变",
        page: "accept_queue",
        test: "tests/kernel/folklore/accepting.rs: a_raised_somaxconn_waits_for_the_next_listen",
        remains: leaves_nothing,
    },
    Belief {
        name: "65,535 connections",
        claim: "a server runs out of ports",
        fact: "all its connections have one port of its own; a client's port serves again for each other address",
        claim_zh: "服务器的端口会用尽",
        fact_zh: "它的所有连接共用它自己的一个端口；客户端的端口对每个别的地址都可以再用",
        page: "million",
        test: "tests/kernel/folklore/accepting.rs: more_connections_than_there_are_client_ports",
        remains: leaves_nothing,
    },
    Belief {
        name: "connected",
        claim: "connect succeeded, so the server has the connection",
        fact: "the kernel answers for it: nobody needs to accept, and a full queue may have dropped it",
        claim_zh: "connect 成功，服务器就有了这条连接",
        fact_zh: "是内核在应答：不需要有程序 accept；队列满时，它可能已被丢弃",
        page: "accept_queue",
        test: "tests/kernel/folklore/accepting.rs: a_client_is_connected_to_nobody_once_the_queue_overflows",
        remains: leaves_nothing,
    },
    Belief {
        name: "SO_LINGER as a timer",
        claim: "a time in SO_LINGER shortens TIME_WAIT",
        fact: "close waits that long for acknowledgements, non-blocking or not, and TIME_WAIT follows all the same",
        claim_zh: "在 SO_LINGER 里设时间可以缩短 TIME_WAIT",
        fact_zh: "close 会为等待确认而等那么久，非阻塞也一样；之后 TIME_WAIT 照留",
        page: "time_wait",
        test: "tests/kernel/folklore/closing.rs: a_linger_time_makes_close_wait_and_leaves_the_time_wait",
        remains: leaves_nothing,
    },
    Belief {
        name: "SO_LINGER {1,0}",
        claim: "a reset is the cheap way to close without TIME_WAIT",
        fact: "what was sent and not yet read by the peer is lost",
        claim_zh: "用重置来关闭，代价小，又没有 TIME_WAIT",
        fact_zh: "已发送而对端还没读的数据会丢失",
        page: "time_wait",
        test: "tests/kernel/folklore/closing.rs: a_reset_loses_what_is_on_its_way",
        remains: leaves_nothing,
    },
    Belief {
        name: "SO_REUSEADDR",
        claim: "it removes TIME_WAITs, or lets two servers listen on a port",
        fact: "bind succeeds beside TIME_WAITs, which stay; beside a listener it fails",
        claim_zh: "它能去掉 TIME_WAIT，或让两个服务器监听同一个端口",
        fact_zh: "有 TIME_WAIT 时 bind 能成功，但 TIME_WAIT 还在；已有监听者时 bind 失败",
        page: "time_wait",
        test: "tests/kernel/folklore/closing.rs: so_reuseaddr_binds_beside_a_time_wait_and_not_beside_a_listener",
        remains: leaves_nothing,
    },
    Belief {
        name: "shutdown, then close",
        claim: "closing in two steps avoids TIME_WAIT",
        fact: "the side that sends the first FIN keeps it, and no option removes it afterwards",
        claim_zh: "分两步断开可以避免 TIME_WAIT",
        fact_zh: "先发 FIN 的一方留下它，之后没有任何选项能去掉它",
        page: "half_close",
        test: "tests/kernel/folklore/closing.rs: a_half_close_first_still_ends_in_time_wait_that_no_option_removes",
        remains: leaves_nothing,
    },
    Belief {
        name: "a pair in TIME_WAIT",
        claim: "a client cannot come back from the same port for 60 s",
        fact: "a SYN that is newer than the old connection opens it again at once",
        claim_zh: "60 秒之内，客户端不能从同一个端口回来",
        fact_zh: "比旧连接更新的 SYN 会立即重新打开它",
        page: "time_wait",
        test: "tests/kernel/folklore/closing.rs: a_new_syn_reopens_a_pair_in_time_wait",
        remains: leaves_nothing,
    },
    Belief {
        name: "CLOSE_WAIT",
        claim: "the kernel cleans up connections in CLOSE_WAIT after a while",
        fact: "no timer runs: it stays until the program closes it",
        claim_zh: "过一段时间，内核会清理 CLOSE_WAIT 的连接",
        fact_zh: "没有定时器：它一直留到程序关闭它",
        page: "close_wait",
        test: "tests/kernel/folklore/closing.rs: a_close_wait_has_no_timer",
        remains: leaves_nothing,
    },
    Belief {
        name: "SO_KEEPALIVE",
        claim: "turn it on, and dead peers are noticed",
        fact: "the first probe leaves after tcp_keepalive_time, 2 hours, and none while output is in flight",
        claim_zh: "打开它，就能发现已经不在的对端",
        fact_zh: "第一次探测要等 tcp_keepalive_time，即 2 小时；有在途输出时不探测",
        page: "heartbeats",
        test: "tests/kernel/folklore/detecting.rs: so_keepalive_alone_waits_for_two_hours",
        remains: leaves_nothing,
    },
    Belief {
        name: "tcp_keepalive_* for all",
        claim: "lower net.ipv4.tcp_keepalive_time, and the host notices dead peers",
        fact: "only sockets with SO_KEEPALIVE, whose program has set no times of its own, ever look at it",
        claim_zh: "调低 net.ipv4.tcp_keepalive_time，主机就能发现已经不在的对端",
        fact_zh: "只有设了 SO_KEEPALIVE、而程序没有自己设时间的 socket 才用它",
        page: "heartbeats",
        test: "tests/kernel/folklore/detecting.rs: keepalive_sysctls_do_nothing_for_a_socket_without_the_option",
        remains: leaves_nothing,
    },
    Belief {
        name: "TCP_USER_TIMEOUT",
        claim: "it finds dead peers by itself",
        fact: "it never fires while nothing is in flight: an idle connection needs keepalive or a heartbeat",
        claim_zh: "它自己就能发现已经不在的对端",
        fact_zh: "没有在途数据时它永远不触发：空闲连接需要 keepalive 或心跳",
        page: "heartbeats",
        test: "tests/kernel/liveness_netns.rs: user_timeout_finds_data_in_flight_that_is_not_acknowledged",
        remains: leaves_nothing,
    },
    Belief {
        name: "send",
        claim: "send succeeded, so the peer has it",
        fact: "it is in a buffer here; the peer may never read it, nor be there any more",
        claim_zh: "send 成功，对端就收到了",
        fact_zh: "数据只是进了本机的缓冲区；对端可能永远不读，也可能已经不在",
        page: "sigpipe",
        test: "tests/kernel/folklore/detecting.rs: a_send_that_succeeded_may_reach_nobody",
        remains: leaves_nothing,
    },
    Belief {
        name: "readiness",
        claim: "poll says readable, so recv has something",
        fact: "it is a hint: by the time of recv there may be nothing",
        claim_zh: "poll 说可读，recv 就有数据",
        fact_zh: "这只是提示：到 recv 时可能什么也没有",
        page: "detection",
        test: "src/sys/polling_facts.rs: readiness_is_a_hint_and_no_proof",
        remains: leaves_nothing,
    },
];
