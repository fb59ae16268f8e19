//! Runs of a gateway: listeners relay to backends, which have manners and troubles of their own. Its seeds are not those of
//! [`run`](super::run()).

use super::backend::Backends;
use super::faults::Faults;
use super::handshake::{ConnectFaults, Upstream as Backing};
use super::health::draw_check;
use super::manner::Manners;
use super::name_server::NameServer;
use super::oracle::nanos;
use super::plan::{Plan, listener};
use super::rng::Rng;
use super::run::{Options, Outcome, live};
use super::tcp::Sizes;
use super::world::World;
use crate::config::settings::{ListenerSettings, Relay, Upstream};
use crate::core::conn::policy::HeartbeatStyle;
use crate::core::tcp::Keepalive;
use crate::core::time::Duration;
use crate::net::{Address, HostName};
use crate::protocol::gateway::{self, Removed, Routes, ServerAddress, ServerSpec, Target};
use crate::protocol::{Balance, ClientReset, Gateway, HalfClose, Protocol};
use std::net::SocketAddr;
use std::sync::Arc;

/// Runs the simulation of `seed`.
pub fn run_gateway(seed: u64, options: &Options) -> Outcome {
    let mut rng = Rng::new(seed ^ 0x0067_6174_6577_6179);
    let mut plan = Plan::draw(&mut rng, options.duration);
    let (servers, names) = plan.relay(&mut rng);
    let faults = Faults::draw(&mut rng);
    let mut world = World::new(faults, &mut rng);
    world.trace = options.trace.then(Vec::new);
    world.names_clients = true;
    world.names = names;
    world.connect_faults = ConnectFaults {
        no_port: if rng.chance(200_000) { 50_000 } else { 0 },
        soft: rng.pick(&[0, 500_000]),
        early: 0,
    };
    let backends = backends(&servers, &mut rng, plan.duration, &mut world);
    live(seed, plan, world, backends, &mut rng, options)
}

fn backends(servers: &[SocketAddr], rng: &mut Rng, duration: Duration, world: &mut World) -> Backends {
    let mut backends = Backends::default();
    for &server in servers {
        let near = rng.chance(700_000);
        let latency = rng.within(if near { 10_000..500_000 } else { 1_000_000..100_000_000 });
        let host = world.add_host(latency);
        let sizes = Sizes {
            output_max: rng.pick(&[4096, 16_384, 65_536, 262_144]),
            input_max: rng.pick(&[2048, 8192, 65_536, 262_144]),
            segment_max: rng.pick(&[536, 1460, 9000, 65_483]),
            rto: 200_000_000 + 3 * latency,
        };
        let upstream = Backing { address: address(server), host, sizes };
        let backlog = rng.pick(&[0, 1, 4, 128]);
        let upstream = world.add_upstream(upstream, backlog, Some(backends.next_program()));
        let manners = Manners::draw_all(rng, duration);
        world.note(|| format!("{server} listens with a queue of {backlog}: {manners:?}"));
        backends.add(upstream, manners, rng.fork());
    }
    backends.draw_troubles(rng, duration, world);
    backends
}

const fn address(socket: SocketAddr) -> Address {
    Address::Tcp { socket, v6_only: false, interface: None }
}

impl Plan {
    /// Makes listeners of it relay, at least one. Returns where to, and what name servers say of those that have names.
    pub(super) fn relay(&mut self, rng: &mut Rng) -> (Vec<SocketAddr>, NameServer) {
        let count = rng.pick(&[1, 1, 2, 3, 5]);
        let servers: Vec<_> = (1..=count).map(|host| SocketAddr::from(([10, 200, 0, host], 9000))).collect();
        let mut names = NameServer::default();
        for (index, listener) in self.settings.listeners.iter_mut().enumerate() {
            if index > 0 && !rng.chance(500_000) {
                continue;
            }
            (listener.name, listener.protocol) = (format!("tcp{}", listener.name), Protocol::Tcp);
            let shared = index > 0 && rng.chance(400_000);
            if !shared {
                let is = upstream(rng, &servers, &mut names, self.duration);
                self.settings.upstreams.push(Upstream { name: listener.name.clone(), is, tls: None });
            }
            let of = if shared { self.settings.upstreams.first() } else { self.settings.upstreams.last() };
            relay(rng, listener, of.expect("the first listener has one"), self.duration);
        }
        if rng.chance(700_000) {
            let application = application(rng, self.settings.listeners.len(), self.duration);
            self.settings.listeners.push(application);
        }
        (servers, names)
    }
}

