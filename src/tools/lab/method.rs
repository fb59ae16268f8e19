//! The columns: the means of detection, each alone on a listener of its own, and all of them together.

use super::case::Case;
use super::path::{Path, Transport, Via};
use super::settings::Settings;
use crate::core::named::named;
use crate::core::time::Duration;

named! {
    /// A means of detection, or all together.
    Method {
        /// Nothing that can be switched: what `recv` and `send` return.
        Base = "base",
        /// Readiness flags.
        Readiness = "readiness",
        /// `TCP_INFO` while reading is paused.
        TcpInfo = "tcp_info",
        /// TCP keepalive.
        Keepalive = "keepalive",
        /// `TCP_USER_TIMEOUT`.
        UserTimeout = "user_timeout",
        /// Both of them, as the defaults have it.
        KeepaliveAndUserTimeout = "keepalive+user_timeout",
        /// The client beats.
        Heartbeat = "heartbeat",
        /// The server pings.
        Ping = "ping",
        /// A connection of its own beats for the data connection.
        Channel = "channel",
        /// Bytes after the end of file.
        EofProbe = "eof_probe",
        /// Out-of-band bytes.
        OobProbe = "oob_probe",
        /// The kernel's table of sockets compared with ours.
        Audit = "audit",
        /// The same identity again, over another path.
        TakeOver = "take_over",
        /// All together, but for the take-over.
        All = "all",
    }
}

/// Every means that can be switched, off; and no deadline that could end a connection in their place.
const OFF: &str = "readiness=false&keepalive.enabled=false&user_timeout=off&heartbeat.style=off&tcp_info.interval=off&\
     audit.end=off&probe.after_eof=false&probe.oob=off&slow_time=1d&handshake_timeout=off&idle_timeout=off";

impl Method {
    /// A word for the head of a column.
    pub const fn short(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Readiness => "ready",
            Self::TcpInfo => "info",
            Self::Keepalive => "keep",
            Self::UserTimeout => "utime",
            Self::KeepaliveAndUserTimeout => "keep+ut",
            Self::Heartbeat => "beat",
            Self::Ping => "ping",
            Self::Channel => "chan",
            Self::EofProbe => "eof",
            Self::OobProbe => "oob",
            Self::Audit => "audit",
            Self::TakeOver => "ident",
            Self::All => "all",
        }
    }

    /// What it is, in a few words.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Base => "what recv and send return: always on",
            Self::Readiness => "epoll's RDHUP, HUP and ERR",
            Self::TcpInfo => "TCP_INFO while reading is paused",
            Self::Keepalive => "TCP keepalive",
            Self::UserTimeout => "TCP_USER_TIMEOUT",
            Self::KeepaliveAndUserTimeout => "keepalive with TCP_USER_TIMEOUT just under it",
            Self::Heartbeat => "heartbeat: the client beats",
            Self::Ping => "heartbeat: the server pings",
            Self::Channel => "heartbeat channel: a second connection beats (BEATFOR)",
            Self::EofProbe => "bytes after the end of file",
            Self::OobProbe => "out-of-band bytes",
            Self::Audit => "the kernel's table of sockets compared with ours",
            Self::TakeOver => "the same identity comes back over another path",
            Self::All => "all together",
        }
    }

    /// Whether a connection of its own beats for the data connection.
    pub const fn has_channel(self, path: Path) -> bool {
        matches!((self, path.via), (Self::Channel | Self::All, Via::Direct))
    }

    /// Whether the data connection itself beats.
    pub const fn beats(self, path: Path) -> bool {
        matches!((self, path.via), (Self::Heartbeat, _) | (Self::All, Via::Gateway))
    }

    /// What of the listener's settings is not off.
    fn parameters(self, s: &Settings) -> String {
        let keepalive = format!(
            "keepalive.enabled=true&keepalive.idle={}&keepalive.interval={}&keepalive.count={}",
            ms(s.keepalive_idle),
            ms(s.keepalive_interval),
            s.keepalive_count
        );
        let user_timeout = format!("user_timeout={}", ms(s.user_timeout));
        let tcp_info = format!("tcp_info.interval={}", ms(s.tcp_info));
        let beat = format!("heartbeat.style=client&heartbeat.timeout={}", ms(s.heartbeat_timeout));
        let oob = format!("probe.oob={}", ms(s.oob));
        match self {
            Self::Base | Self::TakeOver | Self::Channel => String::new(),
            Self::Audit => "audit.end=missing".into(),
            Self::Readiness => "readiness=true".into(),
            Self::TcpInfo => tcp_info,
            Self::Keepalive => keepalive,
            Self::UserTimeout => user_timeout,
            Self::KeepaliveAndUserTimeout => {
                // Just under keepalive's sum, as the default has it.
                let margin = Duration::from_secs(1).min(s.keepalive_interval / 2);
                let just_under = s.keepalive().saturating_sub(margin);
                format!("{keepalive}&user_timeout={}", ms(just_under))
            }
            Self::Heartbeat => beat,
            Self::Ping => format!(
                "heartbeat.style=server&heartbeat.timeout={}&heartbeat.interval={}",
                ms(s.heartbeat_timeout),
                ms(s.heartbeat_interval)
            ),
            Self::EofProbe => "probe.after_eof=true".into(),
            Self::OobProbe => oob,
            Self::All => {
                format!(
                    "readiness=true&{tcp_info}&{keepalive}&{user_timeout}&{beat}&{oob}&probe.after_eof=true"
                )
            }
        }
    }

    /// The URL of its listener on `host`, in a row.
    pub fn listener(self, path: Path, host: &str, settings: &Settings, case: Case) -> String {
        let (own, more) = (self.parameters(settings), case.parameters());
        let address = format!("{host}:0");
        let tls = transport_parameters(path.transport);
        match path.via {
            Via::Direct => listener("resp", self.name(), &address, settings, &[&own, more, tls]),
            Via::Gateway => {
                let upstream = if path.names_clients(case, self) {
                    format!("upstream={APPLICATION}&upstream_header=proxy_v2")
                } else {
                    format!("upstream={BACKEND}")
                };
                listener("tcp", self.name(), &address, settings, &[&own, more, tls, &upstream])
            }
        }
    }
}

