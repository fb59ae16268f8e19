//! `linger load`: reads what is asked, plays it, prints what came of it.

use super::admin::TokenArgs;
use super::console;
use crate::core::units::{parse_duration, parse_rate, parse_size, parse_some_time};
use crate::sys::file::read_regular;
use crate::sys::host;
use crate::tls;
use crate::tools::load::faults::Contract;
use crate::tools::load::mix::Mix;
use crate::tools::load::plan::{self, Judge, Plan, Scheme, Target};
use crate::tools::load::proto::resp::command;
use crate::tools::load::report::{Finished, json, svg, table};
use crate::tools::load::{self, procs};
use clap::Args;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Bytes of the file of a password that are read.
const PASSWORD_FILE_BYTES_MAX: usize = 64 * 1024;

pub(super) const HELP: &str = "\
Open and closed loop:
  With --rate, requests have a schedule, and latency is counted from when a request was due,
  whether or not the server let it go out: a server that stalls for 300 ms shows 300 ms.
  Without --rate, each connection sends its next request when the answer to the last has come, as
  wrk does: that shows the highest rate, but a stall counts once for each connection only, so do
  not quote its percentiles.
  --spin takes a core for the generator alone and sharpens what --rate measures.
  --rate with --closed keeps the rate as an upper bound and counts from the sending.

HTTP:
  An answer counts when all of it is there: by Content-Length, by chunks, or by the end of a connection
  whose response told no length. Where that end comes earlier, the answer is truncated, an error.
  Behind an answer with Connection: close the next request goes out on a new connection: it counts as
  reopened, and connecting is in the connect times, not in the latencies (with --rate, they count from
  when a request was due, so waiting for a connection is in them).

Faults (--fault), each a share of the clients, as freeze=5% or freeze=5%:for=20s:at=1m; and what
linger ought to say:
  goodbye       QUIT, then close                           peer.goodbye
  fin           close between two requests                 peer.fin
  fin_midframe  close in the middle of one                 peer.fin_midframe
  rst           reset                                      peer.reset
  half_close    ask, FIN, read on: an answer must come     peer.fin
  freeze        no reading, no writing; the kernel ACKs    stuck.frozen         needs --heartbeat
  vanish        nothing leaves the host, not even an ACK   lost.*               needs --heartbeat
  slow_read     asks for much, reads nothing               slow.* or stuck.zero_window
  trickle       sends a byte at a time                     no ending
  reboot        vanish, and the identity comes back        peer.replaced
  garbage       what is not the protocol                   protocol.malformed
  late_beat     silent too long, back within the grace     suspect, revived     needs --heartbeat

Their parameters, behind the share:
  at=T          all: so long after the load began, all at one moment; without it they are spread
  for=T         freeze, vanish: the silence ends after T. Within --heartbeat it must go unnoticed,
                within --grace be suspected and forgiven; if it was longer, the client must have
                been ended. Without it, it never ends
                slow_read: it reads on after T; before --slow-time is over, it must stay
                reboot: it comes back after T, not at once; lost.* if the grace was over
                late_beat: it is heard again after T, not halfway into the grace
  every=T       trickle: the time between two bytes (100ms)
  bytes=N       fin_midframe: how many of the request are out (half). garbage: how many (4)
  requests=N    half_close: how many answers must come (1; at most --pipeline)

  Each client has an identity (IDENT, as --identities), and the server is asked by subscribing
  to $presence:*. A wrong verdict is listed with the identity it is about; who does nothing wrong
  must have no ending at all. Where there are no identities (echo), --admin compares the server's
  counters of endings before and after.";

