//! The line of an ending, in the log and in lists of the last endings. What it has beside the same fields for all depends on
//! how the connection ended, so that its fields are given one by one.

use super::json::JsonFields;
use crate::core::end::End;
use crate::core::table::Key;
use crate::core::units::seconds;
use crate::net::Peer;
use log::kv::{self, Source, Value, VisitSource};
use log::{Level, Record};
use serde_json::Map;
use std::fmt;

/// Where its lines go.
const TARGET: &str = "linger::end";

/// An ending, and whose connection it was.
#[derive(Debug)]
pub struct EndLine<'a> {
    key: Name,
    pair: Option<Name>,
    peer: &'a Peer,
    listener: &'a str,
    identity: &'a str,
    end: &'a End,
}

/// The name of a connection, behind the number of its worker.
#[derive(Debug)]
struct Name(Option<u32>, Key);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |worker| write!(f, "{worker}."))?;
        write!(f, "{}", self.1)
    }
}

impl<'a> EndLine<'a> {
    /// `worker`: what stands before the names of connections; a line of the log has it in a field of its own. `identity`:
    /// the one that was held; empty: none.
    pub fn new(
        (worker, key): (Option<u32>, Key),
        peer: &'a Peer,
        listener: &'a str,
        identity: &'a str,
        end: &'a End,
    ) -> Self {
        let pair = end.pair.map(|(_, pair)| Name(worker, pair));
        Self { key: Name(worker, key), pair, peer, listener, identity, end }
    }
}

impl EndLine<'_> {
    pub(super) fn write(&self, level: Level) {
        let record =
            Record::builder().level(level).target(TARGET).args(format_args!("end")).key_values(self).build();
        log::logger().log(&record);
    }

    /// Its fields, as an object of JSON.
    pub fn json(&self) -> Map<String, serde_json::Value> {
        let mut fields = JsonFields::default();
        self.visit(&mut fields).expect("a map takes every field");
        fields.0
    }
}

impl Source for EndLine<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
        let mut add = |key: &'static str, value: Value<'kvs>| visitor.visit_pair(key.into(), value);
        let end = self.end;
        add("key", Value::from_display(&self.key))?;
        add("peer", Value::from_display(self.peer))?;
        add("listener", self.listener.into())?;
        add("identity", self.identity.into())?;
        add("reason", end.reason.name().into())?;
        add("detector", end.detector.name().into())?;
        add("close", end.close.name().into())?;
        add("silence_s", seconds(end.silence.into()).into())?;
        add("age_s", seconds(end.age.into()).into())?;
        add("bytes_in", end.bytes_in.into())?;
        add("bytes_out", end.bytes_out.into())?;
        add("messages_in", end.messages_in.into())?;
        add("messages_out", end.messages_out.into())?;
        add("unsent_bytes", end.unsent_bytes.into())?;
        if let Some(evidence) = &end.evidence {
            add("tcp_state", evidence.state.name().into())?;
            add("retransmits", evidence.retransmits.into())?;
            add("probes", evidence.probes.into())?;
            add("unacked", evidence.unacked.into())?;
            add("last_ack_recv_ms", evidence.last_ack_recv_ms.into())?;
            add("last_data_recv_ms", evidence.last_data_recv_ms.into())?;
            add("snd_wnd", evidence.snd_wnd.into())?;
            add("notsent_bytes", evidence.notsent_bytes.into())?;
        }
        if let Some(by) = &end.by {
            add("by_key", by.key.as_str().into())?;
            add("by_peer", by.peer.as_str().into())?;
            add("by_identity", by.identity.as_deref().unwrap_or_default().into())?;
        }
        if let Some(spoke) = end.spoke {
            add("spoke", spoke.name().into())?;
        }
        if let Some(alert) = &end.alert {
            add("alert", Value::from_display(alert))?;
        }
        if let Some(secured) = &end.secured {
            secured.server_name.iter().try_for_each(|name| add("sni", name.as_str().into()))?;
            secured.alpn().map_or(Ok(()), |alpn| add("alpn", Value::from_display(alpn)))?;
        }
        if let Some(user) = &end.user {
            add("user", (&**user).into())?;
        }
        for (name, value) in end.proxied.iter().flat_map(|proxied| proxied.fields()) {
            add(name, value.into())?;
        }
        if let (Some((leg, _)), Some(pair)) = (&end.pair, &self.pair) {
            add("leg", leg.name().into())?;
            add("pair", Value::from_display(pair))?;
        }
        Ok(())
    }
}
