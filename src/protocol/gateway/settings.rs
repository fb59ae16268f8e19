//! The keys of an upstream: those of its own table, and how a listener that has servers of its own says the same.

use super::check::{self, Check};
use super::servers::{SERVERS, SOURCES, ServerSpec, sources_of};
use super::{Balance, Removed, Upstream};
use crate::core::setting::{Default, Key, Kind, Step, Value, Values};
use crate::core::tcp::Keepalive;
use crate::core::time::Duration;
use crate::protocol::proxy_header::Version;
use std::sync::Arc;

pub(in crate::protocol) const SECOND: Duration = Duration::from_secs(1);
pub(in crate::protocol) const DAY: Duration = Duration::from_secs(86_400);
/// `TCP_KEEPIDLE` takes no more (include/net/tcp.h: `MAX_TCP_KEEPIDLE`).
const KEEPIDLE_MAX: Duration = Duration::from_secs(32_767);
/// Time between unanswered probes of an upstream server, and how many end the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: u32 = 3;
/// How often names are looked up that a listener has among its own servers.
const RESOLVE: Duration = Duration::from_secs(30);

/// What `[upstream.NAME]` can say.
pub const SETTINGS: [Key; 17] = {
    let [balance, connect_timeout, header, keepalive, source] = shared(&OWN_NAMES);
    check::behind([
        Key {
            name: "servers",
            kind: SERVERS,
            default: Default::Required,
            doc: SERVERS_DOC,
            why: "No default: they are what an upstream is.",
        },
        balance,
        connect_timeout,
        header,
        keepalive,
        source,
        Key {
            name: "slow_start",
            kind: Kind::Period { min: SECOND, max: DAY, step: Step::Millisecond, words: &["off"] },
            default: Default::Same("off"),
            doc: "Over which time a server that can be reached again, or is new by a reload or a look-up, comes to its \
                  whole share of new connections; it begins with a tenth of that.",
            why: "Most servers bear their load from the first moment. One that must fill a cache, or compile what it runs, \
                  would be overrun: least_connections gives it every newcomer until it has caught up.",
        },
        Key {
            name: "removed",
            kind: Kind::Choice(&["keep", "drain", "cut"]),
            default: Default::Same("keep"),
            doc: "What becomes of the connections of a server that a reload or a look-up has removed: \"keep\" leaves them \
                  until they end, \"drain\" ends them in order, spread over drain.spread, local.drain, \"cut\" resets both \
                  sides at once. It gets no new ones in any case.",
            why: "A list that was mistyped, or a name server that was wrong for a moment, costs no connection.",
        },
        Key {
            name: "resolve",
            kind: Kind::Period { min: SECOND, max: DAY, step: Step::Millisecond, words: &[] },
            default: Default::Same("30s"),
            doc: "How often host names among the servers are looked up again. An address that is new is a new server, one \
                  that is no longer there a removed one. If a look-up fails or brings nothing, what was known stays. At the \
                  start every name must have an address.",
            why: "As long as most name servers let an answer of a changing service live. A start that goes on without \
                  servers would look like success to whom began it.",
        },
    ])
};

const SERVERS_DOC: &str = "The servers, separated by commas: \"10.0.0.5:9001\", \"app.example:9001\", of which each address is a \
     server, or \"unix:/run/app.sock\". Words may follow each: weight=N, its share beside the others, 1 if nothing is said, and \
     max_connections=N, over which it gets no more; with several workers, of each worker.";

