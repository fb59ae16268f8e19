//! One admin interface for all workers: what adds up, what is named by its worker, and who does not answer.

use crate::common::{Server, manners, until};
use crate::workers::crowd::{Directory, RESP, all_serve, one_of_each, pids, served, signal, start, stop};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn clients_are_spread_over_the_workers_and_told_of_together() {
    let server = start(4, RESP, &[]);
    let mut clients: Vec<_> = (0..64).map(|_| served(&server)).collect();
    let rows = server.connections("resp");
    assert_eq!(rows.len(), 64);
    let workers: BTreeSet<_> = rows.iter().map(|row| row["worker"].as_u64().unwrap()).collect();
    assert_eq!(workers, BTreeSet::from([1, 2, 3, 4]), "64 clients, and a worker without one");
    let keys: BTreeSet<_> = rows.iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(keys.len(), 64, "a key names one connection, over all workers");

    let metrics = server.metrics();
    assert_eq!(metrics["linger_connections{state=\"open\"}"], 64.0);
    let by_worker: Vec<_> =
        (1..=4).map(|number| metrics[&format!("linger_worker_connections{{worker=\"{number}\"}}")]).collect();
    assert_eq!(by_worker.iter().sum::<f64>(), 64.0, "{by_worker:?}");
    assert_eq!(metrics["linger_commands_total"], 64.0);
    assert_eq!(metrics["linger_listener_connections{listener=\"resp\",protocol=\"resp\"}"], 64.0);
    assert_eq!(metrics["linger_workers"], 4.0);

    // A list is cut at its limit, no matter which workers have the rows.
    let (_, body) = server.admin("GET", "/connections?limit=3");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&answer["matched"], &answer["listed"]), (&64.into(), &3.into()));
    // What is wrong with a request is said as one process says it.
    assert!(server.admin("GET", "/connections?limit=x").0.contains("400"));
    for name in ["+1.0-1", "01.0-1", "1.0-+1", "17-1", "5.17-1", "1.x"] {
        let (status, body) = server.admin("POST", &format!("/connections/{name}/end"));
        assert!(status.contains("400"), "{name}: {status}");
        assert!(
            body.contains(&format!("{name:?} names no connection")) && body.contains("2.17-4711"),
            "{body}"
        );
    }
    let (status, body) = server.admin("POST", "/connections/1.17-1/stop");
    assert!(status.contains("404") && body.contains("a server with several workers"), "{status} {body}");
    assert!(server.admin("GET", "/nowhere").0.contains("404"));

    // A key of the list ends its connection, and no other.
    let peer = clients[10].stream.local_addr().unwrap().to_string();
    let row = rows.iter().find(|row| row["peer"] == *peer).unwrap();
    let key = row["key"].as_str().unwrap();
    let end = || server.admin("POST", &format!("/connections/{key}/end"));
    let (status, body) = end();
    assert!(status.contains("202"), "{status}");
    assert_eq!(body, format!("connection {key} is being ended\n"), "by the key that was asked for");
    clients[10].expect("-GOODBYE local.kicked\r\n");
    drop(clients.remove(10));
    until("it to be gone", || server.connections("resp").len() == 63);
    let kicked = server.end_of("local.kicked");
    assert_eq!((&kicked["detector"], &kicked["by_key"]), (&"operator".into(), &"supervisor".into()));
    assert!(kicked["by_peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{kicked}");
    let (status, body) = end();
    assert!(status.contains("404"), "{status}");
    assert_eq!(body, format!("connection {key} is gone\n"));
    for client in &mut clients {
        client.ask("PING", "+PONG\r\n");
    }
}

