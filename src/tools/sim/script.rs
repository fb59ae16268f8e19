//! What a client program is like, and how a session of it ends: drawn by the seed.

use super::rng::Rng;
use super::tcp::Sizes;
use crate::core::time::Duration;
use crate::protocol::Protocol;

/// How a session ends, or what befalls it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Closes, without looking whether something is unread.
    Close,
    /// Finishes sending, reads to the end, closes.
    HalfClose,
    /// `SO_LINGER {1,0}`, `close`.
    Reset,
    /// Says goodbye, waits for the end, closes.
    Quit,
    /// Says goodbye and never closes.
    QuitAndStay,
    /// Finishes in the middle of a frame.
    MidFrame,
    /// Sends what the protocol does not know.
    Garbage,
    /// Announces a frame that is too large.
    Oversized,
    /// Stops, for ever or nearly: its kernel lives on.
    Freeze,
    /// Stops, for a while.
    Nap,
    /// Says nothing for a while, but reads.
    Mute,
    /// Asks on, but does not read any more.
    StopReading,
    /// Its cable is pulled, for very long.
    Cut,
    /// Its cable is pulled, for a while.
    Blip,
    /// Its host is switched off, and comes back with the same identity.
    Reboot,
    /// The network forgets the flow; it comes back on another.
    Forgotten,
    /// Closes within the accept queue, or nearly.
    DieInQueue,
    /// Connects and says nothing.
    NeverSpeak,
}

impl Ending {
    const ALL: [Self; 18] = [
        Self::Close,
        Self::HalfClose,
        Self::Reset,
        Self::Quit,
        Self::QuitAndStay,
        Self::MidFrame,
        Self::Garbage,
        Self::Oversized,
        Self::Freeze,
        Self::Nap,
        Self::Mute,
        Self::StopReading,
        Self::Cut,
        Self::Blip,
        Self::Reboot,
        Self::Forgotten,
        Self::DieInQueue,
        Self::NeverSpeak,
    ];
}

/// The character of a program. What differs from session to session is drawn anew by
/// [`redraw`](Self::redraw).
#[derive(Clone, Debug)]
pub struct Script {
    /// Which listener it knows.
    pub listener: usize,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Endings it is capable of.
    pub endings: Vec<Ending>,
    /// The one this session has.
    pub ending: Ending,
    /// From connecting to the ending, at most.
    pub lives_max: Duration,
    /// From connecting to the ending.
    pub lives: Duration,
    /// How long trouble lasts, at most.
    pub recovers_max: Duration,
    /// How long trouble lasts.
    pub recovers: Duration,
    /// At most that long until it comes back.
    pub pause: Duration,
    /// Time between two messages.
    pub interval: Duration,
    /// Most bytes in a message.
    pub size_max: usize,
    /// The identity it takes.
    pub identity: Option<usize>,
    /// The heartbeat it promises.
    pub beat: Option<Duration>,
    /// Channels it listens to.
    pub channels: usize,
    /// It publishes.
    pub publishes: bool,
    /// It reads little by little, that far apart.
    pub sips: Option<Duration>,
    /// It does not come back.
    pub once: bool,
    /// Its buffers and its path.
    pub sizes: Sizes,
}

impl Script {
    /// Draws a character. `interval`: time between two messages that keeps every promise on its listener.
    pub fn draw(
        rng: &mut Rng,
        listener: usize,
        protocol: Protocol,
        interval: Duration,
        world: &Scale,
    ) -> Self {
        let resp = protocol == Protocol::Resp;
        let beat = (resp && rng.chance(300_000)).then(|| interval * 3);
        let size_max = rng.pick(&[1, 20, 200, 2000, 2000, 20_000, 100_000]);
        let output_max = rng.pick(&[4096, 16_384, 65_536, 262_144]);
        Self {
            listener,
            protocol,
            endings: world.endings.clone(),
            ending: Ending::Close,
            lives_max: world.lives_max,
            lives: world.lives_max,
            recovers_max: world.recovers_max,
            recovers: world.recovers_max,
            pause: world.pause,
            interval,
            size_max: size_max.min(world.size_max),
            identity: (resp && rng.chance(600_000)).then(|| rng.index(world.identities)),
            beat,
            channels: if resp && rng.chance(250_000) { 1 + rng.index(3) } else { 0 },
            publishes: rng.chance(400_000),
            sips: rng.chance(60_000).then(|| rng.between(Duration::from_millis(50), Duration::from_secs(2))),
            once: false,
            sizes: Sizes {
                output_max,
                input_max: rng.pick(&[2048, 8192, 65_536, 262_144]),
                segment_max: rng.pick(&[536, 1460, 9000, 65_483]),
                rto: 200_000_000,
            },
        }
    }

    /// Draws what differs from session to session.
    pub fn redraw(&mut self, rng: &mut Rng) {
        self.ending = self.endings[rng.index(self.endings.len())];
        // Short lives as often as long ones.
        let shift = rng.within(0..12);
        self.lives = rng.between(Duration::from_millis(1), self.lives_max / (1 << shift));
        let endless = matches!(self.ending, Ending::Cut | Ending::Freeze);
        let most = if endless { self.recovers_max * 20 } else { self.recovers_max };
        self.recovers = rng.between(Duration::from_millis(10), most);
    }

    /// Whether each of its replies is known beforehand.
    pub const fn checks_replies(&self) -> bool {
        matches!(self.protocol, Protocol::Resp) && self.channels == 0
    }

    /// The size of the next message.
    pub fn draw_size(&self, rng: &mut Rng) -> usize {
        if rng.chance(960_000) { 1 + rng.index(self.size_max.min(100)) } else { 1 + rng.index(self.size_max) }
    }

    /// The time to the next message.
    pub fn draw_interval(&self, rng: &mut Rng) -> Duration {
        rng.between(self.interval / 2, self.interval)
    }
}

/// What the whole run has in common.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Endings that occur.
    pub endings: Vec<Ending>,
    /// Longest session.
    pub lives_max: Duration,
    /// Longest trouble.
    pub recovers_max: Duration,
    /// Longest absence.
    pub pause: Duration,
    /// Largest message.
    pub size_max: usize,
    /// Identities to choose from.
    pub identities: usize,
}

impl Scale {
    /// Draws it: some endings occur, the others do not.
    pub fn draw(rng: &mut Rng, duration: Duration) -> Self {
        let mut endings: Vec<Ending> = Ending::ALL.into_iter().filter(|_| rng.chance(400_000)).collect();
        if endings.is_empty() {
            endings.push(Ending::Close);
        }
        Self {
            endings,
            lives_max: rng.between(duration / 50, duration),
            recovers_max: rng.between(Duration::from_millis(500), Duration::from_secs(90)),
            pause: rng.between(Duration::from_millis(10), duration / 20),
            size_max: rng.pick(&[200, 2000, 100_000]),
            identities: 1 + rng.index(20),
        }
    }
}
