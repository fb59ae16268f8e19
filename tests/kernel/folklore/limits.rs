//! Limits and sysctls of a host that `linger doctor` judges: what happens at them.
//!
//! Those that bound the whole host (`fs.file-max`, `tcp_mem`, ...) are not lowered by any test, for everybody else's
//! sake: `src/sys/facts.md` cites the kernel's source for them.

use crate::common::{in_own_namespace, pass, until};
use crate::folklore::host::{
    Rule, Sysctl, address, address_of, count, counter, listener, listener_alone, pair, pair_of, reset, row,
};
use linger::core::tcp::TcpState;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

fn gets_in(to: SocketAddr) -> Option<TcpStream> {
    // Less than after which a dropped SYN is sent again.
    TcpStream::connect_timeout(&to, Duration::from_millis(500)).ok()
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn nr_open_is_the_ceiling_of_descriptors_even_for_root() {
    let ceiling: u64 = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap().trim().parse().unwrap();
    // Of a process of its own, which ends with it.
    let raise = |hard: u64| {
        let output = Command::new("prlimit").arg(format!("--nofile=:{hard}")).arg("true").output();
        output.expect("prlimit (util-linux) runs")
    };
    if !raise(ceiling).status.success() {
        eprintln!("not shown here: this root is without CAP_SYS_RESOURCE, and raises no limit at all");
        return;
    }
    let above = raise(ceiling + 1);
    let said = String::from_utf8_lossy(&above.stderr);
    assert!(!above.status.success() && said.contains("not permitted"), "{said}");
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn bounds_of_the_whole_host_are_hidden_in_other_namespaces() {
    assert!(in_own_namespace(), "run it by `unshare -n`");
    let shown = |name: &str| std::fs::exists(format!("/proc/sys/net/{name}")).unwrap();
    assert!(shown("core/somaxconn") && shown("ipv4/tcp_retries2"), "these are a namespace's own");
    for hidden in ["core/netdev_max_backlog", "ipv4/tcp_mem", "ipv4/tcp_max_orphans"] {
        assert!(!shown(hidden), "{hidden}");
    }
}

/// Clients that stay half-open at `to`: whatever they send after their SYN is lost.
struct HalfOpen {
    _lost: Rule,
    /// Those that have been answered.
    clients: Vec<TcpStream>,
}

impl HalfOpen {
    fn new(to: SocketAddr, number: usize) -> Self {
        let lost = Rule::input(&format!("tcp dport {} tcp flags & syn == 0 drop", to.port()));
        Self { _lost: lost, clients: (0..number).filter_map(|_| gets_in(to)).collect() }
    }
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn without_syn_cookies_half_open_connections_shut_the_others_out() {
    let counted = || ["TCPReqQFullDrop", "TCPReqQFullDoCookies"].map(counter);
    for cookies in [false, true] {
        let _cookies = Sysctl::set("net.ipv4.tcp_syncookies", if cookies { "1" } else { "0" });
        // The other bound, which is not meant here, is out of the way.
        let _backlog = Sysctl::set("net.ipv4.tcp_max_syn_backlog", "1024");
        let listener = listener(8);
        let to = address_of(&listener);
        let before = counted();
        let half = HalfOpen::new(to, 11);
        // As many as the listener's backlog, or one more (`include/net/inet_connection_sock.h`).
        let open = count(to, TcpState::SynRecv);
        assert!((8..=9).contains(&open), "{open}: a cookie takes no memory");
        assert_eq!(half.clients.len(), if cookies { 11 } else { open });
        let now = counted();
        assert_eq!([now[0] > before[0], now[1] > before[1]], [!cookies, cookies]);
    }
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn tcp_max_syn_backlog_bounds_half_open_connections_only_without_syn_cookies() {
    let _backlog = Sysctl::set("net.ipv4.tcp_max_syn_backlog", "8");
    // The last quarter of it is for those who are remembered from before (`net/ipv4/tcp_input.c: tcp_conn_request`,
    // `net/ipv4/tcp_metrics.c: tcp_peer_is_proven`): nobody is.
    let _forgetful = Sysctl::set("net.ipv4.tcp_no_metrics_save", "1");
    let forgotten = Command::new("ip").args(["tcp_metrics", "flush", "all"]).status();
    assert!(forgotten.is_ok_and(|status| status.success()), "ip tcp_metrics flush");
    for cookies in [false, true] {
        let _cookies = Sysctl::set("net.ipv4.tcp_syncookies", if cookies { "1" } else { "0" });
        let listener = listener(100);
        let to = address_of(&listener);
        let half = HalfOpen::new(to, 7);
        assert_eq!(half.clients.len(), 7);
        assert_eq!(gets_in(to).is_some(), cookies);
        assert_eq!(count(to, TcpState::SynRecv), if cookies { 8 } else { 7 });
    }
}

/// What `ss` says of a connection's options.
fn options(local: SocketAddr, remote: SocketAddr) -> String {
    let filter = format!("src {local} and dst {remote}");
    let output = Command::new("ss").args(["-tinOH", &filter]).output().expect("ss runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn without_timestamps_a_syn_cookie_loses_the_window_scale() {
    // Cookies for everybody, so that no queue has to be filled.
    let _cookies = Sysctl::set("net.ipv4.tcp_syncookies", "2");
    for timestamps in [true, false] {
        let _timestamps = Sysctl::set("net.ipv4.tcp_timestamps", if timestamps { "1" } else { "0" });
        let (_client, _server, here, there) = pair();
        let options = options(here, there);
        assert!(options.contains("cwnd:"), "{options}");
        assert_eq!(options.contains(" wscale:"), timestamps, "{options}");
    }
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn tcp_migrate_req_lets_another_listener_of_the_port_take_over_a_queue() {
    for migrate in [false, true] {
        let _sysctl = Sysctl::set("net.ipv4.tcp_migrate_req", if migrate { "1" } else { "0" });
        let bound = |to: SocketAddr| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.bind(&address(to)).unwrap();
            socket.listen(8).unwrap();
            socket
        };
        let first = bound("127.0.0.1:0".parse().unwrap());
        let to = address_of(&first);
        let mut client = TcpStream::connect(to).unwrap();
        let second = bound(to);
        drop(first);
        second.set_nonblocking(true).unwrap();
        client.set_nonblocking(true).unwrap();
        let accepted = second.accept();
        let error = client.read(&mut [0]).unwrap_err().kind();
        let wanted = if migrate { ErrorKind::WouldBlock } else { ErrorKind::ConnectionReset };
        assert_eq!((accepted.is_ok(), error), (migrate, wanted), "tcp_migrate_req = {migrate}");
    }
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_reset_removes_a_time_wait_unless_tcp_rfc1337_forbids_it() {
    for forbidden in [false, true] {
        let _sysctl = Sysctl::set("net.ipv4.tcp_rfc1337", if forbidden { "1" } else { "0" });
        let (client, mut server, here, there) = pair();
        server.shutdown(Shutdown::Write).unwrap();
        until("FIN_WAIT2", || row(here, there).is_some_and(|row| row.state == TcpState::FinWait2));
        // Its last acknowledgement, that of the client's FIN, is answered so.
        let refused = Rule::input(&format!("tcp dport {} reject with tcp reset", there.port()));
        drop(client);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        drop(server);
        pass(Duration::from_millis(50));
        let state = row(here, there).map(|row| row.state);
        assert_eq!(state, forbidden.then_some(TcpState::TimeWait), "tcp_rfc1337 = {forbidden}");
        drop(refused);
    }
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn tcp_retries2_is_for_those_without_a_user_timeout() {
    let _sysctl = Sysctl::set("net.ipv4.tcp_retries2", "2");
    let [without, with] = [pair(), pair()];
    SockRef::from(&with.1).set_tcp_user_timeout(Some(Duration::from_secs(60))).unwrap();
    let _unplugged = Rule::input(&format!("tcp dport {{ {}, {} }} drop", without.3.port(), with.3.port()));
    let begun = Instant::now();
    for mut server in [&without.1, &with.1] {
        server.write_all(b"is anybody there?").unwrap();
    }
    assert_eq!((&without.1).read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
    let elapsed = begun.elapsed();
    // 0.2 s, twice that, and twice that again, or so.
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    pass(elapsed);
    assert_eq!(row(with.2, with.3).map(|row| row.state), Some(TcpState::Established));
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn tcp_orphan_retries_of_one_gives_a_closed_socket_up_at_once() {
    let _sysctl = Sysctl::set("net.ipv4.tcp_orphan_retries", "1");
    let (_client, mut server, here, there) = pair();
    let _unplugged = Rule::input(&format!("tcp dport {} drop", there.port()));
    server.write_all(b"goodbye").unwrap();
    let begun = Instant::now();
    drop(server);
    until("it is given up", || row(here, there).is_none());
    // By default it is more than a minute and a half, as another test of this directory shows by its timer.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_connection_going_out_holds_a_servers_port_unless_that_is_reserved() {
    let other = listener_alone();
    let to = other.local_addr().unwrap();
    // Where no other test has ever had a connection whose TIME_WAIT would hold the port.
    let _range = Sysctl::set("net.ipv4.ip_local_port_range", "20000 20001");
    let server = |port: u16| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address(SocketAddr::from(([0, 0, 0, 0], port)))).and_then(|()| socket.listen(8))
    };
    let out = || TcpStream::connect(to);
    let held = [out().unwrap(), out().unwrap()];
    assert_eq!(server(20_000).unwrap_err().kind(), ErrorKind::AddrInUse);
    held.into_iter().for_each(reset);
    let _reserved = Sysctl::set("net.ipv4.ip_local_reserved_ports", "20000");
    let _clients: Vec<_> = (0..4).map_while(|_| out().ok()).collect();
    server(20_000).unwrap();
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn connection_tracking_that_forgets_cuts_an_idle_connection_without_a_word() {
    let listener = listener_alone();
    let _timeout = Sysctl::set("net.netfilter.nf_conntrack_tcp_timeout_established", "1");
    // As a firewall has it: a flow that is not known may begin with a SYN only.
    let port = listener.local_addr().unwrap().port();
    let _firewall =
        Rule::input(&format!("tcp dport {port} tcp flags & syn == 0 ct state != established drop"));
    let (mut client, mut server, here, there) = pair_of(&listener);
    client.write_all(b"1").unwrap();
    assert_eq!(server.read(&mut [0; 8]).unwrap(), 1);
    pass(Duration::from_secs(3));
    client.write_all(b"2").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    assert_eq!(server.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    let states = [row(here, there), row(there, here)].map(|row| row.unwrap().state);
    assert_eq!(states, [TcpState::Established; 2], "to both ends all seems well");
}