pub(super) const AFTER: &str = "\
Examples:
  linger load resp://127.0.0.1:7000                            50 connections, as fast as it answers
  linger load resp://127.0.0.1:6379 -c 100 -P 16               so for Redis
  linger load http://127.0.0.1:8080/index.html -c 200          so for nginx
  linger load resps://127.0.0.1:7443 --cacert ca.pem           over TLS
  linger load echo://127.0.0.1:7007 -c 1000 --rate 20k         open loop: honest percentiles
  linger load tcp://127.0.0.1:9000 --fault rst=10%,fin=10% --admin 127.0.0.1:7070
  linger load resp://127.0.0.1:7000 -c 10000 --identities --heartbeat 30s --rate 0 --duration 5m
  linger load resp://127.0.0.1:7000 -c 500 --rate 2000 --heartbeat 2s \\
      --fault fin=5%,rst=5%,freeze=5%,vanish=5%,reboot=5%,late_beat=5%
  linger load resp://127.0.0.1:7000 -c 500 --rate 0 --heartbeat 5s \\
      --fault rst=50%:at=3s,freeze=9%:for=9s

Exit codes:
  0  it went well
  1  there were errors, or wrong verdicts
  2  the command line has mistakes; nothing was started";

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(super) struct Arguments {
    /// What to load: echo://, tcp:// (a gateway in front of an echo server), resp:// (Redis, too) or http://, over TLS
    /// echos://, tls://, resps:// or https://, then HOST:PORT and for http a path
    #[arg(required_unless_present = "schema")]
    url: Option<String>,
    /// Connections
    #[arg(short, long, value_name = "NUMBER", default_value_t = 50, allow_negative_numbers = true)]
    connections: u32,
    /// Requests a second, all connections together, as 5000 or 20k; 0 sends none
    #[arg(short, long, value_name = "RATE", value_parser = parse_rate, allow_negative_numbers = true)]
    rate: Option<f64>,
    /// Count latency from when a request was sent, not from when it was due
    #[arg(long)]
    closed: bool,
    /// Wait for the time of the next request without sleeping: takes a whole core, which the server must not need, and
    /// keeps the time that waking up takes (some 50us) out of the latencies
    #[arg(long)]
    spin: bool,
    /// How long requests go out, as 30s or 5m
    #[arg(short, long, value_name = "TIME", value_parser = parse_some_time, default_value = "10s")]
    duration: Duration,
    /// Requests under way on a connection at once
    #[arg(short = 'P', long, value_name = "NUMBER", default_value_t = 1)]
    pipeline: u32,
    /// Bytes of payload in a request; 64 for echo, none for resp (PING)
    #[arg(short, long, value_name = "SIZE", value_parser = size, allow_negative_numbers = true)]
    size: Option<usize>,
    /// Connections opened a second; without it, as fast as they are made
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    ramp: Option<f64>,
    /// Connections replaced by new ones a second, while the load lasts
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    churn: Option<f64>,
    /// The user that each client logs in as (AUTH); resp only
    #[arg(long, value_name = "NAME", default_value = "default", requires = "password_file")]
    user: String,
    /// The file of the password of --user
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Each client says who it is (IDENT); resp on linger only
    #[arg(long)]
    identities: bool,
    /// Each client promises to be heard this often (BEAT), and is; implies --identities
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    heartbeat: Option<Duration>,
    /// Shares of the clients that misbehave, as fin=10%,freeze=5%:for=20s (repeatable)
    #[arg(long, value_name = "MIX")]
    fault: Vec<String>,
    /// The server's heartbeat.grace: how long it waits for a silent client beyond --heartbeat, half of that at most
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "15s")]
    grace: Duration,
    /// The server's `slow_time`: how long it bears a client that takes no output
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "30s")]
    slow_time: Duration,
    /// How much later than due anything may come: a connection, the last answers, a verdict
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10s")]
    patience: Duration,
    /// Ask linger's admin interface there how many ended for which reason, instead of presence: for echo
    #[arg(long, value_name = "ADDRESS", value_parser = plan::resolve)]
    #[arg(conflicts_with_all = ["unjudged", "identities", "heartbeat"])]
    admin: Option<SocketAddr>,
    #[command(flatten)]
    token: TokenArgs,
    /// Misbehave without asking the server for its verdicts: for servers that are not linger
    #[arg(long)]
    unjudged: bool,
    /// The server's process, if it is on this host: tells how much CPU time it uses for a request
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Source addresses, taken in turn; more than 10,000 to loopback spread over 127.1.0.0/20 unasked
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    source: Vec<IpAddr>,
    /// Over TLS: files in PEM with the authorities that the server's certificate must be signed by
    #[arg(long, value_name = "FILE", default_value = "/etc/ssl/certs/ca-certificates.crt")]
    cacert: String,
    /// Over TLS: take any certificate of the server
    #[arg(long, conflicts_with = "cacert")]
    insecure: bool,
    /// Over TLS: a file in PEM with a certificate of the clients, and its key unless --key names another
    #[arg(long, value_name = "FILE")]
    cert: Option<String>,
    /// Over TLS: the file with the key of --cert
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<String>,
    /// Over TLS: the name that the server is asked for, and that its certificate must be for; without it, the host of the URL
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// Over TLS: begin each connection with a full handshake, where others go on from the session of an earlier one
    #[arg(long)]
    no_resumption: bool,
    /// Processes that share the work; their figures are added up
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    procs: u32,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    /// Draw latency, rate, connections and verdicts over time into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print the JSON Schema of --json, and do nothing else
    #[arg(long)]
    schema: bool,
    /// What the first of several processes has said to this one
    #[arg(skip)]
    part: Option<Part>,
}

