//! Any server: the same rows for one of which the lab knows nothing but how to start it and what to say to it.
//!
//! It is looked at from outside only, and ours can be looked at the same way: it has noticed when its socket is let go,
//! which is when the connection leaves the kernel's table or no program holds it any more. What its log says since the
//! fault is its reason.

use super::case::Case;
use super::expect::Left;
use super::network::{Network, SERVER};
use super::observe::{Sight, Tables};
use super::remote_client::{PATIENCE, RemoteClient};
use super::testbed::rest;
use crate::core::escape::escape;
use crate::core::time::{Duration, Instant};
use crate::net::{Fatal, SocketRow};
use crate::sys::process::{Namespace, monotonic, spawn_in};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// How to start a server, and what to say to it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name, for the report.
    pub name: String,
    /// The shell's command. `{address}`, `{port}` and `{case}` are filled in; a case has a server of its own.
    pub command: String,
    /// Where it is told to listen.
    pub port: u16,
    /// What a client says first, and what has to be answered with anything; nothing, and nothing is waited for.
    pub greet: Vec<u8>,
    /// What a client says again and again as long as it is well, and how often: its heartbeat.
    pub beat: Option<(Vec<u8>, Duration)>,
    /// What a client says before it closes; without it that row is not tried.
    pub goodbye: Vec<u8>,
    /// What makes the server send more than a small window takes, said by a client that does not read.
    pub provoke: Vec<u8>,
    /// What a helper says first, and then to make the server send to the client: after the fault, when the client
    /// cannot say anything any more.
    pub helper: [Vec<u8>; 2],
    /// A log that it writes beside standard output and standard error. `{case}` is filled in.
    pub log: Option<String>,
    /// How long to wait for it to notice.
    pub patience: Duration,
}

/// What came of a row.
#[derive(Clone, PartialEq, Debug)]
pub enum Finding {
    /// The server let go after so long.
    LetGo(Duration),
    /// It still held on after so long.
    HeldOn(Duration),
    /// Nothing was said that would make this row.
    NotTried(&'static str),
    /// It could not be played.
    Failed(String),
}

/// A row of a foreign server.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// The way of going that is played.
    pub case: Case,
    /// What came of it.
    pub finding: Finding,
    /// What is left of the connection.
    pub left: Left,
    /// What its log said from the fault on.
    pub log: Vec<String>,
}

const SLOT: u32 = 0;
const REBORN: u32 = 1;
/// How long the states have to stay the same to be called what is left, and how often the lab looks.
const SETTLED: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(5);
/// How often it looks once it has looked for a while.
const LOOK_LATER: Duration = Duration::from_millis(50);

/// Plays a row against the server.
pub fn play(case: Case, subject: &Subject) -> Row {
    let nothing = Left { server: "", client: "" };
    let row = |finding| Row { case, finding, left: nothing, log: Vec::new() };
    match subject.lacks(case) {
        Some(why) => row(Finding::NotTried(why)),
        None => try_play(case, subject).unwrap_or_else(|fatal| row(Finding::Failed(fatal.to_string()))),
    }
}

impl Subject {
    /// What is missing to play a case.
    fn lacks(&self, case: Case) -> Option<&'static str> {
        let provoked =
            matches!(case, Case::KillUnread | Case::KillPaused | Case::FreezeFlight | Case::CableFlight);
        if !case.concerns_any_server() {
            Some("it is about what only linger has")
        } else if case == Case::Goodbye && self.goodbye.is_empty() {
            Some("no --goodbye was given")
        } else if provoked && self.provoke.is_empty() && self.helper[1].is_empty() {
            Some("no --provoke and no --helper-provoke was given")
        } else {
            None
        }
    }

    /// Whether the client itself makes the server send, before the fault.
    fn provokes_itself(&self, case: Case) -> bool {
        let flight = matches!(case, Case::FreezeFlight | Case::CableFlight);
        flight && self.helper[1].is_empty() || matches!(case, Case::KillUnread | Case::KillPaused)
    }
}

