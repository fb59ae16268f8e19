//! What is seen, at several sizes of terminal.

use super::super::super::follow::Message;
use super::super::filter::Filter;
use super::super::input::{Action, PAGE};
use super::super::numbers::{Listener, Numbers, Worker};
use super::super::picture::{Picture, Polled};
use super::super::ui::Ui;
use super::panels::bars;
use super::{Palette, View, draw};
use crate::core::time::Instant;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use serde_json::{Value, json};

const SIZES: [(u16, u16); 8] =
    [(80, 24), (120, 40), (100, 30), (40, 10), (20, 5), (1, 1), (300, 3), (10, 80)];

const fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

fn ended(key: &str, identity: &str, reason: &str) -> Value {
    json!({
        "event": "ended", "time": "2026-11-27T13:20:43.020Z", "key": key, "peer": "10.0.0.7:51234", "listener": "resp",
        "identity": identity, "reason": reason, "detector": "heartbeat", "close": "reset", "age_s": 35.0,
        "silence_s": 31.0, "bytes_in": 12, "bytes_out": 5,
    })
}

fn numbers(accepted: u64, lost: u64) -> Numbers {
    let listener = |name: &str| Listener {
        name: name.to_owned(),
        protocol: "resp".to_owned(),
        connections: 1234,
        accepted,
        ended: lost,
        queue: Some(3),
        queue_limit: 4096,
        ..Listener::default()
    };
    Numbers {
        version: "0.1.0".to_owned(),
        uptime_s: 7260.0,
        resident_bytes: 12 << 20,
        connections_max: 20_000,
        states: vec![("open".to_owned(), 1230), ("suspect".to_owned(), 4)],
        listeners: vec![listener("devices"), Listener { is_stalled: true, ..listener("apps") }],
        reasons: [("lost.heartbeat".to_owned(), lost), ("peer.fin".to_owned(), 900)].into(),
        workers_wanted: Some(2),
        workers: vec![
            Worker { number: "1".to_owned(), is_up: true, connections: 617, ..Worker::default() },
            Worker { number: "2".to_owned(), ..Worker::default() },
        ],
        ..Numbers::default()
    }
}

fn picture() -> Picture {
    let row = |key: &str, id: &str| {
        json!({
            "key": key, "id": id, "state": "open", "peer": "10.0.0.7:51234", "listener": "devices", "age_s": 4000.5,
            "silence_s": 2.25, "bytes_in": 2048, "bytes_out": 5, "queue_bytes": 0, "user": null, "reading_paused": false,
            "heartbeat": {"grace_s": 5.0, "of": "client", "timeout_s": 30.0},
        })
    };
    let mut picture = Picture::default();
    for (second, accepted, lost) in [(100, 10, 3), (102, 16, 5)] {
        let connections = json!({"matched": 1234, "connections": [row("1.2-1", "dev1"), row("1.3-1", "a\u{1b}[2Jb\u{202e}")]});
        let server = json!({"address": "10.0.0.5:9001", "state": "down", "down_by": "check", "operator": "ready",
            "since_s": 8.0, "connections": 3, "failed": {}, "check": null});
        picture.on_polled(
            Polled {
                numbers: numbers(accepted, lost),
                filter: None,
                connections,
                ends: None,
                upstreams: json!({"upstreams": [{"name": "app", "servers": [server]}]}),
                watched: None,
            },
            at(second),
        );
    }
    picture.on_event(&Message { name: "ended".to_owned(), data: ended("1.9-1", "dev9", "lost.heartbeat") });
    picture
}

/// The screen as text, and whether a cell of it has a colour.
fn screen(picture: &Picture, ui: &Ui, size: (u16, u16), has_colors: bool) -> (String, bool) {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    let palette = Palette::new(has_colors);
    let view = View { live: picture, ui, now: at(105), address: "127.0.0.1:7070", palette };
    terminal.draw(|frame| draw(frame, &view)).unwrap();
    let buffer = terminal.backend().buffer();
    let is_colored = buffer.content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
    let rows = buffer.content().chunks(usize::from(size.0));
    let text = rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>());
    (text.collect::<Vec<_>>().join("\n"), is_colored)
}

