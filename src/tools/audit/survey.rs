//! Somebody else's server, judged by its rows in the kernel's table: what [`Anomaly`] each connection shows, and
//! for how long at least.
//!
//! Nothing is known here but the table. It says of no state since when it lasts, so each duration is a lower
//! bound, from what the kernel does know:
//!
//! | anomaly | it has lasted at least |
//! | --- | --- |
//! | `queued_long` | since data last arrived; if none has, since the handshake (`tcp_minisocks.c: tcp_create_openreq_child` starts that clock) |
//! | `queued_ghost`, `close_wait` | since the last acknowledgement: the FIN carried one. Keepalive that is answered makes it look younger |
//! | `fin_wait2` | since the last acknowledgement, too; of one that was closed, what has gone of `tcp_fin_timeout` |
//! | `unread` | since data last arrived |
//! | `zero_window` | since data was last sent: only data that arrives can shut a window |
//! | `unacknowledged` | since the last acknowledgement, or what so many retransmissions take, whichever is shorter |
//! | `orphan` | as the two above |
//! | `unwatched`, `late_keepalive` | since anything arrived at all |
//! | `time_wait` | what has gone of its minute |
//! | `syn_recv` | what so many repetitions take |
//!
//! A second look adds to that: what is in a state that it can enter only once, or has not moved a byte, has
//! lasted all the time between.
//!
//! `close_wait` has one more witness: the kernel counts the FIN as one byte to read, so a row with nothing to
//! read has had its end of file read (`tests/kernel/audit_cli.rs: close_wait_tells_who_has_read_the_end_of_file`).

use super::case::{Case, RTO_MS, TIME_WAIT_LASTS, doubling, undelivered, unread};
use super::explain;
use super::peers::{self, Group};
use crate::core::tcp::TcpState;
use crate::core::time::Duration;
use crate::net::{SocketRow, SocketTimer};
use crate::observe::audit::Anomaly;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The states that connections of a listener can be in.
pub const STATES: [TcpState; 8] = [
    TcpState::Established,
    TcpState::CloseWait,
    TcpState::FinWait1,
    TcpState::FinWait2,
    TcpState::LastAck,
    TcpState::Closing,
    TcpState::TimeWait,
    TcpState::SynRecv,
];

/// `TCP_TIMEOUT_INIT`, in milliseconds: the first wait of a handshake.
const HANDSHAKE_MS: u64 = 1000;
/// Zero-window probes without an answer from which on the peer's host counts as gone.
const PROBES_LOST: u8 = 3;

/// From when on something is worth telling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Thresholds {
    /// What a healthy server shows for a moment, too.
    pub older_than: Duration,
    /// Silence on a connection that no timer watches, or one that watches late.
    pub idle: Duration,
    /// Silence after which the first keepalive probe leaves, from which on that is late.
    pub late_keepalive: Duration,
    /// `TIME_WAIT`s of one listener.
    pub time_waits: usize,
    /// Handshakes of one listener that had to be repeated.
    pub handshakes: usize,
    /// The host's `net.ipv4.tcp_fin_timeout`.
    pub fin_timeout: Duration,
}

/// What the table showed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Look {
    pub(super) listeners: Vec<SocketRow>,
    /// By cookie, each once.
    pub(super) connections: Vec<SocketRow>,
}

impl Look {
    /// Of rows as they were read. A socket that moved while the table was read can be there twice: what was
    /// read last is meant.
    pub fn new(rows: Vec<SocketRow>) -> Self {
        let (mut listeners, mut connections): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.state == TcpState::Listen);
        for rows in [&mut listeners, &mut connections] {
            rows.reverse();
            rows.sort_by_key(|row| row.cookie);
            rows.dedup_by_key(|row| row.cookie);
        }
        Self { listeners, connections }
    }

    fn by_cookie(&self, cookie: u64) -> Option<&SocketRow> {
        let find = |rows: &'_ [SocketRow]| rows.binary_search_by_key(&cookie, |row| row.cookie).ok();
        find(&self.connections)
            .map(|at| &self.connections[at])
            .or_else(|| find(&self.listeners).map(|at| &self.listeners[at]))
    }
}

/// One listening address: all sockets that listen on it, and their connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Surveyed {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its sockets: more than one with `SO_REUSEPORT`.
    pub sockets: Vec<SocketRow>,
    /// Its connections by state, as [`STATES`] has them; those in the accept queue among them.
    pub states: [usize; STATES.len()],
    /// Bytes that have arrived and were not read.
    pub unread: u64,
    /// Bytes that were written and are not acknowledged.
    pub undelivered: u64,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
}

