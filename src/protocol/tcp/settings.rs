//! What only a gateway has to be told: where it relays to, and how.

use crate::core::setting::{Default, Key, Kind, Step, Value, Values};
use crate::core::tcp::Keepalive;
use crate::core::time::Duration;
use crate::protocol::gateway::{Balance, Gateway, HalfClose, ServerAddress};
use crate::protocol::proxy_header::Version;
use std::net::{IpAddr, SocketAddr};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
/// `TCP_KEEPIDLE` takes no more (include/net/tcp.h: `MAX_TCP_KEEPIDLE`).
const KEEPIDLE_MAX: Duration = Duration::from_secs(32_767);
/// Most servers of a listener: each client that comes looks at all of them.
const SERVERS_MAX: usize = 256;
/// Time between unanswered probes of an upstream server, and how many end the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: u32 = 3;

pub(super) const SETTINGS: [Key; 8] = [
    Key {
        name: "upstream",
        kind: SERVERS,
        default: Default::Required,
        doc: "The servers that connections are relayed to: an IP address and port each, or \"unix:/run/app.sock\", \
              separated by commas.",
        why: "No default: it is what a gateway is for.",
    },
    Key {
        name: "balance",
        kind: Kind::Choice(&["least_connections", "round_robin", "source_hash"]),
        default: Default::Same("least_connections"),
        doc: "Which server gets the next connection: the one with the fewest, one after the other, or the one that the \
              client's address stands for. A server that could not be reached is tried last for 10 seconds.",
        why: "Connections live long, so that taking turns would leave a server that was restarted without work for hours.",
    },
    Key {
        name: "connect_timeout",
        kind: Kind::Period { min: Duration::from_millis(10), max: DAY, step: Step::Millisecond, words: &[] },
        default: Default::Same("5s"),
        doc: "How long a server has to answer the connect before the next one is tried.",
        why: "A lost SYN is sent again after one second and after three: room for two tries.",
    },
    Key {
        name: "half_close",
        kind: Kind::Choice(&["forward", "end"]),
        default: Default::Same("forward"),
        doc: "What the FIN of one side means: \"forward\" hands it on and lets the other direction live on, \"end\" takes it \
              for a departure: what that side has sent is delivered, what it is still being sent is not, and the pair ends.",
        why: "No byte is lost with \"forward\", but each FIN that we forward first leaves a TIME_WAIT here. Most protocols \
              of devices never half-close: \"end\" leaves none.",
    },
    Key {
        name: "half_close_timeout",
        kind: Kind::Period { min: SECOND, max: DAY, step: Step::Millisecond, words: &[] },
        default: Default::Same("5m"),
        doc: "How long nothing may move on a pair of which one direction has ended, before it is closed.",
        why: "An answer may take a while to be made, and each byte of it starts the time again; a client that has gone \
              must not hold its pair for ever.",
    },
    Key {
        name: "upstream_header",
        kind: Kind::Choice(&["off", "proxy_v1", "proxy_v2"]),
        default: Default::Same("off"),
        doc: "The header of the PROXY protocol that a server is sent before the first byte of a client, so that it knows the \
              client's address; \"proxy_v2\" also tells the key that the connection has in the log here, as unique id.",
        why: "A server that does not expect it would take it for the client's first bytes.",
    },
    Key {
        name: "upstream_keepalive",
        kind: Kind::Period { min: SECOND, max: KEEPIDLE_MAX, step: Step::Second, words: &["off"] },
        default: Default::Same("60s"),
        doc: "Quiet time before the kernel probes an upstream server (TCP_KEEPIDLE); three probes without an answer, 10 \
              seconds apart, end the connection.",
        why: "As long as the default towards clients. It is set when a pair has lasted, so that short ones do not pay for it.",
    },
    Key {
        name: "upstream_source",
        kind: SOURCES,
        default: Default::Same("auto"),
        doc: "Source addresses of connections to the upstream servers, in turn, separated by commas; \"auto\" leaves the \
              choice to the kernel.",
        why: "One source address has some 28,000 ports towards one server (net.ipv4.ip_local_port_range): enough for most.",
    },
];

/// Addresses of servers.
const SERVERS: Kind = Kind::Text {
    words: &[],
    read: read_servers,
    expects: "addresses of servers separated by commas, as \"10.0.0.5:9001,10.0.0.6:9001\" or \"unix:/run/app.sock\"",
};

/// Own addresses.
const SOURCES: Kind = Kind::Text {
    words: &["auto"],
    read: read_sources,
    expects: "IP addresses of this host separated by commas, as \"10.0.0.1,10.0.0.2\", or \"auto\"",
};

