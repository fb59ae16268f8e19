//! Endings and presence as text that programs read: the [`End`] record as one JSON object, and what is
//! published on a presence channel.
//!
//! A client that wants to know whether `sensor-7` is there subscribes to `$presence:sensor-7`, or to all of them
//! with `PSUBSCRIBE $presence:*`. Each message is one word, and for `offline` the record after it:
//!
//! | message | when |
//! | --- | --- |
//! | `online` | a connection has taken the identity |
//! | `replaced {...}` | a newer connection has taken it, which `online` follows; the record of the older one as it was then |
//! | `suspect` | its heartbeat is overdue; output to it is withheld |
//! | `revived` | it was heard from again before the grace ran out |
//! | `offline {...}` | its connection has ended, and why; `null` if it only took another identity, or if its worker died |
//!
//! Who wants to know how things stand, too, asks with `STATE` on the connection that has subscribed, in RESP3: no event that
//! comes before the answer is newer than it (`tests/server/workers/presence.rs`).
//!
//! With `server.presence = "record"` each message has an object behind its word, that of `offline` and `replaced` with the
//! record's fields behind these: `online {"number":7,"time":"...","identity":"dev1","key":"2-1","peer":"...","listener":"..."}`.
//! The number grows by one with each event of the server, so that a gap tells how many a reader was not told.
//!
//! The record of `replaced` says by whom (`by`), and not yet how the socket was closed: that is still to come. It is `null`
//! where the older connection has only taken another identity, or its worker did not tell. The identity never left.

use crate::core::end::{By, End, Foreign};
use crate::core::proxied::Proxied;
use crate::core::tcp::TcpSnapshot;
use crate::core::time::Duration;
use crate::core::units::{seconds, utc_text};
use serde::Serialize;

/// Something that happened to an identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A connection has taken the identity.
    Online,
    /// A newer connection has taken it: the record of the older one, made by [`end_json`] or [`ending_json`].
    Replaced(Option<String>),
    /// Its heartbeat is overdue.
    Suspect,
    /// It was heard from again.
    Revived,
    /// Its connection has ended, or has taken another identity (`None`).
    Offline(Option<Box<End>>),
}

impl Event {
    /// Its connection has ended, or has taken another identity.
    pub fn offline(end: Option<&End>) -> Self {
        Self::Offline(end.cloned().map(Box::new))
    }

    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        let word: &str = match self {
            Self::Online => "online",
            Self::Replaced(_) => "replaced ",
            Self::Suspect => "suspect",
            Self::Revived => "revived",
            Self::Offline(_) => "offline ",
        };
        out.extend_from_slice(word.as_bytes());
        match self {
            Self::Offline(end) => out.extend_from_slice(record(end.as_deref()).as_bytes()),
            Self::Replaced(record) => out.extend_from_slice(record.as_deref().unwrap_or("null").as_bytes()),
            Self::Online | Self::Suspect | Self::Revived => {}
        }
    }
}

/// What a message consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// A word, and the record where there is one.
    #[default]
    Word,
    /// A word, and an object that has the fields of an event.
    Record,
}

/// The connection that an event is of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    /// As the admin interface names it.
    pub key: String,
    /// Where it comes from.
    pub peer: String,
    /// The name of its listener.
    pub listener: String,
}

/// Gives messages their numbers. What settles the order of events has the only one of the server.
#[derive(Debug, Default)]
pub struct Sequence {
    last: u64,
}

impl Sequence {
    /// The message in that form. One that is told by its word alone has a number, too. `origin`: `None` where nobody knows any
    /// more.
    pub fn message(
        &mut self,
        form: Form,
        words: Vec<u8>,
        id: &[u8],
        origin: Option<&Origin>,
        unix_time: impl FnOnce() -> Option<Duration>,
    ) -> Vec<u8> {
        self.last += 1;
        match form {
            Form::Word => words,
            Form::Record => with_fields(&words, id, origin, Some(self.last), unix_time()),
        }
    }
}

/// How an identity is now, for one who has missed what happened to it: that has no number and no time.
pub fn repeated(words: &[u8], id: &[u8], origin: Option<&Origin>) -> Vec<u8> {
    with_fields(words, id, origin, None, None)
}

