//! A toy: frames with their length before them, for clients that subscribe, publish and have identities. It is no part
//! of the server, and shows what a protocol needs to become one: this folder, and a line of the registry.
//!
//! ```text
//! frame = length word *( SP word )      ; length of what follows, in two bytes, the higher one first
//! ```
//!
//! | frame | answer |
//! | --- | --- |
//! | `sub channel` | `ok` |
//! | `pub channel payload` | how many have got it |
//! | `iam identity` | `ok` |
//! | `send identity payload` | whether it was delivered: 1 or 0 |
//! | `who pattern` | how many, and a frame of each |
//! | `bye` | `ok` |
//!
//! Messages come as `msg channel payload`, and `no` with a reason is the answer to what was refused.

mod tests;

use super::server::{Contract, Names, Refusal, Server, Use};
use super::session::{Answer, Found, Progress, Served, Session, Unread};
use super::spec::{Encode, EncodeDirect, Inapplicable, Message, Reached, Spec};
use super::{Identity, ProtocolError};
use crate::core::end::Reason;
use crate::core::setting;
use crate::hub::{Kind, Presence};

/// Frames with their length before them.
#[derive(Debug)]
pub struct Toy;

impl Spec for Toy {
    const NAME: &'static str = "toy";
    const SUMMARY: &'static str = "takes frames with their length before them";
    const SERVES_CLIENTS: bool = true;
    const KEEPS_SESSION: bool = true;
    const SETTINGS: &'static [setting::Key] = &[setting::Key {
        name: "batch.frames",
        kind: setting::Kind::Count { min: 1, max: 64, words: &["all"] },
        default: setting::Default::Same("8"),
        doc: "Most frames in a batch.",
        why: "A batch fits in a packet.",
    }];
    const DEFAULTS: &'static [(&'static str, &'static str)] =
        &[("handshake_timeout", "60s"), ("idle_timeout", "1m")];
    const INAPPLICABLE: &'static [Inapplicable] = &[Inapplicable {
        key: "probe",
        values: &[],
        wrong: "a stray byte breaks the frames of a toy",
        right: "leave it out",
    }];

    type Encoding = Frames;
    type Session = Talk;

    fn goodbye(_: Option<Frames>, reason: Reason, out: &mut Vec<u8>) {
        frame(&["bye", reason.name()], out);
    }

    fn to_try(_: Reached<'_>) -> Vec<String> {
        Vec::new()
    }
}

/// There is one way to encode a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frames;

impl EncodeDirect for Frames {
    fn direct(self, identity: &str, payload: &[u8], out: &mut Vec<u8>) {
        frame(&[b"msg", identity.as_bytes(), payload], out);
    }
}

impl Encode for Frames {
    const COUNT: usize = 1;

    fn index(self) -> usize {
        0
    }

    fn message(self, message: &Message<'_>, out: &mut Vec<u8>) {
        frame(&[b"msg", message.channel, message.payload], out);
    }

    fn name(self, name: &[u8], out: &mut Vec<u8>) -> usize {
        frame(&[name], out);
        out.len() - name.len()
    }

    fn version(self) -> u8 {
        1
    }
}

/// A session remembers whether it has said anything.
#[derive(Debug, Default)]
pub struct Talk {
    talked: bool,
}

impl Session for Talk {
    type Encoding = Frames;
    type Scratch = ();

    fn open() -> Option<Self> {
        Some(Self::default())
    }

    fn encoding(&self) -> Frames {
        Frames
    }

    fn serve(
        &mut self,
        input: &mut Unread<'_>,
        (): &mut (),
        server: &mut impl Server,
        replies: &mut Vec<u8>,
    ) -> Result<Served, ProtocolError> {
        let Some((head, rest)) = input.bytes.split_first_chunk::<2>() else { return Ok(Served::Partial) };
        let length = usize::from(u16::from_be_bytes(*head));
        if length > input.frame_bytes_max {
            return Err(ProtocolError::oversized("the frame is too long"));
        }
        let Some((frame, rest)) = rest.split_at_checked(length) else { return Ok(Served::Partial) };
        (input.bytes, input.progress) = (rest, Progress::default());
        let mut words = frame.splitn(3, |&byte| byte == b' ');
        let [verb, name, payload] = [(); 3].map(|()| words.next().unwrap_or_default());
        if !server.may_follow(|| (verb == b"pub").then_some((name, payload))) {
            return Ok(Served::AfterPublishing);
        }
        if verb == b"iam" && server.is_backlogged() {
            return Ok(Served::WhenThereIsRoom);
        }
        self.talked = true;
        server.begin(Use::Request);
        if let Err(refusal) = perform(verb, name, payload, server, replies) {
            self::frame(&["no", &refusal.to_string()], replies);
        }
        Ok(Served::Message)
    }

    fn answered(&mut self, answer: Answer<'_>, replies: &mut Vec<u8>) {
        if !answer.silent.is_empty() {
            return frame(&["no answer"], replies);
        }
        match answer.found {
            Found::Published { messages, receivers } => {
                (0..messages).for_each(|_| number(receivers as u64, replies));
            }
            Found::Sent(sent) => number(sent.into(), replies),
            Found::Named(naming) => frame(&[naming.to_string()], replies),
            Found::Identified(Ok(())) => frame(&["ok"], replies),
            Found::Identified(Err(refusal)) => frame(&["no", &refusal.to_string()], replies),
            Found::State(state) | Found::LastEnd { state, .. } => frame(&[Presence::name_of(state)], replies),
            Found::Subscribers { counts, .. } => number(counts.iter().sum(), replies),
            Found::Patterns(count) | Found::Ended { count, .. } => number(count, replies),
            Found::Names { count, .. } => number(count as u64, replies),
            Found::Clients { rows } => number(rows.len() as u64, replies),
            Found::Numbers(all) => number(all.numbers.clients, replies),
        }
    }

    fn reject(&self, error: &ProtocolError, replies: &mut Vec<u8>) {
        frame(&["no", &error.text], replies);
    }

    fn takes_goodbye(&self, _: bool) -> bool {
        self.talked
    }
}

fn perform(
    verb: &[u8],
    name: &[u8],
    payload: &[u8],
    server: &mut impl Server,
    replies: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let identity = Identity::new(name);
    match (verb, identity) {
        (b"sub", _) => {
            return server.subscribe(Kind::Channel, [name].into_iter(), |_, subscribed| {
                frame(&[if subscribed.is_ok() { "ok" } else { "no" }], replies);
            });
        }
        (b"pub", _) => return server.publish(name, payload),
        (b"who", _) => return server.list(Names::Identities, name),
        (b"iam", Some(identity)) => {
            if server.identify(identity, Contract::default())?.is_ready() {
                frame(&["ok"], replies);
            }
        }
        (b"send", Some(identity)) => {
            return server.send(identity, payload, replies, |sent, replies| number(sent.into(), replies));
        }
        (b"bye", _) => {
            frame(&["ok"], replies);
            server.goodbye(replies);
        }
        _ => frame(&["no"], replies),
    }
    Ok(())
}

fn number(number: u64, out: &mut Vec<u8>) {
    frame(&[number.to_string()], out);
}

fn frame(words: &[impl AsRef<[u8]>], out: &mut Vec<u8>) {
    let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
    let body = words.join(&b' ');
    let length = u16::try_from(body.len()).expect("a toy says little");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&body);
}