/// What the values mean, if there is somewhere to relay to.
pub(super) fn gateway(own: &Values) -> Option<Gateway> {
    let text = |name| own.value(name).and_then(Value::text);
    let period = |name| own.value(name).and_then(Value::period);
    let word = |name| own.value(name).and_then(Value::word);
    let keepalive = |idle| Keepalive { idle, interval: KEEPALIVE_INTERVAL, count: KEEPALIVE_COUNT };
    Some(Gateway {
        servers: text("upstream")?.split(',').filter_map(|server| server_of(server).ok()).collect(),
        balance: match word("balance") {
            Some("round_robin") => Balance::RoundRobin,
            Some("source_hash") => Balance::SourceHash,
            _ => Balance::LeastConnections,
        },
        connect_timeout: period("connect_timeout")?,
        sources: text("upstream_source").map_or_else(Vec::new, |sources| {
            sources.split(',').filter_map(|source| source.parse().ok()).collect()
        }),
        header: match word("upstream_header") {
            Some("proxy_v1") => Some(Version::V1),
            Some("proxy_v2") => Some(Version::V2),
            _ => None,
        },
        keepalive: period("upstream_keepalive").map(keepalive),
        half_close: if word("half_close") == Some("end") { HalfClose::End } else { HalfClose::Forward },
        half_close_timeout: period("half_close_timeout")?,
    })
}

fn server_of(given: &str) -> Result<ServerAddress, String> {
    if let Some(path) = given.strip_prefix("unix:") {
        // sun_path holds 108 bytes with the final zero (unix(7)).
        let fits = (1..=107).contains(&path.len()) && !path.contains('\0');
        let no_path = || format!("{given:?} has no path of 1 to 107 bytes");
        return fits.then(|| ServerAddress::Unix(path.into())).ok_or_else(no_path);
    }
    match given.parse::<SocketAddr>() {
        Err(_) => Err(format!("{given:?} is not the address of a server")),
        Ok(socket) if socket.port() == 0 => Err(format!("{given:?} has no port")),
        Ok(socket) if socket.ip().is_unspecified() => {
            Err(format!("{given:?} is an address to listen on, not to connect to"))
        }
        Ok(SocketAddr::V6(v6)) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => Err(format!(
            "{given:?} is link-local, and does not say of which interface, as [fe80::1%2]:9001 does"
        )),
        Ok(socket) => Ok(ServerAddress::Tcp(socket)),
    }
}

fn read_servers(given: &str) -> Result<String, String> {
    let mut servers: Vec<String> = Vec::new();
    for server in given.split(',').map(str::trim) {
        let shown = match server_of(server)? {
            ServerAddress::Tcp(socket) => socket.to_string(),
            ServerAddress::Unix(path) => format!("unix:{}", path.display()),
        };
        if servers.contains(&shown) {
            return Err(format!("{shown} is there twice"));
        }
        servers.push(shown);
    }
    if servers.len() > SERVERS_MAX {
        return Err(format!("{} servers are more than {SERVERS_MAX}", servers.len()));
    }
    Ok(servers.join(","))
}

fn read_sources(given: &str) -> Result<String, String> {
    let sources = given.split(',').map(str::trim).map(|source| match source.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => Err(format!("{source:?} is every address, not one")),
        Ok(ip) => Ok(ip.to_string()),
        Err(_) => Err(format!("{source:?} is not an IP address")),
    });
    Ok(sources.collect::<Result<Vec<_>, _>>()?.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_a_list_of_addresses() {
        let read = |text| read_servers(text);
        assert_eq!(read("127.0.0.1:9001"), Ok("127.0.0.1:9001".to_owned()));
        assert_eq!(read("[::1]:9001, unix:/run/app.sock"), Ok("[::1]:9001,unix:/run/app.sock".to_owned()));
        for (wrong, because) in [
            ("", "not the address"),
            ("localhost:9001", "not the address"),
            ("127.0.0.1", "not the address"),
            ("127.0.0.1:0", "no port"),
            ("0.0.0.0:9001", "listen on"),
            ("unix:", "no path"),
            ("127.0.0.1:1,127.0.0.1:1", "twice"),
            ("[fe80::1]:9001", "interface"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains(because), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn sources_are_a_list_of_own_addresses() {
        assert_eq!(read_sources("127.0.0.1, ::1"), Ok("127.0.0.1,::1".to_owned()));
        for wrong in ["", "127.0.0.1:1", "0.0.0.0", "here"] {
            assert!(read_sources(wrong).is_err(), "{wrong:?}");
        }
    }
}
