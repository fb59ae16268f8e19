//! How the admin interface treats its clients: the same for one process and for several workers.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use super::http::{Answer, Http};
use super::{Server, until};
use std::io::{Read, Write};
use std::net::TcpStream;

/// A name that the interface does not go by is not answered (DNS rebinding). `named`: one that the settings name.
pub fn foreign_names_are_refused(server: &Server, named: &str) {
    let mut http = Http::connect(server);
    let port = server.address("admin").port();
    let mut ask = |method: &str, host: &str| -> Answer {
        http.send(&format!("{method} /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        http.answer(method == "HEAD")
    };
    for ours in ["localhost", "127.0.0.1", "[::1]:7070", &format!("localhost:{port}"), named] {
        assert_eq!(ask("GET", ours).status, 200, "{ours}");
    }
    for foreign in ["evil.example", &format!("evil.example:{port}"), "localhost.evil.example"] {
        let answer = ask("GET", foreign);
        assert_eq!(answer.status, 421, "{foreign}");
        assert!(answer.body.contains(foreign) && answer.body.contains("admin.hosts"), "{}", answer.body);
        assert_eq!(ask("POST", foreign).status, 421, "{foreign}");
    }
    let mut nameless = Http::connect(server);
    nameless.send("GET /healthz HTTP/1.1\r\n\r\n");
    assert_eq!(nameless.answer(false).status, 400);
}

/// Who waits for `100 Continue` before it sends a body has it, or the answer.
pub fn who_waits_to_send_a_body_is_answered(server: &Server) {
    let post = |path: &str, more: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n{more}\r\n"
        )
    };
    let mut http = Http::connect(server);
    // Wanted: it is told to go on, and the next request is read behind the body.
    let gone = if server.events("worker_started").is_empty() { "999999-1" } else { "1.999999-1" };
    http.send(&post(&format!("/connections/{gone}/end"), ""));
    assert_eq!(http.answer(true).status, 100);
    assert_eq!(http.answer(false).status, 404);
    http.send("{}");
    assert_eq!(http.ask("GET", "/healthz").body, "ok\n");
    // Refused: the answer comes at once, in the place of the permission, and nobody guesses whether a body follows.
    for (path, more, status) in
        [("/nowhere", "", 404), ("/metrics", "", 405), ("/", "Origin: http://a\r\n", 403)]
    {
        let mut http = Http::connect(server);
        http.send(&post(path, more));
        let answer = http.answer(false);
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.head.contains("Connection: close\r\n"), "{path}: {}", answer.head);
    }
    let mut http = Http::connect(server);
    http.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\nExpect: miracles\r\n\r\n");
    assert_eq!(http.answer(false).status, 417);
}

/// Who is refused while it still sends can send all of it, and reads why.
pub fn a_refused_body_is_drained(server: &Server) {
    let length = 4 << 20;
    let mut http = Http::connect(server);
    http.send(&format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"));
    let body = vec![b'x'; 64 * 1024];
    for _ in 0..length / body.len() {
        http.0.get_mut().write_all(&body).expect("the server takes what it has refused");
    }
    assert_eq!(http.answer(false).status, 413);
    http.0.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    assert!(http.ended());
}

/// Nothing is produced to learn how long it would be.
pub fn head_produces_no_body(server: &Server) {
    let mut http = Http::connect(server);
    for path in ["/connections", "/metrics"] {
        let answer = http.ask("HEAD", path);
        assert_eq!(answer.status, 200);
        assert!(!answer.head.contains("Content-Length"), "{}", answer.head);
        assert!(answer.head.contains("Transfer-Encoding: chunked\r\n"), "as for GET: {}", answer.head);
        assert_eq!(http.ask("GET", path).status, 200, "the next answer is in its place");
    }
}

/// When all of four places are taken, the connection makes way that has been idle for longest.
pub fn who_is_idle_makes_way(server: &Server) {
    let mut idle: Vec<_> = (0..4).map(|_| Http::connect(server)).collect();
    for http in &mut idle {
        assert_eq!(http.ask("GET", "/healthz").status, 200);
    }
    // The first one is used again: the second is now idle for longest.
    assert_eq!(idle[0].ask("GET", "/healthz").status, 200);
    let mut newcomer = Http::connect(server);
    assert_eq!(newcomer.ask("GET", "/healthz").status, 200);
    assert!(idle[1].ended(), "it has made way");
    for at in [0, 2, 3] {
        assert_eq!(idle[at].ask("GET", "/healthz").status, 200, "{at}");
    }
    assert_eq!(newcomer.ask("GET", "/metrics").status, 200, "it has a place like any other");
}

/// When all of two places are taken by clients that are busy, only whether the server is well is still answered.
/// Wants little room in the kernel: `admin.send_buffer=8KiB`.
pub fn the_busy_do_not_hide_whether_it_is_well(server: &Server) {
    let mut busy: Vec<_> = (0..2).map(|_| Http::connect(server)).collect();
    for http in &mut busy {
        // Never read: each takes its place with an answer that is not taken.
        http.0.get_ref().set_nonblocking(true).unwrap();
        until("its answers to be stuck", || {
            let requests = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
            !is_taken(http.0.get_mut(), requests.as_bytes())
        });
    }
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 503), ("/healthz", 200)] {
        let mut http = Http::connect(server);
        let answer = http.ask("GET", path);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(http.ended(), "its place is for the next one");
    }
    drop(busy);
    until("places to be free", || Http::connect(server).ask("GET", "/metrics").status == 200);
}

/// Whether the kernel takes all of it at once.
fn is_taken(stream: &mut TcpStream, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
                return false;
            }
        }
    }
    true
}

/// A list is produced as its reader takes it: one that does not read costs no more than a bound, and then has all of it.
pub fn a_long_list_waits_for_its_reader(server: &Server, connections: usize) {
    let mut http = Http::connect(server);
    http.send(&"GET /connections?limit=10000 HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50));
    for _ in 0..50 {
        let answer = http.answer(false);
        assert!(answer.head.contains("Transfer-Encoding: chunked\r\n"), "{}", answer.head);
        let list: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let rows = list["connections"].as_array().unwrap();
        let keys: std::collections::BTreeSet<_> =
            rows.iter().map(|row| row["key"].as_str().unwrap()).collect();
        assert!(keys.len() >= connections, "{}", keys.len());
        assert_eq!((&list["listed"], keys.len()), (&list["matched"], rows.len()));
    }
    // Cut short, it is known to be.
    let mut old = Http::connect(server);
    old.send("GET /connections?limit=10000 HTTP/1.0\r\n\r\n");
    let answer = old.answer(false);
    assert!(answer.head.contains("Connection: close\r\n") && answer.body.ends_with("}\n"), "{}", answer.head);
    let mut rest = Vec::new();
    old.0.read_to_end(&mut rest).unwrap();
}
