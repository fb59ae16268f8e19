//! Replies to what the server has found, and to what it has refused.

use super::client::{KillForm, NO_SUCH_CLIENT};
use super::encode::Reply;
use super::info;
use crate::hub::Presence;
use crate::protocol::Naming;
use crate::protocol::server::{LastEnd, Refusal};
use crate::protocol::session::{Answer, Found, SUPERVISOR};

/// Replies to what was refused.
#[cold]
pub(super) fn refused(refusal: Refusal, reply: &mut Reply<'_>) {
    let code = match refusal {
        Refusal::Memory => "OOM",
        Refusal::HeldElsewhere => "DENIED",
        Refusal::Hub(_) | Refusal::Reserved | Refusal::Ending | Refusal::Behind | Refusal::Proved => "ERR",
    };
    reply.error(&format!("{code} {refusal}"));
}

/// Replies with what was found.
pub(super) fn answered(answer: Answer<'_>, reply: &mut Reply<'_>) {
    let Answer { found, silent } = answer;
    if !silent.is_empty()
        && let Some(missing) = missing(&found, silent)
    {
        if let Found::Names { rows, .. } | Found::Clients { rows } = found {
            rows.clear();
        }
        return reply.error(&format!("ERR {} does not answer{missing}", named(silent)));
    }
    match found {
        Found::Published { messages, receivers } => (0..messages).for_each(|_| reply.count(receivers)),
        Found::Sent(sent) => reply.count(usize::from(sent)),
        Found::Named(naming) => named_other(naming, reply),
        Found::Identified(Ok(())) => reply.ok(),
        Found::Identified(Err(refusal)) => refused(refusal, reply),
        Found::State(state) => reply.simple(Presence::name_of(state)),
        Found::LastEnd { state, last } => {
            reply.array(3);
            reply.simple(Presence::name_of(state));
            if let Some(LastEnd { reason, ago_ms }) = last {
                reply.bulk(reason.name().as_bytes());
                reply.number(ago_ms / 1000);
            } else {
                reply.null();
                reply.null();
            }
        }
        Found::Subscribers { channels, counts } => {
            subscribers(channels.iter().zip(counts.iter().copied()), reply);
        }
        Found::Patterns(count) => reply.number(count),
        Found::Names { count, .. } => reply.array(count),
        Found::Clients { rows } => {
            reply.verbatim_header(rows.len());
            Reply::new(rows, reply.version()).verbatim_end();
        }
        Found::Ended { form, count } => match (form, count) {
            (KillForm::Filter, _) => reply.number(count),
            (KillForm::Address, 0) => reply.error(NO_SUCH_CLIENT),
            (KillForm::Address, _) => reply.ok(),
        },
        Found::Numbers(numbers) => info::reply(&numbers, silent, reply),
    }
}

/// Replies to whether another connection has an identity now. That it has ended has a code of its own: a program that gives
/// out identities meets that now and then, and need not do anything about it.
pub(super) fn named_other(naming: Naming, reply: &mut Reply<'_>) {
    match naming {
        Naming::Done => reply.ok(),
        Naming::Gone => reply.error(&format!("GONE {naming}")),
        Naming::Refused(refusal) => refused(refusal, reply),
        Naming::Nowhere | Naming::Upstream(_) | Naming::NamesItself | Naming::NotRelayed => {
            reply.error(&format!("ERR {naming}"));
        }
    }
}

/// Channels, and how many listen to each.
pub(super) fn subscribers(
    channels: impl ExactSizeIterator<Item = (impl AsRef<[u8]>, u64)>,
    reply: &mut Reply<'_>,
) {
    reply.array(channels.len() * 2);
    for (channel, count) in channels {
        reply.bulk(channel.as_ref());
        reply.number(count);
    }
}

/// Why an answer is none while somebody is silent: the rest of a sentence. None: it says who is missing.
fn missing(found: &Found<'_>, silent: &[u32]) -> Option<String> {
    if silent.contains(&SUPERVISOR) {
        return Some("; come back later".to_owned());
    }
    Some(match found {
        Found::Sent(_) => ", which has that identity: the message may reach it or not".to_owned(),
        Found::Named(_) => ", which has that connection: it may get the identity or not".to_owned(),
        Found::Subscribers { .. } | Found::Patterns(_) => ": its subscribers are not known".to_owned(),
        Found::LastEnd { .. } => ": its endings are not known".to_owned(),
        Found::Clients { .. } => "; GET /connections lists the clients of the others".to_owned(),
        Found::Ended { count, .. } => format!("; of the others, {count} are being ended"),
        // The supervisor alone knows these, and a publication waits for nobody.
        Found::Published { .. }
        | Found::Identified(_)
        | Found::State(_)
        | Found::Names { .. }
        | Found::Numbers(_) => return None,
    })
}

/// Those who do not answer.
fn named(silent: &[u32]) -> String {
    match silent {
        silent if silent.contains(&SUPERVISOR) => "the supervisor".to_owned(),
        [one] => format!("worker {one}"),
        several => {
            let numbers: Vec<_> = several.iter().map(u32::to_string).collect();
            format!("each of the workers {}", numbers.join(", "))
        }
    }
}
