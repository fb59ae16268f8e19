//! The effective settings of a server: what is left when defaults, file and flags have been put together
//! and found sound. Plain values, read by the reactor; nothing here parses or checks.

use crate::core::admission::{Limits, Networks};
use crate::core::conn::policy::{HeartbeatStyle, Policy};
use crate::core::setting::Values;
use crate::core::time::Duration;
use crate::net::{Address, ListenSpec, Peer, SocketOptions};
use crate::protocol::admin::Door;
use crate::protocol::gateway::{self, Routes};
use crate::protocol::users::Guard;
use crate::protocol::{Access, ClientReset, Gateway, HalfClose, Protocol, Token, presence};
use crate::tls;

/// Most listeners of a server, its admin interface among them: a connection remembers its own in one byte.
pub const LISTENERS_MAX: usize = 1 + u8::MAX as usize;

/// A whole server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The listeners for clients, in the order of the configuration, then the admin listener if any.
    pub listeners: Vec<ListenerSettings>,
    /// The upstreams that those listeners relay to, each once.
    pub upstreams: Vec<Upstream>,
    /// Bounds on one turn of the loop.
    pub turn: TurnSettings,
    /// What belongs to the whole process.
    pub server: ServerSettings,
    /// How the server goes away.
    pub drain: DrainSettings,
    /// How the kernel's table of sockets is compared with ours.
    pub audit: AuditSettings,
    /// Log lines.
    pub log: LogSettings,
}

/// One listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerSettings {
    /// Its name in log lines and metrics.
    pub name: String,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// The address that is listened on.
    pub address: Address,
    /// Accept queue asked for.
    pub backlog: u32,
    /// Most connections at once on this listener; `None`: as many as the process has descriptors for.
    pub connections_max: Option<u32>,
    /// What to do when full.
    pub overload: Overload,
    /// Who is let in, and how many of a kind.
    pub limits: Limits,
    /// The header of the PROXY protocol that every connection has to begin with. `None`: none does.
    pub accept_proxy: Option<AcceptProxy>,
    /// `TCP_NODELAY` on what it accepts.
    pub nodelay: bool,
    /// `SO_SNDBUF` on what it accepts, in bytes; `None` leaves it to the kernel's autotuning.
    pub send_buffer: Option<u32>,
    /// Life, closing and bounds of its connections.
    pub policy: Policy,
    /// Who may use it.
    pub access: Access,
    /// What it asks of its clients.
    pub guard: Guard,
    /// What a request has to bring. `None`: nothing.
    pub token: Option<Token>,
    /// The settings that its protocol declares.
    pub own: Values,
    /// Its certificates. `None`: it does not speak TLS.
    pub tls: Option<tls::Server>,
    /// How it relays. `None`: its connections end here.
    pub relay: Option<Relay>,
}

/// An upstream: servers that do the same work, whichever listeners relay to them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upstream {
    /// Its name; where a listener has servers of its own, that of the listener.
    pub name: String,
    /// What it is.
    pub is: gateway::Upstream,
    /// How it is spoken to over TLS. `None`: it is not.
    pub tls: Option<tls::Client>,
}

/// The upstream side of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relay {
    /// The name of the upstream that it relays to, unless a route says otherwise. `None`: who has no route is refused.
    pub upstream: Option<String>,
    /// The upstreams of those who ask for something in TLS.
    pub routes: Routes,
    /// What the end of one direction means.
    pub half_close: HalfClose,
    /// How long nothing may move on a pair of which one direction has ended.
    pub half_close_timeout: Duration,
    /// What a server is told of a client that was reset or lost.
    pub client_reset: ClientReset,
    /// Life, closing and bounds of the connections that we make.
    pub policy: Policy,
}

impl Relay {
    /// That of a listener with this policy for its clients. What a client promises, and what it may be asked, an upstream
    /// server has not promised, and is not asked. How the kernel watches it is the upstream's to say.
    pub fn new(gateway: &Gateway, upstream: Option<String>, of_clients: &Policy) -> Self {
        let mut policy = of_clients.clone();
        policy.liveness.heartbeat.style = HeartbeatStyle::Off;
        policy.liveness.keepalive = None;
        policy.liveness.user_timeout = None;
        policy.liveness.probe_after_eof = false;
        policy.liveness.probe_oob = None;
        policy.bounds.handshake_timeout = None;
        policy.bounds.idle_timeout = None;
        policy.bounds.max_age = None;
        Self {
            upstream,
            routes: gateway.routes.clone(),
            half_close: gateway.half_close,
            half_close_timeout: gateway.half_close_timeout,
            client_reset: gateway.client_reset,
            policy,
        }
    }

