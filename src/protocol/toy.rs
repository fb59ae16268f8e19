//! A protocol that stands nowhere but here and in a registry of the tests: length-prefixed frames. What other rooms make
//! of a protocol is tested with it, since none of them can know it.

#![expect(dead_code, unreachable_pub, reason = "what the registry makes is public and whole")]

use super::registry::registry;
use super::{Encode, Inapplicable, Message, Reached, Spec};
use crate::core::end::Reason;
use crate::core::setting::{Default, Key, Kind};

/// Length-prefixed frames.
#[derive(Debug)]
pub(crate) struct Toy;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Frames;

impl Spec for Toy {
    const NAME: &'static str = "toy";
    const SUMMARY: &'static str = "takes frames with their length before them";
    const SERVES_CLIENTS: bool = true;
    const KEEPS_SESSION: bool = true;
    const SETTINGS: &'static [Key] = &[Key {
        name: "batch.frames",
        kind: Kind::Count { min: 1, max: 64, words: &["all"] },
        default: Default::Same("8"),
        doc: "Most frames in a batch.",
        why: "A batch fits in a packet.",
    }];
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[("idle_timeout", "1m")];
    const INAPPLICABLE: &'static [Inapplicable] = &[Inapplicable {
        key: "probe",
        values: &[],
        wrong: "a stray byte breaks the frames of a toy",
        right: "leave it out",
    }];

    type Encoding = Frames;

    fn goodbye(_: Option<Frames>, reason: Reason, out: &mut Vec<u8>) {
        frame(&[reason.name().as_bytes()], out);
    }

    fn to_try(_: Reached<'_>) -> Vec<String> {
        Vec::new()
    }
}

impl Encode for Frames {
    const COUNT: usize = 1;

    fn index(self) -> usize {
        0
    }

    fn message(self, message: &Message<'_>, out: &mut Vec<u8>) {
        frame(&[message.channel, b" ", message.payload], out);
    }

    fn direct(self, identity: &str, payload: &[u8], out: &mut Vec<u8>) {
        frame(&[identity.as_bytes(), b" ", payload], out);
    }
}

fn frame(parts: &[&[u8]], out: &mut Vec<u8>) {
    let bytes = parts.concat();
    out.push(u8::try_from(bytes.len()).expect("the test is short"));
    out.extend_from_slice(&bytes);
}

// Like the real one, with the toy in it.
registry! {
    Protocols, Encodings {
        Echo: crate::protocol::echo::Echo,
        Toy: Toy,
        Resp: crate::protocol::resp::Resp,
        Admin: crate::protocol::admin::Admin,
    }
}
