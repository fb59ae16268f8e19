//! Commands of clients answer for the clients of all workers, whichever of them the kernel gave a client to.

use crate::common::{Client, Server, until};
use crate::workers::crowd::{RESP, all_serve, one_of_each, pids, served, signal, start, stop, worker_of};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Read;

/// Reads one reply.
fn reply(client: &mut Client) -> Value {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        client.stream.read_exact(&mut byte).expect("a reply");
        line.push(byte[0]);
    }
    let line = String::from_utf8(line).unwrap();
    let (kind, text) = line.trim_end().split_at(1);
    match kind {
        "*" => (0..text.parse().unwrap()).map(|_| reply(client)).collect(),
        "$" => {
            let mut bytes = vec![0; text.parse::<usize>().unwrap() + 2];
            client.stream.read_exact(&mut bytes).expect("a bulk");
            String::from_utf8(bytes).unwrap().trim_end_matches("\r\n").into()
        }
        ":" => json!(text.parse::<i64>().unwrap()),
        _ => line.trim_end().into(),
    }
}

fn ask(client: &mut Client, command: &str) -> Value {
    client.send(format!("{command}\r\n"));
    reply(client)
}

fn sorted(list: &Value) -> Vec<&str> {
    let mut names: Vec<_> = list.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

/// The value of a field of `INFO`, or of a line of `CLIENT LIST`.
fn field<'a>(text: &'a str, name: &str, sign: char) -> &'a str {
    let mut words = text.split_whitespace();
    words
        .find_map(|word| word.strip_prefix(name)?.strip_prefix(sign))
        .unwrap_or_else(|| panic!("{name} in {text}"))
}

fn peer_of(client: &Client) -> String {
    client.stream.local_addr().unwrap().to_string()
}

/// The lines of `CLIENT LIST`, by the peer.
fn line_of<'a>(list: &'a str, client: &Client) -> &'a str {
    let peer = format!(" addr={} ", peer_of(client));
    list.lines().find(|line| line.contains(&peer)).unwrap_or_else(|| panic!("{peer} in {list}"))
}

#[test]
fn a_message_and_a_question_reach_an_identity_wherever_it_is() {
    let server = start(2, RESP, &[]);
    let [mut holder, mut other] = one_of_each(&server);
    holder.ask("IDENT dev", "+OK\r\n");
    // From the moment on that the holder has its answer.
    other.ask("STATE dev", "+online\r\n");
    other.ask("SEND dev hello", ":1\r\n");
    holder.expect("*3\r\n$7\r\nmessage\r\n$11\r\n$direct:dev\r\n$5\r\nhello\r\n");
    // Commands behind a question wait for it.
    other.send("SEND dev one\r\nPING\r\nSEND nobody x\r\nSTATE nobody\r\nSEND dev two\r\n");
    other.expect(":1\r\n+PONG\r\n:0\r\n+offline\r\n:1\r\n");
    for word in ["one", "two"] {
        holder.expect(format!("*3\r\n$7\r\nmessage\r\n$11\r\n$direct:dev\r\n$3\r\n{word}\r\n"));
    }
    // In the other direction, and to itself.
    other.ask("IDENT two", "+OK\r\n");
    holder.ask("SEND two hi", ":1\r\n");
    other.expect("*3\r\n$7\r\nmessage\r\n$11\r\n$direct:two\r\n$2\r\nhi\r\n");
    other.ask("SEND two me", ":1\r\n");
    other.expect("*3\r\n$7\r\nmessage\r\n$11\r\n$direct:two\r\n$2\r\nme\r\n");
    drop(holder);
    until("it to be gone", || ask(&mut other, "STATE dev") == "+offline");
    assert_eq!(ask(&mut other, "SEND dev hello"), 0);
}

#[test]
fn an_identity_whose_connection_is_being_ended_is_offline_for_all_workers() {
    let server = start(2, &format!("{RESP}?linger=30s"), &[]);
    let [mut holder, mut other] = one_of_each(&server);
    holder.ask("IDENT dev", "+OK\r\n");
    assert_eq!(ask(&mut other, "STATE dev"), "+online");
    let id = ask(&mut holder, "CLIENT ID");
    assert_eq!(ask(&mut other, &format!("CLIENT KILL ID {id}")), 1);
    // It does not close, so that its end is still to come.
    holder.expect("-GOODBYE local.kicked\r\n");
    until("it to count as offline", || ask(&mut other, "STATE dev") == "+offline");
    assert_eq!(server.connections("resp").len(), 2, "its connection is there");
    assert_eq!(ask(&mut other, "WHO"), json!([]));
    assert_eq!(ask(&mut other, "SEND dev hello"), 0);
}

