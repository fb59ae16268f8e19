//! A host that a gateway is on: ports towards its servers, and half-closes that it forwards.

use super::host::Reading;
use super::tests::{aim, healthy};
use super::*;

const COUNTER: &str = "linger_forwarded_fins_total";
const FAR: &str = "10.0.0.5:9001";
const NEAR: &str = "127.0.0.1:9001";

/// A gateway alone, to these servers, whose clients half-close so often.
pub(super) fn gateway(servers: &[&str], half_closes_a_minute: Option<u64>) -> Aim {
    let relay = Relay {
        upstream: "gate".into(),
        servers: servers.iter().map(|server| server.parse().unwrap()).collect(),
        sources: 1,
        forwarding: vec!["gate".into()],
        half_closes_a_minute,
    };
    Aim { relays: vec![relay], shared: false, ..aim() }
}

fn with(values: &[(&str, &str)]) -> Host {
    let mut host = healthy();
    for (name, value) in values {
        host.sysctls.insert((*name).to_owned(), Reading::Value((*value).to_owned()));
    }
    host
}

fn of(host: &Host, aim: &Aim, name: &str) -> Option<Finding> {
    examine(host, aim).findings.into_iter().find(|finding| finding.name == name)
}

/// What is said of half-closes: verdict, how many a second one server can bear, commands.
fn said(host: &Host, aim: &Aim) -> (Verdict, u64, Vec<String>) {
    let finding = of(host, aim, COUNTER).expect("it forwards half-closes");
    let value = finding.value.expect("all that it takes can be read");
    let bearable = value.split(", ").nth(1).and_then(|text| text.split(' ').next()?.parse().ok());
    (finding.verdict, bearable.expect("so many a second"), finding.set)
}

#[test]
fn only_who_forwards_half_closes_is_told_of_them() {
    assert_eq!(of(&healthy(), &aim(), COUNTER), None);
    let mut ends = gateway(&[FAR], Some(u64::MAX));
    ends.relays[0].forwarding.clear();
    assert_eq!(of(&healthy(), &ends, COUNTER), None);
    assert_eq!(of(&healthy(), &gateway(&[], Some(1)), COUNTER), None, "a unix socket has no ports");
}

#[test]
fn ports_are_free_again_after_a_minute_or_after_the_delay_where_they_may_be_reused() {
    let reuse = "net.ipv4.tcp_tw_reuse";
    let ports = ("net.ipv4.ip_local_port_range", "10001 16000");
    for (server, set, bearable) in [
        (FAR, &[ports, (reuse, "0")][..], 100),
        (FAR, &[ports, (reuse, "2")], 100),
        (NEAR, &[ports, (reuse, "0")], 100),
        (NEAR, &[ports, (reuse, "2")], 6_000),
        ("[::ffff:127.0.0.1]:9001", &[ports, (reuse, "2")], 6_000),
        (FAR, &[ports, (reuse, "1")], 6_000),
        (FAR, &[ports, (reuse, "1"), ("net.ipv4.tcp_tw_reuse_delay", "3000")], 2_000),
        // Late packets are told from new ones by timestamps.
        (FAR, &[ports, (reuse, "1"), ("net.ipv4.tcp_timestamps", "0")], 100),
        (FAR, &[ports, (reuse, "0"), ("net.ipv4.ip_local_reserved_ports", "80,10001-13000")], 50),
    ] {
        let found = said(&with(set), &gateway(&[server], None));
        assert_eq!(found, (Verdict::Ok, bearable, Vec::new()), "{server} {set:?}");
    }
    let mut older = with(&[ports, (reuse, "1")]);
    older.sysctls.insert("net.ipv4.tcp_tw_reuse_delay".into(), Reading::Absent);
    assert_eq!(said(&older, &gateway(&[FAR], None)).1, 6_000, "a second before Linux 6.14");
}