/// The names that some keys have in a table.
pub(in crate::protocol) type Names = [&'static str; 5];

/// Those of the table of an upstream.
const OWN_NAMES: Names = ["balance", "connect_timeout", "header", "keepalive", "source"];

/// Those of a listener that has servers of its own.
pub(in crate::protocol) const LISTENER_NAMES: Names =
    ["balance", "connect_timeout", "upstream_header", "upstream_keepalive", "upstream_source"];

/// What a listener calls a key of `[upstream.NAME]` while its servers are its own, and what the table calls it.
pub fn of_listener() -> impl Iterator<Item = (&'static str, &'static str)> {
    let of_checks = check::KEYS.into_iter().map(|key| (key.name, key.name));
    LISTENER_NAMES.into_iter().zip(OWN_NAMES).chain(of_checks)
}

/// Whether a key of a listener is about servers, and so applies only where they are its own.
pub fn is_of_upstream(name: &str) -> bool {
    LISTENER_NAMES.contains(&name) || check::is_key(name)
}

/// The keys that a table of an upstream and a listener with servers of its own share, by the names that they have there.
pub(in crate::protocol) const fn shared(names: &Names) -> [Key; 5] {
    [
        Key {
            name: names[0],
            kind: Kind::Choice(&["least_connections", "round_robin", "source_hash"]),
            default: Default::Same("least_connections"),
            doc: "Which server gets the next connection: the one with the fewest, one after the other, or the one that \
                  the client's address stands for. A server that could not be reached is tried last for 10 seconds.",
            why: "Connections live long, so that taking turns would leave a server that was restarted without work for \
                  hours.",
        },
        Key {
            name: names[1],
            kind: Kind::Period {
                min: Duration::from_millis(10),
                max: DAY,
                step: Step::Millisecond,
                words: &[],
            },
            default: Default::Same("5s"),
            doc: "How long a server has to answer the connect before the next one is tried.",
            why: "A lost SYN is sent again after one second and after three: room for two tries.",
        },
        Key {
            name: names[2],
            kind: Kind::Choice(&["off", "proxy_v1", "proxy_v2"]),
            default: Default::Same("off"),
            doc: "The header of the PROXY protocol that a server is sent before the first byte of a client, so that it \
                  knows the client's address; \"proxy_v2\" also tells the key that the connection has in the log here, as \
                  unique id.",
            why: "A server that does not expect it would take it for the client's first bytes.",
        },
        Key {
            name: names[3],
            kind: Kind::Period { min: SECOND, max: KEEPIDLE_MAX, step: Step::Second, words: &["off"] },
            default: Default::Same("60s"),
            doc: "Quiet time before the kernel probes an upstream server (TCP_KEEPIDLE); three probes without an answer, \
                  10 seconds apart, end the connection.",
            why: "As long as the default towards clients. It is set when a pair has lasted, so that short ones do not pay \
                  for it.",
        },
        Key {
            name: names[4],
            kind: SOURCES,
            default: Default::Same("auto"),
            doc: "Source addresses of connections to the upstream servers, in turn, separated by commas; \"auto\" leaves \
                  the choice to the kernel.",
            why: "One source address has some 28,000 ports towards one server (net.ipv4.ip_local_port_range): enough for \
                  most.",
        },
    ]
}

/// What the values of `[upstream.NAME]` mean; `None`: it has no servers.
pub fn upstream(own: &Values) -> Option<Upstream> {
    let servers = super::servers::servers_of(own.value("servers")?.text()?);
    let of_all = upstream_of(own, &OWN_NAMES, servers)?;
    Some(Upstream {
        slow_start: own.value("slow_start").and_then(Value::period),
        removed: match own.value("removed").and_then(Value::word) {
            Some("drain") => Removed::Drain,
            Some("cut") => Removed::Cut,
            _ => Removed::Keep,
        },
        resolve: own.value("resolve").and_then(Value::period).unwrap_or(of_all.resolve),
        ..of_all
    })
}

/// The upstream of these servers, where the other keys have these names.
pub(in crate::protocol) fn upstream_of(
    own: &Values,
    names: &Names,
    servers: Vec<ServerSpec>,
) -> Option<Upstream> {
    let [balance, connect_timeout, header, keepalive, source] = names.map(|name| own.value(name));
    let idle = keepalive.and_then(Value::period);
    let header = match header.and_then(Value::word) {
        Some("proxy_v1") => Some(Version::V1),
        Some("proxy_v2") => Some(Version::V2),
        _ => None,
    };
    Some(Upstream {
        check: Arc::new(Check::new(own, header)),
        servers,
        balance: match balance.and_then(Value::word) {
            Some("round_robin") => Balance::RoundRobin,
            Some("source_hash") => Balance::SourceHash,
            _ => Balance::LeastConnections,
        },
        connect_timeout: connect_timeout?.period()?,
        sources: source.and_then(Value::text).map_or_else(Vec::new, sources_of),
        header,
        keepalive: idle.map(|idle| Keepalive { idle, interval: KEEPALIVE_INTERVAL, count: KEEPALIVE_COUNT }),
        slow_start: None,
        removed: Removed::Keep,
        resolve: RESOLVE,
    })
}
