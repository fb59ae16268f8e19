//! What a run is to do: checked, with every mistake told before anything is started.

use super::faults::{Contract, Fault, Truth};
use super::mix::{Limits, Mix};
use super::proto::Wire;
use super::schedule::share;
use crate::core::time::Duration;
use crate::net::Address;
use crate::protocol::Token;
use crate::sys::host;
use crate::tls;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};

/// The protocol to speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// What is sent comes back: from an echo server, or through a gateway in front of one.
    Echo,
    /// The wire format of Redis.
    Resp,
    /// HTTP/1.1.
    Http,
}

impl Scheme {
    /// As URLs have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Resp => "resp",
            Self::Http => "http",
        }
    }
}

/// Where to, and in which protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The protocol.
    pub scheme: Scheme,
    /// Over TLS.
    pub over_tls: bool,
    /// The address, resolved.
    pub address: SocketAddr,
    /// Host and port as they were written.
    pub authority: String,
    /// What is asked for (HTTP).
    pub path: String,
}

impl Target {
    /// Reads a URL and resolves its host.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn parse(url: &str) -> Result<Self, String> {
        let example = "write SCHEME://HOST:PORT, as resp://127.0.0.1:7000";
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| format!("{url:?} is not a URL; {example}"))?;
        let (scheme, over_tls) = match scheme {
            "echo" | "tcp" => (Scheme::Echo, false),
            "echos" | "tls" => (Scheme::Echo, true),
            "resp" | "redis" => (Scheme::Resp, false),
            "resps" | "rediss" => (Scheme::Resp, true),
            "http" => (Scheme::Http, false),
            "https" => (Scheme::Http, true),
            other => {
                let all = "echo, tcp, resp and http, and over TLS echos, tls, resps and https";
                return Err(format!("{other:?} is not a scheme; they are {all}"));
            }
        };
        let (authority, path) = rest
            .split_once('/')
            .map_or((rest, "/".to_owned()), |(authority, path)| (authority, format!("/{path}")));
        if scheme != Scheme::Http && path != "/" {
            return Err(format!("{path:?}: {} has no paths; {example}", scheme.name()));
        }
        // The rest of a URL that people paste; what it says would be ignored silently.
        if authority.contains(['@', '?', '#']) {
            return Err(format!("{authority:?} is not HOST:PORT; {example}"));
        }
        let bare = authority.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err());
        let with_port = match scheme {
            Scheme::Http if bare => format!("{authority}:{}", if over_tls { 443 } else { 80 }),
            Scheme::Echo | Scheme::Resp if bare => {
                return Err(format!("{authority:?} has no port; {example}"));
            }
            Scheme::Echo | Scheme::Resp | Scheme::Http => authority.to_owned(),
        };
        let address = resolve(&with_port)?;
        Ok(Self { scheme, over_tls, address, authority: authority.to_owned(), path })
    }

    /// The name of the server, as it was written.
    pub fn host(&self) -> &str {
        let host = self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// The address of `HOST:PORT`: a name, or an address with or without the interface that it is of.
///
/// # Errors
/// What is wrong with it.
pub fn resolve(text: &str) -> Result<SocketAddr, String> {
    let Some(Address::Tcp { socket, interface, .. }) = Address::parse_tcp(text) else {
        let mut addresses =
            text.to_socket_addrs().map_err(|error| format!("{text:?} cannot be resolved: {error}"))?;
        return addresses.next().ok_or_else(|| format!("{text:?} has no address"));
    };
    match (socket, interface) {
        (SocketAddr::V6(v6), Some(name)) => {
            let scope = host::interface(&name).ok_or_else(|| {
                format!(
                    "{text:?}: no interface of this host is called {name:?}, `ip link` lists those it has"
                )
            })?;
            Ok(SocketAddrV6::new(*v6.ip(), v6.port(), 0, scope).into())
        }
        _ => Ok(socket),
    }
}

/// Where verdicts come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Judge {
    /// Presence channels of the target itself: each client has an identity.
    Presence,
    /// The admin interface at this address: its counters of endings, before and after. It may want a token.
    Admin(SocketAddr, Option<Token>),
    /// Nobody is asked.
    Nobody,
}

