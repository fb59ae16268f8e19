//! How servers are found to be, and what follows: checks, what clients see, and the operator's word.

use super::{Backend, Record, gateway, nowhere, pair, reload, whole_of};
use crate::common::file::TempFile;
use crate::common::{Client, DEADLINE, Server, pass, until, wait_for};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

const OFTEN: &str = "check.interval=100ms&check.timeout=5s";

/// The changes of state of a server that were told, each with what it was found by and why.
fn changes(server: &Server, of: SocketAddr) -> Vec<[String; 3]> {
    let of_server =
        server.events("upstream_state").into_iter().filter(|event| event["server"] == of.to_string());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    of_server.map(|event| [text(&event["state"]), text(&event["by"]), text(&event["reason"])]).collect()
}

/// Waits for the change that is told as the `count`th.
fn changed(server: &Server, of: SocketAddr, count: usize) -> [String; 3] {
    wait_for("a change of state", || changes(server, of).into_iter().nth(count - 1))
}

/// What `GET /upstreams` tells of a server.
fn told(server: &Server, of: SocketAddr) -> Value {
    let (status, body) = server.admin("GET", "/upstreams");
    assert!(status.contains("200"), "{status}");
    let told: Value = serde_json::from_str(&body).unwrap();
    let servers = told["upstreams"][0]["servers"].as_array().unwrap().clone();
    servers.into_iter().find(|server| server["address"] == of.to_string()).unwrap()
}

/// Says how a server is to be.
fn say(server: &Server, of: SocketAddr, state: &str) -> String {
    let (status, body) = server.admin("POST", &format!("/upstreams/gateway/{of}?state={state}"));
    assert!(status.contains("200"), "{status} {body}");
    body
}

/// Checks of a server that had this result.
fn checked(server: &Server, of: SocketAddr, result: &str) -> usize {
    let labels = format!("{{upstream=\"gateway\",server=\"{of}\",result=\"{result}\"}}");
    server.metrics().get(&format!("linger_upstream_checks_total{labels}")).map_or(0, |count| whole_of(*count))
}

fn is_up(server: &Server, of: SocketAddr) -> bool {
    let labels = format!("{{upstream=\"gateway\",server=\"{of}\"}}");
    whole_of(server.metrics()[&format!("linger_upstream_up{labels}")]) == 1
}

/// A client has a server: they talk.
fn talk(client: &mut Client, upstream: &mut Client) {
    client.send("ping");
    upstream.expect("ping");
    upstream.send("pong");
    client.expect("pong");
}

/// A client is relayed to a server that is connected to by checks as well.
fn serve(server: &Server, backend: &Backend) -> (Client, Client) {
    let mut client = server.connect("gateway");
    client.send("hello");
    let upstream = wait_for("the client's connection", || {
        let mut upstream = backend.accept();
        let mut first = [0; 5];
        // What checks have opened says nothing.
        matches!(upstream.stream.read_exact(&mut first), Ok(()) if &first == b"hello").then_some(upstream)
    });
    (client, upstream)
}

/// What a server of the tests does with each connection.
const ANSWERS: u8 = 0;
const LOADS: u8 = 1;
const HANGS_UP: u8 = 2;

/// A server that answers what it is sent, or does not, in a thread of its own.
struct Answering {
    address: SocketAddr,
    manner: Arc<AtomicU8>,
}

