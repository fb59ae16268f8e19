//! Servers of an upstream in the words of the configuration: where each is, and which of our own addresses are used
//! towards them.

use crate::core::setting::Kind;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Most servers of an upstream: each client that comes looks at all of them.
const SERVERS_MAX: usize = 256;

/// A server, as the configuration has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerSpec {
    /// Where it is.
    pub address: ServerAddress,
}

/// Where an upstream server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerAddress {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// Addresses of servers.
pub(super) const SERVERS: Kind = Kind::Text { words: &[], read: read_servers, expects: EXPECTS };

/// The same, or the name of an upstream.
pub(in crate::protocol) const TARGET: Kind = Kind::Text {
    words: &[],
    read: read_target,
    expects: "addresses of servers separated by commas, as \"10.0.0.5:9001,10.0.0.6:9001\" or \"unix:/run/app.sock\", or \
              the NAME of an [upstream.NAME]",
};

const EXPECTS: &str =
    "addresses of servers separated by commas, as \"10.0.0.5:9001,10.0.0.6:9001\" or \"unix:/run/app.sock\"";

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
    list.split(',').filter_map(|server| server_of(server.trim()).ok()).collect()
}

/// The addresses of a list that was found sound.
pub(super) fn sources_of(list: &str) -> Vec<IpAddr> {
    list.split(',').filter_map(|source| source.parse().ok()).collect()
}

fn server_of(given: &str) -> Result<ServerSpec, String> {
    address_of(given).map(|address| ServerSpec { address })
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

fn read_target(given: &str) -> Result<String, String> {
    let name = given.trim();
    if is_name(name) { Ok(name.to_owned()) } else { read_servers(given) }
}

fn read_servers(given: &str) -> Result<String, String> {
    let mut servers: Vec<String> = Vec::new();
    for server in given.split(',').map(str::trim) {
        let shown = match server_of(server)?.address {
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
            ("127.0.0.1", "no port"),
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
