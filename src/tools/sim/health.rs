//! What must be true of the health of upstream servers: who gets connections, and what checks of them may say.

use super::checks::Server;
use super::oracle::nanos;
use super::rng::Rng;
use super::run::Failure;
use super::world::{Conn, World};
use crate::core::health::Outcome;
use crate::core::setting::{Value, Values};
use crate::core::time::Duration;
use crate::net::Address;
use crate::protocol::gateway::Upstream;
use crate::protocol::gateway::check::{Check, Style};
use crate::reactor::ServerSnapshot;

/// Tokens between those of listeners and those of connections are those of checks (`reactor/parts/checks.rs`).
const CHECKS: std::ops::Range<u64> = (1 << 31)..(1 << 32);

/// Draws how servers are checked, for a run of that length.
pub(super) fn draw_check(rng: &mut Rng, duration: Duration) -> Check {
    let period = |rng: &mut Rng, from, to| Value::Period(rng.between(Duration::from_millis(from), to));
    let longest = (duration / 20).max(Duration::from_secs(1));
    let values: Values = [
        ("check.style", Value::Word(rng.pick(&["off", "connect", "exchange"]))),
        ("check.interval", period(rng, 200, longest)),
        ("check.timeout", period(rng, 50, Duration::from_secs(5))),
        ("check.rise", Value::Count(rng.pick(&[1, 2, 3]))),
        ("check.fall", Value::Count(rng.pick(&[1, 2, 5]))),
        ("check.send", Value::Text("some bytes that are answered".to_owned())),
        // Backends answer with bytes of all values, one after the other.
        ("check.expect", Value::Text(rng.pick(&["a", "z", "never said by anybody"]).to_owned())),
        ("check.observe", Value::Word(rng.pick(&["connect", "first_byte"]))),
    ]
    .into_iter()
    .collect();
    let mut check = Check::new(&values, None);
    if check.style == Style::Connect {
        (check.send, check.expect) = (Box::default(), None);
    }
    check
}

impl Conn {
    /// Whether it is a check.
    pub(super) fn is_check(&self) -> bool {
        self.oracle.token.is_some_and(|token| CHECKS.contains(&token))
    }
}

impl Server {
    /// How servers were before a turn.
    pub(super) fn servers(&self) -> Vec<ServerSnapshot> {
        self.reactor.inspect().servers().collect()
    }

    /// Holds what has become of them in it against that.
    pub(super) fn judge_servers(&self, before: &[ServerSnapshot]) -> Result<(), Failure> {
        let after = self.servers();
        let (stage, failed) = (self.stage.borrow(), |what: String| Err(self.fail(what)));
        for is in &after {
            let Some(was) = is.among(before) else { continue };
            let upstream = &self.settings.upstreams[is.upstream].is;
            if self.was_given_in_vain(was, is, before, &after, &stage.world) {
                return failed(format!(
                    "a server that is down was given a client while another is up: {is:?}"
                ));
            }
            let never = [Outcome::Refused, Outcome::Unreachable, Outcome::ConnectTimeout, Outcome::Silent];
            let wrong = never
                .into_iter()
                .find(|outcome| is.checks[*outcome as usize] > was.checks[*outcome as usize]);
            if let Some(outcome) = wrong
                && upstream.check.style == Style::Connect
                && stage.world.is_untroubled(upstream, is)
            {
                return failed(format!("a check of a server that is well was {outcome}: {is:?}"));
            }
        }
        Ok(())
    }

