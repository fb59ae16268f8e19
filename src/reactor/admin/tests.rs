//! What a turn does for the admin interface, on the simulated kernel.

use super::super::scene_tests::{ADMIN, ECHO, RESP, Scene};
use super::WORK_PER_TURN;
use crate::core::time::Duration;
use serde_json::Value;

/// Answers that have ended, of chunks and of none.
fn ended(text: &[u8], end: &[u8]) -> usize {
    text.windows(end.len()).filter(|window| *window == end).count()
}

#[test]
fn a_turn_does_a_bounded_amount_for_all_who_ask_together() {
    let mut scene = Scene::new();
    scene.crowd(ECHO, 512);
    let askers = scene.crowd(ADMIN, 6);
    for &asker in &askers {
        scene.send(asker, &"GET /connections?limit=10000 HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(3));
    }
    let mut taken = vec![Vec::new(); askers.len()];
    let (mut turns, mut all) = (0, 0);
    while taken.iter().any(|text| ended(text, b"\r\n0\r\n\r\n") < 3) {
        let produced = scene.turn();
        // A row and a head may lie above each share.
        assert!(produced <= (WORK_PER_TURN + 16 * 1024) as u64, "{produced} bytes in turn {turns}");
        (turns, all) = (turns + 1, all + produced);
        for (text, &asker) in taken.iter_mut().zip(&askers) {
            text.extend(scene.recv(asker));
        }
        assert!(turns < 10_000, "it comes to its end");
    }
    assert!(all > 1_000_000, "{all} bytes");
    // In turns: no one of them had all of its answers before another had any.
    assert!(taken.iter().all(|text| ended(text, b"\"key\":") >= 3 * 512));
}

#[test]
fn many_requests_in_one_receive_are_served_over_several_turns() {
    let mut scene = Scene::new();
    scene.crowd(ECHO, 64);
    let asker = scene.crowd(ADMIN, 1)[0];
    let request = "HEAD /connections HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let count = 60_000 / request.len();
    scene.send(asker, &request.repeat(count));
    let (mut answers, mut turns, mut most) = (0, 0, 0);
    while answers < count {
        scene.turn();
        let text = scene.recv(asker);
        let got = ended(&text, b"HTTP/1.1 200 OK");
        most = most.max(got);
        (answers, turns) = (answers + got, turns + 1);
        assert!(turns < 10_000, "it comes to its end");
    }
    assert!(most < count / 4, "{most} of {count} in one turn");
}

/// What is answered to `GET path`.
fn get(scene: &mut Scene, asker: usize, path: &str) -> Value {
    scene.send(asker, &format!("GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    let mut answer = String::new();
    for _ in 0..10_000 {
        scene.turn();
        answer += &String::from_utf8(scene.recv(asker)).unwrap();
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        if let Some(value) = body.and_then(|body| serde_json::from_str(&body).ok()) {
            return value;
        }
    }
    panic!("no answer to {path}: {answer}");
}

fn numbers(list: &Value) -> Vec<u64> {
    list["ends"].as_array().unwrap().iter().map(|row| row["number"].as_u64().unwrap()).collect()
}

#[test]
fn the_last_endings_are_listed_newest_first_with_filters_and_cursors() {
    let mut scene = Scene::new();
    for client in scene.crowd(ECHO, 3) {
        scene.close(client);
        scene.come_to_rest();
    }
    let named = scene.crowd(RESP, 1)[0];
    scene.send(named, "IDENT dev1\r\nPING\r\nQUIT\r\n");
    scene.come_to_rest();
    scene.close(named);
    scene.come_to_rest();
    let mut ask = |path: &str| {
        let asker = scene.crowd(ADMIN, 1)[0];
        let answer = get(&mut scene, asker, path);
        scene.close(asker);
        scene.come_to_rest();
        answer
    };
    // Who asks is not among them, however often.
    let all = ask("/ends");
    assert_eq!((numbers(&all), &all["listed"]), (vec![4, 3, 2, 1], &4.into()));
    assert_eq!((&all["before"], &all["after"], &all["dropped"]), (&Value::Null, &"4".into(), &0.into()));
    let newest = &all["ends"][0];
    for (field, value) in
        [("identity", "dev1"), ("reason", "peer.goodbye"), ("listener", "resp"), ("detector", "protocol")]
    {
        assert_eq!(newest[field], value, "{field} in {newest}");
    }
    assert_eq!((&newest["messages_in"], &newest["messages_out"]), (&3.into(), &3.into()));
    assert!(newest["ago_s"].as_f64().unwrap() <= all["ends"][3]["ago_s"].as_f64().unwrap());
    let of = |list: Value| numbers(&list);
    assert_eq!(of(ask("/ends?identity=dev1")), [4]);
    assert_eq!(of(ask("/ends?listener=echo&reason=peer.*")), [3, 2, 1]);
    assert!(of(ask("/ends?reason=lost.*")).is_empty());
    let key = all["ends"][2]["key"].as_str().unwrap();
    assert_eq!(of(ask(&format!("/ends?key={key}"))), [2]);
    let peer = all["ends"][1]["peer"].as_str().unwrap();
    assert_eq!(of(ask(&format!("/ends?peer={peer}"))), [3]);
    assert!(all["from_start"] == true && all["reach_s"].as_f64().unwrap() > 0.0);
    // Page by page, and then what is new.
    let first = ask("/ends?limit=3");
    assert_eq!((numbers(&first), &first["before"]), (vec![4, 3, 2], &"2".into()));
    let second = ask("/ends?limit=3&before=2");
    assert_eq!((numbers(&second), &second["before"]), (vec![1], &Value::Null));
    assert_eq!(of(ask("/ends?after=3")), [4]);
    assert_eq!((of(ask("/ends?after=4")), of(ask("/ends?after=99"))), (vec![], vec![4, 3, 2, 1]));
    assert_eq!(of(ask("/ends?last=1h")), [4, 3, 2, 1]);
    assert!(of(ask("/ends?last=1ms")).is_empty());
}

/// So many hundreds of clients come and go.
fn end_clients(scene: &mut Scene, hundreds: usize) {
    for _ in 0..hundreds {
        let all = scene.crowd(ECHO, 100);
        for client in all {
            scene.close(client);
        }
        scene.come_to_rest();
    }
}

#[test]
fn who_reads_on_is_told_what_made_way() {
    let mut scene = Scene::new();
    scene.reactor.cx.observer.history.resize(64 * 1024, scene.reactor.cx.now);
    end_clients(&mut scene, 10);
    let asker = scene.crowd(ADMIN, 1)[0];
    let list = get(&mut scene, asker, "/ends?after=10&limit=10000");
    let kept = list["kept"].as_u64().unwrap();
    assert!((400..600).contains(&kept), "{kept}");
    assert_eq!((&list["dropped"], &list["missed"]), (&(1000 - kept).into(), &(990 - kept).into()));
    assert_eq!(numbers(&list), (1001 - kept..=1000).rev().collect::<Vec<_>>());
    assert!(list["reach_s"].as_f64().unwrap() > 0.0);
    assert_eq!(list["from_start"], false);
}

#[test]
fn what_ended_while_the_history_was_off_is_not_claimed_to_be_known() {
    let mut scene = Scene::new();
    let size = scene.reactor.cx.observer.history.size();
    for bytes in [0, size] {
        scene.pass(Duration::from_secs(5));
        scene.reactor.cx.observer.history.resize(bytes, scene.reactor.cx.now);
    }
    scene.pass(Duration::from_secs(1));
    let asker = scene.crowd(ADMIN, 1)[0];
    let list = get(&mut scene, asker, "/ends");
    let reach = list["reach_s"].as_f64().unwrap();
    assert!((1.0..2.0).contains(&reach) && list["from_start"] == false, "{list}");
}

/// A list of 300 endings that has begun: who asks.
fn list_begun(scene: &mut Scene) -> usize {
    end_clients(scene, 3);
    let asker = scene.crowd(ADMIN, 1)[0];
    scene.send(asker, "GET /ends?limit=10000 HTTP/1.0\r\n\r\n");
    let mut produced = 0;
    while produced == 0 {
        produced = scene.turn();
    }
    assert!(produced < 300 * 256, "most of it is still to come: {produced} bytes");
    asker
}

/// The whole of a list that has begun.
fn list_whole(scene: &mut Scene, asker: usize) -> Value {
    let mut taken = Vec::new();
    for _ in 0..10_000 {
        scene.turn();
        taken.extend(scene.recv(asker));
        let body = std::str::from_utf8(&taken).unwrap().split_once("\r\n\r\n").map(|(_, body)| body);
        if let Some(value) = body.and_then(|body| serde_json::from_str(body).ok()) {
            return value;
        }
    }
    panic!("it comes to its end");
}

#[test]
fn a_list_goes_on_when_the_history_gets_another_size() {
    let mut scene = Scene::new();
    let asker = list_begun(&mut scene);
    let size = scene.reactor.cx.observer.history.size();
    scene.reactor.cx.observer.history.resize(2 * size, scene.reactor.cx.now);
    let list = list_whole(&mut scene, asker);
    assert_eq!(numbers(&list), (1..=300).rev().collect::<Vec<_>>());
}

#[test]
fn what_ends_while_a_list_is_written_comes_after_it() {
    let mut scene = Scene::new();
    let late = scene.crowd(ECHO, 1)[0];
    let asker = list_begun(&mut scene);
    scene.close(late);
    let turns = (0..1_000).take_while(|_| {
        scene.turn();
        scene.reactor.cx.observer.history.last_number() == 300
    });
    assert!(turns.count() < 1_000, "it ends while nobody takes the list");
    let list = list_whole(&mut scene, asker);
    assert_eq!((&list["listed"], &list["after"]), (&300.into(), &"300".into()));
    scene.close(asker);
    scene.come_to_rest();
    let asker = scene.crowd(ADMIN, 1)[0];
    assert_eq!(numbers(&get(&mut scene, asker, "/ends?after=300")), [301]);
}

/// Begins to watch, and takes the first word.
fn watch(scene: &mut Scene, query: &str, last: Option<u64>) -> (usize, String) {
    let asker = scene.crowd(ADMIN, 1)[0];
    let last = last.map_or(String::new(), |last| format!("Last-Event-ID: {last}\r\n"));
    scene.send(asker, &format!("GET /events{query} HTTP/1.0\r\n{last}\r\n"));
    scene.come_to_rest();
    let text = String::from_utf8(scene.recv(asker)).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"), "{text}");
    (asker, text)
}

/// The events that have come to one who watches, by name, each with its data.
fn told(text: &str) -> Vec<(String, Value)> {
    let data = |line: &str| serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let named = lines.windows(2).filter_map(|pair| Some((pair[0].strip_prefix("event: ")?, data(pair[1]))));
    named.map(|(name, data)| (name.to_owned(), data)).collect()
}

fn names(told: &[(String, Value)]) -> Vec<&str> {
    told.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn who_watches_is_told_what_happens_in_the_turn_in_which_it_does() {
    let mut scene = Scene::new();
    scene.crowd(ECHO, 1);
    let (watcher, first) = watch(&mut scene, "", None);
    assert_eq!(names(&told(&first)), ["start"], "what was before is not told");
    let (other, _) = watch(&mut scene, "?listener=resp", None);
    let echo = scene.crowd(ECHO, 1)[0];
    let resp = scene.crowd(RESP, 1)[0];
    scene.send(resp, "IDENT dev1\r\n");
    scene.come_to_rest();
    scene.close(echo);
    scene.close(resp);
    scene.come_to_rest();
    let all = told(&String::from_utf8(scene.recv(watcher)).unwrap());
    assert_eq!(names(&all), ["opened", "opened", "identified", "ended", "ended"]);
    assert_eq!((&all[0].1["listener"], &all[3].1["reason"]), (&"echo".into(), &"peer.fin".into()));
    assert_eq!((&all[2].1["identity"], &all[2].1["key"]), (&"dev1".into(), &all[1].1["key"]));
    let some = told(&String::from_utf8(scene.recv(other)).unwrap());
    assert_eq!(names(&some), ["opened", "identified", "ended"]);
    assert_eq!(some[2].1["identity"], "dev1");
    // Told all, they cost a turn nothing.
    assert_eq!(scene.turn(), 0);
}

#[test]
fn what_is_asked_behind_events_is_forgotten() {
    let mut scene = Scene::new();
    let asker = scene.crowd(ADMIN, 1)[0];
    scene.send(asker, &"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000));
    scene.come_to_rest();
    let text = String::from_utf8(scene.recv(asker)).unwrap();
    assert_eq!((text.matches("HTTP/1.1 200").count(), names(&told(&text))), (1, vec!["start"]));
    assert!(scene.reactor.table.iter().all(|(_, conn)| !conn.has_input()), "nor is it kept");
    scene.crowd(ECHO, 1);
    scene.come_to_rest();
    assert!(String::from_utf8(scene.recv(asker)).unwrap().contains("event: opened\n"));
    scene.close(asker);
    scene.come_to_rest();
    assert!(scene.is_closed(asker));
    assert_eq!(scene.reactor.cx.admin.open().next(), None);
}

#[test]
fn who_was_cut_off_goes_on_where_it_was() {
    let mut scene = Scene::new();
    let (watcher, first) = watch(&mut scene, "", None);
    let id = told(&first)[0].1["id"].as_str().unwrap().parse().unwrap();
    scene.close(watcher);
    scene.come_to_rest();
    for client in scene.crowd(ECHO, 2) {
        scene.close(client);
    }
    scene.come_to_rest();
    let (_, text) = watch(&mut scene, "?event=ended", Some(id));
    let all = told(&text);
    assert_eq!((names(&all), &all[0].1["missed"]), (vec!["start", "ended", "ended"], &0.into()));
    // An id that no event of this process had.
    let (_, text) = watch(&mut scene, "?event=ended", Some(id + 1_000_000));
    assert_eq!(told(&text)[0].1["missed"], Value::Null);
}

#[test]
fn who_does_not_read_is_dropped_with_a_word_and_costs_the_others_nothing() {
    let mut scene = Scene::new();
    let (slow, _) = watch(&mut scene, "", None);
    let (quick, _) = watch(&mut scene, "?event=ended", None);
    let (mut ended, mut rounds) = (0, 0);
    // Until what is kept has gone round more than once behind what the slow one has not taken.
    while rounds < 60 {
        for client in scene.crowd(ECHO, 40) {
            scene.close(client);
        }
        scene.come_to_rest();
        ended += told(&String::from_utf8(scene.recv(quick)).unwrap()).len();
        rounds += 1;
    }
    assert_eq!(ended, 60 * 40, "the quick one is told all");
    let mut text = String::new();
    loop {
        scene.come_to_rest();
        let more = String::from_utf8(scene.recv(slow)).unwrap();
        if more.is_empty() {
            break;
        }
        text += &more;
    }
    let all = told(&text);
    let (last, data) = all.last().unwrap();
    assert_eq!(last, "dropped");
    let missed = data["missed"].as_u64().unwrap();
    assert!(missed > 0 && data["id"].as_str().unwrap().parse::<u64>().is_ok(), "{data}");
    assert!(scene.is_closed(slow), "of HTTP/1.0, the end of the answer is the end of the connection");
}

#[test]
fn who_is_told_nothing_is_told_that_the_server_is_there_and_is_not_idle() {
    let mut scene = Scene::new();
    let (watcher, _) = watch(&mut scene, "", None);
    scene.pass(Duration::from_secs(200));
    let text = String::from_utf8(scene.recv(watcher)).unwrap();
    let remarks = text.matches(": nothing else has happened\nid: ").count();
    assert!((12..=14).contains(&remarks) && told(&text).is_empty(), "{remarks}: {text}");
    assert!(!scene.is_closed(watcher), "longer than idle_timeout");
    // It is read meanwhile: what it asks behind that is nobody's, and its end is seen.
    scene.send(watcher, "GET /healthz HTTP/1.1\r\n\r\n");
    scene.come_to_rest();
    assert_eq!(scene.recv(watcher), b"");
    scene.close(watcher);
    scene.come_to_rest();
    assert!(scene.is_closed(watcher));
}

/// What is answered to `POST path`.
fn post(scene: &mut Scene, asker: usize, path: &str) -> String {
    scene.send(asker, &format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"));
    scene.come_to_rest();
    let answer = String::from_utf8(scene.recv(asker)).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn many_are_ended_at_a_pace_and_nobody_who_is_not_meant() {
    let mut scene = Scene::new();
    let old = scene.crowd(ECHO, 100);
    let others = scene.crowd(RESP, 10);
    let asker = scene.crowd(ADMIN, 1)[0];
    let answer = post(&mut scene, asker, "/connections/end?listener=echo&over=100s");
    assert_eq!(answer, "the connections that are meant are being ended over 1m 40s\n");
    // Some of them have the slots of others that have left meanwhile.
    for client in scene.crowd(ECHO, 5) {
        scene.close(client);
    }
    for client in &others[..3] {
        scene.close(*client);
    }
    scene.come_to_rest();
    let (young, others) = (scene.crowd(ECHO, 5), &others[3..]);
    let mut before = 0;
    for tenth in 1..=10 {
        scene.pass(Duration::from_secs(10));
        let gone = old.iter().filter(|client| scene.is_closed(**client)).count();
        // A slot is a hundredth of the time, or a bit less: the others have some as well.
        assert!((6..=14).contains(&(gone - before)) || tenth == 10, "{gone} after {tenth} tenths");
        before = gone;
    }
    assert_eq!(before, 100);
    assert!(others.iter().chain(&young).all(|client| !scene.is_closed(*client)));
    let asker = scene.crowd(ADMIN, 1)[0];
    let ends = get(&mut scene, asker, "/ends?reason=local.kicked&limit=200");
    let rows = ends["ends"].as_array().unwrap();
    assert!(rows.len() == 100 && rows.iter().all(|row| row["detector"] == "operator"), "{}", rows.len());
    assert!(rows.iter().all(|row| row["by_peer"].as_str().is_some_and(|peer| peer.contains(':'))));
}

#[test]
fn what_is_under_way_can_be_stopped() {
    let mut scene = Scene::new();
    let clients = scene.crowd(ECHO, 50);
    let asker = scene.crowd(ADMIN, 1)[0];
    post(&mut scene, asker, "/connections/end?all=true&over=100s");
    scene.pass(Duration::from_secs(50));
    assert_eq!(post(&mut scene, asker, "/connections/end?stop=true"), "no more connections are ended\n");
    let gone = |scene: &Scene| clients.iter().filter(|client| scene.is_closed(**client)).count();
    let before = gone(&scene);
    scene.pass(Duration::from_secs(30));
    assert_eq!(gone(&scene), before);
    assert!((20..=30).contains(&before), "{before}");
    assert_eq!(post(&mut scene, asker, "/connections/end?stop=true"), "no connections were being ended\n");
    // At once, and all that are left: not the connection that asks.
    post(&mut scene, asker, "/connections/end?all=true");
    scene.pass(Duration::from_secs(20));
    assert_eq!(gone(&scene), 50);
    assert!(!scene.is_closed(asker));
    for _ in 0..16 {
        post(&mut scene, asker, "/connections/end?all=true&over=1h");
    }
    let refused = post(&mut scene, asker, "/connections/end?all=true&over=1h");
    assert!(refused.starts_with("too many orders"), "{refused}");
}
