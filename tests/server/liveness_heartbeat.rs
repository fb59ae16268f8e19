//! The application's heartbeat as the only means of detection: who is expected to speak, who is asked to,
//! what suspicion withholds and gives back, and what presence tells about it.
//!
//! On loopback the peer's kernel always answers, so a silent client is found `stuck.frozen` here; see
//! `liveness_netns.rs` for one that cannot be reached.

use crate::common::means::{Means, arrived};
use crate::common::{Client, now, pass, until, wait_for};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The client is expected to be heard from every second. The grace leaves the kernel's keepalive timer, whose
/// unit is the second, time for the one probe.
const CLIENT: &str = "heartbeat.style=client&heartbeat.timeout=1s&heartbeat.grace=1500ms";
/// The same, with time to do things to a suspect.
const PATIENT: &str = "heartbeat.style=client&heartbeat.timeout=1s&heartbeat.grace=30s";
const FROZEN: [&str; 3] = ["stuck.frozen", "heartbeat", "linger2"];

fn state(helper: &mut Client, identity: &str) -> String {
    helper.send(format!("STATE {identity}\r\n"));
    line(helper)
}

/// Waits for the identity to be in that state.
fn until_state(helper: &mut Client, identity: &str, wanted: &str) {
    until(&format!("{identity} to be {wanted}"), || state(helper, identity) == format!("+{wanted}"));
}

/// One line of an answer.
fn line(client: &mut Client) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut client.stream, &mut byte).expect("a line");
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line).trim_end().to_owned()
}

/// A subscriber of the presence of `identity`.
struct Watcher(Client);

impl Watcher {
    fn of(means: &Means, identity: &str) -> Self {
        let mut client = means.helper();
        let channel = format!("$presence:{identity}");
        client.ask(
            &format!("SUBSCRIBE {channel}"),
            &format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{channel}\r\n:1\r\n", channel.len()),
        );
        Self(client)
    }

    /// The payload of the next event.
    fn next(&mut self) -> String {
        // `*3`, then a length and a text each for `message`, the channel and the payload.
        (0..7).map(|_| line(&mut self.0)).last().expect("seven lines")
    }
}

#[test]
fn a_silent_client_is_suspect_then_frozen() {
    for protocol in ["echo", "resp"] {
        let means = Means::start(protocol, "", CLIENT);
        let (mut with, mut without) = means.clients();
        let (hello, answer) = if protocol == "echo" { ("x", "x") } else { ("PING\r\n", "+PONG\r\n") };
        for client in [&mut with, &mut without] {
            client.send(hello);
            client.expect(answer);
        }
        let end = means.found(now(), FROZEN);
        let silence = end["silence_s"].as_f64().expect("a number");
        assert!((2.5..5.0).contains(&silence), "timeout and grace: {silence}");
        let left = with.read_to_end().expect("a frozen client finds a clean end of file when it wakes up");
        assert_eq!(left, b"", "nothing was said to a client that does not listen");
        assert_eq!(means.count("linger_suspected_total"), 1);
        drop(without);
    }
}

#[test]
fn a_silent_client_that_does_not_read_is_told_from_a_frozen_one_by_its_window() {
    let means = Means::start("echo", "send_buffer=64KiB&output_high=512MiB&output_max=1GiB", CLIENT);
    let (mut with, mut without) = means.clients();
    for client in [&mut without, &mut with] {
        // More than the client's kernel takes for a program that does not read (net.ipv4.tcp_rmem: 6 MB).
        client.send(vec![b'x'; 32 << 20]);
    }
    means.found(now(), ["stuck.zero_window", "heartbeat", "reset"]);
}

#[test]
fn a_beat_is_enough_and_is_not_answered() {
    let means = Means::start("resp", "", CLIENT);
    let mut client = means.server.connect("with");
    let since = now();
    while since.elapsed() < Duration::from_secs(4) {
        client.send("BEAT\r\n");
        pass(Duration::from_millis(200));
    }
    assert_eq!(arrived(&mut client), b"");
    assert_eq!(means.count("linger_suspected_total"), 0);
    means.found(now(), FROZEN);
}

