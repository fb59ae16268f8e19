//! From values to [`Settings`]: the one place that knows which key fills which field. Struct literals
//! throughout, so that a field without a key does not compile; a test holds that no key is without effect.

use super::files::Files;
use super::layer::Resolved;
use super::settings::{
    AcceptProxy, AuditSettings, DrainSettings, ListenerSettings, LogFormat, LogSettings, Overload, Relay,
    ServerSettings, TurnSettings, Upstream,
};
use crate::core::admission::{Limits, Networks};
use crate::core::conn::policy::{
    Audit, AuditEnd, Bounds, Closing, Heartbeat, HeartbeatStyle, LastRung, Liveness, Policy, Verdict,
};
use crate::core::time::{Duration, Instant};
use crate::net::{Address, Keepalive};
use crate::protocol::gateway::{self, Target};
use crate::protocol::presence::Form;
use crate::protocol::users::Guard;
use crate::protocol::{Access, Protocol};
use crate::tls;

/// The whole process.
pub(super) fn server(of: &Resolved) -> ServerSettings {
    ServerSettings {
        workers: count_or_word(of, "workers"),
        stall_timeout: of.period("stall_timeout"),
        connections_max: count_or_word(of, "max_connections"),
        memory_max: of.size("memory_max"),
        accept_retry: period(of, "accept_retry"),
        queue_watch: period(of, "queue_watch"),
        events_bytes: size(of, "events"),
        presence: if of.is_word("presence", "record") { Form::Record } else { Form::Word },
        history_bytes: of.size("history").map_or(0, |bytes| usize::try_from(bytes).expect(RANGE)),
    }
}

/// A turn of the loop.
pub(super) fn turn(of: &Resolved) -> TurnSettings {
    TurnSettings { accepts: count(of, "accepts"), read_bytes: size(of, "read_bytes") }
}

/// The way out.
pub(super) fn drain(of: &Resolved) -> DrainSettings {
    DrainSettings { delay: period(of, "delay"), spread: period(of, "spread"), timeout: period(of, "timeout") }
}

/// Audits.
pub(super) fn audit(of: &Resolved) -> AuditSettings {
    AuditSettings { interval: of.period("interval") }
}

/// Log lines.
pub(super) fn log(of: &Resolved) -> LogSettings {
    LogSettings {
        filter: of.text("filter").expect(KNOWN).to_owned(),
        format: if of.is_word("format", "json") { LogFormat::Json } else { LogFormat::Text },
        endings_per_second: count(of, "endings_per_second"),
    }
}

/// Listeners, those that are off left out, and the upstreams that they relay to. `named`: the tables of upstreams.
/// `files`: what the files that they name amount to.
pub(super) fn listeners(
    of: &[&Resolved],
    named: &[&Resolved],
    files: &Files,
) -> (Vec<ListenerSettings>, Vec<Upstream>) {
    let mut upstreams = Vec::new();
    let listeners = of.iter().filter_map(|of| listener(of, named, files, &mut upstreams)).collect();
    (listeners, upstreams)
}

/// A listener, for clients or for the admin interface; `None` if it is off.
fn listener(
    of: &Resolved,
    named: &[&Resolved],
    files: &Files,
    upstreams: &mut Vec<Upstream>,
) -> Option<ListenerSettings> {
    let protocol = Protocol::from_name(of.protocol_name()).expect("the registry is that of all protocols");
    let own = of.own();
    let policy = Policy { liveness: liveness(of), closing: closing(of), bounds: bounds(of) };
    let address = of.address()?;
    let access = (protocol.declaration().access)(&own);
    let relay = (protocol.declaration().gateway)(&own).map(|gateway| {
        let first = gateway.target.as_ref().map(|target| match target {
            Target::Own(is) => Upstream { name: of.name().to_owned(), is: is.clone(), tls: None },
            Target::Named(name) => upstream(name, named),
        });
        let relay = Relay::new(&gateway, first.as_ref().map(|first| first.name.clone()), &policy);
        for upstream in first.into_iter().chain(gateway.routes.iter().map(|(_, _, to)| upstream(to, named))) {
            if !upstreams.contains(&upstream) {
                upstreams.push(upstream);
            }
        }
        relay
    });
    Some(ListenerSettings {
        name: of.name().to_owned(),
        protocol,
        guard: guard(of, &access, &address, files),
        address,
        backlog: count(of, "backlog"),
        connections_max: count_or_word(of, "max_connections"),
        overload: if of.is_word("overload", "shed") { Overload::Shed } else { Overload::Queue },
        limits: limits(of),
        accept_proxy: accept_proxy(of),
        nodelay: of.flag("nodelay"),
        send_buffer: of.size("send_buffer").map(|bytes| u32::try_from(bytes).expect(RANGE)),
        policy,
        token: access.token_file.as_ref().and_then(|path| files.token(path)),
        access,
        own,
        tls: of.tls.clone(),
        relay,
    })
}

