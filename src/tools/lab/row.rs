//! A row played: the fault, the wait, and what each means made of it.

use super::case::Case;
use super::expect::{Expected, Left, expected};
use super::method::Method;
use super::path::Path;
use super::settings::Settings;
use super::testbed::{Testbed, rest};
use crate::core::time::{Duration, Instant};
use crate::net::Fatal;
use crate::sys::process::monotonic;
use serde_json::Value;

/// How long the states of both ends have to stay the same after an ending, to be called what is left; and for how
/// long the lab waits for that.
const SETTLED: Duration = Duration::from_millis(500);
const SETTLED_MAX: Duration = Duration::from_secs(4);

/// How often the lab looks.
const LOOK: Duration = Duration::from_millis(25);

/// What came of a cell.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// The server ended the connection.
    Ended {
        /// Why, by its record.
        reason: String,
        /// Noticed by what.
        detector: String,
        /// How it was closed.
        close: String,
        /// From the fault to the record.
        latency: Duration,
        /// All of the record.
        record: Value,
    },
    /// It was suspected, and then revived.
    Revived,
    /// Nothing happened for so long.
    Unnoticed(Duration),
    /// The means has no part in this.
    NotApplicable,
}

/// One cell: a case, a means, what came of it, and whether that is right.
#[derive(Clone, PartialEq, Debug)]
pub struct Cell {
    /// The row.
    pub case: Case,
    /// The column.
    pub method: Method,
    /// What came of it.
    pub verdict: Verdict,
    /// What is left.
    pub left: Left,
    /// What was expected.
    pub expected: Expected,
    /// When the record was expected, at the earliest and at the latest.
    pub bounds: Option<(Duration, Duration)>,
    /// How quiet the connection may have been before the fault.
    pub quiet: Duration,
    /// What is not as expected; nothing if all is.
    pub wrong: Vec<String>,
}

/// A row: its cells, or why there are none.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// The row.
    pub case: Case,
    /// Its cells, in the order of the means asked for.
    pub cells: Vec<Cell>,
    /// What kept it from being played.
    pub failure: Option<String>,
}

impl Outcome {
    /// Whether all is as expected.
    pub fn is_right(&self) -> bool {
        self.failure.is_none() && self.cells.iter().all(|cell| cell.wrong.is_empty())
    }
}

/// Plays a row. `decided` is told of each cell that is decided.
pub fn play(case: Case, path: Path, methods: &[Method], settings: &Settings, decided: &dyn Fn()) -> Outcome {
    let settings = &case.settings(settings);
    let applies = |method: &&Method| expected(path, case, **method) != Expected::NotApplicable;
    let on_stage: Vec<Method> = methods.iter().filter(applies).copied().collect();
    for _ in on_stage.len()..methods.len() {
        decided();
    }
    let mut cells = Vec::new();
    let mut failure = None;
    if !on_stage.is_empty() {
        match try_play(case, path, &on_stage, settings, decided) {
            Ok(played) => cells = played,
            Err(fatal) => failure = Some(fatal.to_string()),
        }
    }
    let not_applicable = |method: Method| Cell {
        case,
        method,
        verdict: Verdict::NotApplicable,
        left: Left { server: "", client: "" },
        expected: Expected::NotApplicable,
        bounds: None,
        quiet: Duration::ZERO,
        wrong: Vec::new(),
    };
    if failure.is_none() {
        let all = methods.iter().map(|&method| {
            cells.iter().find(|cell| cell.method == method).cloned().unwrap_or_else(|| not_applicable(method))
        });
        cells = all.collect();
    }
    Outcome { case, cells, failure }
}

