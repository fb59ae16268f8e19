//! Who holds an identity, over all workers, and what reaches it there.

use crate::common::{Client, pass, until};
use crate::crowd::{RESP, all_serve, one_of_each, pids, served, signal, start, worker_of};
use serde_json::Value;
use std::io::Read;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

#[test]
fn an_identity_moves_from_worker_to_worker_and_is_never_held_twice() {
    let server = start(2, RESP, &[]);
    let mut moves = 0;
    let mut holder: Option<(u64, Client)> = None;
    let mut replaced = 0;
    while moves < 4 {
        let mut newer = server.connect("resp");
        newer.ask("IDENT dev BEAT 60", "+OK\r\n");
        let its = worker_of(&server, &newer);
        if let Some((before, mut older)) = holder.take() {
            moves += usize::from(before != its);
            replaced += 1;
            older.expect("-GOODBYE peer.replaced\r\n");
            drop(older);
        }
        newer.ask("PING", "+PONG\r\n");
        until("one to hold it", || {
            let (_, body) = server.admin("GET", "/connections?identity=dev");
            let answer: Value = serde_json::from_str(&body).unwrap();
            answer["matched"] == 1 && answer["connections"][0]["worker"] == its
        });
        holder = Some((its, newer));
    }
    until("each to be counted", || server.ended("peer.replaced") == replaced);
    assert_eq!(server.metrics()["linger_identities_moved_total"], 4.0);
    let elsewhere =
        server.events("identity_replaced").iter().filter(|event| !event["newer_worker"].is_null()).count();
    assert_eq!(elsewhere, 4);
    // A worker that dies gives up what it held: the next one replaces nobody.
    let (worker, mut last) = holder.unwrap();
    signal(pids(&server)[&worker], "KILL");
    let _ = last.read_to_end();
    all_serve(&server, 2);
    let mut next = server.connect("resp");
    next.ask("IDENT dev", "+OK\r\n");
    next.ask("PING", "+PONG\r\n");
    assert_eq!(server.metrics()["linger_identities"], 1.0);
    assert_eq!(server.metrics()["linger_identities_moved_total"], 4.0);
}

#[test]
fn claims_that_race_leave_one_holder() {
    const AT_ONCE: usize = 8;
    let server = start(3, &format!("{RESP}?linger=50ms"), &[]);
    let address = server.address("resp");
    let mut left: Option<Client> = None;
    for round in 1..=10 {
        let barrier = Arc::new(Barrier::new(AT_ONCE));
        let claimers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let barrier = Arc::clone(&barrier);
                std::thread::spawn(move || {
                    let mut client = Client::connect(address);
                    client.ask("PING", "+PONG\r\n");
                    barrier.wait();
                    client.ask("IDENT dev", "+OK\r\n");
                    client
                })
            })
            .collect();
        let mut all: Vec<_> = claimers.into_iter().map(|one| one.join().unwrap()).collect();
        all.extend(left.take());
        until("the others to be replaced", || server.connections("resp").len() == 1);
        let rows = server.connections("resp");
        assert_eq!((rows.len(), &rows[0]["id"]), (1, &"dev".into()), "{rows:?}");
        let is_it = |client: &Client| client.stream.local_addr().unwrap().to_string() == rows[0]["peer"];
        let mut it = all.into_iter().find(is_it).expect("it is among those that claimed");
        it.ask("PING", "+PONG\r\n");
        left = Some(it);
        let replaced = (round * AT_ONCE - 1) as u64;
        assert_eq!(server.ended("peer.replaced"), replaced, "each but the last, once");
    }
}

#[test]
fn a_heartbeat_channel_reaches_an_identity_of_another_worker() {
    let server = start(2, &format!("{RESP}?heartbeat.grace=1h"), &[]);
    let [mut holder, mut channel] = one_of_each(&server);
    holder.ask("IDENT dev BEAT 1", "+OK\r\n");
    channel.ask("BEATFOR dev", "+OK\r\n");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2500) {
        channel.send("BEAT\r\n");
        pass(Duration::from_millis(100));
    }
    assert_eq!(server.metrics()["linger_suspected_total"], 0.0, "it was vouched for all the time");
    // Without its beats the holder is suspect, and with them it is not.
    until("suspicion", || server.metrics()["linger_suspected_total"] == 1.0);
    until("its revival", || {
        channel.send("BEAT\r\n");
        server.metrics()["linger_revived_total"] == 1.0
    });
    // A channel that ends makes its holder suspect at once; long before its heartbeat would.
    holder.ask("IDENT dev BEAT 3600", "+OK\r\n");
    channel.ask("PING", "+PONG\r\n");
    drop(channel);
    until("suspicion of the holder", || server.metrics()["linger_suspected_total"] == 2.0);
}

