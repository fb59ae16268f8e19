//! What the one who watches does: which list is shown, what is selected in it, what is open, what is asked. Keys come as
//! [`Action`]s; what they ask of the server is returned.

use super::filter::{Ask, Filter};
use super::input::{Action, Focus};
use super::picture::Picture;
use crate::core::escape::printable;
use serde_json::Value;
use std::cell::Cell;

/// The lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tab {
    Connections,
    Endings,
    Events,
    Upstreams,
    Workers,
}

impl Tab {
    pub(super) const ALL: [Self; 5] =
        [Self::Connections, Self::Endings, Self::Events, Self::Upstreams, Self::Workers];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Connections => "Connections",
            Self::Endings => "Endings",
            Self::Events => "Events",
            Self::Upstreams => "Upstreams",
            Self::Workers => "Workers",
        }
    }
}

/// What is shown over the list.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Page {
    Help,
    /// A connection, as it was last seen, and its ending once it has one.
    Connection {
        row: Value,
        ending: Option<Value>,
    },
    Ending(Value),
    /// What happened, in a line that may be longer than the screen is wide.
    Event(String),
}

/// What is to be done outside.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Effect {
    Quit,
    Redraw,
    Ask(Ask),
}

/// What the one who watches has done so far.
#[derive(Debug)]
pub(super) struct Ui {
    pub(super) tab: Tab,
    /// What is selected in the list: its name, and the row where it was last.
    selected: Option<(String, usize)>,
    pub(super) page: Option<Page>,
    /// The first line of the page that is seen.
    pub(super) scroll: Cell<u16>,
    /// The filter that is being written.
    pub(super) line: Option<String>,
    /// The connection that is to be ended, if the answer is yes.
    pub(super) question: Option<Value>,
    /// What came of the last thing that was asked.
    pub(super) said: Option<String>,
    /// The picture that stands while the server goes on.
    pub(super) paused: Option<Box<Picture>>,
}

impl Ui {
    pub(super) const fn new() -> Self {
        Self {
            tab: Tab::Connections,
            selected: None,
            page: None,
            scroll: Cell::new(0),
            line: None,
            question: None,
            said: None,
            paused: None,
        }
    }

    pub(super) const fn focus(&self) -> Focus {
        match (&self.question, &self.line, &self.page) {
            (Some(_), ..) => Focus::Question,
            (None, Some(_), _) => Focus::Text,
            (None, None, Some(_)) => Focus::Page,
            (None, None, None) => Focus::List,
        }
    }

    /// The picture that is shown.
    pub(super) fn shown<'a>(&'a self, live: &'a Picture) -> &'a Picture {
        self.paused.as_deref().unwrap_or(live)
    }

    /// The row that is selected: where it is now, or, if it is gone, what is at its place.
    pub(super) fn selected(&self, picture: &Picture) -> usize {
        let Some((name, place)) = &self.selected else { return 0 };
        let found = (0..self.rows(picture)).find(|&row| self.name(picture, row) == *name);
        found.unwrap_or(*place).min(self.rows(picture).saturating_sub(1))
    }

    /// How many rows the list has.
    pub(super) fn rows(&self, picture: &Picture) -> usize {
        match self.tab {
            Tab::Connections => picture.connections.len(),
            Tab::Endings => picture.endings.len(),
            Tab::Events => picture.events.len(),
            Tab::Upstreams => super::super::upstreams::rows(&picture.upstreams).len().saturating_sub(1),
            Tab::Workers => picture.numbers.as_ref().map_or(0, |(_, numbers)| numbers.workers.len()),
        }
    }

    /// What tells a row from the others, also when others have come before it.
    fn name(&self, picture: &Picture, row: usize) -> String {
        let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
        match self.tab {
            Tab::Connections => picture.connections.get(row).map(|row| text(row, "key")),
            Tab::Endings => picture.endings.get(row).map(|row| text(row, "key") + &text(row, "time")),
            Tab::Events => picture.events.get(row).cloned(),
            Tab::Upstreams | Tab::Workers => Some(row.to_string()),
        }
        .unwrap_or_default()
    }

    /// Does what a key asks.
    pub(super) fn act(&mut self, action: Action, live: &mut Picture) -> Option<Effect> {
        self.said = None;
        match action {
            Action::Quit => return Some(Effect::Quit),
            Action::Redraw => return Some(Effect::Redraw),
            Action::Back => return self.back(live),
            Action::Accept => return self.accept(live),
            Action::Move(rows) => self.go(rows, live),
            Action::First => self.go(i32::MIN, live),
            Action::Last => self.go(i32::MAX, live),
            Action::NextTab => return self.turn_to(1),
            Action::PreviousTab => return self.turn_to(Tab::ALL.len() - 1),
            Action::Tab(place) => {
                let now = Tab::ALL.iter().position(|tab| *tab == self.tab).unwrap_or(0);
                if place < Tab::ALL.len() {
                    return self.turn_to(place + Tab::ALL.len() - now);
                }
            }
            Action::Filter => {
                self.line = Some(live.filter.as_ref().map(|filter| filter.text.clone()).unwrap_or_default());
                return self.close_page();
            }
            Action::Type(letter) => self.line.iter_mut().for_each(|line| line.push(letter)),
            Action::Erase => {
                let _ = self.line.as_mut().map(String::pop);
            }
            Action::EraseAll => self.line.iter_mut().for_each(String::clear),
            Action::Pause => {
                self.paused = match self.paused.take() {
                    Some(_) => None,
                    None => Some(Box::new(live.clone())),
                };
            }
            Action::Help => self.open(Page::Help),
            Action::Open => return self.open_selected(live),
            Action::End => self.ask_to_end(live),
        }
        None
    }

