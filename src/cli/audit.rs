//! `linger audit`: reads the kernel's table of sockets, has it judged ([`survey`](crate::tools::audit::survey)),
//! finds out whose sockets these are, and shows it: once, in `text` and `json`, or again and again, in `watch`.

mod json;
mod text;
mod watch;

use super::{console, usage_mistake};
use crate::core::tcp::{TcpState, TcpStates};
use crate::core::units::{parse_duration, parse_some_time};
use crate::net::{Fatal, Progress, SocketQuery, SocketRow};
use crate::observe::audit::Anomaly;
use crate::sys::owners::{self, Owner, Owners};
use crate::sys::{SocketTable, host, sock_diag};
use crate::tools::audit::clients::{self, Client};
use crate::tools::audit::explain;
use crate::tools::audit::survey::{Finding, Look, Surveyed, Thresholds, WORST_FIRST, survey};
use clap::Args;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

pub(super) fn help() -> String {
    // Those are found by the audit that a server makes of itself.
    let is_of_servers = |anomaly: &Anomaly| matches!(anomaly, Anomaly::Missing | Anomaly::Unknown);
    let looked_for = WORST_FIRST.iter().filter(|anomaly| !is_of_servers(anomaly));
    let line = |&anomaly: &Anomaly| format!("  {:<15} {}\n", anomaly.name(), explain::what(anomaly));
    format!("What is looked for, the worst first:\n{}\n{HELP}", looked_for.map(line).collect::<String>())
}

const HELP: &str = "\
Without --port, close_wait is looked for at connections of no listener, too: those that a
program has made, such as the pool of a crawler, and has not closed when its servers did.

Silence is no proof that a peer is gone. Of silent connections (unwatched, late_keepalive) it
is told how many others come from the same address: if it is heard on one of those, the silent
ones are likely ghosts, or there are many clients behind one address.

How long something lasts is a lower bound: the kernel notes of no state when it began. It is
told from when data, acknowledgements and retransmissions were last seen, so that keepalive
that is answered makes a close_wait look younger than it is. --wait looks twice, and what is
the same then has lasted at least so long.

Anybody may read the table. Whose the sockets of other users are, only root can see; else their
uid is shown.

Examples:
  linger audit                             every listening TCP port
  linger audit --port 6379 --port 443
  linger audit --wait 10s --examples 20
  linger audit --watch 5s                  what changes, until Ctrl-C
  linger audit --older-than 1m --idle 2h   a server whose clients may be quiet
  linger audit --json | jq '.listeners[].findings[] | {anomaly, connections}'
  linger audit --port 80 >/dev/null || echo 'something is wrong with port 80'

Exit codes:
  0  nothing was found
  1  something was found
  2  the command line has a mistake, nothing listens there, or the table cannot be read";

/// Most listening ports that a mistaken `--port` is answered with.
const NEAREST: usize = 8;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Look at who listens on this TCP port (repeatable); every listening port if none is given
    #[arg(short, long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Vec<u16>,
    /// What a healthy server shows for a moment, too, counts from this age on
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    older_than: Duration,
    /// A connection that no timer watches, or keepalive only late, counts after this silence
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    idle: Duration,
    /// Keepalive is late if its first probe leaves after this silence or a longer one
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    late_keepalive: Duration,
    /// So many connections of one listener in TIME_WAIT count: 600 are ten a second
    #[arg(long, value_name = "NUMBER", default_value = "600")]
    time_waits: usize,
    /// So many handshakes of one listener that had to be repeated count
    #[arg(long, value_name = "NUMBER", default_value = "100")]
    handshakes: usize,
    /// Look twice, so far apart
    ///
    /// What is in the same state both times, and has not moved a byte, has lasted at least so long. It adds to
    /// what the first look showed; --older-than stays what it is.
    #[arg(short, long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// Look again and again, so far apart, and print only what has changed; Ctrl-C ends it
    ///
    /// First everything that is found, then a line for each finding that is new, has other connections, or is gone.
    #[arg(long, value_name = "DURATION", value_parser = parse_some_time, conflicts_with = "wait")]
    watch: Option<Duration>,
    /// Most connections, and addresses, to show of one finding
    #[arg(short, long, value_name = "NUMBER", default_value = "3")]
    examples: usize,
    /// Look into the network namespace of this process, such as a container's (root only)
    #[arg(long, value_name = "PID")]
    netns: Option<u32>,
    /// JSON, one object, and with --watch one in a line for each change: its keys stay, new ones may come
    #[arg(long)]
    json: bool,
}

