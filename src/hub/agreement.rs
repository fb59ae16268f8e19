//! Whether a connection may beat for an identity. A heartbeat channel speaks for another connection, and its end is
//! evidence against that one: so the holder of the identity must have agreed to it, by a token that it and the channel
//! name. Otherwise anybody could make another's record false. Pure; used by the reactor, and by the supervisor of
//! several workers.

/// What a connection that beats for an identity means to the holder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Agreement {
    /// Nothing: the holder has agreed to another one.
    Foreign,
    /// The holder has agreed to none in particular: a beat keeps it alive, and the end of the channel proves nothing.
    Open,
    /// It is the one that the holder has agreed to: its end is a reason to suspect the holder.
    Agreed,
}

/// What a channel means to a holder, by the tokens that they have named; empty: none.
pub fn agreement(holder: &[u8], channel: &[u8]) -> Agreement {
    match (holder.is_empty(), holder == channel) {
        (true, _) => Agreement::Open,
        (false, true) => Agreement::Agreed,
        (false, false) => Agreement::Foreign,
    }
}

/// Whether a connection may become the heartbeat channel of an identity with that holder and that channel, where there
/// are any. While nobody holds it, a channel with a token gives way only to one with the same.
pub fn may_beat(holder: Option<&[u8]>, present: Option<&[u8]>, channel: &[u8]) -> bool {
    match holder {
        Some(holder) => agreement(holder, channel) != Agreement::Foreign,
        None => present.is_none_or(|present| present.is_empty() || present == channel),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_channel_that_the_holder_has_agreed_to_is_evidence() {
        assert_eq!(agreement(b"t", b"t"), Agreement::Agreed);
        assert_eq!(agreement(b"t", b"u"), Agreement::Foreign);
        assert_eq!(agreement(b"t", b""), Agreement::Foreign);
        assert_eq!(agreement(b"", b""), Agreement::Open);
        assert_eq!(agreement(b"", b"t"), Agreement::Open);
    }

    #[test]
    fn nobody_takes_the_place_of_a_channel_that_was_agreed_on() {
        assert!(may_beat(Some(b"t"), Some(b"u"), b"t"), "the holder says whom it has agreed to");
        assert!(!may_beat(Some(b"t"), Some(b"t"), b"") && !may_beat(Some(b"t"), None, b"u"));
        assert!(!may_beat(None, Some(b"t"), b"") && !may_beat(None, Some(b"t"), b"u"));
        assert!(
            may_beat(None, Some(b"t"), b"t") && may_beat(None, Some(b""), b"u") && may_beat(None, None, b"")
        );
    }
}
