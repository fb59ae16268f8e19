//! Each means of detection alone, against a peer that cannot be reached: a veth pair that is unplugged by
//! rules, in namespaces made for it.
//!
//! `unshare -n bash -c 'ip link set lo up; LINGER_TEST_NAMESPACE=1 cargo test --test kernel liveness_netns -- --ignored'`

use crate::common::means::{Means, arrived, leave_unread};
use crate::common::netns::Network;
use crate::common::{Client, in_flight, now, pass, until};
use std::net::SocketAddr;
use std::time::Duration;

const KEEPALIVE: &str = "keepalive.enabled=true&keepalive.idle=1s&keepalive.interval=1s&keepalive.count=3";
const USER_TIMEOUT: &str = "user_timeout=3s";

/// The listeners whose clients are cut off.
fn both(means: &Means) -> [SocketAddr; 2] {
    ["with", "without"].map(|listener| means.server.address(listener))
}

/// Two clients, `with` and `without`, and one who is not cut off and can make the server send to them.
fn identified(means: &Means) -> (Client, Client, Client) {
    let (mut with, mut without) = means.clients();
    with.ask("IDENT with", "+OK\r\n");
    without.ask("IDENT without", "+OK\r\n");
    (with, without, means.helper())
}

/// Makes the server send to both: data in flight.
fn send_to_both(helper: &mut Client) {
    helper.ask("SEND with x", ":1\r\n");
    helper.ask("SEND without x", ":1\r\n");
}

