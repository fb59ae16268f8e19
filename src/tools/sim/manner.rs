//! How a backend treats a connection: what it reads, what it says, and whether it goes first. Drawn by the seed for each
//! connection, out of what its backend is capable of.

use super::rng::Rng;
use crate::core::time::Duration;

/// What it reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reads {
    /// Everything, as it comes.
    All,
    /// One byte at a time, that far apart.
    ByteByByte(Duration),
    /// Nothing: it is stuck.
    Never,
}

/// What it says to what it reads. An answer is as long as what is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answers {
    /// An answer to all that came, at once.
    AtOnce,
    /// The same, after that long.
    Late(Duration),
    /// The same, once the other has finished sending.
    AtEnd,
    /// Nothing.
    Never,
}

/// When it goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaves {
    /// The other does.
    Never,
    /// Once it has received so many bytes, and said what it had to. None: as soon as it has accepted.
    AfterBytes(u64),
    /// After that long.
    AfterTime(Duration),
}

/// How it goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It closes, without looking whether something is unread.
    Close,
    /// It finishes sending, and reads on.
    Finish,
    /// `SO_LINGER {1,0}`, `close`.
    Reset,
}

/// The manner of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manner {
    /// What it reads.
    pub reads: Reads,
    /// How many bytes it says before anything has come.
    pub greets: u64,
    /// What it says to what comes.
    pub answers: Answers,
    /// Whether it goes first.
    pub leaves: Leaves,
    /// And how.
    pub exit: Exit,
}

impl Manner {
    /// Answers at once, and lets the other go first.
    pub const fn good() -> Self {
        Self {
            reads: Reads::All,
            greets: 0,
            answers: Answers::AtOnce,
            leaves: Leaves::Never,
            exit: Exit::Close,
        }
    }
}

/// What a backend is capable of. Chances are parts in a million.
#[derive(Clone, Debug)]
pub struct Manners {
    /// The manner of most.
    pub usual: Manner,
    /// A connection is treated in another.
    pub unusual: u32,
    /// Longest time that it waits, for whatever.
    pub patience: Duration,
    /// Kinds of reading.
    pub reads: Vec<Reads>,
    /// Kinds of answering.
    pub answers: Vec<Answers>,
    /// Most bytes of a greeting.
    pub greets: u64,
    /// It goes first.
    pub leaves: u32,
    /// Ways to go.
    pub exits: Vec<Exit>,
}

impl Manners {
    /// All connections are treated so.
    pub const fn only(manner: Manner) -> Self {
        Self {
            usual: manner,
            unusual: 0,
            patience: Duration::ZERO,
            reads: Vec::new(),
            answers: Vec::new(),
            greets: 0,
            leaves: 0,
            exits: Vec::new(),
        }
    }

    /// Draws them: some occur, the others do not.
    pub fn draw_all(rng: &mut Rng, duration: Duration) -> Self {
        let patience = rng.between(Duration::from_millis(200), duration / 10);
        let wait = |rng: &mut Rng| rng.between(Duration::from_millis(1), patience);
        let sip = Reads::ByteByByte(rng.between(Duration::from_millis(1), Duration::from_millis(500)));
        let late = Answers::Late(wait(rng));
        let some = |rng: &mut Rng| rng.chance(400_000);
        let reads = [Reads::All, sip, Reads::Never].into_iter().filter(|_| some(rng)).collect();
        let answers = [Answers::AtOnce, late, Answers::AtEnd, Answers::Never];
        let answers = answers.into_iter().filter(|_| some(rng)).collect();
        let exits = [Exit::Close, Exit::Finish, Exit::Reset].into_iter().filter(|_| some(rng)).collect();
        Self {
            usual: Manner::good(),
            unusual: rng.pick(&[100_000, 700_000, 1_000_000]),
            patience,
            reads,
            answers,
            greets: rng.pick(&[0, 0, 1, 100, 10_000, 300_000]),
            leaves: rng.pick(&[0, 300_000, 1_000_000]),
            exits,
        }
    }

    /// Draws the manner of a connection.
    pub fn draw(&self, rng: &mut Rng) -> Manner {
        let mut manner = self.usual;
        if !rng.chance(self.unusual) {
            return manner;
        }
        if !self.reads.is_empty() {
            manner.reads = rng.pick(&self.reads);
        }
        if !self.answers.is_empty() {
            manner.answers = rng.pick(&self.answers);
        }
        if self.greets > 0 && rng.chance(500_000) {
            manner.greets = rng.within(0..self.greets + 1);
        }
        if !self.exits.is_empty() && rng.chance(self.leaves) {
            manner.exit = rng.pick(&self.exits);
            manner.leaves = if rng.chance(500_000) {
                Leaves::AfterBytes(rng.pick(&[0, 0, 1, 100, 5000]))
            } else {
                Leaves::AfterTime(rng.between(Duration::from_millis(1), self.patience))
            };
        }
        manner
    }
}
