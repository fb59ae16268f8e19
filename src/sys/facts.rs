//! What the kernel does, seen through [`Stream`] and [`Listener`]: the facts on which the closing ladder
//! and the taxonomy of ends rest. Where one of these fails, the design has to change.

use super::testing::{Client, fill};
use super::testing::{
    PLAIN, accept, child, loopback, option, pair, pair_with, recv, socket_of, states, until,
};
use super::{Listener, Stream, host, sockopt, tcp_info};
use crate::core::tcp::TcpState;
use crate::core::time::Duration;
use crate::net::{
    CloseHow, Keepalive, ListenSpec, Listener as _, Queue, Received, Sent, SocketError, SocketOptions,
    Stream as _,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;

/// The server's and the client's address of a connection.
fn ends_of(client: &Client) -> (SocketAddr, SocketAddr) {
    (client.peer_addr().unwrap(), client.local_addr().unwrap())
}

/// A client that sends its RST now.
fn reset(client: Client) {
    Stream::new(client.into()).close(CloseHow::Reset);
}

/// Waits until neither end of a connection is in the host's table. A `TIME_WAIT` would stay for 60 s.
fn expect_nothing_left((server, client): (SocketAddr, SocketAddr)) {
    until("no socket is left", || states(server, client).is_empty() && states(client, server).is_empty());
}

// Closing.

#[test]
fn closing_first_and_plainly_leaves_a_time_wait_here() {
    let (mut client, server) = pair();
    let (here, there) = ends_of(&client);
    server.close(CloseHow::Plain);
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    drop(client);
    until("TIME_WAIT here", || states(here, there) == [TcpState::TimeWait]);
    until("nothing there", || states(there, here).is_empty());
}

#[test]
fn closing_after_the_peer_leaves_the_time_wait_there() {
    let (client, mut server) = pair();
    let (here, there) = ends_of(&client);
    drop(client);
    assert_eq!(recv(&mut server, &mut [0; 8]), Received::Eof);
    server.close(CloseHow::Plain);
    until("TIME_WAIT there", || states(there, here) == [TcpState::TimeWait]);
    until("nothing here", || states(here, there).is_empty());
}

#[test]
fn closing_first_with_linger2_leaves_nothing_and_delivers_everything() {
    let (mut client, mut server) = pair();
    let ends = ends_of(&client);
    let mut queued = 0;
    while let Sent::Bytes(length) = server.send(&[7; 16_384]) {
        queued += length;
    }
    server.close(CloseHow::Linger2);
    let mut all = Vec::new();
    client.read_to_end(&mut all).expect("a clean end of file");
    assert_eq!(all.len(), queued);
    until("gone before the client closes", || states(ends.0, ends.1).is_empty());
    drop(client);
    expect_nothing_left(ends);
}

#[test]
fn linger2_inherited_from_the_listener_holds_for_a_plain_close() {
    let (mut client, server) = pair_with(SocketOptions { linger2: true, ..PLAIN });
    let ends = ends_of(&client);
    drop(server);
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    drop(client);
    expect_nothing_left(ends);
}

#[test]
fn a_linger2_close_is_a_fin_and_once_that_is_acknowledged_a_reset() {
    let (client, mut server) = pair();
    let ends = ends_of(&client);
    assert_eq!(server.send(b"last words"), Sent::Bytes(10));
    server.close(CloseHow::Linger2);
    // net/ipv4/tcp_input.c: tcp_rcv_state_process, TCP_FIN_WAIT1, answers the acknowledgement so.
    until("the reset has come, read or not", || states(ends.1, ends.0).is_empty());
    let mut client = Stream::new(client.into());
    // A Linux client keeps what it has not read yet, sees a clean end of file, and cannot send any more.
    assert_eq!(client.recv(&mut [0; 64]), Received::Bytes(10));
    assert_eq!(client.recv(&mut [0; 64]), Received::Eof);
    assert_eq!(client.send(b"late"), Sent::Failed(SocketError::BrokenPipe));
}

#[test]
fn a_reset_is_seen_by_the_peer_and_leaves_nothing() {
    let (mut client, server) = pair();
    let ends = ends_of(&client);
    server.close(CloseHow::Reset);
    assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    drop(client);
    expect_nothing_left(ends);
}

#[test]
fn a_plain_close_with_unread_input_is_a_reset() {
    let (mut client, server) = pair();
    client.write_all(b"unread").unwrap();
    until("it has arrived", || server.evidence().unwrap().last_data_recv_ms < 60_000 && has_input(&server));
    server.close(CloseHow::Plain);
    assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// Looks without taking, through a duplicate that is gone again on return.
fn has_input(server: &Stream) -> bool {
    let duplicate: Client = server.as_fd().try_clone_to_owned().unwrap().into();
    matches!(duplicate.peek(&mut [0; 1]), Ok(1))
}

#[test]
fn bytes_sent_after_a_full_close_clear_the_time_wait_on_both_sides() {
    let (client, mut server) = pair();
    let ends = ends_of(&client);
    drop(client);
    assert_eq!(recv(&mut server, &mut [0; 8]), Received::Eof);
    assert_eq!(server.send(b"\r\n"), Sent::Bytes(2));
    until("the peer's RST", || server.evidence().unwrap().state != TcpState::CloseWait);
    assert_eq!(server.take_error(), Some(SocketError::BrokenPipe));
    server.close(CloseHow::Plain);
    expect_nothing_left(ends);
}

#[test]
fn tcp_info_says_close_where_the_host_says_time_wait() {
    let (client, mut server) = pair();
    let (here, there) = ends_of(&client);
    let ours: Client = server.as_fd().try_clone_to_owned().unwrap().into();
    ours.shutdown(Shutdown::Write).unwrap();
    drop((ours, client));
    assert_eq!(recv(&mut server, &mut [0; 8]), Received::Eof);
    // The descriptor is open still; its socket is dead, and another one stands in the table for it.
    until("TIME_WAIT in the host's table", || states(here, there) == [TcpState::TimeWait]);
    assert_eq!(server.evidence().unwrap().state, TcpState::Close);
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_socket_in_repair_closes_without_a_packet() {
    let (client, server) = pair();
    let (here, there) = ends_of(&client);
    sockopt::set(server.as_fd(), libc::IPPROTO_TCP, libc::TCP_REPAIR, 1).expect("root may");
    drop(server);
    until("nothing is left here", || states(here, there).is_empty());
    assert_eq!(states(there, here), [TcpState::Established], "and the peer has not heard from it");
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert_eq!((&client).read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_send_without_nosignal_kills_a_process() {
    let killed = child("sys::facts::a_send_without_nosignal_kills_a_process", || {
        default_sigpipe();
        let (client, mut server) = pair();
        reset(client);
        assert_eq!(recv(&mut server, &mut [0; 8]), Received::Failed(SocketError::Reset));
        assert_eq!(server.send(b"x"), Sent::Failed(SocketError::BrokenPipe), "ours says MSG_NOSIGNAL");
        let plain = write(&server, b"x");
        unreachable!("write answered {plain}");
    });
    if let Some(killed) = killed {
        assert_eq!(killed.status.signal(), Some(libc::SIGPIPE), "{}", killed.status);
    }
}

/// What a process has that does nothing about it; Rust's ignores it.
#[expect(unsafe_code, reason = "signal(2)")]
fn default_sigpipe() {
    // SAFETY: the default action installs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

#[expect(unsafe_code, reason = "write(2), which std never calls for a socket")]
fn write(socket: &impl AsFd, bytes: &[u8]) -> isize {
    // SAFETY: the descriptor is open while it is borrowed; the kernel reads `bytes` within its length.
    unsafe { libc::write(socket.as_fd().as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) }
}

// Detecting.

#[test]
fn an_error_is_returned_once_and_then_end_of_file() {
    let (client, mut server) = pair();
    reset(client);
    assert_eq!(recv(&mut server, &mut [0; 8]), Received::Failed(SocketError::Reset));
    assert_eq!(server.recv(&mut [0; 8]), Received::Eof);
    assert_eq!(server.take_error(), None);
}

#[test]
fn input_queued_before_a_reset_is_still_read() {
    let (mut client, mut server) = pair();
    client.write_all(b"last words").unwrap();
    until("it has arrived", || has_input(&server));
    reset(client);
    until("the RST has arrived", || server.evidence().unwrap().state == TcpState::Close);
    assert_eq!(server.recv(&mut [0; 64]), Received::Bytes(10));
    assert_eq!(server.recv(&mut [0; 64]), Received::Failed(SocketError::Reset));
    assert_eq!(server.recv(&mut [0; 64]), Received::Eof);
}

#[test]
fn a_reset_after_a_fin_is_a_broken_pipe_that_recv_does_not_show() {
    let (client, mut server) = pair();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(recv(&mut server, &mut [0; 8]), Received::Eof);
    reset(client);
    until("the RST has arrived", || server.evidence().unwrap().state == TcpState::Close);
    assert_eq!(server.recv(&mut [0; 8]), Received::Eof);
    assert_eq!(server.take_error(), Some(SocketError::BrokenPipe));
    assert_eq!(server.take_error(), None);
}

#[test]
fn a_peer_that_does_not_read_shows_a_shut_window_and_no_retransmits() {
    let (_client, mut server) = pair();
    fill(&mut server);
    let evidence = server.evidence().unwrap();
    assert_eq!(
        (evidence.state, evidence.snd_wnd, evidence.retransmits),
        (TcpState::Established, 0, 0),
        "{evidence}"
    );
    assert!(evidence.notsent_bytes > 0);
}

// Accepting.

#[test]
fn accepted_sockets_inherit_the_options_of_the_listener() {
    let options = SocketOptions {
        nodelay: true,
        keepalive: Some(Keepalive {
            idle: Duration::from_secs(61),
            interval: Duration::from_secs(7),
            count: 4,
        }),
        user_timeout: Some(Duration::from_millis(88_500)),
        linger2: true,
        send_buffer: Some(65_536),
        oob_inline: true,
    };
    let mut listener = Listener::open(&ListenSpec { options, ..loopback() }).unwrap();
    let address = socket_of(&listener);
    let _client = Client::connect(address).unwrap();
    let (server, _) = accept(&mut listener);
    let tcp = |server: &Stream, name| option(server, libc::IPPROTO_TCP, name);
    assert_eq!(option(&server, libc::SOL_SOCKET, libc::SO_KEEPALIVE), 1);
    assert_eq!(tcp(&server, libc::TCP_KEEPIDLE), 61);
    assert_eq!(tcp(&server, libc::TCP_KEEPINTVL), 7);
    assert_eq!(tcp(&server, libc::TCP_KEEPCNT), 4);
    assert_eq!(tcp(&server, libc::TCP_USER_TIMEOUT), 88_500);
    assert_eq!(tcp(&server, libc::TCP_NODELAY), 1);
    assert_eq!(tcp(&server, libc::TCP_LINGER2), -1);
    assert_eq!(option(&server, libc::SOL_SOCKET, libc::SO_OOBINLINE), 1);
    // The kernel doubles it, for its own overhead (socket(7)).
    assert_eq!(option(&server, libc::SOL_SOCKET, libc::SO_SNDBUF), 131_072);

    listener.set_options(&PLAIN);
    let _client = Client::connect(address).unwrap();
    let (server, _) = accept(&mut listener);
    assert_eq!(option(&server, libc::SOL_SOCKET, libc::SO_KEEPALIVE), 0);
    assert_eq!(tcp(&server, libc::TCP_USER_TIMEOUT), 0);
    assert_eq!(tcp(&server, libc::TCP_NODELAY), 0);
    assert!(tcp(&server, libc::TCP_LINGER2) > 0, "the system's tcp_fin_timeout");
}

#[test]
fn an_urgent_byte_keeps_its_place_if_that_is_asked_for_before_it_is_read() {
    for asked in [true, false] {
        let (client, mut server) = pair();
        let mut client = Stream::new(client.into());
        assert_eq!(client.send_oob(b'!'), Sent::Bytes(1));
        until("it has come", || client.evidence().unwrap().unacked == 0);
        if asked {
            server.set_oob_inline();
        }
        assert_eq!(client.send(b"after"), Sent::Bytes(5));
        let mut buffer = [0; 16];
        let expected: &[u8] = if asked { b"!after" } else { b"after" };
        let mut read = Vec::new();
        while read.len() < expected.len() {
            let Received::Bytes(count) = recv(&mut server, &mut buffer) else { panic!("{read:?}") };
            read.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(read, expected, "asked: {asked}");
    }
}

#[test]
fn the_bounds_of_what_the_kernel_takes_for_keepalive() {
    let (_client, server) = pair();
    for (name, most) in
        [(libc::TCP_KEEPIDLE, 32_767), (libc::TCP_KEEPINTVL, 32_767), (libc::TCP_KEEPCNT, 127)]
    {
        let set = |value| sockopt::set(server.as_fd(), libc::IPPROTO_TCP, name, value);
        assert_eq!(
            [set(0), set(1), set(most), set(most + 1)],
            [Err(libc::EINVAL), Ok(()), Ok(()), Err(libc::EINVAL)]
        );
    }
    let set = |value| sockopt::set(server.as_fd(), libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, value);
    assert_eq!([set(i32::MAX), set(-1)], [Ok(()), Err(libc::EINVAL)]);
}

#[test]
fn a_full_accept_queue_is_seen_and_counted() {
    let mut listener = Listener::open(&ListenSpec { backlog: 1, ..loopback() }).unwrap();
    let address = socket_of(&listener);
    assert_eq!(listener.queue(), Some(Queue { length: 0, limit: 1 }));
    let clients = [Client::connect(address).unwrap(), Client::connect(address).unwrap()];
    until("one over the limit waits", || listener.queue() == Some(Queue { length: 2, limit: 1 }));

    let before = host::host_counters().unwrap();
    // Its SYN is dropped, so this can only time out.
    let refused = Client::connect_timeout(&address, Duration::from_millis(20)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TimedOut);
    let after = host::host_counters().unwrap();
    assert!(after.overflows > before.overflows && after.drops > before.drops, "{before:?} {after:?}");

    let _ = accept(&mut listener);
    assert_eq!(listener.queue(), Some(Queue { length: 1, limit: 1 }));
    drop(clients);
}

#[test]
fn the_backlog_is_capped_by_the_host() {
    let listener = Listener::open(&ListenSpec { backlog: u32::MAX, ..loopback() }).unwrap();
    assert_eq!(listener.queue().map(|queue| queue.limit), host::somaxconn());
}

#[test]
fn a_listener_of_mio_has_a_queue_of_its_own_choice() {
    let listener = mio::net::TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let limit = tcp_info::queue(listener.as_fd()).unwrap().limit;
    // 128 before mio 1.1, 1024 since; whichever, nobody asked us.
    assert!([128, 1024].map(|limit| Some(limit).min(host::somaxconn())).contains(&Some(limit)), "{limit}");
}

#[test]
fn a_deferred_accept_waits_for_the_first_byte() {
    let mut listener = Listener::open(&loopback()).unwrap();
    sockopt::set(listener.as_fd(), libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 30).unwrap();
    let mut client = Client::connect(socket_of(&listener)).unwrap();
    let (here, there) = ends_of(&client);
    assert_eq!(states(there, here), [TcpState::Established], "connected, as it believes");
    assert_eq!(listener.queue().unwrap().length, 0);
    client.write_all(b"x").unwrap();
    let _ = accept(&mut listener);
}

#[test]
fn a_connection_reset_in_the_queue_is_accepted_with_its_address() {
    let mut listener = Listener::open(&loopback()).unwrap();
    let client = Client::connect(socket_of(&listener)).unwrap();
    let (here, there) = ends_of(&client);
    reset(client);
    until("the RST has arrived", || !states(here, there).contains(&TcpState::Established));
    let (mut server, peer) = accept(&mut listener);
    assert_eq!(peer.address(), Some(there));
    assert_eq!(server.recv(&mut [0; 8]), Received::Failed(SocketError::Reset));
}

#[test]
fn data_and_fin_of_a_connection_in_the_queue_are_kept() {
    let mut listener = Listener::open(&loopback()).unwrap();
    let mut client = Client::connect(socket_of(&listener)).unwrap();
    let (here, there) = ends_of(&client);
    client.write_all(b"early").unwrap();
    drop(client);
    until("the FIN has arrived", || states(here, there) == [TcpState::CloseWait]);
    let (mut server, _) = accept(&mut listener);
    assert_eq!(server.recv(&mut [0; 8]), Received::Bytes(5));
    assert_eq!(server.recv(&mut [0; 8]), Received::Eof);
}

#[test]
fn closing_a_listener_resets_what_waits_in_its_queue() {
    let listener = Listener::open(&loopback()).unwrap();
    let mut client = Client::connect(socket_of(&listener)).unwrap();
    until("it waits", || listener.queue().unwrap().length == 1);
    drop(listener);
    assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}
