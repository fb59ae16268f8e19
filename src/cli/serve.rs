//! `linger serve`: puts settings, kernel and reactor together, alone or as one of several workers, and tells a person
//! what there is to try.

use crate::config::settings::{ListenerSettings, Settings};
use crate::config::{self, Diagnostic, Effective, Sources, Texts, load, resolve_read};
use crate::core::secret::Secret;
use crate::core::time::Duration;
use crate::net::{Address, Fatal, Interest, Kernel as _, Token};
use crate::observe::{logging, report};
use crate::protocol::Reached;
use crate::reactor::{Reactor, Reload, Requested};
pub use crate::sys::clock;
use crate::sys::file::read_regular;
use crate::sys::worker::{self, Handed};
use crate::sys::{Aside, Os, Stream, limits};
use crate::tls::TicketKeys;
use crate::workers::link::{Channel, More, ToSupervisor, ToWorker};
use crate::workers::supervisor::{self, Drained, Plan, Supervisor};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};

/// Descriptors that are nobody's connection: standard streams, the poller and its relatives, signals, the
/// reserve, files being read.
const DESCRIPTORS_OF_OUR_OWN: u64 = 24;

/// Descriptors that the kernel has room for from the start, for all processes that serve together: 8 MiB of its memory at
/// most. Where there is as good as no bound on them (2^30 in many containers), a server does not ask for room for all.
const DESCRIPTORS_RESERVED_MAX: u64 = 1 << 20;

/// How long the end of a server waits for a reader of its greeting: it has had the server's life for that.
const GREETING_PATIENCE: Duration = Duration::from_millis(100);

/// Descriptors that a server with `settings` needs besides those of its clients.
pub fn descriptors_besides(settings: &Settings) -> u64 {
    DESCRIPTORS_OF_OUR_OWN
        + settings.listeners.len() as u64
        + u64::from(crate::reactor::admin_connections_max(settings))
        + u64::from(crate::reactor::refused_max(settings))
        + u64::from(crate::reactor::checks_max(settings))
}

/// How many processes are to serve.
pub fn workers(settings: &Settings) -> u32 {
    settings.server.workers.unwrap_or_else(worker::processors)
}

/// Serves with what `sources` amount to, which are read again on SIGHUP; `texts` are those of the files among them.
pub fn run(effective: Effective, sources: Sources, texts: &Texts) -> ExitCode {
    let Effective { settings, hints, .. } = effective;
    let workers = workers(&settings);
    live(|| {
        start_logging(&settings, None)?;
        for hint in &hints {
            logging::say(format_args!("hint: {hint}"));
        }
        if workers > 1 {
            try_supervise(Plan { settings, file: texts.pack(), workers }, sources)
        } else {
            try_run(settings, sources)
        }
    })
}

/// Serves as a worker, with what its supervisor has opened and says.
pub fn work(handed: &Handed, sources: Sources) -> ExitCode {
    live(|| try_work(handed, sources))
}