impl Answering {
    fn start(manner: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let manner = Arc::new(AtomicU8::new(manner));
        let own = Arc::clone(&manner);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let manner = Arc::clone(&own);
                std::thread::spawn(move || Self::serve(stream.unwrap(), &manner));
            }
        });
        Self { address, manner }
    }

    fn serve(mut stream: std::net::TcpStream, manner: &AtomicU8) {
        let mut bytes = [0; 64];
        while let Ok(1..) = stream.read(&mut bytes) {
            let answer = match manner.load(Ordering::SeqCst) {
                ANSWERS => "+PONG\r\n",
                LOADS => "-LOADING\r\n",
                _ => return,
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn now(&self, manner: u8) {
        self.manner.store(manner, Ordering::SeqCst);
    }
}

#[test]
fn a_server_that_fails_its_checks_gets_nothing_until_they_pass() {
    let (first, second) = (Backend::start(), Backend::start());
    let (dies, stays) = (first.address(), second.address());
    let query = format!("balance=round_robin&check.style=connect&check.fall=3&{OFTEN}");
    let server = gateway(&format!("{dies},{stays}"), &query);
    until("checks", || checked(&server, dies, "passed") > 0 && checked(&server, stays, "passed") > 0);
    drop(first);
    assert_eq!(changed(&server, dies, 1), ["down", "check", "refused"]);
    assert!(!is_up(&server, dies) && is_up(&server, stays));
    let event = &server.events("upstream_state")[0];
    assert_eq!(
        [&event["upstream"], &event["fall"], &event["in_service"]],
        [&json!("gateway"), &json!(3), &json!(1)]
    );
    let down = told(&server, dies);
    assert_eq!([&down["state"], &down["down_by"], &down["check"]["result"]], ["down", "check", "refused"]);
    assert_eq!(down["attempts"], 0, "no client had to find it out");
    // Nobody is sent there, and nobody is lost.
    let pairs: Vec<_> = (0..4).map(|_| serve(&server, &second)).collect();
    assert_eq!(told(&server, dies)["attempts"], 0);
    assert!(server.ends().iter().all(|end| end["listener"] == "admin"), "{:#?}", server.ends());
    // It is back.
    let back = Backend::on(dies);
    assert_eq!(changed(&server, dies, 2), ["up", "check", "passed"]);
    assert!(is_up(&server, dies));
    let (one, two) = (server.connect("gateway"), server.connect("gateway"));
    until("one of two to be sent there", || told(&server, dies)["connections"] == 1);
    drop((one, two, back, pairs));
    assert_eq!(changes(&server, stays), Vec::<[String; 3]>::new());
}

#[test]
fn what_a_server_is_to_say_and_does_not_takes_it_down() {
    let backend = Answering::start(LOADS);
    let query = "check.style=exchange&check.send=PING\\r\\n&check.expect=+PONG&check.fall=2&check.interval=100ms&\
                 check.timeout=200ms";
    let server = gateway(&backend.address.to_string(), query);
    assert_eq!(changed(&server, backend.address, 1), ["down", "check", "unexpected"]);
    backend.now(ANSWERS);
    assert_eq!(changed(&server, backend.address, 2), ["up", "check", "passed"]);
    backend.now(HANGS_UP);
    assert_eq!(changed(&server, backend.address, 3), ["down", "check", "closed"]);
    // Each time that the last one went down.
    server.logs("upstream_none_up", 2);
}

/// Connected is what its queue says, not what it does.
#[test]
fn a_server_that_accepts_nobody_passes_a_connect_and_fails_an_exchange() {
    let backend = Backend::start();
    let to = backend.address();
    let server = gateway(&to.to_string(), "check.style=connect&check.interval=100ms");
    until("checks", || checked(&server, to, "passed") >= 3);
    assert_eq!(changes(&server, to), Vec::<[String; 3]>::new());
    let query = "check.style=exchange&check.expect=SSH&check.interval=100ms&check.timeout=100ms&check.fall=2";
    let server = gateway(&to.to_string(), query);
    assert_eq!(changed(&server, to, 1), ["down", "check", "silent"]);
    // It has nobody else.
    let (mut client, mut upstream) = serve(&server, &backend);
    talk(&mut client, &mut upstream);
    assert!(!is_up(&server, to), "clients do not bring back what checks have taken down");
    server.logs("upstream_none_up", 1);
}

#[test]
fn a_server_reads_a_clean_end_of_each_check() {
    let greeting = "220 ready\r\n";
    for (query, sent) in [
        ("check.style=connect", ""),
        ("check.style=connect&upstream_header=proxy_v1", "PROXY UNKNOWN\r\n"),
        ("check.style=exchange&check.expect=ready&check.send=QUIT\\r\\n", "QUIT\r\n"),
    ] {
        let backend = Backend::start();
        let server = gateway(
            &backend.address().to_string(),
            &format!("{query}&check.interval=100ms&check.timeout=30s"),
        );
        for _ in 0..3 {
            let mut check = backend.accept();
            check.send(greeting);
            assert_eq!(check.read_to_end().unwrap(), sent.as_bytes(), "{query}");
        }
        until("the last to be noted", || checked(&server, backend.address(), "passed") >= 2);
        assert!(
            server.ends().iter().all(|end| end["listener"] == "admin"),
            "a check is no connection of a pair"
        );
    }
}

/// While the loop is stopped, the answer to a check may come: it counts, although it is read late.
#[test]
fn a_loop_that_stalled_takes_nobody_for_silent() {
    let backend = Answering::start(ANSWERS);
    let query = "check.style=exchange&check.send=PING&check.expect=PONG&check.interval=100ms&check.timeout=1s&check.fall=1";
    let server = gateway(&backend.address.to_string(), query);
    let passed = || checked(&server, backend.address, "passed");
    for _ in 0..3 {
        let before = passed();
        until("a check", || passed() > before);
        server.signal("STOP");
        pass(Duration::from_millis(1_500));
        server.signal("CONT");
    }
    let before = passed();
    until("more checks", || passed() > before + 3);
    assert_eq!(changes(&server, backend.address), Vec::<[String; 3]>::new());
}

#[test]
fn one_client_that_was_not_connected_takes_a_server_down_and_checks_bring_it_back() {
    let (dead, alive) = (nowhere(), Backend::start());
    let query = "balance=round_robin&check.style=connect&check.interval=1h&check.timeout=1s";
    let server = gateway(&format!("{dead},{}", alive.address()), query);
    until("the first checks", || checked(&server, dead, "refused") == 1);
    assert_eq!(changes(&server, dead), Vec::<[String; 3]>::new(), "one is not enough");
    let _pairs: Vec<_> = (0..3).map(|_| serve(&server, &alive)).collect();
    assert_eq!(changes(&server, dead), [["down", "connect", "upstream.refused"]]);
    let down = told(&server, dead);
    assert_eq!([&down["attempts"], &down["failed"]], [&json!(1), &json!({ "upstream.refused": 1 })]);
}

#[test]
fn a_server_that_ends_connections_without_an_answer_is_down_where_that_counts() {
    let backend = Answering::start(HANGS_UP);
    let (counts, does_not) = ("check.observe=first_byte&check.fall=3", "check.fall=3");
    for (query, down) in [(counts, true), (does_not, false)] {
        backend.now(HANGS_UP);
        let server = gateway(&backend.address.to_string(), query);
        for _ in 0..3 {
            assert!(changes(&server, backend.address).is_empty());
            let mut client = server.connect("gateway");
            client.send("hello");
            assert_eq!(client.read_to_end().unwrap(), b"");
        }
        if !down {
            pass(Duration::from_millis(200));
            assert!(changes(&server, backend.address).is_empty());
            continue;
        }
        assert_eq!(changed(&server, backend.address, 1), ["down", "first_byte", "upstream.fin"]);
        // There is no other one, and what it says to a client is the best sign there is.
        backend.now(ANSWERS);
        let mut client = server.connect("gateway");
        client.send("hello");
        client.expect("+PONG\r\n");
        assert_eq!(changed(&server, backend.address, 2), ["up", "first_byte", "first_byte"]);
        // One that says nothing of itself to a client that has said nothing either is not to blame.
        for _ in 0..4 {
            drop(server.connect("gateway"));
        }
        assert_eq!(changes(&server, backend.address).len(), 2);
    }
}

#[test]
fn the_operator_drains_a_server_and_puts_it_back() {
    let (one, other) = (Backend::start(), Backend::start());
    let [first, second] = [&one, &other].map(Backend::address);
    let server = gateway(&format!("{first},{second}"), "balance=round_robin");
    let (mut client, mut upstream) = pair(&server, &one);
    let said = say(&server, first, "drain");
    assert!(said.starts_with(&format!("{first} of gateway gets no new connections")), "{said}");
    let drained = told(&server, first);
    assert_eq!([&drained["state"], &drained["operator"]], ["up", "drain"]);
    assert!(!is_up(&server, first), "it is not in service");
    // What it has goes on.
    talk(&mut client, &mut upstream);
    let pairs: Vec<_> = (0..4).map(|_| pair(&server, &other)).collect();
    assert!(one.is_alone());
    // Both are out: there is nobody to try, not even as the last one.
    assert!(say(&server, second, "down").ends_with("no server of gateway is up and ready now\n"));
    let error = server.connect("gateway").read_to_end().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let end = wait_for("its record", || server.ends().into_iter().find(|end| end["listener"] == "gateway"));
    assert_eq!(end["reason"], "upstream.unavailable");
    say(&server, first, "ready");
    drop(pair(&server, &one));
    assert!(other.is_alone());
    drop(pairs);
    let words: Vec<_> = server.events("upstream_word").iter().map(|event| event["state"].clone()).collect();
    assert_eq!(words, ["drain", "down", "ready"]);
}

#[test]
fn a_word_about_what_is_not_there_is_refused_in_a_sentence() {
    let backend = Backend::start();
    let server = gateway(&backend.address().to_string(), "");
    let to = backend.address();
    for (path, status, text) in [
        (format!("/upstreams/gateway/{to}"), "400", "?state=ready, drain or down".to_owned()),
        (format!("/upstreams/gateway/{to}?state=up"), "400", "\"up\" is no state".to_owned()),
        (
            format!("/upstreams/app/{to}?state=down"),
            "404",
            "no upstream \"app\"; there is gateway".to_owned(),
        ),
        ("/upstreams/gateway/a:1?state=down".to_owned(), "404", format!("no server \"a:1\"; it has {to}")),
    ] {
        let (line, body) = server.admin("POST", &path);
        assert!(line.contains(status) && body.contains(&text), "{path}: {line} {body}");
    }
    let (line, _) = server.admin("GET", &format!("/upstreams/gateway/{to}?state=down"));
    assert!(line.contains("405"), "{line}");
    assert_eq!(told(&server, to)["operator"], "ready");
}

#[test]
fn a_server_that_is_down_by_the_operators_word_is_left_alone() {
    let backend = Backend::start();
    let to = backend.address();
    let server = gateway(&to.to_string(), &format!("check.style=connect&{OFTEN}"));
    let passed = || checked(&server, to, "passed");
    until("checks", || passed() > 1);
    say(&server, to, "drain");
    let before = passed();
    until("it to be checked still", || passed() > before + 1);
    say(&server, to, "down");
    // One may have been under way.
    pass(Duration::from_millis(600));
    let before = passed();
    pass(Duration::from_millis(500));
    assert_eq!(passed(), before);
    say(&server, to, "ready");
    until("it to be checked again", || passed() > before);
}

/// Runs a command of the same program.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_linger")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    (output.status.code(), text)
}

#[test]
fn the_command_lists_servers_and_says_how_they_are_to_be() {
    let backend = Backend::start();
    let to = backend.address().to_string();
    let server = gateway(&to, "check.style=connect&check.interval=100ms");
    until("a check", || checked(&server, backend.address(), "passed") > 0);
    let admin = server.address("admin").to_string();
    let (code, text) = run(&["upstreams", "--admin", &admin]);
    assert_eq!(code, Some(0), "{text}");
    let words: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().take(4).collect();
    assert_eq!(words, ["gateway", &to, "up", "ready"], "{text}");
    assert!(text.contains("passed in "), "{text}");
    let (code, text) = run(&["upstream", "drain", "gateway", &to, "--admin", &admin]);
    assert_eq!(
        (code, told(&server, backend.address())["operator"].as_str()),
        (Some(0), Some("drain")),
        "{text}"
    );
    let (code, text) = run(&["upstream", "drain", "gateway", "a:1", "--admin", &admin]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("has no server \"a:1\""), "{text}");
    let (code, text) = run(&["upstreams", "--json", "--admin", &admin]);
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &told["upstreams"][0]["name"]), (Some(0), &json!("gateway")));
    assert_eq!(run(&["upstreams", "--admin", &nowhere().to_string()]).0, Some(1));
}

