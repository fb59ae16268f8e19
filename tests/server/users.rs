//! Who may come in, and what each may do: users of a file, what is refused where anybody may come in, and the token of the
//! admin interface. Of one process, and of workers.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]
#![allow(clippy::float_cmp, reason = "metrics are whole numbers")]

use crate::common::file::TempFile;
use crate::common::{Client, DEADLINE, Server, now, until, wait_for};
use linger::protocol::users::Hash;
use socket2::{Domain, Socket, Type};
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

const OK: &str = "+OK\r\n";
const NOAUTH: &str = "-NOAUTH Authentication required.\r\n";
const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";

fn hash(password: &str) -> String {
    format!("#{}", Hash::of(password.as_bytes()))
}

/// Operators, a device that may be one identity, and all others.
fn people() -> String {
    format!(
        "# people\nuser ops on {} +@all allchannels allidentities\n\
         user dev on {} +@connection +@identity +@pubsub claim:dev-* &news.*\nuser off off {}\n",
        hash("ops-secret"),
        hash("dev-secret"),
        hash("off-secret")
    )
}

fn start(workers: u32, users: &TempFile) -> Server {
    let listen = format!("resp://127.0.0.1:0?linger=200ms&users={}", users.path());
    let workers = workers.to_string();
    Server::start(&["--workers", &workers, "--listen", &listen, "--admin", "127.0.0.1:0"])
}

fn logged_in(server: &Server, user: &str) -> Client {
    let mut client = server.connect("resp");
    client.ask(&format!("AUTH {user} {user}-secret"), OK);
    client
}

fn reload(server: &Server, users: &TempFile, text: &str) {
    let told = || server.events("reloaded").len() + server.events("reload_refused").len();
    let before = told();
    users.write(text);
    server.signal("HUP");
    until("the reload", || told() > before);
}

/// A client that comes from that address of this host.
fn from(source: &str, to: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let source: SocketAddr = format!("{source}:0").parse().unwrap();
    socket.bind(&source.into()).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], to.port())).into()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    Client { stream: socket.into() }
}

#[test]
fn a_client_logs_in_before_anything_else_and_does_what_its_user_may() {
    for workers in [1, 2] {
        let users = TempFile::new(&people());
        let server = start(workers, &users);
        let mut client = server.connect("resp");
        client.ask("PING", NOAUTH);
        client.ask("BEAT", NOAUTH);
        client.send("HELLO 3\r\n");
        client.expect_until("at the same time\r\n");
        client.ask("AUTH ops wrong", WRONGPASS);
        client.ask("AUTH nobody ops-secret", WRONGPASS);
        client.ask("AUTH off off-secret", WRONGPASS);
        client.ask("AUTH ops-secret", WRONGPASS);
        client.ask("AUTH ops ops-secret", OK);
        client.ask("ACL WHOAMI", "$3\r\nops\r\n");
        client.ask("ACL USERS", "*4\r\n$3\r\nops\r\n$3\r\ndev\r\n$3\r\noff\r\n$7\r\ndefault\r\n");
        client.ask("AUTH dev wrong", WRONGPASS);
        client.ask("ACL WHOAMI", "$3\r\nops\r\n");
        client.ask("RESET", "+RESET\r\n");
        client.ask("PING", NOAUTH);

        let mut device = server.connect("resp");
        device.send("HELLO 2 AUTH dev dev-secret SETNAME d\r\n");
        device.expect_until("modules\r\n*0\r\n");
        device.ask("CLIENT GETNAME", "$1\r\nd\r\n");
        device.ask("IDENT dev-1 BEAT 60", OK);
        device.ask("IDENT other", "-NOPERM No permissions to claim the identity 'other'\r\n");
        device.ask("SEND dev-1 x", "-NOPERM No permissions to send to the identity 'dev-1'\r\n");
        device.ask("BEATFOR dev-1", "-NOPERM No permissions to vouch for the identity 'dev-1'\r\n");
        device.ask("CLIENT LIST", "-NOPERM User dev has no permissions to run the 'client|list' command\r\n");
        device.ask("SUBSCRIBE other", "-NOPERM No permissions to access a channel\r\n");
        device.ask("SUBSCRIBE news.a", "*3\r\n$9\r\nsubscribe\r\n$6\r\nnews.a\r\n:1\r\n");
        let mut ops = logged_in(&server, "ops");
        ops.ask("SEND dev-1 hi", ":1\r\n");
        device.expect_until("$2\r\nhi\r\n");
        ops.send("CLIENT LIST\r\n");
        ops.expect_until("user=dev");
        ops.expect_until("\r\n");
        let mut ops = logged_in(&server, "ops");
        ops.ask("CLIENT KILL USER none", "-ERR No such user 'none'\r\n");
        ops.ask("CLIENT KILL USER dev", ":1\r\n");
        until("the device to be ended", || server.ended("local.kicked") == 1);

        let metrics = server.metrics();
        let log_ins =
            |result: &str| metrics[&format!("linger_log_ins_total{{listener=\"resp\",result=\"{result}\"}}")];
        assert_eq!((log_ins("accepted"), log_ins("wrong"), log_ins("refused")), (4.0, 5.0, 0.0));
        assert_eq!(metrics["linger_denied_total{listener=\"resp\"}"], 8.0);
        let failed = server.events("log_in_failed");
        assert!(failed.iter().any(|event| event["user"] == "ops" && event["peer"].is_string()), "{failed:?}");
    }
}

