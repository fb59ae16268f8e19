//! Which workers may have somebody who listens to what: what one publishes is passed on to these. Pure. A worker tells
//! when the first subscriber of a topic has come to it, and when the last has gone.
//!
//! Clients choose how many patterns there are, and how long, so they are not matched here: that a worker has one whose
//! first bytes are those of a channel is reason enough to pass a message on, and it is there that it is matched. So a
//! message costs a few look-ups, whatever is subscribed to (`a_message_costs_the_same_whatever_is_listened_to`).

use super::identities::below;
use crate::workers::link::Topic;
use indexmap::IndexMap;

/// Bytes of a pattern that are looked at: enough to tell `$presence:` from the rest.
const HEAD_BYTES_MAX: usize = 8;

/// The topics that are listened to, each with the places of its workers. One that nobody listens to is not here.
#[derive(Debug, Default)]
pub(super) struct Topics {
    channels: IndexMap<Vec<u8>, Vec<usize>>,
    patterns: IndexMap<Vec<u8>, Vec<usize>>,
    /// How many patterns of which worker begin so.
    heads: IndexMap<Vec<u8>, Vec<(usize, usize)>>,
}

/// What every channel that `pattern` matches begins with: its bytes up to the first that stands for others.
fn head(pattern: &[u8]) -> &[u8] {
    let literal = pattern.iter().position(|byte| b"*?[\\".contains(byte)).unwrap_or(pattern.len());
    &pattern[..literal.min(HEAD_BYTES_MAX)]
}

impl Topics {
    /// Worker `place` has somebody who listens.
    pub(super) fn listens(&mut self, place: usize, topic: Topic) {
        let is_pattern = matches!(topic, Topic::Pattern(_));
        let (topics, name) = self.of(topic);
        let head = head(&name).to_vec();
        let places = topics.entry(name).or_default();
        if places.contains(&place) {
            return;
        }
        places.push(place);
        if is_pattern {
            let counts = self.heads.entry(head).or_default();
            match counts.iter_mut().find(|(at, _)| *at == place) {
                Some((_, count)) => *count += 1,
                None => counts.push((place, 1)),
            }
        }
    }

    /// It has nobody any more.
    pub(super) fn stopped(&mut self, place: usize, topic: Topic) {
        let is_pattern = matches!(topic, Topic::Pattern(_));
        let (topics, name) = self.of(topic);
        let Some(places) = topics.get_mut(&name) else { return };
        let before = places.len();
        places.retain(|&other| other != place);
        let had = places.len() < before;
        if places.is_empty() {
            topics.swap_remove(&name);
        }
        if !is_pattern || !had {
            return;
        }
        if let Some(counts) = self.heads.get_mut(head(&name)) {
            counts.iter_mut().filter(|(at, _)| *at == place).for_each(|(_, count)| *count -= 1);
            counts.retain(|(_, count)| *count > 0);
            if counts.is_empty() {
                self.heads.swap_remove(head(&name));
            }
        }
    }

    /// The worker has ended, and its subscribers with it.
    pub(super) fn gone(&mut self, place: usize) {
        for topics in [&mut self.channels, &mut self.patterns] {
            topics.retain(|_, places| {
                places.retain(|&other| other != place);
                !places.is_empty()
            });
        }
        self.heads.retain(|_, counts| {
            counts.retain(|(at, _)| *at != place);
            !counts.is_empty()
        });
    }

    /// Fills `places` with the workers that may have somebody who listens to `channel`, each once.
    pub(super) fn listeners(&self, channel: &[u8], places: &mut Vec<usize>) {
        places.clear();
        places.extend(self.channels.get(channel).into_iter().flatten());
        for length in 0..=channel.len().min(HEAD_BYTES_MAX) {
            let counts = self.heads.get(&channel[..length]);
            places.extend(counts.into_iter().flatten().map(|(place, _)| *place));
        }
        places.sort_unstable();
        places.dedup();
    }

    /// Whether worker `place` has somebody who listens to the channel itself.
    pub(super) fn listens_at(&self, place: usize, channel: &[u8]) -> bool {
        self.channels.get(channel).is_some_and(|places| places.contains(&place))
    }