/// All that is shown.
struct Report<'a> {
    arguments: &'a Arguments,
    listeners: Vec<Surveyed>,
    /// Programs that have not closed what they had connected to.
    clients: Vec<Client<Who>>,
    owners: Owners,
    /// What looking took, without waiting.
    took: Duration,
}

/// Who holds a socket, as far as we may know.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Who {
    Program(Owner),
    User(u32),
}

impl Who {
    fn owner(&self) -> Option<&Owner> {
        match self {
            Self::Program(owner) => Some(owner),
            Self::User(_) => None,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(owner) => write!(f, "{} (pid {})", owner.program, owner.pid),
            Self::User(uid) => write!(f, "a program of uid {uid}"),
        }
    }
}

impl Report<'_> {
    fn findings(&self) -> usize {
        self.listeners.iter().map(|listener| listener.findings.len()).sum::<usize>() + self.clients.len()
    }

    /// All findings, each with the place where it was made.
    fn placed(&self) -> impl Iterator<Item = (String, &Finding)> {
        let of_listeners = self.listeners.iter().flat_map(|listener| {
            listener.findings.iter().map(|finding| (listener.address.to_string(), finding))
        });
        of_listeners.chain(self.clients.iter().map(|client| (client.owner.to_string(), &client.finding)))
    }

    fn connections(&self) -> usize {
        self.listeners.iter().map(Surveyed::connections).sum()
    }

    /// Who holds a socket, if somebody does and we may know.
    fn owner(&self, row: &SocketRow) -> Option<&Owner> {
        self.owners.by_inode.get(&row.inode)
    }

    /// Listeners whose program nobody has found.
    fn nameless(&self) -> usize {
        let nameless = |listener: &&Surveyed| listener.sockets.iter().all(|row| self.owner(row).is_none());
        self.listeners.iter().filter(nameless).count()
    }
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match arguments.watch {
        Some(every) => watch::run(arguments, every),
        None => once(arguments),
    }
}

fn once(arguments: &Arguments) -> ExitCode {
    let report = match look(arguments) {
        Ok(report) => report,
        Err(why) => return refused(&why),
    };
    let shown = if arguments.json { json::of(&report) } else { text::of(&report) };
    if let Err(error) = console::out(shown.as_bytes()) {
        return refused(&format!("writing to standard output: {error}"));
    }
    if report.findings() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn refused(why: &str) -> ExitCode {
    console::err(format_args!("linger: audit: {why}"));
    usage_mistake()
}

fn look(arguments: &Arguments) -> Result<Report<'_>, String> {
    let clock = crate::cli::serve::clock();
    let mut table = open(arguments.netns).map_err(|fatal| fatal.to_string())?;
    let (first, at) = (read(&mut table, arguments)?, clock());
    let (second, waited) = match arguments.wait {
        None => (None, Duration::ZERO),
        Some(time) => {
            sleep(time);
            // Before the second look is read, after the first one was: never longer than it was.
            let waited = clock().saturating_sub(at);
            (Some(read(&mut table, arguments)?), waited)
        }
    };
    let report = match &second {
        None => judge(arguments, &first, None),
        Some(second) => judge(arguments, second, Some((&first, waited))),
    };
    Ok(Report { took: clock().saturating_sub(waited), ..report })
}

/// What a look shows, and whose that is.
fn judge<'a>(arguments: &'a Arguments, look: &Look, earlier: Option<(&Look, Duration)>) -> Report<'a> {
    let thresholds = Thresholds {
        older_than: arguments.older_than,
        idle: arguments.idle,
        late_keepalive: arguments.late_keepalive,
        time_waits: arguments.time_waits,
        handshakes: arguments.handshakes,
        fin_timeout: host::fin_timeout().unwrap_or(Duration::from_secs(60)),
    };
    let listeners = survey(look, earlier, &thresholds);
    // Of a port, only what its listeners have is meant.
    let kept = if arguments.port.is_empty() { clients::kept(look, earlier, &thresholds) } else { Vec::new() };
    let mut inodes = inodes(&listeners, arguments.examples);
    inodes.extend(kept.iter().map(|case| case.row.inode));
    let owners = owners::find(&inodes);
    let clients = clients::by_owner(kept, |row| {
        owners.by_inode.get(&row.inode).map_or(Who::User(row.uid), |owner| Who::Program(owner.clone()))
    });
    Report { arguments, listeners, clients, owners, took: Duration::ZERO }
}

