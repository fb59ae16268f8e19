//! The command line: what can be asked of the one binary, and what each command does.
//!
//! The definition below is the only one: help, shell completions and man pages are made from it. What the
//! flags of `serve` and `check` mean is for [`config`] to say, so that a flag, a URL and a
//! line of the file are judged by the same rules and all their mistakes are told at once.

mod admin;
#[cfg(feature = "audit")]
mod audit;
mod connections;
mod console;
#[cfg(feature = "doctor")]
mod doctor;
mod end;
mod explain;
mod follow;
mod health;
#[cfg(feature = "lab")]
mod lab;
mod lang;
#[cfg(feature = "load")]
mod load;
mod man;
pub mod serve;
#[cfg(feature = "sim")]
mod sim;
mod tail;
#[cfg(feature = "top")]
mod top;
mod upstreams;
mod user;
mod why;

use crate::config::{self, Diagnostic, Override, Sources};
use crate::sys::file::read_regular;
use crate::sys::memory;
use crate::sys::worker::{self, Handed};
#[cfg(feature = "load")]
use crate::tools::load::procs;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

const EXIT_CODES: &str = "\
Exit codes:
  0  it went well; for serve: it was asked to stop, and did
  1  it failed while running, such as an address that is in use
  2  the command line or the configuration has mistakes; nothing was started";

fn examples() -> String {
    let builtin = config::builtin_listeners();
    format!(
        "\
Examples:
  linger serve                             {builtin},
                                           admin on 127.0.0.1:7070
  linger serve --listen 'resp://0.0.0.0:7000?heartbeat=30s'
  linger config > linger.toml              start a configuration from the defaults
  linger check --config linger.toml        what it amounts to, or all that is wrong with it
  printf 'PING\\r\\n' | nc -N 127.0.0.1 7000"
    )
}

fn about_serve() -> String {
    format!(
        "Serve, until SIGTERM\n\nOpens every listener and serves until it is told to stop. Nothing needs to be \
         configured: without flags it serves {} and the admin interface on 127.0.0.1:7070. SIGTERM or SIGINT drains \
         (a second one stops at once), SIGHUP reads the configuration again, SIGUSR1 logs a summary.",
        config::builtin_listeners()
    )
}