/// Part `index` of `of` of a run, as the first process says it behind [`procs::PART`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Part {
    index: u32,
    of: u32,
    /// What its identities begin with.
    prefix: String,
}

impl Part {
    /// Reads `INDEX/OF/PREFIX`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, '/');
        let (index, of) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        (index < of).then_some(Self { index, of, prefix: words.next()?.to_owned() })
    }
}

fn size(text: &str) -> Result<usize, String> {
    usize::try_from(parse_size(text)?).map_err(|_| "is out of range".to_owned())
}

impl Arguments {
    /// Of one process of several.
    pub(super) fn of_part(mut self, part: Option<Part>) -> Self {
        self.part = part;
        self
    }

    /// How TLS is spoken.
    fn tls(&self, target: &Target) -> Result<tls::Client, Vec<String>> {
        let name = self.sni.as_deref().unwrap_or_else(|| target.host());
        let name = name
            .to_owned()
            .try_into()
            .map_err(|_| vec![format!("{name:?} is no name of a host; see --sni")])?;
        let spec = tls::ClientSpec {
            ca: (!self.insecure).then(|| self.cacert.clone()),
            name,
            certificate: self.cert.clone().unwrap_or_default(),
            key: self.key.clone().unwrap_or_default(),
            max_version: tls::MaxVersion::V13,
            resumes: !self.no_resumption,
        };
        tls::Client::load(&spec, &read_regular).map_err(|mistakes| {
            mistakes
                .into_iter()
                .map(|tls::Mistake { wrong, right, .. }| format!("{wrong}; {right}"))
                .collect()
        })
    }

    /// What each client says to log in, if it does.
    fn log_in(&self) -> Result<Option<Vec<u8>>, String> {
        let Some(path) = &self.password_file else { return Ok(None) };
        let text = read_regular(path, PASSWORD_FILE_BYTES_MAX);
        let text = text.map_err(|why| format!("--password-file: {}: {why}", path.display()))?;
        let password = text.lines().next().unwrap_or_default();
        if password.is_empty() {
            return Err(format!("--password-file: {}: its first line is to be the password", path.display()));
        }
        Ok(Some(command(&["AUTH", &self.user, password])))
    }

