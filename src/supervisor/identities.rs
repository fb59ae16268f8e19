//! Who has which seat of an identity, over all workers: the newest claim, in the order in which claims arrive here.
//! Pure: claims in, orders out.
//!
//! A worker settles among its own connections what concerns only them, and tells of every claim it makes. Here the
//! last claim wins, and the worker of the one before is told, with the number of that claim. Each channel keeps its
//! order, and nothing else is needed: a worker that has claimed anew meanwhile does not have that number any more;
//! a release of a claim that was taken over names a number that is not here any more; and what a worker claimed
//! that has ended ends with it. So whatever crosses on the way, there is one holder in the end, and it is the one
//! whose claim came last. The test below holds that against every order of deliveries.

use crate::fellows::Seat;
use indexmap::IndexMap;

/// What a worker is to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// Worker `worker` has lost a seat to worker `to`.
    Lost {
        /// Whom to tell.
        worker: usize,
        /// Which seat.
        seat: Seat,
        /// By which claim it had it.
        number: u64,
        /// The identity.
        id: Vec<u8>,
        /// Who has it now.
        to: usize,
    },
    /// The holder at worker `worker` was vouched for elsewhere.
    Vouched {
        /// Whom to tell.
        worker: usize,
        /// The identity.
        id: Vec<u8>,
    },
    /// The holder at worker `worker` was vouched for by a connection elsewhere that has ended.
    Doubted {
        /// Whom to tell.
        worker: usize,
        /// The identity.
        id: Vec<u8>,
    },
}

/// What follows from the end of a worker.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Gone {
    /// Whom to tell what.
    pub(super) orders: Vec<Order>,
    /// Identities that it held.
    pub(super) offline: Vec<Vec<u8>>,
}

/// A claim in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Claim {
    worker: usize,
    number: u64,
}

/// The seats of one identity. It is forgotten when both are empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Seats {
    holder: Option<Claim>,
    channel: Option<Claim>,
}

impl Seats {
    const fn seat(&mut self, seat: Seat) -> &mut Option<Claim> {
        match seat {
            Seat::Holder => &mut self.holder,
            Seat::Channel => &mut self.channel,
        }
    }
}

/// All identities that a connection of any worker holds, or beats for.
#[derive(Debug, Default)]
pub(super) struct Identities {
    seats: IndexMap<Vec<u8>, Seats>,
    /// Seats that went from one worker to another.
    moved: u64,
}

impl Identities {
    /// Worker `worker` claims a seat, and has it.
    pub(super) fn claim(&mut self, worker: usize, seat: Seat, number: u64, id: Vec<u8>) -> Option<Order> {
        let seats = self.seats.entry(id);
        let id = seats.key().clone();
        let before = seats.or_default().seat(seat).replace(Claim { worker, number });
        let lost = before.filter(|before| before.worker != worker)?;
        self.moved += u64::from(seat == Seat::Holder);
        Some(Order::Lost { worker: lost.worker, seat, number: lost.number, id, to: worker })
    }

    /// Worker `worker` gives a seat up, if it still has it by that claim.
    pub(super) fn release(&mut self, worker: usize, seat: Seat, number: u64, id: Vec<u8>) -> Option<Order> {
        let seats = self.seats.get_mut(&id)?;
        let claimed = seats.seat(seat);
        if *claimed != Some(Claim { worker, number }) {
            return None;
        }
        *claimed = None;
        let seats = *seats;
        if seats == Seats::default() {
            self.seats.swap_remove(&id);
        }
        orphaned(worker, seat, seats, id)
    }

    /// The heartbeat channel that worker `worker` claimed has beaten.
    pub(super) fn beat(&self, worker: usize, number: u64, id: Vec<u8>) -> Option<Order> {
        let seats = self.seats.get(&id).filter(|seats| seats.channel == Some(Claim { worker, number }))?;
        let holder = seats.holder.filter(|holder| holder.worker != worker)?;
        Some(Order::Vouched { worker: holder.worker, id })
    }

    /// Worker `worker` has ended, and all its connections with it.
    pub(super) fn gone(&mut self, worker: usize) -> Gone {
        let Gone { mut orders, mut offline } = Gone::default();
        let its = |claim: &Option<Claim>| claim.is_some_and(|claim| claim.worker == worker);
        self.seats.retain(|id, seats| {
            if its(&seats.holder) {
                seats.holder = None;
                offline.push(id.clone());
            }
            if its(&seats.channel) {
                seats.channel = None;
                orders.extend(orphaned(worker, Seat::Channel, *seats, id.clone()));
            }
            *seats != Seats::default()
        });
        Gone { orders, offline }
    }