/// A whole run, or one process's part of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// Where to.
    pub target: Target,
    /// Connections.
    pub connections: u32,
    /// Connections opened a second; none: as fast as they are made.
    pub ramp: Option<f64>,
    /// Requests a second; none: each connection sends the next when an answer comes.
    pub rate: Option<f64>,
    /// Latency is counted from when a request went out, whatever the schedule says.
    pub closed: bool,
    /// Requests that are due soon are waited for without sleeping.
    pub spin: bool,
    /// Bytes of payload in a request.
    pub size: usize,
    /// Requests under way on a connection.
    pub pipeline: u32,
    /// How long requests go out.
    pub duration: Duration,
    /// What each connection says first, if its server has users.
    pub log_in: Option<Vec<u8>>,
    /// Clients say who they are.
    pub identities: bool,
    /// Clients promise to be heard.
    pub heartbeat: Option<Duration>,
    /// Connections replaced a second.
    pub churn: Option<f64>,
    /// How TLS is spoken, if it is.
    pub tls: Option<tls::Client>,
    /// Who misbehaves.
    pub faults: Mix,
    /// Who tells how the server judged.
    pub judge: Judge,
    /// From which waiting times follow.
    pub contract: Contract,
    /// Source addresses, in turn; none: the kernel's choice.
    pub sources: Vec<IpAddr>,
    /// What identities begin with.
    pub prefix: String,
    /// The server's process, if its CPU time is asked for.
    pub server: Option<u32>,
}

/// Source addresses used for a target on loopback, when one would not do.
const LOOPBACK_SOURCES: u32 = 4096;
/// As many connections as leave one source address at ease: under half of the usual ephemeral range.
const PER_SOURCE: u32 = 10_000;

/// Clients of a run, of all processes together: the server has the same bound.
const CONNECTIONS_MAX: u32 = 10_000_000;
/// Requests under way at once for which there is room: the time of each is kept, 8 bytes.
const UNDER_WAY_MAX: u64 = 100_000_000;

