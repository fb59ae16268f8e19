//! What the server says: every log line stands here, as one event with named fields.
//!
//! Lines are written through `log` with key-value pairs; `logging` gives them their shape. Endings that are
//! somebody's ordinary goodbye are told at debug, the others at info. Of each kind of line that a client can cause
//! there are no more than so many a second (`limits`): they are functions of [`Report`], and the rest are not.

mod drain;
mod end_line;
mod ending_many;
mod health;
mod json;
mod limits;
mod pair;
mod start;
mod verdict;

use crate::core::end::{By, End, Foreign, Reason};
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::core::units::seconds;
use crate::net::{Fatal, Peer, Queue, Resource};
use crate::observe::audit::Anomaly;
use crate::observe::metrics::{Census, Counters};
pub use drain::{drain_begun, drain_hurried, drain_put_off, workers_drain};
pub use end_line::EndLine;
pub use ending_many::{ending_many, ending_many_stopped};
pub use health::{ServerState, server_word};
pub use json::JsonFields;
use limits::{Kind, Limits};
use log::{Level, debug, error, info, log_enabled, warn};
pub use pair::{PairEnd, upstream_addresses, upstream_left_out, upstream_not_resolved};
pub use start::{listening, socket_unused};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
pub use verdict::ReportedVerdict;

/// What is said of clients and because of them.
#[derive(Debug)]
pub struct Report {
    limits: Limits,
    journal: Option<Vec<Ended>>,
}

/// An entry of the journal: whose connection ended, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// The name it had here.
    pub key: Key,
    /// Where it came from.
    pub peer: Peer,
    /// How it ended.
    pub end: End,
}

impl Report {
    /// Writes at most `per_second` lines of each kind about connections in a second.
    pub const fn new(per_second: u32) -> Self {
        Self { limits: Limits::new(per_second), journal: None }
    }

    /// Changes the limit.
    pub const fn set_endings_per_second(&mut self, per_second: u32) {
        self.limits.set_per_second(per_second);
    }

    /// Keeps every record from now on, for [`take_journal`](Self::take_journal).
    pub fn keep_journal(&mut self) {
        self.journal = Some(Vec::new());
    }

