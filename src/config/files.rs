//! The files that a configuration names: of users, of a token, and of certificates and their keys. They are read together
//! with it, so that all that is wrong is told at once, and go to the workers with its text: all processes of a server know
//! the same, change at one moment, and a worker that is started later gets what the others have.
//!
//! So private keys are in the memory of the supervisor, too, although it may never use them. That gives nobody more than
//! they had: it is the same program of the same user, who can read the files and the memory of the workers. It parses
//! nothing that a client of theirs has sent, and the channel is a pair of sockets that nobody else can open. A worker
//! keeps no file of a key: its text, and what brought it, are wiped (`tests/server/workers/tls.rs`). What decodes it is not ours.

use super::certificates;
use super::diagnostic::{Diagnostic, Place};
use super::layer::Resolved;
use super::rules::finding;
use crate::core::secret::Secret;
use crate::protocol::users::Users;
use crate::protocol::users::file::{self, Mistake};
use crate::protocol::{Access, Protocol, TOKEN_FILE_BYTES_MAX, Token};
use crate::tls;
use indexmap::IndexMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Most bytes of all those files together, the configuration's own included. A worker is sent them in one message, and twice
/// where they have changed since the start (`workers/link/channel.rs: MESSAGE_BYTES_MAX`).
const ALL_BYTES_MAX: usize = 24 << 20;

/// The text of the configuration, and of the files that it names.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Texts {
    /// That of the file; empty: there is none.
    pub file: String,
    /// Of each other file by its path: its text, or why it cannot be read.
    others: IndexMap<String, Result<Secret<String>, String>>,
}

impl fmt::Debug for Texts {
    /// Without the texts: there are secrets among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Texts").field("others", &self.others.keys()).finish_non_exhaustive()
    }
}

impl Texts {
    /// The file alone.
    pub fn of_file(file: String) -> Self {
        Self { file, others: IndexMap::new() }
    }

    /// All of them in one text, for another process of this program: each behind its length, so that it is not much longer
    /// than they are, whatever is in them.
    pub fn pack(&self) -> Secret<String> {
        // Room for all of it: memory that has to grow leaves a copy behind.
        let room = self.bytes() + 64 * (1 + self.others.len());
        let mut packed = String::with_capacity(room);
        put(&mut packed, &self.file);
        for (path, text) in &self.others {
            let (is_there, text) = match text {
                Ok(text) => ("+", &**text),
                Err(why) => ("-", why),
            };
            for part in [path.as_str(), is_there, text] {
                put(&mut packed, part);
            }
        }
        debug_assert!(packed.len() <= room, "a part has three numbers of at most 20 digits");
        Secret::new(packed)
    }

    /// What [`pack`](Self::pack) made. Another text is none.
    pub fn unpack(mut packed: &str) -> Option<Self> {
        let mut texts = Self::of_file(take(&mut packed)?.to_owned());
        while !packed.is_empty() {
            let path = take(&mut packed)?.to_owned();
            let text = match (take(&mut packed)?, take(&mut packed)?) {
                ("+", text) => Ok(Secret::new(text.to_owned())),
                ("-", why) => Err(why.to_owned()),
                _ => return None,
            };
            texts.others.insert(path, text);
        }
        Some(texts)
    }

    /// Reads the files that the tables name, and that are not there yet.
    pub(super) fn add(&mut self, tables: &[Resolved], read: impl Fn(&str, usize) -> Result<String, String>) {
        for table in tables {
            let access = access(table);
            let users =
                access.iter().filter_map(|access| Some((access.users.clone()?, file::FILE_BYTES_MAX)));
            let token =
                access.iter().filter_map(|access| Some((access.token_file.clone()?, TOKEN_FILE_BYTES_MAX)));
            let certificates = certificates::files(table).into_iter().map(|path| (path, tls::FILE_BYTES_MAX));
            for (path, bytes_max) in users.chain(token).chain(certificates) {
                if !self.others.contains_key(&path) {
                    let text = read(&path, bytes_max).map(Secret::new);
                    let text = text.and_then(|text| self.within_bounds(text));
                    self.others.insert(path, text);
                }
            }
        }
    }

    fn within_bounds(&self, text: Secret<String>) -> Result<Secret<String>, String> {
        if self.bytes() + text.len() > ALL_BYTES_MAX {
            return Err(format!(
                "with it, all files that the configuration names have more than {} MiB together",
                ALL_BYTES_MAX >> 20
            ));
        }
        Ok(text)
    }

    fn bytes(&self) -> usize {
        let others = self
            .others
            .iter()
            .map(|(path, text)| path.len() + text.as_ref().map_or_else(String::len, |text| text.len()));
        self.file.len() + others.sum::<usize>()
    }

    /// Reads what a table says of TLS out of the texts.
    pub(super) fn read_tls(&self, path: &Path) -> Result<String, String> {
        path.to_str()
            .map_or(Err("the file was not read"), |path| self.text(path))
            .map(str::to_owned)
            .map_err(str::to_owned)
    }

    fn text(&self, path: &str) -> Result<&str, &str> {
        let text =
            self.others.get(path).map(|text| text.as_ref().map(|text| text.as_str()).map_err(String::as_str));
        text.unwrap_or(Err("the file was not read"))
    }
}

fn put(packed: &mut String, part: &str) {
    packed.push_str(&part.len().to_string());
    packed.push(':');
    packed.push_str(part);
}

fn take<'a>(packed: &mut &'a str) -> Option<&'a str> {
    let (length, rest) = packed.split_once(':')?;
    let (part, rest) = rest.split_at_checked(length.parse().ok()?)?;
    *packed = rest;
    Some(part)
}

/// What the files of users and tokens amount to, by their paths.
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