impl Surveyed {
    /// Connections that wait in its accept queues, and their limits.
    pub fn queue(&self) -> (u64, u64) {
        let sum = |of: fn(&SocketRow) -> u32| self.sockets.iter().map(|row| u64::from(of(row))).sum();
        (sum(|row| row.unread), sum(|row| row.unacknowledged))
    }

    /// All its connections, in any state.
    pub fn connections(&self) -> usize {
        self.states.iter().sum()
    }
}

/// One thing that is wrong with a listener, and the connections that show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The kind of anomaly.
    pub anomaly: Anomaly,
    /// How many; of a full queue, those that are in it.
    pub connections: u64,
    /// The connections, the longest first.
    pub cases: Vec<Case>,
    /// Of silence: who has other connections besides, by address.
    pub groups: Vec<Group>,
    /// What it means, in sentences.
    pub meaning: String,
    /// What to do, in sentences.
    pub advice: String,
}

impl Finding {
    /// How long the longest has lasted at least.
    pub fn at_least(&self) -> Duration {
        self.cases.first().map_or(Duration::ZERO, |case| case.at_least)
    }

    /// From how many addresses they come, and which has the most.
    pub fn peers(&self) -> (usize, Option<(IpAddr, usize)>) {
        let mut peers = BTreeMap::<IpAddr, usize>::new();
        for case in &self.cases {
            *peers.entry(case.row.remote.ip()).or_default() += 1;
        }
        let most = peers.iter().max_by_key(|&(ip, count)| (*count, std::cmp::Reverse(*ip)));
        (peers.len(), most.map(|(&ip, &count)| (ip, count)))
    }
}

/// Judges every listener of `look`. `earlier` is a look at the same before, and how long before.
pub fn survey(look: &Look, earlier: Option<(&Look, Duration)>, thresholds: &Thresholds) -> Vec<Surveyed> {
    let mut listeners = BTreeMap::<SocketAddr, (Surveyed, BTreeMap<Anomaly, Vec<Case>>)>::new();
    for row in &look.listeners {
        let (listener, cases) =
            listeners.entry(row.local).or_insert_with(|| (nothing_on(row.local), BTreeMap::new()));
        listener.sockets.push(*row);
        if is_full(row) {
            cases.entry(Anomaly::QueueFull).or_default();
        }
    }
    for row in &look.connections {
        let Some(address) = listener_of(row.local, |address| listeners.contains_key(address)) else {
            continue;
        };
        let Some((listener, cases)) = listeners.get_mut(&address) else { continue };
        if let Some(at) = STATES.iter().position(|&state| state == row.state) {
            listener.states[at] += 1;
        }
        listener.unread += unread(row);
        listener.undelivered += undelivered(row);
        for (anomaly, case) in cases_of(row, earlier, thresholds) {
            cases.entry(anomaly).or_default().push(case);
        }
    }
    let mut all: Vec<_> =
        listeners.into_values().map(|(listener, cases)| judged(listener, cases, thresholds)).collect();
    peers::group(&mut all, look, thresholds);
    all.sort_by_key(|listener| {
        let worst = listener.findings.first().map_or(usize::MAX, |finding| rank(finding.anomaly));
        (worst, std::cmp::Reverse(listener.connections()), listener.address)
    });
    all
}

/// What one row shows, with what an earlier look adds to it.
pub(super) fn cases_of(
    row: &SocketRow,
    earlier: Option<(&Look, Duration)>,
    thresholds: &Thresholds,
) -> impl Iterator<Item = (Anomaly, Case)> {
    shown_by(row, thresholds).into_iter().flatten().map(move |(anomaly, at_least)| {
        let at_least = at_least.max(since_earlier(row, anomaly, earlier, thresholds));
        (anomaly, Case { row: *row, at_least })
    })
}

const fn nothing_on(address: SocketAddr) -> Surveyed {
    Surveyed {
        address,
        sockets: Vec::new(),
        states: [0; STATES.len()],
        unread: 0,
        undelivered: 0,
        findings: Vec::new(),
    }
}

/// Whether there is no room: a queue holds one more than its limit (`include/net/sock.h: sk_acceptq_is_full`).
pub const fn is_full(listener: &SocketRow) -> bool {
    listener.unread > listener.unacknowledged
}

/// The listener whose connection has this local address: the most specific one wins, as in the kernel.
pub(super) fn listener_of(local: SocketAddr, listens: impl Fn(&SocketAddr) -> bool) -> Option<SocketAddr> {
    let any = |ip: IpAddr| SocketAddr::new(ip, local.port());
    let v4 = local.is_ipv4().then(|| any(Ipv4Addr::UNSPECIFIED.into()));
    [Some(local), v4, Some(any(Ipv6Addr::UNSPECIFIED.into()))].into_iter().flatten().find(listens)
}

