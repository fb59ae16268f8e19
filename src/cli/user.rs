//! `linger user`: edits a file of users. A password comes from a prompt that does not show it, or from standard input: on a
//! command line, everybody on the host could read it.

use super::{console, print, usage_mistake};
use crate::protocol::users::file::{self, FILE_BYTES_MAX, Mistake};
use crate::protocol::users::{Hash, PASSWORD_BYTES_MAX, Users};
use crate::sys::file::{read_regular, replace};
use clap::{Args, Subcommand};
use std::io::{IsTerminal as _, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  linger user add users.acl ops +@all allchannels allidentities
  linger user add users.acl dev-1 +@connection +ident claim:dev-1 <secret.txt
  linger user add users.acl default nopass +ping
  linger user passwd users.acl ops
  linger user list users.acl

A running server reads the file again on SIGHUP. 'linger explain users' has the rules.

Exit codes:
  0  done
  1  the file cannot be read or written
  2  the command line, the file or the password has a mistake; nothing was changed";

/// Fewest bytes of a password that is taken without a word.
const SHORT: usize = 16;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Add a user, with a password unless a rule says otherwise
    ///
    /// The file is made if it is not there. Without a rule, the user may log in and do nothing else.
    Add {
        #[command(flatten)]
        of: One,
        /// What it may do, as in the file: +@class, -command, &channel, claim:identity, ...
        #[arg(allow_hyphen_values = true)]
        rules: Vec<String>,
    },
    /// Give a user another password
    Passwd {
        #[command(flatten)]
        of: One,
        /// Keep the passwords that it has, until all its clients know the new one
        #[arg(long)]
        keep: bool,
    },
    /// Remove a user
    Remove(One),
    /// List the users and what they may do, without their passwords
    List {
        /// The file of users
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct One {
    /// The file of users
    file: PathBuf,
    /// The name of the user
    name: String,
}

/// Why nothing was changed.
enum Failure {
    /// A file cannot be read or written.
    File(String),
    /// Something that was given is wrong.
    Given(String),
}

pub(super) fn run(action: &Action) -> ExitCode {
    let done = match action {
        Action::Add { of, rules } => add(of, rules),
        Action::Passwd { of, keep } => change_password(of, *keep),
        Action::Remove(of) => remove(of),
        Action::List { file } => match read(file).and_then(|text| users(file, &text)) {
            Ok(users) => return list(&users),
            Err(failure) => Err(failure),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::File(why)) => {
            console::err(format_args!("linger: {why}"));
            ExitCode::FAILURE
        }
        Err(Failure::Given(why)) => {
            console::err(format_args!("linger: {why}"));
            usage_mistake()
        }
    }
}

fn add(One { file, name }: &One, rules: &[String]) -> Result<(), Failure> {
    file::check_name(name).map_err(Failure::Given)?;
    if let Some(rule) = rules.iter().find(|rule| rule.split_whitespace().count() != 1) {
        return Err(Failure::Given(format!("{rule:?} is not one rule: write them apart")));
    }
    let text = if file.exists() { read(file)? } else { String::new() };
    if users(file, &text)?.has_line(name) {
        let advice = "change its rules in the file, or its password by 'linger user passwd'";
        return Err(Failure::Given(format!("user {name} is there already: {advice}")));
    }
    let is_open = rules.iter().any(|rule| rule.eq_ignore_ascii_case("nopass") || rule.starts_with('#'));
    // Before a password is asked for: what is wrong with the rules is told first.
    let with = |secret: &str| {
        let words = ["on", secret].into_iter().filter(|word| !word.is_empty());
        let rules: Vec<_> = words.chain(rules.iter().map(String::as_str)).collect();
        file::set(&text, name, |_| rules.join(" "))
    };
    users(file, &with(""))?;
    let secret = if is_open { String::new() } else { format!("#{}", new_password(name)?) };
    write(file, &with(&secret))
}

fn change_password(One { file, name }: &One, keep: bool) -> Result<(), Failure> {
    let text = read(file)?;
    known(&users(file, &text)?, file, name)?;
    let secret = format!("#{}", new_password(name)?);
    let edited = file::set(&text, name, |rules| {
        let gives_way = |rule: &&str| {
            let is_open = rule.eq_ignore_ascii_case("nopass") || rule.eq_ignore_ascii_case("resetpass");
            is_open || (!keep && rule.starts_with(['#', '!']))
        };
        let kept = rules.unwrap_or_default().split(' ').filter(|rule| !gives_way(rule) && *rule != secret);
        let rules: Vec<_> = kept.chain([secret.as_str()]).filter(|rule| !rule.is_empty()).collect();
        rules.join(" ")
    });
    write(file, &edited)
}

fn remove(One { file, name }: &One) -> Result<(), Failure> {
    let text = read(file)?;
    known(&users(file, &text)?, file, name)?;
    file::remove(&text, name).map_or(Ok(()), |edited| write(file, &edited))
}

fn list(users: &Users) -> ExitCode {
    let mut rows = vec![["USER", "STATE", "COMMANDS", "CHANNELS", "IDENTITIES"].map(str::to_owned).to_vec()];
    for (name, user) in users.iter() {
        let flags: Vec<_> = user.flags().collect();
        let none = |rules: String| if rules.is_empty() { "none".to_owned() } else { rules };
        let (channels, identities) = (none(user.channel_rules()), none(user.identity_rules()));
        rows.push(vec![name.to_owned(), flags.join(" "), user.command_rules(), channels, identities]);
    }
    print(console::table(&rows).as_bytes())
}

fn read(path: &Path) -> Result<String, Failure> {
    read_regular(path, FILE_BYTES_MAX).map_err(|why| Failure::File(format!("{}: {why}", path.display())))
}

/// The users of a text; what is wrong with it, in a line each.
fn users(path: &Path, text: &str) -> Result<Users, Failure> {
    let line =
        |Mistake { line, wrong, right }: &Mistake| format!("{}:{line}: {wrong}: {right}", path.display());
    Users::read(text).map_err(|mistakes| {
        let lines: Vec<_> = mistakes.iter().map(line).collect();
        Failure::Given(lines.join("\nlinger: "))
    })
}

fn known(users: &Users, path: &Path, name: &str) -> Result<(), Failure> {
    if users.has_line(name) {
        Ok(())
    } else {
        Err(Failure::Given(format!(
            "{} has no user {name}: 'linger user list' shows those that it has",
            path.display()
        )))
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    users(path, text)?;
    replace(path, text)
        .map_err(|error| Failure::File(format!("{} cannot be written: {error}", path.display())))
}

/// Asks for a new password: twice at a terminal, and otherwise its first line is it.
fn new_password(name: &str) -> Result<Hash, Failure> {
    let failed = |error: std::io::Error| Failure::Given(format!("no password was given: {error}"));
    let password = if stdin().is_terminal() {
        let password = rpassword::prompt_password(format!("New password of {name}: ")).map_err(failed)?;
        if rpassword::prompt_password("The same again: ").map_err(failed)? != password {
            return Err(Failure::Given("the two are not the same".to_owned()));
        }
        password
    } else {
        let mut line = String::new();
        stdin().read_line(&mut line).map_err(failed)?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    match password.len() {
        0 => Err(Failure::Given("the password is empty: type one, or send one to standard input".to_owned())),
        length if length > PASSWORD_BYTES_MAX => Err(Failure::Given(format!(
            "the password has {length} bytes: at most {PASSWORD_BYTES_MAX} are taken"
        ))),
        length => {
            if length < SHORT {
                console::err(
                    "linger: hint: the file has a hash without salt, by which a short password can be found; `openssl rand \
                     -hex 32` makes a long one",
                );
            }
            Ok(Hash::of(password.as_bytes()))
        }
    }
}
