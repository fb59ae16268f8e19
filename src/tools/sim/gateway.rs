//! Runs of a gateway: listeners relay to backends, which have manners and troubles of their own. Its seeds are not those of
//! [`run`](super::run()).

use super::backend::Backends;
use super::faults::Faults;
use super::handshake::{ConnectFaults, Upstream as Backing};
use super::health::draw_check;
use super::manner::Manners;
use super::plan::Plan;
use super::rng::Rng;
use super::run::{Options, Outcome, live};
use super::tcp::Sizes;
use super::world::World;
use crate::config::settings::{ListenerSettings, Relay, Upstream};
use crate::core::conn::policy::HeartbeatStyle;
use crate::core::tcp::Keepalive;
use crate::core::time::Duration;
use crate::net::Address;
use crate::protocol::gateway::{self, ServerAddress, ServerSpec, Target};
use crate::protocol::{Balance, Gateway, HalfClose, Protocol};
use std::net::SocketAddr;
use std::sync::Arc;

/// Runs the simulation of `seed`.
pub fn run_gateway(seed: u64, options: &Options) -> Outcome {
    let mut rng = Rng::new(seed ^ 0x0067_6174_6577_6179);
    let mut plan = Plan::draw(&mut rng, options.duration);
    let servers = plan.relay(&mut rng);
    let faults = Faults::draw(&mut rng);
    let mut world = World::new(faults, &mut rng);
    world.trace = options.trace.then(Vec::new);
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
    /// Makes listeners of it relay, at least one. Returns where to.
    pub(super) fn relay(&mut self, rng: &mut Rng) -> Vec<SocketAddr> {
        let count = rng.pick(&[1, 1, 2, 3, 5]);
        let servers: Vec<_> = (1..=count).map(|host| SocketAddr::from(([10, 200, 0, host], 9000))).collect();
        for (index, listener) in self.settings.listeners.iter_mut().enumerate() {
            if index == 0 || rng.chance(500_000) {
                self.settings.upstreams.push(relay(rng, listener, &servers, self.duration));
            }
        }
        servers
    }
}

/// Makes a listener relay. Returns to what.
fn relay(
    rng: &mut Rng,
    listener: &mut ListenerSettings,
    servers: &[SocketAddr],
    duration: Duration,
) -> Upstream {
    (listener.name, listener.protocol) = (format!("tcp{}", listener.name), Protocol::Tcp);
    let policy = &mut listener.policy;
    policy.liveness.heartbeat.style = rng.pick(&[HeartbeatStyle::Off, HeartbeatStyle::Client]);
    policy.liveness.probe_after_eof = false;
    policy.bounds.handshake_timeout = None;
    let keepalive = Keepalive {
        idle: Duration::from_secs(rng.within(1..120)),
        interval: Duration::from_secs(rng.within(1..20)),
        count: rng.pick(&[1, 2, 3]),
    };
    let mut of_servers: Vec<_> = servers.iter().filter(|_| rng.chance(800_000)).copied().collect();
    if of_servers.is_empty() {
        of_servers.push(servers[0]);
    }
    let of_servers = of_servers.into_iter().map(|socket| ServerSpec { address: ServerAddress::Tcp(socket) });
    let is = gateway::Upstream {
        check: Arc::new(draw_check(rng, duration)),
        servers: of_servers.collect(),
        balance: rng.pick(&[Balance::LeastConnections, Balance::RoundRobin, Balance::SourceHash]),
        connect_timeout: rng.between(Duration::from_millis(50), Duration::from_secs(20)),
        sources: Vec::new(),
        header: None,
        keepalive: rng.chance(800_000).then_some(keepalive),
    };
    let gateway = Gateway {
        target: Target::Own(is.clone()),
        half_close: rng.pick(&[HalfClose::Forward, HalfClose::End]),
        half_close_timeout: rng.between(Duration::from_secs(1), duration.max(Duration::from_secs(2))),
    };
    let upstream = Upstream { name: listener.name.clone(), is };
    listener.relay = Some(Relay::new(&gateway, &upstream, policy));
    upstream
}
