//! Input that is random, cut short, oversized, slow or meant to harm: the server lives, says nothing it does not
//! mean to say, answers the others meanwhile, keeps within its bounds, and counts every connection once.

#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::float_cmp,
    clippy::single_match_else,
    reason = "tests may panic, print, compare counters, wait on the real clock, and close a client by taking it"
)]

use crate::common::{Client, Server, until};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

fn start(query: &str) -> Server {
    let resp = format!("resp://127.0.0.1:0?linger=200ms{query}");
    let echo = format!("echo://127.0.0.1:0?linger=200ms{query}");
    let admin = ["--admin", "127.0.0.1:0", "--set", "admin.linger=200ms"];
    Server::start(&[&["--listen", &resp, "--listen", &echo], &admin[..]].concat())
}

/// What holds after whatever was done to the server, once the clients of the test are gone.
fn assert_unharmed(server: &Server) {
    server.connect("resp").ask("PING", "+PONG\r\n");
    let mut echo = server.connect("echo");
    echo.send("still here");
    echo.expect("still here");
    drop(echo);
    until("every client to have ended", || {
        server.connections("resp").is_empty() && server.connections("echo").is_empty()
    });
    let metrics = server.metrics();
    let sum = |name: &str| -> f64 {
        metrics.iter().filter(|(full, _)| full.starts_with(name)).map(|(_, value)| value).sum()
    };
    let (accepted, open) = (sum("linger_connections_accepted_total"), sum("linger_connections{"));
    for family in ["linger_ends_total{", "linger_detections_total{", "linger_closes_total{"] {
        assert_eq!(accepted, sum(family) + open, "{family} and those that are open account for all");
    }
    for gauge in ["linger_identities", "linger_channels", "linger_patterns", "linger_output_waiting_bytes"] {
        assert_eq!(metrics[gauge], 0.0, "{gauge} without a client");
    }
    // Standard streams, poller, waker, signals, reserve, three listeners, and a few admin connections.
    until("the descriptors to be given back", || server.descriptors() <= 24);
    assert_eq!(server.stray_lines(), [""; 0]);
    assert_eq!(server.ended("local.internal"), 0);
}

/// Resident memory of the server, in KiB.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Sends as much as goes without anybody reading the answers; whether it all went.
fn stuff(client: &mut Client, bytes: &[u8]) -> bool {
    client.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    client.stream.write_all(bytes).is_ok()
}

/// Says FIN and reads what comes, whatever it is and however it ends.
fn finish(mut client: Client) -> Vec<u8> {
    let _ = client.stream.shutdown(std::net::Shutdown::Write);
    let mut bytes = Vec::new();
    let _ = client.stream.read_to_end(&mut bytes);
    bytes
}

#[test]
fn what_is_no_frame_is_refused_by_name() {
    let server = start("");
    let oversized = [b"*2\r\n$4\r\nECHO\r\n$99999\r\n".to_vec(), vec![b'x'; 200_000]];
    let refused: [(Vec<u8>, &str); 9] = [
        (b"*99999999999\r\n".to_vec(), "protocol"),
        (b"*1\r\n$99999999999999999999\r\n".to_vec(), "protocol"),
        (b"*-9223372036854775808\r\n*2\r\n$-5\r\n".to_vec(), "protocol"),
        (b"*1\r\n!3\r\nfoo\r\n".to_vec(), "protocol.malformed"),
        (oversized[0].clone(), "protocol.oversized"),
        (oversized[1].clone(), "protocol.oversized"),
        (b"GET \"unbalanced\r\n".to_vec(), "protocol.malformed"),
        (b"*2\r\n$4\r\nPING\r\nxx".to_vec(), "protocol.malformed"),
        (b"*1\r\n$4\r\nPINGxx".to_vec(), "protocol.malformed"),
    ];
    for (count, (bytes, reason)) in refused.iter().enumerate() {
        let mut client = server.connect("resp");
        client.send(bytes);
        let answer = finish(client);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
        assert!(
            answer.starts_with(b"-ERR Protocol error"),
            "{shown:?}: {}",
            String::from_utf8_lossy(&answer)
        );
        let ends = server.wait_ends(count + 1);
        let given = ends[count]["reason"].as_str().unwrap();
        assert!(given.starts_with(reason), "{shown:?}: {given}");
    }
    assert_unharmed(&server);
}

