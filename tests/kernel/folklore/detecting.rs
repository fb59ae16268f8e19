//! Detecting: what a socket notices of a peer that is gone, and when.

use crate::common::{in_flight, pass, until};
use crate::folklore::host::{
    Rule, Sysctl, Timer, connect_from, counter, listener_alone, pair, pair_of, reset, row,
};
use linger::core::tcp::TcpState;
use socket2::{SockRef, TcpKeepalive};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

fn sysctl(name: &str) -> f64 {
    std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap().trim().parse().unwrap()
}

#[test]
fn a_send_that_succeeded_may_reach_nobody() {
    let (client, mut server, _, _) = pair();
    server.write_all(b"an order").unwrap();
    // It has even been acknowledged, and the program there ends without a look.
    drop(client);
    assert_eq!(server.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn so_keepalive_alone_waits_for_two_hours() {
    let (_client, server, here, there) = pair();
    SockRef::from(&server).set_keepalive(true).unwrap();
    let row = row(here, there).unwrap();
    assert_eq!(row.timer, Timer::Keepalive);
    let idle = sysctl("tcp_keepalive_time");
    assert!((idle - row.seconds).abs() < 60.0, "{row:?}, and the host says {idle}");
    // As the kernel has it: 2 hours, unless somebody has changed it (RFC 9293 3.8.4).
    let after = idle + sysctl("tcp_keepalive_intvl") * sysctl("tcp_keepalive_probes");
    assert!(after > row.seconds);
}

#[test]
fn a_connection_without_keepalive_has_no_timer_at_all() {
    let (_client, _server, here, there) = pair();
    let row = row(here, there).unwrap();
    assert_eq!((row.state, row.timer), (TcpState::Established, Timer::None));
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn keepalive_sysctls_do_nothing_for_a_socket_without_the_option() {
    let _sysctls = [("time", "1"), ("intvl", "1"), ("probes", "2")]
        .map(|(name, value)| Sysctl::set(&format!("net.ipv4.tcp_keepalive_{name}"), value));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_with_client, mut with, ..) = pair_of(&listener);
    let (_without_client, _without, here, there) = pair_of(&listener);
    SockRef::from(&with).set_keepalive(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let _unplugged = Rule::input(&format!("tcp sport {port} drop"));
    // The two hours of the defaults, scaled: one second, and two probes of one second.
    assert_eq!(with.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
    pass(Duration::from_secs(3));
    let row = row(here, there).unwrap();
    assert_eq!(
        (row.state, row.timer),
        (TcpState::Established, Timer::None),
        "the peer is as gone as the other"
    );
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn so_error_tells_soft_errors_of_a_live_connection_and_clears_them() {
    let (mut client, mut server, here, there) = pair();
    let rejecting =
        Rule::input(&format!("tcp dport {} reject with icmp type host-unreachable", there.port()));
    server.write_all(b"x").unwrap();
    let mut error = None;
    until("an error of a connection that lives", || {
        error = server.take_error().unwrap();
        error.is_some()
    });
    assert_eq!(error.unwrap().kind(), ErrorKind::HostUnreachable);
    drop(rejecting);
    assert_eq!(row(here, there).unwrap().state, TcpState::Established);
    client.read_exact(&mut [0; 1]).unwrap();
    until("the last of them is cleared", || server.take_error().unwrap().is_none());
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn keepalive_armed_again_while_a_probe_is_out_kills_a_live_connection() {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(1)).with_interval(Duration::from_secs(20));
    let (_client, mut server, here, there) = pair();
    let socket = SockRef::from(&server);
    socket.set_tcp_user_timeout(Some(Duration::from_secs(2))).unwrap();
    // Quiet for longer than the user timeout, which nothing watches yet.
    pass(Duration::from_secs(3));
    // A path that takes long: the answer to the probe is not there yet when the option is set again.
    let slow = Rule::input(&format!("tcp dport {} drop", there.port()));
    let probes = counter("TCPKeepAlive");
    socket.set_tcp_keepalive(&keepalive).unwrap();
    until("a probe is out", || counter("TCPKeepAlive") > probes);
    assert_eq!(row(here, there).unwrap().state, TcpState::Established);
    socket.set_tcp_keepalive(&keepalive).unwrap();
    assert_eq!(server.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
    drop(slow);
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn keepalive_armed_once_leaves_a_live_connection_alone() {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(1)).with_interval(Duration::from_secs(20));
    let (_client, server, here, there) = pair();
    let socket = SockRef::from(&server);
    socket.set_tcp_user_timeout(Some(Duration::from_secs(2))).unwrap();
    pass(Duration::from_secs(3));
    let slow = Rule::input(&format!("tcp dport {} drop", there.port()));
    let probes = counter("TCPKeepAlive");
    socket.set_tcp_keepalive(&keepalive).unwrap();
    until("a probe is out", || counter("TCPKeepAlive") > probes);
    drop(slow);
    pass(Duration::from_secs(2));
    assert_eq!(row(here, there).unwrap().state, TcpState::Established);
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_user_timeout_stands_for_the_count_of_probes_but_not_for_the_first() {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(1))
        .with_interval(Duration::from_secs(1))
        .with_retries(30);
    let (_client, mut server, _, there) = pair();
    let socket = SockRef::from(&server);
    socket.set_tcp_user_timeout(Some(Duration::from_millis(100))).unwrap();
    let _unplugged = Rule::input(&format!("tcp dport {} drop", there.port()));
    let begun = Instant::now();
    socket.set_tcp_keepalive(&keepalive).unwrap();
    assert_eq!(server.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
    let elapsed = begun.elapsed();
    // IDLE, and one INTVL for the answer; 30 probes would have taken half a minute.
    assert!(elapsed > Duration::from_millis(1900) && elapsed < Duration::from_secs(15), "{elapsed:?}");
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_closed_peer_answers_keepalive_until_its_fin_wait2_is_over_and_then_resets() {
    // The minute of the default, scaled.
    let _bound = Sysctl::set("net.ipv4.tcp_fin_timeout", "5");
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(1)).with_interval(Duration::from_secs(1));
    let (client, mut server, here, there) = pair();
    SockRef::from(&server).set_tcp_keepalive(&keepalive).unwrap();
    let probes = counter("TCPKeepAlive");
    drop(client);
    until("FIN_WAIT2 there", || row(there, here).is_some_and(|row| row.state == TcpState::FinWait2));
    assert_eq!(row(here, there).unwrap().state, TcpState::CloseWait);
    until("the peer's kernel has forgotten it", || row(there, here).is_none());
    let answered = counter("TCPKeepAlive") - probes;
    assert!(answered >= 3, "{answered}: no program was there to answer these");
    until("the next probe is answered by a reset", || row(here, there).is_none());
    assert_eq!(server.take_error().unwrap().unwrap().kind(), ErrorKind::BrokenPipe);
    assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
}

/// Two connections of healthy clients, of which one sends something every 200 ms and the other rests; the network fails
/// until the first is given up. How long that took.
fn outage(limit: impl Fn(&SockRef<'_>)) -> Duration {
    let listener = listener_alone();
    let [mut pinging, mut quiet] = [(); 2].map(|()| pair_of(&listener));
    for (client, ..) in [&pinging, &quiet] {
        limit(&SockRef::from(client));
    }
    let ports = [pinging.2.port(), pinging.3.port(), quiet.3.port()].map(|port| port.to_string());
    pinging.0.write_all(b"ping").unwrap();
    pinging.1.read_exact(&mut [0; 4]).unwrap();
    let outage = Rule::input(&format!("tcp dport {{ {} }} drop", ports.join(", ")));
    let begun = Instant::now();
    let mut error = None;
    until("the one that pings is given up", || {
        error = pinging.0.write_all(b"ping").err();
        pass(Duration::from_millis(200));
        error.is_some()
    });
    let elapsed = begun.elapsed();
    assert_eq!(error.unwrap().kind(), ErrorKind::TimedOut);
    drop(outage);
    quiet.0.write_all(b"beat").unwrap();
    quiet.1.read_exact(&mut [0; 4]).expect("the one that rested has noticed nothing");
    elapsed
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn frequent_pings_die_of_an_outage_that_a_quiet_connection_survives() {
    let elapsed =
        outage(|client| client.set_tcp_user_timeout(Some(Duration::from_secs(5))).expect("an option of TCP"));
    assert!((4..30).contains(&elapsed.as_secs()), "{elapsed:?}");
    // The same by the limit of retransmissions: 4 are 0.2 + 0.4 + 0.8 + 1.6 + 3.2 s.
    let _retries = Sysctl::set("net.ipv4.tcp_retries2", "4");
    let elapsed = outage(|_| {});
    assert!((5..30).contains(&elapsed.as_secs()), "{elapsed:?}");
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_beat_and_a_keepalive_probe_are_two_packets_each() {
    let (mut client, mut server, here, there) = pair();
    let both = format!("tcp dport {{ {}, {} }} counter", here.port(), there.port());
    let counter = Rule::input(&both);
    client.write_all(b"!").unwrap();
    server.read_exact(&mut [0]).unwrap();
    until("it is acknowledged", || in_flight("/proc/net/tcp", Some(there.port())) == 0);
    // 20 bytes of IP, 20 of TCP, 12 of its timestamps; and the byte.
    assert_eq!(counter.counted(), (2, 105));
    // An answer may take the acknowledgement with it.
    client.write_all(b"?").unwrap();
    server.read_exact(&mut [0]).unwrap();
    server.write_all(b"!").unwrap();
    client.read_exact(&mut [0]).unwrap();
    until("both are acknowledged", || {
        [here, there].map(|end| in_flight("/proc/net/tcp", Some(end.port()))) == [0; 2]
    });
    let packets = counter.counted().0 - 2;
    assert!((3..=4).contains(&packets), "{packets}");
    drop(counter);
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(1)).with_interval(Duration::from_secs(20));
    let counter = Rule::input(&both);
    SockRef::from(&server).set_tcp_keepalive(&keepalive).unwrap();
    until("a probe and its answer", || counter.counted().0 >= 2);
    assert_eq!(counter.counted(), (2, 104));
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_host_that_comes_back_ends_its_old_connection_only_from_the_same_port() {
    let listener = listener_alone();
    let (client, mut old, here, there) = pair_of(&listener);
    // It loses its power: nothing of its end arrives.
    let off = Rule::input(&format!("tcp dport {} drop", here.port()));
    reset(client);
    until("it knows nothing of the connection", || row(there, here).is_none());
    drop(off);
    let ghost = || row(here, there).map(|row| (row.state, row.timer));
    let _another_port = pair_of(&listener);
    assert_eq!(ghost(), Some((TcpState::Established, Timer::None)), "nothing ties the two together");
    // RFC 9293 3.10.7.4, RFC 5961 4: its SYN is answered by an acknowledgement, and that by a reset; then it comes again.
    let _same_port = connect_from(there, here).expect("it is let in");
    assert_eq!(old.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(listener.accept().unwrap().1, there);
}
