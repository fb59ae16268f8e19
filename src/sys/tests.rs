//! The poller, the clock and the signals of [`Os`], on the real kernel.

use super::testing::{self, Client, in_child, until};
use super::*;
use crate::net::{CloseHow, Received, Sent, Stream as _};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const WATCHED: Token = Token(0x0000_0007_8000_0001);

/// A client, its server's end, and a poller that watches that for input and output.
fn watched() -> (Client, Stream, Os) {
    let (client, server) = testing::pair();
    let mut os = Os::without_signals().unwrap();
    os.watch(&server, WATCHED, Interest::ReadWrite).unwrap();
    (client, server, os)
}

/// Polls until the flags are these; those of spurious and earlier entries may come before.
fn expect_readiness(os: &mut Os, token: Token, wanted: Readiness) {
    let mut ready = Vec::new();
    until(&format!("{wanted:?}"), || {
        os.poll(Some(Duration::from_millis(100)), &mut ready).unwrap();
        assert!(ready.iter().all(|entry| entry.token == token), "{ready:?}");
        ready.last().is_some_and(|entry| entry.readiness == wanted)
    });
}

#[test]
fn a_listener_is_ready_when_a_connection_waits() {
    let mut os = Os::without_signals().unwrap();
    let mut listener = os.listen(&testing::loopback(), Token(3)).unwrap();
    let _client = Client::connect(testing::socket_of(&listener)).unwrap();
    expect_readiness(&mut os, Token(3), Readiness::READABLE);
    let _ = testing::accept(&mut listener);
}

#[test]
fn the_flags_of_input_and_of_room_for_output() {
    let (mut client, mut server, mut os) = watched();
    expect_readiness(&mut os, WATCHED, Readiness::WRITABLE);
    client.write_all(b"x").unwrap();
    expect_readiness(&mut os, WATCHED, Readiness::READABLE | Readiness::WRITABLE);
    assert_eq!(server.recv(&mut [0; 8]), Received::Bytes(1));
}

#[test]
fn watched_for_input_only_room_for_output_is_not_told() {
    let (mut client, server, mut os) = watched();
    os.rewatch(&server, WATCHED, Interest::Read).unwrap();
    client.write_all(b"x").unwrap();
    expect_readiness(&mut os, WATCHED, Readiness::READABLE);
    os.rewatch(&server, WATCHED, Interest::ReadWrite).unwrap();
    expect_readiness(&mut os, WATCHED, Readiness::READABLE | Readiness::WRITABLE);
}

#[test]
fn a_fin_closes_reading_only() {
    let (client, _server, mut os) = watched();
    drop(client);
    let wanted = Readiness::READABLE | Readiness::WRITABLE | Readiness::READ_CLOSED;
    expect_readiness(&mut os, WATCHED, wanted);
}

#[test]
fn a_reset_raises_every_flag() {
    let (client, _server, mut os) = watched();
    Stream::new(client.into()).close(CloseHow::Reset);
    let wanted = Readiness::READABLE
        | Readiness::WRITABLE
        | Readiness::READ_CLOSED
        | Readiness::WRITE_CLOSED
        | Readiness::ERROR;
    expect_readiness(&mut os, WATCHED, wanted);
}

#[test]
fn a_fin_after_our_own_half_close_closes_both_without_error() {
    let (client, server, mut os) = watched();
    let ours: Client = server.as_fd().try_clone_to_owned().unwrap().into();
    ours.shutdown(Shutdown::Write).unwrap();
    drop(client);
    let wanted = Readiness::READABLE | Readiness::WRITABLE | Readiness::READ_CLOSED | Readiness::WRITE_CLOSED;
    expect_readiness(&mut os, WATCHED, wanted);
}

#[test]
fn a_partial_read_brings_no_new_edge() {
    let (mut client, mut server, mut os) = watched();
    client.write_all(b"xy").unwrap();
    expect_readiness(&mut os, WATCHED, Readiness::READABLE | Readiness::WRITABLE);
    assert_eq!(server.recv(&mut [0; 1]), Received::Bytes(1));
    let mut ready = Vec::new();
    os.poll(Some(Duration::from_millis(50)), &mut ready).unwrap();
    assert_eq!(ready, []);
    assert_eq!(server.recv(&mut [0; 1]), Received::Bytes(1));
}

#[test]
fn a_closed_socket_leaves_the_poller_by_itself() {
    let (mut client, server, mut os) = watched();
    client.write_all(b"x").unwrap();
    until("the byte is here", || server.evidence().unwrap().last_data_recv_ms < 1000);
    server.close(CloseHow::Plain);
    let mut ready = Vec::new();
    os.poll(Some(Duration::ZERO), &mut ready).unwrap();
    assert_eq!(ready, []);
}