#[test]
fn what_cannot_cross_workers_is_refused_rather_than_lost() {
    let server = start(2, RESP, &[]);
    let [mut holder, mut other] = one_of_each(&server);
    holder.ask("IDENT dev", "+OK\r\n");
    let reads = |client: &mut Client| {
        let mut bytes = [0; 512];
        let length = client.stream.read(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    for command in ["SEND dev hello", "STATE dev"] {
        other.send(format!("{command}\r\n"));
        let said = reads(&mut other);
        assert!(
            said.starts_with("-ERR nobody holds that identity on worker 2 of 2, which you are connected to"),
            "{said}"
        );
    }
    holder.ask("STATE dev", "+online\r\n");
    holder.ask("SEND dev hello", ":1\r\n");
}

#[test]
fn who_was_told_that_it_listens_hears_what_is_published_then() {
    let server = start(2, RESP, &[]);
    let [mut listener, mut other] = one_of_each(&server);
    for number in 0..300 {
        let channel = format!("channel-{number}");
        let lengths = channel.len();
        listener.ask(
            &format!("SUBSCRIBE {channel}"),
            &format!("*3\r\n$9\r\nsubscribe\r\n${lengths}\r\n{channel}\r\n:1\r\n"),
        );
        other.ask(&format!("PUBLISH {channel} now"), ":0\r\n");
        listener.expect(format!("*3\r\n$7\r\nmessage\r\n${lengths}\r\n{channel}\r\n$3\r\nnow\r\n"));
        listener.ask(
            &format!("UNSUBSCRIBE {channel}"),
            &format!("*3\r\n$11\r\nunsubscribe\r\n${lengths}\r\n{channel}\r\n:0\r\n"),
        );
    }
}

#[test]
fn those_who_listen_hear_of_the_clients_of_all_workers() {
    let server = start(2, RESP, &[]);
    let mut listeners = one_of_each(&server);
    for client in &mut listeners {
        client.ask("PSUBSCRIBE *", "*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:1\r\n");
    }
    let mut both = |channel: &str, payload: &str| {
        let lengths = (channel.len(), payload.len());
        let message = format!(
            "*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n${}\r\n{channel}\r\n${}\r\n{payload}\r\n",
            lengths.0, lengths.1
        );
        for client in &mut listeners {
            client.expect(&message);
        }
    };
    let [mut one, mut two] = one_of_each(&server);
    // In the order of who publishes, to each of them once; those of its own worker are counted.
    for number in 0..100 {
        one.ask(&format!("PUBLISH news {number}"), ":1\r\n");
    }
    for number in 0..100 {
        both("news", &number.to_string());
    }
    one.ask("IDENT dev", "+OK\r\n");
    both("$presence:dev", "online");
    two.ask("IDENT dev", "+OK\r\n");
    // It never left: a take-over is one more of these, as in one process, and nothing else.
    both("$presence:dev", "online");
    one.expect("-GOODBYE peer.replaced\r\n");
    two.ask("IDENT other", "+OK\r\n");
    both("$presence:dev", "offline null");
    both("$presence:other", "online");
    // A worker that dies tells nobody; the supervisor does.
    let [_, mut left] = {
        signal(pids(&server)[&1], "KILL");
        all_serve(&server, 2);
        one_of_each(&server)
    };
    let [mut first, mut second] = listeners;
    assert!(first.read_to_end().map_or(true, |said| said.is_empty()));
    left.ask("PUBLISH news still", ":1\r\n");
    second.expect("*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$4\r\nnews\r\n$5\r\nstill\r\n");
    let [mut dying, _] = one_of_each(&server);
    dying.ask("IDENT gone", "+OK\r\n");
    let message = |payload: &str| {
        let length = payload.len();
        format!("*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$14\r\n$presence:gone\r\n${length}\r\n{payload}\r\n")
    };
    second.expect(message("online"));
    signal(pids(&server)[&1], "KILL");
    second.expect(message("offline null"));
    assert_eq!(server.metrics()["linger_relays_dropped_total"], 0.0);
}

#[test]
fn a_topic_that_several_workers_listen_to_is_counted_once() {
    let server = start(2, RESP, &[]);
    let mut clients = one_of_each(&server);
    for client in &mut clients {
        client.ask("SUBSCRIBE news", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
        client.ask("PSUBSCRIBE n*", "*3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:2\r\n");
    }
    let [mut one, mut two] = clients;
    one.ask("SUBSCRIBE own", "*3\r\n$9\r\nsubscribe\r\n$3\r\nown\r\n:3\r\n");
    let counted = || {
        let metrics = server.metrics();
        (metrics["linger_channels"], metrics["linger_patterns"])
    };
    assert_eq!(counted(), (2.0, 1.0));
    two.ask("UNSUBSCRIBE news", "*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    assert_eq!(counted(), (2.0, 1.0), "the other worker still listens");
    drop(one);
    until("its topics to be forgotten", || counted() == (0.0, 1.0));
}

#[test]
fn a_flood_of_messages_from_another_worker_takes_no_more_memory_than_its_subscribers_leave_unread() {
    let server = start(2, RESP, &[]);
    let [one, two] = one_of_each(&server);
    let (mut publisher, listener) = (two, one);
    let mut listeners = vec![listener];
    until("100 clients of the first worker", || {
        let client = served(&server);
        if worker_of(&server, &client) == 1 {
            listeners.push(client);
        }
        listeners.len() == 100
    });
    let (count, last) = (20_000, "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\nlast\r\n");
    for client in &mut listeners {
        client.ask("SUBSCRIBE c", "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
    }
    let readers: Vec<_> = listeners
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                let (mut bytes, mut tail) = (vec![0; 65_536], Vec::new());
                while !tail.ends_with(last.as_bytes()) {
                    let length = client.stream.read(&mut bytes).unwrap();
                    assert!(length > 0, "the server has closed");
                    tail.extend_from_slice(&bytes[..length]);
                    tail.drain(..tail.len().saturating_sub(last.len()));
                }
            })
        })
        .collect();
    let peak = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", pids(&server)[&1])).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let before = peak();
    for _ in 0..count / 100 {
        publisher.send("PUBLISH c x\r\n".repeat(100));
        publisher.expect(":0\r\n".repeat(100));
    }
    publisher.ask("PUBLISH c last", ":0\r\n");
    for reader in readers {
        reader.join().unwrap();
    }
    // 2 million deliveries: all at once they would be some 100 MB.
    assert!(peak() - before < 32 * 1024, "{} KiB more", peak() - before);
}