#[test]
fn who_does_not_log_in_is_not_open_and_ends_at_the_handshake_timeout() {
    let users = TempFile::new(&people());
    let listen = format!("resp://127.0.0.1:0?handshake_timeout=300ms&linger=100ms&users={}", users.path());
    let server = Server::start(&["--listen", &listen, "--admin", "127.0.0.1:0"]);
    let mut idle = server.connect("resp");
    idle.ask("PING", NOAUTH);
    let mut open = logged_in(&server, "ops");
    let ends = server.wait_ends(1);
    assert_eq!(ends[0]["reason"], "protocol.handshake_timeout");
    open.ask("PING", "+PONG\r\n");
}

#[test]
fn failed_attempts_of_an_address_slow_down_and_nobody_else_waits() {
    let users = TempFile::new(&people());
    let server = start(1, &users);
    let address = server.address("resp");
    let mut guesser = from("127.0.0.2", address);
    for _ in 0..10 {
        guesser.ask("AUTH ops guess", WRONGPASS);
    }
    // The next one waits, and what is behind it.
    let begun = now();
    guesser.send("AUTH ops guess\r\nPING\r\n");
    let mut other = logged_in(&server, "ops");
    other.ask("PING", "+PONG\r\n");
    // Four more wait on other connections of the address. Then the server looks at no more, and says so at once.
    let mut waiting: Vec<_> = (0..4).map(|_| from("127.0.0.2", address)).collect();
    for client in &mut waiting {
        client.send("AUTH ops ops-secret\r\n");
    }
    until("them to wait", || {
        let mut last = from("127.0.0.2", address);
        last.send("AUTH ops ops-secret\r\n");
        let told = String::from_utf8(last.read_to_end().unwrap_or_default()).unwrap();
        told.contains("too many failed attempts to log in")
    });
    until("that to be the reason", || server.ended("protocol.auth") >= 1);
    guesser.expect(WRONGPASS);
    let waited = begun.elapsed();
    assert!(waited > Duration::from_millis(1_500), "it has waited, {waited:?}");
    guesser.expect(NOAUTH);
    let end = server.end_of("protocol.auth");
    assert_eq!(end["detector"], "protocol");
    assert!(server.metrics()["linger_log_ins_total{listener=\"resp\",result=\"refused\"}"] >= 1.0);
    // A connection that goes while it waits leaves nothing behind, and the right password is right after the wait.
    let mut last = waiting.pop().unwrap();
    drop(waiting);
    last.expect(OK);
    last.ask("PING", "+PONG\r\n");
    other.ask("PING", "+PONG\r\n");
}