fn assert_seen(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
}

#[test]
fn all_is_seen_where_there_is_room() {
    let (text, _) = screen(&picture(), &Ui::new(), (120, 40), true);
    assert_seen(
        &text,
        &[
            "linger top  127.0.0.1:7070  0.1.0  up 2h 01m  1 of 2 workers",
            "opened 6.0/s  ended 2.0/s",
            "memory 12 MiB",
            "1,234 connections of 20,000:  open 1,230  suspect 4",
            "3 of 4096",
            "STALLED",
            "lost.heartbeat",
            " Connections 2 of 1,234 ",
            "dev1",
            r"a\x1b[2Jb\xe2\x80\xae",
            "Last endings",
            "13:20:43 lost.heartbeat    dev9",
            "q quit",
        ],
    );
    let (text, _) = screen(&picture(), &Ui::new(), (80, 24), true);
    assert_seen(&text, &["Endings of clients, by reason", "Last endings", "1.2-1", "dev1", "10.0.0.7:51234"]);
    let (text, _) = screen(&picture(), &Ui::new(), (40, 10), true);
    assert_seen(&text, &["linger top", "1.2-1", "dev1"]);
}

#[test]
fn nothing_panics_at_any_size_whatever_is_open() {
    let actions: [&[Action]; 11] = [
        &[],
        &[Action::Tab(1)],
        &[Action::Tab(1), Action::Open],
        &[Action::Tab(2)],
        &[Action::Tab(3)],
        &[Action::Tab(4), Action::Last],
        &[Action::Help, Action::Move(PAGE)],
        &[Action::Open, Action::Last],
        &[Action::End],
        &[Action::Filter, Action::Type('设')],
        &[Action::Pause],
    ];
    for size in SIZES {
        for actions in actions {
            for mut picture in [picture(), Picture::default()] {
                let mut ui = Ui::new();
                for action in actions {
                    ui.act(*action, &mut picture);
                }
                picture.on_failed("refused", at(101));
                screen(&picture, &ui, size, true);
            }
        }
    }
}

#[test]
fn each_list_has_what_its_name_says() {
    for (tab, wanted) in [
        (1, ["REASON", "lost.heartbeat"]),
        (2, ["ended", "reset; lived 3"]),
        (3, ["10.0.0.5:9001", "down (check)"]),
        (4, ["does not answer", "617"]),
    ] {
        let (mut ui, mut picture) = (Ui::new(), picture());
        ui.act(Action::Tab(tab), &mut picture);
        assert_seen(&screen(&picture, &ui, (120, 40), true).0, &wanted);
    }
    // A line that is longer than the screen is wide can be opened.
    let (mut ui, mut picture) = (Ui::new(), picture());
    ui.act(Action::Tab(2), &mut picture);
    ui.act(Action::Open, &mut picture);
    assert_seen(&screen(&picture, &ui, (80, 24), true).0, &["Event", "silent for 31s"]);
}

#[test]
fn a_connection_and_its_ending_are_told_in_full() {
    let (mut ui, mut picture) = (Ui::new(), picture());
    ui.act(Action::Open, &mut picture);
    let (text, _) = screen(&picture, &ui, (100, 40), true);
    assert_seen(&text, &["Connection 1.2-1", "1h 06m", "2.0 KiB", "grace 5.0s, of client, timeout 30s"]);
    ui.on_ended(&ended("1.2-1", "dev1", "local.kicked"));
    let (text, _) = screen(&picture, &ui, (100, 40), true);
    assert_seen(&text, &["Ending of 1.2-1", "20:43 UTC: local.kicked", "What to do:"]);
    // Where it does not fit, it can be scrolled to its end, and no further.
    ui.act(Action::Last, &mut picture);
    let (text, _) = screen(&picture, &ui, (60, 12), true);
    assert!(!text.contains("What to do") || text.contains("Esc close"), "{text}");
    // From there, one step back is seen.
    ui.act(Action::Move(-1), &mut picture);
    assert_ne!(screen(&picture, &ui, (60, 12), true).0, text);
    ui.act(Action::Back, &mut picture);
    ui.act(Action::End, &mut picture);
    assert_seen(
        &screen(&picture, &ui, (80, 24), true).0,
        &["End connection 1.2-1 (dev1, from 10.0.0.7:51234 on devices)?"],
    );
}

