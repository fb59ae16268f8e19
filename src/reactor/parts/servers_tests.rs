//! Which server gets the next connection, and what a new configuration makes of servers.

use super::*;
use crate::core::health::RETRY;
use crate::core::setting::Value;
use crate::core::time::Duration;
use crate::net::HostName;
use crate::protocol::gateway;
use std::net::Ipv4Addr;
use std::sync::Arc;

fn upstream(balance: Balance, servers: &[String]) -> Upstream {
    let texts = [("servers", servers.join(",")), ("connect_timeout", String::new())];
    let values = texts.into_iter().map(|(key, text)| {
        (
            key,
            match key {
                "servers" => Value::Text(text),
                _ => Value::Period(Duration::from_secs(5)),
            },
        )
    });
    let is = gateway::settings::upstream(&values.collect()).expect("it has servers");
    Upstream { name: "app".to_owned(), is: gateway::Upstream { balance, ..is }, tls: None }
}

/// Those at these ports.
fn at(balance: Balance, ports: &[u16]) -> Upstream {
    let servers: Vec<_> = ports.iter().map(|port| format!("10.0.0.1:{port}")).collect();
    upstream(balance, &servers)
}

fn made(upstream: Upstream) -> Servers {
    Servers::new(upstream, &Answers::new(), &|_| false, Instant::ZERO)
}

fn servers(balance: Balance, count: u16) -> Servers {
    let ports: Vec<_> = (1..=count).collect();
    made(at(balance, &ports))
}

fn client(host: u8) -> Peer {
    Peer::new(format!("192.0.2.{host}:1000").parse().unwrap())
}

fn choose(servers: &mut Servers) -> usize {
    servers.choose(&client(1), Instant::ZERO, |_| false).unwrap()
}

