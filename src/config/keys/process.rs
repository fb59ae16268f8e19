//! The keys of the process, its loop and its log.

use super::texts::FILTER;
use super::{AUDIT_MIN, CONNECTIONS_MAX, DAY, HOUR, MILLISECOND, MINUTE, TIMEOUT_MIN, WORKERS_MAX};
use crate::core::setting::{Default, Key, Kind, Step};
use crate::core::time::Duration;

/// A worker is found stalled after three seconds at the earliest.
const STALL_MIN: Duration = Duration::from_secs(3);

pub(super) static SERVER: [Key; 9] = [
    Key {
        name: "workers",
        kind: Kind::Count { min: 1, max: WORKERS_MAX, words: &["auto"] },
        default: Default::Same("1"),
        doc: "Processes that serve the listeners, each on one thread; \"auto\": as many as there are processors \
              to run on. From 2 on, a supervisor starts them, starts anew what dies, and answers for all of \
              them; 'linger explain workers' says how what a client asks reaches the clients of the others.",
        why: "One thread serves more clients than most have, and in one process everybody reaches everybody.",
    },
    Key {
        name: "stall_timeout",
        kind: Kind::Period { min: STALL_MIN, max: DAY, step: Step::Millisecond, words: &["off"] },
        default: Default::Same("30s"),
        doc: "How long the loop of a worker may stall before the worker is killed and another takes its \
              place; \"off\": for ever. That it stalls is said after about 3 s, and newcomers are given to \
              the others from then on.",
        why: "Its clients are not served, and those in its accept queue wait for nothing; but it may come back, \
              and a restart is the loss of all of them. \"off\" is for a debugger.",
    },
    Key {
        name: "max_connections",
        kind: Kind::Count { min: 1, max: CONNECTIONS_MAX, words: &["auto"] },
        default: Default::Same("auto"),
        doc: "Most client connections at once, on all listeners together. \"auto\" takes what the \
              descriptor limit (RLIMIT_NOFILE, raised to its hard limit at start) leaves. With several workers, \
              of each of them.",
        why: "The descriptor limit is the bound the kernel enforces anyway; a smaller number is for hosts \
              that the server shares.",
    },
    Key {
        name: "memory_max",
        kind: Kind::Size { min: 16 << 20, max: 1 << 40, words: &["auto"] },
        default: Default::Same("auto"),
        doc: "Most memory in bytes that wait to be sent or to be understood, of all connections together. Near it, \
              PUBLISH, SEND and lists are refused (OOM), and those who hold most are ended, slow.bytes. \"auto\": a \
              quarter of what the host or the control group has. With several workers, each has its part of it.",
        why: "Thousands of readers that stall, each within its own bound, would otherwise take the memory of \
              the host; a quarter leaves the kernel's socket buffers as much again.",
    },
    Key {
        name: "accept_retry",
        kind: Kind::Period { min: MILLISECOND, max: MINUTE, step: Step::Millisecond, words: &[] },
        default: Default::Same("1s"),
        doc: "How long accepting rests after it ran out of descriptors or memory, unless a connection \
              closes before.",
        why: "Trying at once would spin, since the waiting connection stays readable; a second is short \
              to a client that retries and long to a processor.",
    },
    Key {
        name: "queue_watch",
        kind: Kind::Period { min: TIMEOUT_MIN, max: HOUR, step: Step::Millisecond, words: &[] },
        default: Default::Same("1s"),
        doc: "How often the accept queues are looked at while something keeps the server from emptying \
              them; otherwise only /metrics looks.",
        why: "Clients in a full queue believe that they are connected; one call a listener and second is \
              a small price to know, and an idle server pays none.",
    },
    Key {
        name: "events",
        kind: Kind::Size { min: 64 << 10, max: 256 << 20, words: &[] },
        default: Default::Same("1MiB"),
        doc: "Memory for what happens, once somebody watches it (/events, 'linger tail'): a reader that was cut off can go \
              on where it was, as far as this reaches, and one that is slower than this is dropped. With several workers, of \
              each of them.",
        why: "Some 8,000 events: minutes of a busy server. Before the first reader comes, it takes no memory and no time.",
    },
    Key {
        name: "presence",
        kind: Kind::Choice(&["word", "record"]),
        default: Default::Same("word"),
        doc: "What a message on a $presence channel is. \"word\": online, suspect or revived, and offline or replaced with the \
              record of the connection. \"record\": the word, and always an object: with number, time, identity, key, peer \
              and listener, and then the fields of the record.",
        why: "Programs compare the messages with online and suspect. Those that read a word up to a space may have the rest.",
    },
    Key {
        name: "history",
        kind: Kind::Size { min: 64 << 10, max: 256 << 20, words: &["off"] },
        default: Default::Same("4MiB"),
        doc: "Memory for the last endings, which 'linger why' and /ends answer from; \"off\": none are kept. With several \
              workers, of each of them. When it is full, the oldest make way. Another size at a reload keeps the newest. \
              Where there is neither an admin interface nor a RESP listener, none are kept.",
        why: "Some 20,000 to 37,000 endings: the last weeks of a quiet server, and the last minutes of a busy one. Memory \
              that is not used yet is not taken from the host.",
    },
];