/// A client in a process of its own, that beats until it is stopped.
struct Beating(Child);

impl Beating {
    fn start(means: &Means) -> Self {
        let address = means.server.address("with");
        let script = format!(
            "exec 3<>/dev/tcp/{}/{}; echo IDENT dev >&3; echo ready; while :; do echo BEAT >&3; sleep 0.2; done",
            address.ip(),
            address.port()
        );
        // A session of its own: stopped children of an orphaned group are sent SIGHUP.
        let mut child = Command::new("setsid")
            .args(["bash", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash runs");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut ready).expect("a line");
        Self(child)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_stopped_process_is_suspect_revived_when_it_goes_on_and_frozen_when_not() {
    let means = Means::start("resp", "", "heartbeat.style=client&heartbeat.timeout=1s&heartbeat.grace=4s");
    let mut watcher = Watcher::of(&means, "dev");
    let process = Beating::start(&means);
    assert_eq!(watcher.next(), "online");
    process.signal("STOP");
    assert_eq!(watcher.next(), "suspect");
    process.signal("CONT");
    assert_eq!(watcher.next(), "revived");
    assert_eq!((means.count("linger_suspected_total"), means.count("linger_revived_total")), (1, 1));
    process.signal("STOP");
    let since = now();
    assert_eq!(watcher.next(), "suspect");
    let end = means.found(since, FROZEN);
    let offline = watcher.next();
    let record: Value =
        serde_json::from_str(offline.strip_prefix("offline ").expect("offline")).expect("JSON");
    for key in ["reason", "detector", "close", "silence_s", "age_s", "bytes_in", "messages_in"] {
        assert_eq!(record[key], end[key], "{key}");
    }
    let (acked, silent) = (&record["evidence"]["last_ack_recv_ms"], &record["evidence"]["last_data_recv_ms"]);
    assert!(acked.as_u64() < silent.as_u64(), "its kernel answered meanwhile: {record}");
}

#[test]
fn output_is_withheld_from_a_suspect_and_delivered_whole_when_it_is_revived() {
    let means = Means::start("resp", "", PATIENT);
    let (mut helper, mut dev) = (means.helper(), means.server.connect("with"));
    dev.ask("IDENT dev", "+OK\r\n");
    until_state(&mut helper, "dev", "suspect");
    let mut expected = Vec::new();
    for number in 100..200 {
        helper.ask(&format!("SEND dev message-{number}"), ":1\r\n");
        expected.extend(
            format!("*3\r\n$7\r\nmessage\r\n$11\r\n$direct:dev\r\n$11\r\nmessage-{number}\r\n").into_bytes(),
        );
    }
    until("it waits", || means.count("linger_output_waiting_bytes") == expected.len() as u64);
    assert_eq!(arrived(&mut dev), b"", "withheld");
    dev.send("PING\r\n");
    expected.extend(b"+PONG\r\n");
    dev.expect(&expected);
    assert_eq!(state(&mut helper, "dev"), "+online");
    assert_eq!(means.count("linger_revived_total"), 1);
    assert_eq!(means.ends_of("with"), [] as [Value; 0]);
}

/// `heartbeat.verdict = "report"`: the verdict is told, and the connection is as it was.
#[test]
fn a_listener_that_only_reports_ends_nobody_for_silence() {
    let means = Means::start("resp", "", &format!("{CLIENT}&heartbeat.verdict=report"));
    let mut watcher = Watcher::of(&means, "dev");
    let (mut helper, mut dev) = (means.helper(), means.server.connect("with"));
    dev.ask("IDENT dev", "+OK\r\n");
    assert_eq!((watcher.next(), watcher.next()), ("online".to_owned(), "suspect".to_owned()));
    helper.ask("SEND dev early", ":1\r\n");
    let message = |text: &str| {
        let length = text.len();
        format!("*3\r\n$7\r\nmessage\r\n$11\r\n$direct:dev\r\n${length}\r\n{text}\r\n")
    };
    // Withheld until the verdict, which says nothing about it; what follows is sent at once.
    dev.expect(message("early"));
    let verdicts = || means.server.events("verdict");
    until("the verdict", || !verdicts().is_empty());
    helper.ask("SEND dev late", ":1\r\n");
    dev.expect(message("late"));
    assert_eq!(state(&mut helper, "dev"), "+suspect");
    dev.ask("PING", "+PONG\r\n");
    assert_eq!(watcher.next(), "revived");
    assert_eq!(watcher.next(), "suspect");
    until("a verdict on the next silence", || verdicts().len() == 2);
    let verdict = &verdicts()[1];
    for (field, expected) in [("identity", "dev"), ("reason", "stuck.frozen"), ("detector", "heartbeat")] {
        assert_eq!(verdict[field], expected, "{verdict}");
    }
    assert!(verdict["silence_s"].as_f64().is_some_and(|silence| silence >= 2.5), "{verdict}");
    assert_eq!(means.count("linger_verdicts_reported_total{reason=\"stuck.frozen\"}"), 2);
    assert_eq!(means.ends_of("with"), [] as [Value; 0]);
    // What it does itself ends it as ever.
    drop(dev);
    until("its end", || means.ends_of("with").len() == 1);
    assert_eq!(means.ends_of("with")[0]["reason"], "peer.fin");
}

#[test]
fn what_a_suspect_says_late_still_counts() {
    let means = Means::start("resp", "", PATIENT);
    let (mut helper, mut listener) = (means.helper(), means.helper());
    listener.ask("SUBSCRIBE news", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    let mut dev = means.server.connect("with");
    dev.ask("IDENT dev", "+OK\r\n");
    until_state(&mut helper, "dev", "suspect");
    dev.send("PUBLISH news late\r\n");
    listener.expect("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$4\r\nlate\r\n");
    dev.expect(":1\r\n");
    until_state(&mut helper, "dev", "online");
}

#[test]
fn a_client_that_asked_is_pinged_after_silence_and_an_answer_keeps_it_alive() {
    std::thread::scope(|scope| {
        for (style, hello, ping) in
            [("server", "PING\r\n", "+PING\r\n"), ("both", "HELLO 3\r\n", ">1\r\n$9\r\nheartbeat\r\n")]
        {
            scope.spawn(move || pinged_after_silence(style, hello, ping));
        }
    });
}

fn pinged_after_silence(style: &str, hello: &str, ping: &str) {
    let heartbeat = format!(
        "heartbeat.style={style}&heartbeat.timeout=2s&heartbeat.interval=500ms&heartbeat.grace=1500ms"
    );
    let means = Means::start("resp", "", &heartbeat);
    let mut dev = means.server.connect("with");
    dev.send(hello);
    dev.send("IDENT dev SERVERPING\r\n");
    until("the answers", || {
        let mut answers = [0; 4096];
        let count = dev.stream.peek(&mut answers).expect("an answer");
        answers[..count].ends_with(b"+OK\r\n")
    });
    arrived(&mut dev);
    // Longer than timeout and grace together: only the answers explain that it is still there.
    for _ in 0..8 {
        dev.expect(ping);
        dev.send("BEAT\r\n");
    }
    assert_eq!(means.count("linger_suspected_total"), 0);
    dev.expect(ping);
    let end = means.found(now(), FROZEN);
    assert!(end["silence_s"].as_f64() >= Some(3.5), "{end}");
    assert_eq!(dev.read_to_end().expect("a clean end of file"), b"", "one ping a silence");
    assert_eq!(means.count("linger_heartbeat_pings_total"), 9);
}

#[test]
fn who_did_not_ask_is_never_pinged() {
    // On a listener where the server drives the heartbeat, silence of a client that knows nothing of it
    // proves nothing; where either may, the client is expected to.
    for (style, lives) in [("server", true), ("both", false)] {
        let heartbeat = format!(
            "heartbeat.style={style}&heartbeat.timeout=1s&heartbeat.interval=200ms&heartbeat.grace=1500ms"
        );
        let means = Means::start("resp", "", &heartbeat);
        let mut dev = means.server.connect("with");
        dev.ask("IDENT dev", "+OK\r\n");
        if lives {
            pass(Duration::from_secs(4));
            dev.ask("PING", "+PONG\r\n");
            assert_eq!(means.count("linger_suspected_total"), 0);
        } else {
            means.found(now(), FROZEN);
            assert_eq!(dev.read_to_end().expect("a clean end of file"), b"");
        }
        assert_eq!(means.count("linger_heartbeat_pings_total"), 0);
    }
}

/// Timeout and grace of the only client, and who has asked for them.
fn contract(means: &Means) -> (f64, f64, String) {
    let heartbeat = &means.server.connections("with")[0]["heartbeat"];
    let number = |key: &str| heartbeat[key].as_f64().unwrap_or_else(|| panic!("{key} in {heartbeat}"));
    (number("timeout_s"), number("grace_s"), heartbeat["of"].as_str().expect("a word").to_owned())
}

#[test]
fn the_contract_in_force_is_listed_with_whose_it_is() {
    let means = Means::start("resp", "", PATIENT);
    let _plain = means.server.connect("with");
    until("the connection", || means.server.connections("with").len() == 1);
    assert_eq!(contract(&means), (1.0, 30.0, "listener".into()));
    let _unwatched = means.server.connect("without");
    until("the other", || means.server.connections("without").len() == 1);
    assert!(means.server.connections("without")[0]["heartbeat"].is_null());
}

#[test]
fn a_client_makes_its_own_contract() {
    // Stricter than the listener's, and where the listener has none at all.
    for listeners in [
        "heartbeat.style=client&heartbeat.timeout=1h&heartbeat.grace=1500ms",
        "heartbeat.style=off&heartbeat.grace=1500ms",
    ] {
        let means = Means::start("resp", "", listeners);
        let mut dev = means.server.connect("with");
        dev.ask("IDENT dev BEAT 1", "+OK\r\n");
        assert_eq!(contract(&means), (1.0, 0.5, "client".into()), "the grace is in proportion");
        let end = means.found(now(), FROZEN);
        assert!((1.5..4.0).contains(&end["silence_s"].as_f64().expect("a number")), "{end}");
    }
    // More patient than the listener's.
    let means = Means::start("resp", "", CLIENT);
    let mut dev = means.server.connect("with");
    dev.ask("IDENT dev BEAT 3600", "+OK\r\n");
    assert_eq!(contract(&means), (3600.0, 1.5, "client".into()), "the listener's grace is the most there is");
    let mut other = means.server.connect("with");
    other.ask("IDENT other", "+OK\r\n");
    let end = means.found(now(), FROZEN);
    assert_eq!(end["identity"], "other");
    assert_eq!(state(&mut means.helper(), "dev"), "+online");
}

/// A silent data connection, which promised a beat every three seconds, and the channel that beats for it.
fn with_channel(means: &Means) -> (Client, Client) {
    let mut dev = means.server.connect("with");
    dev.ask("IDENT dev BEAT 3 CHANNEL t0ken", "+OK\r\n");
    let mut channel = means.helper();
    channel.ask("BEATFOR dev t0ken", "+OK\r\n");
    let since = now();
    while since.elapsed() < Duration::from_secs(6) {
        channel.send("BEAT\r\n");
        pass(Duration::from_millis(200));
    }
    assert_eq!(means.count("linger_suspected_total"), 0, "beats on the channel keep the other alive");
    (dev, channel)
}

const CHANNEL: &str = "heartbeat.style=off&heartbeat.grace=1500ms";

#[test]
fn a_dedicated_channel_keeps_a_silent_connection_alive_and_its_end_makes_it_suspect() {
    let means = Means::start("resp", "", CHANNEL);
    let (dev, channel) = with_channel(&means);
    let mut watcher = Watcher::of(&means, "dev");
    let since = now();
    drop(channel);
    assert_eq!(watcher.next(), "suspect");
    assert!(since.elapsed() < Duration::from_millis(900), "at once, not when its own beat is overdue");
    let end = means.found(since, ["stuck.frozen", "heartbeat_channel", "linger2"]);
    let offline = watcher.next();
    assert!(offline.contains(r#""detector":"heartbeat_channel""#), "{offline}");
    assert_eq!(end["identity"], "dev");
    drop(dev);
}

#[test]
fn a_connection_whose_channel_died_is_revived_by_its_own_data() {
    let means = Means::start("resp", "", CHANNEL);
    let (mut dev, channel) = with_channel(&means);
    let mut watcher = Watcher::of(&means, "dev");
    drop(channel);
    assert_eq!(watcher.next(), "suspect");
    dev.ask("PING", "+PONG\r\n");
    assert_eq!(watcher.next(), "revived");
    // And from now on it has to beat for itself.
    assert_eq!(watcher.next(), "suspect");
    let end = means.found(now(), FROZEN);
    assert_eq!(wait_for("offline", || Some(watcher.next())).split(' ').next(), Some("offline"));
    assert_eq!(end["identity"], "dev");
}

#[test]
fn a_replaced_client_cannot_take_its_identity_back_while_it_is_being_closed() {
    let means = Means::start("resp", "", CLIENT);
    let (mut older, mut newer, mut watcher) = (means.helper(), means.helper(), means.helper());
    for client in [&mut older, &mut newer] {
        client.send("IDENT device\r\n");
        assert_eq!(line(client), "+OK");
    }
    assert_eq!(line(&mut older), "-GOODBYE peer.replaced");
    older.send("IDENT device\r\n");
    assert!(line(&mut older).starts_with("-ERR this connection is being ended"));
    watcher.send("SEND device hello\r\n");
    assert_eq!(line(&mut watcher), ":1");
    assert!(line(&mut newer).starts_with('*'), "the newer one still holds it, and is sent the message");
}

#[test]
fn a_message_to_a_client_that_is_being_closed_is_not_counted_as_sent() {
    let means = Means::start("resp", "", CLIENT);
    let (mut client, mut other) = (means.helper(), means.helper());
    client.send("IDENT device\r\nQUIT\r\n");
    assert_eq!((line(&mut client), line(&mut client)), ("+OK".to_owned(), "+OK".to_owned()));
    other.send("SEND device hello\r\n");
    assert_eq!(line(&mut other), ":0");
}

#[test]
fn without_a_handshake_timeout_a_client_that_never_speaks_is_silent_like_any_other() {
    let means = Means::start("resp", "", CLIENT);
    let since = now();
    let _clients = means.clients();
    means.found(since, FROZEN);
}

#[test]
fn reset_brings_the_contract_of_the_listener_back_at_once() {
    let means = Means::start("resp", "", CLIENT);
    let (mut with, mut without) = means.clients();
    for client in [&mut with, &mut without] {
        client.send("IDENT device BEAT 600\r\n");
        assert_eq!(line(client), "+OK");
    }
    // The wheel is armed for the long contract by now. (The first client was replaced: it is let go.)
    drop(with);
    let mut with = means.server.connect("with");
    with.send("IDENT other BEAT 600\r\n");
    assert_eq!(line(&mut with), "+OK");
    pass(Duration::from_millis(1500));
    let since = now();
    for client in [&mut with, &mut without] {
        client.send("RESET\r\n");
        assert_eq!(line(client), "+RESET");
    }
    until("the silent client is found", || {
        means.server.ends().iter().any(|end| end["listener"] == "with" && end["reason"] == FROZEN[0])
    });
    assert!(since.elapsed() < Duration::from_secs(30));
}