fn open(netns: Option<u32>) -> Result<SocketTable, Fatal> {
    match netns {
        None => SocketTable::open(),
        Some(pid) => SocketTable::open_in(Path::new(&format!("/proc/{pid}/ns/net"))),
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing else is served meanwhile")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// The name of a state in the output.
fn lower(state: TcpState) -> String {
    state.name().to_ascii_lowercase()
}

/// The listeners that are meant, and their connections; without `--port`, what programs have not closed, too.
fn read(table: &mut SocketTable, arguments: &Arguments) -> Result<Look, String> {
    let of = |ports, states| SocketQuery { ports, states, evidence: states != LISTENING };
    let mut rows = rows(table, &of(Vec::new(), LISTENING))?;
    let open: BTreeSet<u16> = rows.iter().map(|row| row.local.port()).collect();
    let missing: Vec<u16> = arguments.port.iter().copied().filter(|port| !open.contains(port)).collect();
    if !missing.is_empty() {
        return Err(nothing_there(&missing, &rows));
    }
    rows.retain(|row| arguments.port.is_empty() || arguments.port.contains(&row.local.port()));
    let mut ports: Vec<u16> = rows.iter().map(|row| row.local.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    if ports.len() > sock_diag::PORTS_MAX {
        // Too many for a filter: all rows are read, and those of no listener left out.
        ports.clear();
    }
    if !open.is_empty() {
        rows.extend(self::rows(table, &of(ports, TcpStates::all_but(TcpState::Listen)))?);
    }
    if arguments.port.is_empty() {
        // Those of listeners come twice, and count once.
        rows.extend(self::rows(table, &of(Vec::new(), TcpStates::only(TcpState::CloseWait)))?);
    }
    if rows.is_empty() { Err(nothing_there(&[], &rows)) } else { Ok(Look::new(rows)) }
}

const LISTENING: TcpStates = TcpStates::only(TcpState::Listen);

fn rows(table: &mut SocketTable, query: &SocketQuery) -> Result<Vec<SocketRow>, String> {
    let mut rows = Vec::new();
    table.start(query).map_err(|fatal| fatal.to_string())?;
    while table.read(&mut rows).map_err(|fatal| fatal.to_string())? == Progress::More {}
    Ok(rows)
}

/// Says what listens instead.
fn nothing_there(missing: &[u16], listeners: &[SocketRow]) -> String {
    let Some(&wanted) = missing.first() else {
        return "nothing listens on TCP in this network namespace; --netns PID looks into another".to_owned();
    };
    let ports: Vec<String> = missing.iter().map(u16::to_string).collect();
    let mut near: Vec<&SocketRow> = listeners.iter().collect();
    near.sort_by_key(|row| (row.local.port().abs_diff(wanted), row.local.port()));
    near.dedup_by_key(|row| row.local.port());
    let more = near.len().saturating_sub(NEAREST);
    near.truncate(NEAREST);
    let owners = owners::find(&near.iter().map(|row| row.inode).collect());
    let near: Vec<String> = near
        .iter()
        .map(|row| match owners.by_inode.get(&row.inode) {
            Some(owner) => format!("{} ({})", row.local.port(), owner.program),
            None => row.local.port().to_string(),
        })
        .collect();
    let near = match (near.is_empty(), more) {
        (true, _) => "nothing does; --netns PID looks into another".to_owned(),
        (false, 0) => format!("what listens, the nearest first: {}", near.join(", ")),
        (false, more) => format!("what listens, the nearest first: {}, and {more} more", near.join(", ")),
    };
    format!("nothing listens on TCP port {} in this network namespace; {near}", ports.join(", "))
}

/// The sockets whose owners are shown.
fn inodes(listeners: &[Surveyed], examples: usize) -> BTreeSet<u32> {
    let mut inodes = BTreeSet::new();
    for listener in listeners {
        inodes.extend(listener.sockets.iter().map(|row| row.inode));
        for finding in &listener.findings {
            inodes.extend(finding.cases.iter().take(examples).map(|case| case.row.inode));
        }
    }
    inodes.remove(&0);
    inodes
}