/// Where the server behind a gateway listens, on the gateway's host. It is none of the ports that connects take theirs from.
pub const BACKEND: &str = "127.0.0.1:9001";
/// The same of one that names its clients.
pub const APPLICATION: &str = "127.0.0.1:9002";

/// The URL of a listener with everything off but these parameters.
pub fn listener(
    protocol: &str,
    name: &str,
    address: &str,
    settings: &Settings,
    parameters: &[&str],
) -> String {
    // A gateway has no bytes to probe with, and so no such key.
    let applies = |parameter: &&str| protocol != "tcp" || !parameter.starts_with("probe.after_eof=");
    let always = format!("heartbeat.grace={}&linger={}", ms(settings.heartbeat_grace), ms(settings.linger));
    let key = |parameter: &str| parameter.split('=').next().unwrap_or_default().to_owned();
    let mut given: Vec<&str> = Vec::new();
    for part in
        parameters.iter().flat_map(|part| part.split('&')).filter(|part| !part.is_empty()).filter(applies)
    {
        // What a case asks for comes after what its column has.
        given.retain(|earlier| key(earlier) != key(part));
        given.push(part);
    }
    let taken: Vec<String> = given.iter().map(|parameter| key(parameter)).collect();
    let off = OFF.split('&').filter(applies).filter(|parameter| !taken.contains(&key(parameter)));
    let all: Vec<&str> = off.chain(always.split('&')).chain(given.iter().copied()).collect();
    // A name is made of letters, digits and dashes; a URL would take a plus for a blank.
    // A network of the lab's own, in which everybody may act on others.
    let open = if protocol == "resp" { "&protected_mode=false" } else { "" };
    format!("{protocol}://{address}?name={}{open}&{}", listener_name(name), all.join("&"))
}

/// The URL of the listener for heartbeat channels, which speak what the data connections do.
pub fn channels(transport: Transport, host: &str, settings: &Settings) -> String {
    let beat = Method::Heartbeat.parameters(settings);
    let address = format!("{host}:0");
    listener("resp", "channels", &address, settings, &[&beat, transport_parameters(transport)])
}

/// What a listener has whose clients speak this.
const fn transport_parameters(transport: Transport) -> &'static str {
    match transport {
        Transport::Plain => "",
        // See `Server::start`.
        Transport::Tls => "tls.certificate=/proc/self/fd/0",
    }
}

/// The name of the listener of a column.
pub fn listener_name(column: &str) -> String {
    column.replace('+', "-")
}

fn ms(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listener_is_one_that_the_server_takes_and_says_each_key_once() {
        for settings in [Settings::quick(), Settings::realistic()] {
            let rows = Path::ALL.into_iter().flat_map(|path| Case::ALL.iter().map(move |case| (path, *case)));
            let all =
                rows.flat_map(|(path, case)| Method::ALL.iter().map(move |method| (path, case, *method)));
            for (path, case, method) in all.filter(|(path, case, method)| path.tries(*case, *method)) {
                let url = method.listener(path, "127.0.0.1", &settings, case);
                let sources = crate::config::Sources { listen: vec![url.clone()], ..Default::default() };
                let certificate = |_: &std::path::Path, _| Ok(include_str!("../tls.pem").to_owned());
                let loaded = crate::config::load(&sources, certificate);
                assert!(loaded.is_ok(), "{url}: {:?}", loaded.err());
                let (_, parameters) = url.split_once('?').unwrap();
                let mut keys: Vec<&str> = parameters.split('&').filter_map(|p| p.split('=').next()).collect();
                let count = keys.len();
                keys.sort_unstable();
                keys.dedup();
                assert_eq!(keys.len(), count, "{url}");
            }
        }
    }
}