#[test]
fn the_merged_metrics_are_well_formed() {
    let server = start(2, RESP, &["audit.interval=100ms"]);
    let _clients = one_of_each(&server);
    // It takes two of a worker to find something, and there are two of them.
    until("some audits", || server.metrics()["linger_audits_total"] >= 12.0);
    let (_, page) = server.admin("GET", "/metrics");
    let mut heads = BTreeSet::new();
    let mut series = BTreeSet::new();
    let mut typed = String::new();
    for line in page.lines() {
        if let Some(head) = line.strip_prefix("# ") {
            let mut words = head.split(' ');
            let head = (words.next().unwrap(), words.next().unwrap());
            assert!(heads.insert(head), "{head:?} twice");
            if head.0 == "TYPE" {
                head.1.clone_into(&mut typed);
            }
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            assert!(series.insert(name), "{name} twice");
            let name = name.split('{').next().unwrap();
            let part = name.strip_prefix(&typed).expect("a sample stands below its type");
            assert!(["", "_bucket", "_sum", "_count"].contains(&part), "{name} below {typed}");
        }
    }
    // The kernel's sockets are told of once each, by the worker that has them.
    let metrics = server.metrics();
    assert_eq!(metrics["linger_audit_anomalies_total{kind=\"unknown\"}"], 0.0);
    assert_eq!(metrics["linger_audit_sockets{listener=\"resp\",state=\"ESTABLISHED\"}"], 2.0);
    let (_, audit) = server.admin("GET", "/audit");
    let audit: Value = serde_json::from_str(&audit).unwrap();
    assert_eq!(audit["workers"].as_array().unwrap().len(), 2, "{audit}");
    // With the judge, where there is one.
    let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    else {
        return eprintln!("without promtool");
    };
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let judged = promtool.wait_with_output().unwrap();
    assert!(judged.status.success() && judged.stdout.is_empty(), "{judged:?}");
}

#[test]
fn an_audit_names_a_connection_as_the_list_does() {
    // Nothing else is to end one that has closed and takes nothing, and the audit only tells of it.
    let listen = "echo://127.0.0.1:0?send_buffer=64KiB&output_high=4KiB&output_low=1KiB&readiness=false&\
                  tcp_info.interval=off&audit.end=off&audit.close_wait=200ms";
    let server = start(2, listen, &["audit.interval=100ms"]);
    let mut client = server.connect("echo");
    until("reading is paused", || {
        client.send([b'x'; 8 * 1024]);
        server.metrics()["linger_connections_paused"] == 1.0
    });
    client.half_close();
    let key = server.connections("echo")[0]["key"].clone();
    until("the audit that finds it", || {
        let (_, body) = server.admin("GET", "/audit");
        let audit: Value = serde_json::from_str(&body).unwrap();
        let mut found = audit["workers"].as_array().unwrap().iter().filter_map(|its| its["found"].as_array());
        found.any(|rows| rows.iter().any(|row| row["kind"] == "close_wait" && row["key"] == key))
    });
}

#[test]
fn a_stalled_worker_is_named_and_holds_up_nobody() {
    let server = start(2, RESP, &[]);
    let mut clients = one_of_each(&server);
    let before = server.metrics();
    let stuck = pids(&server)[&2];
    stop(stuck);
    let begun = Instant::now();
    let metrics = server.metrics();
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!(metrics["linger_worker_up{worker=\"1\"}"], 1.0);
    assert_eq!(metrics["linger_worker_up{worker=\"2\"}"], 0.0);
    assert_eq!(metrics["linger_worker_unanswered_total{worker=\"2\"}"], 1.0);
    let accepted = "linger_connections_accepted_total";
    assert!(metrics[accepted] >= before[accepted], "a counter never falls");
    assert_eq!(metrics["linger_connections{state=\"open\"}"], 1.0, "what it has now is not known");
    let (_, body) = server.admin("GET", "/connections");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&answer["unanswered_workers"], &answer["matched"]), (&serde_json::json!([2]), &1.into()));
    let (status, body) = server.admin("GET", "/readyz");
    assert!(status.contains("503") && body == "worker 2: does not answer\n", "{status} {body}");
    assert!(server.admin("GET", "/healthz").0.contains("200"));
    clients[0].ask("PING", "+PONG\r\n");
    signal(stuck, "CONT");
    all_serve(&server, 2);
    clients[1].ask("PING", "+PONG\r\n");
    assert_eq!(server.metrics()["linger_connections{state=\"open\"}"], 2.0);
}

