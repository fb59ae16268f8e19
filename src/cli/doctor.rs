//! `linger doctor`: asks the host, and prints the report for people or for programs.

use super::{console, failure, report, usage_mistake};
use crate::config::settings::{ListenerSettings, Settings, Upstream};
use crate::config::{self, Sources};
use crate::core::units::thousands;
use crate::net::{Address, HostName};
use crate::protocol::HalfClose;
use crate::protocol::Token;
use crate::protocol::gateway::{ServerAddress, ServerSpec};
use crate::sys::admin_client::ask;
use crate::sys::file::read_regular;
use crate::sys::names::resolve;
use crate::tools::doctor::half_closes::Seen;
use crate::tools::doctor::{Aim, Finding, Host, Relay, Report, Tale, Verdict, examine};
use clap::Args;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub(super) const EXAMPLES: &str = "\
Examples:
  linger doctor                            as many connections as linger would accept here
  linger doctor -c 1000000                 what a million would take
  linger doctor --config /etc/linger.toml  with the backlogs, ports and gateways of that file
  linger doctor --json | jq '.findings[] | select(.verdict == \"harm\")'

Exit codes:
  0  nothing would hurt
  1  something would
  2  the command line or the configuration has mistakes";

/// Most connections that are asked for when nobody says how many. What the hard limit on descriptors allows
/// is the question that the host itself asks, for linger accepts no more; but where that is a billion, as in
/// some containers, nobody means it.
const CONNECTIONS: u64 = 100_000;

/// How far apart a running server is looked at twice.
const LOOKS: Duration = Duration::from_secs(2);

/// Columns of the text.
const WIDTH: usize = 100;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How many connections at once
    ///
    /// Without it: what `server.max_connections` says; if that is not set, as many as the hard limit on descriptors lets
    /// linger accept, and at most 100000.
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    connections: Option<u64>,
    /// Take backlogs, ports and gateways from this TOML file instead of the defaults
    ///
    /// Where a gateway forwards half-closes, and a server answers at that file's admin interface, it is asked how many.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Look at the proc and etc below this directory, such as a host's that is mounted into a container
    #[arg(long, value_name = "DIRECTORY", default_value = "/")]
    root: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Say of everything why, and which test shows it
    #[arg(short, long)]
    verbose: bool,
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    let sources = Sources { file: arguments.config, listen: Vec::new(), overrides: Vec::new() };
    let settings = match config::load(&sources, read_regular) {
        Ok(settings) => settings,
        Err(mistakes) => return report(&mistakes),
    };
    // Where there is nothing to see, nothing would ever hurt: that is a mistake in the path, and no good news.
    if !arguments.root.join("proc/sys").is_dir() {
        console::err(format_args!("linger doctor: there is no proc/sys in {}", arguments.root.display()));
        return usage_mistake();
    }
    let host = Host::read(&arguments.root);
    let mut aim = aim(arguments.connections, &settings, host.descriptors.1);
    measure(&mut aim.relays, &settings);
    let found = examine(&host, &aim);
    let text = if arguments.json { json(&found) } else { text(&found, arguments.verbose) };
    match console::out(text.as_bytes()) {
        Ok(()) if found.verdict < Verdict::Harm => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => failure(&error),
    }
}

fn aim(connections: Option<u64>, settings: &Settings, descriptors: u64) -> Aim {
    let serving = || settings.listeners.iter().filter(|listener| listener.protocol.serves_clients());
    let descriptors_besides = crate::cli::serve::descriptors_besides(settings);
    let shared = serving().any(|listener| listener.relay.is_none());
    // A pair of a gateway takes two.
    let each = if settings.upstreams.is_empty() || shared { 1 } else { 2 };
    let allowed = (descriptors.saturating_sub(descriptors_besides) / each).clamp(1, CONNECTIONS);
    let ports = settings.listeners.iter().filter_map(|listener| match &listener.address {
        Address::Tcp { socket, .. } => Some(socket.port()),
        Address::Unix(_) => None,
    });
    let workers = u64::from(crate::cli::serve::workers(settings));
    let wanted = settings.server.connections_max.map(|each| u64::from(each) * workers);
    Aim {
        connections: connections.or(wanted).unwrap_or(allowed * workers),
        workers,
        descriptors_besides,
        // The admin interface has its own, and nobody comes to it in storms.
        backlog: serving().map(|listener| u64::from(listener.backlog)).max().unwrap_or(0),
        ports: ports.collect(),
        relays: relays(settings),
        shared,
    }
}