    /// Whether worker `worker` holds an identity by that claim.
    pub(super) fn is_held(&self, worker: usize, number: u64, id: &[u8]) -> bool {
        self.seats.get(id).is_some_and(|seats| seats.holder == Some(Claim { worker, number }))
    }

    /// Identities that are held.
    pub(super) fn held(&self) -> usize {
        self.seats.values().filter(|seats| seats.holder.is_some()).count()
    }

    /// Identities that went from one worker to another so far.
    pub(super) const fn moved(&self) -> u64 {
        self.moved
    }
}

/// A worker knows by itself when its own connections lose their channel.
fn orphaned(worker: usize, seat: Seat, seats: Seats, id: Vec<u8>) -> Option<Order> {
    let holder = seats.holder.filter(|holder| seat == Seat::Channel && holder.worker != worker)?;
    Some(Order::Doubted { worker: holder.worker, id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, VecDeque};

    const ID: &[u8] = b"dev";

    fn lost(worker: usize, number: u64, to: usize) -> Order {
        Order::Lost { worker, seat: Seat::Holder, number, id: ID.to_vec(), to }
    }

    fn claim(of: &mut Identities, worker: usize, number: u64) -> Option<Order> {
        of.claim(worker, Seat::Holder, number, ID.to_vec())
    }

    #[test]
    fn the_last_claim_wins_and_the_one_before_is_told_by_its_number() {
        let mut all = Identities::default();
        assert_eq!(claim(&mut all, 0, 1), None);
        assert_eq!(claim(&mut all, 1, 1), Some(lost(0, 1, 1)));
        // Its worker settles it.
        assert_eq!(claim(&mut all, 1, 2), None);
        assert_eq!(claim(&mut all, 0, 2), Some(lost(1, 2, 0)));
        assert_eq!((all.held(), all.moved()), (1, 2));
    }

    #[test]
    fn a_release_that_crossed_a_later_claim_releases_nothing() {
        let mut all = Identities::default();
        claim(&mut all, 0, 1);
        claim(&mut all, 1, 7);
        assert_eq!(all.release(0, Seat::Holder, 1, ID.to_vec()), None);
        assert_eq!(all.held(), 1);
        assert_eq!(all.release(1, Seat::Holder, 7, ID.to_vec()), None);
        assert!(all.seats.is_empty());
    }

    #[test]
    fn who_ends_takes_its_claims_along_and_nobody_elses() {
        let mut all = Identities::default();
        claim(&mut all, 0, 1);
        all.claim(1, Seat::Holder, 1, b"other".to_vec());
        all.claim(1, Seat::Channel, 2, ID.to_vec());
        let gone = all.gone(1);
        assert_eq!(gone.orders, [Order::Doubted { worker: 0, id: ID.to_vec() }]);
        assert_eq!(gone.offline, [b"other".to_vec()]);
        assert!(all.is_held(0, 1, ID) && !all.is_held(0, 2, ID) && !all.is_held(1, 1, b"other"));
        assert_eq!((all.held(), all.seats.len()), (1, 1));
        assert_eq!(all.gone(0), Gone { orders: vec![], offline: vec![ID.to_vec()] });
        assert!(all.seats.is_empty());
    }

    #[test]
    fn beats_reach_the_holder_elsewhere_from_the_channel_in_force_alone() {
        let mut all = Identities::default();
        all.claim(1, Seat::Channel, 1, ID.to_vec());
        assert_eq!(all.beat(1, 1, ID.to_vec()), None, "nobody holds it");
        claim(&mut all, 0, 1);
        let vouched = Some(Order::Vouched { worker: 0, id: ID.to_vec() });
        assert_eq!(all.beat(1, 1, ID.to_vec()), vouched);
        let moved = all.claim(2, Seat::Channel, 5, ID.to_vec());
        assert_eq!(
            moved,
            Some(Order::Lost { worker: 1, seat: Seat::Channel, number: 1, id: ID.to_vec(), to: 2 })
        );
        assert_eq!(all.beat(1, 1, ID.to_vec()), None);
        assert_eq!(all.beat(2, 5, ID.to_vec()), vouched);
        assert_eq!(all.release(1, Seat::Channel, 1, ID.to_vec()), None, "no longer its to end");
        let doubted = Some(Order::Doubted { worker: 0, id: ID.to_vec() });
        assert_eq!(all.release(2, Seat::Channel, 5, ID.to_vec()), doubted);
        // A channel of the holder's own worker is that worker's business.
        all.claim(0, Seat::Channel, 9, ID.to_vec());
        assert_eq!(all.beat(0, 9, ID.to_vec()), None);
        assert_eq!(all.release(0, Seat::Channel, 9, ID.to_vec()), None);
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
        /// The next order arrives at a worker.
        Down(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let worker = 0..WORKERS;
        let step = prop_oneof![
            3 => worker.clone().prop_map(Step::Claim),
            2 => worker.clone().prop_map(Step::Release),
            1 => worker.clone().prop_map(Step::Die),
            6 => worker.clone().prop_map(Step::Up),
            6 => worker.prop_map(Step::Down),
        ];
        prop::collection::vec(step, 0..120)
    }

    /// A worker as the reactor is one: at most one connection holds the identity here, by its claim.
    #[derive(Default)]
    struct Worker {
        claims: u64,
        held: Option<u64>,
        up: VecDeque<(bool, u64)>,
        down: VecDeque<Order>,
    }

    #[derive(Default)]
    struct World {
        all: Identities,
        workers: [Worker; WORKERS],
        /// Claims in the order of their arrival, and whether their connections live.
        arrived: Vec<(usize, u64)>,
        lives: BTreeMap<(usize, u64), bool>,
    }

    impl World {
        fn obey(&mut self, order: Option<Order>) {
            if let Some(order) = order {
                let Order::Lost { worker, .. } = order else {
                    panic!("{order:?} in a world without channels")
                };
                self.workers[worker].down.push_back(order);
            }
        }

        fn step(&mut self, step: Step) {
            match step {
                Step::Claim(at) => {
                    let worker = &mut self.workers[at];
                    worker.claims += 1;
                    let number = worker.claims;
                    // Replaced here, as in one process.
                    if let Some(older) = worker.held.replace(number) {
                        self.lives.insert((at, older), false);
                    }
                    worker.up.push_back((true, number));
                    self.lives.insert((at, number), true);
                }
                Step::Release(at) => {
                    if let Some(number) = self.workers[at].held.take() {
                        self.workers[at].up.push_back((false, number));
                        self.lives.insert((at, number), false);
                    }
                }
                Step::Die(at) => {
                    if let Some(number) = self.workers[at].held {
                        self.lives.insert((at, number), false);
                    }
                    // Numbers go on here, so that the lives of connections can be told apart.
                    let claims = self.workers[at].claims;
                    self.workers[at] = Worker { claims, ..Worker::default() };
                    assert_eq!(self.all.gone(at).orders, []);
                }
                Step::Up(at) => {
                    let Some((claims, number)) = self.workers[at].up.pop_front() else { return };
                    let order = if claims {
                        self.arrived.push((at, number));
                        self.all.claim(at, Seat::Holder, number, ID.to_vec())
                    } else {
                        self.all.release(at, Seat::Holder, number, ID.to_vec())
                    };
                    self.obey(order);
                }
                Step::Down(at) => {
                    let Some(Order::Lost { number, .. }) = self.workers[at].down.pop_front() else { return };
                    if self.workers[at].held == Some(number) {
                        self.workers[at].held = None;
                        self.lives.insert((at, number), false);
                        // Nobody is replaced by a claim that came before.
                        let own = self.arrived.iter().position(|claim| *claim == (at, number)).unwrap();
                        assert!(own + 1 < self.arrived.len(), "a successor was replaced by nobody");
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
    }

    proptest! {
        #[test]
        fn in_the_end_one_holds_it_and_it_is_the_last_that_claimed(steps in steps()) {
            let mut world = World::default();
            for step in steps {
                world.step(step);
            }
            world.settle();
            let holders: Vec<_> = (0..WORKERS).filter(|&at| world.workers[at].held.is_some()).collect();
            prop_assert!(holders.len() <= 1, "held by workers {:?}", holders);
            prop_assert_eq!(world.all.held(), holders.len());
            // The newest claim that arrived was ended by nobody but itself.
            if let Some(&newest) = world.arrived.last() {
                let at = newest.0;
                prop_assert_eq!(world.lives[&newest], world.workers[at].held == Some(newest.1));
                if world.lives[&newest] {
                    prop_assert_eq!(&holders, &vec![at]);
                }
            }
            // Whoever believes to hold it is whom the supervisor has.
            for at in holders {
                let claim = Claim { worker: at, number: world.workers[at].held.unwrap() };
                prop_assert_eq!(world.all.seats[ID].holder, Some(claim));
            }
        }

        #[test]
        fn a_last_claim_survives_whatever_came_before(steps in steps(), last in 0..WORKERS) {
            let mut world = World::default();
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
        }
    }
}
