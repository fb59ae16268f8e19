//! The keys of a listener: its own, and those it shares with `[defaults]` and `[admin]`.

use super::texts::{NAME, networks};
use super::{
    CONNECTIONS_MAX, DAY, HOUR, KEEPALIVE_COUNT_MAX, KEEPALIVE_MAX, MONTH, PING_MIN, SECOND, TIMEOUT_MIN,
    USER_TIMEOUT_MAX,
};
use crate::core::setting::{Default, Key, Kind, Step};
use crate::core::time::Duration;

/// A timeout that can be off.
const TIMEOUT_OR_OFF: Kind =
    Kind::Period { min: TIMEOUT_MIN, max: MONTH, step: Step::Millisecond, words: &["off"] };
/// A period of the kernel's keepalive.
const KEEPALIVE: Kind = Kind::Period { min: SECOND, max: KEEPALIVE_MAX, step: Step::Second, words: &[] };
/// Connections a second, or no bound on them.
const RATE: Kind = Kind::Count { min: 1, max: 1_000_000, words: &["off"] };
/// How networks are written.
const NETWORKS: &str =
    "networks as \"10.0.0.0/8\" or \"2001:db8::/32\", separated by commas or in an array, or \"none\"";
const NETWORKS_OR_ALL: &str =
    "networks as \"10.0.0.0/8\" or \"2001:db8::/32\", separated by commas or in an array, or \"all\"";
/// A last rung of the closing ladder.
const RUNG: Kind = Kind::Choice(&["linger2", "reset"]);

/// What only a listener for clients has, of these protocols.
pub(super) const fn own(protocols: &'static [&'static str]) -> [Key; 4] {
    [
        Key {
            name: "name",
            kind: NAME,
            default: Default::Usual("auto"),
            doc: "Its name in log lines and metrics. \"auto\" is the protocol, with the port when that is taken.",
            why: "One listener a protocol is the usual case, and then the protocol says it best.",
        },
        Key {
            name: "protocol",
            kind: Kind::Choice(protocols),
            default: Default::Required,
            doc: "What is spoken.",
            why: "No default: it is what the listener is for.",
        },
        Key {
            name: "address",
            kind: Kind::TcpAddress,
            default: Default::Required,
            doc: "Where to listen. \"0.0.0.0:7000\" is all of IPv4, \"[::]:7000\" is IPv6 and IPv4; port 0 lets \
                  the kernel choose.",
            why: "No default: who may connect is for you to say. The listeners served without a configuration \
                  are on loopback only.",
        },
        Key {
            name: "v6_only",
            kind: Kind::Flag,
            default: Default::Usual("false"),
            doc: "Keep IPv4 clients out of an IPv6 listener.",
            why: "One dual-stack listener serves everybody.",
        },
    ]
}