/// What a listener asks of its clients. One that others can reach, and that lets in everybody, protects its clients from each
/// other.
fn guard(of: &Resolved, access: &Access, address: &Address, files: &Files) -> Guard {
    // Behind a proxy, who comes is not who connects.
    let is_open = is_open_to_others(address) || of.is_word("accept_proxy", "require");
    let lets_in_everybody = !of.tls.as_ref().is_some_and(tls::Server::requires_certificate);
    match &access.users {
        Some(path) => Guard::Users(files.users(path)),
        None if access.protects_others && is_open && lets_in_everybody => Guard::Protected,
        None => Guard::Open,
    }
}

/// Whether other hosts can reach an address.
pub(super) fn is_open_to_others(address: &Address) -> bool {
    match address {
        Address::Tcp { socket, .. } => !socket.ip().to_canonical().is_loopback(),
        Address::Unix(_) => false,
    }
}

/// The upstream of that name.
fn upstream(name: &str, named: &[&Resolved]) -> Upstream {
    let of = named.iter().find(|of| of.name() == name).expect("a rule holds that there is one");
    let is =
        gateway::settings::upstream(&of.own()).expect("it has servers, and every other key has a default");
    Upstream { name: name.to_owned(), is, tls: of.client.clone() }
}

fn limits(of: &Resolved) -> Limits {
    Limits {
        accept_rate: count_or_word(of, "accept_rate"),
        source_connections_max: count_or_word(of, "source.max_connections"),
        source_accept_rate: count_or_word(of, "source.accept_rate"),
        allow: networks(of, "allow"),
        deny: networks(of, "deny").unwrap_or_default(),
    }
}

fn accept_proxy(of: &Resolved) -> Option<AcceptProxy> {
    of.is_word("accept_proxy", "require").then(|| AcceptProxy {
        trusted: networks(of, "accept_proxy_trusted").unwrap_or_default(),
        timeout: period(of, "accept_proxy_timeout"),
    })
}

/// The networks of a list; `None`: a word stands in its place.
fn networks(of: &Resolved, name: &str) -> Option<Networks> {
    of.text(name).map(|list| Networks::parse(list).expect("the kind of the key has read it"))
}

fn liveness(of: &Resolved) -> Liveness {
    let keepalive = Keepalive {
        idle: period(of, "keepalive.idle"),
        interval: period(of, "keepalive.interval"),
        count: count(of, "keepalive.count"),
    };
    Liveness {
        readiness: of.flag("readiness"),
        heartbeat: heartbeat(of),
        verdict: if of.word("heartbeat.verdict") == Some("report") { Verdict::Report } else { Verdict::End },
        keepalive: of.flag("keepalive.enabled").then_some(keepalive),
        user_timeout: of.period("user_timeout"),
        tcp_info_interval: of.period("tcp_info.interval"),
        probe_after_eof: of.flag("probe.after_eof"),
        probe_oob: of.period("probe.oob"),
        audit: audit_of(of),
    }
}

fn audit_of(of: &Resolved) -> Audit {
    let end = match of.word("audit.end") {
        Some("all") => AuditEnd::All,
        Some("missing") => AuditEnd::Missing,
        _ => AuditEnd::Nothing,
    };
    Audit { end, close_wait: of.period("audit.close_wait") }
}

fn heartbeat(of: &Resolved) -> Heartbeat {
    let style = match of.word("heartbeat.style") {
        Some("client") => HeartbeatStyle::Client,
        Some("server") => HeartbeatStyle::Server,
        Some("both") => HeartbeatStyle::Both,
        _ => HeartbeatStyle::Off,
    };
    Heartbeat {
        style,
        timeout: period(of, "heartbeat.timeout"),
        grace: period(of, "heartbeat.grace"),
        interval: period(of, "heartbeat.interval"),
        since: Instant::ZERO,
    }
}

fn closing(of: &Resolved) -> Closing {
    Closing {
        linger: period(of, "linger"),
        linger_max: period(of, "linger_max"),
        linger2: of.flag("linger2"),
        frozen: rung(of, "frozen"),
        unreachable: rung(of, "unreachable"),
    }
}

fn bounds(of: &Resolved) -> Bounds {
    Bounds {
        frame_bytes_max: size(of, "frame_max"),
        output_low: size(of, "output_low"),
        output_high: size(of, "output_high"),
        output_max: size(of, "output_max"),
        slow_time: period(of, "slow_time"),
        handshake_timeout: of.period("handshake_timeout"),
        idle_timeout: of.period("idle_timeout"),
        max_age: of.period("max_age"),
    }
}

const KNOWN: &str = "the table of keys has this name, with this kind";
const RANGE: &str = "the range in the table of keys fits the field";

fn period(of: &Resolved, name: &str) -> Duration {
    of.period(name).expect(KNOWN)
}

fn count(of: &Resolved, name: &str) -> u32 {
    u32::try_from(of.count(name).expect(KNOWN)).expect(RANGE)
}

fn count_or_word(of: &Resolved, name: &str) -> Option<u32> {
    of.count(name).map(|count| u32::try_from(count).expect(RANGE))
}

fn size(of: &Resolved, name: &str) -> usize {
    usize::try_from(of.size(name).expect(KNOWN)).expect(RANGE)
}

fn rung(of: &Resolved, name: &str) -> LastRung {
    if of.is_word(name, "reset") { LastRung::Reset } else { LastRung::Linger2 }
}