/// What one row shows, and for how long at least: of what it receives, and of what it sends.
fn shown_by(row: &SocketRow, thresholds: &Thresholds) -> [Option<(Anomaly, Duration)>; 2] {
    let one = |anomaly, at_least| [Some((anomaly, at_least)), None];
    let expires = Duration::from_millis(row.expires_ms.into());
    let (heard, data) = row.evidence.map_or((Duration::ZERO, Duration::ZERO), |seen| {
        (
            Duration::from_millis(seen.last_ack_recv_ms.into()),
            Duration::from_millis(seen.last_data_recv_ms.into()),
        )
    });
    match (row.state, row.is_orphan()) {
        (TcpState::Established, true) => one(Anomaly::QueuedLong, heard.max(data)),
        (TcpState::CloseWait, true) => one(Anomaly::QueuedGhost, heard),
        (TcpState::Established, false) => {
            let (input, output) = ((row.unread > 0).then_some((Anomaly::Unread, data)), stalled(row));
            if input.is_some() || output.is_some() {
                return [input, output];
            }
            let quiet = heard.min(data);
            match row.timer {
                SocketTimer::None => one(Anomaly::Unwatched, quiet),
                // Once a probe has left, it is not late any more.
                SocketTimer::Keepalive
                    if row.retries == 0 && quiet + expires >= thresholds.late_keepalive =>
                {
                    one(Anomaly::LateKeepalive, quiet)
                }
                SocketTimer::Keepalive
                | SocketTimer::Retransmit
                | SocketTimer::TimeWait
                | SocketTimer::WindowProbe => [None, None],
            }
        }
        // As long as there is something to send, not closing yet is right.
        (TcpState::CloseWait, false) if row.unacknowledged == 0 => one(Anomaly::CloseWait, heard),
        (TcpState::FinWait2, false) => one(Anomaly::FinWait2, heard),
        (TcpState::FinWait2, true) => one(Anomaly::FinWait2, thresholds.fin_timeout.saturating_sub(expires)),
        (TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck, true) => {
            one(Anomaly::Orphan, stalled(row).map_or(Duration::ZERO, |(_, at_least)| at_least))
        }
        (TcpState::CloseWait | TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck, false) => {
            [stalled(row), None]
        }
        (TcpState::TimeWait, _) => one(Anomaly::TimeWait, TIME_WAIT_LASTS.saturating_sub(expires)),
        // Only those that had to be repeated: the others are on their way.
        (TcpState::SynRecv, _) if row.retries > 0 => {
            one(Anomaly::SynRecv, doubling((HANDSHAKE_MS, RTO_MS.1), row.retries))
        }
        _ => [None, None],
    }
}

/// Output that does not go out, and since when at least.
fn stalled(row: &SocketRow) -> Option<(Anomaly, Duration)> {
    let seen = row.evidence?;
    let (heard, sent) =
        (Duration::from_millis(seen.last_ack_recv_ms.into()), Duration::from_millis(row.sent_ms.into()));
    match row.timer {
        SocketTimer::WindowProbe if row.retries >= PROBES_LOST => {
            Some((Anomaly::Unacknowledged, heard.min(sent)))
        }
        SocketTimer::WindowProbe => Some((Anomaly::ZeroWindow, sent)),
        SocketTimer::Retransmit if seen.retransmits > 0 => {
            Some((Anomaly::Unacknowledged, heard.min(doubling(RTO_MS, seen.retransmits))))
        }
        SocketTimer::Retransmit | SocketTimer::None | SocketTimer::Keepalive | SocketTimer::TimeWait => None,
    }
}

/// How long it has lasted at least by what an earlier look showed of the same socket.
fn since_earlier(
    row: &SocketRow,
    anomaly: Anomaly,
    earlier: Option<(&Look, Duration)>,
    thresholds: &Thresholds,
) -> Duration {
    let Some((look, ago)) = earlier else { return Duration::ZERO };
    let Some(before) = look.by_cookie(row.cookie) else { return Duration::ZERO };
    let shown = shown_by(before, thresholds).into_iter().flatten().find(|&(shown, _)| shown == anomaly);
    match shown {
        Some((_, at_least)) if cannot_have_left(anomaly, before, row) => at_least + ago,
        _ => Duration::ZERO,
    }
}