#[test]
fn the_admin_interface_of_all_workers_may_be_a_unix_socket() {
    let directory = Directory::new("unix");
    let path = directory.path("admin.sock");
    let admin = format!("unix:{path}");
    let mut server = Server::start(&["--workers", "2", "--listen", RESP, "--admin", &admin]);
    let mut stream = UnixStream::connect(&path).unwrap();
    // One connection may ask again and again, and all at once.
    let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /connections HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(format!("{request}{request}{last}").as_bytes()).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    assert_eq!(answers.matches("ready\n").count(), 2, "{answers}");
    assert!(answers.ends_with("\"matched\":0,\"unanswered_workers\":[]}\n"), "{answers}");
    // What is no request is refused, and the connection with it.
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"nonsense\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    server.signal("TERM");
    assert_eq!(server.wait_exit(), Some(0));
    assert!(!Path::new(&path).exists(), "its file goes with it");
}

#[test]
fn who_never_completes_a_first_request_at_the_admin_interface_is_ended() {
    let settings = ["admin.handshake_timeout=500ms", "admin.idle_timeout=1h"];
    let server = start(2, RESP, &settings);
    let get = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let well = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\nCache-Control: \
                no-store\r\nConnection: keep-alive\r\n\r\nok\n";
    let mut asks = server.connect("admin");
    asks.send(get);
    asks.expect(well);
    let begun = Instant::now();
    let (mut silent, mut trickles) = (server.connect("admin"), server.connect("admin"));
    assert_eq!(silent.read_to_end().unwrap(), b"");
    let ended = begun.elapsed();
    assert!(ended >= Duration::from_millis(500), "{ended:?}");
    // What it sends after that is answered with a reset.
    until("the end of the one that trickles", || {
        crate::common::pass(Duration::from_millis(20));
        trickles.stream.write_all(b"G").is_err()
    });
    // After its first request a client is idle, and has the time that it has for that.
    asks.send(get);
    asks.expect(well);
}

#[test]
fn who_never_says_anything_is_ended_as_idle_where_there_is_no_handshake_timeout() {
    let server = start(2, RESP, &["admin.handshake_timeout=off", "admin.idle_timeout=500ms"]);
    let begun = Instant::now();
    assert_eq!(server.connect("admin").read_to_end().unwrap(), b"");
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
}

#[test]
fn who_waits_for_a_place_at_the_admin_interface_has_it_when_one_is_free() {
    let server = start(2, RESP, &["admin.max_connections=1"]);
    let get = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut first = server.connect("admin");
    first.send(get);
    first.expect("HTTP/1.1 200");
    let mut second = server.connect("admin");
    second.send(get);
    drop(first);
    second.expect("HTTP/1.1 200");
}

#[test]
fn who_asks_without_end_does_not_deafen_the_supervisor() {
    let mut server = start(2, RESP, &[]);
    let stream = std::net::TcpStream::connect(server.address("admin")).unwrap();
    let (mut input, mut output) = (stream.try_clone().unwrap(), stream);
    let asks = std::thread::spawn(move || {
        let requests = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
        while output.write_all(requests.as_bytes()).is_ok() {}
    });
    let reads = std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while input.read(&mut bytes).is_ok_and(|length| length > 0) {}
    });
    // Others have answers meanwhile, and so has a signal.
    for _ in 0..3 {
        assert_eq!(server.metrics()["linger_workers"], 2.0);
    }
    server.signal("TERM");
    assert_eq!(server.wait_exit(), Some(0));
    asks.join().unwrap();
    reads.join().unwrap();
}

#[test]
fn a_worker_that_dies_during_a_question_is_not_counted_twice() {
    let server = start(3, RESP, &[]);
    let _clients: Vec<_> = (0..30).map(|_| served(&server)).collect();
    let pids = pids(&server);
    let counted = |server: &Server| server.metrics()["linger_commands_total"];
    let before = counted(&server);
    signal(pids[&2], "STOP");
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| counted(&server));
        // It has been asked, and the other has answered, once it runs out of time or the other worker is gone.
        crate::common::pass(Duration::from_millis(300));
        signal(pids[&1], "KILL");
        assert!(asked.join().unwrap() <= before);
    });
    signal(pids[&2], "CONT");
    all_serve(&server, 3);
    assert_eq!(counted(&server), before);
}

#[test]
fn foreign_names_are_refused_for_all_workers() {
    manners::foreign_names_are_refused(&start(2, RESP, &["admin.hosts=linger.example"]), "linger.example");
}

#[test]
fn the_supervisor_answers_who_waits_to_send_a_body() {
    manners::who_waits_to_send_a_body_is_answered(&start(2, RESP, &[]));
}

