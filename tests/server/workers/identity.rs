//! Who holds an identity, over all workers, and what reaches it there.

use crate::common::{Client, pass, until, wait_for};
use crate::workers::crowd::{RESP, all_serve, one_of_each, pids, served, signal, start, worker_of};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// The channel and the payload of the next message of a pattern.
pub(super) fn next_event(client: &mut Client) -> (String, String) {
    let mut line = || {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            client.stream.read_exact(&mut byte).expect("a line");
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    };
    assert_eq!(line(), "*4");
    // None of them has the end of a line in it.
    let mut bulks = std::iter::from_fn(|| (line().starts_with('$')).then(&mut line));
    assert_eq!(bulks.next().as_deref(), Some("pmessage"));
    bulks.next();
    (bulks.next().unwrap(), bulks.next().unwrap())
}

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
    // Each worker has a writer of its own for its log, which may come after that.
    let ends = wait_for("each to be in the log", || {
        let mut ends = server.ends();
        ends.retain(|end| end["reason"] == "peer.replaced" && end["identity"] == "dev");
        (ends.len() as u64 == replaced).then_some(ends)
    });
    let elsewhere = ends.iter().filter(|end| {
        let of_another = |key: &str| !key.starts_with(&format!("{}.", end["worker"]));
        end["by_key"].as_str().is_some_and(of_another)
    });
    let elsewhere = elsewhere.count();
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
    holder.ask("IDENT dev BEAT 5 CHANNEL t0ken", "+OK\r\n");
    channel.ask("BEATFOR dev t0ken", "+OK\r\n");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) {
        channel.send("BEAT\r\n");
        pass(Duration::from_millis(100));
    }
    assert_eq!(server.metrics()["linger_suspected_total"], 0.0, "its channel beat all the time");
    // Without its beats the holder is suspect, and with them it is not.
    until("suspicion", || server.metrics()["linger_suspected_total"] == 1.0);
    until("its revival", || {
        channel.send("BEAT\r\n");
        server.metrics()["linger_revived_total"] == 1.0
    });
    // A channel that ends makes its holder suspect at once; long before its heartbeat would.
    holder.ask("IDENT dev BEAT 3600 CHANNEL t0ken", "+OK\r\n");
    channel.ask("PING", "+PONG\r\n");
    drop(channel);
    until("suspicion of the holder", || server.metrics()["linger_suspected_total"] == 2.0);
}

#[test]
fn a_stranger_at_another_worker_proves_nothing_of_a_holder() {
    let server = start(2, &format!("{RESP}?heartbeat.grace=300ms"), &[]);
    let [mut holder, mut stranger] = one_of_each(&server);
    holder.ask("IDENT dev", "+OK\r\n");
    stranger.ask("BEATFOR dev", "+OK\r\n");
    // Nor does one that does not know what was agreed on, whose claim is refused above.
    holder.ask("IDENT other CHANNEL t0ken", "+OK\r\n");
    stranger.ask("BEATFOR other guess", "+OK\r\n");
    let ended = server.ends().len();
    drop(stranger);
    until("the end of the stranger", || server.ends().len() > ended);
    // Whatever is made of that has arrived before the answers to this, on the same channels.
    for _ in 0..3 {
        assert_eq!(server.metrics()["linger_suspected_total"], 0.0);
    }
    holder.ask("STATE other", "+online\r\n");
}

