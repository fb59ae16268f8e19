//! What is found in somebody's server, in sentences: what it means, and what to do. Pure.

use super::case::Case;
use super::survey::{Finding, is_full};
use crate::core::time::Duration;
use crate::core::units::{bytes, plural, span, thousands};
use crate::net::{SocketRow, SocketTimer};
use crate::observe::audit::Anomaly;

/// What is said of those who are silent.
const NO_PROOF: &str = "Silence is no proof: a client may have nothing to say. Silent ones of a host that is heard on \
                        another connection are likely ghosts; or there are many clients behind one address.";

/// What a finding means. `listeners` are the sockets that listen there.
pub fn meaning(finding: &Finding, listeners: &[SocketRow]) -> String {
    let cases = &finding.cases;
    let all = finding.connections;
    let some = |which: fn(&Case) -> bool| cases.iter().filter(|case| which(case)).count() as u64;
    let sum = |of: fn(&Case) -> u64| cases.iter().map(of).sum::<u64>();
    match finding.anomaly {
        Anomaly::QueueFull => {
            let limits = listeners.iter().filter(|row| is_full(row)).map(|row| u64::from(row.unacknowledged));
            format!(
                "The accept queue is full: {} {} in it, its limit is {}. New clients are turned away without \
                 a word, or believe that they are connected when they are not.",
                thousands(all),
                plural(all, "connection waits", "connections wait"),
                thousands(limits.sum()),
            )
        }
        Anomaly::QueuedLong => {
            let unread = sum(Case::unread);
            let said = match unread {
                0 => String::new(),
                _ => format!(" What the clients said ({}) waits with them.", bytes(unread)),
            };
            format!(
                "Nobody has accepted {}: to the clients {} connected, to the program {} not there.{said}",
                plural(all, "it", "them"),
                plural(all, "it is", "they are"),
                plural(all, "it is", "they are"),
            )
        }
        Anomaly::QueuedGhost => "The client has come, and gone again, before anybody accepted it: a server that \
                                 accepts it now serves a ghost."
            .to_owned(),
        Anomaly::CloseWait => close_wait(all, some(Case::is_read), sum(Case::unread), {
            some(|case| case.row.timer == SocketTimer::None)
        }),
        Anomaly::Unread => format!(
            "Input ({}) has arrived, and the program does not read it: it is stuck, stopped, or has forgotten {}. \
             To the client, all seems well.",
            bytes(sum(Case::unread)),
            plural(all, "this connection", "these connections"),
        ),
        Anomaly::Unacknowledged => format!(
            "Output ({}) is sent again and again, and nothing acknowledges it: the peer's host is gone, or \
             what lies between has forgotten the connection. Left alone, the kernel tries for about 15 minutes.",
            bytes(sum(Case::undelivered)),
        ),
        Anomaly::ZeroWindow => format!(
            "The peer's host answers, but its program does not read: its window is shut, and output ({}) waits here. The \
             kernel waits as long as the peer's host answers.",
            bytes(sum(Case::undelivered)),
        ),
        Anomaly::Orphan => orphan(cases, sum(Case::undelivered)),
        Anomaly::FinWait2 => fin_wait2(all, some(|case| case.row.is_orphan())),
        Anomaly::Unwatched => format!(
            "Nothing has been heard on {}, and no timer runs there: if the peer's host lost its power or its \
             cable, nothing will ever notice, and the {} stay open for good. {NO_PROOF}",
            plural(all, "it", "them"),
            plural(all, "descriptor will", "descriptors will"),
        ),
        Anomaly::LateKeepalive => {
            let first = cases.iter().map(|case| case.at_least + case.probe_in()).min();
            format!(
                "Nothing has been heard on {}, and keepalive asks no sooner than after {} of silence: a host that is gone \
                 keeps its place until then. {NO_PROOF}",
                plural(all, "it", "them"),
                span(first.unwrap_or(Duration::ZERO)),
            )
        }
        Anomaly::SynRecv => "Handshakes that the clients do not finish: our answer was repeated, and nothing \
                             came back. Forged senders (a SYN flood), answers that do not arrive, or an accept \
                             queue that has no room."
            .to_owned(),
        Anomaly::TimeWait => format!(
            "The server closes first, so that its host remembers each connection for a minute: {} are about {} a \
             second. They hold no descriptor, about 250 bytes each.",
            thousands(all),
            per_second(all),
        ),
        // These only a server finds, in itself.
        Anomaly::Missing | Anomaly::Unknown => what(finding.anomaly).to_owned(),
    }
}