/// What is known of one connection while the lab looks.
struct Watch {
    end: Option<(Instant, Value)>,
    states: [&'static str; 2],
    /// Since when they are these.
    since: Instant,
    decided: bool,
}

fn try_play(
    case: Case,
    path: Path,
    methods: &[Method],
    settings: &Settings,
    decided: &dyn Fn(),
) -> Result<Vec<Cell>, Fatal> {
    let mut stage = Testbed::set(case, path, methods, settings)?;
    let deed = stage.fault()?;
    let quiet = stage.quiet(deed);
    let mut sequels = stage.sequels();
    let mut watches: Vec<Watch> =
        methods.iter().map(|_| Watch { end: None, states: ["", ""], since: deed, decided: false }).collect();
    let mut heard_until = deed;
    while watches.iter().any(|watch| !watch.decided) {
        let now = monotonic();
        for (_, sequel) in sequels.extract_if(.., |(after, _)| now.since(deed) >= *after) {
            stage.follow(sequel)?;
        }
        let sight = stage.look()?;
        heard_until = now;
        for (seat, watch) in stage.seats.iter().zip(&mut watches).filter(|(_, watch)| !watch.decided) {
            if watch.end.is_none() {
                watch.end = stage.server.end_of(&seat.listener, seat.client);
            }
            let states = sight.states(seat.server, seat.client);
            if states != watch.states {
                (watch.states, watch.since) = (states, now);
            }
            watch.decided = is_decided(watch, expected(path, case, seat.method), settings, quiet, deed, now);
            if watch.decided {
                decided();
            }
        }
        rest(LOOK);
    }
    if let Some(why) = stage.panic() {
        return Err(Fatal { what: "run the server".into(), why });
    }
    let seats = stage.seats.iter().zip(watches);
    let cells = seats.map(|(seat, watch)| {
        let expected = expected(path, case, seat.method);
        let verdict = match watch.end {
            Some((at, record)) => ended(at.since(deed), record),
            None if stage.presence(seat).windows(2).any(|two| two == ["suspect", "revived"]) => {
                Verdict::Revived
            }
            None => Verdict::Unnoticed(heard_until.since(deed)),
        };
        let left = Left { server: watch.states[0], client: watch.states[1] };
        let (bounds, mut wrong) = judge(&verdict, left, &expected, settings, quiet);
        if matches!(verdict, Verdict::Unnoticed(_)) && stage.is_cut_off(seat) {
            wrong.push("what was sent after the outage did not arrive".into());
        }
        Cell { case, method: seat.method, verdict, left, expected, bounds, quiet, wrong }
    });
    Ok(cells.collect())
}

/// Whether nothing more is to be learned about a connection.
fn is_decided(
    watch: &Watch,
    expected: Expected,
    settings: &Settings,
    quiet: Duration,
    deed: Instant,
    now: Instant,
) -> bool {
    if let Some((at, _)) = watch.end {
        // What the server has closed and its peer has not acknowledged is not going to stay like that.
        let orphan = matches!(watch.states[0], "FIN_WAIT1" | "CLOSING" | "LAST_ACK");
        let settled = now.since(watch.since.max(at)) >= SETTLED && !orphan;
        return settled || now.since(at) >= SETTLED_MAX;
    }
    now.since(deed) > patience(expected, settings, quiet)
}

/// How long to wait for an ending.
fn patience(expected: Expected, settings: &Settings, quiet: Duration) -> Duration {
    match expected {
        Expected::Ended { when, .. } => when.bounds(settings, quiet).1,
        Expected::Revived | Expected::Unnoticed(_) | Expected::NotApplicable => settings.horizon(),
        Expected::Either(all) => {
            all.iter().map(|one| patience(*one, settings, quiet)).max().unwrap_or_default()
        }
    }
}

/// What is not as expected, and when the ending was expected.
fn judge(
    verdict: &Verdict,
    left: Left,
    expected: &Expected,
    settings: &Settings,
    quiet: Duration,
) -> (Option<(Duration, Duration)>, Vec<String>) {
    match expected {
        Expected::Either(all) => {
            let judged = all.iter().map(|one| judge(verdict, left, one, settings, quiet));
            judged.min_by_key(|(_, wrong)| wrong.len()).unwrap_or_default()
        }
        Expected::Ended { when, .. } => {
            let bounds = Some(when.bounds(settings, quiet));
            (bounds, differences(verdict, left, expected, bounds))
        }
        Expected::Revived | Expected::Unnoticed(_) | Expected::NotApplicable => {
            (None, differences(verdict, left, expected, None))
        }
    }
}

fn ended(latency: Duration, record: Value) -> Verdict {
    let word = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
    Verdict::Ended {
        reason: word("reason"),
        detector: word("detector"),
        close: word("close"),
        latency,
        record,
    }
}

/// What of a cell is not as expected, in words.
fn differences(
    verdict: &Verdict,
    left: Left,
    expected: &Expected,
    bounds: Option<(Duration, Duration)>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |what: &str, got: &str, wanted: &str| {
        if got != wanted {
            let or_nothing =
                |word: &str| if word.is_empty() { "nothing".to_owned() } else { word.to_owned() };
            wrong.push(format!("{what} {} instead of {}", or_nothing(got), or_nothing(wanted)));
        }
    };
    let mut remains = |wanted: &Left| {
        check("left on the server", left.server, wanted.server);
        check("left on the client", left.client, wanted.client);
    };
    match (verdict, expected) {
        (
            Verdict::Ended { reason, detector, close, latency, .. },
            Expected::Ended { reason: why, detector: by, close: how, left: wanted, .. },
        ) => {
            remains(wanted);
            check("reason", reason, why.name());
            check("detector", detector, by.name());
            check("close", close, how.name());
            if let Some((earliest, latest)) = bounds
                && !(earliest..=latest).contains(latency)
            {
                wrong.push(format!("after {latency:.3?} instead of {earliest:.3?} to {latest:.3?}"));
            }
        }
        (Verdict::Unnoticed(_), Expected::Unnoticed(wanted)) => remains(wanted),
        (Verdict::Revived, Expected::Revived) | (Verdict::NotApplicable, Expected::NotApplicable) => {}
        (got, wanted) => wrong.push(format!("{} instead of {}", in_words(got), wanted.in_words())),
    }
    wrong
}

/// A verdict in a few words.
pub fn in_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Ended { reason, detector, close, latency, .. } => {
            format!("{reason}/{detector}/{close} after {latency:.3?}")
        }
        Verdict::Revived => "suspected and revived".into(),
        Verdict::Unnoticed(time) => format!("not noticed within {time:.1?}"),
        Verdict::NotApplicable => "not tried".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(reason: &str, latency: Duration) -> Verdict {
        ended(latency, json!({"reason": reason, "detector": "zero_read", "close": "peer_first"}))
    }