    /// The names of all upstreams that it relays to.
    pub fn upstreams(&self) -> impl Iterator<Item = &str> {
        self.upstream.as_deref().into_iter().chain(self.routes.iter().map(|(_, _, to)| to))
    }

    /// Whether it has to be known what a client asks for before it is known where to.
    pub fn is_routed(&self) -> bool {
        !self.routes.is_empty()
    }

    /// The options of a connection that we make: those that it must have from its first moment on.
    pub const fn socket_options(&self) -> SocketOptions {
        SocketOptions {
            nodelay: false,
            keepalive: None,
            user_timeout: None,
            linger2: self.policy.closing.linger2,
            send_buffer: None,
            oob_inline: false,
        }
    }
}

/// Connections come through proxies, which say whose they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AcceptProxy {
    /// The networks of those proxies. A client of a unix socket is one: the permissions of the socket say who may be.
    pub trusted: Networks,
    /// How long the header may take.
    pub timeout: Duration,
}

impl AcceptProxy {
    /// Whether what comes from there may say whose it is.
    pub fn trusts(&self, sender: &Peer) -> bool {
        sender.address().is_none_or(|address| self.trusted.contain(address.ip()))
    }
}

impl ListenerSettings {
    /// The options that its connections inherit.
    pub fn socket_options(&self) -> SocketOptions {
        SocketOptions {
            nodelay: self.nodelay,
            keepalive: self.policy.liveness.keepalive,
            user_timeout: self.policy.liveness.user_timeout,
            linger2: self.policy.closing.linger2,
            send_buffer: self.send_buffer,
            // An urgent byte stays where it is, for the one that it is meant for.
            oob_inline: self.relay.is_some(),
        }
    }

    /// Who is answered, of those who ask the operator's questions.
    pub const fn door(&self) -> Door<'_> {
        Door { hosts: &self.access.hosts, token: self.token.as_ref(), tls: self.tls.is_some() }
    }

    /// What to ask of the kernel.
    pub fn listen_spec(&self) -> ListenSpec {
        ListenSpec {
            address: self.address.clone(),
            backlog: self.backlog,
            options: self.socket_options(),
            socket_mode: self.access.socket_mode,
        }
    }
}

/// What a full listener does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overload {
    /// Leave newcomers in the accept queue, and watch it.
    Queue,
    /// Accept, say that the server is full in the protocol, and part.
    Shed,
}

/// Bounds on one turn of the loop: what is over them is posted to the next turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TurnSettings {
    /// Most connections accepted from one listener in a turn.
    pub accepts: u32,
    /// Most bytes received from one connection in a turn.
    pub read_bytes: usize,
}

/// What belongs to the whole process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerSettings {
    /// Processes that serve the listeners; `None`: one a processor. With 1 there is no supervisor.
    pub workers: Option<u32>,
    /// How long the loop of a worker may stall before it is ended; `None`: for ever.
    pub stall_timeout: Option<Duration>,
    /// Most connections at once; `None`: derived from `RLIMIT_NOFILE`.
    pub connections_max: Option<u32>,
    /// Most memory in bytes that wait to be sent or to be understood, all connections together; `None`: see
    /// [`memory_max_of`](Self::memory_max_of).
    pub memory_max: Option<u64>,
    /// How often a stalled accept is tried again without a close to prompt it.
    pub accept_retry: Duration,
    /// How often the accept queues are looked at.
    pub queue_watch: Duration,
    /// Memory for the last endings; 0: none are kept.
    pub history_bytes: usize,
    /// Memory for what happens, once somebody watches.
    pub events_bytes: usize,
    /// What those are told who listen to presence.
    pub presence: presence::Form,
}

impl ServerSettings {
    /// The bound in force where a process may have `available` bytes of memory: what is set, or a quarter of that.
    pub fn memory_max_of(&self, available: Option<u64>) -> Option<u64> {
        self.memory_max.or(available.map(|bytes| bytes / 4))
    }
}

/// How the server goes away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DrainSettings {
    /// How long the server serves on before that, and only says that it is not ready.
    pub delay: Duration,
    /// Time over which the goodbyes are spread, so that the clients do not come back all at once.
    pub spread: Duration,
    /// When the server exits even if connections are left.
    pub timeout: Duration,
}

/// How the kernel's table of sockets is compared with ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuditSettings {
    /// How often; `None`: never.
    pub interval: Option<Duration>,
}

/// Log lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogSettings {
    /// A filter in the syntax of `env_logger`, such as `info` or `linger=debug`.
    pub filter: String,
    /// Their shape.
    pub format: LogFormat,
    /// Most ending lines a second; more are counted and summed up in one line.
    pub endings_per_second: u32,
}

/// The shape of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// `key=value`.
    Text,
    /// One JSON object a line.
    Json,
}
