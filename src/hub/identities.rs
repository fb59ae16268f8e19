//! Identities: which connection holds a name, which one beats for it, and whether it is well.
//!
//! The newest connection to claim an identity holds it. Whatever an older one does afterwards, also its
//! ending, must not touch the newer one: every change starts by comparing the key in the slot with the key
//! of the caller. The heartbeat channel belongs to the identity, not to the connection that holds it, so it
//! outlives a take-over, and a holder that comes back finds its channel still there.
//!
//! An entry goes when it has neither holder nor channel.

use super::directory::{Entry, Slot};
use super::name::Name;
use super::{Hub, Membership, Refused, Visit};
use crate::core::table::Key;
use crate::net::Token;
use std::num::NonZeroU64;
use std::ops::ControlFlow;

/// Presence events of identity `id` are published on this followed by `id`.
pub const PRESENCE_PREFIX: &[u8] = b"$presence:";

/// The channel that presence events of `id` are published on.
pub fn presence_channel(id: &[u8]) -> Vec<u8> {
    [PRESENCE_PREFIX, id].concat()
}

/// Whether only the server may publish on `channel`: a peer must not be able to fake another's presence.
pub fn is_reserved(channel: &[u8]) -> bool {
    channel.starts_with(PRESENCE_PREFIX)
}

/// How an identity that is held is doing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Presence {
    /// It is heard from in time.
    #[default]
    Online,
    /// It has been silent for longer than it said it would be, or its heartbeat channel died.
    Suspect,
    /// Its connection is ending: nothing reaches it any more, and its record is still to come.
    Ending,
}

impl Presence {
    /// The name in replies and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Suspect => "suspect",
            Self::Ending => "offline",
        }
    }

    /// The same of an identity that somebody may hold.
    pub fn name_of(held: Option<Self>) -> &'static str {
        held.map_or(Self::Ending.name(), Self::name)
    }
}

/// What followed from a claim to an identity.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[must_use = "others must be told"]
pub struct Identified {
    /// Whether anything changed; if so the identity is online now. A repeated claim changes nothing.
    pub fresh: bool,
    /// The connection that held it until now and must end: `peer.replaced`.
    pub replaced: Option<Key>,
    /// The other identity that this connection held until now and gave up, which is offline now.
    pub left: Option<Name>,
    /// The heartbeat channel that the identity already has.
    pub channel: Option<Key>,
}

/// What followed from becoming the heartbeat channel of an identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use = "others must be told"]
pub struct BeatFor {
    /// The connection that is kept alive by it, unless that has left and not come back yet.
    pub holder: Option<Key>,
    /// The channel that the identity had until now, whose beats count no more.
    pub replaced_channel: Option<Key>,
    /// The holder of the other identity that this connection beat for until now.
    pub orphaned_holder: Option<Key>,
}

/// A key or none, in the 8 bytes of its token: generation 0 is no connection's, so 0 is free for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct PackedKey(Option<NonZeroU64>);

impl PackedKey {
    const EMPTY: Self = Self(None);

    fn of(key: Key) -> Self {
        debug_assert_ne!(key.generation, 0, "no connection has generation 0");
        Self(NonZeroU64::new(key.token().0))
    }

    fn key(self) -> Option<Key> {
        self.0.map(|token| Key::from_token(Token(token.get())))
    }
}

/// What is known of one identity. There is one for almost every connection: mind the size.
#[derive(Debug, Default)]
pub(super) struct Identity {
    /// The data connection.
    holder: PackedKey,
    /// The dedicated heartbeat connection.
    channel: PackedKey,
    /// Of the holder; means nothing without one.
    presence: Presence,
}

const _: () = assert!(size_of::<Entry<Identity>>() <= 48);

impl Identity {
    /// Whether somebody holds it who is not about to go.
    fn is_there(&self) -> bool {
        self.holder != PackedKey::EMPTY && self.presence != Presence::Ending
    }
}

impl Hub {
    /// Connection `key` claims identity `id`. It takes it from any other holder, and gives up the one it had.
    pub fn identify(&mut self, member: &mut Membership, key: Key, id: &[u8]) -> Result<Identified, Refused> {
        self.check_name(id)?;
        let fresh = self.identity_of(member, key) != Some(id);
        let left = if fresh { self.renounce(member, key) } else { None };
        let slot = self.identities.find_or_insert(id);
        let identity = self.identity_mut(slot);
        let channel = identity.channel.key();
        if !fresh {
            return Ok(Identified { fresh, replaced: None, left, channel });
        }
        let replaced = identity.holder.key();
        identity.holder = PackedKey::of(key);
        identity.presence = Presence::Online;
        self.held += usize::from(replaced.is_none());
        member.identity = Some(slot);
        Ok(Identified { fresh, replaced, left, channel })
    }

