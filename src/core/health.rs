//! Whether an upstream server gets new connections: what was seen of it, and the operator's word above that. Pure: the
//! outcome of each check and of each connect is told to it ([`Sign`]).
//!
//! | a server that is | gets new connections |
//! | --- | --- |
//! | up | yes |
//! | down | last: where no other one is left to try |
//! | taken out by the operator | none |
//!
//! Two kinds of signs take it down. One client that could not be connected is enough, for that client has waited; what can
//! also be the client's doing, or a check's bad luck, must happen [`Rules::fall`] times in a row. Where it is checked, only
//! checks bring it back; elsewhere one client a time finds out ([`RETRY`]).

use crate::core::named::named;
use crate::core::time::{Duration, Instant};

/// How long a server that is down and not checked is left alone, before the next client finds out whether it is there.
pub const RETRY: Duration = Duration::from_secs(10);

named! {
    /// What the operator says of a server.
    #[derive(Default)]
    Word {
        /// It is as it was seen to be.
        #[default]
        Ready = "ready",
        /// It gets nothing new, and goes on being checked.
        Drain = "drain",
        /// It gets nothing new, and is left alone.
        Down = "down",
    }
}

impl Word {
    /// The word that is written so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|word| word.name() == name)
    }
}

named! {
    /// What came of a check.
    Outcome {
        /// The server is as it should be.
        Passed = "passed",
        /// Nobody listens there.
        Refused = "refused",
        /// The accept queue of its unix socket is full.
        QueueFull = "queue_full",
        /// The network says that there is no way.
        Unreachable = "unreachable",
        /// It has not answered the connect in time.
        ConnectTimeout = "connect_timeout",
        /// It has reset the connection.
        Reset = "reset",
        /// It has ended the connection, and had not said anything.
        Closed = "closed",
        /// It has said nothing in time.
        Silent = "silent",
        /// It has said something else.
        Unexpected = "unexpected",
        /// No check could be made for want of a descriptor, a port or memory here: that says nothing of the server.
        NotMade = "not_made",
    }
}

impl Outcome {
    /// What it says of the server, if it does.
    pub const fn sign(self) -> Option<Sign> {
        match self {
            Self::Passed => Some(Sign::Passed),
            Self::NotMade => None,
            Self::Refused
            | Self::QueueFull
            | Self::Unreachable
            | Self::ConnectTimeout
            | Self::Reset
            | Self::Closed
            | Self::Silent
            | Self::Unexpected => Some(Sign::Failed),
        }
    }
}

/// What was seen of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    /// A check has passed.
    Passed,
    /// A check has failed.
    Failed,
    /// A client was connected to it.
    Reached,
    /// A client could not be connected to it.
    NotReached,
    /// It has said something to a client.
    Spoke,
    /// It has ended the connection of a client to which it had said nothing.
    Mute,
}

impl Sign {
    /// What kind of sign it is.
    pub const fn source(self) -> &'static str {
        match self {
            Self::Passed | Self::Failed => "check",
            Self::Reached | Self::NotReached => "connect",
            Self::Spoke | Self::Mute => "first_byte",
        }
    }
}

/// What it takes to change the state of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Checks in a row that must pass.
    pub rise: u32,
    /// Signs in a row that must be bad, of a kind of which one is not enough.
    pub fall: u32,
    /// It is checked: what clients see of it does not bring it back.
    pub is_checked: bool,
}

/// Whether it is there, as far as was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// It is there, or nothing was seen of it. The last so many checks have failed, and the last so many clients have heard
    /// nothing of it.
    Up { failed: u32, mute: u32 },
    /// It is not. The last so many checks have passed; when it may be tried although others are left, if it is not checked;
    /// which sign has taken it down.
    Down { passed: u32, retry: Instant, by: Sign },
}

const FRESH: Standing = Standing::Up { failed: 0, mute: 0 };

/// A change of state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is up again.
    Up,
    /// It is down.
    Down,
}

/// Where it stands in the line of those that may get a new connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// Among the first.
    First,
    /// Behind all that are up.
    Last,
    /// Nowhere.
    Out,
}