/// Whether what shows the same in two looks has done so all the time between.
fn cannot_have_left(anomaly: Anomaly, before: &SocketRow, now: &SocketRow) -> bool {
    match anomaly {
        // A connection that is accepted, closed, or answered does not come back to where it was.
        Anomaly::QueuedGhost
        | Anomaly::QueuedLong
        | Anomaly::CloseWait
        | Anomaly::FinWait2
        | Anomaly::TimeWait
        | Anomaly::SynRecv => true,
        // Not a byte was taken.
        Anomaly::Orphan | Anomaly::Unacknowledged | Anomaly::ZeroWindow => {
            before.unacknowledged == now.unacknowledged && before.state == now.state
        }
        // Read and filled again would look the same; and a queue can have been empty between.
        Anomaly::Unread
        | Anomaly::Unwatched
        | Anomaly::LateKeepalive
        | Anomaly::QueueFull
        | Anomaly::Missing
        | Anomaly::Unknown => false,
    }
}

/// Keeps what is worth telling.
fn judged(
    mut listener: Surveyed,
    mut cases: BTreeMap<Anomaly, Vec<Case>>,
    thresholds: &Thresholds,
) -> Surveyed {
    if let Some(queued) = cases.get(&Anomaly::QueueFull).map(|_| queued(&cases)) {
        cases.insert(Anomaly::QueueFull, queued);
    }
    for (anomaly, cases) in cases {
        let Some(cases) = worth_telling(anomaly, cases, thresholds) else { continue };
        let full = listener.sockets.iter().filter(|row| is_full(row)).map(|row| u64::from(row.unread)).sum();
        let mut finding = Finding {
            anomaly,
            connections: if anomaly == Anomaly::QueueFull { full } else { cases.len() as u64 },
            cases,
            groups: Vec::new(),
            meaning: String::new(),
            advice: explain::advice(anomaly).to_owned(),
        };
        finding.meaning = explain::meaning(&finding, &listener.sockets);
        listener.findings.push(finding);
    }
    listener.findings.sort_by_key(|finding| rank(finding.anomaly));
    // Those that wait in a full queue for long are shown, once, where that is told.
    let queued = |anomaly| matches!(anomaly, Anomaly::QueuedLong | Anomaly::QueuedGhost);
    if listener.findings.iter().any(|finding| queued(finding.anomaly)) {
        let full = listener.findings.iter_mut().filter(|finding| finding.anomaly == Anomaly::QueueFull);
        full.for_each(|finding| finding.cases.clear());
    }
    listener
}

/// Those that have lasted, the longest first, if there are enough of them.
pub(super) fn worth_telling(
    anomaly: Anomaly,
    mut cases: Vec<Case>,
    thresholds: &Thresholds,
) -> Option<Vec<Case>> {
    let (longest, fewest) = match anomaly {
        Anomaly::QueueFull => (Duration::ZERO, 0),
        Anomaly::TimeWait => (Duration::ZERO, thresholds.time_waits),
        Anomaly::SynRecv => (Duration::ZERO, thresholds.handshakes),
        Anomaly::Unwatched | Anomaly::LateKeepalive => (thresholds.idle, 1),
        Anomaly::QueuedGhost
        | Anomaly::QueuedLong
        | Anomaly::Missing
        | Anomaly::Unknown
        | Anomaly::CloseWait
        | Anomaly::Orphan
        | Anomaly::FinWait2
        | Anomaly::Unread
        | Anomaly::Unacknowledged
        | Anomaly::ZeroWindow => (thresholds.older_than, 1),
    };
    cases.retain(|case| case.at_least >= longest);
    cases.sort_by_key(|case| {
        (std::cmp::Reverse((case.at_least, case.unread() + case.undelivered())), case.row.cookie)
    });
    (cases.len() >= fewest).then_some(cases)
}

/// Those in the accept queue.
fn queued(cases: &BTreeMap<Anomaly, Vec<Case>>) -> Vec<Case> {
    [Anomaly::QueuedGhost, Anomaly::QueuedLong]
        .iter()
        .filter_map(|anomaly| cases.get(anomaly))
        .flatten()
        .copied()
        .collect()
}

/// All, the worst first: who is turned away, whom nobody serves, what leaks, what hangs, what costs.
pub const WORST_FIRST: [Anomaly; Anomaly::ALL.len()] = [
    Anomaly::QueueFull,
    Anomaly::QueuedLong,
    Anomaly::QueuedGhost,
    Anomaly::Missing,
    Anomaly::Unknown,
    Anomaly::CloseWait,
    Anomaly::Unread,
    Anomaly::Unacknowledged,
    Anomaly::ZeroWindow,
    Anomaly::Orphan,
    Anomaly::Unwatched,
    Anomaly::LateKeepalive,
    Anomaly::FinWait2,
    Anomaly::SynRecv,
    Anomaly::TimeWait,
];

fn rank(anomaly: Anomaly) -> usize {
    WORST_FIRST.iter().position(|&one| one == anomaly).unwrap_or(WORST_FIRST.len())
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