    /// The records since the last call; none unless they are kept.
    pub fn take_journal(&mut self) -> Vec<Ended> {
        self.journal.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Whether the ending of a connection that nothing was left to be sent to would be told.
    #[inline]
    pub fn reports_ending(&self, reason: Reason) -> bool {
        self.journal.is_some() || log_enabled!(target: "linger::end", level(reason, 0))
    }

    /// A connection has ended.
    #[inline]
    pub fn ended(
        &mut self,
        key: Key,
        peer: &Peer,
        listener: &str,
        identity: Option<&[u8]>,
        end: &End,
        now: Instant,
    ) {
        let level = level(end.reason, end.unsent_bytes);
        if self.journal.is_some() || log_enabled!(target: "linger::end", level) {
            self.report_ended(key, peer, listener, identity, end, now);
        }
    }

    /// Apart, because most endings are told to nobody.
    #[inline(never)]
    fn report_ended(
        &mut self,
        key: Key,
        peer: &Peer,
        listener: &str,
        identity: Option<&[u8]>,
        end: &End,
        now: Instant,
    ) {
        if let Some(journal) = &mut self.journal {
            journal.push(Ended { key, peer: *peer, end: end.clone() });
        }
        let level = level(end.reason, end.unsent_bytes);
        if !log_enabled!(target: "linger::end", level) || !self.limits.admit(Kind::Ended, now) {
            return;
        }
        let identity = identity.map(String::from_utf8_lossy).unwrap_or_default();
        EndLine::new((None, key), peer, listener, &identity, end).write(level);
    }

    /// A connection was accepted.
    #[inline]
    pub fn opened(&mut self, key: Key, peer: &Peer, listener: &str, now: Instant) {
        if log_enabled!(target: "linger::open", Level::Debug) {
            self.report_opened(key, peer, listener, now);
        }
    }

    /// Apart, because most newcomers are told to nobody.
    #[inline(never)]
    fn report_opened(&mut self, key: Key, peer: &Peer, listener: &str, now: Instant) {
        if self.limits.admit(Kind::Opened, now) {
            debug!(target: "linger::open", key:% = key, peer:% = peer, listener; "open");
        }
    }

    /// A connection was refused that has no record.
    pub fn refused(&mut self, listener: &str, peer: &Peer, reason: Reason, now: Instant) {
        if self.limits.admit(Kind::Refused, now) {
            info!(listener, peer:% = peer, reason = reason.name(); "refused");
        }
    }

    /// Accepting stalls.
    pub fn accept_stalled(&mut self, listener: &str, stall: Stall, now: Instant) {
        if self.limits.admit(Kind::AcceptStalled, now) {
            warn!(listener, why:% = stall; "accept_stalled");
        }
    }

    /// It goes on. `stalls`: how often it stalled in that time.
    pub fn accept_resumed(&mut self, listener: &str, after: Duration, stalls: u64, now: Instant) {
        if self.limits.admit(Kind::AcceptResumed, now) {
            info!(listener, after_s = seconds(after), stalls; "accept_resumed");
        }
    }

    /// An accept queue fills.
    pub fn queue_fills(&mut self, listener: &str, queue: Queue, full: bool, overflowed: u64, now: Instant) {
        let advice = if full {
            "clients in it believe that they are connected and are not served, the next ones get no answer: raise \
             max_connections and RLIMIT_NOFILE, backlog and net.core.somaxconn, or run more servers"
        } else {
            "clients in it believe that they are connected and are not served yet"
        };
        if self.limits.admit(Kind::QueueFills, now) {
            warn!(listener, length = queue.length, limit = queue.limit, overflowed_since_last_look = overflowed, advice; "accept_queue_fills");
        }
    }

    /// An accept queue was full while nobody took from it, and has just been emptied.
    pub fn queue_was_full(&mut self, listener: &str, taken: u32, limit: u32, overflowed: u64, now: Instant) {
        let advice = "more came at once than the queue holds, or this process did not run for a while; the next ones got \
                      no answer: raise backlog and net.core.somaxconn";
        if self.limits.admit(Kind::QueueFills, now) {
            warn!(listener, length = taken, limit, overflowed_since_last_look = overflowed, advice; "accept_queue_fills");
        }
    }

    /// Waiting bytes came near what they may take, and those who held most of them were ended.
    pub fn memory_reclaimed(&mut self, ended: usize, waiting: [usize; 2], memory_max: usize, now: Instant) {
        let advice =
            "these clients do not read what they are sent; raise memory_max if the host has room for more";
        let [before, after] = waiting;
        if self.limits.admit(Kind::MemoryReclaimed, now) {
            warn!(ended, waiting_bytes_before = before, waiting_bytes = after, memory_max, advice; "memory_reclaimed");
        }
    }

    /// Audits find something wrong that was not there before.
    pub fn anomaly(&mut self, anomaly: Anomaly, count: u32, now: Instant) {
        if self.limits.admit(Kind::AuditAnomaly, now) {
            warn!(kind = anomaly.name(), count, meaning = meaning(anomaly), advice = "GET /audit names them"; "audit_anomaly");
        }
    }

    /// It is not there any more.
    pub fn anomaly_gone(&mut self, anomaly: Anomaly, after: Duration, now: Instant) {
        if self.limits.admit(Kind::AuditAnomaly, now) {
            info!(kind = anomaly.name(), after_s = seconds(after); "audit_anomaly_gone");
        }
    }

    /// A socket call failed in a way that no reason is made for.
    pub fn unforeseen(&mut self, key: Key, errno: i32, now: Instant) {
        if self.limits.admit(Kind::UnforeseenError, now) {
            warn!(key:% = key, errno, error:% = std::io::Error::from_raw_os_error(errno); "unforeseen_socket_error");
        }
    }

    /// An identity was taken over by a newer connection.
    pub fn replaced(&mut self, identity: &str, older: Key, newer: &By, now: Instant) {
        if log_enabled!(Level::Debug) && self.limits.admit(Kind::IdentityReplaced, now) {
            debug!(identity, older:% = older, newer = newer.key.as_str(), peer = newer.peer.as_str(); "identity_replaced");
        }
    }

    /// A protocol error, as it was told to the peer.
    pub fn protocol_error(&mut self, key: Key, text: &str, now: Instant) {
        if log_enabled!(Level::Debug) && self.limits.admit(Kind::ProtocolError, now) {
            debug!(key:% = key, text; "protocol_error");
        }
    }

    /// Somebody could not log in. What it gave for a name is told as far as a name can go; it may be a password.
    pub fn log_in_failed(
        &mut self,
        key: Key,
        peer: &Peer,
        listener: &str,
        user: &[u8],
        why: &str,
        now: Instant,
    ) {
        const NAME_SHOWN: usize = 128;
        if self.limits.admit(Kind::LogInFailed, now) {
            let user = String::from_utf8_lossy(&user[..user.len().min(NAME_SHOWN)]);
            warn!(key:% = key, peer:% = peer, listener, user = &*user, why; "log_in_failed");
        }
    }

    /// When to say how many lines were left out; [`Instant::NEVER`] if none were.
    pub fn summary_due(&self) -> Instant {
        self.limits.summary_due()
    }

    /// Says how many lines were left out, and starts the next second.
    pub fn summarize(&mut self, now: Instant) {
        self.limits.summarize(now);
    }
}

/// What a client does that closes its connection as it should is no news. An end of file behind which output was lost is
/// some.
fn level(reason: Reason, unsent_bytes: u64) -> Level {
    let orderly = reason == Reason::PeerGoodbye
        || (matches!(reason, Reason::PeerFin | Reason::UpstreamFin) && unsent_bytes == 0);
    if orderly { Level::Debug } else { Level::Info }
}

/// Lines of the log that were lost on their way out, since the start of this process.
static LINES_DROPPED: AtomicU64 = AtomicU64::new(0);

/// Counts lines that are lost because the log's reader does not keep up.
pub fn count_lines_dropped(lines: u64) {
    LINES_DROPPED.fetch_add(lines, Ordering::Relaxed);
}

/// How many that were.
pub fn lines_dropped_total() -> u64 {
    LINES_DROPPED.load(Ordering::Relaxed)
}

/// The reader of the log keeps up again.
pub fn lines_dropped(lines: u64) {
    let advice = "the reader of standard error did not keep up, or it could not be written to; the server does not wait for that";
    warn!(lines, advice; "log_lines_dropped");
}

/// The server cannot start or go on. False if the log takes no errors: the one who started the server must
/// see all the same why it stopped.
pub fn fatal(fatal: &Fatal) -> bool {
    error!(cannot = fatal.what.as_str(), why = fatal.why.as_str(); "fatal");
    log_enabled!(Level::Error)
}

/// A certificate expires soon, or has expired. `days`: how many are left.
pub fn certificate_expires(of: CertificateOf<'_>, file: &str, days: i64) {
    const RENEW: &str = "put a new one in its place and send SIGHUP: connections that are there stay";
    match of {
        CertificateOf::Listener(listener) => warn!(
            listener, file, days_left = days, advice:% = format_args!("clients will refuse it then; {RENEW}");
            "certificate_expires"
        ),
        CertificateOf::Upstream(upstream) => warn!(
            upstream, file, days_left = days, advice:% = format_args!("its servers will refuse us then; {RENEW}");
            "certificate_expires"
        ),
    }
}

/// Whose certificate it is, by name.
#[derive(Clone, Copy, Debug)]
pub enum CertificateOf<'a> {
    /// A listener's.
    Listener(&'a str),
    /// Ours, towards the servers of an upstream.
    Upstream(&'a str),
}

/// Why accepting stalls while clients may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stall {
    /// We hold as many connections as we may.
    Full {
        /// How many that are.
        limit: u32,
    },
    /// As many have come in a second as may.
    Rate {
        /// How many that are.
        per_second: u32,
    },
    /// The system ran out of something.
    Exhausted(Resource),
    /// Accepting failed with an errno that accept(2) does not foresee.
    Failed(i32),
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { limit } => write!(
                f,
                "all {limit} connections are in use; newcomers wait in the accept queue until one ends; \
                 max_connections and RLIMIT_NOFILE set how many there may be"
            ),
            Self::Rate { per_second } => write!(
                f,
                "{per_second} connections have come within a second; newcomers wait in the accept queue for their turn; \
                 accept_rate sets how many may come"
            ),
            Self::Exhausted(resource) => f.write_str(resource.advice()),
            Self::Failed(errno) => write!(f, "accept failed: {}", std::io::Error::from_raw_os_error(*errno)),
        }
    }
}