/// What a finding is, without its figures.
pub const fn what(anomaly: Anomaly) -> &'static str {
    match anomaly {
        Anomaly::QueueFull => "the accept queue has no room: clients are turned away",
        Anomaly::QueuedLong => "connected, and nobody has accepted it",
        Anomaly::QueuedGhost => "nobody has accepted it, and its client has gone again",
        Anomaly::Missing => "the server believes in it, and the kernel has no such connection",
        Anomaly::Unknown => "a program holds it, and it is not the one that was asked",
        Anomaly::CloseWait => "the peer has closed and the program has not: a descriptor leak",
        Anomaly::Unread => "input that the program does not read",
        Anomaly::Unacknowledged => "output that is sent again and again: the peer's host is gone",
        Anomaly::ZeroWindow => "output that waits: the peer's program does not read",
        Anomaly::Orphan => "closed by the program, and its output cannot be delivered",
        Anomaly::FinWait2 => "ended by the program, and the peer does not close",
        Anomaly::TimeWait => "the server closes first (--time-waits)",
        Anomaly::Unwatched => "idle (--idle), and no timer runs: nothing notices if the peer's host is gone",
        Anomaly::LateKeepalive => {
            "idle (--idle), and the first keepalive probe is far away (--late-keepalive)"
        }
        Anomaly::SynRecv => "handshakes that clients do not finish (--handshakes)",
    }
}

fn close_wait(all: u64, read: u64, unread: u64, untimed: u64) -> String {
    let mut sentences = vec!["The peer has closed its side; the program has not closed its own.".to_owned()];
    if read > 0 {
        sentences.push(on(read, all, "has read the end of file and kept the descriptor: a leak."));
    }
    if read < all {
        let data = if unread == 0 { String::new() } else { format!("{} and ", bytes(unread)) };
        let left = format!("has not read {data}the end of file: it does not look there any more.");
        sentences.push(on(all - read, all, &left));
    }
    if untimed > 0 {
        let which =
            if untimed == all { "there".to_owned() } else { format!("on {} of them", thousands(untimed)) };
        let stay = plural(untimed, "it stays", "they stay");
        sentences.push(format!("No timer runs {which}: {stay} until the program ends."));
    }
    sentences.join(" ")
}

fn orphan(cases: &[Case], undelivered: u64) -> String {
    let shut = cases.iter().filter(|case| case.row.timer == SocketTimer::WindowProbe).count() as u64;
    let silent = cases.len() as u64 - shut;
    let pending = match undelivered {
        0 => "our FIN".to_owned(),
        _ => format!("{} and our FIN", bytes(undelivered)),
    };
    let why = match (silent, shut) {
        (_, 0) => "the peer's host does not answer".to_owned(),
        (0, _) => "the peer's host answers, and its program does not read".to_owned(),
        _ => format!(
            "the hosts of {} do not answer, the programs of {} do not read",
            thousands(silent),
            thousands(shut)
        ),
    };
    format!(
        "The program has closed, and the kernel cannot deliver {pending}: {why}. It keeps the memory and tries on for \
         some minutes at most, then gives up by itself."
    )
}

fn fin_wait2(all: u64, closed: u64) -> String {
    let mut sentences = vec![
        "The program has ended its side, the peer's host has taken everything, and the peer does not close."
            .to_owned(),
    ];
    if closed > 0 {
        sentences.push(on(
            closed,
            all,
            "has closed: the kernel waits for net.ipv4.tcp_fin_timeout, then forgets.",
        ));
    }
    if closed < all {
        let kept = "has only shut down and kept the descriptor: there the kernel waits without a limit.";
        sentences.push(on(all - closed, all, kept));
    }
    sentences.join(" ")
}

/// What the program has done, on all of them or on some.
fn on(part: u64, all: u64, deed: &str) -> String {
    if part == all { format!("It {deed}") } else { format!("On {} of them it {deed}", thousands(part)) }
}

