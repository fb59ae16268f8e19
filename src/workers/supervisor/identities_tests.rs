//! The arbiter of identities: what follows from each thing that arrives, and, in a world of workers whose messages cross
//! in every order, who holds an identity in the end and what was said of it.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const ID: &[u8] = b"dev";
const NOW: Instant = Instant::ZERO;

fn claim(worker: usize, number: u64, token: &str) -> Claim {
    claim_at(0, worker, number, token)
}

fn claim_at(at: u64, worker: usize, number: u64, token: &str) -> Claim {
    let key = format!("{}.1-{number}", worker + 1);
    let by = Arc::new(Origin { key, peer: "unix".to_owned(), listener: "resp".to_owned() });
    Claim { worker, number, at, id: ID.to_vec(), token: token.into(), by }
}

fn lost(worker: usize, role: Role, number: u64, to: &Claim) -> Directive {
    Directive::Lost { worker, role, number, id: ID.to_vec(), to: to.by.clone() }
}

fn announce(payload: &str) -> Directive {
    Directive::Announce { id: ID.to_vec(), payload: payload.into(), origin: Arc::default() }
}

fn word(of: &Identities) -> Option<&'static [u8]> {
    of.last_word(ID).map(|(word, _)| word)
}

/// What is to be done. Of whose connection something is announced, another test says.
fn directives(of: &mut Identities) -> Vec<Directive> {
    let mut directives: Vec<_> = std::iter::from_fn(|| of.next_directive()).collect();
    for directive in &mut directives {
        if let Directive::Announce { origin, .. } = directive {
            *origin = Arc::default();
        }
    }
    directives
}

#[test]
fn each_event_is_told_of_the_connection_that_it_happened_to() {
    let mut all = Identities::default();
    let told = |all: &mut Identities| {
        let announced = |directive| {
            let Directive::Announce { payload, origin, .. } = directive else { return None };
            Some((String::from_utf8(payload).unwrap(), origin.key.clone()))
        };
        std::iter::from_fn(|| all.next_directive()).filter_map(announced).collect::<Vec<_>>()
    };
    let of = |word: &str, key: &str| (word.to_owned(), key.to_owned());
    all.hold(claim(0, 1, ""), NOW);
    all.happened(0, 1, ID.to_vec(), b"suspect".to_vec());
    all.hold(claim(1, 1, ""), NOW);
    all.release(0, 1, ID.to_vec(), b"{1}");
    assert_eq!(
        told(&mut all),
        [of("online", "1.1-1"), of("suspect", "1.1-1"), of("replaced {1}", "1.1-1"), of("online", "2.1-1")]
    );
    // Its record does not come in time.
    all.hold(claim(0, 2, ""), NOW);
    all.expire(all.next());
    assert_eq!(told(&mut all), [of("replaced null", "2.1-1"), of("online", "1.1-2")]);
    // Its worker dies.
    all.gone(0);
    assert_eq!(told(&mut all), [of("offline null", "1.1-2")]);
}

#[test]
fn the_last_claim_wins_and_nobody_hears_of_it_before_the_record_of_the_one_before() {
    let mut all = Identities::default();
    all.hold(claim(0, 1, ""), NOW);
    assert_eq!(directives(&mut all), [announce("online")]);
    let newer = claim(1, 1, "");
    all.hold(newer.clone(), NOW);
    assert_eq!(directives(&mut all), [lost(0, Role::Holder, 1, &newer)]);
    all.happened(1, 1, ID.to_vec(), b"suspect".to_vec());
    all.happened(0, 1, ID.to_vec(), b"suspect".to_vec());
    assert_eq!(directives(&mut all), [], "the newer waits, the older is not asked any more");
    assert_eq!(all.last_word(ID), None, "it is still to be said");
    all.release(0, 1, ID.to_vec(), b"{1}");
    assert_eq!(directives(&mut all), [announce("replaced {1}"), announce("online"), announce("suspect")]);
    assert_eq!(word(&all), Some(&b"suspect"[..]));
    // Its worker settles it, and tells of it.
    all.hold(claim(1, 2, ""), NOW);
    all.release(1, 1, ID.to_vec(), b"{2}");
    assert_eq!(directives(&mut all), [announce("replaced {2}"), announce("online")]);
    assert_eq!((all.held(), all.moved()), (1, 1));
    all.release(1, 2, ID.to_vec(), b"{3}");
    assert_eq!(directives(&mut all), [announce("offline {3}")]);
    assert!(all.roles.is_empty() && all.waiting.is_empty());
    assert_eq!(word(&all), Some(&b"offline null"[..]));
}

