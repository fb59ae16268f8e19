//! A supervisor whose workers run and do not answer: no client waits for ever, neither one of a worker that asks about
//! the clients of all, nor one of the admin interface.

use super::faults::Faults;
use super::kernel::{SimEnv, SimKernel, SimStream};
use super::peer::ClientPool;
use super::rng::Rng;
use super::run::NoFile;
use super::tcp::Sizes;
use super::world::{Side, World};
use crate::config::{Override, Sources, no_files, resolve_text};
use crate::core::end::By;
use crate::core::secret::Secret;
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::net::{Exit, Received, Sent, Signal};
use crate::observe::answers::Kept;
use crate::observe::events::Position;
use crate::observe::metrics::{Part, Samples, Series};
use crate::observe::ring::Place;
use crate::protocol::clients::{ClientFilter, GlobalKey, KillFilter};
use crate::workers::link::{
    About, Answer, Channel, Content, EndRow, EndRows, EventRows, Finding, More, Query, Question, Role, Rows,
    ToSupervisor, ToWorker, Topic,
};
use crate::workers::supervisor::{Plan, Supervisor};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

const SIZES: Sizes = Sizes { output_max: 65_536, input_max: 65_536, segment_max: 16_384, rto: 200_000_000 };
/// The place of the admin interface among the addresses of the world.
const ADMIN: usize = 1;
/// What a client may have to wait: 2 s for workers, and the turns on the way there.
const PATIENCE: Duration = Duration::from_millis(2200);
/// Whose clients ask, and who has what they ask for and says nothing about it.
const ASKER: usize = 0;
const SILENT: usize = 1;
/// The number of each query: they follow one another.
const NUMBER: u64 = 7;

/// A supervisor, and its two workers as a test plays them.
struct Setup {
    stage: Rc<RefCell<SimEnv>>,
    supervisor: Supervisor<SimKernel>,
    workers: Vec<Channel<SimStream, ToWorker, ToSupervisor>>,
    /// Answers that were begun and are not ended, by the worker.
    begins: bool,
    /// What the first one has as the labels of a metric; empty: it answers nothing.
    labels: String,
}

impl Setup {
    /// Whose workers serve.
    fn new() -> Self {
        let overrides = [("admin.address", "127.0.0.1:7070"), ("audit.interval", "off")];
        let overrides = overrides.map(|(key, value)| Override {
            flag: "--set".to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        });
        let listen = vec!["resp://127.0.0.1:7000".to_owned()];
        let sources = Sources { file: None, listen, overrides: overrides.to_vec() };
        let settings = resolve_text(&sources, None, no_files).unwrap().settings;
        let world = World::new(Faults::none(), &mut Rng::new(1));
        let stage = Rc::new(RefCell::new(SimEnv::new(world, ClientPool::empty())));
        let plan = Plan { settings, file: Secret::default(), workers: 2 };
        let kernel = SimKernel::new(Rc::clone(&stage));
        let mut supervisor = Supervisor::new(kernel, plan, Box::new(NoFile::default())).unwrap();
        // Something to wake up for, while no worker serves.
        stage.borrow_mut().world.raise(0, Signal::Child);
        supervisor.turn().unwrap();
        let started = std::mem::take(&mut stage.borrow_mut().world.started);
        let workers = started.into_iter().map(|started| Channel::new(started.link)).collect();
        let mut setup = Self { stage, supervisor, workers, begins: false, labels: String::new() };
        for place in [ASKER, SILENT] {
            setup.say(place, &ToSupervisor::Ready);
        }
        setup.turn();
        setup
    }

    fn pass(stage: &Rc<RefCell<SimEnv>>, time: Duration) {
        let mut stage = stage.borrow_mut();
        let until = stage.world.instant() + time;
        stage.advance(until.as_nanos(), |_| false);
    }

    fn now(&self) -> Instant {
        self.stage.borrow().world.instant()
    }

    fn say(&mut self, place: usize, message: &ToSupervisor) {
        self.workers[place].send(message);
        self.workers[place].flush().unwrap();
    }