/// The health of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Health {
    word: Word,
    standing: Standing,
    /// Since when it is up or down.
    since: Instant,
    /// How often that has changed.
    changes: u64,
}

impl Health {
    /// That of a server of which nothing was seen.
    pub const fn new(now: Instant) -> Self {
        Self { word: Word::Ready, standing: FRESH, since: now, changes: 0 }
    }

    /// Whether a sign changes nothing: it is good, and nothing bad was seen since the last one.
    #[inline]
    pub fn is_confirmed_by(&self, sign: Sign) -> bool {
        self.standing == FRESH && matches!(sign, Sign::Passed | Sign::Reached | Sign::Spoke)
    }

    /// Something was seen of it. Whether its state has changed by that.
    pub fn on_sign(&mut self, sign: Sign, rules: &Rules, now: Instant) -> Option<Change> {
        let next = self.standing.after(sign, rules, now);
        let change = match (self.standing.is_up(), next.is_up()) {
            (true, false) => Some(Change::Down),
            (false, true) => Some(Change::Up),
            (true, true) | (false, false) => None,
        };
        self.standing = next;
        if change.is_some() {
            self.changed(now);
        }
        change
    }

    const fn changed(&mut self, now: Instant) {
        self.since = now;
        self.changes += 1;
    }

    /// The operator says how it is. What was seen of a server that was left alone is forgotten. Whether it is up now, and
    /// was not before.
    pub fn on_word(&mut self, word: Word, now: Instant) -> Option<Change> {
        let before = std::mem::replace(&mut self.word, word);
        let forget = before == Word::Down && word != Word::Down && !self.is_up();
        if before == Word::Down && word != Word::Down {
            self.standing = FRESH;
        }
        if forget {
            self.changed(now);
        }
        forget.then_some(Change::Up)
    }

    /// It is given a connection. While that shows whether it is there again, the others do not follow.
    pub fn on_chosen(&mut self, now: Instant) {
        if let Standing::Down { retry, .. } = &mut self.standing {
            *retry = now + RETRY;
        }
    }

    /// Where it stands in the line of those that may get a new connection.
    pub fn place(&self, rules: &Rules, now: Instant) -> Place {
        match self.standing {
            _ if self.word != Word::Ready => Place::Out,
            Standing::Up { .. } => Place::First,
            Standing::Down { retry, .. } if !rules.is_checked && retry <= now => Place::First,
            Standing::Down { .. } => Place::Last,
        }
    }

    /// Whether it is there, as far as was seen.
    pub const fn is_up(&self) -> bool {
        self.standing.is_up()
    }

    /// Whether it is up, and the operator has not taken it out.
    pub fn is_in_service(&self) -> bool {
        self.is_up() && self.word == Word::Ready
    }

    /// The operator's word.
    pub const fn word(&self) -> Word {
        self.word
    }

    /// Which sign has taken it down, if it is down.
    pub const fn down_by(&self) -> Option<Sign> {
        match self.standing {
            Standing::Up { .. } => None,
            Standing::Down { by, .. } => Some(by),
        }
    }

    /// Since when it is up or down.
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// How often that has changed.
    pub const fn changes(&self) -> u64 {
        self.changes
    }
}

impl Standing {
    const fn is_up(self) -> bool {
        matches!(self, Self::Up { .. })
    }

