//! What is remembered of a client that the application behind its gateway has named.

use crate::hub::Membership;
use crate::protocol::Raw;
use std::ops::Range;

/// What is remembered of a client that the application behind its gateway has named.
pub(in crate::reactor) struct Named {
    pub(in crate::reactor) membership: Membership,
    pub(in crate::reactor) raw: Raw,
    /// Messages that it was sent by its identity, and where their bytes stand, once there are some.
    pub(in crate::reactor) messages_out: u64,
    pub(in crate::reactor) direct: Option<Box<Direct>>,
}

impl Named {
    /// How many of those bytes are among the first so many that it is sent.
    pub(in crate::reactor) fn direct_among(&self, bytes: u64) -> u64 {
        self.direct.as_ref().map_or(0, |direct| direct.among(bytes))
    }
}

/// Positions, in the output stream of a gateway's client, of messages to its identity: all other bytes are its server's.
/// What is unsent at its end is the tail of the stream, so positions tell whose bytes are lost.
#[derive(Default)]
pub(in crate::reactor) struct Direct {
    /// How many of those have left that are no longer told apart.
    left: u64,
    /// Where those stand that had not left when the last came, in ascending order.
    places: Vec<Range<u64>>,
}

impl Direct {
    /// So many bytes stand at a place, where the socket has taken all before `taken`.
    pub(in crate::reactor) fn add(&mut self, at: u64, bytes: usize, taken: u64) {
        let has_left = self.places.iter().take_while(|place| place.end <= taken).count();
        self.left += self.places.drain(..has_left).map(|place| place.end - place.start).sum::<u64>();
        let end = at + bytes as u64;
        match self.places.last_mut() {
            Some(last) if last.end == at => last.end = end,
            Some(_) | None => self.places.push(at..end),
        }
    }

    /// How many of them the socket has taken, of so many bytes in all.
    pub(in crate::reactor) fn among(&self, taken: u64) -> u64 {
        let of = |place: &Range<u64>| place.end.min(taken).saturating_sub(place.start);
        self.left + self.places.iter().map(of).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_are_told_apart_however_far_the_socket_has_come(
            steps in prop::collection::vec((any::<bool>(), 1..50_usize, 0..80_u64), 1..40), end in 0..3000_u64
        ) {
            // Whose each byte is, and what the socket has taken.
            let (mut stream, mut taken, mut direct) = (Vec::new(), 0, Direct::default());
            for (is_direct, bytes, takes) in steps {
                if is_direct {
                    direct.add(stream.len() as u64, bytes, taken);
                }
                stream.resize(stream.len() + bytes, is_direct);
                taken = (taken + takes).min(stream.len() as u64);
            }
            taken = (taken + end).min(stream.len() as u64);
            let expected = stream.iter().take(usize::try_from(taken).unwrap()).filter(|is_direct| **is_direct).count();
            prop_assert_eq!(direct.among(taken), expected as u64);
        }
    }
}
