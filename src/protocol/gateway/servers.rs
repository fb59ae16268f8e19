//! Servers of an upstream in the words of the configuration: where each is, and which of our own addresses are used
//! towards them.

use crate::core::setting::Kind;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Most servers of an upstream, each address of a name among them: each client that comes looks at all of them.
pub const SERVERS_MAX: usize = 256;
/// As in `HAProxy`.
const WEIGHT_MAX: u32 = 256;
/// More than a process can hold.
const CONNECTIONS_MAX: u32 = 10_000_000;

/// A server, as the configuration has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerSpec {
    /// Where it is.
    pub address: ServerAddress,
    /// Its share of the connections, beside those of the others.
    pub weight: u32,
    /// Most connections to it at once.
    pub connections_max: Option<u32>,
}

impl ServerSpec {
    /// A server of which nothing more is said.
    pub const fn plain(address: ServerAddress) -> Self {
        Self { address, weight: 1, connections_max: None }
    }
}

impl fmt::Display for ServerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        if self.weight != 1 {
            write!(f, " weight={}", self.weight)?;
        }
        self.connections_max.map_or(Ok(()), |max| write!(f, " max_connections={max}"))
    }
}

/// Where an upstream server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerAddress {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
    /// A port of a host that has a name: each address of it is a server.
    Name {
        /// Its name.
        host: String,
        /// The port.
        port: u16,
    },
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(socket) => socket.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// Addresses of servers.
pub(super) const SERVERS: Kind = Kind::Text { words: &[], read: read_servers, expects: EXPECTS };

/// The same, or the name of an upstream.
pub(in crate::protocol) const TARGET: Kind = Kind::Text {
    words: &["none"],
    read: read_target,
    expects: "addresses of servers separated by commas, as \"10.0.0.5:9001,app.example:9001 weight=2\" or \
              \"unix:/run/app.sock\", or the NAME of an [upstream.NAME]",
};

const EXPECTS: &str = "addresses of servers separated by commas, as \"10.0.0.5:9001,app.example:9001 weight=2\" or \"unix:/run/app.sock\"";

/// Own addresses.
pub(super) const SOURCES: Kind = Kind::Text {
    words: &["auto"],
    read: read_sources,
    expects: "IP addresses of this host separated by commas, as \"10.0.0.1,10.0.0.2\", or \"auto\"",
};