    /// Connection `key` becomes the heartbeat channel of identity `id`, instead of any other connection and of
    /// any other identity. It need not, and should not, hold one itself.
    pub fn beat_for(&mut self, member: &mut Membership, key: Key, id: &[u8]) -> Result<BeatFor, Refused> {
        let slot = self.identities.find(id).ok_or(Refused::UnknownIdentity)?;
        let Identity { holder, channel, .. } = *self.identity_mut(slot);
        if channel == PackedKey::of(key) {
            return Ok(BeatFor { holder: holder.key(), ..BeatFor::default() });
        }
        // Before it takes the role: it may have been this identity's channel once, and been replaced.
        let orphaned_holder = self.stop_beating(member, key);
        self.identity_mut(slot).channel = PackedKey::of(key);
        member.beats_for = Some(slot);
        Ok(BeatFor { holder: holder.key(), replaced_channel: channel.key(), orphaned_holder })
    }

    /// As [`beat_for`](Self::beat_for), for an identity that may be held elsewhere: it need not be known here.
    pub fn beat_for_any(&mut self, member: &mut Membership, key: Key, id: &[u8]) -> Result<BeatFor, Refused> {
        self.check_name(id)?;
        // It stays, for it has a channel now.
        self.identities.find_or_insert(id);
        self.beat_for(member, key, id)
    }

    /// Takes identity `id` from the connection that holds it: its holder is elsewhere now.
    pub fn vacate(&mut self, id: &[u8]) {
        let Some(slot) = self.identities.find(id) else { return };
        let identity = self.identity_mut(slot);
        if std::mem::replace(&mut identity.holder, PackedKey::EMPTY) == PackedKey::EMPTY {
            return;
        }
        let unused = identity.channel == PackedKey::EMPTY;
        self.held -= 1;
        if unused {
            self.identities.remove(slot);
        }
    }

    /// Takes the heartbeat channel from identity `id`: it is elsewhere now.
    pub fn vacate_channel(&mut self, id: &[u8]) {
        let Some(slot) = self.identities.find(id) else { return };
        let identity = self.identity_mut(slot);
        identity.channel = PackedKey::EMPTY;
        if identity.holder == PackedKey::EMPTY {
            self.identities.remove(slot);
        }
    }

    /// The heartbeat channel of identity `id`.
    pub fn channel(&self, id: &[u8]) -> Option<Key> {
        self.identities.get(id)?.channel.key()
    }

    /// The connection that a beat on connection `key` keeps alive.
    pub fn holder_of_channel(&self, member: &Membership, key: Key) -> Option<Key> {
        let entry = self.identities.at(member.beats_for?)?;
        if entry.value.channel == PackedKey::of(key) { entry.value.holder.key() } else { None }
    }

    /// The connection that holds identity `id`.
    pub fn holder(&self, id: &[u8]) -> Option<Key> {
        self.identities.get(id)?.holder.key()
    }

    /// The identity that connection `key` holds; none once a newer connection took it over.
    pub fn identity_of(&self, member: &Membership, key: Key) -> Option<&[u8]> {
        let entry = self.identities.at(member.identity?)?;
        (entry.value.holder == PackedKey::of(key)).then_some(&*entry.name)
    }

    /// Whether connection `key` holds an identity. False again once a newer connection took it over.
    pub fn is_current(&self, member: &Membership, key: Key) -> bool {
        self.identity_of(member, key).is_some()
    }

    /// Notes how the holder `key` of an identity is doing. True if that was news, to be published.
    pub fn set_presence(&mut self, member: &Membership, key: Key, presence: Presence) -> bool {
        let claimed = member.identity.and_then(|slot| self.identities.at_mut(slot));
        match claimed {
            Some(Entry { value, .. }) if value.holder == PackedKey::of(key) => {
                std::mem::replace(&mut value.presence, presence) != presence
            }
            Some(_) | None => false,
        }
    }

    /// How identity `id` is doing; none means offline, or never known.
    pub fn state(&self, id: &[u8]) -> Option<Presence> {
        self.identities.get(id).filter(|identity| identity.is_there()).map(|identity| identity.presence)
    }