#[test]
fn round_robin_takes_turns() {
    let mut servers = servers(Balance::RoundRobin, 3);
    let turns: Vec<_> = (0..6).map(|_| choose(&mut servers)).collect();
    assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn least_connections_counts_those_that_are_being_made_and_equals_take_turns() {
    let mut servers = servers(Balance::LeastConnections, 3);
    for expected in [0, 1, 2, 0] {
        let chosen = choose(&mut servers);
        assert_eq!(chosen, expected);
        servers.add(chosen);
    }
    servers.remove(1);
    assert_eq!(choose(&mut servers), 1);
}

#[test]
fn a_client_keeps_its_server_and_most_do_when_one_goes() {
    let of = |count: u16, host| {
        servers(Balance::SourceHash, count).choose(&client(host), Instant::ZERO, |_| false).unwrap()
    };
    let before: Vec<_> = (0..=255).map(|host| of(4, host)).collect();
    assert_eq!(before, (0..=255).map(|host| of(4, host)).collect::<Vec<_>>());
    // The fourth is gone: nobody of the others moves.
    assert!(
        (0..=255u8).all(|host| before[usize::from(host)] == 3 || of(3, host) == before[usize::from(host)])
    );
    for server in 0..4 {
        let share = before.iter().filter(|&&chosen| chosen == server).count();
        assert!((40..=90).contains(&share), "{share} of 256 clients have server {server}");
    }
}

#[test]
fn sessions_of_tls_with_servers_are_resumed_after_a_reload_that_changes_nothing_of_it() {
    use crate::tls::tests::{client_spec, house, read};
    house();
    let with = |resumes: bool| {
        let spec = tls::ClientSpec { resumes, ..client_spec() };
        Upstream { tls: Some(tls::Client::load(&spec, &read).unwrap()), ..at(Balance::RoundRobin, &[1]) }
    };
    let mut servers = made(with(true));
    let config = |servers: &Servers| Arc::clone(&servers.settings().tls.as_ref().unwrap().config);
    let first = config(&servers);
    servers.adopt(&with(true), &|_| false, |_| true, Instant::ZERO);
    assert!(Arc::ptr_eq(&config(&servers), &first), "what it remembers of sessions is in it");
    servers.adopt(&with(false), &|_| false, |_| true, Instant::ZERO);
    assert!(!Arc::ptr_eq(&config(&servers), &first));
}

#[test]
fn a_new_configuration_keeps_the_counts_of_servers_that_stay() {
    let mut servers = servers(Balance::RoundRobin, 3);
    servers.add(0);
    servers.add(1);
    servers.adopt(&at(Balance::RoundRobin, &[2, 4, 5]), &|_| false, |at| at < 2, Instant::ZERO);
    // The first has a connection left, the third had none.
    let of = |servers: &Servers| {
        servers.iter().map(|it| (it.address.to_string(), it.connections)).collect::<Vec<_>>()
    };
    let shown = |port, count| (format!("10.0.0.1:{port}"), count);
    assert_eq!(
        of(&servers),
        [shown(1, 1), shown(2, 1), shown(4, 0), shown(5, 0)],
        "in the place of the third"
    );
    let turns: Vec<_> = (0..6).map(|_| choose(&mut servers)).collect();
    assert_eq!(turns, [1, 2, 3, 1, 2, 3], "none to the first");
    servers.remove(0);
    assert_eq!(of(&servers), [shown(2, 1), shown(4, 0), shown(5, 0)]);
    servers.adopt(&at(Balance::RoundRobin, &[1]), &|_| false, |_| true, Instant::ZERO);
    assert_eq!(choose(&mut servers), 0, "it is back in its place");
}

#[test]
fn a_check_is_of_the_server_that_it_was_begun_for_and_of_no_later_one_at_its_address() {
    let mut servers = servers(Balance::RoundRobin, 2);
    let adopt = |servers: &mut Servers, ports: &[u16]| {
        servers.adopt(&at(Balance::RoundRobin, ports), &|_| false, |_| false, Instant::ZERO);
    };
    servers.get_mut(1).checks.runs = Some(7);
    assert!(servers.checked_mut(1, 7).is_some() && servers.checked_mut(1, 8).is_none());
    assert!(servers.checked_mut(0, 7).is_none() && servers.checked_mut(2, 7).is_none());
    for ports in [&[1], &[1, 3][..], &[1], &[1, 2]] {
        adopt(&mut servers, ports);
    }
    assert_eq!(
        servers.get(1).address().to_string(),
        "10.0.0.1:2",
        "it is back, and is not the one that it was"
    );
    assert!(servers.checked_mut(1, 7).is_none());
}

#[test]
fn addresses_beyond_the_bound_are_left_out_and_that_is_told_when_it_changes() {
    let of = |count: usize| {
        let ports: Vec<_> = (1..).take(count).collect();
        at(Balance::RoundRobin, &ports)
    };
    let mut servers = made(of(SERVERS_MAX));
    assert_eq!(servers.newly_left_out(), None);
    for (count, told) in [(2, Some(2)), (2, None), (3, Some(3)), (0, None), (3, Some(3))] {
        servers.adopt(&of(SERVERS_MAX + count), &|_| false, |_| false, Instant::ZERO);
        assert_eq!((servers.len(), servers.newly_left_out()), (SERVERS_MAX, told), "{count} too many");
    }
}

#[test]
fn who_was_not_reached_is_tried_last_for_a_while_and_tried_all_the_same() {
    let mut servers = servers(Balance::RoundRobin, 2);
    let now = Instant::from_millis(1000);
    assert_eq!(servers.on_sign(0, Sign::NotReached, now), Some(Change::Down), "news");
    assert_eq!(servers.on_sign(0, Sign::NotReached, now), None, "no news");
    for _ in 0..3 {
        assert_eq!(servers.choose(&client(1), now, |_| false), Ok(1));
    }
    assert_eq!(servers.choose(&client(1), now, |at| at == 1), Ok(0));
    assert_eq!(servers.choose(&client(1), now, |_| true), Err(NoServer::AllTried));
    let later = now + RETRY;
    servers.adopt(&at(Balance::LeastConnections, &[1, 2]), &|_| false, |_| true, later);
    assert_eq!(servers.choose(&client(1), later, |_| false), Ok(1));
    assert_eq!(servers.choose(&client(1), later, |_| false), Ok(0));
}

/// How often each is chosen of so many times, by clients with other addresses.
fn chosen<const N: usize>(servers: &mut Servers, times: u32, now: Instant) -> [u32; N] {
    let mut counts = [0; N];
    for time in 0..times {
        let client = Peer::new((Ipv4Addr::from(0x0a01_0000 + time), 1000).into());
        let server = servers.choose(&client, now, |_| false).unwrap();
        if servers.settings().is.balance == Balance::LeastConnections {
            servers.add(server);
        }
        counts[server] += 1;
    }
    counts
}

fn weighted(balance: Balance, servers: &str) -> Upstream {
    upstream(balance, &[servers.to_owned()])
}

#[test]
fn a_weight_is_a_share_whatever_the_balance() {
    let list = "10.0.0.1:1 weight=5,10.0.0.1:2,10.0.0.1:3 weight=2";
    for balance in [Balance::LeastConnections, Balance::RoundRobin] {
        assert_eq!(
            chosen(&mut made(weighted(balance, list)), 80, Instant::ZERO),
            [50, 10, 20],
            "{balance:?}"
        );
    }
    let [five, one, two] = chosen(&mut made(weighted(Balance::SourceHash, list)), 8000, Instant::ZERO);
    assert!((4800..5200).contains(&five) && (900..1100).contains(&one), "{five} {one} {two}");
}

#[test]
fn turns_of_a_heavy_server_are_spread() {
    let mut servers = made(weighted(Balance::RoundRobin, "10.0.0.1:1 weight=5,10.0.0.1:2,10.0.0.1:3"));
    let turns: Vec<_> = (0..7).map(|_| choose(&mut servers)).collect();
    // As nginx has it.
    assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn a_client_moves_only_to_a_server_whose_weight_has_grown() {
    let of = |list: &str, host| {
        made(weighted(Balance::SourceHash, list)).choose(&client(host), Instant::ZERO, |_| false).unwrap()
    };
    let (before, after) = ("10.0.0.1:1,10.0.0.1:2,10.0.0.1:3", "10.0.0.1:1,10.0.0.1:2 weight=3,10.0.0.1:3");
    let moved: Vec<_> =
        (0..=255).map(|host| (of(before, host), of(after, host))).filter(|(a, b)| a != b).collect();
    assert!((20..100).contains(&moved.len()) && moved.iter().all(|(_, to)| *to == 1), "{moved:?}");
}

#[test]
fn a_server_at_its_bound_gets_nothing_and_a_reload_moves_the_bound() {
    for balance in [Balance::LeastConnections, Balance::RoundRobin, Balance::SourceHash] {
        let mut servers =
            made(weighted(balance, "10.0.0.1:1 max_connections=2,10.0.0.1:2 max_connections=1"));
        for _ in 0..3 {
            let chosen = choose(&mut servers);
            servers.add(chosen);
        }
        assert_eq!(servers.all.iter().map(Server::connections).collect::<Vec<_>>(), [2, 1]);
        let choice =
            |servers: &mut Servers, tried: usize| servers.choose(&client(1), Instant::ZERO, |at| at == tried);
        assert_eq!(choice(&mut servers, 9), Err(NoServer::Full));
        assert_eq!(choice(&mut servers, 0), Err(NoServer::Full), "the other one was not tried");
        servers.remove(0);
        assert_eq!(choice(&mut servers, 9), Ok(0));
        assert_eq!(choice(&mut servers, 0), Err(NoServer::Full));
        let raised = weighted(balance, "10.0.0.1:1 max_connections=2,10.0.0.1:2 max_connections=2");
        servers.adopt(&raised, &|_| false, |_| true, Instant::ZERO);
        assert_eq!(choice(&mut servers, 0), Ok(1));
    }
}

#[test]
fn a_server_that_is_new_or_back_begins_with_a_tenth_of_its_share() {
    let slow = |ports: &[u16]| {
        let mut upstream = at(Balance::RoundRobin, ports);
        upstream.is.slow_start = Some(Duration::from_secs(100));
        upstream
    };
    let mut servers = made(slow(&[1, 2]));
    let at = |seconds: u64| Instant::from_millis(1000 * seconds);
    assert_eq!(chosen(&mut servers, 10, at(1)), [5, 5], "at the start all have theirs");
    servers.adopt(&slow(&[1, 2, 3]), &|_| false, |_| true, at(10));
    assert_eq!(chosen(&mut servers, 21, at(10)), [10, 10, 1], "a new one");
    assert_eq!(chosen(&mut servers, 30, at(110)), [10, 10, 10]);
    servers.on_sign(0, Sign::NotReached, at(120));
    servers.on_sign(0, Sign::Reached, at(130));
    servers.on_sign(1, Sign::Reached, at(130));
    assert_eq!(chosen(&mut servers, 21, at(130)), [1, 10, 10], "one that is back");
    servers.adopt(&slow(&[1, 3]), &|_| false, |_| true, at(300));
    servers.adopt(&slow(&[1, 2, 3]), &|_| false, |_| true, at(310));
    assert_eq!(chosen(&mut servers, 21, at(310)), [10, 1, 10], "one that was gone");
}

#[test]
fn each_address_of_a_name_is_a_server_that_comes_and_goes() {
    let name = |host: &str| HostName { host: host.to_owned(), port: 1 };
    let app = |hosts: &[u8]| {
        let socket = |host: &u8| SocketAddr::from(([10, 0, 0, *host], 1));
        (name("app.example"), Ok(hosts.iter().map(socket).collect::<Vec<_>>()))
    };
    let settings = weighted(Balance::RoundRobin, "10.0.0.9:1,app.example:1 weight=2");
    let mut servers = Servers::new(settings, &vec![app(&[1, 2])], &|_| false, Instant::ZERO);
    assert_eq!(chosen(&mut servers, 5, Instant::ZERO), [1, 2, 2]);
    servers.add(1);
    let interval = Duration::from_secs(30);
    assert_eq!(servers.names().due(), Instant::ZERO + interval);
    let asked: Vec<_> = servers.names_mut().take().collect();
    assert_eq!((asked, servers.names().due()), (vec![name("app.example")], Instant::NEVER));

    let now = Instant::from_millis(30_000);
    // What was there twice is one server: 10.0.0.9 is in the list already.
    let told = servers.resolved(&vec![app(&[2, 3, 9])], &|_| false, |at| at == 1, now);
    assert!(matches!(&told[..], [LookUp::Changed(..)]), "{told:?}");
    let shown = |servers: &Servers| servers.iter().map(|it| it.address().to_string()).collect::<Vec<_>>();
    assert_eq!(shown(&servers), ["10.0.0.9:1", "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]);
    assert_eq!(servers.removed(1), Some(Removed::Keep));
    assert_eq!(chosen(&mut servers, 5, now), [1, 0, 2, 2]);
    servers.remove(1);
    assert_eq!(shown(&servers), ["10.0.0.9:1", "10.0.0.2:1", "10.0.0.3:1"]);

    let failed = || vec![(name("app.example"), Err("no such host".to_owned()))];
    let mut fail = || servers.resolved(&failed(), &|_| false, |_| true, now);
    assert_eq!(fail(), [LookUp::Failed(name("app.example"), "no such host".to_owned())]);
    assert_eq!(fail(), [], "it is said once");
    assert_eq!((servers.names().failures(), servers.names().due()), (Some(2), now + interval));
    assert_eq!(chosen(&mut servers, 5, now), [1, 0, 2, 2], "it keeps what it had");
    assert_eq!(servers.resolved(&vec![app(&[2, 3, 9])], &|_| false, |_| true, now), [], "no news");
    assert_eq!(fail_once(&mut servers, &failed(), now), 1, "it is said again");
}

fn fail_once(servers: &mut Servers, answers: &Answers, now: Instant) -> usize {
    servers.resolved(answers, &|_| false, |_| true, now).len()
}

#[test]
fn what_may_be_an_address_of_a_new_name_is_not_removed_before_that_was_looked_up() {
    let mut before = weighted(Balance::RoundRobin, "10.0.0.1:1,10.0.0.2:1");
    before.is.removed = Removed::Cut;
    let mut after = weighted(Balance::RoundRobin, "app.example:1");
    after.is.removed = Removed::Cut;
    let mut servers = made(before);
    let now = Instant::from_millis(1000);
    servers.adopt(&after, &|_| false, |_| true, now);
    assert_eq!(servers.names().due(), now, "it is looked up at once");
    assert_eq!([0, 1].map(|server| servers.removed(server)), [None, None]);
    assert_eq!(
        servers.choose(&client(1), now, |_| false),
        Ok(0),
        "clients are not left without a server meanwhile"
    );
    let name = HostName { host: "app.example".to_owned(), port: 1 };
    let answer = vec![(name, Ok(vec![SocketAddr::from(([10, 0, 0, 2], 1))]))];
    servers.resolved(&answer, &|_| false, |_| true, now);
    assert_eq!([0, 1].map(|server| servers.removed(server)), [Some(Removed::Cut), None]);
    servers.retire();
    assert_eq!(servers.resolved(&answer, &|_| false, |_| true, now), [], "nobody asks for it any more");
    assert_eq!((servers.removed(1), servers.names().due()), (Some(Removed::Cut), Instant::NEVER));
}
