//! `CLIENT`: what client libraries ask for as they connect, and what an operator asks for by hand.

use super::command::{CommandError, arity, client_name, integer, key, shown, unknown_subcommand};
use super::decode::Arguments;
use crate::protocol::clients::GlobalKey;
pub use crate::protocol::clients::{ClientFilter, ClientType, KillFilter, KillForm};
use std::net::SocketAddr;

/// A subcommand of `CLIENT`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientCommand<'a> {
    /// `SETNAME name`; an empty one takes the name away.
    SetName(&'a [u8]),
    /// `GETNAME`.
    GetName,
    /// `ID`.
    Id,
    /// `INFO`.
    Info,
    /// `LIST [TYPE type | ID id ... | KEY key]`.
    List(ListFilter<'a>),
    /// `KILL`.
    Kill(KillFilter),
    /// What is accepted and has no effect here: `SETINFO`, `NO-EVICT`, `NO-TOUCH`, `TRACKING OFF`,
    /// `REPLY ON`. The reply is OK.
    Accepted,
    /// `HELP`.
    Help,
}

/// Which connections `CLIENT LIST` shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListFilter<'a> {
    /// All.
    All,
    /// Those of one type.
    Type(ClientType),
    /// Those with these ids.
    Ids(Ids<'a>),
    /// That one.
    Key(GlobalKey),
}

/// Ids of connections, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ids<'a>(Arguments<'a>);

impl<'a> Ids<'a> {
    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.0.iter().filter_map(id)
    }
}

impl From<ListFilter<'_>> for ClientFilter {
    fn from(filter: ListFilter<'_>) -> Self {
        match filter {
            ListFilter::All => Self::All,
            ListFilter::Type(wanted) => Self::Type(wanted),
            ListFilter::Key(key) => Self::Key(key),
            ListFilter::Ids(ids) => {
                let mut ids: Vec<u64> = ids.iter().collect();
                ids.sort_unstable();
                Self::Ids(ids)
            }
        }
    }
}

/// The reply to `CLIENT KILL address` when nobody is there.
pub const NO_SUCH_CLIENT: &str = "ERR No such client";

/// Lines of `CLIENT HELP`.
pub(super) const HELP: &[&str] = &[
    "CLIENT <subcommand> [<arg> ...]. Subcommands are:",
    "GETNAME",
    "    Return the name of this connection.",
    "ID",
    "    Return the id of this connection.",
    "INFO",
    "    Return information about this connection.",
    "KILL <ip:port>",
    "    End the connection from <ip:port>.",
    "KILL <option> <value> [<option> <value> ...]",
    "    End connections. Options are:",
    "    * ID <id>",
    "    * KEY <key>, as in the log; also a gateway's client",
    "    * ADDR <ip:port>",
    "    * LADDR <ip:port>",
    "    * TYPE (NORMAL|PUBSUB)",
    "    * USER <name>",
    "    * SKIPME (YES|NO), default YES",
    "LIST [TYPE (NORMAL|PUBSUB) | ID <id> ... | KEY <key>]",
    "    Return information about connections.",
    "SETNAME <name>",
    "    Name this connection.",
    "SETINFO (LIB-NAME|LIB-VER) <value>, NO-EVICT (ON|OFF), NO-TOUCH (ON|OFF), TRACKING OFF, REPLY ON",
    "    Accepted, without effect.",
    "HELP",
    "    Print this help.",
];

impl<'a> ClientCommand<'a> {
    /// Understands `CLIENT ...`; `arguments` starts with the verb.
    pub(super) fn parse(arguments: Arguments<'a>) -> Result<Self, CommandError> {
        let name = arguments.get(1).unwrap_or_default();
        let values = arguments.skip(2);
        let is = |subcommand: &str| name.eq_ignore_ascii_case(subcommand.as_bytes());
        let alone = |subcommand: &str, command| arity(subcommand, values.is_empty()).map(|()| command);
        if is("SETNAME") {
            arity("client|setname", values.len() == 1)?;
            client_name(values.get(0).unwrap_or_default()).map(Self::SetName)
        } else if is("GETNAME") {
            alone("client|getname", Self::GetName)
        } else if is("ID") {
            alone("client|id", Self::Id)
        } else if is("INFO") {
            alone("client|info", Self::Info)
        } else if is("HELP") {
            alone("client|help", Self::Help)
        } else if is("LIST") {
            list(values).map(Self::List)
        } else if is("KILL") {
            kill(values).map(Self::Kill)
        } else if is("SETINFO") {
            arity("client|setinfo", values.len() == 2)?;
            set_info(values)
        } else if is("NO-EVICT") {
            switch("client|no-evict", values, &["ON", "OFF"])
        } else if is("NO-TOUCH") {
            switch("client|no-touch", values, &["ON", "OFF"])
        } else if is("TRACKING") {
            arity("client|tracking", !values.is_empty())?;
            if one_of(values.get(0), &["ON"]) {
                return Err("ERR CLIENT TRACKING: there are no keys to track here".into());
            }
            switch("client|tracking", values, &["OFF"])
        } else if is("REPLY") {
            if one_of(values.get(0), &["OFF", "SKIP"]) {
                return Err("ERR CLIENT REPLY: replies cannot be switched off here".into());
            }
            switch("client|reply", values, &["ON"])
        } else {
            Err(unknown_subcommand(name, "Try CLIENT HELP."))
        }
    }
}

