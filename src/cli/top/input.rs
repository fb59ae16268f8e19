//! Keys, as what they mean.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Whom keys are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Focus {
    /// A list.
    List,
    /// What is shown over it: a connection, an ending, the help.
    Page,
    /// A line of text.
    Text,
    /// A question.
    Question,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    Quit,
    /// Closes what was opened last: a page, a line, the filter; in the end, everything.
    Back,
    /// Further down by so many rows, or up.
    Move(i32),
    First,
    Last,
    NextTab,
    PreviousTab,
    /// The one at that place.
    Tab(usize),
    Filter,
    Open,
    End,
    Pause,
    Help,
    Redraw,
    /// Into the line of text.
    Type(char),
    /// The last character of it.
    Erase,
    /// All of it.
    EraseAll,
    /// The line, or the question.
    Accept,
}

/// Rows of a page.
pub(super) const PAGE: i32 = 10;

/// The keys, and what they do, for the help.
pub(super) const KEYS: &[(&str, &str)] = &[
    ("q", "quit"),
    ("Esc", "close what is open, drop the filter, then quit"),
    ("↑ ↓ j k", "select; PgUp PgDn Home End, g G"),
    ("Tab ← → 1-5", "the next list, or the one with that number"),
    ("/", "only an identity, an address, address:port or network, or the key of a connection"),
    ("Enter", "open the selected connection, ending or event"),
    ("e", "end the selected connection; asks first"),
    ("p", "pause: the picture stands, the server does not"),
    ("?", "this help"),
    ("Ctrl-L", "draw everything anew"),
];

/// What a key means; `None`: nothing.
#[expect(clippy::wildcard_enum_match_arm, reason = "most keys mean nothing")]
pub(super) fn action(focus: Focus, key: KeyEvent) -> Option<Action> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Quit),
            KeyCode::Char('l') => Some(Action::Redraw),
            KeyCode::Char('u') if focus == Focus::Text => Some(Action::EraseAll),
            _ => None,
        };
    }
    match focus {
        Focus::Text => in_text(key.code),
        Focus::Question => Some(match key.code {
            KeyCode::Char('y' | 'Y') => Action::Accept,
            // Whatever else is pressed, nothing is done.
            _ => Action::Back,
        }),
        Focus::List | Focus::Page => in_list(focus, key.code),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "most keys mean nothing")]
const fn in_text(code: KeyCode) -> Option<Action> {
    match code {
        KeyCode::Char(letter) => Some(Action::Type(letter)),
        KeyCode::Backspace => Some(Action::Erase),
        KeyCode::Enter => Some(Action::Accept),
        KeyCode::Esc => Some(Action::Back),
        _ => None,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "most keys mean nothing")]
fn in_list(focus: Focus, code: KeyCode) -> Option<Action> {
    let action = match code {
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Esc => Action::Back,
        KeyCode::Up | KeyCode::Char('k') => Action::Move(-1),
        KeyCode::Down | KeyCode::Char('j') => Action::Move(1),
        KeyCode::PageUp => Action::Move(-PAGE),
        KeyCode::PageDown | KeyCode::Char(' ') => Action::Move(PAGE),
        KeyCode::Home | KeyCode::Char('g') => Action::First,
        KeyCode::End | KeyCode::Char('G') => Action::Last,
        KeyCode::Char('e') => Action::End,
        KeyCode::Char('p') => Action::Pause,
        KeyCode::Char('?' | 'h') => Action::Help,
        KeyCode::Enter | KeyCode::Backspace if focus == Focus::Page => Action::Back,
        KeyCode::Enter => Action::Open,
        KeyCode::Tab | KeyCode::Right => Action::NextTab,
        KeyCode::BackTab | KeyCode::Left => Action::PreviousTab,
        KeyCode::Char('/') => Action::Filter,
        KeyCode::Char(digit @ '1'..='9') => Action::Tab(digit as usize - '1' as usize),
        _ => return None,
    };
    Some(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(focus: Focus, code: KeyCode) -> Option<Action> {
        action(focus, KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn keys_mean_what_they_mean_where_they_are_pressed() {
        use KeyCode::{Char, Down, Enter, Esc};
        for (focus, code, expected) in [
            (Focus::List, Char('q'), Some(Action::Quit)),
            (Focus::Text, Char('q'), Some(Action::Type('q'))),
            (Focus::Question, Char('q'), Some(Action::Back)),
            (Focus::Question, Char('y'), Some(Action::Accept)),
            (Focus::Question, Enter, Some(Action::Back)),
            (Focus::List, Enter, Some(Action::Open)),
            (Focus::Page, Enter, Some(Action::Back)),
            (Focus::Text, Enter, Some(Action::Accept)),
            (Focus::List, Down, Some(Action::Move(1))),
            (Focus::List, Char('3'), Some(Action::Tab(2))),
            (Focus::Text, Esc, Some(Action::Back)),
            (Focus::List, Char('x'), None),
        ] {
            assert_eq!(pressed(focus, code), expected, "{focus:?} {code:?}");
        }
        for focus in [Focus::List, Focus::Page, Focus::Text, Focus::Question] {
            let quits = action(focus, KeyEvent::new(Char('c'), KeyModifiers::CONTROL));
            assert_eq!(quits, Some(Action::Quit), "{focus:?}");
        }
    }
}
