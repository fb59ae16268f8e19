//! The file of users: a line each, `user NAME RULE ...`, as in an ACL file of Redis. Empty lines and those that begin with
//! `#` say nothing. All that is wrong is told at once, with its line.
//!
//! It is edited line by line as well, so that comments and the order of users stay as they are.

use super::Users;
use super::user::{RuleError, User};
use indexmap::IndexMap;
use std::fmt::Write as _;

/// Most bytes of the file.
pub const FILE_BYTES_MAX: usize = 16 << 20;
/// Most users: a connection remembers its own in two bytes.
pub const USERS_MAX: usize = 60_000;
/// Longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Something that is wrong with a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// In which line, from 1.
    pub line: usize,
    /// What is wrong.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

/// The words behind `user` of each line that says something, with the number of that.
fn lines(text: &str) -> impl Iterator<Item = (usize, Result<Vec<&str>, Mistake>)> {
    text.lines().enumerate().filter_map(|(at, line)| {
        let line_number = at + 1;
        let mut words = line.split_whitespace();
        match words.next() {
            None => None,
            Some(word) if word.starts_with('#') => None,
            Some("user") => Some((line_number, Ok(words.collect()))),
            Some(word) => Some((
                line_number,
                Err(Mistake {
                    line: line_number,
                    wrong: format!("{word:?} begins no line of a file of users"),
                    right: "write user NAME and its rules, or # and a comment".to_owned(),
                }),
            )),
        }
    })
}

/// Reads the text of a file.
///
/// # Errors
/// All that is wrong with it, in its order.
pub(super) fn read(text: &str) -> Result<Users, Vec<Mistake>> {
    let (mut users, mut mistakes) = (IndexMap::new(), Vec::new());
    for (line, words) in lines(text) {
        let words = match words {
            Ok(words) => words,
            Err(mistake) => {
                mistakes.push(mistake);
                continue;
            }
        };
        let mut say = |wrong: String, right: &str| {
            mistakes.push(Mistake { line, wrong, right: right.to_owned() });
        };
        let Some((&name, rules)) = words.split_first() else {
            say("a user has no name".to_owned(), "write user NAME and its rules");
            continue;
        };
        if let Err(wrong) = check_name(name) {
            say(wrong, NAMES);
        }
        let mut user = User::default();
        for rule in rules {
            if let Err(RuleError { wrong, right }) = user.apply(rule) {
                // What may be a password is not repeated.
                let shown = if rule.starts_with(['>', '<']) { &rule[..1] } else { rule };
                say(format!("rule {shown} of user {name} {wrong}"), &right);
            }
        }
        if users.insert(name.into(), user).is_some() {
            say(format!("user {name} was there before"), "write all its rules in one line");
        }
    }
    if users.len() > USERS_MAX {
        let wrong = format!("there are {} users", users.len());
        mistakes.push(Mistake { line: 1, wrong, right: format!("write at most {USERS_MAX}") });
    }
    if mistakes.is_empty() { Ok(Users::new(users)) } else { Err(mistakes) }
}

const NAMES: &str = "write 1 to 128 bytes without blanks and control characters";

/// Whether a user can have that name.
///
/// # Errors
/// Why not.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.contains(|c: char| c.is_whitespace() || c.is_control());
    if fits { Ok(()) } else { Err(format!("{name:?} cannot be the name of a user")) }
}

/// A line about a user, and whether there was one before.
pub fn set(text: &str, name: &str, change: impl FnOnce(Option<&str>) -> String) -> String {
    let old = lines(text).find_map(|(line, words)| {
        let words = words.ok()?;
        (words.first() == Some(&name)).then(|| (line, words[1..].join(" ")))
    });
    let mut edited = String::with_capacity(text.len() + 256);
    let rules = change(old.as_ref().map(|(_, rules)| rules.as_str()));
    let new = format!("user {name} {rules}");
    for (at, line) in text.lines().enumerate() {
        let is_its = old.as_ref().is_some_and(|(number, _)| *number == at + 1);
        let _ = writeln!(edited, "{}", if is_its { new.trim_end() } else { line });
    }
    if old.is_none() {
        let _ = writeln!(edited, "{}", new.trim_end());
    }
    edited
}

/// The text without the line about a user. None: there was none.
pub fn remove(text: &str, name: &str) -> Option<String> {
    let is_its =
        |words: &Result<Vec<&str>, Mistake>| words.as_ref().is_ok_and(|words| words.first() == Some(&name));
    let (number, _) = lines(text).find(|(_, words)| is_its(words))?;
    let kept = text.lines().enumerate().filter(|(at, _)| at + 1 != number);
    Some(kept.flat_map(|(_, line)| [line, "\n"]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_are_told_with_their_lines_and_no_password_with_them() {
        let text =
            "# people\n\nuser a on +@all\nuser\nusr b on\nuser a off\nuser c >hunter2 +get\n  user d on\n";
        let mistakes = read(text).unwrap_err();
        let told: Vec<_> = mistakes.iter().map(|mistake| (mistake.line, mistake.wrong.as_str())).collect();
        assert_eq!(
            told,
            [
                (4, "a user has no name"),
                (5, "\"usr\" begins no line of a file of users"),
                (6, "user a was there before"),
                (7, "rule > of user c is a password that everybody can read"),
                (7, "rule +get of user c names no command"),
            ]
        );
        assert!(!format!("{mistakes:?}").contains("hunter2"));
    }

    #[test]
    fn users_and_the_bytes_of_their_names_are_bounded() {
        let of = |count: usize| {
            use std::fmt::Write as _;
            let mut text = String::new();
            (0..count).for_each(|number| writeln!(text, "user {number} off").unwrap());
            read(&text).map(|_| ()).map_err(|mistakes| mistakes[0].wrong.clone())
        };
        assert_eq!(of(USERS_MAX), Ok(()));
        assert_eq!(of(USERS_MAX + 1), Err("there are 60001 users".to_owned()));
        let named = |length: usize| read(&format!("user {} off", "n".repeat(length))).is_ok();
        assert!(named(NAME_BYTES_MAX) && !named(NAME_BYTES_MAX + 1));
    }

    #[test]
    fn an_edit_changes_one_line_and_keeps_comments_and_order() {
        let text = "# people\nuser a on\n\n# devices\nuser  dev  on claim:dev-*\n";
        let edited = set(text, "dev", |old| {
            assert_eq!(old, Some("on claim:dev-*"));
            "off".to_owned()
        });
        assert_eq!(edited, "# people\nuser a on\n\n# devices\nuser dev off\n");
        let added = set(&edited, "b", |old| {
            assert_eq!(old, None);
            "on nopass".to_owned()
        });
        assert_eq!(added, format!("{edited}user b on nopass\n"));
        assert_eq!(
            remove(&added, "a").as_deref(),
            Some("# people\n\n# devices\nuser dev off\nuser b on nopass\n")
        );
        assert_eq!(remove(&added, "c"), None);
        assert_eq!(set("", "a", |_| String::new()), "user a\n");
    }
}
