//! Closing: who keeps the `TIME_WAIT`, and what does and does not change it.

use crate::common::{pass, until};
use crate::folklore::host::{
    Rule, Sysctl, Timer, address, connect_from, count, counter, fill, listener_alone, pair, pair_of, reset,
    row,
};
use linger::core::tcp::TcpState;
use socket2::{Domain, SockRef, Socket, Type};
use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// A connection whose server has closed first: the addresses of its `TIME_WAIT`.
fn closed_by_the_server(listener: &TcpListener) -> (SocketAddr, SocketAddr) {
    let (mut client, server, here, there) = pair_of(listener);
    drop(server);
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    (here, there)
}

fn until_time_wait((here, there): (SocketAddr, SocketAddr)) {
    until("TIME_WAIT here", || row(here, there).is_some_and(|row| row.state == TcpState::TimeWait));
    until("nothing there", || row(there, here).is_none());
}

#[test]
fn tcp_tw_recycle_is_gone() {
    assert!(std::fs::exists("/proc/sys/net/ipv4/tcp_fin_timeout").unwrap());
    assert!(!std::fs::exists("/proc/sys/net/ipv4/tcp_tw_recycle").unwrap());
}

#[test]
fn a_time_wait_lasts_sixty_seconds() {
    let ends = closed_by_the_server(&listener_alone());
    until_time_wait(ends);
    let row = row(ends.0, ends.1).unwrap();
    assert_eq!(row.timer, Timer::TimeWait);
    assert!((50.0..61.0).contains(&row.seconds), "{row:?}");
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn tcp_tw_reuse_spares_a_server_nothing() {
    for reuse in ["0", "1"] {
        let _sysctl = Sysctl::set("net.ipv4.tcp_tw_reuse", reuse);
        let listener = listener_alone();
        // A client may come from the port of one before it, and its SYN reopens that pair: by their addresses.
        let mut pairs = HashSet::new();
        let mut close_until = |number| {
            while pairs.len() < number {
                let ends = closed_by_the_server(&listener);
                until_time_wait(ends);
                pairs.insert(ends);
            }
        };
        close_until(50);
        // Longer than after which a client that connects may reuse one.
        pass(Duration::from_millis(1500));
        close_until(51);
        assert_eq!(count(listener.local_addr().unwrap(), TcpState::TimeWait), 51, "tcp_tw_reuse = {reuse}");
    }
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn tcp_tw_reuse_says_when_connect_may_use_a_port_again() {
    let _range = Sysctl::set("net.ipv4.ip_local_port_range", "40000 40003");
    // Each of them has an address of its own: what one leaves in TIME_WAIT is not in the way of another.
    for (network, reuse, refused) in
        [(1, "0", Some(ErrorKind::AddrNotAvailable)), (2, "1", None), (3, "2", None)]
    {
        let _sysctl = Sysctl::set("net.ipv4.tcp_tw_reuse", reuse);
        let listener = TcpListener::bind(SocketAddr::from(([127, 78, network, 1], 5000))).unwrap();
        let here = listener.local_addr().unwrap();
        for _ in 0..4 {
            let client = TcpStream::connect(here).unwrap();
            let (mut server, there) = listener.accept().unwrap();
            drop(client);
            assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
            drop(server);
            until_time_wait((there, here));
        }
        // Longer than a port has to rest (tcp_tw_reuse_delay).
        pass(Duration::from_millis(2500));
        let error = TcpStream::connect(here).err().map(|error| error.kind());
        assert_eq!(error, refused, "tcp_tw_reuse = {reuse}");
    }
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_lowered_tcp_max_tw_buckets_only_drops_time_waits_early() {
    let _sysctl = Sysctl::set("net.ipv4.tcp_max_tw_buckets", "0");
    let listener = listener_alone();
    let before = counter("TCPTimeWaitOverflow");
    let (mut client, mut server, here, there) = pair_of(&listener);
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    let resets = sent_resets();
    // The client's FIN is answered, and that answer is lost.
    let lost = Rule::input(&format!("tcp dport {} tcp flags ack drop", there.port()));
    drop(client);
    assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
    drop(server);
    until("it is counted", || counter("TCPTimeWaitOverflow") == before + 1);
    assert!(row(here, there).is_none(), "no TIME_WAIT");
    drop(lost);
    // What TIME_WAIT is for: to answer this client, whose FIN comes again. Now it is answered by a reset.
    until("the FIN has come again", || sent_resets() > resets && row(there, here).is_none());
}

/// `Tcp: OutRsts` of `/proc/net/snmp`.
fn sent_resets() -> u64 {
    let text = std::fs::read_to_string("/proc/net/snmp").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut columns = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
    columns.find(|(name, _)| *name == "OutRsts").unwrap().1.parse().unwrap()
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn tcp_fin_timeout_bounds_orphans_in_fin_wait2_and_nothing_else() {
    let _sysctl = Sysctl::set("net.ipv4.tcp_fin_timeout", "2");
    let listener = listener_alone();
    let time_wait = closed_by_the_server(&listener);
    until_time_wait(time_wait);
    let open = pair_of(&listener);
    open.1.shutdown(Shutdown::Write).unwrap();
    let (_client, orphan, here, there) = pair_of(&listener);
    drop(orphan);
    until("the orphan in FIN_WAIT2", || row(here, there).is_some_and(|row| row.state == TcpState::FinWait2));
    let bound = row(here, there).unwrap().seconds;
    assert!(bound <= 2.0, "{bound}");
    until("the orphan is gone", || row(here, there).is_none());
    pass(Duration::from_secs(3));
    let open = row(open.2, open.3).unwrap();
    assert_eq!(
        (open.state, open.timer),
        (TcpState::FinWait2, Timer::None),
        "the one with its descriptor open"
    );
    let time_wait = row(time_wait.0, time_wait.1).unwrap();
    assert!(time_wait.state == TcpState::TimeWait && time_wait.seconds > 40.0, "{time_wait:?}");
}

#[test]
fn a_fin_wait2_with_its_descriptor_open_has_no_timer() {
    let (client, server, here, there) = pair();
    server.shutdown(Shutdown::Write).unwrap();
    until("FIN_WAIT2", || {
        row(here, there).is_some_and(|row| (row.state, row.timer) == (TcpState::FinWait2, Timer::None))
    });
    // Without the descriptor it has: tcp_fin_timeout.
    drop(server);
    until("a timer", || {
        row(here, there).is_some_and(|row| row.state == TcpState::FinWait2 && row.timer != Timer::None)
    });
    drop(client);
}

#[test]
fn a_close_wait_has_no_timer() {
    let (client, mut server, here, there) = pair();
    drop(client);
    assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
    // Longer than the acknowledgement of the FIN may be delayed: then nothing is left to wait for.
    pass(Duration::from_millis(500));
    let row = row(here, there).unwrap();
    assert_eq!((row.state, row.timer), (TcpState::CloseWait, Timer::None));
}

#[test]
fn a_client_that_keeps_what_its_server_has_closed_loses_its_next_request() {
    // As a crawler does with the connections of its pool.
    let (mut client, server, here, there) = pair();
    drop(server);
    until("CLOSE_WAIT at the client", || {
        row(there, here).is_some_and(|row| (row.state, row.timer) == (TcpState::CloseWait, Timer::None))
    });
    client.write_all(b"GET / HTTP/1.1\r\n").expect("the first send succeeds");
    until("the server's host has answered by a reset", || row(there, here).is_none());
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "an end of file is all the answer");
    assert_eq!(client.write_all(b"\r\n").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_half_close_first_still_ends_in_time_wait_that_no_option_removes() {
    let (client, mut server, here, there) = pair();
    server.shutdown(Shutdown::Write).unwrap();
    drop(client);
    assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
    until_time_wait((here, there));
    // With the descriptor open still, and whatever is asked of it now.
    reset(server);
    pass(Duration::from_millis(100));
    assert_eq!(row(here, there).map(|row| row.state), Some(TcpState::TimeWait));
}

#[test]
fn a_linger_time_makes_close_wait_and_leaves_the_time_wait() {
    const LINGER: Duration = Duration::from_secs(1);
    /// The kernel counts in these, of 10 ms at the longest (`CONFIG_HZ`), and the first of them has begun.
    const JIFFY: Duration = Duration::from_millis(10);
    let (mut client, server, here, there) = pair();
    let sent = fill(&server);
    SockRef::from(&server).set_linger(Some(LINGER)).unwrap();
    server.set_nonblocking(true).unwrap();
    let begun = Instant::now();
    drop(server);
    assert!(
        begun.elapsed() + JIFFY >= LINGER,
        "non-blocking, and it waited for an acknowledgement that did not come"
    );
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), sent, "and the rest is delivered as without it");
    drop(client);
    until_time_wait((here, there));
    // Where nothing is pending it does not wait, and does not spare the TIME_WAIT either.
    let (mut client, server, here, there) = pair();
    SockRef::from(&server).set_linger(Some(LINGER)).unwrap();
    drop(server);
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    drop(client);
    until_time_wait((here, there));
}

#[test]
fn a_reset_loses_what_is_on_its_way() {
    let (mut client, server, _, _) = pair();
    let sent = fill(&server);
    reset(server);
    let mut all = Vec::new();
    let error = client.read_to_end(&mut all).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(all.len() < sent, "{} of {sent}", all.len());
}

fn bind(to: SocketAddr, reuse: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(reuse)?;
    socket.bind(&address(to))?;
    socket.listen(1)?;
    Ok(socket)
}

#[test]
fn so_reuseaddr_binds_beside_a_time_wait_and_not_beside_a_listener() {
    let in_use =
        |result: std::io::Result<Socket>| assert_eq!(result.unwrap_err().kind(), ErrorKind::AddrInUse);
    let listener = listener_alone();
    let ends = closed_by_the_server(&listener);
    until_time_wait(ends);
    in_use(bind(ends.0, true));
    drop(listener);
    in_use(bind(ends.0, false));
    // A child of another test has a copy of the listener until its exec.
    let mut again = None;
    until("it binds", || {
        again = bind(ends.0, true).ok();
        again.is_some()
    });
    assert_eq!(row(ends.0, ends.1).map(|row| row.state), Some(TcpState::TimeWait), "it stays");
}

#[test]
fn a_new_syn_reopens_a_pair_in_time_wait() {
    let listener = listener_alone();
    let ends = closed_by_the_server(&listener);
    until_time_wait(ends);
    let mut client = connect_from(ends.1, ends.0).unwrap();
    assert_eq!(
        row(ends.0, ends.1).map(|row| row.state),
        Some(TcpState::Established),
        "and the TIME_WAIT is gone"
    );
    client.write_all(b"new").unwrap();
    let mut server = listener.accept().unwrap().0;
    let mut bytes = [0; 3];
    server.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"new");
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn fins_that_cross_leave_a_time_wait_on_both_sides() {
    let (client, server, here, there) = pair();
    // Each side's first FIN is lost, so that neither has seen the other's when it sends its own.
    let lost = Rule::input(&format!("tcp dport {{ {}, {} }} drop", here.port(), there.port()));
    drop((client, server));
    drop(lost);
    for (local, remote) in [(here, there), (there, here)] {
        until("TIME_WAIT", || row(local, remote).is_some_and(|row| row.state == TcpState::TimeWait));
    }
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn an_orphan_towards_a_silent_peer_lives_until_its_user_timeout() {
    let listener = listener_alone();
    let [with, without] = [(); 2].map(|()| pair_of(&listener));
    SockRef::from(&with.1).set_tcp_user_timeout(Some(Duration::from_secs(2))).unwrap();
    let _unplugged = Rule::input(&format!("tcp dport {{ {}, {} }} drop", with.3.port(), without.3.port()));
    let begun = Instant::now();
    drop((with.1, without.1));
    until("the one with a user timeout is gone", || row(with.2, with.3).is_none());
    let elapsed = begun.elapsed();
    assert!((2..20).contains(&elapsed.as_secs()), "{elapsed:?}");
    // The other goes on for about 107 s: tcp_orphan_retries, 8, each twice as long after the last.
    let row = row(without.2, without.3).unwrap();
    assert_eq!(row.timer, Timer::Retransmission, "{row:?}");
    drop((with.0, without.0));
}

/// The child of the next test: connects, reads one byte, and waits to be killed.
#[test]
#[ignore = "it is the child of another test"]
fn a_child_that_connects() {
    let Ok(to) = std::env::var("LINGER_FOLKLORE_CONNECT") else { return };
    let mut stream = TcpStream::connect(&to).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    let linger = |time| SockRef::from(&stream).set_linger(Some(time)).unwrap();
    match std::env::var("LINGER_FOLKLORE_LINGER").as_deref() {
        Ok("reset") => linger(Duration::ZERO),
        Ok("hour") => linger(Duration::from_secs(3600)),
        _ => {}
    }
    stream.write_all(b"!").unwrap();
    if std::env::var_os("LINGER_FOLKLORE_FILL").is_some() {
        fill(&stream);
    }
    loop {
        std::thread::park();
    }
}

/// Kills a child that holds a connection, and gives how much the other side then receives before the end of
/// file.
fn killed(answer: &[u8], linger: &str, full: bool) -> std::io::Result<usize> {
    let listener = listener_alone();
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args(["folklore::closing::a_child_that_connects", "--exact", "--ignored"])
        .env("LINGER_FOLKLORE_CONNECT", listener.local_addr().unwrap().to_string())
        .env("LINGER_FOLKLORE_LINGER", linger)
        .stdout(std::process::Stdio::null());
    if full {
        command.env("LINGER_FOLKLORE_FILL", "1");
    }
    let mut child = command.spawn().unwrap();
    let (mut server, there) = listener.accept().unwrap();
    server.write_all(answer).unwrap();
    server.read_exact(&mut [0; 6]).unwrap();
    let stuck =
        || row(there, listener.local_addr().unwrap()).is_some_and(|row| row.timer == Timer::WindowProbe);
    until("our window to be shut", || !full || stuck());
    let begun = Instant::now();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(60), "the end of a process never lingers");
    server.read_to_end(&mut Vec::new())
}

#[test]
fn a_killed_process_says_fin_or_reset_by_what_it_left_unread() {
    assert_eq!(killed(b"1", "", false).unwrap(), 0, "all read: it looks like an orderly close");
    let reset =
        |result: std::io::Result<usize>| assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionReset);
    reset(killed(b"123", "", false));
    reset(killed(b"1", "reset", false));
}

#[test]
fn the_end_of_a_process_does_not_linger_and_what_it_sent_is_delivered() {
    assert!(killed(b"1", "hour", true).unwrap() > 65_536);
}