/// The upstreams that listeners relay to.
fn relays(settings: &Settings) -> Vec<Relay> {
    let forwarding = |name: &str| {
        let relays = |listener: &&ListenerSettings| {
            let relay = listener.relay.as_ref();
            relay.is_some_and(|relay| {
                relay.half_close == HalfClose::Forward && relay.upstreams().any(|one| one == name)
            })
        };
        settings.listeners.iter().filter(relays).map(|listener| listener.name.clone()).collect()
    };
    let relay = |upstream: &Upstream| {
        let tcp = |server: &ServerSpec| match &server.address {
            ServerAddress::Tcp(socket) => vec![*socket],
            ServerAddress::Unix(_) => Vec::new(),
            // One that has no address now has no ports to run out of.
            ServerAddress::Name { host, port } => {
                resolve(&HostName { host: host.clone(), port: *port }).unwrap_or_default()
            }
        };
        Relay {
            upstream: upstream.name.clone(),
            servers: upstream.is.servers.iter().flat_map(tcp).collect(),
            sources: (upstream.is.sources.len() as u64).max(1),
            forwarding: forwarding(&upstream.name),
            half_closes_a_minute: None,
        }
    };
    settings.upstreams.iter().map(relay).collect()
}

/// Asks the server that runs by these settings how many half-closes its gateways forward. If none does, it is not known.
#[expect(clippy::disallowed_methods, reason = "nothing else goes on while a server is looked at twice")]
fn measure(relays: &mut [Relay], settings: &Settings) {
    let admin = settings.listeners.iter().find(|listener| !listener.protocol.serves_clients());
    let Some(admin) = admin.filter(|_| relays.iter().any(Relay::forwards)) else { return };
    let token = admin.token.as_ref().map(Token::as_str);
    let look = || ask(&admin.address, "GET", "/metrics", token).ok().and_then(|page| Seen::read(&page.body));
    let Some(before) = look() else { return };
    std::thread::sleep(LOOKS);
    let Some(after) = look() else { return };
    for relay in relays {
        relay.half_closes_a_minute = after.a_minute(&before, LOOKS, &relay.forwarding);
    }
}

fn json(found: &Report) -> String {
    let mut text = serde_json::to_string_pretty(found).expect("plain data has a form in JSON");
    text.push('\n');
    text
}

/// What hurts, what could be better, what is hidden, what is fine; then what is said and is not so.
fn text(found: &Report, verbose: bool) -> String {
    let mut text = format!("This host, with {} connections at once:", thousands(found.connections));
    let of = |verdict| found.findings.iter().filter(move |finding: &&Finding| finding.verdict == verdict);
    text.push_str(match found.verdict {
        Verdict::Harm => " something would hurt.\n",
        Verdict::Advice => " nothing would hurt; some things could be better.\n",
        Verdict::Unknown => " nothing that can be seen would hurt.\n",
        Verdict::Ok => " nothing would hurt.\n",
    });
    for (verdict, title) in [(Verdict::Harm, "Would hurt"), (Verdict::Advice, "Could be better")] {
        for (index, finding) in of(verdict).enumerate() {
            if index == 0 {
                let _ = write!(text, "\n{title}\n");
            }
            explain(&mut text, finding, verbose);
        }
    }
    if found.findings.iter().flat_map(|finding| &finding.set).any(|command| command.starts_with("sysctl -w"))
    {
        text.push_str(
            "\nsysctl -w lasts until the next boot; the same lines in /etc/sysctl.d/*.conf outlast it.\n",
        );
    }
    hidden(&mut text, &of(Verdict::Unknown).collect::<Vec<_>>());
    fine(&mut text, &of(Verdict::Ok).collect::<Vec<_>>(), verbose);
    folklore(&mut text, &found.folklore, verbose);
    text
}