    /// The channels, as [`below`] walks.
    pub(super) fn channels_below(&self, before: Option<u32>) -> impl Iterator<Item = (u32, &[u8])> {
        below(&self.channels, before).map(|(place, name, _)| (place, name))
    }

    /// Channels that are listened to, each counted once.
    pub(super) fn channels(&self) -> usize {
        self.channels.len()
    }

    /// The same for patterns.
    pub(super) fn patterns(&self) -> usize {
        self.patterns.len()
    }

    fn of(&mut self, topic: Topic) -> (&mut IndexMap<Vec<u8>, Vec<usize>>, Vec<u8>) {
        match topic {
            Topic::Channel(name) => (&mut self.channels, name),
            Topic::Pattern(name) => (&mut self.patterns, name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::glob;
    use proptest::prelude::*;

    fn channel(name: &str) -> Topic {
        Topic::Channel(name.into())
    }

    fn pattern(name: &str) -> Topic {
        Topic::Pattern(name.into())
    }

    fn listeners(topics: &Topics, channel: &str) -> Vec<usize> {
        let mut places = vec![99];
        topics.listeners(channel.as_bytes(), &mut places);
        places
    }

    #[test]
    fn only_those_who_listen_are_named_and_each_once() {
        let mut topics = Topics::default();
        topics.listens(2, channel("news"));
        topics.listens(2, channel("news"));
        topics.listens(2, pattern("n*"));
        topics.listens(0, pattern("n*"));
        topics.listens(1, pattern("old*"));
        assert_eq!(listeners(&topics, "news"), [0, 2]);
        assert_eq!(listeners(&topics, "old"), [1]);
        assert_eq!(listeners(&topics, "n*"), [0, 2], "the name of a channel is no pattern");
        assert_eq!(listeners(&topics, "ol"), [0; 0]);
        assert_eq!(listeners(&topics, "x"), [0; 0]);
    }

    #[test]
    fn nothing_is_left_of_topics_and_workers_that_are_gone() {
        let mut topics = Topics::default();
        for place in 0..3 {
            topics.listens(place, channel("news"));
            topics.listens(place, pattern("*"));
        }
        topics.stopped(1, pattern("*"));
        topics.stopped(1, pattern("never"));
        topics.gone(0);
        assert_eq!(listeners(&topics, "news"), [1, 2]);
        assert_eq!((topics.channels(), topics.patterns()), (1, 1));
        assert_eq!(listeners(&topics, "x"), [2]);
        topics.gone(2);
        topics.stopped(1, channel("news"));
        assert_eq!((topics.channels(), topics.patterns()), (0, 0));
        assert!(topics.heads.is_empty());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
    fn a_message_costs_the_same_whatever_is_listened_to() {
        let mut topics = Topics::default();
        for number in 0..50_000 {
            topics.listens(number % 7, pattern(&format!("$presence:*{number}*{}", "a*".repeat(100))));
            topics.listens(number % 7, pattern(&format!("other-{number}*")));
        }
        // A name that nobody can match is not compared with them. Matching all of them once takes longer than this.
        let begun = std::time::Instant::now();
        let mut places = Vec::new();
        for _ in 0..10_000 {
            topics.listeners(b"$presence:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", &mut places);
        }
        assert_eq!(places, [0, 1, 2, 3, 4, 5, 6]);
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(listeners(&topics, "third"), [0; 0]);
    }

    proptest! {
        #[test]
        fn nobody_who_listens_is_overlooked(
            patterns in prop::collection::vec(r"[ab*?\\\[\]^-]{0,12}", 0..8),
            gone in prop::collection::vec(any::<bool>(), 8),
            channel in "[ab*]{0,12}",
        ) {
            let mut topics = Topics::default();
            for (place, name) in patterns.iter().enumerate() {
                topics.listens(place, pattern(name));
            }
            for (place, name) in patterns.iter().enumerate().filter(|(place, _)| gone[*place]) {
                topics.stopped(place, pattern(name));
            }
            let named = listeners(&topics, &channel);
            for (place, name) in patterns.iter().enumerate() {
                let listens = !gone[place] && glob::matches(name.as_bytes(), channel.as_bytes());
                prop_assert!(!listens || named.contains(&place), "{name:?} matches {channel:?}");
                prop_assert!(!gone[place] || !named.contains(&place));
            }
        }
    }
}