fn try_play(case: Case, subject: &Subject) -> Result<Row, Fatal> {
    let network = Network::new()?;
    let mut server = Server::start(&network.server, case, subject)?;
    let mut tables = Tables::open(&network.server, &network.client)?;
    let address = SocketAddr::new(SERVER.parse().expect("an address"), subject.port);
    server.until_it_listens(&mut tables, address)?;
    let mut client = RemoteClient::start(&network.client)?;
    let mut helper = RemoteClient::start(&network.server)?;
    let buffer = if subject.provokes_itself(case) || case.small_window() { 4096 } else { 0 };
    client.order(&format!("open {SLOT} {address} {buffer}"));
    let local = client.opened(SLOT)?;
    greet(&mut client, SLOT, &subject.greet)?;
    if let Some((beat, every)) = &subject.beat {
        client.order(&format!("beat {SLOT} {} {}", every.as_millis(), escape(beat)));
    }
    if !subject.helper[0].is_empty() || !subject.helper[1].is_empty() {
        helper.order(&format!("open {SLOT} {address} 0"));
        helper.opened(SLOT)?;
        greet(&mut helper, SLOT, &subject.helper[0])?;
    }
    until(&mut tables, "the server to accept", |sight| {
        sight.at_server(address, local).is_some_and(|row| !row.is_orphan())
    })?;
    if let Some((_, every)) = subject.beat {
        // Between two beats: one whose answer is under way would be data in flight.
        rest(every / 2);
    }
    if subject.provokes_itself(case) {
        client.deafen(&SLOT.to_string())?;
        if subject.provoke.is_empty() {
            helper.order(&format!("send {SLOT} {}", escape(&subject.helper[1])));
        } else {
            client.order(&format!("send {SLOT} {}", escape(&subject.provoke)));
        }
        until(&mut tables, "unread data", |sight| {
            sight.at_client(address, local).is_some_and(|row| row.unread > 0)
        })?;
        // What the server has to send has time to fill the window.
        rest(SETTLED);
    }
    let before = server.log().map(|lines| lines.len());
    let deed = fault(case, subject, &network, &mut client, &mut helper, address)?;
    let (finding, states) = watch(&mut tables, address, local, deed, subject.patience)?;
    let log = server
        .log()
        .into_iter()
        .zip(before)
        .flat_map(|(mut lines, before)| lines.split_off(before))
        .collect();
    Ok(Row { case, finding, left: Left { server: states[0], client: states[1] }, log })
}

fn greet(hands: &mut RemoteClient, slot: u32, greeting: &[u8]) -> Result<(), Fatal> {
    if greeting.is_empty() {
        return Ok(());
    }
    hands.order(&format!("ask {slot} {}", escape(greeting)));
    hands.answered(slot).map(|_| ())
}

fn fault(
    case: Case,
    subject: &Subject,
    network: &Network,
    client: &mut RemoteClient,
    helper: &mut RemoteClient,
    address: SocketAddr,
) -> Result<Instant, Fatal> {
    let now = monotonic();
    let order = match case {
        Case::Goodbye => format!("leave {SLOT} {}", escape(&subject.goodbye)),
        Case::Close => format!("close {SLOT}"),
        Case::HalfClose => format!("finish {SLOT} "),
        Case::Reset => format!("reset {SLOT}"),
        Case::Vanish | Case::Reboot => format!("vanish {SLOT}"),
        Case::Kill | Case::KillUnread | Case::KillPaused => return Ok(client.kill()),
        Case::Freeze | Case::FreezeFlight => {
            client.freeze();
            String::new()
        }
        Case::Cable
        | Case::CableFlight
        | Case::DropFromClient
        | Case::DropToClient
        | Case::DropBoth
        | Case::NatReset => {
            network.befall(case)?;
            String::new()
        }
        Case::Outage | Case::LateBeat | Case::TooLateBeat | Case::QueueReset | Case::ChannelDeath => {
            String::new()
        }
    };
    if matches!(case, Case::FreezeFlight | Case::CableFlight) && !subject.provokes_itself(case) {
        helper.order(&format!("send {SLOT} {}", escape(&subject.helper[1])));
    }
    if order.is_empty() {
        return Ok(now);
    }
    client.order(&order);
    let done = client.done()?;
    if case == Case::Reboot {
        client.order(&format!("open {REBORN} {address} 0"));
        client.opened(REBORN)?;
        client.order(&format!("send {REBORN} {}", escape(&subject.greet)));
    }
    Ok(done)
}

