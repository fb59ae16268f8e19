//! Commands that ask an admin interface: where it is, its token, and what becomes of a refusal. The token comes from a file or
//! from the environment: on a command line, everybody on the host could read it.

use super::{console, print, usage_mistake};
use crate::core::conn::State;
use crate::core::nearest::did_you_mean;
use crate::core::time::Duration;
use crate::core::units::{parse_some_time, span};
use crate::net::Address;
use crate::protocol::clients::GlobalKey;
use crate::protocol::{TOKEN_FILE_BYTES_MAX, Token};
use crate::sys::admin_client::{self, Answer, Followed, ask};
use crate::sys::file::read_regular;
use ipnet::IpNet;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The environment variable that has the token if no file is named.
const TOKEN_VARIABLE: &str = "LINGER_ADMIN_TOKEN";

/// What is said where something else has answered.
pub(super) const NOT_LINGER: &str = "what answers there is no admin interface of linger";

/// Whom a command asks.
#[derive(Debug, clap::Args)]
pub(super) struct AdminArgs {
    /// Where the admin interface of the server is: ADDRESS:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7070", value_parser = address)]
    admin: Address,
    #[command(flatten)]
    token: TokenArgs,
}

impl AdminArgs {
    /// Where it is.
    #[cfg(feature = "top")]
    pub(super) const fn address(&self) -> &Address {
        &self.admin
    }

    /// Asks.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) fn ask(&self, method: &str, target: &str) -> Result<Answer, String> {
        let token = self.token.token()?;
        ask(&self.admin, method, target, token.as_ref().map(Token::as_str))
            .map_err(|error| self.is_silent(&error))
    }

    /// Asks for JSON. Gives it as it came, and as it reads.
    ///
    /// # Errors
    /// The status to end with, where it is said already why there is none.
    pub(super) fn get(&self, target: &str) -> Result<(String, Value), ExitCode> {
        match self.ask("GET", target) {
            Ok(Answer { status: 200, body }) => match serde_json::from_str(&body) {
                Ok(value) => Ok((body, value)),
                Err(_) => Err(failed(NOT_LINGER)),
            },
            Ok(answer) => Err(refused(&answer)),
            Err(why) => Err(failed(&why)),
        }
    }

    /// Has something done, and prints what comes of it.
    pub(super) fn act(&self, target: &str) -> ExitCode {
        match self.ask("POST", target) {
            Ok(Answer { status: 200 | 202, body }) => print(body.as_bytes()),
            Ok(answer) => refused(&answer),
            Err(why) => failed(&why),
        }
    }

    /// Asks for an answer that has no end, and what was told `last` before.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) fn follow(&self, target: &str, last: Option<&str>) -> Result<Followed, String> {
        let token = self.token.token()?;
        admin_client::follow(&self.admin, target, token.as_ref().map(Token::as_str), last)
            .map_err(|error| self.is_silent(&error))
    }

    fn is_silent(&self, error: &io::Error) -> String {
        let why = format!("the admin interface at {} does not answer: {error}", self.admin);
        if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) {
            why + "; is a server running there? --admin names another"
        } else {
            why
        }
    }
}

fn address(text: &str) -> Result<Address, String> {
    match text.strip_prefix("unix:") {
        Some(path) => Ok(Address::Unix(path.into())),
        None => {
            Address::parse_tcp(text).ok_or_else(|| "write an IP address and port, or unix:PATH".to_owned())
        }
    }
}

/// Says what the interface has refused.
pub(super) fn refused(answer: &Answer) -> ExitCode {
    console::err(format_args!("linger: {}", answer.body.trim_end()));
    if answer.status == 400 { usage_mistake() } else { ExitCode::FAILURE }
}

/// Says why there is no answer.
pub(super) fn failed(why: &str) -> ExitCode {
    console::err(format_args!("linger: {why}"));
    ExitCode::FAILURE
}

/// A field in seconds, as people read it.
pub(super) fn span_of(value: &Value) -> String {
    span(Duration::try_from_secs_f64(value.as_f64().unwrap_or_default()).unwrap_or_default())
}

/// As a segment of a path, or a value of a query (RFC 3986 2.1).
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Whose connections are meant.
#[derive(Debug, clap::Args)]
pub(super) struct Narrowing {
    /// Whose connections: an identity, an address, address:port or network, or the key of a connection
    ///
    /// What could be several of these is taken for a key or an address first.
    pub(super) target: Option<String>,
    /// Only those of this listener
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Only those in this state, as linger connections names it
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<String>,
    /// Only those older than this, as in 12h
    #[arg(long, value_name = "TIME", value_parser = time)]
    age_over: Option<String>,
}

impl Narrowing {
    /// As what follows the other parameters of a request.
    pub(super) fn behind_others(&self) -> String {
        self.filters().iter().fold(String::new(), |query, filter| query + "&" + filter)
    }

    /// As parameters of a request.
    pub(super) fn filters(&self) -> Vec<String> {
        let target = self.target.as_ref().map(|target| (readings(target)[0].0, target));
        let given = [("listener", &self.listener), ("state", &self.state), ("age_over", &self.age_over)];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        target.into_iter().chain(given).map(|(name, value)| format!("{name}={}", encoded(value))).collect()
    }
}

/// A time, as it was written.
pub(super) fn time(text: &str) -> Result<String, String> {
    parse_some_time(text).map(|_| text.to_owned())
}

/// A state of connections, as one may be narrowed down to.
fn state(text: &str) -> Result<String, String> {
    if State::NAMES.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("{}the states are {}", did_you_mean(text, State::NAMES), State::NAMES.join(", ")))
}

/// What a target may be, the likeliest first: a filter of the admin interface, and how it is called.
pub(super) fn readings(target: &str) -> Vec<(&'static str, &'static str)> {
    let mut readings = Vec::new();
    if target.parse::<GlobalKey>().is_ok() {
        readings.push(("key", "connection"));
    }
    let is_peer = target.parse::<IpAddr>().is_ok()
        || target.parse::<SocketAddr>().is_ok()
        || target.parse::<IpNet>().is_ok();
    if is_peer {
        readings.push(("peer", "address"));
    }
    readings.push(("identity", "identity"));
    readings
}

/// What a command has to bring.
#[derive(Debug, Default, clap::Args)]
pub(super) struct TokenArgs {
    /// The file of the token of the admin interface, if it asks for one (`admin.token_file`)
    ///
    /// Without it, the environment variable `LINGER_ADMIN_TOKEN` is the token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl TokenArgs {
    /// The token, if it is given.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn token(&self) -> Result<Option<Token>, String> {
        let of = |whence: &Path, text: Result<String, String>| {
            let token = text.and_then(|text| Token::read(&text));
            token.map(Some).map_err(|why| format!("{}: {why}", whence.display()))
        };
        match (&self.token_file, std::env::var(TOKEN_VARIABLE)) {
            (Some(path), _) => of(path, read_regular(path, TOKEN_FILE_BYTES_MAX)),
            (None, Ok(text)) => of(Path::new(TOKEN_VARIABLE), Ok(text)),
            (None, Err(_)) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn what_is_no_part_of_a_path_is_encoded() {
        assert_eq!(encoded("[::1]:9001"), "[::1]:9001");
        assert_eq!(encoded("unix:/run/a b?"), "unix:%2Frun%2Fa%20b%3F");
    }
}