/// Whether a text names an upstream, where servers could be named, too: every server has a colon.
pub fn is_name(target: &str) -> bool {
    !target.is_empty() && target.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// The servers of a list that was found sound.
pub(in crate::protocol) fn servers_of(list: &str) -> Vec<ServerSpec> {
    list.split(',').filter_map(|server| server_of(server).ok()).collect()
}

/// The addresses of a list that was found sound.
pub(super) fn sources_of(list: &str) -> Vec<IpAddr> {
    list.split(',').filter_map(|source| source.parse().ok()).collect()
}

fn server_of(given: &str) -> Result<ServerSpec, String> {
    let mut words = given.split_ascii_whitespace();
    let mut spec = ServerSpec::plain(address_of(words.next().unwrap_or(""))?);
    let (mut weight, mut connections_max) = (None, None);
    for word in words {
        let (name, text) = word.split_once('=').unwrap_or((word, ""));
        let (value, most) = match name {
            "weight" => (&mut weight, WEIGHT_MAX),
            "max_connections" => (&mut connections_max, CONNECTIONS_MAX),
            _ => return Err(format!("{word:?} is neither weight=N nor max_connections=N, behind {given:?}")),
        };
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        let number = number.ok_or_else(|| format!("{word:?} is not a number from 1 to {most}"))?;
        if value.replace(number).is_some() {
            return Err(format!("{name} is there twice, behind {given:?}"));
        }
    }
    spec.weight = weight.unwrap_or(spec.weight);
    spec.connections_max = connections_max;
    Ok(spec)
}

fn address_of(given: &str) -> Result<ServerAddress, String> {
    if let Some(path) = given.strip_prefix("unix:") {
        // sun_path holds 108 bytes with the final zero (unix(7)).
        let fits = (1..=107).contains(&path.len()) && !path.contains('\0');
        let no_path = || format!("{given:?} has no path of 1 to 107 bytes");
        return fits.then(|| ServerAddress::Unix(path.into())).ok_or_else(no_path);
    }
    match given.parse::<SocketAddr>() {
        Err(_) if given.parse::<IpAddr>().is_ok() => Err(format!("{given:?} has no port")),
        Err(_) => name_of(given),
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

/// A host name (RFC 1123 2.1; underscores are common in names of containers) and a port.
fn name_of(given: &str) -> Result<ServerAddress, String> {
    let Some((host, port)) = given.rsplit_once(':') else {
        return Err(format!("{given:?} is not the address of a server, which has a port"));
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(plain);
    let host = host.strip_suffix('.').unwrap_or(host);
    // What is all digits in its last label is an address that was mistyped.
    let numeric = host.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if host.len() > 253 || !host.split('.').all(is_label) || numeric {
        return Err(format!("{given:?} is not the address of a server"));
    }
    match port.parse() {
        Ok(port @ 1..) => Ok(ServerAddress::Name { host: host.to_owned(), port }),
        Ok(_) | Err(_) => Err(format!("{given:?} has no port")),
    }
}

fn read_target(given: &str) -> Result<String, String> {
    let name = given.trim();
    if is_name(name) { Ok(name.to_owned()) } else { read_servers(given) }
}

fn read_servers(given: &str) -> Result<String, String> {
    let mut servers: Vec<ServerSpec> = Vec::new();
    for server in given.split(',') {
        let server = server_of(server)?;
        if servers.iter().any(|other| other.address == server.address) {
            return Err(format!("{} is there twice", server.address));
        }
        servers.push(server);
    }
    if servers.len() > SERVERS_MAX {
        return Err(format!("{} servers are more than {SERVERS_MAX}", servers.len()));
    }
    Ok(servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
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
        assert_eq!(read("localhost:1,app_1.example.:2"), Ok("localhost:1,app_1.example:2".to_owned()));
        let words = "10.0.0.5:9001 weight=2 max_connections=500,10.0.0.6:9001 max_connections=3";
        assert_eq!(read(words), Ok(words.to_owned()));
        let [first, second] = &servers_of(words)[..] else { panic!("two servers") };
        assert_eq!([first.weight, second.weight], [2, 1]);
        assert_eq!([first.connections_max, second.connections_max], [Some(500), Some(3)]);
        for (wrong, because) in [
            ("", "not the address"),
            ("localhost", "has a port"),
            ("localhost:0", "no port"),
            ("localhost:65536", "no port"),
            ("a..b:1", "not the address"),
            ("10.0.0.256:1", "not the address"),
            ("a b:1", "has a port"),
            ("127.0.0.1:1 weight=0", "1 to 256"),
            ("127.0.0.1:1 weight=", "1 to 256"),
            ("127.0.0.1:1 max_connections=-1", "1 to 10000000"),
            ("127.0.0.1:1 weight=1 weight=2", "twice"),
            ("127.0.0.1:1 wieght=2", "neither weight=N nor"),
            ("127.0.0.1", "no port"),
            ("127.0.0.1:0", "no port"),
            ("0.0.0.0:9001", "listen on"),
            ("unix:", "no path"),
            ("127.0.0.1:1,127.0.0.1:1 weight=2", "twice"),
            ("[fe80::1]:9001", "interface"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains(because), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn what_has_no_colon_names_an_upstream() {
        assert_eq!(read_target(" app-1 "), Ok("app-1".to_owned()));
        assert_eq!(read_target("127.0.0.1:1"), Ok("127.0.0.1:1".to_owned()));
        for wrong in ["", "127.0.0.1", "app,127.0.0.1:1", "a.b", "::1"] {
            assert!(read_target(wrong).is_err(), "{wrong:?}");
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