    /// To the list so many places further.
    fn turn_to(&mut self, places: usize) -> Option<Effect> {
        let now = Tab::ALL.iter().position(|tab| *tab == self.tab).unwrap_or(0);
        let next = Tab::ALL[(now + places) % Tab::ALL.len()];
        if next != self.tab {
            (self.tab, self.selected) = (next, None);
        }
        self.close_page()
    }

    /// Closes the page, if one is open: what it shows is watched no longer.
    fn close_page(&mut self) -> Option<Effect> {
        self.page.take().map(|_| Effect::Ask(Ask::Watch(None)))
    }

    /// Closes what was opened last.
    fn back(&mut self, live: &mut Picture) -> Option<Effect> {
        if self.question.take().is_some() || self.line.take().is_some() {
            return None;
        }
        if self.page.is_some() {
            return self.close_page();
        }
        match live.filter {
            Some(_) => Some(self.filter(None, live)),
            None => Some(Effect::Quit),
        }
    }

    /// The line is written, or the answer is yes.
    fn accept(&mut self, live: &mut Picture) -> Option<Effect> {
        if let Some(row) = self.question.take() {
            return Some(Effect::Ask(Ask::End(row["key"].as_str().unwrap_or_default().to_owned())));
        }
        let written = self.line.take()?;
        Some(self.filter(Filter::of(&written), live))
    }

    fn filter(&mut self, filter: Option<Filter>, live: &mut Picture) -> Effect {
        // A picture that stands has others in it.
        self.paused = None;
        self.selected = None;
        live.on_filter(filter.clone());
        Effect::Ask(Ask::Filter(filter))
    }

    /// In the page, or in the list.
    fn go(&mut self, rows: i32, live: &Picture) {
        if self.page.is_some() {
            let first = i32::from(self.scroll.get()).saturating_add(rows).max(0);
            self.scroll.set(u16::try_from(first).unwrap_or(u16::MAX));
            return;
        }
        let picture = self.shown(live);
        let last = i32::try_from(self.rows(picture)).unwrap_or(i32::MAX).saturating_sub(1).max(0);
        let now = i32::try_from(self.selected(picture)).unwrap_or(0);
        let place = usize::try_from(now.saturating_add(rows).clamp(0, last)).unwrap_or(0);
        // The first row is the newest: who stays there sees what comes.
        self.selected = (place > 0).then(|| (self.name(picture, place), place));
    }

    fn open(&mut self, page: Page) {
        self.page = Some(page);
        self.scroll.set(0);
    }

    fn open_selected(&mut self, live: &Picture) -> Option<Effect> {
        let picture = self.shown(live);
        let place = self.selected(picture);
        let page = match self.tab {
            Tab::Connections => {
                let row = picture.connections.get(place)?.clone();
                Page::Connection { row, ending: None }
            }
            Tab::Endings => Page::Ending(picture.endings.get(place)?.clone()),
            Tab::Events => Page::Event(picture.events.get(place)?.clone()),
            Tab::Upstreams | Tab::Workers => return None,
        };
        let key = match &page {
            Page::Connection { row, .. } => row["key"].as_str().map(str::to_owned),
            Page::Ending(_) | Page::Event(_) | Page::Help => None,
        };
        self.open(page);
        Some(Effect::Ask(Ask::Watch(key)))
    }

    /// Asks whether the connection that is open or selected is to be ended.
    fn ask_to_end(&mut self, live: &Picture) {
        let picture = self.shown(live);
        let row = match &self.page {
            Some(Page::Connection { row, ending: None }) => Some(row),
            Some(Page::Help) | None if self.tab == Tab::Connections => {
                picture.connections.get(self.selected(picture))
            }
            Some(_) | None => None,
        };
        match row.cloned() {
            Some(row) => self.question = Some(row),
            None => self.said = Some("no connection is selected that could be ended".to_owned()),
        }
    }

    /// The server has told of the connection that is watched; `None`: it is not there any more.
    pub(super) fn on_watched(&mut self, key: &str, now: Option<Value>) {
        if let (Some(Page::Connection { row, .. }), Some(now)) = (&mut self.page, now)
            && row["key"] == key
        {
            *row = now;
        }
    }

    /// A connection has ended.
    pub(super) fn on_ended(&mut self, end: &Value) {
        if let Some(Page::Connection { row, ending }) = &mut self.page
            && row["key"] == end["key"]
        {
            *ending = Some(end.clone());
        }
    }

    /// What came of what was asked.
    pub(super) fn on_answer(&mut self, answer: &str) {
        self.said = Some(printable(answer.trim_end()));
    }
}