    /// A turn of the supervisor, and what the workers make of it: both say that they turn, and only the first one answers
    /// queries. Returns what was found for the first one: the number of its query, which worker, what.
    fn turn(&mut self) -> Vec<(u64, u32, Finding)> {
        self.supervisor.turn().unwrap();
        Self::pass(&self.stage, Duration::from_millis(1));
        let mut all = Vec::new();
        for place in [ASKER, SILENT] {
            while self.workers[place].receive() == Ok(More::Maybe) {}
            while let Some(message) = self.workers[place].next_message().unwrap() {
                if message == ToWorker::AskAlive {
                    self.say(place, &ToSupervisor::Alive);
                } else if let ToWorker::Query { number, .. } = message {
                    if place == ASKER {
                        self.say(place, &ToSupervisor::Found { number, finding: Finding::Nothing });
                    }
                } else if let ToWorker::Ask(question) = message {
                    self.begin_answer(place, &question);
                } else if let ToWorker::Found { number, worker, finding } = message {
                    all.push((number, worker, finding));
                }
            }
        }
        all
    }

    /// Begins an answer that is long, and does not end it, if that is wanted.
    fn begin_answer(&mut self, place: usize, Question { number, about }: &Question) {
        let content = if *about == About::Metrics && place == ASKER && !self.labels.is_empty() {
            let series = Series { part: Part::Value, labels: self.labels.clone() };
            let samples = vec![Samples { family: 0, values: vec![(series, 1.0)] }];
            Content::Metrics { samples, last: true }
        } else if !self.begins {
            return;
        } else if *about == About::Metrics {
            Content::Metrics { samples: Vec::new(), last: false }
        } else if let About::Connections { from: 0, .. } = about {
            Content::Rows(Rows { text: "{}\n".to_owned(), matched: 1, next: Some(1) })
        } else if let About::Ends { from: None, .. } = about {
            let row = EndRow { at: 1, number: 1, text: "{}".to_owned() };
            let next = Some(Place { number: 1, at: 0, moves: 0 });
            Content::Ends(EndRows { rows: vec![row], next, kept: Kept::default() })
        } else {
            return;
        };
        self.say(place, &ToSupervisor::Answer(Answer { number: *number, content }));
    }

    /// What is found, and by which worker, for a query of the first worker's client; and how long that took.
    fn ask(&mut self, query: Query, outstanding: usize) -> (BTreeMap<u32, Finding>, Duration) {
        let begun = self.now();
        self.say(ASKER, &ToSupervisor::Query { number: NUMBER, worker: None, query });
        let mut all = BTreeMap::new();
        while all.len() < outstanding && self.now().since(begun) < PATIENCE * 4 {
            for (number, worker, finding) in self.turn() {
                assert_eq!(number, NUMBER);
                assert_eq!(all.insert(worker, finding), None, "each says one thing");
            }
        }
        (all, self.now().since(begun))
    }

    /// What the admin interface answers, and how long that took. The close, which follows, is not counted.
    fn request(&mut self, request: &str) -> (String, Duration) {
        let head = " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let Answered { text, took, .. } = self.exchange(&format!("{request}{head}"));
        (text, took)
    }

    /// Sends a request on a new connection of the admin interface.
    fn connect(&self, request: &str) -> usize {
        let client = {
            let world = &mut self.stage.borrow_mut().world;
            let host = world.add_host(20_000);
            world.connect(host, ADMIN, 0, SIZES)
        };
        Self::pass(&self.stage, Duration::from_millis(1));
        let world = &mut self.stage.borrow_mut().world;
        let sent = world.act(client, Side::Theirs, |sock, now, out| sock.send(request.as_bytes(), now, out));
        assert_eq!(sent, Some(Sent::Bytes(request.len())));
        client
    }