/// An audit could not be made.
pub fn audit_refused(fatal: &Fatal) {
    let advice = "the server is well without it; audit.interval = \"off\" if this host never allows it";
    warn!(cannot = fatal.what.as_str(), why = fatal.why.as_str(), advice; "audit_refused");
}

/// What the server's own audit means by a finding.
const fn meaning(anomaly: Anomaly) -> &'static str {
    match anomaly {
        Anomaly::QueueFull => "an accept queue is full",
        Anomaly::QueuedGhost => "in the accept queue, and their clients have already closed",
        Anomaly::QueuedLong => {
            "in the accept queue for more than an audit: their clients believe they are connected"
        }
        Anomaly::Missing => "here, and the kernel has no such connections any more: their end was overlooked",
        Anomaly::Unknown => "on a listener's port, and held by another program",
        Anomaly::CloseWait => "closed by their clients, not ended here, and nothing of them moves",
        Anomaly::Orphan => "closed here, and their clients do not take the rest",
        Anomaly::FinWait2 => "closed here, and their clients do not close",
        Anomaly::TimeWait => "closed here first, so that the host keeps a TIME_WAIT",
        Anomaly::Unread => "input is not read for too long",
        Anomaly::Unacknowledged => "output is not acknowledged",
        Anomaly::ZeroWindow => "clients do not read their output",
        Anomaly::Unwatched => "idle, and no timer runs",
        Anomaly::SynRecv => "handshakes are not finished",
        Anomaly::LateKeepalive => "idle, and the first keepalive probe is hours away",
    }
}