#[test]
fn what_does_not_fit_into_one_poll_comes_with_the_next() {
    let mut os = Os::without_signals().unwrap();
    let pairs: Vec<_> = (0..8).map(|_| testing::pair()).collect();
    os.events = mio::Events::with_capacity(4);
    for (index, (_, server)) in pairs.iter().enumerate() {
        os.watch(server, Token(index as u64), Interest::ReadWrite).unwrap();
    }
    let mut ready = Vec::new();
    os.poll(Some(Duration::from_secs(10)), &mut ready).unwrap();
    assert_eq!(ready.len(), 4);
    os.poll(Some(Duration::from_secs(10)), &mut ready).unwrap();
    let mut tokens: Vec<_> = ready.iter().map(|entry| entry.token.0).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, (0..8).collect::<Vec<_>>());
}

#[test]
fn a_poll_never_ends_before_its_timeout() {
    let mut os = Os::without_signals().unwrap();
    let timeout = Duration::from_micros(1500);
    for _ in 0..20 {
        let before = os.now();
        os.poll(Some(timeout), &mut Vec::new()).unwrap();
        assert!(os.now().since(before) >= timeout);
    }
}

#[test]
fn watching_what_is_watched_is_a_fault() {
    let (_client, server, mut os) = watched();
    assert_eq!(os.watch(&server, WATCHED, Interest::Read), Err(SocketError::Other(libc::EEXIST)));
}

#[test]
fn signals_arrive_as_readiness() {
    in_child("sys::tests::signals_arrive_as_readiness", || {
        let mut os = Os::new().unwrap();
        assert_eq!(os.next_signal(), None);
        for (number, wanted) in [
            (SIGTERM, Signal::Terminate),
            (SIGINT, Signal::Terminate),
            (SIGHUP, Signal::Reload),
            (SIGUSR1, Signal::Report),
        ] {
            signal_hook::low_level::raise(number).unwrap();
            expect_readiness(&mut os, Token::SIGNAL, Readiness::READABLE);
            assert_eq!(os.next_signal(), Some(wanted));
            assert_eq!(os.next_signal(), None);
        }
        signal_hook::low_level::raise(libc::SIGPIPE).unwrap();
        assert_eq!(os.next_signal(), None, "ignored");
    });
}

#[test]
fn two_signals_at_once_are_both_told() {
    in_child("sys::tests::two_signals_at_once_are_both_told", || {
        let mut os = Os::new().unwrap();
        signal_hook::low_level::raise(SIGUSR1).unwrap();
        signal_hook::low_level::raise(SIGTERM).unwrap();
        let mut told: Vec<_> = std::iter::from_fn(|| os.next_signal()).collect();
        told.sort_by_key(|&signal| signal == Signal::Report);
        assert_eq!(told, [Signal::Terminate, Signal::Report]);
    });
}

#[test]
fn a_signal_ends_a_poll_with_nothing() {
    in_child("sys::tests::a_signal_ends_a_poll_with_nothing", || {
        let handled = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGUSR1, Arc::clone(&handled)).unwrap();
        let mut os = Os::without_signals().unwrap();
        let thread = this_thread();
        let done = Arc::new(AtomicBool::new(false));
        let sender = std::thread::spawn({
            let done = Arc::clone(&done);
            // Again and again, because the first may come before the poll has begun.
            move || until("the poll has ended", || done.load(Ordering::Relaxed) || interrupt(thread))
        });
        let (before, mut ready) = (os.now(), Vec::new());
        os.poll(Some(Duration::from_secs(60)), &mut ready).unwrap();
        done.store(true, Ordering::Relaxed);
        assert_eq!(ready, []);
        assert!(handled.load(Ordering::Relaxed));
        assert!(os.now().since(before) < Duration::from_secs(60));
        sender.join().unwrap();
    });
}

#[expect(unsafe_code, reason = "pthread_self(3)")]
fn this_thread() -> libc::pthread_t {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { libc::pthread_self() }
}

/// Always false: not done yet.
#[expect(unsafe_code, reason = "pthread_kill(3)")]
fn interrupt(thread: libc::pthread_t) -> bool {
    // SAFETY: the thread joins the one that calls this, so it still runs.
    unsafe { libc::pthread_kill(thread, SIGUSR1) };
    false
}

#[test]
fn keepalive_takes_whole_seconds() {
    assert_eq!(whole_seconds(Duration::ZERO), 1);
    assert_eq!(whole_seconds(Duration::from_millis(1001)), 2);
    assert_eq!(whole_seconds(Duration::from_secs(2)), 2);
    assert_eq!(whole_seconds(Duration::MAX), c_int::MAX);
}

#[test]
fn a_client_sees_the_end_of_a_dropped_stream() {
    let (mut client, mut server, _os) = watched();
    assert_eq!(server.send(b"x"), Sent::Bytes(1));
    drop(server);
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"x");
}
