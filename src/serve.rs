//! `linger serve`: puts settings, kernel and reactor together, and tells a person what there is to try.

use crate::config::settings::{Protocol, Settings};
use crate::config::{Mistake, Sources, load};
use crate::net::{Address, Fatal};
use crate::reactor::Reactor;
pub use crate::sys::clock;
use crate::sys::{Os, limits};
use crate::{logging, report};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Descriptors that are nobody's connection: standard streams, the poller and its relatives, signals, the
/// reserve, files being read.
const DESCRIPTORS_OF_OUR_OWN: u64 = 24;

/// Descriptors that a server with `settings` needs besides those of its clients.
pub fn descriptors_besides(settings: &Settings) -> u64 {
    DESCRIPTORS_OF_OUR_OWN
        + settings.listeners.len() as u64
        + u64::from(crate::reactor::admin_connections_max(settings))
}

/// Serves with `settings`; `sources` are where to read them again on SIGHUP.
pub fn run(settings: Settings, sources: Sources) -> ExitCode {
    match try_run(settings, sources) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            report::fatal(&fatal);
            ExitCode::FAILURE
        }
    }
}

fn try_run(settings: Settings, sources: Sources) -> Result<(), Fatal> {
    logging::start(&settings.log)
        .map_err(|why| Fatal { what: format!("log with filter {:?}", settings.log.filter), why })?;
    let descriptors = limits::raise_descriptors();
    let reserved = descriptors_besides(&settings);
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
    let reload = Box::new(move || {
        load(&sources)
            .map_err(|mistakes| mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n"))
    });
    let mut reactor = Reactor::new(Os::new()?, settings, for_clients, reload)?;
    for (settings, address) in reactor.addresses() {
        report::listening(settings, address);
    }
    let greeting = greeting(&reactor, descriptors);
    // A closed standard output is no reason not to serve.
    let _ = std::io::stdout().write_all(greeting.as_bytes());
    reactor.run()?;
    Ok(())
}

fn greeting(reactor: &Reactor<Os>, descriptors: limits::Descriptors) -> String {
    let mut text = format!("linger {} (pid {}) listens on\n", env!("CARGO_PKG_VERSION"), std::process::id());
    let mut tries = String::new();
    for (settings, address) in reactor.addresses() {
        let _ = writeln!(text, "  {:<6} {address}", settings.name);
        for line in to_try(settings.protocol, address) {
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
        "limits: {} client connections at once (RLIMIT_NOFILE {}{raised})\ntry:\n{tries}stop: Ctrl-C or SIGTERM says \
         goodbye to everyone first, a second one ends at once",
        reactor.connections_max(),
        descriptors.now,
    );
    text
}

/// What to type to see a listener work.
fn to_try(protocol: Protocol, address: &Address) -> Vec<String> {
    match (protocol, address) {
        (Protocol::Http, Address::Unix(path)) => {
            vec![format!("curl --unix-socket {} http://linger/metrics", path.display())]
        }
        (_, Address::Unix(path)) => vec![format!("nc -U {}", path.display())],
        (protocol, Address::Tcp { socket, .. }) => {
            let (host, port) = (reachable(*socket), socket.port());
            match protocol {
                Protocol::Echo => vec![format!("printf hello | nc -N {host} {port}")],
                Protocol::Resp => vec![
                    format!("printf 'PING\\r\\n' | nc -N {host} {port}"),
                    format!("redis-cli -h {host} -p {port}"),
                ],
                Protocol::Http => {
                    vec![format!("curl http://{}/connections", std::net::SocketAddr::new(host, port))]
                }
            }
        }
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