#[test]
fn after_any_number_of_take_overs_across_workers_the_last_word_on_each_identity_is_that_it_is_there() {
    const IDENTITIES: usize = 100;
    const ROUNDS: usize = 4;
    let server = start(2, &format!("{RESP}?linger=50ms"), &[]);
    let mut listeners = one_of_each(&server);
    for client in &mut listeners {
        client.ask("PSUBSCRIBE $presence:*", "*3\r\n$10\r\npsubscribe\r\n$11\r\n$presence:*\r\n:1\r\n");
    }
    let address = server.address("resp");
    let hear = |mut client: Client| {
        std::thread::spawn(move || {
            let mut heard: BTreeMap<String, Vec<String>> = BTreeMap::new();
            loop {
                let (channel, payload) = next_event(&mut client);
                let word = payload.split(' ').next().unwrap().to_owned();
                let identity = channel.strip_prefix("$presence:").unwrap().to_owned();
                if identity == "over" {
                    return heard;
                }
                heard.entry(identity).or_default().push(word);
            }
        })
    };
    let hearing = listeners.map(hear);
    // The older one of each leaves by itself at the moment at which the newer one comes, by the kernel's choice often at
    // the other worker; a load besides keeps both of them busy.
    let loads: Vec<_> = (0..2)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                for _ in 0..300 {
                    client.send("PUBLISH noise x\r\n".repeat(100));
                    client.expect(":0\r\n".repeat(100));
                }
            })
        })
        .collect();
    let devices: Vec<_> = (0..4)
        .map(|part| {
            std::thread::spawn(move || {
                let mut here: BTreeMap<usize, Client> = BTreeMap::new();
                for _ in 0..ROUNDS {
                    for number in (part..IDENTITIES).step_by(4) {
                        let mut newer = Client::connect(address);
                        newer.send(format!("IDENT dev{number}\r\n"));
                        drop(here.remove(&number));
                        newer.expect("+OK\r\n");
                        here.insert(number, newer);
                    }
                }
                here
            })
        })
        .collect();
    let here: Vec<_> = devices.into_iter().map(|part| part.join().unwrap()).collect();
    loads.into_iter().for_each(|load| load.join().unwrap());
    until("all others to have ended", || server.metrics()["linger_identities"] == IDENTITIES as f64);
    until("all events of these to be out", || {
        server
            .ends()
            .iter()
            .filter(|end| end["identity"].as_str().is_some_and(|id| id.starts_with("dev")))
            .count()
            == IDENTITIES * (ROUNDS - 1)
    });
    assert!(server.metrics()["linger_identities_moved_total"] > 10.0, "they did cross");
    let mut last = served(&server);
    last.ask("IDENT over", "+OK\r\n");
    for heard in hearing {
        let heard = heard.join().unwrap();
        assert_eq!(heard.len(), IDENTITIES);
        for (identity, words) in heard {
            assert_eq!(words.last().unwrap(), "online", "{identity}: {words:?}");
            let grammar = words.windows(2).all(|pair| {
                matches!(
                    (pair[0].as_str(), pair[1].as_str()),
                    ("online", "replaced" | "offline") | ("replaced" | "offline", "online")
                )
            });
            assert!(grammar, "{identity}: {words:?}");
        }
    }
    drop(here);
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
    let both = |listeners: &mut [Client; 2], channel: &str, payload: &str| {
        let lengths = (channel.len(), payload.len());
        let message = format!(
            "*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n${}\r\n{channel}\r\n${}\r\n{payload}\r\n",
            lengths.0, lengths.1
        );
        for client in listeners {
            client.expect(&message);
        }
    };
    let [mut one, mut two] = one_of_each(&server);
    // In the order of who publishes, to each of them once; those of its own worker are counted.
    for number in 0..100 {
        one.ask(&format!("PUBLISH news {number}"), ":1\r\n");
    }
    for number in 0..100 {
        both(&mut listeners, "news", &number.to_string());
    }
    one.ask("IDENT dev", "+OK\r\n");
    both(&mut listeners, "$presence:dev", "online");
    two.ask("IDENT dev", "+OK\r\n");
    // It never left: who watches is told of the older one, then that the newer one is there, as in one process.
    for client in &mut listeners {
        let (channel, payload) = next_event(client);
        let record: Value = serde_json::from_str(payload.strip_prefix("replaced ").unwrap()).unwrap();
        let its = format!("{}.", worker_of(&server, &two));
        assert_eq!((channel.as_str(), &record["reason"]), ("$presence:dev", &"peer.replaced".into()));
        assert!(record["by"]["key"].as_str().unwrap().starts_with(&its), "{record}");
        assert_eq!(record["by"]["peer"], two.stream.local_addr().unwrap().to_string());
    }
    both(&mut listeners, "$presence:dev", "online");
    one.expect("-GOODBYE peer.replaced\r\n");
    two.ask("IDENT other", "+OK\r\n");
    both(&mut listeners, "$presence:dev", "offline null");
    both(&mut listeners, "$presence:other", "online");
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
