//! Which workers have somebody who listens to what: what one publishes is passed on to these, and to no other.
//! Pure. A worker tells when the first subscriber of a topic has come to it, and when the last has gone.

use crate::fellows::Topic;
use crate::hub::glob;
use indexmap::IndexMap;

/// The topics that are listened to, each with the places of its workers. One that nobody listens to is not here.
#[derive(Debug, Default)]
pub(super) struct Topics {
    channels: IndexMap<Vec<u8>, Vec<usize>>,
    patterns: IndexMap<Vec<u8>, Vec<usize>>,
}

impl Topics {
    /// Worker `place` has somebody who listens.
    pub(super) fn listens(&mut self, place: usize, topic: Topic) {
        let (topics, name) = self.of(topic);
        let places = topics.entry(name).or_default();
        if !places.contains(&place) {
            places.push(place);
        }
    }

    /// It has nobody any more.
    pub(super) fn stopped(&mut self, place: usize, topic: Topic) {
        let (topics, name) = self.of(topic);
        if let Some(places) = topics.get_mut(&name) {
            places.retain(|&other| other != place);
            if places.is_empty() {
                topics.swap_remove(&name);
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
    }

    /// Fills `places` with the workers that have somebody who listens to `channel`, each once.
    pub(super) fn listeners(&self, channel: &[u8], places: &mut Vec<usize>) {
        places.clear();
        places.extend(self.channels.get(channel).into_iter().flatten());
        for (pattern, theirs) in &self.patterns {
            // Most have been named already, or do not match: the cheaper question first.
            if theirs.iter().any(|place| !places.contains(place)) && glob::matches(pattern, channel) {
                places.extend(theirs);
                places.sort_unstable();
                places.dedup();
            }
        }
    }

    /// Channels that are listened to, each counted once.
    pub(super) fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Likewise, patterns.
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
    }
}