    fn after(self, sign: Sign, rules: &Rules, now: Instant) -> Self {
        let down = Self::Down { passed: 0, retry: now + RETRY, by: sign };
        match (self, sign) {
            (Self::Up { mute, .. }, Sign::Passed) => Self::Up { failed: 0, mute },
            (Self::Up { failed, mute }, Sign::Failed) if failed + 1 < rules.fall => {
                Self::Up { failed: failed + 1, mute }
            }
            (Self::Up { failed, .. }, Sign::Spoke) => Self::Up { failed, mute: 0 },
            (Self::Up { failed, mute }, Sign::Mute) if mute + 1 < rules.fall => {
                Self::Up { failed, mute: mute + 1 }
            }
            (Self::Up { .. }, Sign::Failed | Sign::NotReached | Sign::Mute) => down,
            (Self::Down { passed, .. }, Sign::Passed) if passed + 1 >= rules.rise => FRESH,
            (Self::Down { passed, retry, by }, Sign::Passed) => Self::Down { passed: passed + 1, retry, by },
            (Self::Down { by, .. }, Sign::Failed | Sign::NotReached | Sign::Mute) => {
                Self::Down { passed: 0, retry: now + RETRY, by }
            }
            // That it can be connected to was never in question.
            (Self::Up { .. } | Self::Down { by: Sign::Mute, .. }, Sign::Reached) => self,
            (Self::Down { .. }, Sign::Reached | Sign::Spoke) if rules.is_checked => self,
            (Self::Down { .. }, Sign::Reached | Sign::Spoke) => FRESH,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHECKED: Rules = Rules { rise: 2, fall: 3, is_checked: true };
    const UNCHECKED: Rules = Rules { is_checked: false, ..CHECKED };
    const NOW: Instant = Instant::from_millis(1_000);

    /// What becomes of one of which nothing was seen.
    fn after(signs: &[Sign], rules: &Rules) -> Health {
        let mut health = Health::new(NOW);
        for sign in signs {
            health.on_sign(*sign, rules, NOW);
        }
        health
    }

    const fn down(passed: u32, by: Sign) -> Standing {
        Standing::Down { passed, retry: Instant::from_millis(11_000), by }
    }

    #[test]
    fn a_sign_that_only_confirms_changes_nothing() {
        use Sign::{Failed, Mute, NotReached, Passed, Reached, Spoke};
        const ALL: [Sign; 6] = [Passed, Failed, Reached, NotReached, Spoke, Mute];
        for (before, sign) in ALL.into_iter().flat_map(|before| ALL.map(|sign| (before, sign))) {
            let mut health = after(&[before], &CHECKED);
            let was = health;
            if health.is_confirmed_by(sign) {
                assert_eq!(
                    (health.on_sign(sign, &CHECKED, NOW), health),
                    (None, was),
                    "{sign:?} after {before:?}"
                );
            }
        }
        assert!([Passed, Reached, Spoke].iter().all(|sign| Health::new(NOW).is_confirmed_by(*sign)));
    }

    #[test]
    fn checks_count_in_a_row_either_way() {
        use Sign::{Failed, Passed};
        let of = |signs: &[Sign]| after(signs, &CHECKED).standing;
        assert_eq!(of(&[Failed, Failed]), Standing::Up { failed: 2, mute: 0 });
        assert_eq!(of(&[Failed, Failed, Passed, Failed]), Standing::Up { failed: 1, mute: 0 });
        assert_eq!(of(&[Failed; 3]), down(0, Failed));
        assert_eq!(of(&[Failed, Failed, Failed, Passed]), down(1, Failed));
        assert_eq!(of(&[Failed, Failed, Failed, Passed, Failed, Passed]), down(1, Failed));
        assert_eq!(of(&[Failed, Failed, Failed, Passed, Passed]), FRESH);
    }

    #[test]
    fn one_client_that_was_not_connected_is_enough_and_one_that_is_brings_it_back_where_it_is_not_checked() {
        use Sign::{NotReached, Passed, Reached, Spoke};
        assert_eq!(after(&[NotReached], &CHECKED).standing, down(0, NotReached));
        assert_eq!(after(&[NotReached, Reached], &UNCHECKED).standing, FRESH);
        assert_eq!(after(&[NotReached, Reached, Spoke, Passed], &CHECKED).standing, down(1, NotReached));
    }

    #[test]
    fn who_says_nothing_to_several_in_a_row_is_down_until_it_speaks() {
        use Sign::{Mute, Passed, Reached, Spoke};
        let of = |signs: &[Sign]| after(signs, &UNCHECKED).standing;
        assert_eq!(of(&[Mute, Mute, Spoke, Reached, Mute]), Standing::Up { failed: 0, mute: 1 });
        assert_eq!(of(&[Mute, Reached, Mute, Passed, Mute]), down(0, Mute), "to be reached is no answer");
        assert_eq!(of(&[Mute, Mute, Mute, Reached]), down(0, Mute));
        assert_eq!(of(&[Mute, Mute, Mute, Spoke]), FRESH);
    }

    #[test]
    fn one_client_a_time_finds_out_whether_it_is_there_again() {
        let mut health = after(&[Sign::NotReached], &UNCHECKED);
        let (before, later) = (Instant::from_millis(10_999), NOW + RETRY);
        assert_eq!([before, later].map(|at| health.place(&UNCHECKED, at)), [Place::Last, Place::First]);
        assert_eq!(health.place(&CHECKED, later), Place::Last, "that is for a check to find out");
        health.on_chosen(later);
        assert_eq!(health.place(&UNCHECKED, later), Place::Last);
        assert_eq!(health.place(&UNCHECKED, later + RETRY), Place::First);
    }

    #[test]
    fn the_word_of_the_operator_is_above_all_that_was_seen() {
        let mut health = Health::new(NOW);
        for word in [Word::Drain, Word::Down] {
            assert_eq!(health.on_word(word, NOW), None);
            assert_eq!(health.place(&CHECKED, NOW), Place::Out);
            assert!(health.is_up() && !health.is_in_service());
        }
        assert_eq!(health.on_word(Word::Ready, NOW), None);
        assert_eq!(health.place(&CHECKED, NOW), Place::First);
        // What is drained is still looked at.
        let mut health = after(&[Sign::NotReached], &CHECKED);
        health.on_word(Word::Drain, NOW);
        assert_eq!(health.on_word(Word::Ready, NOW), None);
        assert_eq!(health.place(&CHECKED, NOW), Place::Last);
        // What was left alone begins anew.
        health.on_word(Word::Down, NOW);
        assert_eq!(health.on_word(Word::Ready, NOW), Some(Change::Up));
        assert_eq!((health.standing, health.changes()), (FRESH, 2));
        for word in Word::ALL {
            assert_eq!(Word::from_name(word.name()), Some(*word));
        }
        assert_eq!(Word::from_name("up"), None);
    }

    fn sign() -> impl Strategy<Value = Sign> {
        use Sign::{Failed, Mute, NotReached, Passed, Reached, Spoke};
        prop::sample::select(vec![Passed, Passed, Failed, Failed, Reached, NotReached, Spoke, Mute, Mute])
    }

    /// How many of `counted` stand at the end of the history, with none of `breaks` between them.
    fn in_a_row(history: &[Sign], counted: Sign, breaks: &[Sign]) -> usize {
        history
            .iter()
            .rev()
            .take_while(|sign| !breaks.contains(sign))
            .filter(|sign| **sign == counted)
            .count()
    }

    proptest! {
        #[test]
        fn a_state_changes_for_what_is_said_to_change_it(
            signs in prop::collection::vec(sign(), 0..80), rise in 1_u32..4, fall in 1_u32..4, is_checked: bool
        ) {
            use Sign::{Failed, Mute, NotReached, Passed, Reached, Spoke};
            let rules = Rules { rise, fall, is_checked };
            let mut health = Health::new(NOW);
            // Since its state changed last, for it begins to count there.
            let (mut history, mut changes) = (Vec::new(), 0);
            for sign in signs {
                history.push(sign);
                let by = health.down_by();
                match health.on_sign(sign, &rules, NOW) {
                    Some(Change::Down) => {
                        prop_assert!(by.is_none() && !health.is_up());
                        let many = match sign {
                            NotReached => true,
                            Failed => in_a_row(&history, Failed, &[Passed]) >= fall as usize,
                            Mute => in_a_row(&history, Mute, &[Spoke]) >= fall as usize,
                            Passed | Reached | Spoke => false,
                        };
                        prop_assert!(many, "{history:?}");
                    }
                    Some(Change::Up) => {
                        prop_assert!(by.is_some() && health.is_up());
                        let passed = in_a_row(&history, Passed, &[Failed, NotReached, Mute]);
                        let enough = match sign {
                            Passed => passed >= rise as usize,
                            Reached => !is_checked && by != Some(Mute),
                            Spoke => !is_checked,
                            Failed | NotReached | Mute => false,
                        };
                        prop_assert!(enough, "{history:?}");
                    }
                    None => continue,
                }
                changes += 1;
                history.clear();
            }
            prop_assert_eq!(health.changes(), changes);
            prop_assert_eq!(health.is_up(), changes % 2 == 0);
        }
    }
}