/// The connection server that knows when and why every client left, and always closes last.
#[derive(Debug, Parser)]
#[command(name = "linger", version, max_term_width = 100)]
#[command(after_help = format!("{}\n\n{EXIT_CODES}", examples()))]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve, until SIGTERM
    #[command(long_about = about_serve())]
    #[command(after_help = "See 'linger serve --help' for examples and the keys of a listener URL.")]
    #[command(after_long_help = serve_help("serve"))]
    Serve(ConfigArgs),
    /// Check a configuration and show the settings it amounts to
    ///
    /// Takes the same flags as serve and opens no socket. Prints either every mistake, each with where it
    /// stands, what is wrong and what would be right, or each setting that differs from the defaults, with where it came
    /// from: a line of the file, or a flag. What it prints is itself a configuration file. 'linger explain KEY' tells what
    /// a key is.
    #[command(after_help = "See 'linger check --help' for examples and the keys of a listener URL.")]
    #[command(after_long_help = serve_help("check"))]
    Check(CheckArgs),
    /// Print the complete default configuration, with reasons
    ///
    /// Every key with its default, what it takes, what it does, and why its default is what it is.
    #[command(after_help = "Example:\n  linger config > linger.toml")]
    Config,
    #[cfg(feature = "doctor")]
    /// Say what of this host would hurt a server with many connections
    ///
    /// Holds limits, sysctls, memory and counters of the host against a number of connections: what would
    /// refuse, cut or lose them, what to set, and why; what is fine; and which tuning folklore does not help,
    /// with a mark where this host was tuned by it. Changes nothing and needs no permission; what is hidden
    /// from where it runs is said to be unknown. Exits with 0 if nothing would hurt, 1 if something would.
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::Arguments),
    #[cfg(feature = "sim")]
    /// Let the server live through simulated trouble, and check all it does
    ///
    /// Runs the real server on a simulated kernel, network and clients: hours pass in milliseconds, faults are drawn
    /// by a seed, and every account of an ending is compared with what really happened. A run that fails
    /// is printed with its seed, and --seed with --trace shows it again, event by event. Needs no network and no
    /// permission. Exits with 1 if a run failed.
    #[command(after_help = sim::EXAMPLES)]
    Sim(sim::Arguments),
    #[cfg(feature = "audit")]
    /// Look for what is wrong with the connections of any TCP server on this host
    ///
    /// Reads the kernel's own table of sockets: what no program has accepted, what none has closed or read, what
    /// cannot be delivered, what nothing watches. The server needs to know nothing of it, and need not be linger.
    /// Each finding is explained in a sentence, with what to do about it. It changes nothing.
    #[command(after_help = "See 'linger audit --help' for examples and what is looked for.")]
    #[command(after_long_help = audit::help())]
    Audit(audit::Arguments),
    #[cfg(feature = "lab")]
    /// Prove, on real servers, what is detected by which means, and how fast
    ///
    /// Builds networks of its own, of namespaces that end with it, and nothing is added to the one it is started in.
    /// In each row real clients of a real server go in one way; in each column one means of detection is on alone,
    /// in the last all together. A cell says how long it took; it is compared with what is expected: reason,
    /// detector, way of closing, time, and what is left on both sides. Needs root or user namespaces, and the
    /// programs ip and nft. Exits with 1 if a cell is not as expected, with 2 if it cannot work here.
    #[command(after_help = lab::EXAMPLES)]
    Lab(lab::Arguments),
    #[cfg(feature = "load")]
    /// Put a server under load, misbehave, and check what it says of it
    ///
    /// Plays very many clients of any server that speaks echo, RESP (Redis) or HTTP, measures latency without
    /// leaving out what a stall held up, and on linger commits faults and holds every verdict of the server
    /// against what really happened.
    #[command(after_help = "See 'linger load --help' for open and closed loop, the faults, and examples.")]
    #[command(after_long_help = format!("{}\n\n{}", load::HELP, load::AFTER))]
    Load(Box<load::Arguments>),
    /// Ask a running server whether it is well
    ///
    /// Asks its admin interface: /healthz, or /readyz with --ready. Both are answered without a token.
    #[command(after_help = health::EXAMPLES)]
    Health(health::Arguments),
    /// Tell how, when and why a client of a running server left
    ///
    /// Asks its admin interface for the last endings (server.history): of an identity, of an address or network, or of one
    /// connection. Tells each in sentences, with the evidence, and then what the reason usually means and what to do.
    #[command(after_help = why::EXAMPLES)]
    Why(why::Arguments),
    /// Tell what happens at a running server, as it happens
    ///
    /// Asks its admin interface for events: connections that open, get an identity, are suspect, come back to life, are
    /// replaced and end, and what befalls the server: stalls, drains, reloads, upstream servers and workers. A connection that
    /// is cut is made anew, and nothing is left out that the server still knows (server.events).
    #[command(after_help = tail::EXAMPLES)]
    Tail(tail::Arguments),
    /// List the clients of a running server
    ///
    /// Asks its admin interface: of an identity, an address or network, a listener, in a state, older than a time.
    #[command(after_help = connections::EXAMPLES)]
    Connections(connections::Arguments),
    /// Give a client of a running gateway an identity
    ///
    /// For an operator who knows who it is; the application behind the gateway can say it itself (linger explain gateway).
    #[command(after_help = connections::EXAMPLES_OF_NAME)]
    Name(connections::NameArguments),
    /// End clients of a running server: one, or many at a pace
    ///
    /// Each is ended as it should be: it is sent the goodbye of its protocol, and may close first (linger explain closing). Its
    /// record says local.kicked, by the operator, and who that was.
    #[command(after_help = end::EXAMPLES)]
    End(end::Arguments),
    #[cfg(feature = "top")]
    /// Watch a running server in the terminal
    ///
    /// Rates, connections by state and listener, endings by reason over time, the last endings, accept queues, workers and
    /// upstream servers, as they are now. Keys filter, open a connection or an ending, and end a connection. Where the server
    /// does not answer, the last picture stays, and it is tried again.
    #[command(after_help = top::EXAMPLES)]
    Top(top::Arguments),
    /// List the upstream servers of a running gateway, and how they are
    ///
    /// Asks its admin interface: which of them are up, what took those down that are not, how many connections each has,
    /// and what came of the last check.
    #[command(after_help = upstreams::EXAMPLES)]
    Upstreams(upstreams::Arguments),
    /// Take an upstream server out of a running gateway, or put it back
    ///
    /// What is said holds until something else is said, also when the configuration is read again, and for all workers.
    #[command(after_help = upstreams::EXAMPLES_OF_ONE)]
    Upstream(upstreams::OneArguments),
    /// Edit a file of users: who may log in, and what each may do
    ///
    /// Comments and the order of users stay as they are, and the file is replaced at once. A password comes from a prompt, or
    /// from standard input where that is no terminal.
    #[command(after_help = user::EXAMPLES)]
    User {
        #[command(subcommand)]
        action: user::Action,
    },
    /// Print a page of the guide, or what a reason, detector or way of closing means
    ///
    /// Without a topic, it lists them. All pages, and what reasons, detectors, ways of closing and findings mean, are there in
    /// Chinese, too; keys of the configuration are explained in English.
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::Arguments),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  linger completions bash > ~/.local/share/bash-completion/completions/linger"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print a man page
    #[command(after_help = man::EXAMPLES)]
    Man(man::Arguments),
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Every setting, also those that are as they are by default
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// Read this TOML file
    ///
    /// No file is read unless it is named here, not even ./linger.toml; no environment variable is read.
    /// SIGHUP reads it again.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen here: PROTOCOL://ADDRESS:PORT[?KEY=VALUE&...] (repeatable)
    ///
    /// Any key of a listener can be a parameter, see below. Given at all, these replace the listeners of the
    /// file or the default ones; [defaults] of the file still apply to them.
    #[arg(short, long, value_name = "URL")]
    listen: Vec<String>,
    /// Where the admin interface listens: ADDRESS:PORT, unix:PATH or off
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// What to log: off, error, warn, info, debug, trace, or target=level
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// The shape of log lines
    #[arg(long, value_name = "text|json")]
    log_format: Option<String>,
    /// Most client connections at once
    #[arg(long, value_name = "NUMBER")]
    max_connections: Option<String>,
    /// Serve with that many processes, or one a processor: NUMBER or auto
    ///
    /// From 2 on, a supervisor starts single-threaded workers on the same ports, starts anew what dies, and answers
    /// for all of them at the admin interface. An identity is held by one connection, whichever worker has it, and
    /// BEATFOR and SEND reach it there; PUBLISH and presence events reach the subscribers of all workers; STATE, WHO,
    /// PUBSUB, CLIENT and INFO tell of all of them. PUBLISH answers how many receive it at the worker of its client.
    #[arg(long, value_name = "NUMBER")]
    workers: Option<String>,
    /// Set any other key, as in drain.timeout=10s (repeatable)
    ///
    /// TABLE.KEY=VALUE, for the tables server, turn, drain, audit, log, admin and defaults; strings without
    /// quotes. Flags come before the file, except that a listener's own keys come before those of
    /// defaults, wherever each was given.
    #[arg(short, long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl ConfigArgs {
    fn sources(self) -> Sources {
        let named = [
            ("--admin", "admin.address", self.admin),
            ("--log", "log.filter", self.log),
            ("--log-format", "log.format", self.log_format),
            ("--max-connections", "server.max_connections", self.max_connections),
            ("--workers", "server.workers", self.workers),
        ];
        let named = named.into_iter().filter_map(|(flag, key, value)| {
            Some(Override { flag: flag.to_owned(), key: key.to_owned(), value: value? })
        });
        let set = self.set.into_iter().map(|text| {
            let (key, value) = text.split_once('=').unwrap_or((&text, ""));
            Override { flag: format!("--set {text}"), key: key.to_owned(), value: value.to_owned() }
        });
        Sources { file: self.config, listen: self.listen, overrides: named.chain(set).collect() }
    }
}