#[test]
fn suspects_and_the_other_side_of_a_pair_have_their_columns_where_there_are_some() {
    let head = |picture: &Picture, size| screen(picture, &Ui::new(), size, true).0;
    let mut picture = picture();
    let none = head(&picture, (160, 40));
    assert!(!none.contains("SUSPECT FOR") && !none.contains("SERVER") && none.contains("QUEUED"), "{none}");
    picture.connections[0]["state"] = "suspect".into();
    picture.connections[0]["suspect_for_s"] = 12.0.into();
    assert_seen(&head(&picture, (100, 30)), &["SUSPECT FOR", "suspect     12s ", "10.0.0.7:51234"]);
    picture.connections[0]["verdict"] = "lost.heartbeat".into();
    assert_seen(&head(&picture, (80, 24)), &["12s lost.heartbeat", "dev1"]);
    picture.connections[1]["server"] = "10.0.0.5:9001".into();
    assert_seen(&head(&picture, (120, 40)), &["12s lost.heartbeat", "dev1", "SERVER", "10.0.0.5:9001"]);
}

#[test]
fn the_other_side_of_a_pair_is_told_with_its_connection_and_with_its_ending() {
    let (mut ui, mut picture) = (Ui::new(), picture());
    ui.act(Action::Open, &mut picture);
    let mut row = picture.connections[0].clone();
    row["other_side"] = json!({"key": "1.5-7", "leg": "upstream", "peer": "10.0.0.5:9001", "state": "open"});
    ui.on_watched("1.2-1", Some(row));
    let (text, _) = screen(&picture, &ui, (100, 40), true);
    assert_seen(&text, &["grace 5.0s", "The other side: the server's", "1.5-7", "10.0.0.5:9001"]);
    let leg = |key: &str, leg: &str, reason: &str| {
        let mut row = ended(key, "", reason);
        (row["leg"], row["pair"]) = (leg.into(), "1.2-1".into());
        row
    };
    let server = leg("1.5-7", "upstream", "upstream.reset");
    picture.on_event(&Message { name: "ended".to_owned(), data: server });
    ui.on_ended(&leg("1.2-1", "client", "upstream.reset"));
    let (text, _) = screen(&picture, &ui, (100, 40), true);
    assert_seen(&text, &["Ending of 1.2-1", "Its server's side: 1.5-7"]);
}

#[test]
fn what_is_wrong_is_said_and_the_last_picture_stays() {
    let mut picture = picture();
    picture.on_failed("the admin interface at 127.0.0.1:7070 does not answer: Connection refused", at(102));
    let (text, _) = screen(&picture, &Ui::new(), (120, 40), true);
    assert_seen(&text, &["NO ANSWER for 3.0s: the admin interface", "trying again", "dev1"]);
    let mut picture = Picture::default();
    picture.on_events(Some("this interface wants a token"));
    let (text, _) = screen(&picture, &Ui::new(), (80, 24), true);
    assert_seen(
        &text,
        &["no answer yet", "NO EVENTS: this interface wants a token", "The server has not answered yet."],
    );
}

#[test]
fn a_filter_and_a_pause_are_seen() {
    let (mut ui, mut picture) = (Ui::new(), picture());
    picture.filter = Filter::of("10.0.0.0/8");
    ui.act(Action::Pause, &mut picture);
    picture.connections.clear();
    assert_seen(&screen(&picture, &ui, (120, 40), true).0, &["only address 10.0.0.0/8  PAUSED", "dev1"]);
}

#[test]
fn no_color_is_used_where_there_is_to_be_none() {
    assert!(screen(&picture(), &Ui::new(), (120, 40), true).1);
    assert!(!screen(&picture(), &Ui::new(), (120, 40), false).1);
}

#[test]
fn bars_are_as_high_as_their_numbers() {
    assert_eq!(bars(&[0, 1, 4, 8]), " ▁▄█");
    assert_eq!(bars(&[0, 0]), "  ");
    assert_eq!(bars(&[1, 1_000_000]), "▁█");
}