    /// The identities matched by `pattern` that are held, for `WHO`. Goes on at slot `at`, and returns whether that was
    /// the end of it.
    pub fn who<'a>(
        &'a self,
        pattern: &[u8],
        at: &mut usize,
        visit: impl FnMut(Visit<&'a [u8]>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.identities.matched(pattern, at, Identity::is_there, visit)
    }

    /// All identities that are held, with their holders.
    pub fn held(&self) -> impl Iterator<Item = (&[u8], Key)> {
        self.identities.iter().filter_map(|entry| Some((&*entry.name, entry.value.holder.key()?)))
    }

    /// Gives up the identity that `key` holds, if it holds one. Returns what is offline now.
    pub(super) fn renounce(&mut self, member: &mut Membership, key: Key) -> Option<Name> {
        let slot = member.identity.take()?;
        let entry = self.identities.at_mut(slot)?;
        if entry.value.holder != PackedKey::of(key) {
            return None;
        }
        entry.value.holder = PackedKey::EMPTY;
        self.held -= 1;
        Some(if entry.value.channel == PackedKey::EMPTY {
            self.identities.remove(slot).name
        } else {
            entry.name.clone()
        })
    }

    /// Gives up being the heartbeat channel of an identity. Returns the holder that was kept alive by it.
    pub(super) fn stop_beating(&mut self, member: &mut Membership, key: Key) -> Option<Key> {
        let slot = member.beats_for.take()?;
        let identity = &mut self.identities.at_mut(slot)?.value;
        if identity.channel != PackedKey::of(key) {
            return None;
        }
        identity.channel = PackedKey::EMPTY;
        let holder = identity.holder.key();
        if holder.is_none() {
            self.identities.remove(slot);
        }
        holder
    }

    fn identity_mut(&mut self, slot: Slot) -> &mut Identity {
        &mut self.identities.at_mut(slot).expect("the identity is still there").value
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Left, Limits, key};
    use super::*;

    const OLD: Key = key(0);
    const NEW: Key = key(1);
    const BEATS: Key = key(2);
    const OTHER: Key = key(3);

    fn member() -> Membership {
        Membership::default()
    }

    /// `OLD` holds "dev" and `NEW` has taken it over.
    fn taken_over() -> (Hub, Membership, Membership) {
        let (mut hub, mut old, mut new) = (Hub::default(), member(), member());
        let first = hub.identify(&mut old, OLD, b"dev").unwrap();
        assert_eq!(first, Identified { fresh: true, ..Identified::default() });
        let second = hub.identify(&mut new, NEW, b"dev").unwrap();
        assert_eq!(second, Identified { fresh: true, replaced: Some(OLD), ..Identified::default() });
        (hub, old, new)
    }

    /// The shape of a slot in a slab.
    #[expect(dead_code, reason = "only its size is asked for")]
    enum SlabSlot<T> {
        Vacant(usize),
        Occupied(T),
    }

    #[test]
    fn being_in_a_slab_costs_an_identity_nothing() {
        // The mark of a free slot hides in the tag of the name.
        assert_eq!(size_of::<SlabSlot<Entry<Identity>>>(), size_of::<Entry<Identity>>());
    }

    #[test]
    fn the_newest_connection_holds_the_identity() {
        let (hub, old, new) = taken_over();
        assert_eq!(hub.holder(b"dev"), Some(NEW));
        assert!(hub.is_current(&new, NEW) && !hub.is_current(&old, OLD));
        assert_eq!(hub.gauges().identities, 1);
    }

    #[test]
    fn the_ending_of_a_replaced_connection_touches_nothing_of_the_newer_one() {
        let (mut hub, old, new) = taken_over();
        assert_eq!(hub.leave(old, OLD), Left::default());
        assert_eq!((hub.holder(b"dev"), hub.state(b"dev")), (Some(NEW), Some(Presence::Online)));
        assert!(hub.is_current(&new, NEW));
    }

    #[test]
    fn a_replaced_connection_has_no_claim_to_what_its_old_slot_holds_now() {
        let (mut hub, old, new) = taken_over();
        assert_eq!(hub.leave(new, NEW).identity, Some(Name::new(b"dev")));
        let mut other = member();
        assert!(hub.identify(&mut other, OTHER, b"other").unwrap().fresh);
        assert_eq!(other.identity, old.identity, "the slot was used again");

        assert_eq!(hub.identity_of(&old, OLD), None);
        assert!(!hub.set_presence(&old, OLD, Presence::Suspect));
        assert_eq!(hub.leave(old, OLD), Left::default());
        assert_eq!(hub.holder(b"other"), Some(OTHER));
    }