    /// All that has come on a connection of the admin interface.
    fn take(&self, client: usize) -> String {
        Self::pass(&self.stage, Duration::from_millis(1));
        let (mut all, mut buffer) = (Vec::new(), vec![0; 65_536]);
        let world = &mut self.stage.borrow_mut().world;
        while let Some(Received::Bytes(count)) =
            world.act(client, Side::Theirs, |sock, _, out| sock.recv(&mut buffer, out))
        {
            all.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8(all).unwrap()
    }

    /// What a worker is told in a few turns.
    fn heard(&mut self, place: usize) -> Vec<ToWorker> {
        let mut heard = Vec::new();
        for _ in 0..5 {
            self.supervisor.turn().unwrap();
            Self::pass(&self.stage, Duration::from_millis(1));
            while self.workers[place].receive() == Ok(More::Maybe) {}
            while let Some(message) = self.workers[place].next_message().unwrap() {
                heard.push(message);
            }
        }
        heard
    }

    /// Ends the process of a worker.
    fn end(&mut self, place: usize) {
        {
            let world = &mut self.stage.borrow_mut().world;
            // The supervisor's process is the first one.
            world.processes[1 + place].exit = Some(Exit { success: true, text: "exit status: 0".to_owned() });
            world.raise(0, Signal::Child);
        }
        self.turn();
        // What waits for the other worker, which does not answer, goes on.
        Self::pass(&self.stage, PATIENCE);
        self.turn();
    }

    /// The number of the last question that a worker is asked in a few turns.
    fn asked(&mut self, place: usize) -> Option<u64> {
        self.heard(place).iter().rev().find_map(|message| {
            let ToWorker::Ask(question) = message else { return None };
            Some(question.number)
        })
    }

    /// What becomes of a connection of the admin interface on which that is sent.
    fn exchange(&mut self, request: &str) -> Answered {
        let client = self.connect(request);
        let begun = self.now();
        let (mut all, mut buffer, mut took) = (Vec::new(), vec![0; 65_536], Duration::MAX);
        let is_over = loop {
            self.turn();
            let world = &mut self.stage.borrow_mut().world;
            match world.act(client, Side::Theirs, |sock, _, out| sock.recv(&mut buffer, out)) {
                Some(Received::Bytes(count)) => {
                    all.extend_from_slice(&buffer[..count]);
                    took = world.instant().since(begun);
                }
                Some(Received::WouldBlock) if world.instant().since(begun) < PATIENCE * 4 => {}
                received => break received == Some(Received::Eof),
            }
        };
        Answered { text: String::from_utf8(all).unwrap(), took, is_over }
    }
}

/// What became of a connection of the admin interface.
struct Answered {
    text: String,
    /// How long it took until the last of it.
    took: Duration,
    /// The server has sent a FIN.
    is_over: bool,
}

#[test]
fn a_query_of_a_client_does_not_wait_for_a_worker_that_does_not_answer() {
    let mut setup = Setup::new();
    let (id, token) = (b"dev".to_vec(), Vec::new());
    let (role, key, peer) = (Role::Holder, "2.0-1".to_owned(), "a:1".to_owned());
    let listener = "resp".to_owned();
    let claimed = id.clone();
    setup.say(
        SILENT,
        &ToSupervisor::Claim { role, number: 1, at: 1, id: claimed, token, key, peer, listener },
    );
    setup.say(SILENT, &ToSupervisor::Listens(Topic::Channel(b"news".to_vec())));
    setup.turn();
    let key = GlobalKey { worker: Some(2), index: 0, generation: 1 };
    let kill = KillFilter::EVERYBODY;
    let queries = [
        (Query::Send { id: id.clone(), payload: b"x".to_vec() }, 1),
        (Query::Name { key, id }, 1),
        (Query::Subscribers { channels: vec![b"news".to_vec()] }, 2),
        (Query::Clients { filter: ClientFilter::All, from: None }, 2),
        (Query::Clients { filter: ClientFilter::Key(key), from: None }, 1),
        (
            Query::Kill {
                filter: kill,
                by: By { key: "1.0-1".to_owned(), peer: "a:2".to_owned(), identity: None },
                from: None,
            },
            2,
        ),
        (Query::Info, 3),
    ];
    for (query, outstanding) in queries {
        let what = format!("{query:?}");
        let (found, took) = setup.ask(query, outstanding);
        assert_eq!(found.len(), outstanding, "{what}: {found:?}");
        assert_eq!(found.get(&2), Some(&Finding::Silent), "{what}: {found:?}");
        assert!(took < PATIENCE, "{what} took {took:?}");
    }
}

#[test]
fn a_request_at_the_admin_interface_does_not_wait_for_workers_that_do_not_answer() {
    let connection = format!("/connections/2.{}", Key { index: 0, generation: 1 });
    let requests = [
        ("GET /readyz".to_owned(), "503", "worker 1: does not answer"),
        ("GET /metrics".to_owned(), "200", "linger_worker_up{worker=\"2\"} 0"),
        ("GET /audit".to_owned(), "200", "\"unanswered_workers\":[1,2]"),
        ("GET /connections".to_owned(), "200", "\"unanswered_workers\":[1,2]"),
        ("GET /ends".to_owned(), "200", "\"unanswered_workers\":[1,2]"),
        ("GET /upstreams".to_owned(), "200", "\"unanswered_workers\":[1,2]"),
        (format!("POST {connection}/end"), "503", "does not answer"),
    ];
    // The second time, some answers are begun and not ended.
    let mut wrong = Vec::new();
    for begins in [false, true] {
        let mut setup = Setup { begins, ..Setup::new() };
        for (request, status, part) in &requests {
            let (answer, took) = setup.request(request);
            let is_right = answer.contains(&format!(" {status} ")) && answer.contains(part);
            if !is_right || took >= PATIENCE {
                wrong.push(format!("{request} took {took:?}: {answer}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What one who watches is told when a worker ends whose last event has the number 5, and which has told up to that number;
/// and whether the worker was let go.
fn told_at_the_end_of_a_worker(read: u64) -> (String, bool) {
    let mut setup = Setup::new();
    let client = setup.connect("GET /events HTTP/1.0\r\n\r\n");
    let mut asked = setup.asked(SILENT);
    let mut answer = |setup: &mut Setup, read| {
        let number = asked.take().unwrap_or_else(|| setup.asked(SILENT).expect("it is asked again"));
        let read = Position { number: read, place: None };
        let rows = EventRows { rows: Vec::new(), read, missed: Some(0), is_dropped: false, more: false };
        setup.say(SILENT, &ToSupervisor::Answer(Answer { number, content: Content::Events(rows) }));
    };
    answer(&mut setup, 2);
    setup.say(SILENT, &ToSupervisor::Leaving { last: 5 });
    if read > 2 {
        answer(&mut setup, read);
    }
    let is_let_go = setup.heard(SILENT).contains(&ToWorker::Leave { last: 5 });
    setup.end(SILENT);
    (setup.take(client), is_let_go)
}

#[test]
fn what_happens_at_a_worker_behind_its_last_word_is_told_or_said_to_be_missing() {
    for tells in [true, false] {
        let mut setup = Setup::new();
        let client = setup.connect("GET /events HTTP/1.0\r\n\r\n");
        let answer = |setup: &mut Setup, read| {
            let number = setup.asked(SILENT).expect("it is asked");
            let read = Position { number: read, place: None };
            let rows = EventRows { rows: Vec::new(), read, missed: Some(0), is_dropped: false, more: false };
            setup.say(SILENT, &ToSupervisor::Answer(Answer { number, content: Content::Events(rows) }));
        };
        answer(&mut setup, 5);
        setup.heard(SILENT);
        setup.say(SILENT, &ToSupervisor::Leaving { last: 5 });
        answer(&mut setup, 5);
        assert!(setup.heard(SILENT).contains(&ToWorker::Leave { last: 5 }));
        // It has crossed that.
        setup.say(SILENT, &ToSupervisor::Leaving { last: 7 });
        if tells {
            answer(&mut setup, 7);
        }
        let is_let_go = setup.heard(SILENT).contains(&ToWorker::Leave { last: 7 });
        setup.end(SILENT);
        let text = setup.take(client);
        assert_eq!((is_let_go, !text.contains("event: dropped")), (tells, tells), "{text}");
        assert!(tells || text.contains("\"missed\":2"), "{text}");
    }
}

#[test]
fn what_a_worker_could_not_tell_before_its_end_is_said_to_be_missing() {
    let (text, is_let_go) = told_at_the_end_of_a_worker(5);
    assert!(is_let_go && text.contains("event: start") && !text.contains("event: dropped"), "{text}");
    let (text, is_let_go) = told_at_the_end_of_a_worker(2);
    assert!(!is_let_go && text.contains("event: dropped") && text.contains("\"missed\":3"), "{text}");
}

/// Of an answer whose end is the close (HTTP/1.0), the last piece may be empty: where the one before it ends with the page.
#[test]
fn a_page_of_any_length_is_followed_by_the_close() {
    const REQUEST: &str = "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n";
    let page = |labels: usize| {
        let mut setup = Setup { labels: format!("{{a=\"{}\"}}", "b".repeat(labels)), ..Setup::new() };
        setup.exchange(REQUEST)
    };
    let text = page(0).text;
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let last_line = body.trim_end().rsplit('\n').next().unwrap();
    // From one whose last sample is the first of its second piece to one whose last sample ends the first.
    let up_to = 16_384 - body.len();
    for labels in up_to - 2..up_to + last_line.len() + 3 {
        let Answered { text, is_over, .. } = page(labels);
        assert!(text.trim_end().ends_with(last_line), "{labels}: {text}");
        assert!(is_over, "{labels} bytes of labels: {} bytes, and no close", text.len());
    }
}