fn with_fields(
    words: &[u8],
    id: &[u8],
    origin: Option<&Origin>,
    number: Option<u64>,
    unix_time: Option<Duration>,
) -> Vec<u8> {
    let (word, record) = words.split_at(words.iter().position(|byte| *byte == b' ').unwrap_or(words.len()));
    let fields = FieldsJson {
        number,
        time: unix_time.map(utc_text),
        identity: &String::from_utf8_lossy(id),
        key: origin.map(|origin| origin.key.as_str()),
        peer: origin.map(|origin| origin.peer.as_str()),
        listener: origin.map(|origin| origin.listener.as_str()),
    };
    let mut message = [word, b" "].concat();
    serde_json::to_writer(&mut message, &fields).expect("numbers and texts are JSON");
    if let Some(more) = record.strip_prefix(b" {") {
        message.pop();
        message.push(b',');
        message.extend_from_slice(more);
    }
    message
}

#[derive(Serialize)]
struct FieldsJson<'a> {
    number: Option<u64>,
    time: Option<String>,
    identity: &'a str,
    key: Option<&'a str>,
    peer: Option<&'a str>,
    listener: Option<&'a str>,
}

/// The record of an ending as one JSON object in one line. Seconds have three decimals at most; `evidence`
/// is `null` where the kernel was not asked.
pub fn end_json(end: &End) -> String {
    json(end, Some(end.close.name()))
}

/// The same, of a connection that is still being closed.
pub fn ending_json(end: &End) -> String {
    json(end, None)
}

/// The record, or `null`.
pub fn record(end: Option<&End>) -> String {
    end.map_or_else(|| "null".to_owned(), end_json)
}

fn json(end: &End, close: Option<&'static str>) -> String {
    let record = EndJson {
        reason: end.reason.name(),
        class: end.reason.class().name(),
        detector: end.detector.name(),
        close,
        silence_s: seconds(end.silence.into()),
        age_s: seconds(end.age.into()),
        bytes_in: end.bytes_in,
        bytes_out: end.bytes_out,
        messages_in: end.messages_in,
        messages_out: end.messages_out,
        unsent_bytes: end.unsent_bytes,
        evidence: end.evidence.map(EvidenceJson::from),
        by: end.by.as_deref().map(ByJson::from),
        spoke: end.spoke.map(Foreign::name),
        alert: end.alert.map(|alert| alert.to_string()),
        sni: end.secured.as_ref().and_then(|secured| secured.server_name.as_deref()),
        alpn: end.secured.as_ref().and_then(|secured| secured.alpn_text()),
        user: end.user.as_deref(),
        proxy: end.proxied.as_deref(),
    };
    serde_json::to_string(&record).expect("numbers and static names are JSON")
}

#[derive(Serialize)]
struct EndJson<'a> {
    reason: &'static str,
    class: &'static str,
    detector: &'static str,
    close: Option<&'static str>,
    silence_s: f64,
    age_s: f64,
    bytes_in: u64,
    bytes_out: u64,
    messages_in: u64,
    messages_out: u64,
    unsent_bytes: u64,
    evidence: Option<EvidenceJson>,
    by: Option<ByJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spoke: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sni: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alpn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<&'a Proxied>,
}

#[derive(Serialize)]
struct ByJson<'a> {
    key: &'a str,
    peer: &'a str,
    identity: Option<&'a str>,
}

impl<'a> From<&'a By> for ByJson<'a> {
    fn from(by: &'a By) -> Self {
        Self { key: &by.key, peer: &by.peer, identity: by.identity.as_deref() }
    }
}

#[derive(Serialize)]
struct EvidenceJson {
    tcp_state: &'static str,
    retransmits: u8,
    probes: u8,
    unacked: u32,
    last_ack_recv_ms: u32,
    last_data_recv_ms: u32,
    snd_wnd: u32,
    notsent_bytes: u32,
}