/// What is known of a server, and what was said of it, outlives a new configuration.
#[test]
fn a_reload_forgets_neither_what_was_seen_nor_what_was_said() {
    let (dead, drained, third) = (nowhere(), Backend::start(), Backend::start());
    let text = |servers: &str| {
        let listener =
            "[[listener]]\nname = 'gateway'\nprotocol = 'tcp'\naddress = '127.0.0.1:0'\nupstream = 'app'";
        let check = "check.style = 'connect'\ncheck.interval = '100ms'\ncheck.fall = 2";
        format!("{listener}\n[upstream.app]\nservers = '{servers}'\n{check}\n")
    };
    let (a, b, c) = (dead, drained.address(), third.address());
    let file = TempFile::new(&text(&format!("{a},{b},{c}")));
    let server = Server::start(&["--config", file.path(), "--admin", "127.0.0.1:0"]);
    assert_eq!(changed(&server, a, 1)[0], "down");
    let (line, _) = server.admin("POST", &format!("/upstreams/app/{b}?state=drain"));
    assert!(line.contains("200"), "{line}");
    // One that goes and comes back is as it was said to be.
    reload(&server, &file, &text(&format!("{a},{c}")));
    reload(&server, &file, &text(&format!("{a},{b},{c}")));
    assert_eq!(told(&server, a)["state"], "down");
    assert_eq!(told(&server, b)["operator"], "drain");
    assert_eq!(changes(&server, a).len(), 1);
    let _pairs: Vec<_> = (0..3).map(|_| serve(&server, &third)).collect();
}