#[test]
fn who_waits_to_log_in_beyond_the_handshake_timeout_keeps_nobody_awake() {
    let users = TempFile::new(&people());
    let listen = format!("resp://127.0.0.1:0?handshake_timeout=1s&linger=100ms&users={}", users.path());
    let server = Server::start(&["--listen", &listen, "--admin", "127.0.0.1:0"]);
    let address = server.address("resp");
    for _ in 0..10 {
        from("127.0.0.2", address).ask("AUTH ops guess", WRONGPASS);
    }
    let turns = || server.metrics()["linger_loop_turns_total"];
    let before = turns();
    let mut guesser = from("127.0.0.2", address);
    guesser.ask("AUTH ops guess", WRONGPASS);
    // A second of ticks would be a thousand.
    let taken = turns() - before;
    assert!(taken < 300.0, "{taken} turns for one client that waits");
    // The time that it has is over, and it has not logged in.
    assert_eq!(guesser.read_to_end().unwrap(), b"-GOODBYE protocol.handshake_timeout\r\n");
    until("that to be the reason", || server.ended("protocol.handshake_timeout") >= 1);
}

#[test]
fn a_file_of_users_is_read_again_and_connections_keep_their_user() {
    for workers in [1, 2] {
        let users = TempFile::new(&people());
        let server = start(workers, &users);
        let (mut ops, mut dev) = (logged_in(&server, "ops"), logged_in(&server, "dev"));
        let mut listener = logged_in(&server, "dev");
        listener.ask("SUBSCRIBE news.a", "*3\r\n$9\r\nsubscribe\r\n$6\r\nnews.a\r\n:1\r\n");

        // What is wrong changes nothing, and says where.
        reload(&server, &users, "user ops on +fly\n");
        let refused = server.events("reload_refused").pop().unwrap().to_string();
        assert!(refused.contains(":1:1: rule +fly of user ops names no command"), "{refused}");
        ops.ask("ACL WHOAMI", "$3\r\nops\r\n");

        // Other rights hold at once; to be off is for those who come; who listens to what it may not, ends.
        let text = format!("user new on\nuser ops off +@all\nuser dev on {} +ping\n", hash("dev-secret"));
        reload(&server, &users, &text);
        until("the one that listens to be ended", || server.ended("local.kicked") == 1);
        ops.ask("ACL WHOAMI", "$3\r\nops\r\n");
        dev.ask("PING", "+PONG\r\n");
        dev.ask("ECHO a", "-NOPERM User dev has no permissions to run the 'echo' command\r\n");
        server.connect("resp").ask("AUTH ops ops-secret", WRONGPASS);

        // Who is gone ends.
        reload(&server, &users, "user dev on +ping\n");
        until("the operator to be ended", || server.ended("local.kicked") == 2);
        let end = wait_for("its record", || server.ends().into_iter().find(|end| end["user"] == "ops"));
        assert_eq!([&end["reason"], &end["detector"]], ["local.kicked", "policy"]);
        assert!(String::from_utf8_lossy(&ops.read_to_end().unwrap()).contains("GOODBYE local.kicked"));
        dev.ask("PING", "+PONG\r\n");
    }
}

#[test]
fn a_user_that_is_removed_with_others_ends_under_its_name_and_may_do_nothing_until_then() {
    for workers in [1, 2] {
        // Its number is higher than the new file has users.
        let users = TempFile::new(&format!("user a on\nuser b on\n{}", people()));
        let server = start(workers, &users);
        let mut ops = logged_in(&server, "ops");
        reload(&server, &users, &format!("user dev on {} +ping\n", hash("dev-secret")));
        ops.expect("-GOODBYE local.kicked\r\n");
        ops.send("PING\r\nACL USERS\r\n");
        for row in server.connections("resp") {
            assert_eq!(row["user"], "ops");
        }
        let end = server.end_of("local.kicked");
        assert_eq!(server.ended("local.kicked"), 1);
        assert_eq!(end["user"], "ops");
        assert!(!String::from_utf8_lossy(&ops.read_to_end().unwrap_or_default()).contains("dev"));
        logged_in(&server, "dev").ask("PING", "+PONG\r\n");
    }
}