#[test]
fn protocols_at_the_wrong_door_and_garbage_for_the_admin() {
    let server = start("");
    let mut http_on_resp = server.connect("resp");
    http_on_resp.send("GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST / HTTP/1.1\r\nHost: x\r\n\r\n");
    finish(http_on_resp);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(300_000));
    let headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(20_000));
    let garbage: [&[u8]; 9] = [
        b"*1\r\n$4\r\nPING\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /connections?limit=999999999999999999999 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /connections/4294967295-4294967295/end HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /connections/%00%ff/end HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"\0\0\0\0\r\n\r\n",
        long.as_bytes(),
        headers.as_bytes(),
    ];
    for bytes in garbage {
        let mut client = server.connect("admin");
        stuff(&mut client, bytes);
        finish(client);
    }
    assert_unharmed(&server);
}

#[test]
fn a_byte_at_a_time_is_as_good_as_all_at_once() {
    let server = start("");
    let mut clients: Vec<_> = (0..8).map(|_| server.connect("resp")).collect();
    for byte in b"*2\r\n$4\r\nECHO\r\n$5\r\na\r\nb\0\r\nPING \"x\\x00y\"\r\n" {
        for client in &mut clients {
            client.send([*byte]);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    for client in &mut clients {
        client.expect("$5\r\na\r\nb\0\r\n$3\r\nx\0y\r\n");
    }
    // Cut short in the middle of a frame: said so.
    let count = clients.len();
    for mut client in clients {
        client.send("*2\r\n$4\r\nECH");
        drop(client);
    }
    assert!(server.wait_ends(count).iter().all(|end| end["reason"] == "peer.fin_midframe"));
    assert_unharmed(&server);
}

#[test]
fn a_hundred_thousand_pings_in_one_write_get_as_many_pongs() {
    const PINGS: usize = 100_000;
    let server = start("");
    let mut client = server.connect("resp");
    let mut writer = client.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || writer.write_all("PING\r\n".repeat(PINGS).as_bytes()));
    client.expect("+PONG\r\n".repeat(PINGS));
    writer.join().unwrap().unwrap();
    drop(client);
    assert_unharmed(&server);
}

/// Each of 64 clients may make the server hold a paused output, a partial frame and its share of the shared
/// parts: well below a megabyte. 64 MiB is what unbounded buffers pass within the first tenth of this.
#[test]
fn clients_that_never_read_cost_no_more_than_their_bounds() {
    let server = start("&send_buffer=64KiB");
    let before = resident(&server);
    let clients: Vec<_> = (0..64)
        .map(|number| {
            let mut client = server.connect(if number % 2 == 0 { "resp" } else { "echo" });
            std::thread::spawn(move || {
                assert!(!stuff(&mut client, &flood_of(number)), "nobody takes all that");
                client
            })
        })
        .collect();
    let clients: Vec<_> = clients.into_iter().map(|thread| thread.join().unwrap()).collect();
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB for 64 clients that do not read");
    println!("{grown} KiB for 64 clients that do not read");
    clients.into_iter().for_each(Client::reset);
    assert_unharmed(&server);
}

fn flood_of(number: usize) -> Vec<u8> {
    let length = 1000 + number;
    let mut frame = format!("*2\r\n$4\r\nECHO\r\n${length}\r\n").into_bytes();
    frame.extend(std::iter::repeat_n(b'x', length));
    frame.extend_from_slice(b"\r\n");
    frame.repeat(16_000)
}

/// After the last request of a connection nothing is kept, however much comes until the linger deadline.
#[test]
fn what_follows_a_request_to_close_is_not_kept() {
    // The deadline is far away: what is kept until it is still there when it is measured.
    let server = Server::start(&[
        "--listen",
        "resp://127.0.0.1:0?linger=20s",
        "--listen",
        "echo://127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--set",
        "admin.linger=20s",
    ]);
    let before = resident(&server);
    for first in ["GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", "no request\r\n\r\n"] {
        let mut client = server.connect("admin");
        client.send(first);
        stuff(&mut client, &vec![b'x'; 256 << 20]);
        let grown = resident(&server).saturating_sub(before);
        assert!(grown < 16 * 1024, "{grown} KiB kept after {first:?}");
        client.reset();
    }
    for first in ["QUIT\r\n", "*x\r\n"] {
        let mut client = server.connect("resp");
        client.send(first);
        stuff(&mut client, &vec![b'x'; 256 << 20]);
        let grown = resident(&server).saturating_sub(before);
        assert!(grown < 16 * 1024, "{grown} KiB kept after {first:?}");
        client.reset();
    }
    assert_unharmed(&server);
}

/// A receive stops at the urgent mark (`net/ipv4/tcp.c: tcp_recvmsg_locked`), so a short one proves nothing.
#[test]
fn urgent_data_hides_nothing_behind_it() {
    let server = start("");
    for _ in 0..50 {
        let mut client = server.connect("resp");
        // All of it is there before the server looks.
        server.signal("STOP");
        client.send("PING a\r\n");
        SockRef::from(&client.stream).send_out_of_band(b"!").unwrap();
        client.send("PING b\r\n");
        server.signal("CONT");
        client.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.expect("$1\r\na\r\n$1\r\nb\r\n");
    }
    assert_unharmed(&server);
}

#[test]
fn half_open_floods_leave_nothing() {
    let server = start("&handshake_timeout=300ms");
    let clients: Vec<_> = (0..1000).map(|_| server.connect("resp")).collect();
    let mut kept = Vec::new();
    // Connected and gone before the server has looked; connected and silent; connected and cut short.
    for (number, mut client) in clients.into_iter().enumerate() {
        match number % 4 {
            0 => client.reset(),
            1 => drop(client),
            // It may come too late: on a busy machine the server's patience with the first is over by now.
            2 => drop(client.stream.write_all(b"*1\r\n$4")),
            _ => kept.push(client),
        }
    }
    let ends = server.wait_ends(1000);
    assert!(ends.iter().any(|end| end["reason"] == "protocol.handshake_timeout"));
    drop(kept);
    assert_unharmed(&server);
}

#[test]
fn a_storm_of_messages_reaches_many_subscribers() {
    const SUBSCRIBERS: usize = 200;
    const MESSAGES: usize = 500;
    let server = start("&output_max=64MiB");
    let mut subscribers: Vec<_> = (0..SUBSCRIBERS).map(|_| server.connect("resp")).collect();
    for subscriber in &mut subscribers {
        subscriber.ask("SUBSCRIBE storm", "*3\r\n$9\r\nsubscribe\r\n$5\r\nstorm\r\n:1\r\n");
    }
    let mut publisher = server.connect("resp");
    publisher.send("PUBLISH storm 0123456789\r\n".repeat(MESSAGES));
    publisher.expect(format!(":{SUBSCRIBERS}\r\n").repeat(MESSAGES));
    let message = "*3\r\n$7\r\nmessage\r\n$5\r\nstorm\r\n$10\r\n0123456789\r\n";
    for subscriber in &mut subscribers {
        subscriber.expect(message.repeat(MESSAGES));
    }
    assert_eq!(server.ended("slow.bytes") + server.ended("slow.time"), 0);
    drop((subscribers, publisher));
    assert_unharmed(&server);
}

#[test]
fn subscriptions_and_names_are_bounded_and_given_back() {
    let server = start("");
    let mut client = server.connect("resp");
    client.send("HELLO 3\r\n");
    for number in 0..3000 {
        client.send(format!("SUBSCRIBE channel{number}\r\nPSUBSCRIBE pattern{number}*\r\n"));
    }
    client
        .send([&b"*2\r\n$5\r\nIDENT\r\n$6\r\n\0\xff\r\n\x1b'\r\nCLIENT SETNAME \"\\x00\"\r\n"[..]].concat());
    client.send(format!(
        "IDENT {}\r\nWHO {}\r\nPUBLISH {} x\r\n",
        "i".repeat(60_000),
        "[".repeat(1000),
        "*".repeat(1000)
    ));
    let answer = finish(client);
    assert!(!answer.is_empty());
    assert_unharmed(&server);
}

#[test]
fn kills_of_oneself_and_of_the_killed() {
    let server = start("");
    for _ in 0..50 {
        let mut client = server.connect("resp");
        client.send("CLIENT ID\r\n");
        let mut id = String::new();
        while !id.ends_with("\r\n") {
            let mut byte = [0];
            client.stream.read_exact(&mut byte).unwrap();
            id.push(char::from(byte[0]));
        }
        let kill = format!("CLIENT KILL ID {} SKIPME no\r\n", &id[1..id.len() - 2]);
        client.send(kill.repeat(10));
        client.send("CLIENT KILL TYPE normal SKIPME no\r\nPING\r\n");
        let answer = String::from_utf8(finish(client)).unwrap();
        // It is ended before its next command is carried out. Whether the goodbye comes depends on which is read first,
        // its FIN or its ending.
        assert!(answer.starts_with(":1\r\n"), "{answer}");
    }
    assert_unharmed(&server);
}

#[test]
fn two_clients_that_take_one_identity_from_each_other() {
    let server = start("");
    let mut watcher = server.connect("resp");
    watcher.send("PSUBSCRIBE $presence:*\r\n");
    // Pipelined on two living connections, and again and again on new ones.
    let (mut one, mut two) = (server.connect("resp"), server.connect("resp"));
    for _ in 0..200 {
        let _ = one.stream.write_all(b"IDENT prize\r\n");
        let _ = two.stream.write_all(b"IDENT prize\r\n");
        let mut third = server.connect("resp");
        third.send("IDENT prize BEAT 1\r\nSTATE prize\r\nIDENT other\r\nIDENT prize\r\n");
    }
    finish(one);
    finish(two);
    until("the prize to be free", || server.metrics()["linger_identities"] == 0.0);
    drop(watcher);
    assert_unharmed(&server);
}

/// What a random client does.
#[derive(Clone, Debug)]
enum Step {
    Bytes(usize, Vec<u8>),
    HalfClose(usize),
    Reset(usize),
    Close(usize),
    Drain(usize),
}

const CLIENTS: usize = 5;

fn command() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "PING",
        "PING x",
        "ECHO hello",
        "QUIT",
        "RESET",
        "HELLO 3",
        "HELLO 2",
        "HELLO 9",
        "IDENT a",
        "IDENT b BEAT 1",
        "IDENT a BEAT 1 SERVERPING",
        "BEAT",
        "BEATFOR a",
        "BEATFOR a t",
        "IDENT a CHANNEL t",
        "BEATFOR b",
        "SEND a x",
        "SEND b x",
        "WHO",
        "WHO a*",
        "STATE a",
        "SUBSCRIBE c d",
        "UNSUBSCRIBE",
        "UNSUBSCRIBE c",
        "PSUBSCRIBE *",
        "PSUBSCRIBE $presence:*",
        "PUNSUBSCRIBE",
        "PUBLISH c hello",
        "PUBLISH $presence:a x",
        "PUBSUB CHANNELS",
        "PUBSUB NUMSUB c",
        "CLIENT LIST",
        "CLIENT INFO",
        "CLIENT KILL TYPE pubsub",
        "CLIENT KILL TYPE normal",
        "CLIENT KILL ID 3 SKIPME no",
        "CLIENT ID",
        "INFO",
        "COMMAND",
        "HELP",
        "NONSENSE",
        "CLIENT",
        "SUBSCRIBE",
        "IDENT",
        "\"",
        "",
    ]);
    prop_oneof![
        12 => line.prop_map(|line| format!("{line}\r\n").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 1..200),
        1 => Just(b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$3\r\n".to_vec()),
        1 => Just("PING\r\n".repeat(20_000).into_bytes()),
        1 => Just("COMMAND DOCS\r\n".repeat(50).into_bytes()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..CLIENTS;
    prop_oneof![
        16 => (who.clone(), command()).prop_map(|(who, bytes)| Step::Bytes(who, bytes)),
        1 => who.clone().prop_map(Step::HalfClose),
        1 => who.clone().prop_map(Step::Reset),
        1 => who.clone().prop_map(Step::Close),
        2 => who.prop_map(Step::Drain),
    ]
}

/// Plays a session against a server; a client that is gone is replaced by a new one, now on resp, now on echo.
fn play(server: &Server, steps: &[Step]) {
    let fresh = |who: usize| {
        let client = server.connect(if who == 0 { "echo" } else { "resp" });
        client.stream.set_nonblocking(true).unwrap();
        client
    };
    let mut clients: Vec<_> = (0..CLIENTS).map(fresh).collect();
    for step in steps {
        match step {
            Step::Bytes(who, bytes) => match clients[*who].stream.write(bytes) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => clients[*who] = fresh(*who),
                _ => {}
            },
            Step::HalfClose(who) => drop(clients[*who].stream.shutdown(std::net::Shutdown::Write)),
            Step::Reset(who) => std::mem::replace(&mut clients[*who], fresh(*who)).reset(),
            Step::Close(who) => clients[*who] = fresh(*who),
            Step::Drain(who) => {
                let mut buffer = [0; 16384];
                while clients[*who].stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
            }
        }
    }
}

#[test]
fn random_sessions_do_no_harm() {
    let server = start("&heartbeat.grace=50ms&handshake_timeout=200ms");
    let bystander = server.connect("echo");
    // LINGER_SEED replays a run.
    let seed = std::env::var("LINGER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed
        .unwrap_or_else(|| (u64::from(std::process::id()) << 16) ^ u64::from(server.address("resp").port()));
    println!("LINGER_SEED={seed}");
    let config =
        Config { cases: 100, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() };
    let sessions = prop::collection::vec(step(), 1..120);
    TestRunner::new(config)
        .run(&sessions, |steps| {
            play(&server, &steps);
            // On echo: no CLIENT KILL can meet it.
            let mut echoed = [0];
            (&bystander.stream).write_all(b"x").expect("the others are served");
            (&bystander.stream).read_exact(&mut echoed).expect("the others are served");
            prop_assert_eq!(server.stray_lines(), Vec::<String>::new());
            Ok(())
        })
        .unwrap();
    drop(bystander);
    // What the last of them have sent may still be read, and may kill any client that is there.
    until("the sessions to be over", || server.connections("resp").is_empty());
    assert_unharmed(&server);
}