fn watch(
    tables: &mut Tables,
    server: SocketAddr,
    client: SocketAddr,
    deed: Instant,
    patience: Duration,
) -> Result<(Finding, [&'static str; 2]), Fatal> {
    let mut let_go = None;
    let mut states = ["", ""];
    let mut since = deed;
    loop {
        let sight = tables.look()?;
        let now = monotonic();
        if let_go.is_none() && sight.at_server(server, client).is_none_or(SocketRow::is_orphan) {
            let_go = Some(now);
        }
        let seen = sight.states(server, client);
        if seen != states {
            (states, since) = (seen, now);
        }
        match let_go {
            Some(at) if now.since(since.max(at)) >= SETTLED => {
                return Ok((Finding::LetGo(at.since(deed)), states));
            }
            None if now.since(deed) >= patience => return Ok((Finding::HeldOn(now.since(deed)), states)),
            Some(_) | None => {}
        }
        rest(if now.since(deed) > PATIENCE { LOOK_LATER } else { LOOK });
    }
}

fn until(tables: &mut Tables, what: &str, is_so: impl Fn(&Sight) -> bool) -> Result<(), Fatal> {
    let deadline = monotonic() + PATIENCE;
    while !is_so(&tables.look()?) {
        if monotonic() > deadline {
            return Err(Fatal { what: format!("wait for {what}"), why: format!("not within {PATIENCE:?}") });
        }
        rest(LOOK);
    }
    Ok(())
}

/// A foreign server, with all processes that it starts. Dropping it kills them.
struct Server {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    /// Its log, and how long that was when it started.
    log: Option<(PathBuf, u64)>,
}

impl Server {
    fn start(namespace: &Namespace, case: Case, subject: &Subject) -> Result<Self, Fatal> {
        let fill = |text: &str| {
            text.replace("{address}", SERVER)
                .replace("{port}", &subject.port.to_string())
                .replace("{case}", case.name())
        };
        let log = subject.log.as_deref().map(|path| {
            let path = PathBuf::from(fill(path));
            let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            (path, length)
        });
        // It may start others, and all end with the first of a namespace of processes. That is a shell of ours: a
        // server that gives up its privileges would lose the signal that ends it with us (prctl(2)).
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "sh", "-c", "sh -c \"$0\" 2>&1 & wait $!"]);
        command.arg(fill(&subject.command));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = spawn_in(namespace, &mut command)?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&said);
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Ok(Self { child, said, log })
    }

    fn until_it_listens(&mut self, tables: &mut Tables, address: SocketAddr) -> Result<(), Fatal> {
        let deadline = monotonic() + PATIENCE;
        while !tables.look()?.listens(address.port()) {
            let over = self.child.try_wait().is_ok_and(|status| status.is_some());
            if over || monotonic() > deadline {
                // What it has said last may still be on its way.
                rest(LOOK_LATER);
                let why = if over { "it has ended" } else { "it does not" };
                let why = format!("{why}; it said: {}", self.log().concat().join("; "));
                return Err(Fatal { what: format!("wait for the server to listen on {address}"), why });
            }
            rest(LOOK);
        }
        Ok(())
    }

    /// All it has said so far, and all that its log says.
    fn log(&self) -> [Vec<String>; 2] {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut written = Vec::new();
        if let Some((path, before)) = &self.log
            && let Ok(mut file) = std::fs::File::open(path)
            && file.seek(SeekFrom::Start(*before)).is_ok()
        {
            let mut bytes = Vec::new();
            // A log that cannot be read to its end is read as far as it can.
            let _ = file.read_to_end(&mut bytes);
            written.extend(String::from_utf8_lossy(&bytes).lines().map(ToOwned::to_owned));
        }
        [said, written]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_tried_if_there_is_something_to_say_for_it() {
        let bare = Subject {
            name: "x".into(),
            command: String::new(),
            port: 1,
            greet: Vec::new(),
            beat: None,
            goodbye: Vec::new(),
            provoke: Vec::new(),
            helper: [Vec::new(), Vec::new()],
            log: None,
            patience: Duration::ZERO,
        };
        let tried =
            |subject: &Subject| Case::ALL.iter().filter(|&&case| subject.lacks(case).is_none()).count();
        let never = Case::ALL.iter().filter(|case| !case.concerns_any_server()).count();
        assert_eq!(tried(&bare), Case::ALL.len() - never - 5);
        let talkative = Subject { goodbye: b"QUIT".to_vec(), provoke: b"GET /big".to_vec(), ..bare };
        assert_eq!(tried(&talkative), Case::ALL.len() - never);
        assert!(talkative.provokes_itself(Case::CableFlight) && !talkative.provokes_itself(Case::Cable));
        let helped = Subject { helper: [Vec::new(), b"PUBLISH".to_vec()], ..talkative };
        assert!(!helped.provokes_itself(Case::CableFlight) && helped.provokes_itself(Case::KillUnread));
    }
}