#[test]
fn a_claim_that_arrives_behind_a_newer_one_has_lost_and_nobody_hears_of_it() {
    let mut all = Identities::default();
    let newer = claim_at(2, 1, 1, "t");
    all.hold(newer.clone(), NOW);
    all.claim_channel(claim_at(4, 2, 1, "t"));
    directives(&mut all);
    all.hold(claim_at(1, 0, 1, ""), NOW);
    assert_eq!(directives(&mut all), [lost(0, Role::Holder, 1, &newer)]);
    all.ending(0, 1, ID);
    all.release(0, 1, ID.to_vec(), b"{1}");
    let older = claim_at(3, 0, 2, "t");
    all.claim_channel(older.clone());
    assert_eq!(directives(&mut all), [lost(0, Role::Channel, 2, &older)]);
    assert_eq!((all.held(), all.worker_of(ID), word(&all)), (1, Some(1), Some(&b"online"[..])));
    // One that is over stands in nobody's way.
    all.release(1, 1, ID.to_vec(), b"{2}");
    all.hold(claim_at(1, 0, 3, ""), NOW);
    assert_eq!(directives(&mut all), [announce("offline {2}"), announce("online")]);
}

#[test]
fn a_record_that_does_not_come_holds_up_nothing_for_long() {
    let mut all = Identities::default();
    all.hold(claim(0, 1, ""), NOW);
    all.hold(claim(1, 1, ""), NOW);
    directives(&mut all);
    assert_eq!(all.next(), NOW + RECORD_WITHIN);
    all.expire(all.next());
    assert_eq!(directives(&mut all), [announce("replaced null"), announce("online")]);
    all.release(0, 1, ID.to_vec(), b"{late}");
    assert_eq!((directives(&mut all), all.next()), (vec![], Instant::NEVER));
    // Nor does a flood of them pile up.
    for number in 2..1_000 {
        all.hold(claim(usize::from(number % 2 == 0), number, ""), NOW);
    }
    assert!(all.waiting[ID].len() <= WAITING_MAX + 2, "{}", all.waiting[ID].len());
}

#[test]
fn a_release_that_crossed_a_later_claim_releases_nothing() {
    let mut all = Identities::default();
    all.hold(claim(0, 1, ""), NOW);
    all.hold(claim(1, 7, ""), NOW);
    all.release(0, 1, ID.to_vec(), b"{}");
    assert_eq!(all.held(), 1);
    assert_eq!(directives(&mut all).last(), Some(&announce("online")));
}

#[test]
fn who_ends_takes_its_claims_along_and_nobody_elses() {
    let mut all = Identities::default();
    all.hold(claim(0, 1, "t"), NOW);
    all.hold(Claim { id: b"other".to_vec(), ..claim(1, 1, "") }, NOW);
    all.claim_channel(claim(1, 2, "t"));
    directives(&mut all);
    all.gone(1);
    let other = Directive::Announce {
        id: b"other".to_vec(),
        payload: b"offline null".to_vec(),
        origin: Arc::default(),
    };
    assert_eq!(directives(&mut all), [Directive::HeartbeatLost { worker: 0, id: ID.to_vec() }, other]);
    assert_eq!((all.held(), all.roles.len()), (1, 1));
    // What is awaited of it does not come any more.
    all.hold(claim(1, 3, ""), NOW);
    directives(&mut all);
    all.gone(0);
    assert_eq!(directives(&mut all), [announce("replaced null"), announce("online")]);
    all.gone(1);
    assert_eq!(directives(&mut all), [announce("offline null")]);
    assert!(all.roles.is_empty());
}

#[test]
fn beats_reach_the_holder_elsewhere_from_the_channel_in_force_alone() {
    let mut all = Identities::default();
    let heartbeat = || vec![Directive::Heartbeat { worker: 0, id: ID.to_vec() }];
    all.claim_channel(claim(1, 1, "t"));
    all.beat(1, 1, ID.to_vec());
    assert_eq!(directives(&mut all), [], "nobody holds it");
    all.hold(claim(0, 1, "t"), NOW);
    directives(&mut all);
    all.beat(1, 1, ID.to_vec());
    assert_eq!(directives(&mut all), heartbeat());
    let newer = claim(2, 5, "t");
    all.claim_channel(newer.clone());
    assert_eq!(directives(&mut all), [lost(1, Role::Channel, 1, &newer)]);
    all.beat(1, 1, ID.to_vec());
    assert_eq!(directives(&mut all), []);
    all.beat(2, 5, ID.to_vec());
    assert_eq!(directives(&mut all), heartbeat());
    all.release_channel(1, 1, ID.to_vec());
    assert_eq!(directives(&mut all), [], "no longer its to end");
    all.release_channel(2, 5, ID.to_vec());
    assert_eq!(directives(&mut all), [Directive::HeartbeatLost { worker: 0, id: ID.to_vec() }]);
    // A channel of the holder's own worker is that worker's business.
    all.claim_channel(claim(0, 9, "t"));
    all.beat(0, 9, ID.to_vec());
    all.release_channel(0, 9, ID.to_vec());
    assert_eq!(directives(&mut all), []);
}

