//! Detecting: what a socket notices of a peer that is gone, and when.

use crate::common::{pass, until};
use crate::folklore::host::{Rule, Sysctl, Timer, counter, pair, pair_of, row};
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