#[test]
fn the_supervisor_drains_a_refused_body() {
    manners::a_refused_body_is_drained(&start(2, RESP, &[]));
}

#[test]
fn head_asks_nothing_of_the_workers() {
    manners::head_produces_no_body(&start(2, RESP, &[]));
}

#[test]
fn who_is_idle_makes_way_at_the_supervisor() {
    manners::who_is_idle_makes_way(&start(2, RESP, &["admin.max_connections=4"]));
}

#[test]
fn the_busy_do_not_hide_whether_the_workers_are_well() {
    let settings = ["admin.max_connections=2", "admin.send_buffer=8KiB"];
    manners::the_busy_do_not_hide_whether_it_is_well(&start(2, RESP, &settings));
}

#[test]
fn a_long_list_of_all_workers_waits_for_its_reader() {
    let server = start(3, "echo://127.0.0.1:0", &[]);
    let _clients: Vec<_> = (0..500).map(|_| server.connect("echo")).collect();
    until("all of them to be accepted", || server.connections("echo").len() == 500);
    manners::a_long_list_waits_for_its_reader(&server, 500);
    // A limit is kept to the row, wherever a page ends.
    for limit in [1, 7, 250, 499] {
        let (_, body) = server.admin("GET", &format!("/connections?limit={limit}"));
        let list: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&list["matched"], list["connections"].as_array().unwrap().len()), (&500.into(), limit));
    }
}

#[test]
fn many_patterns_and_a_storm_of_presence_events_do_not_hold_up_the_supervisor() {
    let server = start(2, RESP, &[]);
    let [mut listener, mut storm] = one_of_each(&server);
    // Each is compared with every event, and matches none.
    let names: Vec<_> = (0..1000).map(|number| format!("$presence:*{}b{number}", "a".repeat(60))).collect();
    for names in names.chunks(100) {
        listener.send(format!("PSUBSCRIBE {}\r\n", names.join(" ")));
    }
    until("all of them to be known", || server.metrics()["linger_patterns"] == 1000.0);
    let drains = std::thread::spawn({
        let mut stream = storm.stream.try_clone().unwrap();
        move || {
            let mut bytes = [0; 4096];
            while stream.read(&mut bytes).is_ok_and(|length| length > 0) {}
        }
    });
    let long = "a".repeat(100);
    let idents: String = (0..2000).map(|number| format!("IDENT {long}{number}\r\n")).collect();
    storm.send(idents);
    for _ in 0..20 {
        let begun = Instant::now();
        assert!(server.admin("GET", "/healthz").0.contains("200"));
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        crate::common::pass(Duration::from_millis(50));
    }
    // The others may go on with it as long as they like.
    drop((listener, server, storm));
    drains.join().unwrap();
}

#[test]
fn histograms_of_all_workers_add_up_and_never_fall() {
    let server = start(2, RESP, &[]);
    drop(one_of_each(&server));
    let name = "linger_connection_lifetime_seconds";
    let told = |part: &str| server.metrics()[&format!("{name}_{part}")];
    let counted = |server: &Server| {
        let metrics = server.metrics();
        let count = metrics[&format!("{name}_count{{listener=\"resp\"}}")];
        assert_eq!(count, metrics[&format!("{name}_bucket{{listener=\"resp\",le=\"+Inf\"}}")]);
        let buckets = metrics.iter().filter(|(series, _)| series.starts_with(&format!("{name}_bucket")));
        assert!(buckets.map(|(_, below)| *below).all(|below| below <= count));
        count
    };
    until("all to have ended", || server.metrics()["linger_connections{state=\"open\"}"] == 0.0);
    assert!(counted(&server) >= 2.0);
    let before = counted(&server);
    assert!(told("sum{listener=\"resp\"}") > 0.0);
    signal(pids(&server)[&1], "KILL");
    until("its successor", || server.metrics()["linger_worker_restarts_total{worker=\"1\"}"] == 1.0);
    all_serve(&server, 2);
    assert_eq!(counted(&server), before, "what the dead had counted stays");
    let metrics = server.metrics();
    assert!(metrics["process_resident_memory_bytes"] > 3.0 * 1_000_000.0, "of three processes");
    assert!(metrics["linger_turn_seconds_count"] > 0.0);
}