#[test]
fn the_rate_is_compared_with_the_ports() {
    let host = with(&[("net.ipv4.ip_local_port_range", "10001 16000"), ("net.ipv4.tcp_tw_reuse", "0")]);
    let verdict = |a_minute, host: &Host| said(host, &gateway(&[FAR], Some(a_minute))).0;
    let of_rate = [2_999, 3_000, 5_999, 6_000].map(|a_minute| verdict(a_minute, &host));
    assert_eq!(of_rate, [Verdict::Ok, Verdict::Advice, Verdict::Advice, Verdict::Harm]);

    let cure = vec!["sysctl -w net.ipv4.tcp_tw_reuse=1".to_owned()];
    assert_eq!(said(&host, &gateway(&[FAR], Some(6_000))), (Verdict::Harm, 100, cure));
    let cured = with(&[("net.ipv4.ip_local_port_range", "10001 16000"), ("net.ipv4.tcp_tw_reuse", "1")]);
    assert_eq!(verdict(6_000, &cured), Verdict::Ok);
    // Two servers share the rate, and another address has as many ports again.
    assert_eq!(said(&host, &gateway(&[FAR, "10.0.0.6:9001"], Some(5_998))).0, Verdict::Ok);
    let mut sources = gateway(&[FAR], Some(6_000));
    sources.relays[0].sources = 3;
    assert_eq!(said(&host, &sources), (Verdict::Ok, 300, Vec::new()));
    // What is above the bound on TIME_WAITs keeps no port.
    let bounded = with(&[
        ("net.ipv4.ip_local_port_range", "10001 16000"),
        ("net.ipv4.tcp_tw_reuse", "0"),
        ("net.ipv4.tcp_max_tw_buckets", "2999"),
    ]);
    assert_eq!(verdict(6_000, &bounded), Verdict::Ok);
}

#[test]
fn where_ports_are_reused_at_once_more_addresses_are_what_helps() {
    let host = with(&[("net.ipv4.ip_local_port_range", "10001 10100"), ("net.ipv4.tcp_tw_reuse", "1")]);
    let (verdict, bearable, set) = said(&host, &gateway(&[FAR], Some(9_000)));
    assert_eq!((verdict, bearable), (Verdict::Harm, 100));
    assert_eq!(set, ["upstream_source = \"...\"  # 3 addresses; in [upstream.gate], source"]);
}

#[test]
fn the_tightest_server_is_the_one_that_is_told() {
    let host = with(&[("net.ipv4.tcp_tw_reuse", "2")]);
    let finding = of(&host, &gateway(&[NEAR, FAR], None), COUNTER).unwrap();
    assert!(finding.why.contains(FAR) && finding.why.contains("for 60 s"), "{}", finding.why);
}

#[test]
fn reuse_is_no_folklore_where_a_gateway_connects() {
    let host = with(&[("net.ipv4.tcp_tw_reuse", "1")]);
    let tale = |aim: &Aim| {
        let mut tales = examine(&host, aim).folklore.into_iter();
        tales.find(|tale| tale.name == "net.ipv4.tcp_tw_reuse").unwrap()
    };
    assert_eq!(tale(&aim()).verdict, Verdict::Advice);
    assert_eq!(tale(&gateway(&[FAR], None)).verdict, Verdict::Ok);
}

#[test]
fn each_pair_takes_a_port_towards_its_server() {
    let name = "net.ipv4.ip_local_port_range";
    let host = with(&[(name, "10001 60000")]);
    let found = of(&host, &gateway(&[FAR], None), name).unwrap();
    assert_eq!((found.verdict, found.why.contains("50,000 connections")), (Verdict::Harm, true), "{found:?}");
    let shared = Aim { shared: true, ..gateway(&[FAR], None) };
    assert_eq!(of(&host, &shared, name).unwrap().verdict, Verdict::Advice, "others may have most of them");
    let mut enough = gateway(&[FAR], None);
    enough.relays[0].sources = 2;
    let why = of(&host, &enough, name).unwrap().why;
    assert!(!why.contains("gateway"), "{why}");
}

#[test]
fn the_port_of_a_server_on_loopback_is_reserved_lest_a_connect_meets_itself() {
    let name = "net.ipv4.ip_local_reserved_ports";
    let host = with(&[("net.ipv4.ip_local_port_range", "8000 120000")]);
    let found = of(&host, &gateway(&[NEAR, "127.0.0.2:9001", FAR], None), name).unwrap();
    assert_eq!((found.verdict, found.set), (Verdict::Harm, vec![format!("sysctl -w {name}=9001")]));
    assert!(found.why.contains("meets itself"), "{}", found.why);
    assert_eq!(of(&host, &gateway(&[FAR], None), name).unwrap().verdict, Verdict::Ok);
    let cured = with(&[("net.ipv4.ip_local_port_range", "8000 120000"), (name, "9001")]);
    assert_eq!(of(&cured, &gateway(&[NEAR], None), name).unwrap().verdict, Verdict::Ok);
}

#[test]
fn each_pair_takes_two_descriptors() {
    for (hard, verdict) in [(200_099, Verdict::Harm), (200_100, Verdict::Ok)] {
        let host = Host { descriptors: (1024, hard), ..healthy() };
        let found = of(&host, &gateway(&[FAR], None), "RLIMIT_NOFILE").unwrap();
        assert_eq!(found.verdict, verdict, "{found:?}");
        let shared = Aim { shared: true, ..gateway(&[FAR], None) };
        assert_eq!(of(&host, &shared, "RLIMIT_NOFILE").unwrap().verdict, Verdict::Ok);
    }
}