fn explain(text: &mut String, finding: &Finding, verbose: bool) {
    let _ = writeln!(text, "  {} = {}", finding.name, finding.value.as_deref().unwrap_or("none"));
    wrap(text, 6, &finding.why);
    for command in &finding.set {
        // Never broken: it is there to be copied.
        let _ = writeln!(text, "        {command}");
    }
    if verbose || finding.verdict > Verdict::Unknown {
        let _ = writeln!(text, "      linger explain {}", finding.page);
    }
    if let (true, Some(test)) = (verbose, finding.test) {
        let _ = writeln!(text, "      shown by {test}");
    }
}

/// What cannot be read, by the reason.
fn hidden(text: &mut String, findings: &[&Finding]) {
    if !findings.is_empty() {
        text.push_str("\nHidden from here\n");
    }
    let mut reasons: Vec<_> = findings.iter().map(|finding| finding.why.as_str()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    for reason in reasons {
        let names = findings.iter().filter(|finding| finding.why == reason).map(|finding| finding.name);
        wrap(text, 2, &format!("{}: {reason}", names.collect::<Vec<_>>().join(", ")));
    }
}

fn fine(text: &mut String, findings: &[&Finding], verbose: bool) {
    text.push_str("\nFine\n");
    if verbose {
        for finding in findings {
            explain(text, finding, verbose);
        }
        return;
    }
    let last = findings.len().saturating_sub(1);
    let entries = findings.iter().enumerate().map(|(index, finding)| {
        let end = if index == last { "" } else { ";" };
        match &finding.value {
            // The sections of sysctl's tree say nothing to a reader of a list.
            Some(value) => format!("{} = {value}{end}", short(finding.name)),
            None => format!("no {}{end}", short(finding.name)),
        }
    });
    fill(text, 2, entries);
}

/// The last part of a sysctl's name.
fn short(name: &str) -> &str {
    let whole = name.starts_with("fs.") || !name.contains('.') || name == "memory.max";
    if whole { name } else { name.rsplit('.').next().unwrap_or(name) }
}

fn folklore(text: &mut String, tales: &[Tale], verbose: bool) {
    text.push_str("\nFolklore\n");
    let (applied, others): (Vec<_>, Vec<_>) =
        tales.iter().partition(|tale| matches!(tale.verdict, Verdict::Advice | Verdict::Harm));
    for tale in applied {
        let mark =
            if tale.verdict == Verdict::Harm { "this host has it, and it hurts" } else { "this host has it" };
        let _ = writeln!(text, "! {} = {}  ({mark})", tale.name, tale.value.as_deref().unwrap_or("set"));
        wrap(text, 6, &format!("\"{}\": {}.", tale.claim, tale.fact));
        for command in &tale.set {
            let _ = writeln!(text, "        {command}");
        }
        let _ = writeln!(text, "      linger explain {}", tale.page);
        shown_by(text, tale, verbose);
    }
    for tale in others {
        wrap(text, 2, &format!("{}: \"{}\": {}.", tale.name, tale.claim, tale.fact));
        shown_by(text, tale, verbose);
    }
    if !verbose {
        text.push_str("\n--verbose names the test of linger's sources that shows each of these.\n");
    }
}

fn shown_by(text: &mut String, tale: &Tale, verbose: bool) {
    if verbose {
        let _ = writeln!(text, "      shown by {}", tale.test);
    }
}

/// Writes words in lines, the first indented by `indent`, the others a little more where that is a title.
fn wrap(text: &mut String, indent: usize, words: &str) {
    fill(text, indent, words.split(' '));
}

/// The same for parts that are not broken, in lines of at most [`WIDTH`] columns.
fn fill(text: &mut String, indent: usize, parts: impl Iterator<Item = impl AsRef<str>>) {
    let mut line = " ".repeat(indent);
    let mut begun = false;
    for part in parts {
        let part = part.as_ref();
        if begun && line.chars().count() + 1 + part.chars().count() > WIDTH {
            let _ = writeln!(text, "{line}");
            line = " ".repeat(if indent == 2 { 4 } else { indent });
            begun = false;
        }
        if begun {
            line.push(' ');
        }
        line.push_str(part);
        begun = true;
    }
    let _ = writeln!(text, "{line}");
}