/// What follows the flags in the long help of a command that takes a configuration.
fn serve_help(command: &str) -> String {
    let keys = config::listener_keys();
    format!(
        "\
Keys of a listener URL, with their defaults:
{keys}
  heartbeat=30s is short for heartbeat.style=client and heartbeat.timeout=30s;
  heartbeat=server:30s and heartbeat=off work alike. 'linger config' explains every key.

Examples:
  linger {command} --config /etc/linger.toml
  linger {command} -l 'resp://[::]:7000?backlog=8192&idle_timeout=1h' -l echo://127.0.0.1:7007
  linger {command} --config linger.toml --admin unix:/run/linger.sock --log linger=debug
  linger {command} --set defaults.keepalive.idle=30s --set drain.timeout=10s

{EXIT_CODES}"
    )
}

/// What one process of linger says to another that it starts. It stands last, and is taken off before the command line
/// is read: no help, completion or suggestion knows of it.
fn take_last(arguments: &mut Vec<OsString>, flag: &str) -> Option<String> {
    let place = arguments.len().checked_sub(2).filter(|&place| arguments[place] == flag)?;
    arguments.drain(place..).next_back()?.into_string().ok()
}

/// Runs the command that `arguments` ask for; the first is the name of the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    #[cfg(feature = "lab")]
    if arguments.get(1).is_some_and(|command| command == crate::tools::lab::CLIENT_COMMAND) {
        return lab::client();
    }
    let handed = take_last(&mut arguments, worker::FLAG).map(|text| Handed::parse(&text));
    #[cfg(feature = "load")]
    let part = take_last(&mut arguments, procs::PART);
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(message) => return print_usage(&message),
    };
    match cli.command {
        Command::Serve(arguments) => match handed {
            Some(Ok(handed)) => serve::work(&handed, arguments.sources()),
            Some(Err(why)) => {
                console::err(format_args!("linger: {}: {why}", worker::FLAG));
                usage_mistake()
            }
            None => serve(arguments.sources()),
        },
        Command::Check(CheckArgs { config, all }) => check(&config.sources(), all),
        Command::Config => print(config::template().as_bytes()),
        #[cfg(feature = "doctor")]
        Command::Doctor(arguments) => doctor::run(arguments),
        #[cfg(feature = "sim")]
        Command::Sim(arguments) => sim::run(&arguments),
        #[cfg(feature = "audit")]
        Command::Audit(arguments) => audit::run(&arguments),
        #[cfg(feature = "lab")]
        Command::Lab(arguments) => lab::run(&arguments),
        #[cfg(feature = "load")]
        Command::Load(arguments) => {
            load::run(&arguments.of_part(part.as_deref().and_then(load::Part::parse)))
        }
        Command::Health(arguments) => health::run(&arguments),
        Command::Why(arguments) => why::run(&arguments),
        Command::Connections(arguments) => connections::list(&arguments),
        Command::Name(arguments) => connections::name(&arguments),
        Command::End(arguments) => end::run(&arguments),
        Command::Tail(arguments) => tail::run(&arguments),
        #[cfg(feature = "top")]
        Command::Top(arguments) => top::run(arguments),
        Command::Upstreams(arguments) => upstreams::list(&arguments),
        Command::Upstream(arguments) => upstreams::say(&arguments),
        Command::User { action } => user::run(&action),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "linger", &mut script);
            print(&script)
        }
        Command::Man(arguments) => man::run(&arguments),
    }
}