    #[test]
    fn a_repeated_claim_changes_nothing() {
        let (mut hub, mut one) = (Hub::default(), member());
        assert!(hub.identify(&mut one, OLD, b"dev").unwrap().fresh);
        assert!(hub.set_presence(&one, OLD, Presence::Suspect));
        assert_eq!(hub.identify(&mut one, OLD, b"dev"), Ok(Identified::default()));
        assert_eq!(hub.state(b"dev"), Some(Presence::Suspect));
    }

    #[test]
    fn a_take_over_starts_online_whatever_the_old_holder_was() {
        let (mut hub, mut old, mut new) = (Hub::default(), member(), member());
        assert!(hub.identify(&mut old, OLD, b"dev").unwrap().fresh);
        assert!(hub.set_presence(&old, OLD, Presence::Suspect));
        assert!(!hub.set_presence(&old, OLD, Presence::Suspect), "no news");
        assert!(hub.identify(&mut new, NEW, b"dev").unwrap().fresh);
        assert_eq!(hub.state(b"dev"), Some(Presence::Online));
        assert!(!hub.set_presence(&old, OLD, Presence::Suspect), "not its presence any more");
    }

    #[test]
    fn a_connection_that_changes_its_name_gives_up_the_old_one() {
        let (mut hub, mut one) = (Hub::default(), member());
        assert!(hub.identify(&mut one, OLD, b"a").unwrap().fresh);
        let left = Some(Name::new(b"a"));
        assert_eq!(
            hub.identify(&mut one, OLD, b"b"),
            Ok(Identified { fresh: true, left, ..Identified::default() })
        );
        assert_eq!((hub.holder(b"a"), hub.holder(b"b")), (None, Some(OLD)));
        assert_eq!(hub.identities.len(), 1);
    }

    #[test]
    fn the_end_of_a_heartbeat_channel_orphans_the_holder() {
        let (mut hub, mut data, mut beats) = (Hub::default(), member(), member());
        assert!(hub.identify(&mut data, OLD, b"dev").unwrap().fresh);
        let beat_for = hub.beat_for(&mut beats, BEATS, b"dev").unwrap();
        assert_eq!(beat_for, BeatFor { holder: Some(OLD), ..BeatFor::default() });
        assert_eq!(hub.holder_of_channel(&beats, BEATS), Some(OLD));
        assert_eq!(hub.leave(beats, BEATS), Left { identity: None, orphaned_holder: Some(OLD) });
        assert_eq!(hub.holder(b"dev"), Some(OLD));
    }

    #[test]
    fn a_heartbeat_channel_outlives_a_take_over_and_an_absence() {
        let (mut hub, mut old, mut new, mut beats) = (Hub::default(), member(), member(), member());
        assert!(hub.identify(&mut old, OLD, b"dev").unwrap().fresh);
        assert_eq!(hub.beat_for(&mut beats, BEATS, b"dev").unwrap().holder, Some(OLD));
        let taken = hub.identify(&mut new, NEW, b"dev").unwrap();
        assert_eq!((taken.replaced, taken.channel), (Some(OLD), Some(BEATS)));
        assert_eq!(hub.holder_of_channel(&beats, BEATS), Some(NEW));

        assert_eq!(hub.leave(new, NEW).identity, Some(Name::new(b"dev")));
        assert_eq!(hub.holder_of_channel(&beats, BEATS), None);
        assert_eq!((hub.state(b"dev"), hub.held().count()), (None, 0));
        let back = hub.identify(&mut old, OLD, b"dev").unwrap();
        assert_eq!(back, Identified { fresh: true, channel: Some(BEATS), ..Identified::default() });
        assert_eq!(hub.holder_of_channel(&beats, BEATS), Some(OLD));
    }

    #[test]
    fn a_replaced_heartbeat_channel_orphans_nobody_and_may_come_back() {
        let (mut hub, mut data, mut first, mut second) = (Hub::default(), member(), member(), member());
        assert!(hub.identify(&mut data, OLD, b"dev").unwrap().fresh);
        assert_eq!(hub.beat_for(&mut first, BEATS, b"dev").unwrap().replaced_channel, None);
        assert_eq!(hub.beat_for(&mut second, OTHER, b"dev").unwrap().replaced_channel, Some(BEATS));
        assert_eq!(hub.holder_of_channel(&first, BEATS), None);
        let again = hub.beat_for(&mut first, BEATS, b"dev").unwrap();
        assert_eq!(
            again,
            BeatFor { holder: Some(OLD), replaced_channel: Some(OTHER), orphaned_holder: None }
        );
        assert_eq!(hub.leave(second, OTHER), Left::default());
        assert_eq!(hub.holder_of_channel(&first, BEATS), Some(OLD));
    }