    fn plan(&self, url: &str) -> Result<Plan, Vec<String>> {
        let mix = match self.fault.join(",") {
            nothing if nothing.is_empty() && !self.fault.is_empty() => Err("nothing is given".to_owned()),
            given => Mix::parse(&given),
        };
        let mix = mix.map_err(|why| format!("--fault: {why}"));
        let (target, faults) = match (Target::parse(url), mix) {
            (Ok(target), Ok(mix)) => (target, mix),
            (target, mix) => return Err([target.err(), mix.err()].into_iter().flatten().collect()),
        };
        let tls = if target.over_tls { Some(self.tls(&target)?) } else { None };
        let token = self.token.token().map_err(|why| vec![why])?;
        let log_in = self.log_in().map_err(|why| vec![why])?;
        let resp = target.scheme == Scheme::Resp;
        let judged_faults = !faults.is_empty() && !self.unjudged && self.admin.is_none() && resp;
        let identities = self.identities || self.heartbeat.is_some() || judged_faults;
        let default_size = if target.scheme == Scheme::Echo { 64 } else { 0 };
        let mut plan = Plan {
            connections: self.connections,
            ramp: self.ramp.filter(|&rate| rate > 0.0),
            rate: self.rate,
            closed: self.closed,
            spin: self.spin,
            size: self.size.unwrap_or(default_size),
            pipeline: self.pipeline,
            duration: self.duration,
            log_in,
            identities,
            heartbeat: self.heartbeat,
            churn: self.churn.filter(|&rate| rate > 0.0),
            faults,
            tls,
            judge: match self.admin {
                _ if self.unjudged => Judge::Nobody,
                Some(admin) => Judge::Admin(admin, token),
                None => Judge::Presence,
            },
            contract: Contract {
                heartbeat: self.heartbeat.unwrap_or_default(),
                grace: Contract::grace_for(self.heartbeat.unwrap_or_default(), self.grace),
                slow_time: self.slow_time,
                patience: self.patience,
            },
            sources: self.source.clone(),
            server: self.server_pid,
            prefix: match &self.part {
                Some(part) => part.prefix.clone(),
                None => format!("load-{}-", std::process::id()),
            },
            target,
        };
        let mistakes = plan.mistakes();
        if mistakes.is_empty() {
            let (index, of) = self.part.as_ref().map_or((0, self.procs), |part| (part.index, part.of));
            plan.spread_sources(index, of);
            Ok(plan)
        } else {
            Err(mistakes)
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    if arguments.schema {
        return super::print(json::SCHEMA.as_bytes());
    }
    let url = arguments.url.as_deref().unwrap_or_default();
    let plan = match arguments.plan(url) {
        Ok(plan) => plan,
        Err(mistakes) => {
            for mistake in &mistakes {
                console::err(format_args!("linger load: {mistake}"));
            }
            return super::usage_mistake();
        }
    };
    if let Some(part) = &arguments.part {
        procs::work(&plan, part.index, part.of);
        return ExitCode::SUCCESS;
    }
    // Now, not after ten minutes of load.
    if let Some(pid) = arguments.server_pid
        && host::cpu_time_of(pid).is_none()
    {
        console::err(format_args!("linger load: --server-pid: there is no process {pid} on this host"));
        return super::usage_mistake();
    }
    if let Some(file) = &arguments.svg
        && let Err(error) = std::fs::write(file, "")
    {
        console::err(format_args!("linger load: --svg: cannot write {}: {error}", file.display()));
        return super::usage_mistake();
    }
    // The same again for each process.
    let again: Vec<String> = std::env::args().skip(1).collect();
    match load::run(plan, url.to_owned(), arguments.procs, &again) {
        Ok(finished) => show(&finished, arguments),
        Err(fatal) => {
            console::err(format_args!("linger load: cannot {}: {}", fatal.what, fatal.why));
            ExitCode::FAILURE
        }
    }
}

fn show(finished: &Finished, arguments: &Arguments) -> ExitCode {
    let drawn = arguments.svg.as_ref().map_or(Ok(()), |file| std::fs::write(file, svg::render(finished)));
    let text = if arguments.json { json::render(finished) + "\n" } else { table::render(finished) };
    match console::out(text.as_bytes()) {
        Ok(()) => {}
        Err(error) => return super::failure(&error),
    }
    match (drawn, &arguments.svg) {
        (Err(error), Some(file)) => {
            console::err(format_args!("linger load: cannot write {}: {error}", file.display()));
            ExitCode::FAILURE
        }
        (Ok(()) | Err(_), _) => {
            if finished.is_fine() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