#[test]
fn the_end_of_a_channel_that_the_holder_has_not_agreed_to_is_no_evidence() {
    let mut all = Identities::default();
    all.hold(claim(0, 1, ""), NOW);
    all.claim_channel(claim(1, 1, ""));
    all.beat(1, 1, ID.to_vec());
    all.release_channel(1, 1, ID.to_vec());
    assert_eq!(
        directives(&mut all),
        [announce("online"), Directive::Heartbeat { worker: 0, id: ID.to_vec() }]
    );
    // Once it has agreed to one, no other beats for it, or takes its place.
    all.consent(0, 1, ID, b"t".to_vec());
    all.claim_channel(claim(1, 2, "t"));
    for stranger in [claim(2, 1, ""), claim(2, 2, "u")] {
        all.claim_channel(stranger.clone());
        assert_eq!(directives(&mut all), [lost(2, Role::Channel, stranger.number, &stranger)]);
        all.beat(2, stranger.number, ID.to_vec());
        all.release_channel(2, stranger.number, ID.to_vec());
        assert_eq!(directives(&mut all), []);
    }
    all.beat(1, 2, ID.to_vec());
    assert_eq!(directives(&mut all), [Directive::Heartbeat { worker: 0, id: ID.to_vec() }]);
    all.claim_channel(Claim { id: b"nobody".to_vec(), ..claim(2, 3, "u") });
    all.claim_channel(Claim { id: b"nobody".to_vec(), ..claim(1, 3, "v") });
    assert!(
        matches!(&directives(&mut all)[..], [Directive::Lost { worker: 1, number: 3, .. }]),
        "it was there first"
    );
}

const WORKERS: usize = 3;

/// What happens next, somewhere.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A new connection of a worker claims the identity.
    Claim(usize),
    /// The holder at a worker ends by itself.
    Release(usize),
    /// A worker ends, and another starts in its place.
    Die(usize),
    /// The next message of a worker arrives at the top.
    Up(usize),
    /// The next directive arrives at a worker.
    Down(usize),
    /// Nothing, for as long as a record may take.
    Pass,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let worker = 0..WORKERS;
    let step = prop_oneof![
        3 => worker.clone().prop_map(Step::Claim),
        2 => worker.clone().prop_map(Step::Release),
        1 => worker.clone().prop_map(Step::Die),
        6 => worker.clone().prop_map(Step::Up),
        6 => worker.prop_map(Step::Down),
        1 => Just(Step::Pass),
    ];
    prop::collection::vec(step, 0..120)
}

/// What a worker tells: that a claim was made, or is over.
#[derive(Clone, Copy, Debug)]
enum Told {
    /// With the time of it.
    Claimed(u64, u64),
    Over(u64),
}

/// A worker as the reactor is one: at most one connection holds the identity here, by its claim.
#[derive(Default)]
struct Worker {
    claims: u64,
    held: Option<u64>,
    up: VecDeque<Told>,
    down: VecDeque<u64>,
}

struct World {
    all: Identities,
    now: Instant,
    workers: [Worker; WORKERS],
    /// Claims in the order in which they were made, and whether their connections live.
    made: Vec<(usize, u64)>,
    lives: BTreeMap<(usize, u64), bool>,
    /// What those who watch have heard.
    heard: Vec<String>,
}

impl World {
    fn new() -> Self {
        let (all, workers) = (Identities::default(), Default::default());
        Self { all, now: NOW, workers, made: Vec::new(), lives: BTreeMap::new(), heard: Vec::new() }
    }

