//! Who is told goodbye when the server ends a connection: those who know our words.

use crate::common::Server;
use serde_json::Value;

/// What a client is sent when it is kicked after `commands`, whose answers end in `answers`, before its end of file; and
/// how it ended.
fn kicked(commands: &str, answers: &str) -> (String, Value) {
    let server = Server::start(&["--listen", "resp://127.0.0.1:0?linger=60s", "--admin", "127.0.0.1:0"]);
    let mut client = server.connect("resp");
    client.send(commands);
    client.expect_until(answers);
    server.connect("resp").ask("CLIENT KILL SKIPME yes TYPE normal", ":1\r\n");
    let mut said = String::new();
    if commands.starts_with('*') && !commands.contains("SERVERPING") {
        said = String::from_utf8(client.read_to_end().expect("an end of file")).expect("text");
    } else {
        client.expect_until("local.kicked\r\n");
    }
    drop(client);
    let end =
        server.wait_ends(2).into_iter().find(|end| end["reason"] == "local.kicked").expect("its record");
    (said, end)
}

#[test]
fn a_person_is_told_and_may_close_first() {
    let (_, end) = kicked("PING\r\n", "+PONG\r\n");
    assert_eq!(end["close"], "peer_first_after_goodbye");
}

#[test]
fn a_library_in_resp2_meets_the_end_of_file_and_nothing_before_it() {
    let (said, end) = kicked("*1\r\n$4\r\nPING\r\n", "+PONG\r\n");
    assert_eq!(said, "");
    assert_eq!(end["close"], "linger2");
}

/// redis-py 5 and 8 look for the third element of a push that they have no name for.
#[test]
fn a_library_in_resp3_meets_the_end_of_file_and_nothing_before_it() {
    let (said, end) = kicked("*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*1\r\n$4\r\nPING\r\n", "*0\r\n+PONG\r\n");
    assert_eq!(said, "");
    assert_eq!(end["close"], "linger2");
}

#[test]
fn who_asked_for_our_words_is_told_in_resp3_too() {
    let ident = "*3\r\n$5\r\nIDENT\r\n$3\r\ndev\r\n$10\r\nSERVERPING\r\n";
    let (_, end) = kicked(&format!("*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n{ident}"), "*0\r\n+OK\r\n");
    assert_eq!(end["close"], "peer_first_after_goodbye");
}

#[test]
fn who_is_being_ended_is_not_there_any_more() {
    let server = Server::start(&["--listen", "resp://127.0.0.1:0?linger=60s", "--admin", "127.0.0.1:0"]);
    let mut device = server.connect("resp");
    device.ask("IDENT dev", "+OK\r\n");
    let mut other = server.connect("resp");
    other.ask("STATE dev", "+online\r\n");
    other.ask("CLIENT KILL TYPE normal", ":1\r\n");
    device.expect("-GOODBYE local.kicked\r\n");
    // It has a minute to close.
    other.ask("STATE dev", "+offline\r\n");
    other.ask("WHO", "*0\r\n");
    other.ask("SEND dev x", ":0\r\n");
    other.ask("CLIENT KILL TYPE normal", ":0\r\n");
    let mut back = server.connect("resp");
    back.ask("IDENT dev", "+OK\r\n");
    drop(device);
    server.wait_ends(1);
    other.ask("STATE dev", "+online\r\n");
}

#[test]
fn who_says_goodbye_and_waits_for_our_end_of_file_has_it_soon() {
    let server = Server::start(&["--listen", "resp://127.0.0.1:0?linger=60s"]);
    let mut client = server.connect("resp");
    client.send("QUIT\r\n");
    client.expect("+OK\r\n");
    assert_eq!(client.read_to_end().expect("an end of file"), b"");
    let end = &server.wait_ends(1)[0];
    assert_eq!((&end["reason"], &end["close"]), (&Value::from("peer.goodbye"), &Value::from("linger2")));
}