/// Where the application says who the clients are. It speaks often.
fn application(rng: &mut Rng, index: usize, duration: Duration) -> ListenerSettings {
    let mut listener = listener(rng, index, duration);
    (listener.name, listener.protocol) = ("application".into(), Protocol::Resp);
    let heartbeat = &mut listener.policy.liveness.heartbeat;
    heartbeat.style = HeartbeatStyle::Off;
    heartbeat.timeout = rng.between(Duration::from_millis(200), Duration::from_secs(5));
    listener
}

/// An upstream of some of the servers.
fn upstream(
    rng: &mut Rng,
    servers: &[SocketAddr],
    names: &mut NameServer,
    duration: Duration,
) -> gateway::Upstream {
    let keepalive = Keepalive {
        idle: Duration::from_secs(rng.within(1..120)),
        interval: Duration::from_secs(rng.within(1..20)),
        count: rng.pick(&[1, 2, 3]),
    };
    let some = some_of(rng, servers);
    let servers = if rng.chance(600_000) {
        some.into_iter().map(|socket| spec(rng, ServerAddress::Tcp(socket))).collect()
    } else {
        let host = format!("app{}.example", rng.within(0..u64::MAX));
        let name = HostName { host: host.clone(), port: 9000 };
        names.says(0, name.clone(), some);
        let mut at = 0;
        for _ in 0..rng.index(6) {
            // The server has begun before.
            at += nanos(Duration::from_secs(1) + rng.between(Duration::ZERO, duration / 3));
            // Now and then it cannot be looked up.
            let addresses = if rng.chance(200_000) { Vec::new() } else { some_of(rng, servers) };
            names.says(at, name.clone(), addresses);
        }
        vec![spec(rng, ServerAddress::Name { host, port: 9000 })]
    };
    gateway::Upstream {
        check: Arc::new(draw_check(rng, duration)),
        servers,
        balance: rng.pick(&[Balance::LeastConnections, Balance::RoundRobin, Balance::SourceHash]),
        connect_timeout: rng.between(Duration::from_millis(50), Duration::from_secs(20)),
        sources: Vec::new(),
        header: None,
        keepalive: rng.chance(800_000).then_some(keepalive),
        slow_start: rng.chance(300_000).then_some(duration / 4),
        removed: rng.pick(&[Removed::Keep, Removed::Drain, Removed::Cut]),
        resolve: rng.between(Duration::from_secs(1), Duration::from_secs(30)),
    }
}

fn spec(rng: &mut Rng, address: ServerAddress) -> ServerSpec {
    ServerSpec {
        address,
        weight: rng.pick(&[1, 1, 2, 5]),
        connections_max: if rng.chance(150_000) { Some(rng.pick(&[1, 2, 5])) } else { None },
    }
}

/// Some of the servers, at least one.
fn some_of(rng: &mut Rng, servers: &[SocketAddr]) -> Vec<SocketAddr> {
    let some: Vec<_> = servers.iter().filter(|_| rng.chance(800_000)).copied().collect();
    if some.is_empty() { servers[..1].to_vec() } else { some }
}

/// Makes a listener relay.
fn relay(rng: &mut Rng, listener: &mut ListenerSettings, upstream: &Upstream, duration: Duration) {
    let policy = &mut listener.policy;
    policy.liveness.heartbeat.style = rng.pick(&[HeartbeatStyle::Off, HeartbeatStyle::Client]);
    policy.liveness.probe_after_eof = false;
    policy.bounds.handshake_timeout = None;
    let gateway = Gateway {
        target: Some(Target::Named(upstream.name.clone())),
        routes: Routes::default(),
        half_close: rng.pick(&[HalfClose::Forward, HalfClose::End]),
        half_close_timeout: rng.between(Duration::from_secs(1), duration.max(Duration::from_secs(2))),
        client_reset: rng.pick(&[ClientReset::Reset, ClientReset::Reset, ClientReset::Fin]),
    };
    listener.relay = Some(Relay::new(&gateway, Some(upstream.name.clone()), policy));
}
