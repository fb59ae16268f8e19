//! The admin interface as scrapers, scripts and people use it.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]
#![allow(clippy::float_cmp, reason = "metrics are whole numbers")]
#![allow(clippy::print_stderr, reason = "a part that is skipped is said")]
#![allow(clippy::disallowed_types, reason = "clients of the tests are ordinary blocking ones")]
#![allow(clippy::disallowed_methods, reason = "tests measure on the real clock")]

use crate::common::http::Http;
use crate::common::{Server, manners, until, wait_for};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

fn start() -> Server {
    Server::start(&[
        "--listen",
        "resp://127.0.0.1:0",
        "--listen",
        "echo://127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ])
}

#[test]
fn metrics_are_what_prometheus_expects_and_what_was_done() {
    let server = start();
    let mut client = server.connect("resp");
    client.ask("PING", "+PONG\r\n");
    client.ask("IDENT dev1", "+OK\r\n");
    client.ask("SUBSCRIBE news", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    server.connect("resp").ask("PUBLISH news hello", ":1\r\n");
    client.expect("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
    let mut echo = server.connect("echo");
    echo.send("12345");
    echo.expect("12345");
    drop(echo);
    server.wait_ends(2);
    let metrics = server.metrics();
    let is = |name: &str, value: f64| assert_eq!(metrics.get(name), Some(&value), "{name}");
    is("linger_identities", 1.0);
    is("linger_channels", 1.0);
    is("linger_commands_total", 4.0);
    is("linger_messages_total", 1.0);
    is("linger_ends_total{class=\"peer\",reason=\"peer.fin\"}", 2.0);
    is("linger_detections_total{detector=\"zero_read\"}", 2.0);
    is("linger_closes_total{mode=\"peer_first\"}", 2.0);
    is("linger_listener_connections{listener=\"resp\",protocol=\"resp\"}", 1.0);
    is("linger_listener_connections{listener=\"echo\",protocol=\"echo\"}", 0.0);
    // Who asks is no client.
    is("linger_connections_accepted_total", 3.0);
    is("linger_connections{state=\"open\"}", 1.0);
    is("linger_connection_lifetime_seconds_count{listener=\"echo\"}", 1.0);
    is("linger_connection_lifetime_seconds_bucket{listener=\"echo\",le=\"+Inf\"}", 1.0);
    is("linger_detection_silence_seconds_count{listener=\"resp\"}", 0.0);
    is(&format!("linger_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0);
    is("linger_config_last_reload_successful", 1.0);
    assert!(metrics["linger_turn_seconds_count"] > 0.0 && metrics["linger_turn_seconds_sum"] > 0.0);
    let bytes = std::fs::read_to_string(format!("/proc/{}/statm", server.pid())).unwrap();
    let pages: f64 = bytes.split(' ').nth(1).unwrap().parse().unwrap();
    let resident = metrics["process_resident_memory_bytes"] / 4096.0;
    assert!((resident / pages - 1.0).abs() < 0.2, "{resident} {pages}");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    for at in ["process_start_time_seconds", "linger_config_last_reload_timestamp_seconds"] {
        assert!((now - metrics[at]).abs() < 60.0, "{at}: {} at {now}", metrics[at]);
    }
    assert!(metrics["process_cpu_seconds_total"] > 0.0);
    assert!(
        metrics.get("process_open_fds").is_none_or(|open| *open > 3.0 && *open < metrics["process_max_fds"])
    );
    is("linger_draining", 0.0);
    let (_, page) = server.admin("GET", "/metrics");
    promtool(&page);
}

/// Prometheus's own linter, where it is installed.
fn promtool(page: &str) {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("promtool is not installed: that part is skipped");
        return;
    };
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn connections_are_listed_filtered_and_counted() {
    let server = start();
    let mut named = server.connect("resp");
    named.ask("IDENT dev1", "+OK\r\n");
    let mut plain = server.connect("resp");
    plain.ask("PING", "+PONG\r\n");
    let mut echo = server.connect("echo");
    echo.send("x");
    echo.expect("x");
    let mut http = Http::connect(&server);
    let mut list = |query: &str| -> Value {
        let answer = http.ask("GET", &format!("/connections{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        assert!(answer.head.contains("application/json"), "{}", answer.head);
        serde_json::from_str(&answer.body).unwrap()
    };
    assert_eq!(list("")["matched"], 4, "the one that asks is a connection too");
    let found = list("?identity=dev1");
    assert_eq!((&found["matched"], &found["listed"]), (&1.into(), &1.into()));
    let one = &found["connections"][0];
    assert_eq!(
        (&one["id"], &one["listener"], &one["state"]),
        (&"dev1".into(), &"resp".into(), &"open".into())
    );
    assert_eq!(one["peer"], named.stream.local_addr().unwrap().to_string());
    assert_eq!(
        (&one["bytes_in"], &one["bytes_out"], &one["queue_bytes"]),
        (&12.into(), &5.into(), &0.into())
    );
    assert!(one["age_s"].as_f64().unwrap() >= one["silence_s"].as_f64().unwrap());
    assert_eq!(list("?listener=resp")["matched"], 2);
    assert_eq!(list("?listener=resp&state=open")["matched"], 2);
    assert_eq!(list("?state=suspect")["matched"], 0);
    assert_eq!(list(&format!("?peer={}", plain.stream.local_addr().unwrap()))["matched"], 1);
    assert_eq!(list("?peer=127.0.0.1")["matched"], 4);
    assert_eq!(list("?peer=127.0.0.2")["matched"], 0);
    let bounded = list("?limit=1");
    assert_eq!((&bounded["matched"], &bounded["listed"]), (&4.into(), &1.into()));
    assert_eq!(list("?limit=0")["listed"], 0);

    for (query, why) in [
        ("?lisener=resp", "unknown parameter lisener: known are limit, listener"),
        ("?limit=many", "limit must be a number up to 10000"),
        ("?limit=10001", "limit must be a number up to 10000"),
        ("?limit=-1", "limit must be a number up to 10000"),
    ] {
        let answer = http.ask("GET", &format!("/connections{query}"));
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.body.contains(why), "{query}: {}", answer.body);
    }
}

#[test]
fn an_operator_ends_one_connection_and_never_its_successor() {
    let server = start();
    let mut http = Http::connect(&server);
    let mut key_of_the_client = || {
        let answer = http.ask("GET", "/connections?listener=resp");
        let list: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(list["matched"], 1, "{list}");
        list["connections"][0]["key"].as_str().unwrap().to_owned()
    };
    let mut first = server.connect("resp");
    first.ask("PING", "+PONG\r\n");
    let stale = key_of_the_client();
    drop(first);
    server.wait_ends(1);
    let mut second = server.connect("resp");
    second.ask("PING", "+PONG\r\n");
    let fresh = key_of_the_client();
    let slot = |key: &str| key.split('-').next().unwrap().to_owned();
    assert_eq!(slot(&stale), slot(&fresh), "the slot was used again");
    assert_ne!(stale, fresh);

    let gone = http.ask("POST", &format!("/connections/{stale}/end"));
    assert_eq!((gone.status, gone.body), (404, format!("connection {stale} is gone\n")));
    second.ask("PING", "+PONG\r\n");

    let done = http.ask("POST", &format!("/connections/{fresh}/end"));
    assert_eq!((done.status, done.body), (202, format!("connection {fresh} is being ended\n")));
    second.expect("-GOODBYE local.kicked\r\n");
    drop(second);
    let end = &server.wait_ends(2)[1];
    assert_eq!((&end["reason"], &end["detector"]), (&"local.kicked".into(), &"operator".into()));
    assert_eq!((&end["key"], &end["close"]), (&fresh.into(), &"peer_first_after_goodbye".into()));

    let nonsense = http.ask("POST", "/connections/me/end");
    assert_eq!(nonsense.status, 400);
    assert!(nonsense.body.contains("17-4711"), "says what a key looks like: {}", nonsense.body);
    assert_eq!(http.ask("POST", "/connections/1-1/stop").status, 404);
    assert_eq!(http.ask("GET", "/connections/1-1/end").status, 405);
}

#[test]
fn http_as_clients_speak_it() {
    let server = start();
    let mut http = Http::connect(&server);
    assert_eq!(http.ask("GET", "/healthz").body, "ok\n");
    assert_eq!(http.ask("GET", "/readyz").body, "ready\n");
    let index = http.ask("GET", "/");
    for path in ["/metrics", "/healthz", "/readyz", "/connections", "/end"] {
        assert!(index.body.contains(path), "{}", index.body);
    }
    let head = http.ask("HEAD", "/healthz");
    assert_eq!(head.status, 200);
    assert!(head.head.contains("Content-Length: 3\r\n"), "as for GET: {}", head.head);
    let missing = http.ask("GET", "/metric");
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("no such path: /metric") && missing.body.contains("GET  /metrics"));
    let wrong = http.ask("POST", "/metrics");
    assert_eq!(wrong.status, 405);
    assert!(wrong.head.contains("Allow: ") && wrong.body.contains("use GET"));

    // Pipelined, and the last one in pieces.
    let one = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    http.send(&format!("{one}HEAD /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n{}", &one[..10]));
    assert_eq!(http.answer(false).body, "ok\n");
    assert_eq!(http.answer(true).status, 200);
    http.send(&one[10..]);
    assert_eq!(http.answer(false).body, "ok\n");

    // A web page can make a browser send this; it cannot leave out its origin.
    http.send("POST /connections/0-1/end HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n");
    assert_eq!(http.answer(false).status, 403);

    let last = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    http.send(last);
    let answer = http.answer(false);
    assert!(answer.head.contains("Connection: close\r\n"));
    assert!(http.ended(), "RFC 9112 9.6: the server closes");
    let mut old = Http::connect(&server);
    old.send("GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(old.answer(false).status, 200);
    assert!(old.ended(), "HTTP/1.0 reads until then");
    assert_eq!(server.sockets_in("admin", "TIME_WAIT"), 0, "although it was the first");

    for (request, status) in [
        ("NONSENSE\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\n\r\n", 400),
        ("DELETE /connections HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    ] {
        let mut http = Http::connect(&server);
        http.send(request);
        let answer = http.answer(false);
        assert_eq!(answer.status, status, "{request:?}: {}", answer.body);
        assert!(!answer.body.is_empty());
    }
    // The server is as well as before.
    assert_eq!(Http::connect(&server).ask("GET", "/readyz").status, 200);
}

#[test]
fn on_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("linger-admin-{}.sock", std::process::id()));
    // What a killed server leaves behind is no obstacle.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let admin = format!("unix:{}", path.display());
    let mut server = Server::start(&["--listen", "resp://127.0.0.1:0", "--admin", &admin]);
    let mut http = Http::connect_unix(&path);
    assert_eq!(http.ask("GET", "/readyz").body, "ready\n");
    let list: Value = serde_json::from_str(&http.ask("GET", "/connections").body).unwrap();
    assert_eq!(list["connections"][0]["peer"], "unix");
    promtool(&http.ask("GET", "/metrics").body);
    server.signal("TERM");
    assert_eq!(server.wait_exit(), Some(0));
    assert!(!path.exists(), "its file goes with it");
}

#[test]
fn foreign_names_are_refused() {
    let server = Server::start(&[
        "--listen",
        "echo://127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--set",
        "admin.hosts=linger.example, ops",
    ]);
    manners::foreign_names_are_refused(&server, "linger.example");
}

#[test]
fn who_waits_to_send_a_body_is_answered() {
    manners::who_waits_to_send_a_body_is_answered(&start());
}

#[test]
fn a_refused_body_is_drained() {
    manners::a_refused_body_is_drained(&start());
}

#[test]
fn head_produces_no_body() {
    manners::head_produces_no_body(&start());
}

fn with_places(places: u32) -> Server {
    let places = format!("admin.max_connections={places}");
    let listen = ["--listen", "echo://127.0.0.1:0", "--admin", "127.0.0.1:0"];
    Server::start(&[&listen[..], &["--set", &places, "--set", "admin.send_buffer=8KiB"]].concat())
}

#[test]
fn who_is_idle_makes_way() {
    let server = with_places(4);
    manners::who_is_idle_makes_way(&server);
    let end = wait_for("its record", || server.ends().into_iter().next());
    assert_eq!((&end["reason"], &end["detector"]), (&"local.limit".into(), &"policy".into()));
}

#[test]
fn the_busy_do_not_hide_whether_it_is_well() {
    manners::the_busy_do_not_hide_whether_it_is_well(&with_places(2));
}

#[test]
fn a_long_list_waits_for_its_reader() {
    let server = start();
    let _clients: Vec<_> = (0..500).map(|_| server.connect("echo")).collect();
    until("all of them to be accepted", || server.connections("echo").len() == 500);
    manners::a_long_list_waits_for_its_reader(&server, 500);
}

#[test]
fn the_permissions_of_a_unix_socket_are_a_setting() {
    use std::os::unix::fs::PermissionsExt;
    for (set, mode) in [(None, 0o660), (Some("admin.socket_mode=0600"), 0o600)] {
        let path = std::env::temp_dir().join(format!("linger-mode-{}-{mode:o}.sock", std::process::id()));
        let admin = format!("unix:{}", path.display());
        let mut arguments = vec!["--listen", "resp://127.0.0.1:0", "--admin", &admin];
        arguments.extend(set.iter().flat_map(|set| ["--set", set]));
        let _server = Server::start(&arguments);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
    }
}

#[test]
fn a_reload_tells_whether_the_configuration_was_sound() {
    let path = std::env::temp_dir().join(format!("linger-reload-{}.toml", std::process::id()));
    std::fs::write(&path, "").unwrap();
    let config = path.to_str().unwrap();
    for more in [&[][..], &["--workers", "2"]] {
        let arguments = ["--config", config, "--listen", "echo://127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let server = Server::start(&[&arguments[..], more].concat());
        let told = || server.metrics()["linger_config_last_reload_successful"];
        let at = || server.metrics()["linger_config_last_reload_timestamp_seconds"];
        let begun = at();
        assert_eq!(told(), 1.0);
        for (text, outcome) in [("nonsense", 0.0), ("", 1.0)] {
            std::fs::write(&path, text).unwrap();
            server.signal("HUP");
            until("the reload to be told", || told() == outcome);
        }
        assert!(at() > begun, "{} {begun}", at());
    }
    std::fs::remove_file(&path).unwrap();
}
