//! What keys do to what is shown.

use super::filter::{Ask, Filter};
use super::input::{Action, Focus};
use super::picture::Picture;
use super::ui::{Effect, Page, Tab, Ui};
use serde_json::json;

fn picture(keys: &[&str]) -> Picture {
    let row = |key: &&str| json!({"key": key, "id": "dev1", "peer": "10.0.0.1:1"});
    Picture { connections: keys.iter().map(row).collect(), ..Picture::default() }
}

fn asked(effect: Option<Effect>) -> Option<Ask> {
    match effect {
        Some(Effect::Ask(ask)) => Some(ask),
        Some(Effect::Quit | Effect::Redraw) | None => None,
    }
}

fn write(ui: &mut Ui, picture: &mut Picture, text: &str) {
    for letter in text.chars() {
        ui.act(Action::Type(letter), picture);
    }
}

#[test]
fn what_is_selected_stays_so_where_others_come_and_go() {
    let (mut ui, mut live) = (Ui::new(), picture(&["1-1", "2-1", "3-1"]));
    ui.act(Action::Move(1), &mut live);
    assert_eq!(ui.selected(&live), 1);
    let mut live = picture(&["0-1", "1-1", "4-1", "2-1"]);
    assert_eq!(ui.selected(&live), 3);
    // It is gone: what is at its place.
    live.connections.truncate(3);
    assert_eq!(ui.selected(&live), 1);
    for (action, place) in
        [(Action::Last, 2), (Action::Move(1), 2), (Action::First, 0), (Action::Move(-1), 0)]
    {
        ui.act(action, &mut live);
        assert_eq!(ui.selected(&live), place, "{action:?}");
    }
    live.connections.clear();
    ui.act(Action::Move(1), &mut live);
    assert_eq!(ui.selected(&live), 0);
}

#[test]
fn what_is_open_is_watched_until_it_is_closed_in_whatever_way() {
    let close: [&[Action]; 4] =
        [&[Action::Back], &[Action::Tab(1)], &[Action::NextTab], &[Action::Filter, Action::Back]];
    for actions in close {
        let (mut ui, mut live) = (Ui::new(), picture(&["1-1"]));
        let opened = asked(ui.act(Action::Open, &mut live));
        assert_eq!(opened, Some(Ask::Watch(Some("1-1".to_owned()))));
        let closed: Vec<_> = actions.iter().filter_map(|action| asked(ui.act(*action, &mut live))).collect();
        assert_eq!((closed, ui.page.is_none()), (vec![Ask::Watch(None)], true), "{actions:?}");
        // Nothing is open any more that was watched.
        assert_eq!(asked(ui.act(Action::NextTab, &mut live)), None);
    }
}

#[test]
fn a_connection_is_ended_after_a_yes_and_by_nothing_else() {
    let (mut ui, mut live) = (Ui::new(), picture(&["1-1", "2-1"]));
    ui.act(Action::Move(1), &mut live);
    assert_eq!(ui.act(Action::End, &mut live), None);
    assert_eq!(ui.focus(), Focus::Question);
    assert_eq!(ui.act(Action::Back, &mut live), None);
    assert_eq!(ui.act(Action::Accept, &mut live), None, "the question is gone");
    ui.act(Action::End, &mut live);
    // The list moves while it is read.
    let mut live = picture(&["3-1"]);
    assert_eq!(asked(ui.act(Action::Accept, &mut live)), Some(Ask::End("2-1".to_owned())));
    ui.act(Action::Tab(1), &mut live);
    ui.act(Action::End, &mut live);
    assert!(ui.question.is_none() && ui.said.is_some(), "an ending cannot be ended");
}

#[test]
fn a_filter_is_written_and_escape_takes_back_step_by_step() {
    let (mut ui, mut live) = (Ui::new(), picture(&["1-1"]));
    ui.act(Action::Filter, &mut live);
    write(&mut ui, &mut live, "devx");
    ui.act(Action::Erase, &mut live);
    write(&mut ui, &mut live, "1");
    let asked_for = asked(ui.act(Action::Accept, &mut live));
    assert_eq!(asked_for, Some(Ask::Filter(Filter::of("dev1"))));
    assert_eq!(live.filter, Filter::of("dev1"));
    // It can be changed from what it is, and that can be left.
    ui.act(Action::Filter, &mut live);
    assert_eq!(ui.line.as_deref(), Some("dev1"));
    ui.act(Action::Help, &mut live);
    assert_eq!(ui.act(Action::Back, &mut live), None);
    assert_eq!(asked(ui.act(Action::Back, &mut live)), Some(Ask::Watch(None)), "the help is closed");
    assert_eq!(asked(ui.act(Action::Back, &mut live)), Some(Ask::Filter(None)));
    assert_eq!(ui.act(Action::Back, &mut live), Some(Effect::Quit));
}

#[test]
fn an_open_connection_is_watched_to_its_end() {
    let (mut ui, mut live) = (Ui::new(), picture(&["1-1", "2-1"]));
    assert_eq!(asked(ui.act(Action::Open, &mut live)), Some(Ask::Watch(Some("1-1".to_owned()))));
    ui.on_watched("1-1", Some(json!({"key": "1-1", "state": "suspect"})));
    ui.on_watched("2-1", Some(json!({"key": "2-1"})));
    ui.on_watched("1-1", None);
    ui.on_ended(&json!({"key": "2-1"}));
    let expected = json!({"key": "1-1", "state": "suspect"});
    assert_eq!(ui.page, Some(Page::Connection { row: expected.clone(), ending: None }));
    let end = json!({"key": "1-1", "reason": "peer.fin"});
    ui.on_ended(&end);
    assert_eq!(ui.page, Some(Page::Connection { row: expected, ending: Some(end) }));
    ui.act(Action::End, &mut live);
    assert_eq!(ui.question, None, "it has ended already");
}

#[test]
fn a_paused_picture_stands() {
    let (mut ui, mut live) = (Ui::new(), picture(&["1-1"]));
    ui.act(Action::Pause, &mut live);
    live.connections.clear();
    assert_eq!(ui.shown(&live).connections.len(), 1);
    ui.act(Action::Pause, &mut live);
    assert!(ui.shown(&live).connections.is_empty());
    // A filter asks for a new one.
    ui.act(Action::Pause, &mut live);
    ui.act(Action::Filter, &mut live);
    ui.act(Action::Accept, &mut live);
    assert!(ui.paused.is_none());
}

#[test]
fn lists_are_turned_over_in_a_ring() {
    let (mut ui, mut live) = (Ui::new(), picture(&[]));
    ui.act(Action::PreviousTab, &mut live);
    assert_eq!(ui.tab, Tab::Workers);
    ui.act(Action::NextTab, &mut live);
    assert_eq!(ui.tab, Tab::Connections);
    ui.act(Action::Tab(2), &mut live);
    assert_eq!(ui.tab, Tab::Events);
    ui.act(Action::Tab(8), &mut live);
    assert_eq!(ui.tab, Tab::Events);
}