/// A check takes a descriptor of those that are set aside for it, not one of a client's.
#[test]
fn checks_are_made_while_all_places_are_taken() {
    let backend = Backend::start();
    let to = backend.address();
    let listen = format!("tcp://127.0.0.1:0?name=gateway&upstream={to}&check.style=connect&{OFTEN}");
    let script = "ulimit -n 140; exec \"$0\" \"$@\"";
    let program = ["bash", "-c", script, env!("CARGO_BIN_EXE_linger")];
    let server = Server::start_as(&program, &["--listen", &listen, "--admin", "127.0.0.1:0"]);
    let clients: Vec<_> = (0..80).map(|_| server.connect("gateway")).collect();
    until("all places to be taken", || server.events("accept_stalled").len() == 1);
    let mut accepted = Vec::new();
    let before = checked(&server, to, "passed");
    until("more checks", || {
        accepted.extend(backend.0.accept());
        checked(&server, to, "passed") > before + 2
    });
    assert_eq!(checked(&server, to, "not_made"), 0);
    drop((clients, accepted));
}

#[test]
fn a_check_is_no_leg_of_a_pair() {
    let backend = Backend::start();
    let server = gateway(&backend.address().to_string(), &format!("check.style=connect&{OFTEN}"));
    until("checks", || checked(&server, backend.address(), "passed") > 1);
    let (mut client, mut upstream) = serve(&server, &backend);
    talk(&mut client, &mut upstream);
    drop(client);
    upstream.stream.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(upstream.read_to_end().unwrap(), b"");
    drop(upstream);
    Record::of(&server).moved(9, 4);
}