impl From<TcpSnapshot> for EvidenceJson {
    fn from(evidence: TcpSnapshot) -> Self {
        Self {
            tcp_state: evidence.state.name(),
            retransmits: evidence.retransmits,
            probes: evidence.probes,
            unacked: evidence.unacked,
            last_ack_recv_ms: evidence.last_ack_recv_ms,
            last_data_recv_ms: evidence.last_data_recv_ms,
            snd_wnd: evidence.snd_wnd,
            notsent_bytes: evidence.notsent_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::end::{CloseMode, Detector, Reason};
    use crate::core::tcp::TcpState;
    use crate::core::time::Duration;

    fn end() -> End {
        End {
            silence: Duration::from_micros(30_000_400).into(),
            age: Duration::from_millis(61_250).into(),
            bytes_in: 1,
            bytes_out: 2,
            messages_in: 3,
            messages_out: 4,
            unsent_bytes: 5,
            evidence: Some(TcpSnapshot {
                state: TcpState::Established,
                snd_wnd: 65_535,
                ..TcpSnapshot::default()
            }),
            ..End::new(Reason::StuckFrozen, Detector::Heartbeat, CloseMode::Linger2)
        }
    }

    #[test]
    fn the_record_is_one_line_of_json_in_a_fixed_order() {
        let expected = concat!(
            r#"{"reason":"stuck.frozen","class":"stuck","detector":"heartbeat","close":"linger2","#,
            r#""silence_s":30.0,"age_s":61.25,"bytes_in":1,"bytes_out":2,"messages_in":3,"messages_out":4,"#,
            r#""unsent_bytes":5,"evidence":{"tcp_state":"ESTABLISHED","retransmits":0,"probes":0,"unacked":0,"#,
            r#""last_ack_recv_ms":0,"last_data_recv_ms":0,"snd_wnd":65535,"notsent_bytes":0},"by":null}"#
        );
        assert_eq!(end_json(&end()), expected);
        let by =
            By { key: "2.1-7".to_owned(), peer: "127.0.0.1:9".to_owned(), identity: Some("a".to_owned()) };
        let kicked = End { evidence: None, by: Some(by.into()), ..end() };
        let tail = r#""evidence":null,"by":{"key":"2.1-7","peer":"127.0.0.1:9","identity":"a"}}"#;
        assert!(end_json(&kicked).ends_with(tail));
        assert!(ending_json(&kicked).contains(r#""close":null,"#));
    }

    #[test]
    fn with_its_fields_a_message_begins_with_the_same_word_and_numbers_have_no_gap() {
        let mut sequence = Sequence::default();
        let origin = Origin { key: "2-1".into(), peer: "127.0.0.1:9".into(), listener: "resp".into() };
        let mut text = |words: &str, origin| {
            let time = || Some(Duration::from_secs(1));
            let message = sequence.message(Form::Record, words.into(), b"dev", origin, time);
            String::from_utf8(message).unwrap()
        };
        let rest = r#""time":"1970-01-01T00:00:01.000Z","identity":"dev","key":"2-1","peer":"127.0.0.1:9","listener":"resp""#;
        assert_eq!(text("online", Some(&origin)), format!(r#"online {{"number":1,{rest}}}"#));
        assert_eq!(
            text(r#"offline {"reason":"peer.fin"}"#, Some(&origin)),
            format!(r#"offline {{"number":2,{rest},"reason":"peer.fin"}}"#)
        );
        assert_eq!(text("replaced null", Some(&origin)), format!(r#"replaced {{"number":3,{rest}}}"#));
        let unknown =
            r#"{"number":null,"time":null,"identity":"dev","key":null,"peer":null,"listener":null}"#;
        let repeated = repeated(b"offline null", b"dev", None);
        assert_eq!(String::from_utf8(repeated).unwrap(), format!("offline {unknown}"));
    }

    #[test]
    fn only_offline_and_replaced_carry_a_record() {
        let text = |event: Event| {
            let mut out = Vec::new();
            event.write(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(Event::Online), "online");
        assert_eq!(text(Event::Replaced(None)), "replaced null");
        assert_eq!(text(Event::Replaced(Some("{}".to_owned()))), "replaced {}");
        assert_eq!(text(Event::Suspect), "suspect");
        assert_eq!(text(Event::Revived), "revived");
        let end = end();
        assert_eq!(text(Event::offline(Some(&end))), format!("offline {}", end_json(&end)));
    }
}