#[test]
fn where_anybody_may_come_in_what_acts_on_others_is_refused_unless_it_is_allowed() {
    for workers in ["1", "2"] {
        let start =
            |url: &str| Server::start(&["--workers", workers, "--listen", url, "--admin", "127.0.0.1:0"]);
        let server = start("resp://0.0.0.0:0");
        let address = server.address("resp");
        let mut client = from("127.0.0.1", address);
        for refused in
            ["CLIENT LIST", "CLIENT KILL ID 1", "WHO", "STATE a", "SEND a x", "BEATFOR a", "PSUBSCRIBE *"]
        {
            client.send(format!("{refused}\r\n"));
            client.expect("-DENIED ");
            client.expect_until("or set protected_mode = false\r\n");
        }
        client.ask("SUBSCRIBE news", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
        // An identity is taken over from the same address only, whichever worker has it.
        for round in 0..8 {
            let identity = format!("dev-{round}");
            let mut holder = from("127.0.0.1", address);
            holder.ask(&format!("IDENT {identity}"), OK);
            let mut thief = from("127.0.0.2", address);
            thief.send(format!("IDENT {identity} BEAT 60\r\n"));
            thief.expect_until("set protected_mode = false\r\n");
            let mut newer = from("127.0.0.1", address);
            newer.ask(&format!("IDENT {identity} BEAT 60"), OK);
            holder.expect("-GOODBYE peer.replaced\r\n");
            drop((holder, newer));
            // Once nobody holds it, anybody may.
            until("the identity to be free", || {
                let mut next = from("127.0.0.2", address);
                next.send(format!("IDENT {identity}\r\n"));
                let mut answer = [0; 1];
                std::io::Read::read_exact(&mut next.stream, &mut answer).unwrap();
                answer == *b"+"
            });
        }
        let allowed = start("resp://0.0.0.0:0?protected_mode=false");
        let address = allowed.address("resp");
        from("127.0.0.1", address).ask("IDENT dev", OK);
        from("127.0.0.2", address).ask("IDENT dev", OK);
        from("127.0.0.2", address).ask("STATE nobody", "+offline\r\n");
    }
}

#[test]
fn the_admin_interface_asks_for_its_token_and_reads_it_again() {
    for workers in ["1", "2"] {
        let token = TempFile::new("0123456789abcdef\n");
        let own = format!("admin.token_file={}", token.path());
        let listen = ["--workers", workers, "--listen", "resp://127.0.0.1:0", "--set", &own];
        let server = Server::start(&[&listen[..], &["--admin", "0.0.0.0:0"]].concat());
        let status = |path: &str, token: &str| {
            let port = server.address("admin").port();
            let mut client = Client::connect(SocketAddr::from(([127, 0, 0, 1], port)));
            let bearer =
                if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
            client.send(format!("GET {path} HTTP/1.0\r\n{bearer}\r\n"));
            client.half_close();
            String::from_utf8(client.read_to_end().unwrap()).unwrap().split(' ').nth(1).unwrap().to_owned()
        };
        for path in ["/healthz", "/readyz"] {
            until("it to be well", || status(path, "") == "200");
        }
        for path in ["/", "/metrics", "/connections", "/upstreams", "/audit"] {
            assert_eq!(
                (status(path, "").as_str(), status(path, "0123456789abcdeF").as_str()),
                ("401", "401"),
                "{path}"
            );
            assert_eq!(status(path, "0123456789abcdef"), "200", "{path}");
        }
        // Commands that ask it take the token by a file, or by the environment.
        let ask = |arguments: &[&str], variable: &str| {
            let admin = format!("127.0.0.1:{}", server.address("admin").port());
            let mut command = Command::new(env!("CARGO_BIN_EXE_linger"));
            command.args(["upstreams", "--json", "--admin", &admin]).args(arguments);
            command.env("LINGER_ADMIN_TOKEN", variable).output().unwrap().status.success()
        };
        assert!(ask(&["--token-file", token.path()], "wrong-wrong-wrong") && ask(&[], "0123456789abcdef"));
        assert!(!ask(&[], "0123456789abcdeF"));
        reload(&server, &token, "fedcba9876543210");
        until("the other token", || status("/metrics", "fedcba9876543210") == "200");
        assert_eq!(status("/metrics", "0123456789abcdef"), "401");
        reload(&server, &token, "short");
        assert_eq!(status("/metrics", "fedcba9876543210"), "200", "what is wrong changes nothing");
    }
}

/// Runs `linger user` with that on standard input: its status, and what it says.
fn user(arguments: &[&str], password: &str) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_linger"))
        .arg("user")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may not want any.
    let _ = child.stdin.take().unwrap().write_all(password.as_bytes());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn who_has_logged_in_is_in_the_list_and_in_the_record_of_its_end() {
    for workers in [1, 2] {
        let users = TempFile::new(&people());
        let server = start(workers, &users);
        let mut client = logged_in(&server, "dev");
        client.ask("IDENT dev-1", OK);
        let anonymous = server.connect("resp");
        until("both", || server.connections("resp").len() == 2);
        let rows = server.connections("resp");
        let user = |row: &serde_json::Value| row["user"].as_str().map(str::to_owned);
        let of = |id: Option<&str>| user(rows.iter().find(|row| row["id"].as_str() == id).unwrap());
        assert_eq!((of(Some("dev-1")), of(None)), (Some("dev".to_owned()), None));
        let mut ops = logged_in(&server, "ops");
        ops.ask("SUBSCRIBE $presence:dev-1", "*3\r\n$9\r\nsubscribe\r\n$15\r\n$presence:dev-1\r\n:1\r\n");
        drop(client);
        ops.expect_until("\"user\":\"dev\"");
        drop(anonymous);
        let ends = server.wait_ends(2);
        let of = |identity: &str| user(ends.iter().find(|end| end["identity"] == identity).unwrap());
        assert_eq!((of("dev-1"), of("")), (Some("dev".to_owned()), None));
    }
}

#[test]
fn a_file_of_users_is_made_and_edited_and_serves_at_once() {
    let users = TempFile::new("");
    let path = users.path();
    let read = || std::fs::read_to_string(path).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(user(&["add", path, "ops", "+@all", "allchannels"], "ops-secret\n").0, Some(0));
    assert_eq!(read(), format!("user ops on {} +@all allchannels\n", hash("ops-secret")));
    let metadata = std::fs::metadata(path).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777, 0o600);
    users.write(&format!("# ours\n{}", read()));
    assert_eq!(user(&["add", path, "dev", "+ping", "-echo"], "dev-secret").0, Some(0));
    assert_eq!(user(&["add", path, "default", "nopass", "+ping"], "").0, Some(0));
    let server = start(1, &users);
    logged_in(&server, "dev").ask("PING", "+PONG\r\n");
    server.connect("resp").ask("PING", "+PONG\r\n");

    for (arguments, password, part) in [
        (vec!["add", path, "ops"], "x", "is there already"),
        (vec!["add", path, "new", "+fly"], "x", "names no command"),
        (vec!["add", path, "new", ">secret"], "x", "everybody can read"),
        (vec!["add", path, "new", "+ping -echo"], "x", "is not one rule"),
        (vec!["add", path, "n w"], "x", "cannot be the name"),
        (vec!["add", path, "new"], "", "the password is empty"),
        (vec!["passwd", path, "nobody"], "x", "has no user nobody"),
        (vec!["remove", path, "nobody"], "", "has no user nobody"),
    ] {
        let before = read();
        let (status, said) = user(&arguments, password);
        assert!(status == Some(2) && said.contains(part), "{arguments:?}: {said}");
        assert_eq!(read(), before);
    }
    assert_eq!(user(&["list", &format!("{path}.none")], "").0, Some(1));

    assert_eq!(user(&["passwd", "--keep", path, "dev"], "new-secret\n").0, Some(0));
    assert!(read().contains(&format!(
        "user dev on {} +ping -echo {}",
        hash("dev-secret"),
        hash("new-secret")
    )));
    assert_eq!(user(&["passwd", path, "dev"], "last-secret\n").0, Some(0));
    assert!(
        read().contains(&format!("user dev on +ping -echo {}\n", hash("last-secret")))
            && read().starts_with("# ours\n")
    );
    assert_eq!(user(&["remove", path, "dev"], "").0, Some(0));
    assert!(!read().contains("dev"));
    let (status, said) = user(&["list", path], "");
    assert!(
        status == Some(0) && said.contains("ops") && said.contains("+@all") && !said.contains('#'),
        "{said}"
    );
}
