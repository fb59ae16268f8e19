//! What only a gateway has to be told: where it relays to, and how.

use crate::core::setting::{Default, Key, Kind, Step, Value, Values};
use crate::protocol::gateway::servers::{TARGET, is_name, servers_of};
use crate::protocol::gateway::settings::{DAY, LISTENER_NAMES, SECOND, shared, upstream_of};
use crate::protocol::gateway::{ClientReset, Gateway, HalfClose, Routes, Target};
use crate::protocol::gateway::{check, routes};

pub(super) const SETTINGS: [Key; 19] = {
    let [by_server_name, by_alpn] = routes::KEYS;
    let [balance, connect_timeout, header, keepalive, source] = shared(&LISTENER_NAMES);
    check::behind([
        Key {
            name: "upstream",
            kind: TARGET,
            default: Default::Same("none"),
            doc: "The servers that connections are relayed to, as servers of [upstream.NAME] has them; or the NAME of such a \
                  table, which then says all that is about its servers. \"none\": only clients that a route is for are served.",
            why: "It is what a gateway is for: without routes it must be given.",
        },
        by_server_name,
        by_alpn,
        balance,
        connect_timeout,
        Key {
            name: "half_close",
            kind: Kind::Choice(&["forward", "end"]),
            default: Default::Same("forward"),
            doc: "What the FIN of one side means: \"forward\" hands it on and lets the other direction live on, \"end\" \
                  takes it for a departure: what that side has sent is delivered, what it is still being sent is not, and \
                  the pair ends.",
            why: "No byte is lost with \"forward\", but each FIN that we forward first leaves a TIME_WAIT here. Most \
                  protocols of devices never half-close: \"end\" leaves none.",
        },
        Key {
            name: "half_close_timeout",
            kind: Kind::Period { min: SECOND, max: DAY, step: Step::Millisecond, words: &[] },
            default: Default::Same("5m"),
            doc: "How long nothing may move on a pair of which one direction has ended, before it is closed.",
            why: "An answer may take a while to be made, and each byte of it starts the time again; a client that has \
                  gone must not hold its pair for ever.",
        },
        Key {
            name: "client_reset",
            kind: Kind::Choice(&["reset", "fin"]),
            default: Default::Same("reset"),
            doc: "What the server is told of a client that has reset its connection, or was lost: \"reset\" is a reset at once, \
                  whatever still waits for the server; \"fin\" delivers what the client had sent, as fast as the server takes \
                  it, and then FIN.",
            why: "A reset stays one, so that the server does not take what was cut off for whole. Devices that reset to save \
                  a round trip, and have said all before, need \"fin\".",
        },
        header,
        keepalive,
        source,
    ])
};

/// What the values mean.
pub(super) fn gateway(own: &Values) -> Option<Gateway> {
    let own_servers = |target| upstream_of(own, &LISTENER_NAMES, servers_of(target));
    let target = match own.value("upstream").and_then(Value::text) {
        Some(target) if is_name(target) => Some(Target::Named(target.to_owned())),
        Some(target) => Some(Target::Own(own_servers(target)?)),
        None => None,
    };
    let half_close = own.value("half_close").and_then(Value::word);
    Some(Gateway {
        target,
        routes: Routes::new(own),
        half_close: if half_close == Some("end") { HalfClose::End } else { HalfClose::Forward },
        half_close_timeout: own.value("half_close_timeout")?.period()?,
        client_reset: match own.value("client_reset").and_then(Value::word) {
            Some("fin") => ClientReset::Fin,
            _ => ClientReset::Reset,
        },
    })
}