/// A client of a listener speaks another protocol. Said once for each of both.
pub fn foreign(listener: &str, peer: &Peer, spoke: Foreign) {
    info!(
        listener, peer:% = peer, spoke = spoke.name(), advice = spoke.advice();
        "foreign_protocol"
    );
}

/// The server is done.
pub fn stopped(counters: &Counters, left: u32, uptime: Duration) {
    info!(
        uptime_s = seconds(uptime), accepted = counters.accepted(), ended = counters.ends_total(), cut_at_the_end = left,
        reasons:% = counters.reasons(); "stopped"
    );
}

/// The configuration is to be read again, and the last time is not over.
pub fn reload_waits() {
    info!(advice = "it is read again after that; the disk is slow, or hangs"; "reload_waits");
}

/// The configuration was read again and refused.
pub fn reload_refused(mistakes: &str) {
    for mistake in mistakes.lines() {
        error!(mistake, advice = "nothing was changed; correct it and send SIGHUP again"; "reload_refused");
    }
}

/// The configuration was read again and applied, but for what `notes` says.
pub fn reloaded(notes: &[String]) {
    for note in notes {
        warn!(note = note.as_str(); "reload_note");
    }
    info!(notes = notes.len(); "reloaded");
}

/// A worker's process was started.
pub fn worker_started(number: u32, pid: u32, restarts: u64) {
    info!(worker = number, pid, restarts; "worker_started");
}

/// A worker's process could not be started.
pub fn worker_not_started(number: u32, fatal: &Fatal, pause: Duration) {
    error!(worker = number, cannot = fatal.what.as_str(), why = fatal.why.as_str(), again_in_s = seconds(pause); "worker_not_started");
}

/// A worker's process has ended: how, and when another takes its place, if one does.
pub fn worker_ended(number: u32, status: &str, lived: Duration, pause: Option<Duration>) {
    match pause {
        Some(pause) => {
            let advice =
                "its clients have lost their connections; who waited to be accepted waits for its successor";
            warn!(worker = number, status, lived_s = seconds(lived), again_in_s = seconds(pause), advice; "worker_ended");
        }
        None => info!(worker = number, status, lived_s = seconds(lived); "worker_ended"),
    }
}

/// A worker's loop does not turn.
pub fn worker_stalled(number: u32, silence: Duration, patience: Option<Duration>) {
    let ended_after = patience.map_or_else(|| "never".to_owned(), |patience| format!("{patience:?}"));
    let advice =
        "newcomers are given to the other workers; whether it is stopped, traced, or busy, ps and /proc tell";
    warn!(worker = number, silence_s = seconds(silence), ended_after, advice; "worker_stalled");
}

/// It turns again.
pub fn worker_resumed(number: u32, after: Duration) {
    info!(worker = number, after_s = seconds(after); "worker_resumed");
}

/// It has stalled for longer than `server.stall_timeout`, and is killed.
pub fn worker_given_up(number: u32, after: Duration) {
    warn!(worker = number, after_s = seconds(after), advice = "server.stall_timeout sets how long that may last"; "worker_given_up");
}

/// The kernel does not let newcomers be given to some workers alone.
pub fn not_steered(errno: i32) {
    warn!(error:% = std::io::Error::from_raw_os_error(errno), advice = "newcomers may wait for a worker that stalls"; "newcomers_not_steered");
}

/// All workers have ended, as they were asked to.
pub fn all_drained(workers: usize, uptime: Duration) {
    info!(workers, uptime_s = seconds(uptime); "workers_stopped");
}

/// The state of a server with workers, on SIGUSR1; each of them tells its own.
pub fn workers_state(workers: usize, identities: usize, moved: u64) {
    info!(workers, identities, identities_moved = moved; "workers_state");
}

/// The state of the whole server, on SIGUSR1.
pub fn state(census: &Census, counters: &Counters) {
    let [_, handshaking, open, suspect, peer_closed, closing, _] = census.states;
    info!(
        handshaking, open, suspect, peer_closed, closing,
        paused = census.paused, output_waiting_bytes = census.pending_bytes, accepted = counters.accepted(), ended = counters.ends_total(),
        reasons:% = counters.reasons();
        "state"
    );
}

/// The state of one listener, on SIGUSR1.
pub fn listener_state(listener: &str, connections: u32, queue: Option<Queue>) {
    let queue = queue.unwrap_or(Queue { length: 0, limit: 0 });
    info!(listener, connections, queue_length = queue.length, queue_limit = queue.limit; "listener_state");
}