    /// The connection of a claim at a worker is over.
    fn end(&mut self, at: usize, number: u64) {
        self.workers[at].up.push_back(Told::Over(number));
        self.lives.insert((at, number), false);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Claim(at) => {
                let worker = &mut self.workers[at];
                worker.claims += 1;
                let number = worker.claims;
                worker.up.push_back(Told::Claimed(number, self.made.len() as u64));
                self.made.push((at, number));
                // Replaced here, as in one process.
                if let Some(older) = worker.held.replace(number) {
                    self.end(at, older);
                }
                self.lives.insert((at, number), true);
            }
            Step::Release(at) => {
                if let Some(number) = self.workers[at].held.take() {
                    self.end(at, number);
                }
            }
            Step::Die(at) => {
                if let Some(number) = self.workers[at].held {
                    self.lives.insert((at, number), false);
                }
                // Numbers go on here, so that the lives of connections can be told apart.
                let claims = self.workers[at].claims;
                self.workers[at] = Worker { claims, ..Worker::default() };
                self.all.gone(at);
            }
            Step::Up(at) => match self.workers[at].up.pop_front() {
                Some(Told::Claimed(number, made)) => self.all.hold(claim_at(made, at, number, ""), self.now),
                Some(Told::Over(number)) => self.all.release(at, number, ID.to_vec(), b"{}"),
                None => {}
            },
            Step::Down(at) => {
                let Some(number) = self.workers[at].down.pop_front() else { return };
                if self.workers[at].held == Some(number) {
                    self.workers[at].held = None;
                    self.end(at, number);
                    // Nobody is replaced by a claim that was made before.
                    assert_ne!(self.made.last(), Some(&(at, number)), "a successor was replaced by nobody");
                }
            }
            Step::Pass => {
                self.now = self.now + RECORD_WITHIN;
                self.all.expire(self.now);
            }
        }
        for directive in directives(&mut self.all) {
            match directive {
                Directive::Lost { worker, number, .. } => self.workers[worker].down.push_back(number),
                Directive::Announce { payload, .. } => self.heard.push(String::from_utf8(payload).unwrap()),
                Directive::Heartbeat { .. } | Directive::HeartbeatLost { .. } => {
                    panic!("{directive:?} in a world without channels")
                }
            }
        }
    }

    fn settle(&mut self) {
        while self.workers.iter().any(|worker| !worker.up.is_empty() || !worker.down.is_empty()) {
            for at in 0..WORKERS {
                self.step(Step::Up(at));
                self.step(Step::Down(at));
            }
        }
    }

    /// What was heard makes sense, word after word, and the last one is the truth.
    fn judge_what_was_heard(&self, held: bool) -> Result<(), TestCaseError> {
        let mut state = "offline";
        for payload in &self.heard {
            let word = payload.split(' ').next().unwrap();
            let follows = matches!(
                (state, word),
                ("offline" | "replaced", "online") | ("online", "offline" | "replaced")
            );
            prop_assert!(follows, "{} after {}: {:?}", word, state, self.heard);
            state = word;
        }
        prop_assert_eq!(state, if held { "online" } else { "offline" }, "{:?}", self.heard);
        Ok(())
    }
}

proptest! {
    #[test]
    fn in_the_end_one_holds_it_and_it_is_the_newest_that_claimed(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
        let holders: Vec<_> = (0..WORKERS).filter(|&at| world.workers[at].held.is_some()).collect();
        prop_assert!(holders.len() <= 1, "held by workers {:?}", holders);
        prop_assert_eq!(world.all.held(), holders.len());
        world.judge_what_was_heard(holders.len() == 1)?;
        // The newest claim was ended by nobody but itself, whatever arrived behind it.
        if let Some(&newest) = world.made.last() {
            let at = newest.0;
            prop_assert_eq!(world.lives[&newest], world.workers[at].held == Some(newest.1));
            if world.lives[&newest] {
                prop_assert_eq!(&holders, &vec![at]);
            }
        }
        // The one that believes to hold it is the one that the supervisor has.
        for at in holders {
            let number = world.workers[at].held.unwrap();
            prop_assert!(world.all.roles[ID].holder.as_ref().is_some_and(|holder| holder.is(at, number)));
        }
        prop_assert!(world.all.waiting.is_empty(), "somebody waits for nothing");
    }

    #[test]
    fn a_last_claim_survives_whatever_came_before(steps in steps(), last in 0..WORKERS) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
        // Alone on its way: it must win, whatever lies behind.
        world.step(Step::Claim(last));
        let number = world.workers[last].claims;
        world.settle();
        prop_assert_eq!(world.workers[last].held, Some(number));
        prop_assert_eq!(world.workers.iter().filter(|worker| worker.held.is_some()).count(), 1);
        world.judge_what_was_heard(true)?;
    }
}