    const LEFT: Left = Left { server: "", client: "TIME_WAIT" };

    fn wrong(verdict: &Verdict, left: Left) -> Vec<String> {
        let expected = expected(Path::ALL[0], Case::Close, Method::Base);
        differences(verdict, left, &expected, Some((Duration::ZERO, Duration::from_secs(1))))
    }

    #[test]
    fn of_several_that_are_right_the_nearest_is_compared() {
        let settings = Settings::quick();
        let expected = expected(Path::ALL[0], Case::KillPaused, Method::Ping);
        assert!(matches!(expected, Expected::Either(_)));
        let gone = Left { server: "", client: "" };
        let judge = |verdict: &Verdict| judge(verdict, gone, &expected, &settings, Duration::ZERO);
        let reset = |detector, after| {
            ended(after, json!({"reason": "peer.reset", "detector": detector, "close": "reset"}))
        };
        let last = settings.heartbeat_timeout + settings.slack;
        for (detector, latest) in [("recv_error", settings.slack), ("tcp_info", last)] {
            assert_eq!(judge(&reset(detector, latest)), (Some((Duration::ZERO, latest)), Vec::new()));
        }
        assert_eq!(judge(&reset("recv_error", last)).1.len(), 1, "too late for that");
        assert_eq!(judge(&found("peer.fin", Duration::ZERO)).1.len(), 3, "neither of them");
        assert_eq!(judge(&Verdict::Unnoticed(last)).1.len(), 1);
        assert_eq!(patience(expected, &settings, Duration::ZERO), last);
    }

    #[test]
    fn a_cell_is_right_only_in_all_its_parts() {
        let soon = Duration::from_millis(3);
        assert_eq!(wrong(&found("peer.fin", soon), LEFT), [] as [String; 0]);
        assert_eq!(wrong(&found("peer.reset", soon), LEFT), ["reason peer.reset instead of peer.fin"]);
        assert_eq!(
            wrong(&found("peer.fin", soon), Left { server: "FIN_WAIT1", ..LEFT }),
            ["left on the server FIN_WAIT1 instead of nothing"]
        );
        assert_eq!(wrong(&found("peer.fin", Duration::from_secs(2)), LEFT).len(), 1, "too late");
        assert_eq!(wrong(&Verdict::Unnoticed(soon), LEFT).len(), 1);
        assert_eq!(wrong(&Verdict::Revived, LEFT).len(), 1);
    }
}