fn number(end: &serde_json::Value, key: &str) -> u64 {
    end[key].as_u64().unwrap_or_else(|| panic!("{key} in {end}"))
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn keepalive_finds_an_idle_peer_that_is_gone() {
    let network = Network::new();
    let means = network.start("echo", "", KEEPALIVE);
    let _clients = means.clients();
    network.unplug(&both(&means));
    let end = means.found(now(), ["lost.keepalive", "tcp_keepalive", "reset"]);
    assert_eq!((number(&end, "unacked"), number(&end, "retransmits")), (0, 0), "{end}");
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_plug_pulled_for_less_than_that_ends_nothing() {
    let network = Network::new();
    let means = network.start("echo", "", KEEPALIVE);
    let (mut with, _without) = means.clients();
    with.send("a");
    with.expect("a");
    network.unplug(&both(&means));
    pass(Duration::from_millis(1500));
    network.plug();
    pass(Duration::from_secs(5));
    with.send("b");
    with.expect("b");
    assert!(means.ends_of("with").is_empty());
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn keepalive_rests_while_data_is_in_flight_and_user_timeout_closes_that_gap() {
    let network = Network::new();
    // Both have keepalive; the first has the user timeout as well.
    let means = network.start("resp", KEEPALIVE, USER_TIMEOUT);
    let (_with, _without, mut helper) = identified(&means);
    network.unplug(&both(&means));
    send_to_both(&mut helper);
    let since = now();
    let end = means.found(since, ["lost.unacked", "user_timeout", "reset"]);
    // The kernel has emptied the write queue by then: `unacked` is 0, and only `retransmits` tells.
    assert!(number(&end, "unacked") == 0 && number(&end, "retransmits") > 0, "{end}");
    // Four seconds would have been enough for keepalive, had it not rested.
    until("three times as long", || since.elapsed() > Duration::from_secs(12));
    assert!(means.ends_of("without").is_empty(), "keepalive is suspended");
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn user_timeout_finds_data_in_flight_that_is_not_acknowledged() {
    let network = Network::new();
    let means = network.start("resp", "", USER_TIMEOUT);
    let (_with, _without, mut helper) = identified(&means);
    let mut idle = means.server.connect("with");
    idle.ask("IDENT idle", "+OK\r\n");
    network.unplug(&both(&means));
    send_to_both(&mut helper);
    let end = means.found(now(), ["lost.unacked", "user_timeout", "reset"]);
    assert_eq!(end["identity"], "with");
    pass(Duration::from_secs(4));
    assert_eq!(means.ends_of("with").len(), 1, "it never fires on an idle connection");
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn an_unreachable_host_is_a_soft_error_until_a_kernel_timer_ends_the_connection() {
    // ICMP alone ends no established connection (RFC 1122 4.2.3.9, net/ipv4/tcp_ipv4.c: tcp_v4_err): it is
    // remembered, and told in the place of ETIMEDOUT once a timer of the kernel gives up.
    let network = Network::new();
    let means = network.start("resp", "", USER_TIMEOUT);
    let (_with, _without, mut helper) = identified(&means);
    network.reject(&both(&means), "reject with icmp type host-unreachable");
    send_to_both(&mut helper);
    let since = now();
    means.found(since, ["lost.unreachable", "user_timeout", "reset"]);
    assert!(since.elapsed() > Duration::from_secs(2), "not before the timer");
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn an_unreachable_host_is_not_told_from_a_silent_one_by_keepalive() {
    // The ICMP message quotes the probe, whose sequence number is one before the window: the kernel takes it
    // for a forgery (OutOfWindowIcmps, net/ipv4/tcp_ipv4.c: tcp_v4_err), and the timer says ETIMEDOUT.
    let network = Network::new();
    let means = network.start("resp", "", KEEPALIVE);
    let (_with, _without, _helper) = identified(&means);
    network.reject(&both(&means), "reject with icmp type host-unreachable");
    means.found(now(), ["lost.keepalive", "tcp_keepalive", "reset"]);
}

const UNPAUSED: &str = "send_buffer=64KiB&output_high=512MiB&output_max=1GiB";

/// Two clients that do not read, with more on its way to them than their kernel takes.
fn not_reading(means: &Means) -> (Client, Client) {
    let (mut with, mut without) = means.clients();
    for client in [&mut without, &mut with] {
        client.send(vec![b'x'; 16 << 20]);
    }
    (with, without)
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn user_timeout_finds_a_client_that_does_not_read_behind_a_real_mtu() {
    let network = Network::new();
    let means = network.start("echo", UNPAUSED, USER_TIMEOUT);
    let _clients = not_reading(&means);
    means.found(now(), ["stuck.zero_window", "user_timeout", "reset"]);
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn user_timeout_tells_a_peer_that_is_gone_from_one_that_does_not_read() {
    let network = Network::new();
    let means = network.start("echo", UNPAUSED, "user_timeout=6s");
    let _clients = not_reading(&means);
    pass(Duration::from_millis(1500));
    // Its window is shut, and now it does not answer the probes of it either.
    network.unplug(&both(&means));
    means.found(now(), ["lost.unacked", "user_timeout", "reset"]);
}

const HEARTBEAT: &str = "heartbeat.style=client&heartbeat.timeout=1s&heartbeat.grace=1500ms";

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_heartbeat_tells_a_lost_peer_from_a_frozen_one() {
    for protocol in ["echo", "resp"] {
        let network = Network::new();
        let means = network.start(protocol, "", HEARTBEAT);
        let (mut with, _without) = means.clients();
        with.send("PING\r\n");
        leave_unread(&with);
        network.unplug(&both(&means));
        let end = means.found(now(), ["lost.heartbeat", "heartbeat", "reset"]);
        assert!((2.5..5.0).contains(&end["silence_s"].as_f64().expect("a number")), "{end}");
        assert!(number(&end, "last_ack_recv_ms") >= 1500, "its kernel did not answer either: {end}");
    }
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn one_probe_that_is_lost_does_not_make_a_frozen_peer_a_lost_one() {
    let network = Network::new();
    // The first probe leaves at once, the second after six seconds; the kernel would send it after 75.
    let means = network.start("echo", "", "heartbeat.style=client&heartbeat.timeout=1s&heartbeat.grace=12s");
    let _clients = means.clients();
    network.unplug(&both(&means));
    until("suspicion", || means.count("linger_suspected_total") == 1);
    // The kernel has sent the probe by then.
    pass(Duration::from_millis(500));
    network.plug();
    means.found(now(), ["stuck.frozen", "heartbeat", "linger2"]);
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_heartbeat_that_the_network_delays_revives_its_connection() {
    let network = Network::new();
    let means = network.start("resp", "", "heartbeat.style=client&heartbeat.timeout=1s&heartbeat.grace=20s");
    let (mut with, _without, mut helper) = identified(&means);
    network.unplug(&both(&means));
    with.send("PING\r\n");
    until("suspicion", || {
        helper.send("STATE with\r\n");
        leave_unread(&helper);
        arrived(&mut helper) == b"+suspect\r\n"
    });
    helper.ask("SEND with x", ":1\r\n");
    network.plug();
    // What the client sent before is retransmitted; what was withheld meanwhile comes first.
    with.expect("*3\r\n$7\r\nmessage\r\n$12\r\n$direct:with\r\n$1\r\nx\r\n+PONG\r\n");
    assert_eq!(means.count("linger_revived_total"), 1);
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_grace_that_is_longer_than_the_kernel_waits_is_never_whole() {
    let grace = "heartbeat.grace=5m";
    // Suspect after 2 s, and probed from then on: 1 s apart, until 3 s are over.
    let client = format!("heartbeat.style=client&heartbeat.timeout=2s&{grace}&{KEEPALIVE}&{USER_TIMEOUT}");
    let network = Network::new();
    let means = network.start("resp", "", &client);
    let _clients = means.clients();
    network.unplug(&both(&means));
    means.found(now(), ["lost.keepalive", "tcp_keepalive", "reset"]);
    drop(means);
    // A ping that is in flight: it is not even suspect by then.
    let server =
        format!("heartbeat.style=server&heartbeat.timeout=4m&heartbeat.interval=2s&{grace}&{USER_TIMEOUT}");
    let means = network.start("resp", "", &server);
    let (mut with, _without) = means.clients();
    with.ask("IDENT with SERVERPING", "+OK\r\n");
    network.unplug(&both(&means));
    means.found(now(), ["lost.unacked", "user_timeout", "reset"]);
    assert_eq!(means.count("linger_suspected_total"), 0);
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_lost_channel_is_found_by_its_own_listener_and_makes_the_data_connection_suspect() {
    let network = Network::new();
    // The channel's listener expects a beat; the data connection is on the one that expects nothing.
    let means =
        network.start("resp", "heartbeat.grace=1500ms", "heartbeat.style=client&heartbeat.timeout=1s");
    let mut data = means.server.connect("without");
    data.ask("IDENT dev CHANNEL t0ken", "+OK\r\n");
    let mut channel = means.server.connect("with");
    channel.ask("BEATFOR dev t0ken", "+OK\r\n");
    network.unplug(&both(&means));
    let end = means.end_of("with");
    assert_eq!([&end["reason"], &end["detector"]], ["lost.heartbeat", "heartbeat"]);
    let end = means.end_of("without");
    assert_eq!([&end["reason"], &end["detector"]], ["lost.heartbeat", "heartbeat_channel"]);
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn an_out_of_band_probe_finds_a_host_that_has_forgotten_the_connection() {
    let network = Network::new();
    let means = network.start("echo", "", "probe.oob=1s");
    let _clients = means.clients();
    // As a firewall does that has lost its table, or a host that has booted meanwhile. The clients stay, and
    // silent: only the answer to the probe can tell.
    network.reject(&both(&means), "reject with tcp reset");
    means.found(now(), ["peer.reset", "oob_probe", "reset"]);
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn an_out_of_band_probe_that_is_not_acknowledged_finds_a_peer_that_is_gone() {
    let network = Network::new();
    let means = network.start("echo", "", "probe.oob=1s");
    let _clients = means.clients();
    // A probe that is answered ends nothing.
    pass(Duration::from_secs(3));
    assert!(means.ends_of("with").is_empty());
    network.unplug(&both(&means));
    let since = now();
    let end = means.found(since, ["lost.unacked", "oob_probe", "reset"]);
    assert!(number(&end, "unacked") > 0, "{end}");
    assert!(since.elapsed() < Duration::from_secs(10), "two intervals");
}

/// `TcpExtTCPKeepAlive` of the network that the server lives in: probes sent.
fn probes_sent(means: &Means) -> u64 {
    let path = format!("/proc/{}/net/netstat", means.server.pid());
    let text = std::fs::read_to_string(path).expect("the table of counters is readable");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: ")).map(str::split_whitespace);
    let (names, values) = (lines.next().expect("a line of names"), lines.next().expect("and one of values"));
    let (_, value) = names.zip(values).find(|(name, _)| *name == "TCPKeepAlive").expect("it is counted");
    value.parse().expect("a number")
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_user_timeout_of_auto_lets_all_probes_go_unanswered_and_bounds_what_is_in_flight() {
    let network = Network::new();
    let means = network.start("resp", "", &format!("{KEEPALIVE}&user_timeout=auto"));
    let (mut with, _without, mut helper) = identified(&means);
    with.ask("PING", "+PONG\r\n");
    // An acknowledgement may be delayed, and a plug that is pulled meanwhile leaves data in flight.
    let table = format!("/proc/{}/net/tcp", means.server.pid());
    until("all that was sent is acknowledged", || in_flight(&table, None) == 0);
    let before = probes_sent(&means);
    network.unplug(&both(&means));
    let end = means.found(now(), ["lost.keepalive", "tcp_keepalive", "reset"]);
    assert_eq!(probes_sent(&means) - before, 3, "{end}");
    network.plug();

    let mut with = means.server.connect("with");
    with.ask("IDENT with", "+OK\r\n");
    network.unplug(&both(&means));
    helper.ask("SEND with x", ":1\r\n");
    let since = now();
    until("the verdict on what is in flight", || means.ends_of("with").len() == 2);
    assert_eq!(means.ends_of("with")[1]["reason"], "lost.unacked");
    assert!(
        since.elapsed() < Duration::from_secs(15),
        "without it the kernel retransmits for a quarter of an hour"
    );
}
