//! The files that a configuration names: of users, and of a token. They are read together with it, so that all that is wrong
//! is told at once, and go to the workers with its text, so that all processes of a server know the same.

use super::diagnostic::{Diagnostic, Place};
use super::layer::Resolved;
use super::rules::finding;
use crate::protocol::users::Users;
use crate::protocol::users::file::{self, Mistake};
use crate::protocol::{Access, Protocol, TOKEN_FILE_BYTES_MAX, Token};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The text of the configuration, and of the files that it names.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Texts {
    /// That of the file; empty: there is none.
    pub file: String,
    /// Of each other file by its path: its text, or why it cannot be read.
    others: IndexMap<String, Result<String, String>>,
}

impl Texts {
    /// The file alone.
    pub fn of_file(file: String) -> Self {
        Self { file, others: IndexMap::new() }
    }

    /// All of them in one text, for another process of this program.
    pub fn pack(&self) -> String {
        serde_json::to_string(self).expect("texts are JSON")
    }

    /// What [`pack`](Self::pack) made. Another text is none.
    pub fn unpack(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Reads the files that the listeners name, and that are not there yet.
    pub(super) fn add(&mut self, tables: &[Resolved], read: impl Fn(&str, usize) -> Result<String, String>) {
        for access in tables.iter().filter_map(access) {
            let users = access.users.map(|path| (path, file::FILE_BYTES_MAX));
            let token = access.token_file.map(|path| (path, TOKEN_FILE_BYTES_MAX));
            for (path, bytes_max) in users.into_iter().chain(token) {
                if !self.others.contains_key(&path) {
                    let text = read(&path, bytes_max);
                    self.others.insert(path, text);
                }
            }
        }
    }

    fn text(&self, path: &str) -> Result<&str, &str> {
        let text = self.others.get(path).map(|text| text.as_deref().map_err(String::as_str));
        text.unwrap_or(Err("the file was not read"))
    }
}

/// What those files amount to, by their paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    users: IndexMap<String, Arc<Users>>,
    tokens: IndexMap<String, Token>,
}

impl Files {
    /// Reads the texts of the files that the listeners name.
    pub(super) fn read(tables: &[Resolved], texts: &Texts, mistakes: &mut Vec<Diagnostic>) -> Self {
        let mut files = Self::default();
        for table in tables {
            let Some(access) = access(table) else { continue };
            if let Some(path) = access.users.filter(|path| !files.users.contains_key(path)) {
                match texts.text(&path).map(Users::read) {
                    Ok(Ok(users)) => drop(files.users.insert(path, Arc::new(users))),
                    Ok(Err(wrong)) => {
                        mistakes.extend(wrong.into_iter().map(|mistake| in_file(&path, mistake)));
                    }
                    Err(why) => {
                        mistakes.push(unreadable(table, "users", &path, why, "'linger user add' makes one"));
                    }
                }
            }
            if let Some(path) = access.token_file.filter(|path| !files.tokens.contains_key(path)) {
                let right = "write a token of 16 visible characters or more into it, as `openssl rand -hex 32` makes one";
                match texts.text(&path).map(Token::read) {
                    Ok(Ok(token)) => drop(files.tokens.insert(path, token)),
                    Ok(Err(wrong)) => mistakes.push(unreadable(table, "token_file", &path, &wrong, right)),
                    Err(why) => mistakes.push(unreadable(table, "token_file", &path, why, right)),
                }
            }
        }
        files
    }

    pub(super) fn users(&self, path: &str) -> Arc<Users> {
        Arc::clone(self.users.get(path).expect("what could not be read is a mistake"))
    }

    pub(super) fn token(&self, path: &str) -> Option<Token> {
        self.tokens.get(path).cloned()
    }
}

/// Who may use the listener of a table, if it is one that is on.
fn access(of: &Resolved) -> Option<Access> {
    let protocol = of.table.protocol.and_then(|_| Protocol::from_name(of.protocol_name()))?;
    of.address()?;
    Some((protocol.declaration().access)(&of.own()))
}

fn in_file(path: &str, Mistake { line, wrong, right }: Mistake) -> Diagnostic {
    Diagnostic { place: Place::File { path: path.into(), line, column: 1 }, key: String::new(), wrong, right }
}

fn unreadable(of: &Resolved, key: &str, path: &str, why: &str, right: &str) -> Diagnostic {
    finding(of, &[key], (format!("{path}: {why}"), right.to_owned()))
}