impl Plan {
    /// Everything that contradicts itself.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let scheme = self.target.scheme;
        let mut wrong = |is: bool, what: String| {
            if is {
                mistakes.push(what);
            }
        };
        wrong(self.connections == 0, "-c 0: at least one connection is needed".to_owned());
        wrong(self.pipeline == 0, "--pipeline 0: at least one request must be under way".to_owned());
        wrong(
            self.connections > CONNECTIONS_MAX,
            format!("-c {}: at most {CONNECTIONS_MAX} can be played", self.connections),
        );
        let under_way = u64::from(self.connections) * u64::from(self.pipeline.max(1));
        wrong(
            under_way > UNDER_WAY_MAX,
            format!("-c x --pipeline is {under_way} requests; at most {UNDER_WAY_MAX} may be under way"),
        );
        let bytes = (self.size.max(1) as u64).saturating_mul(u64::from(self.pipeline));
        wrong(
            bytes > 1 << 20,
            format!("--size x --pipeline is {bytes} bytes; at most 1 MiB may be under way"),
        );
        wrong(
            scheme == Scheme::Echo && self.size == 0,
            "--size 0: echo needs at least a byte to send".to_owned(),
        );
        wrong(
            scheme == Scheme::Http && self.size > 0,
            "--size means nothing for http: the request is a GET, and the server chooses the answer"
                .to_owned(),
        );
        wrong(
            self.log_in.is_some() && scheme != Scheme::Resp,
            format!("--user, --password-file: {} has no users; they are for resp (AUTH)", scheme.name()),
        );
        wrong(
            self.identities && scheme != Scheme::Resp,
            format!("--identities: {} has none; they are for resp (IDENT)", scheme.name()),
        );
        wrong(
            self.heartbeat.is_some() && !self.identities,
            "--heartbeat: only a client with an identity promises one; add --identities".to_owned(),
        );
        let beats = Duration::from_millis(100)..=Duration::from_secs(86_400);
        wrong(
            self.heartbeat.is_some_and(|beat| !beats.contains(&beat)),
            "--heartbeat takes 100ms to 24h".to_owned(),
        );
        wrong(
            self.judge == Judge::Nobody && self.closed && self.rate == Some(0.0),
            "--rate 0 sends nothing, so --closed means nothing".to_owned(),
        );
        wrong(
            self.spin && self.rate.is_none_or(|rate| rate == 0.0),
            "--spin waits for the time of the next request, which only --rate gives it".to_owned(),
        );
        for fault in self.faults.shares().iter().map(|share| share.fault) {
            wrong(
                scheme == Scheme::Echo && matches!(fault, Fault::Garbage | Fault::FinMidframe),
                format!("--fault {fault}: to echo everything is right, and no request has a middle"),
            );
            wrong(
                fault.needs_heartbeat() && !self.identities && self.judge != Judge::Nobody,
                format!(
                    "--fault {fault} is noticed by a missing heartbeat, which only clients of resp promise"
                ),
            );
            wrong(
                fault.needs_heartbeat() && self.identities && self.heartbeat.is_none(),
                format!("--fault {fault} is noticed by a missing heartbeat; add --heartbeat 5s"),
            );
            wrong(
                fault.needs_identity() && !self.identities,
                format!("--fault {fault} needs clients with identities; add --identities (resp only)"),
            );
        }
        wrong(
            !self.faults.is_empty() && self.judge == Judge::Presence && !self.identities,
            format!(
                "--fault: who misbehaves on {} has no identity that the server could tell of; use resp://, give its \
                 admin interface by --admin, or misbehave without asking by --unjudged",
                scheme.name()
            ),
        );
        mistakes.extend(self.faults.mistakes(&Limits {
            contract: (self.judge != Judge::Nobody).then_some(&self.contract),
            duration: self.duration,
            request_bytes: Wire::new(&self.target, self.size.min(1 << 20), 1).requests(1).len(),
            pipeline: self.pipeline,
        }));
        mistakes
    }

    /// What the server ought to say of who commits `fault`, or nothing.
    pub fn truth(&self, fault: Option<Fault>) -> Truth {
        fault.map_or(Truth::Stays, |fault| self.faults.truth(fault, &self.contract))
    }

    /// The part of process `index` of `of`.
    #[must_use]
    pub fn part(&self, index: u32, of: u32) -> Self {
        let each = |rate: Option<f64>| rate.map(|rate| rate / f64::from(of));
        Self {
            connections: share(self.connections, index, of),
            ramp: each(self.ramp),
            rate: each(self.rate),
            churn: each(self.churn),
            faults: self.faults.part(self.connections, index, of),
            prefix: format!("{}{index}-", self.prefix),
            ..self.clone()
        }
    }

    /// Chooses source addresses on loopback where one has too few ports; process `index` of `of` takes its own.
    pub fn spread_sources(&mut self, index: u32, of: u32) {
        let loopback = matches!(self.target.address.ip(), IpAddr::V4(ip) if ip.is_loopback());
        // A connection that is replaced keeps its port for as long as its TIME_WAIT lasts, a minute.
        let kept = self.churn.unwrap_or(0.0) * f64::from(of) * self.duration.as_secs_f64().min(60.0);
        let ports = f64::from(self.connections) * f64::from(of) + kept;
        let many = ports > f64::from(PER_SOURCE);
        if !self.sources.is_empty() || !loopback || !many {
            return;
        }
        let each = LOOPBACK_SOURCES / of.max(1);
        let first = u32::from(Ipv4Addr::new(127, 1, 0, 0)) + index * each;
        self.sources = (first..first + each.max(1)).map(|ip| IpAddr::V4(ip.into())).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_protocol_address_and_path() {
        let target = Target::parse("http://127.0.0.1:8080/a/b?c=d").unwrap();
        assert_eq!((target.scheme, target.path.as_str()), (Scheme::Http, "/a/b?c=d"));
        assert_eq!(target.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(Target::parse("http://127.0.0.1").unwrap().address.port(), 80);
        let over_tls = Target::parse("https://127.0.0.1").unwrap();
        assert_eq!((over_tls.over_tls, over_tls.address.port(), over_tls.host()), (true, 443, "127.0.0.1"));
        assert_eq!(Target::parse("rediss://[::1]:6379").unwrap().host(), "::1");
        assert_eq!(Target::parse("tcp://127.0.0.1:9000").unwrap().scheme, Scheme::Echo);
        assert_eq!(Target::parse("redis://[::1]:6379").unwrap().scheme, Scheme::Resp);
        for (url, part) in [
            ("127.0.0.1:7000", "is not a URL"),
            ("udp://127.0.0.1:7000", "they are echo, tcp, resp and http"),
            ("resp://127.0.0.1", "has no port"),
            ("echo://127.0.0.1:7/x", "has no paths"),
            ("resp://me@127.0.0.1:7000", "is not HOST:PORT"),
            ("resp://no.such.host.invalid:7000", "cannot be resolved"),
        ] {
            let said = Target::parse(url).unwrap_err();
            assert!(said.contains(part), "{url}: {said}");
        }
    }
}