    /// Whether a server was given a client although it is down, is not the next to be tried, and another one could have had
    /// the client.
    fn was_given_in_vain(
        &self,
        was: &ServerSnapshot,
        is: &ServerSnapshot,
        before: &[ServerSnapshot],
        after: &[ServerSnapshot],
        world: &World,
    ) -> bool {
        let upstream = &self.settings.upstreams[is.upstream].is;
        let stays_down = !was.up && !is.up && was.since == is.since;
        // One may have been tried in vain, if not for its own fault.
        let faultless = world.connect_faults.no_port == 0
            && world.faults.descriptors_max == usize::MAX
            && world.faults.unwatchable == 0;
        // Nor was one tried that came up since.
        let long = upstream.connect_timeout * 4 + Duration::from_secs(130);
        let other = |now: &ServerSnapshot| {
            let was = now.among(before).filter(|was| was.up && was.has_room && was.since == now.since);
            let lasts = was.is_some() && now.up && now.has_room && now.upstream == is.upstream;
            lasts && (now.since.as_nanos() == 0 || now.since + long < world.instant())
        };
        let given = is.attempts > was.attempts;
        given && stays_down && upstream.check.is_on() && faultless && after.iter().any(other)
    }
}

impl ServerSnapshot {
    /// The same server among those.
    fn among<'a>(&self, servers: &'a [Self]) -> Option<&'a Self> {
        servers.iter().find(|one| (one.upstream, one.address) == (self.upstream, self.address))
    }
}

impl World {
    /// Whether nothing befalls a server, nor its connections, and it answers well within the time that checks have.
    fn is_untroubled(&self, upstream: &Upstream, server: &ServerSnapshot) -> bool {
        let Some(socket) = server.address else { return false };
        let address = Address::Tcp { socket, v6_only: false, interface: None };
        let Some((place, queue)) = self.upstreams.iter().find(|(place, _)| place.address == address) else {
            return false;
        };
        let round_trip = 2 * self.hosts[place.host].latency;
        let listening = &self.listeners[*queue];
        let never_full = listening.backlog > 100 && listening.queue.len() < 100;
        let in_time = 2 * (round_trip + self.faults.jitter) < nanos(upstream.check.timeout);
        !self.lossy && in_time && never_full && self.untroubled.contains(&place.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::sim::backend::Backends;
    use crate::tools::sim::faults::Faults;
    use crate::tools::sim::handshake::Upstream as Backing;
    use crate::tools::sim::manner::{Manner, Manners};
    use crate::tools::sim::plan::Plan;
    use crate::tools::sim::run::{Options, live};
    use crate::tools::sim::tcp::Sizes;
    use std::sync::Arc;

    /// A loop that stalls again and again behind its polls, which do not bring everything, takes none of its servers for one
    /// that does not answer: each turn of the run is judged.
    #[test]
    fn a_loop_that_is_late_finds_no_server_down_that_is_well() {
        let mut rng = Rng::new(17);
        let mut plan = Plan::draw(&mut rng, Some(Duration::from_secs(600)));
        plan.clients = 0;
        let (servers, names) = plan.relay(&mut rng);
        for upstream in &mut plan.settings.upstreams {
            let mut check = draw_check(&mut rng, Duration::from_secs(1));
            check.style = Style::Connect;
            (check.send, check.expect) = (Box::default(), None);
            (check.interval, check.timeout) = (Duration::from_millis(200), Duration::from_millis(200));
            (check.rise, check.fall) = (1, 1);
            upstream.is.check = Arc::new(check);
        }
        let faults = Faults {
            stall: 300_000,
            stall_max: Duration::from_secs(1),
            poll_interrupted: 200_000,
            batch_max: 2,
            ..Faults::none()
        };
        let mut world = World::new(faults, &mut rng);
        world.names = names;
        let mut backends = Backends::default();
        for socket in servers {
            let host = world.add_host(20_000_000);
            let sizes = Sizes { output_max: 65_536, input_max: 65_536, segment_max: 1460, rto: 300_000_000 };
            let address = Address::Tcp { socket, v6_only: false, interface: None };
            let backing = Backing { address, host, sizes };
            let upstream = world.add_upstream(backing, 128, Some(backends.next_program()));
            backends.add(upstream, Manners::only(Manner::good()), rng.fork());
            world.untroubled.push(host);
        }
        let outcome = live(17, plan, world, backends, &mut rng, &Options::default());
        assert_eq!(outcome.failure, None);
        assert!(outcome.turns > 1_000, "{} turns", outcome.turns);
    }
}