fn one_of(value: Option<&[u8]>, choices: &[&str]) -> bool {
    value.is_some_and(|value| choices.iter().any(|choice| value.eq_ignore_ascii_case(choice.as_bytes())))
}

/// A setting that is accepted in one of its values, and has no effect.
fn switch<'a>(
    subcommand: &str,
    values: Arguments<'_>,
    accepted: &[&str],
) -> Result<ClientCommand<'a>, CommandError> {
    arity(subcommand, values.len() == 1)?;
    if one_of(values.get(0), accepted) { Ok(ClientCommand::Accepted) } else { Err("ERR syntax error".into()) }
}

fn set_info<'a>(values: Arguments<'_>) -> Result<ClientCommand<'a>, CommandError> {
    let attribute = values.get(0).unwrap_or_default();
    if !one_of(Some(attribute), &["LIB-NAME", "LIB-VER"]) {
        return Err(format!("ERR Unrecognized option '{}'", shown(attribute)).into());
    }
    if !values.get(1).unwrap_or_default().iter().all(u8::is_ascii_graphic) {
        return Err(format!(
            "ERR {} cannot contain spaces, newlines or special characters.",
            shown(attribute).to_ascii_lowercase()
        )
        .into());
    }
    Ok(ClientCommand::Accepted)
}

fn list(values: Arguments<'_>) -> Result<ListFilter<'_>, CommandError> {
    let option = values.get(0);
    if values.is_empty() {
        Ok(ListFilter::All)
    } else if one_of(option, &["TYPE"]) && values.len() == 2 {
        client_type(values.get(1).unwrap_or_default()).map(ListFilter::Type)
    } else if one_of(option, &["ID"]) && values.len() >= 2 {
        let ids = values.skip(1);
        if ids.iter().all(|text| id(text).is_some()) {
            Ok(ListFilter::Ids(Ids(ids)))
        } else {
            Err("ERR Invalid client ID".into())
        }
    } else if one_of(option, &["KEY"]) && values.len() == 2 {
        key(values.get(1).unwrap_or_default()).map(ListFilter::Key)
    } else {
        Err("ERR syntax error".into())
    }
}

fn kill(values: Arguments<'_>) -> Result<KillFilter, CommandError> {
    arity("client|kill", !values.is_empty())?;
    let everybody = KillFilter::EVERYBODY;
    if values.len() == 1 {
        let peer =
            address(values.get(0).unwrap_or_default()).map_err(|_| CommandError::from(NO_SUCH_CLIENT))?;
        // The old form ends the one that asks, too (Redis, `networking.c: clientKillCommand`).
        return Ok(KillFilter { form: KillForm::Address, peer: Some(peer), skip_me: false, ..everybody });
    }
    let mut filter = everybody;
    let mut values = values.iter();
    while let Some(option) = values.next() {
        let Some(value) = values.next() else { return Err("ERR syntax error".into()) };
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        if is("ID") {
            let id = id(value).ok_or_else(|| CommandError::from("ERR client-id should be greater than 0"))?;
            filter.id = Some(id);
        } else if is("KEY") {
            filter.key = Some(key(value)?);
        } else if is("ADDR") {
            filter.peer = Some(address(value)?);
        } else if is("LADDR") {
            filter.local = Some(address(value)?);
        } else if is("TYPE") {
            filter.client_type = Some(client_type(value)?);
        } else if is("USER") {
            filter.user = Some(value.to_vec());
        } else if is("SKIPME") && one_of(Some(value), &["YES", "NO"]) {
            filter.skip_me = one_of(Some(value), &["YES"]);
        } else {
            return Err("ERR syntax error".into());
        }
    }
    Ok(filter)
}

fn id(text: &[u8]) -> Option<u64> {
    integer(text).and_then(|id| u64::try_from(id).ok()).filter(|&id| id > 0)
}

/// An address as `CLIENT LIST` shows it; IPv4 in its v6-mapped form is taken as IPv4.
fn address(text: &[u8]) -> Result<SocketAddr, CommandError> {
    str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<SocketAddr>().ok())
        .map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
        .ok_or_else(|| format!("ERR Invalid address '{}': want ip:port or [ip]:port", shown(text)).into())
}

fn client_type(text: &[u8]) -> Result<ClientType, CommandError> {
    if one_of(Some(text), &["NORMAL"]) {
        Ok(ClientType::Normal)
    } else if one_of(Some(text), &["PUBSUB"]) {
        Ok(ClientType::Pubsub)
    } else if one_of(Some(text), &["MASTER", "REPLICA", "SLAVE"]) {
        Ok(ClientType::Replication)
    } else {
        Err(format!("ERR Unknown client type '{}'", shown(text)).into())
    }
}