/// What the parser of the command line has to say: help and the version, to standard output, or a mistake.
fn print_usage(message: &clap::Error) -> ExitCode {
    let told = message.print();
    if message.use_stderr() {
        return usage_mistake();
    }
    match console::arrived(told) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

fn serve(sources: Sources) -> ExitCode {
    let read = config::read(&sources, read_regular);
    match read.and_then(|texts| Ok((config::resolve_read(&sources, &texts)?, texts))) {
        Ok((effective, texts)) => serve::run(effective, sources, &texts),
        Err(mistakes) => report(&mistakes),
    }
}

fn check(sources: &Sources, all: bool) -> ExitCode {
    match config::resolve(sources, read_regular) {
        Ok(effective) => {
            hints(&effective.hints);
            let server = &effective.settings.server;
            let note = match (server.memory_max, server.memory_max_of(memory::available())) {
                (None, Some(bytes)) => format!(
                    "\n# memory_max = \"auto\" is {}MiB here: a quarter of what the host or a control group has\n",
                    bytes >> 20
                ),
                _ => String::new(),
            };
            let shown = if all { effective.to_string() } else { differing(&effective) };
            print(format!("{shown}{note}").as_bytes())
        }
        Err(mistakes) => report(&mistakes),
    }
}

/// What differs from the defaults, and how much does not.
fn differing(effective: &config::Effective) -> String {
    let (text, others) = effective.differing();
    format!("{text}\n# {others} more settings are as they are by default: --all shows them\n")
}

fn hints(hints: &[Diagnostic]) {
    for hint in hints {
        console::err(format_args!("hint: {hint}"));
    }
}

fn report(mistakes: &[Diagnostic]) -> ExitCode {
    for mistake in mistakes {
        console::err(mistake);
    }
    match mistakes.len() {
        1 => console::err("linger: 1 mistake; nothing was started"),
        number => console::err(format_args!("linger: {number} mistakes; nothing was started")),
    }
    usage_mistake()
}

fn print(text: &[u8]) -> ExitCode {
    match console::out(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

fn failure(error: &std::io::Error) -> ExitCode {
    console::err(format_args!("linger: writing to standard output: {error}"));
    ExitCode::FAILURE
}

fn usage_mistake() -> ExitCode {
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_become_keys_that_the_table_knows() {
        let line = "linger check --admin off --log debug --log-format json --max-connections 9 --set \
                    drain.timeout=10s --listen echo://127.0.0.1:1";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Check(arguments) = cli.command else { panic!("not check") };
        let settings = config::load(&arguments.config.sources(), read_regular).unwrap();
        assert_eq!(settings.listeners.len(), 1);
        assert_eq!(settings.log.filter, "debug");
        assert_eq!(settings.server.connections_max, Some(9));
        assert_eq!(settings.drain.timeout.as_secs(), 10);
    }
}
