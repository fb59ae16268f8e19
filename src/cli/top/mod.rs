//! `linger top`: a running server, live, in a terminal.
//!
//! [`source`] asks the server and follows its events, in threads of their own; [`picture`] keeps what came, [`ui`] what the one who
//! watches does by [`input`], and [`view`] draws both. None of these knows a terminal: that is here.

mod filter;
mod input;
mod numbers;
mod over_time;
mod picture;
mod source;
mod ui;
#[cfg(test)]
mod ui_tests;
mod view;

use super::admin::AdminArgs;
use super::{console, usage_mistake};
use crate::core::time::{Duration, Instant};
use crate::core::units::parse_some_time;
use crate::sys::process::{asked_to_end, monotonic, wait_for_input};
use clap::Args;
use filter::{Ask, Filter};
use picture::Picture;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use source::Came;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use ui::{Effect, Ui};
use view::{Palette, View};

pub(super) const EXAMPLES: &str = "\
Examples:
  linger top
  linger top 10.0.0.0/8                      only clients from there
  linger top --admin unix:/run/linger.sock

Keys: q quits, ? lists the others. NO_COLOR is respected.

Exit codes:
  0  it was left by a key or a signal
  1  the terminal failed
  2  the command line has a mistake, or there is no terminal";

/// How long keys wait for what the server tells, at most.
const TICK: Duration = Duration::from_millis(100);
/// Ages and silences go on also where nothing comes.
const REDRAW: Duration = Duration::from_secs(1);
/// What is taken of what came before a key is looked at again.
const AT_ONCE: usize = 10_000;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only these clients: an identity, an address, address:port or network, or the key of a connection
    ///
    /// What could be several of these is taken for a key or an address first. It can be changed by the key /.
    target: Option<String>,
    /// How often the server is asked
    ///
    /// Where its answers take long, less often. What happens is told at once all the same.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_some_time)]
    every: Duration,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        console::err(
            "linger: top wants a terminal for its input and output; linger tail and linger why write to files and pipes",
        );
        return usage_mistake();
    }
    match watch(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::err(format_args!("linger: the terminal: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn watch(arguments: Arguments) -> io::Result<()> {
    let filter = arguments.target.as_deref().and_then(Filter::of);
    let address = arguments.admin.address().to_string();
    let stop = asked_to_end()?;
    let (came, asks) = source::start(arguments.admin, arguments.every, filter.clone())?;
    let has_colors = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut top = Top {
        live: Picture { filter, ..Picture::default() },
        ui: Ui::new(),
        palette: Palette::new(has_colors),
        address,
        asks,
    };
    let mut screen = Screen::open()?;
    top.run(&mut screen.0, &came, &stop)
}

/// The terminal while it is ours. It is given back as it was, also by a panic: of that, a hook of ratatui takes care.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> io::Result<Self> {
        ratatui::try_init().map(Self).inspect_err(|_| close())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        close();
    }
}

fn close() {
    // Where the terminal is gone, there is nothing to give back.
    let _ = ratatui::try_restore();
}

struct Top {
    live: Picture,
    ui: Ui,
    palette: Palette,
    address: String,
    asks: Sender<Ask>,
}

impl Top {
    /// Until a key or a signal ends it.
    fn run(
        &mut self,
        terminal: &mut DefaultTerminal,
        came: &Receiver<Came>,
        stop: &AtomicBool,
    ) -> io::Result<()> {
        let mut drawn: Option<Instant> = None;
        let mut size = terminal.size()?;
        while !stop.load(Ordering::Relaxed) {
            let now = monotonic();
            if drawn.is_none_or(|drawn| now.since(drawn) >= REDRAW) {
                self.draw(terminal, now)?;
                drawn = Some(now);
            }
            // Where the terminal has hung up, crossterm would read its end again and again.
            wait_for_input(TICK)?;
            // Also without input: a new size that waits there would have the next key left unread behind it.
            while event::poll(Duration::ZERO)? {
                match self.on_terminal(&event::read()?) {
                    Some(Effect::Quit) => return Ok(()),
                    Some(Effect::Redraw) => terminal.clear()?,
                    // Nobody takes it any more only when the thread has died, and that is seen.
                    Some(Effect::Ask(ask)) => drop(self.asks.send(ask)),
                    None => {}
                }
                drawn = None;
            }
            let room = terminal.size()?;
            if room != size {
                (size, drawn) = (room, None);
            }
            for came in came.try_iter().take(AT_ONCE) {
                self.on_came(came);
                drawn = None;
            }
        }
        Ok(())
    }

    fn draw(&self, terminal: &mut DefaultTerminal, now: Instant) -> io::Result<()> {
        let Self { live, ui, palette, address, .. } = self;
        terminal.draw(|frame| view::draw(frame, &View { live, ui, now, address, palette: *palette }))?;
        Ok(())
    }

    /// A key, a new size.
    fn on_terminal(&mut self, event: &Event) -> Option<Effect> {
        let key = event.as_key_event().filter(|key| key.kind != KeyEventKind::Release)?;
        let action = input::action(self.ui.focus(), key)?;
        self.ui.act(action, &mut self.live)
    }

    fn on_came(&mut self, came: Came) {
        match came {
            Came::Polled(mut polled) => {
                if let Some((key, now)) = polled.watched.take() {
                    self.ui.on_watched(&key, now);
                }
                self.live.on_polled(*polled, monotonic());
            }
            Came::Failed(why) => self.live.on_failed(&why, monotonic()),
            Came::Answer(answer) => self.ui.on_answer(&answer),
            Came::EventsLost(why) => self.live.on_events(Some(&why)),
            Came::Event(message) => {
                self.live.on_events(None);
                match message.name.as_str() {
                    // Something may have been missed.
                    "start" | "dropped" => drop(self.asks.send(Ask::Endings)),
                    name => {
                        if name == "ended" {
                            self.ui.on_ended(&message.data);
                        }
                        self.live.on_event(&message);
                    }
                }
            }
        }
    }
}