/// What to do about it.
pub const fn advice(anomaly: Anomaly) -> &'static str {
    match anomaly {
        Anomaly::QueueFull => {
            "Find what keeps the program from accepting: out of descriptors, blocked in one client's work, \
             stopped. If it is only a burst, listen with a larger backlog, and raise net.core.somaxconn with it."
        }
        Anomaly::QueuedLong => {
            "Find what keeps the program from accepting: out of descriptors (ulimit -n), blocked in one client's \
             work, stopped, or waiting for an edge that has passed."
        }
        Anomaly::QueuedGhost => {
            "Accept sooner; and read before you write, so that the end of file is seen first."
        }
        Anomaly::Missing => "Report it: the program overlooked an end.",
        Anomaly::Unknown => "Find who holds it: a child that inherited the descriptor, or a second server.",
        Anomaly::CloseWait => {
            "Close when read gives 0, on every path, those of errors too; and keep reading while waiting for \
             something else, or the end of file goes unseen."
        }
        Anomaly::Unread => {
            "Find what the program waits for: a thread that hangs, a paused read that is never resumed, an edge \
             of epoll that was not drained. If it holds back on purpose, bound for how long."
        }
        Anomaly::Unacknowledged => {
            "Set TCP_USER_TIMEOUT to what you are ready to wait: the kernel then gives up and tells the program."
        }
        Anomaly::ZeroWindow => {
            "Bound the output that waits for one client, by bytes and by time, and end those that exceed it; \
             TCP_USER_TIMEOUT ends it, too."
        }
        Anomaly::Orphan => {
            "Nothing has to be freed. If they pile up: TCP_USER_TIMEOUT shortens it, and SO_LINGER {1,0} before \
             close leaves nothing of who cannot be reached."
        }
        Anomaly::FinWait2 => {
            "Give a peer that does not close a deadline, then close; with TCP_LINGER2 = -1 before it, nothing is \
             left to wait."
        }
        Anomaly::TimeWait => {
            "Let the client close first where the protocol can say so, or set TCP_LINGER2 = -1 before close (on \
             the listener, and all inherit it). A few are harmless."
        }
        Anomaly::Unwatched => {
            "Set SO_KEEPALIVE, with TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT (on the listener, and all \
             inherit it), or hold clients to a heartbeat. A timeout inside the program cannot be seen from here."
        }
        Anomaly::LateKeepalive => {
            "Set TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT, some minutes in all (on the listener, and all inherit it). \
             SO_KEEPALIVE alone waits for net.ipv4.tcp_keepalive_time, two hours; NATs forget sooner."
        }
        Anomaly::SynRecv => {
            "If the accept queue is full, begin there. Else look whether the senders are real, and that \
             net.ipv4.tcp_syncookies is 1."
        }
    }
}

/// What to do where the peer was a server, and it is our side that has connected.
pub const OF_CLIENTS: &str = "Close when read gives 0. A pool reads none of its idle connections, so that it does not see \
                              this: look before use (a non-blocking read), and close idle ones sooner than the server \
                              does. The next request on one of these is lost.";

/// The page of the guide about it.
pub const fn page(anomaly: Anomaly) -> &'static str {
    match anomaly {
        Anomaly::QueueFull | Anomaly::QueuedLong | Anomaly::QueuedGhost | Anomaly::SynRecv => "accept_queue",
        Anomaly::Missing | Anomaly::Unknown => "host",
        Anomaly::CloseWait | Anomaly::Unread => "close_wait",
        Anomaly::Unacknowledged | Anomaly::Unwatched | Anomaly::LateKeepalive => "ghosts",
        Anomaly::ZeroWindow => "heartbeats",
        Anomaly::Orphan | Anomaly::FinWait2 => "fin_wait2",
        Anomaly::TimeWait => "time_wait",
    }
}

/// How many a second so many a minute are.
fn per_second(minute: u64) -> String {
    match minute {
        0..600 => format!("{}.{}", minute / 60, minute % 60 / 6),
        _ => thousands(minute / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_a_minute_are_told_by_the_second() {
        assert_eq!([30, 600, 60_000].map(per_second), ["0.5", "10", "1,000"]);
    }
}