#[test]
fn who_is_there_and_what_is_listened_to_is_told_alike_by_all_workers() {
    let server = start(2, RESP, &[]);
    let mut clients = one_of_each(&server);
    for (client, name) in clients.iter_mut().zip(["one", "two"]) {
        client.ask(&format!("IDENT {name}"), "+OK\r\n");
        client.ask("HELLO 3", "%7\r\n");
        client.expect_until("modules\r\n*0\r\n");
        client.ask("SUBSCRIBE news", ">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
        client.ask(&format!("SUBSCRIBE own-{name}"), ">3\r\n");
        client.expect_until(":2\r\n");
        client.ask("PSUBSCRIBE n*", ">3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:3\r\n");
    }
    for client in &mut clients {
        assert_eq!(sorted(&ask(client, "WHO")), ["one", "two"]);
        assert_eq!(ask(client, "WHO t*"), json!(["two"]));
        assert_eq!(sorted(&ask(client, "PUBSUB CHANNELS")), ["news", "own-one", "own-two"]);
        assert_eq!(
            ask(client, "PUBSUB NUMSUB news own-two none"),
            json!(["news", 2, "own-two", 1, "none", 0])
        );
        assert_eq!(ask(client, "PUBSUB NUMPAT"), 1, "the same pattern");
    }
}

#[test]
fn the_list_of_clients_has_those_of_all_workers_and_each_can_be_ended_by_what_it_shows() {
    let server = start(2, RESP, &[]);
    let [mut one, mut two] = one_of_each(&server);
    let list = ask(&mut one, "CLIENT LIST");
    let list = list.as_str().unwrap();
    let ids: BTreeSet<_> = list.lines().map(|line| field(line, "id", '=')).collect();
    assert_eq!(ids.len(), list.lines().count(), "an id names one connection: {list}");
    for client in [&mut one, &mut two] {
        let own = ask(client, "CLIENT ID").to_string();
        assert_eq!(field(line_of(list, client), "id", '='), own);
        let info = ask(client, "CLIENT INFO");
        assert_eq!(field(info.as_str().unwrap(), "id", '='), own);
    }
    let id = field(line_of(list, &two), "id", '=');
    let alone = ask(&mut one, &format!("CLIENT LIST ID {id}"));
    assert_eq!(field(alone.as_str().unwrap(), "addr", '='), peer_of(&two));
    assert_eq!(alone.as_str().unwrap().lines().count(), 1);

    let key =
        server.connections("resp").into_iter().find(|row| row["peer"] == *peer_of(&one)).unwrap()["key"]
            .clone();
    one.ask("IDENT operator", "+OK\r\n");
    assert_eq!(ask(&mut one, &format!("CLIENT KILL ID {id}")), 1);
    two.expect("-GOODBYE local.kicked\r\n");
    drop(two);
    let end = server.end_of("local.kicked");
    assert_eq!((&end["detector"], &end["by_key"]), (&"client".into(), &key));
    assert_eq!((&end["by_peer"], &end["by_identity"]), (&peer_of(&one).into(), &"operator".into()));
    assert_eq!(ask(&mut one, &format!("CLIENT KILL ID {id}")), 0);
}

#[test]
fn clients_of_all_workers_are_ended_by_address_and_by_type_and_who_asks_has_its_reply_first() {
    let server = start(2, RESP, &[]);
    let [mut one, mut two] = one_of_each(&server);
    assert_eq!(ask(&mut one, &format!("CLIENT KILL {}", peer_of(&two))), "+OK");
    two.expect("-GOODBYE local.kicked\r\n");
    assert_eq!(ask(&mut one, "CLIENT KILL 192.0.2.1:1"), "-ERR No such client");
    let mut others: Vec<_> = (0..32).map(|_| served(&server)).collect();
    let workers: BTreeSet<_> = others.iter().map(|client| worker_of(&server, client)).collect();
    assert_eq!(workers.len(), 2);
    assert_eq!(ask(&mut one, "CLIENT KILL TYPE pubsub"), 0);
    assert_eq!(ask(&mut one, "CLIENT KILL TYPE normal SKIPME yes"), 32);
    for client in &mut others {
        client.expect("-GOODBYE local.kicked\r\n");
    }
    one.ask("CLIENT KILL TYPE normal SKIPME no", ":1\r\n");
    one.expect("-GOODBYE local.kicked\r\n");
}

#[test]
fn info_adds_up_all_workers() {
    let server = start(2, RESP, &[]);
    let mut clients = one_of_each(&server);
    for client in &mut clients {
        client.ask("HELLO 3", "%7\r\n");
        client.expect_until("modules\r\n*0\r\n");
        client.ask("SUBSCRIBE news", ">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    }
    clients.iter_mut().for_each(|client| client.ask("HELLO 2", "*14\r\n"));
    clients.iter_mut().for_each(|client| client.expect_until("modules\r\n*0\r\n"));
    let mut third = served(&server);
    let text = ask(&mut third, "INFO");
    let number = |name| field(text.as_str().unwrap(), name, ':').parse::<u64>().unwrap();
    assert_eq!(number("process_id"), u64::from(server.pid()));
    assert_eq!(number("workers"), 2);
    assert!(text.as_str().unwrap().contains("\r\nunanswered_workers:\r\n"));
    assert_eq!(number("pubsub_clients_subscriptions"), 2);
    assert_eq!(number("pubsub_channels"), 1, "the same channel");
    let (told, metrics) = (number("connected_clients"), server.metrics());
    assert_eq!(told as f64, metrics["linger_connections{state=\"open\"}"]);
    assert_eq!(number("total_connections_received") as f64, metrics["linger_connections_accepted_total"]);
    assert!(number("used_memory") > 2_000_000, "of two processes");
    let text = ask(&mut third, "INFO memory cluster");
    let sections: Vec<_> = text.as_str().unwrap().lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(sections, ["# Memory", "# Cluster"]);
}

#[test]
fn a_stalled_worker_is_named_and_what_the_supervisor_knows_is_told() {
    let server = start(2, RESP, &[]);
    let [mut one, mut two] = one_of_each(&server);
    two.ask("IDENT dev", "+OK\r\n");
    two.ask("SUBSCRIBE news", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    let stuck = pids(&server)[&2];
    stop(stuck);
    let says =
        |client: &mut Client, command: &str| ask(client, command).as_str().unwrap_or_default().to_owned();
    for _ in 0..2 {
        assert!(
            says(&mut one, "SEND dev x")
                .starts_with("-ERR worker 2 does not answer, which has that identity")
        );
        assert!(says(&mut one, "CLIENT LIST").starts_with("-ERR worker 2 does not answer; GET /connections"));
        assert!(
            says(&mut one, "CLIENT KILL ID 1")
                .starts_with("-ERR worker 2 does not answer; of the others, 0 are")
        );
        assert!(says(&mut one, "PUBSUB NUMSUB news").starts_with("-ERR worker 2 does not answer"));
        assert_eq!(
            ask(&mut one, "PUBSUB NUMSUB other"),
            json!(["other", 0]),
            "it has nobody who listens to that"
        );
        assert_eq!(field(&says(&mut one, "INFO server"), "unanswered_workers", ':'), "2");
        assert_eq!(ask(&mut one, "STATE dev"), "+online");
        assert_eq!(ask(&mut one, "WHO"), json!(["dev"]));
        assert_eq!(ask(&mut one, "PUBSUB CHANNELS"), json!(["news"]));
        // The second time it is known to be stalled, and nobody waits for it.
        until("that to be noticed", || server.events("worker_stalled").len() == 1);
    }
    signal(stuck, "CONT");
    all_serve(&server, 2);
    until("it to answer", || ask(&mut one, "PUBSUB NUMSUB news") == json!(["news", 1]));
    // What was sent meanwhile did arrive, and the sender was told that it might.
    two.expect("*3\r\n$7\r\nmessage\r\n$11\r\n$direct:dev\r\n$1\r\nx\r\n");
    signal(stuck, "KILL");
    until("its clients to be gone", || ask(&mut one, "STATE dev") == "+offline");
    all_serve(&server, 2);
    assert_eq!(ask(&mut one, "PUBSUB NUMSUB news"), json!(["news", 0]));
}

#[test]
fn a_stalled_supervisor_leaves_nobody_hanging() {
    let server = start(2, RESP, &[]);
    let [mut one, _two] = one_of_each(&server);
    stop(server.pid().into());
    one.send("WHO\r\nPING\r\n");
    one.expect("-ERR the supervisor does not answer; come back later\r\n+PONG\r\n");
    signal(server.pid().into(), "CONT");
    until("it to answer", || ask(&mut one, "WHO") == json!([]));
}

#[test]
fn long_lists_of_all_workers_are_whole_and_have_nobody_twice() {
    let server = start(3, RESP, &[]);
    let mut clients: Vec<_> = (0..240).map(|_| served(&server)).collect();
    let workers: BTreeSet<_> = server.connections("resp").iter().map(|row| row["worker"].as_u64()).collect();
    assert_eq!(workers.len(), 3);
    // Each channel has listeners at several workers.
    for (at, client) in clients.iter_mut().enumerate().take(64) {
        let names: Vec<_> = (0..500).map(|number| format!("channel-{}", (at % 16) * 250 + number)).collect();
        client.send(format!("SUBSCRIBE {}\r\nUNSUBSCRIBE none\r\n", names.join(" ")));
        client.expect_until("$4\r\nnone\r\n:500\r\n");
    }
    for (at, client) in clients.iter_mut().enumerate().skip(64) {
        client.ask(&format!("IDENT dev-{at}"), "+OK\r\n");
    }
    // More of them than have a place at once.
    let mut askers: Vec<_> = (0..20).map(|_| served(&server)).collect();
    for asker in &mut askers {
        asker.send("CLIENT LIST\r\nPUBSUB CHANNELS channel-*\r\nWHO dev-*\r\nPING\r\n");
    }
    for asker in &mut askers {
        let list = reply(asker);
        let ids: BTreeSet<_> = list.as_str().unwrap().lines().map(|line| field(line, "id", '=')).collect();
        assert_eq!((ids.len(), list.as_str().unwrap().lines().count()), (260, 260));
        let channels = reply(asker);
        let names: BTreeSet<_> = sorted(&channels).into_iter().collect();
        assert_eq!((names.len(), channels.as_array().unwrap().len()), (4250, 4250));
        assert_eq!(sorted(&reply(asker)).len(), 240 - 64);
        assert_eq!(reply(asker), "+PONG");
    }
    // Who goes away while it waits leaves its place to others.
    for asker in askers {
        let mut asker = asker;
        asker.send("CLIENT LIST\r\n".repeat(50));
        asker.reset();
    }
    assert_eq!(ask(&mut clients[100], "PUBSUB NUMSUB channel-300").as_array().unwrap().len(), 2);
    until("the list of those who are left", || {
        ask(&mut clients[100], "CLIENT LIST").as_str().unwrap().lines().count() == 240
    });
    assert!(server.stray_lines().is_empty(), "{:?}", server.stray_lines());
}

#[test]
fn who_half_closes_behind_a_question_has_its_answer() {
    let server = start(2, RESP, &[]);
    let [mut holder, mut other] = one_of_each(&server);
    holder.ask("IDENT dev", "+OK\r\n");
    other.send("SEND dev hello\r\nWHO\r\nQUIT\r\n");
    other.half_close();
    let all = String::from_utf8(other.read_to_end().unwrap()).unwrap();
    assert_eq!(all, ":1\r\n*1\r\n$3\r\ndev\r\n+OK\r\n");
    holder.expect("*3\r\n$7\r\nmessage\r\n$11\r\n$direct:dev\r\n$5\r\nhello\r\n");
}

#[test]
fn one_process_answers_for_itself() {
    let server = Server::start(&["--listen", RESP, "--admin", "127.0.0.1:0"]);
    let mut client = served(&server);
    let text = ask(&mut client, "INFO server");
    assert!(!text.as_str().unwrap().contains("workers"), "{text}");
    assert_eq!(ask(&mut client, "CLIENT ID"), 1);
}