    #[test]
    fn a_heartbeat_channel_that_changes_sides_orphans_its_former_holder() {
        let (mut hub, mut a, mut b, mut beats) = (Hub::default(), member(), member(), member());
        assert!(hub.identify(&mut a, OLD, b"a").unwrap().fresh);
        assert!(hub.identify(&mut b, NEW, b"b").unwrap().fresh);
        assert_eq!(hub.beat_for(&mut beats, BEATS, b"a").unwrap().holder, Some(OLD));
        let moved = hub.beat_for(&mut beats, BEATS, b"b").unwrap();
        assert_eq!(moved, BeatFor { holder: Some(NEW), orphaned_holder: Some(OLD), ..BeatFor::default() });
        assert_eq!(
            hub.beat_for(&mut beats, BEATS, b"b"),
            Ok(BeatFor { holder: Some(NEW), ..BeatFor::default() })
        );
    }

    #[test]
    fn nobody_beats_for_the_unknown() {
        let (mut hub, mut data, mut beats) = (Hub::default(), member(), member());
        assert!(hub.identify(&mut data, OLD, b"a").unwrap().fresh);
        assert_eq!(hub.beat_for(&mut beats, BEATS, b"a").unwrap().holder, Some(OLD));
        assert_eq!(hub.beat_for(&mut beats, BEATS, b"nobody"), Err(Refused::UnknownIdentity));
        assert_eq!(hub.holder_of_channel(&beats, BEATS), Some(OLD), "a refusal changes nothing");
    }

    #[test]
    fn a_connection_that_beats_for_itself_orphans_nobody() {
        let (mut hub, mut one) = (Hub::default(), member());
        assert!(hub.identify(&mut one, OLD, b"dev").unwrap().fresh);
        assert_eq!(hub.beat_for(&mut one, OLD, b"dev").unwrap().holder, Some(OLD));
        let left = hub.leave(one, OLD);
        assert_eq!(left, Left { identity: Some(Name::new(b"dev")), orphaned_holder: None });
        assert_eq!(hub.identities.len(), 0);
    }

    #[test]
    fn a_name_over_its_bound_is_refused_and_changes_nothing() {
        let mut hub = Hub::new(Limits { name_bytes_max: 3, ..Limits::default() });
        let mut one = member();
        assert!(hub.identify(&mut one, OLD, b"dev").unwrap().fresh);
        assert_eq!(hub.identify(&mut one, OLD, b"devi"), Err(Refused::NameTooLong));
        assert_eq!(hub.identity_of(&one, OLD), Some(&b"dev"[..]));
    }

    #[test]
    fn who_lists_what_matches_in_the_order_of_slots() {
        let (mut hub, mut all) = (Hub::default(), [member(), member(), member()]);
        for ((member, key), id) in all.iter_mut().zip([OLD, NEW, OTHER]).zip(["b1", "a1", "b2"]) {
            assert!(hub.identify(member, key, id.as_bytes()).unwrap().fresh);
        }
        assert!(hub.set_presence(&all[2], OTHER, Presence::Suspect));
        let (mut listed, mut at) = (Vec::new(), 0);
        // A walk that is broken comes by the same name again.
        for stop in [true, false] {
            let _ = hub.who(b"b*", &mut at, |visit| match visit {
                Visit::Found(_) if stop => ControlFlow::Break(()),
                Visit::Found(name) => {
                    listed.push(name);
                    ControlFlow::Continue(())
                }
                Visit::Looked(_) => ControlFlow::Continue(()),
            });
        }
        assert_eq!(listed, [&b"b1"[..], b"b2"]);
        assert_eq!(hub.held().count(), 3);
    }

    #[test]
    fn presence_channels_are_reserved_to_the_server() {
        assert_eq!(presence_channel(b"dev"), b"$presence:dev");
        assert!(is_reserved(&presence_channel(b"dev")) && is_reserved(b"$presence:"));
        assert!(!is_reserved(b"$presence") && !is_reserved(b"presence:dev"));
    }
}