/// What listeners inherit from `[defaults]`.
pub(super) static SHARED: [Key; 42] = [
    Key {
        name: "backlog",
        kind: Kind::Count { min: 1, max: 1_000_000, words: &[] },
        default: Default::Usual("4096"),
        doc: "Length of the accept queue asked for, in connections; the kernel caps it at net.core.somaxconn.",
        why: "The kernel's own default cap, so a reconnect storm meets the largest queue the host allows; \
              an empty queue costs nothing.",
    },
    Key {
        name: "max_connections",
        kind: Kind::Count { min: 1, max: CONNECTIONS_MAX, words: &["auto"] },
        default: Default::Usual("auto"),
        doc: "Most connections at once on this listener; \"auto\" leaves it to server.max_connections.",
        why: "One bound for the process is enough until listeners compete. The admin interface serves a \
              few scrapers and people, and must not take descriptors from clients.",
    },
    Key {
        name: "overload",
        kind: Kind::Choice(&["queue", "shed"]),
        default: Default::Usual("queue"),
        doc: "What a full listener does: \"queue\" leaves newcomers in the accept queue and watches it, \
              \"shed\" accepts them, says that it is full in the protocol, and parts.",
        why: "A full server is usually full for a moment, and waiting costs a client less than failing. \
              Shed when clients have another server to go to.",
    },
    Key {
        name: "accept_rate",
        kind: RATE,
        default: Default::Usual("off"),
        doc: "Most connections let in per second, and after a second of rest as many at once. Where more come, overload \
              says what becomes of them: \"queue\" leaves them in the accept queue for a moment, \"shed\" resets them, \
              local.accept_rate. With several workers, of each of them.",
        why: "A server takes newcomers in as fast as it can without holding up the others. A bound is for what stands \
              behind it: an application that must not be overrun after a power cut.",
    },
    Key {
        name: "source.max_connections",
        kind: Kind::Count { min: 1, max: CONNECTIONS_MAX, words: &["off"] },
        default: Default::Usual("off"),
        doc: "Most connections of one source at once: of an IPv4 address, or of the /64 network of an IPv6 address. One \
              more is reset, local.source_limit. With several workers, of each of them.",
        why: "Thousands of devices may stand behind one address of a carrier's NAT; how many are too many only you know.",
    },
    Key {
        name: "source.accept_rate",
        kind: RATE,
        default: Default::Usual("off"),
        doc: "Most connections of one source let in per second, and after a second of rest as many at once. More are \
              reset, local.source_rate. With several workers, of each of them.",
        why: "As above: a NAT that comes back after an outage brings all of its devices at once.",
    },
    Key {
        name: "allow",
        kind: networks(&["all"], NETWORKS_OR_ALL),
        default: Default::Usual("all"),
        doc: "The networks whose clients may connect; others are reset, local.denied. Where accept_proxy is \"require\" it \
              judges the client that the proxy names, and accept_proxy_trusted judges the proxy.",
        why: "Who may connect is first of all a matter of the address that is listened on, and of the firewall.",
    },
    Key {
        name: "deny",
        kind: networks(&["none"], NETWORKS),
        default: Default::Usual("none"),
        doc: "The networks whose clients may not connect, also where allow has them; they are reset, local.denied.",
        why: "Nobody has misbehaved yet.",
    },
    Key {
        name: "accept_proxy",
        kind: Kind::Choice(&["off", "require"]),
        default: Default::Usual("off"),
        doc: "\"require\": each connection begins with a header of the PROXY protocol, version 1 or 2, by which a proxy \
              says who the client is; log, records, lists and limits then have the client. A connection that does not \
              is reset, protocol.proxy_missing. What is sent to the servers of a gateway is upstream_header.",
        why: "A header can name any client, so that it is never guessed whether one comes.",
    },
    Key {
        name: "accept_proxy_trusted",
        kind: networks(&["none"], NETWORKS),
        default: Default::Usual("none"),
        doc: "The networks of the proxies that accept_proxy believes. What connects from elsewhere is reset, \
              protocol.proxy_untrusted. At a unix socket, its permissions say who is believed.",
        why: "No default: only you know your load balancers.",
    },
    Key {
        name: "accept_proxy_timeout",
        kind: Kind::Period { min: TIMEOUT_MIN, max: HOUR, step: Step::Millisecond, words: &[] },
        default: Default::Usual("5s"),
        doc: "How long the header of accept_proxy may take; then the connection is reset, protocol.proxy_timeout.",
        why: "A proxy sends it as soon as it is connected, so that a lost segment and two retransmissions fit well.",
    },
    Key {
        name: "nodelay",
        kind: Kind::Flag,
        default: Default::Usual("true"),
        doc: "TCP_NODELAY: send small replies at once.",
        why: "Replies are written whole, so Nagle's algorithm could only delay them.",
    },
    Key {
        name: "send_buffer",
        kind: Kind::Size { min: 4 << 10, max: 1 << 30, words: &["auto"] },
        default: Default::Usual("auto"),
        doc: "SO_SNDBUF of a connection; \"auto\" leaves it to the kernel.",
        why: "The kernel sizes it to the path (net.ipv4.tcp_wmem); setting it turns that off.",
    },
    Key {
        name: "heartbeat.style",
        kind: Kind::Choice(&["client", "server", "both", "off"]),
        default: Default::Usual("off"),
        doc: "Who drives the heartbeat: \"client\" expects the client to be heard from, \"server\" pings after \
              silence, \"both\" allows either, \"off\" takes silence for nothing. Shorthand for style and \
              timeout: heartbeat = \"30s\" (client), \"server:30s\", \"both:30s\", \"off\".",
        why: "Who promised nothing is not held to it: a subscriber that only listens, a pooled connection at \
              rest and a person at a keyboard are silent and well. A client makes its own contract with IDENT \
              id BEAT seconds, whatever stands here; hosts that are gone are found by keepalive.",
    },
    Key {
        name: "heartbeat.timeout",
        kind: Kind::Period { min: TIMEOUT_MIN, max: MONTH, step: Step::Millisecond, words: &[] },
        default: Default::Usual("5m"),
        doc: "Silence after which a connection is suspect.",
        why: "Long enough for people who type and for pooled Redis clients; a device makes its own, shorter \
              contract with IDENT id BEAT seconds.",
    },
    Key {
        name: "heartbeat.grace",
        kind: Kind::Period { min: TIMEOUT_MIN, max: DAY, step: Step::Millisecond, words: &[] },
        default: Default::Usual("15s"),
        doc: "How long a suspect connection has to be heard from again before it is ended. Where a client has made \
              its own contract (IDENT id BEAT seconds) it has half of that, but no less than makes 1.5 s of both, \
              and no more than this.",
        why: "At a retransmission timeout of one second, TCP sends a lost beat again after 1, 3, 7 and 15 \
              seconds: room for four tries.",
    },
    Key {
        name: "heartbeat.verdict",
        kind: Kind::Choice(&["end", "report"]),
        default: Default::Usual("end"),
        doc: "What is done about a suspect connection that was not heard from within its grace: \"end\" ends it, \
              \"report\" tells the reason once (log line and event \"verdict\", linger_verdicts_reported_total) and keeps \
              the connection: it stays suspect, and is sent what was withheld.",
        why: "A client that is gone should be ended. \"report\" is for trying a timeout on clients that nobody may cut \
              off. Keepalive and user_timeout still end those whose host does not answer, user_timeout and slow_time those \
              that take nothing of what they are sent.",
    },
    Key {
        name: "heartbeat.interval",
        kind: Kind::Period { min: PING_MIN, max: MONTH, step: Step::Millisecond, words: &["auto"] },
        default: Default::Usual("auto"),
        doc: "Silence after which the server pings, in the styles in which it does; \"auto\" is half of \
              heartbeat.timeout.",
        why: "Half leaves as much time for the answer as there was silence before the question.",
    },
    Key {
        name: "keepalive.enabled",
        kind: Kind::Flag,
        default: Default::Usual("true"),
        doc: "TCP keepalive: the kernel probes a quiet connection. TCP only.",
        why: "It finds a dead host without a byte of ours, and keeps NAT entries alive.",
    },
    Key {
        name: "keepalive.idle",
        kind: KEEPALIVE,
        default: Default::Usual("60s"),
        doc: "Quiet time before the first probe (TCP_KEEPIDLE).",
        why: "Well under the idle times of common NATs and load balancers, which are minutes; the kernel's own \
              default is two hours.",
    },
    Key {
        name: "keepalive.interval",
        kind: KEEPALIVE,
        default: Default::Usual("10s"),
        doc: "Time between unanswered probes (TCP_KEEPINTVL).",
        why: "With three probes, a host may be away for half a minute, a reboot of a switch, and keep its \
              connection.",
    },
    Key {
        name: "keepalive.count",
        kind: Kind::Count { min: 1, max: KEEPALIVE_COUNT_MAX, words: &[] },
        default: Default::Usual("3"),
        doc: "Unanswered probes that end the connection (TCP_KEEPCNT).",
        why: "One lost probe is weather, three in a row are a verdict.",
    },
    Key {
        name: "user_timeout",
        kind: Kind::Period {
            min: TIMEOUT_MIN,
            max: USER_TIMEOUT_MAX,
            step: Step::Millisecond,
            words: &["auto", "off"],
        },
        default: Default::Usual("auto"),
        doc: "TCP_USER_TIMEOUT: how long sent data may stay unacknowledged. \"auto\" is keepalive.idle + \
              keepalive.interval x keepalive.count, less one second or half an interval, whichever is less; off \
              without keepalive.",
        why: "Keepalive rests while data is in flight, so without this a vanished client for which output \
              is pending is kept for about 15 minutes. With it set the kernel compares elapsed time at each probe instead of \
              counting them: \"auto\" lies between the last probe and the end of the wait for its answer, so that \
              all of keepalive.count are sent and none is waited for twice.",
    },
    Key {
        name: "readiness",
        kind: Kind::Flag,
        default: Default::Usual("true"),
        doc: "Take epoll's RDHUP, HUP and ERR flags as hints: a reset is seen while reading is paused, and a \
              short read counts as a drained socket.",
        why: "It saves a call a request and finds endings sooner; off is for measuring the other means.",
    },
    Key {
        name: "tcp_info.interval",
        kind: TIMEOUT_OR_OFF,
        default: Default::Usual("10s"),
        doc: "How often the kernel is asked for a connection's state while reading from it is paused.",
        why: "Only connections under backpressure are asked, so it costs nothing else; ten seconds is soon \
              enough for a client that would not read anyway. A heartbeat that is due asks, also where this is off.",
    },
    Key {
        name: "probe.after_eof",
        kind: Kind::Flag,
        default: Default::Usual("false"),
        doc: "Send a few harmless bytes after a client's FIN: a half-closed client takes them, a closed one \
              answers with a reset, and then neither side is left in TIME_WAIT.",
        why: "It needs a client that does not mind the bytes, which only you can know.",
    },
    Key {
        name: "probe.oob",
        kind: TIMEOUT_OR_OFF,
        default: Default::Usual("off"),
        doc: "How often a quiet connection is sent one out-of-band byte (MSG_OOB).",
        why: "A client that reads urgent data in line, or has not read past the byte before, finds a stray \
              byte in its stream, and some firewalls clear the URG flag and so turn it into data. Keepalive does \
              the same job unseen.",
    },
    Key {
        name: "audit.end",
        kind: Kind::Choice(&["off", "missing", "all"]),
        default: Default::Usual("missing"),
        doc: "Which connections an audit ends, local.audit: \"missing\" those that the kernel has no connection \
              for any more, \"all\" also those found by audit.close_wait, \"off\" none. All are counted and \
              told.",
        why: "What is missing is gone by the word of the socket itself, twice: nothing can be sent to it or \
              come from it. A client that has closed and does not read may still mean to.",
    },
    Key {
        name: "audit.close_wait",
        kind: TIMEOUT_OR_OFF,
        default: Default::Usual("5m"),
        doc: "For how long a client may have closed (CLOSE_WAIT) without a byte moving in either direction and \
              without its connection being ended, until an audit finds that wrong. Found by the second audit \
              that sees it, at the soonest.",
        why: "A client may close its side and read the pending output at leisure; but one that takes nothing for \
              ten times slow_time is overlooked or not wanted.",
    },
    Key {
        name: "linger",
        kind: Kind::Period { min: Duration::ZERO, max: HOUR, step: Step::Millisecond, words: &[] },
        default: Default::Usual("5s"),
        doc: "How long to wait, after our goodbye, for the client to close first.",
        why: "Many round trips on the worst of paths; a client that has not closed by then will not, and \
              closing second is what leaves no TIME_WAIT here.",
    },
    Key {
        name: "linger_max",
        kind: Kind::Period { min: Duration::ZERO, max: DAY, step: Step::Millisecond, words: &[] },
        default: Default::Usual("60s"),
        doc: "How long closing may take in all while queued output still makes progress.",
        why: "output_max drains in a minute at 35 KB/s: slow mobile clients get their last bytes, and a \
              trickle cannot hold a slot for ever.",
    },
    Key {
        name: "linger2",
        kind: Kind::Flag,
        default: Default::Usual("true"),
        doc: "Set TCP_LINGER2 = -1 on the listener, inherited by its connections: a socket that we close \
              first dies when its FIN is acknowledged.",
        why: "Even kill -9 of the server then leaves no TIME_WAIT, and every client still gets its data and \
              a clean end of file.",
    },
    Key {
        name: "frozen",
        kind: RUNG,
        default: Default::Usual("linger2"),
        doc: "How to close on a client whose kernel answers but whose program does not move: \"linger2\" \
              still delivers what is queued, \"reset\" gives it up.",
        why: "The host is alive: if the program wakes up, it finds its data and a clean end.",
    },
    Key {
        name: "unreachable",
        kind: RUNG,
        default: Default::Usual("reset"),
        doc: "How to close on a client that cannot be reached or will not read.",
        why: "Nobody is there to deliver to, and an orphaned socket would hold memory and retransmit for \
              about 100 seconds.",
    },
    Key {
        name: "frame_max",
        kind: Kind::Size { min: 64, max: 64 << 20, words: &[] },
        default: Default::Usual("64KiB"),
        doc: "Largest frame: a resp command with its arguments, or the head of an HTTP request. A larger \
              one ends the connection, protocol.oversized.",
        why: "Messages to devices are far smaller, and it bounds what one client can make the server hold.",
    },
    Key {
        name: "output_low",
        kind: Kind::Size { min: 0, max: 1 << 30, words: &[] },
        default: Default::Usual("16KiB"),
        doc: "Reading resumes when waiting output has fallen to this.",
        why: "A quarter of output_high: each pause is worth its two calls.",
    },
    Key {
        name: "output_high",
        kind: Kind::Size { min: 1, max: 1 << 30, words: &[] },
        default: Default::Usual("64KiB"),
        doc: "Reading pauses when output that the kernel would not take has risen to this.",
        why: "The kernel's own buffer comes on top; more here would only add delay to what is read next.",
    },
    Key {
        name: "output_max",
        kind: Kind::Size { min: 1 << 10, max: 1 << 30, words: &[] },
        default: Default::Usual("2MiB"),
        doc: "Waiting output over this ends the connection, slow.bytes.",
        why: "A subscriber may fall behind by a megabyte and catch up; beyond that it costs the others. On \
              the admin listener one answer can list every connection.",
    },
    Key {
        name: "slow_time",
        kind: Kind::Period { min: TIMEOUT_MIN, max: DAY, step: Step::Millisecond, words: &[] },
        default: Default::Usual("30s"),
        doc: "Waiting output without any progress for this long ends the connection, slow.time.",
        why: "Longer than the stalls of a phone that changes networks, shorter than anybody waits for a \
              program that hangs.",
    },
    Key {
        name: "handshake_timeout",
        kind: TIMEOUT_OR_OFF,
        default: Default::Usual("off"),
        doc: "How long a client may take for its first complete command or request, a TLS handshake included; on a listener \
              with TLS, \"off\" becomes 10s unless you write it.",
        why: "Echo has no opening exchange. On resp a person at nc has a minute to type. A scraper sends its \
              request at once.",
    },
    Key {
        name: "idle_timeout",
        kind: TIMEOUT_OR_OFF,
        default: Default::Usual("off"),
        doc: "How long a live connection may be unused before it is ended, local.idle. Use is what a client sends, \
              heartbeats and PING excepted, and what it is sent, our pings and the answers to its own excepted: a \
              subscriber that receives messages is in use. While output waits for a client, slow_time watches it.",
        why: "Staying connected is what clients are here for. Scrapers come back every 15 to 30 seconds and \
              keep their connection.",
    },
    Key {
        name: "max_age",
        kind: TIMEOUT_OR_OFF,
        default: Default::Usual("off"),
        doc: "The longest age of a connection; then it is closed as by a drain, local.max_age. Each ends at a moment of its \
              own within the last tenth of that time, so that clients that came together do not come back together.",
        why: "Staying connected is what clients are here for. It is for fleets that are to spread over new servers, or whose \
              credentials expire.",
    },
];