pub(super) static TURN: [Key; 2] = [
    Key {
        name: "accepts",
        kind: Kind::Count { min: 1, max: 65_536, words: &[] },
        default: Default::Same("256"),
        doc: "Most connections accepted from one listener in a turn.",
        why: "About a millisecond of accepting: a reconnect storm is taken in at full rate, and those who \
              are already here wait no longer than that.",
    },
    Key {
        name: "read_bytes",
        kind: Kind::Size { min: 1 << 10, max: 16 << 20, words: &[] },
        default: Default::Same("256KiB"),
        doc: "Most bytes received from one connection in a turn.",
        why: "Four full receives: enough to keep a fast sender's link busy, and well \
              under a millisecond of the others' time.",
    },
];

pub(super) static DRAIN: [Key; 3] = [
    Key {
        name: "delay",
        kind: Kind::Period { min: Duration::ZERO, max: HOUR, step: Step::Millisecond, words: &[] },
        default: Default::Same("0s"),
        doc: "How long the server serves on after SIGTERM or SIGINT before it drains; /readyz says meanwhile that it is \
              not ready. A second signal ends this wait.",
        why: "A load balancer goes on sending clients here until it has asked /readyz again: they would be accepted and \
              closed at once. A few times its interval is enough. Without one there is nothing to wait for.",
    },
    Key {
        name: "spread",
        kind: Kind::Period { min: Duration::ZERO, max: HOUR, step: Step::Millisecond, words: &[] },
        default: Default::Same("5s"),
        doc: "Time over which the goodbyes are spread.",
        why: "Clients that leave together come back together; five seconds turn 100,000 reconnects into \
              20,000 a second for the server that takes over.",
    },
    Key {
        name: "timeout",
        kind: Kind::Period { min: Duration::ZERO, max: DAY, step: Step::Millisecond, words: &[] },
        default: Default::Same("30s"),
        doc: "When the server exits even if connections are left; those are closed by the ladder.",
        why: "Room for the spread, the linger of the last client told, and queued output; and within the \
              patience of process managers (90 s for systemd, 30 s for Kubernetes).",
    },
];

pub(super) static AUDIT: [Key; 1] = [Key {
    name: "interval",
    kind: Kind::Period { min: AUDIT_MIN, max: DAY, step: Step::Millisecond, words: &["off"] },
    default: Default::Same("60s"),
    doc: "Time from one audit to the next; \"off\": none.",
    why: "What it finds is found by the second audit that sees it, so within two minutes: long before \
          clients that nobody serves are missed elsewhere. With 18,000 connections one takes about 20 ms \
          of a processor, beside the loop, so a minute makes that three in ten thousand.",
}];

pub(super) static LOG: [Key; 3] = [
    Key {
        name: "filter",
        kind: FILTER,
        default: Default::Same("info"),
        doc: "What is logged: a level, or target=level, separated by commas.",
        why: "At info, clients that close as they should (peer.goodbye, peer.fin) are silent and every other ending \
              is a line: what an operator asks about later. At debug, every connection has a line when it opens and \
              one when it ends.",
    },
    Key {
        name: "format",
        kind: Kind::Choice(&["text", "json"]),
        default: Default::Same("text"),
        doc: "The shape of log lines: key=value text, or one JSON object a line.",
        why: "People read first; collectors are configured once.",
    },
    Key {
        name: "endings_per_second",
        kind: Kind::Count { min: 0, max: 1_000_000, words: &[] },
        default: Default::Same("100"),
        doc: "Most lines about endings in a second, and of each other kind that a connection can cause; the rest are \
              counted and summed up in one line a second (lines_not_logged). The metrics count every ending either \
              way.",
        why: "A network that drops 100,000 clients at once says so in a few lines instead of 20 MB of log.",
    },
];