/// Lives through the life of a server, and says how it ended. All lines of the log are out then, unless nobody takes
/// them.
fn live(life: impl FnOnce() -> Result<Drained, Fatal>) -> ExitCode {
    let mut last = LastLines { spare: Duration::ZERO };
    match life() {
        Ok(Drained { well, spare }) => {
            last.spare = spare;
            if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(fatal) => {
            if !report::fatal(&fatal) {
                logging::say(format_args!("linger: cannot {fatal}"));
            }
            ExitCode::FAILURE
        }
    }
}

/// Waits for the log's writer when it is dropped: a panic has lines, too.
struct LastLines {
    spare: Duration,
}

impl Drop for LastLines {
    fn drop(&mut self) {
        logging::finish(self.spare);
    }
}

fn try_run(settings: Settings, sources: Sources) -> Result<Drained, Fatal> {
    let (descriptors, for_clients) = descriptors_for(&settings)?;
    limits::reserve_descriptors(DESCRIPTORS_RESERVED_MAX);
    let mut os = Os::for_server()?;
    let reload = Reread::new(&mut os, sources, |_| {})?;
    let mut reactor = Reactor::new(os, settings, for_clients, Box::new(reload))?;
    let addresses: Vec<_> = reactor.addresses().collect();
    let _greeting = greet(&addresses, &clients_at_once(reactor.connections_max()), descriptors);
    reactor.kernel().unused_sockets().for_each(report::socket_unused);
    let spare = reactor.run()?.spare;
    Ok(Drained { well: true, spare })
}

fn try_supervise(plan: Plan, sources: Sources) -> Result<Drained, Fatal> {
    // Before they are started: they inherit it.
    let (descriptors, for_clients) = descriptors_for(&plan.settings)?;
    let own = plan.settings.server.connections_max;
    let clients = clients_at_once(own.map_or(for_clients, |own| own.min(for_clients)));
    let limits = format!("{clients} for each of {} workers", plan.workers);
    let mut os = Os::for_supervisor()?;
    let reload = RereadForAll(os.aside("linger-reload", move |()| reread(&sources))?);
    let supervisor = Supervisor::new(os, plan, Box::new(reload))?;
    let mut greeting = None;
    supervisor.run(|supervisor| {
        let addresses: Vec<_> = supervisor.addresses().collect();
        greeting = Some(greet(&addresses, &limits, descriptors));
        supervisor.kernel().unused_sockets().for_each(report::socket_unused);
    })
}

fn try_work(handed: &Handed, sources: Sources) -> Result<Drained, Fatal> {
    let hand = worker::take(handed)?;
    let mut os = Os::for_worker(hand.listeners)?;
    let mut channel = Channel::new(hand.channel);
    let refused = |_| Fatal { what: "watch the supervisor".to_owned(), why: "out of memory".to_owned() };
    os.watch(channel.stream(), Token::SUPERVISOR, Interest::ReadWrite).map_err(refused)?;
    let First { file, newer, tickets, is_watched } = first_words(&mut os, &mut channel)?;
    // They were sound when the supervisor read them.
    let unsound = |why| Fatal { what: "read the configuration".to_owned(), why };
    let settings = read_settings(&sources, Some(&file), as_worker).map_err(unsound)?;
    let settings_newer = newer.as_ref().map(|file| read_settings(&sources, Some(file), as_worker));
    let settings_newer = settings_newer.transpose().map_err(unsound)?;
    // They are wiped now, not when the worker ends.
    drop((file, newer));
    start_logging(&settings, Some(handed.number))?;
    let (_, for_clients) = descriptors_for(&settings)?;
    limits::reserve_descriptors(DESCRIPTORS_RESERVED_MAX / u64::from(handed.of).max(1));
    let reload = Reread::new(&mut os, sources, as_worker)?;
    let mut reactor = Reactor::new(os, settings, for_clients, Box::new(reload))?;
    reactor.join(channel, handed.number, handed.of, TicketKeys::from_bytes(&tickets));
    drop(tickets);
    if let Some(newer) = settings_newer {
        reactor.adopt(newer);
    }
    if is_watched {
        reactor.keep_events();
    }
    let spare = reactor.run()?.spare;
    Ok(Drained { well: true, spare })
}

/// What a supervisor says first.
struct First {
    file: Secret<String>,
    newer: Option<Secret<String>>,
    tickets: Secret<Vec<u8>>,
    is_watched: bool,
}

/// Waits for that.
fn first_words(os: &mut Os, channel: &mut Channel<Stream, ToWorker, ToSupervisor>) -> Result<First, Fatal> {
    let gone = || Fatal { what: "read from the supervisor".to_owned(), why: "it is gone".to_owned() };
    loop {
        let heard = channel.receive();
        match channel.next_message() {
            Ok(Some(ToWorker::Start { file, newer, tickets, is_watched })) => {
                return Ok(First { file, newer, tickets, is_watched });
            }
            Ok(None) if heard == Ok(More::Maybe) => {}
            Ok(None) if heard.is_ok() => drop(os.poll(None, &mut Vec::new())?),
            Ok(_) | Err(_) => return Err(gone()),
        }
    }
}

/// Of the settings of a server, what is for one of its workers: the admin interface is the supervisor's, and so is
/// how many workers there are.
fn as_worker(settings: &mut Settings) {
    settings.listeners.retain(|listener| listener.protocol.serves_clients());
    settings.server.workers = Some(1);
}

fn start_logging(settings: &Settings, worker: Option<u32>) -> Result<(), Fatal> {
    logging::start(&settings.log, worker)
        .map_err(|why| Fatal { what: format!("log with filter {:?}", settings.log.filter), why })
}

/// Raises the bound on descriptors, and tells how many are for clients.
fn descriptors_for(settings: &Settings) -> Result<(limits::Descriptors, u32), Fatal> {
    let descriptors = limits::raise_descriptors();
    let reserved = descriptors_besides(settings);
    let for_clients = u32::try_from(descriptors.now.saturating_sub(reserved)).unwrap_or(u32::MAX);
    if for_clients == 0 {
        return Err(Fatal {
            what: format!("serve with {} descriptors (RLIMIT_NOFILE)", descriptors.now),
            why: format!(
                "{reserved} are needed before the first client; raise the hard limit (ulimit -Hn, LimitNOFILE= in \
                 systemd)"
            ),
        });
    }
    Ok((descriptors, for_clients))
}

/// Takes out of the settings what is not for this process.
type Keep = fn(&mut Settings);

/// Reads the configuration: its files, unless their texts are there already.
fn read_settings(sources: &Sources, file: Option<&Secret<String>>, keep: Keep) -> Result<Settings, String> {
    let read = match file {
        Some(packed) => {
            let texts =
                Texts::unpack(packed).ok_or("the supervisor has said something else than a configuration")?;
            resolve_read(sources, &texts).map(|effective| effective.settings)
        }
        None => load(sources, read_regular),
    };
    let mut settings = read.map_err(|mistakes| in_lines(&mistakes))?;
    keep(&mut settings);
    Ok(settings)
}

fn in_lines(mistakes: &[Diagnostic]) -> String {
    mistakes.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads the configuration again, with the text that workers are told.
fn reread(sources: &Sources) -> supervisor::Reread {
    let read = config::read(sources, read_regular)
        .and_then(|texts| Ok((resolve_read(sources, &texts)?.settings, texts.pack())));
    read.map_err(|mistakes| in_lines(&mistakes))
}

/// Reads the configuration again for a supervisor, in a thread beside the loop.
struct RereadForAll(Aside<(), supervisor::Reread>);

impl supervisor::Reload for RereadForAll {
    fn request(&mut self) -> bool {
        self.0.request(())
    }

    fn take(&mut self) -> Option<supervisor::Reread> {
        let done = self.0.take()?;
        Some(done.unwrap_or_else(|fatal| Err(format!("cannot {fatal}"))))
    }
}

/// Reads the configuration again, in a thread beside the loop.
struct Reread(Aside<Option<Secret<String>>, Result<Settings, String>>);

impl Reread {
    fn new(os: &mut Os, sources: Sources, keep: Keep) -> Result<Self, Fatal> {
        let read = move |file: Option<Secret<String>>| read_settings(&sources, file.as_ref(), keep);
        os.aside("linger-reload", read).map(Self)
    }
}

impl Reload for Reread {
    fn request(&mut self, file: Option<Secret<String>>) -> Requested {
        if self.0.request(file) { Requested::Begun } else { Requested::Waits }
    }

    fn take(&mut self) -> Option<Result<Settings, String>> {
        let done = self.0.take()?;
        Some(done.unwrap_or_else(|fatal| Err(format!("cannot {fatal}"))))
    }
}

fn clients_at_once(count: u32) -> String {
    format!("{count} client connections at once")
}

/// A greeting on its way to standard output, by a thread of its own: a pipe that nobody reads takes no more, some time.
/// Dropped, it is waited for a little.
struct Greeting(Option<Receiver<()>>);

impl Greeting {
    fn start(text: String) -> Self {
        let (sender, written) = sync_channel(1);
        let write = move || {
            // A closed standard output is no reason not to serve.
            let _ = std::io::stdout().write_all(text.as_bytes());
            let _ = sender.send(());
        };
        let started = std::thread::Builder::new().name("linger-greeting".to_owned()).spawn(write);
        Self(started.is_ok().then_some(written))
    }
}

impl Drop for Greeting {
    fn drop(&mut self) {
        if let Some(written) = &self.0 {
            let _ = written.recv_timeout(GREETING_PATIENCE);
        }
    }
}

/// Says what is open, in the log and to the one who started the server.
fn greet(
    addresses: &[(&ListenerSettings, &Address)],
    clients: &str,
    descriptors: limits::Descriptors,
) -> Greeting {
    for (settings, address) in addresses {
        report::listening(settings, address);
    }
    Greeting::start(greeting(addresses, clients, descriptors))
}

fn greeting(
    addresses: &[(&ListenerSettings, &Address)],
    clients: &str,
    descriptors: limits::Descriptors,
) -> String {
    let mut text = format!("linger {} (pid {}) listens on\n", env!("CARGO_PKG_VERSION"), std::process::id());
    let mut tries = String::new();
    for (settings, address) in addresses {
        let _ = writeln!(text, "  {:<6} {address}", settings.name);
        for line in to_try(settings, address) {
            let _ = writeln!(tries, "  {line}");
        }
    }
    let raised = if descriptors.before == descriptors.now {
        String::new()
    } else {
        format!(", raised from {}", descriptors.before)
    };
    let _ = writeln!(
        text,
        "limits: {clients} (RLIMIT_NOFILE {}{raised})\ntry:\n{tries}stop: Ctrl-C or SIGTERM says \
         goodbye to everyone first, a second one ends at once",
        descriptors.now,
    );
    text
}

/// What to type to see a listener work.
fn to_try(settings: &ListenerSettings, address: &Address) -> Vec<String> {
    let protocol = settings.protocol;
    match address {
        Address::Tcp { socket, interface, .. } if settings.tls.is_some() => {
            let host = host(*socket, interface.as_deref());
            vec![format!("openssl s_client -quiet -connect {host}:{}", socket.port())]
        }
        Address::Unix(path) => protocol.to_try(Reached::Unix(&path.display().to_string())),
        Address::Tcp { socket, interface, .. } => {
            let host = host(*socket, interface.as_deref());
            protocol.to_try(Reached::Tcp { host: &host, port: socket.port() })
        }
    }
}

/// The host of an address, as a client on this host names it: a scope belongs to it.
fn host(socket: std::net::SocketAddr, interface: Option<&str>) -> String {
    match (socket, interface) {
        (_, Some(name)) => format!("{}%{name}", socket.ip()),
        (std::net::SocketAddr::V6(v6), None) if v6.scope_id() > 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        (_, None) => reachable(socket).to_string(),
    }
}

/// An address that a client on this host can connect to.
fn reachable(socket: std::net::SocketAddr) -> std::net::IpAddr {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    match socket.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) | IpAddr::V6(_) => socket.ip(),
    }
}
