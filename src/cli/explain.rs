//! `linger explain`: pages of the guide, and what the words of a record mean.

use super::{console, print, usage_mistake};
use crate::config;
use crate::core::end::{CloseMode, Detector, Reason};
use crate::guide::meaning::{self, Meaning};
use crate::guide::{self, PAGES};
use std::fmt::Write as _;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  linger explain                  all topics
  linger explain closing | less
  linger explain stuck.frozen     what a reason means, what usually lies behind it, and what to do";

pub(super) fn run(topic: Option<&str>) -> ExitCode {
    match topic {
        None => print(topics().as_bytes()),
        Some(topic) => {
            let Some(text) = explained(topic) else {
                console::err(unknown(topic));
                return usage_mistake();
            };
            print(text.as_bytes())
        }
    }
}

/// What there is to explain.
fn topics() -> String {
    let mut text = String::from("Pages of the guide:\n");
    for page in PAGES {
        let _ = writeln!(text, "  {:<12} {}", page.topic, page.title());
    }
    text.push_str("\nReasons of endings:\n");
    for &reason in Reason::ALL {
        let _ = writeln!(text, "  {:<26} The client {}", reason.name(), meaning::of(reason).what);
    }
    let names = |text: &mut String, names: &mut dyn Iterator<Item = &'static str>| {
        let names: Vec<_> = names.collect();
        let _ = writeln!(text, "  {}", names.join(" "));
    };
    text.push_str("\nDetectors, and ways of closing:\n");
    names(&mut text, &mut Detector::ALL.iter().map(|detector| detector.name()));
    names(&mut text, &mut CloseMode::ALL.iter().map(|mode| mode.name()));
    text
}

fn explained(topic: &str) -> Option<String> {
    if let Some(page) = guide::page(topic) {
        let lines: Vec<_> = page.lines().collect();
        return Some(format!("{}\n", lines.join("\n")));
    }
    if let Some(&reason) = Reason::ALL.iter().find(|reason| reason.name() == topic) {
        let Meaning { what, usually, advice } = meaning::of(reason);
        return Some(format!(
            "{reason}: the client {what}\n\nUsually: {usually}\nWhat to do: {advice}\n\nlinger why TARGET --reason {reason} \
             tells whose connections ended so; linger explain endings has all reasons.\n"
        ));
    }
    let detector = Detector::ALL.iter().find(|detector| detector.name() == topic);
    let mode = CloseMode::ALL.iter().find(|mode| mode.name() == topic);
    let detector =
        detector.map(|detector| format!("{detector}, a detector: {}\n", meaning::noticed(*detector)));
    detector.or_else(|| mode.map(|mode| format!("{mode}, a way of closing: {}\n", meaning::closed(*mode))))
}

/// What is said of a topic that there is not.
fn unknown(topic: &str) -> String {
    let reasons = Reason::ALL.iter().map(|reason| reason.name());
    // Who knows only one half of it, such as "frozen" or "lost".
    let halves: Vec<_> = reasons.clone().filter(|name| name.split('.').any(|half| half == topic)).collect();
    let pages = PAGES.iter().map(|page| page.topic);
    let others = Detector::ALL.iter().map(|detector| detector.name());
    let others = others.chain(CloseMode::ALL.iter().map(|mode| mode.name()));
    let near = config::nearest(topic, reasons.chain(pages).chain(others));
    let meant = match (halves.as_slice(), near) {
        ([], Some(near)) => format!("did you mean {near}? "),
        ([], None) => String::new(),
        (halves, _) => format!("did you mean {}? ", halves.join(", ")),
    };
    format!("linger: explain: {topic} is not a topic; {meant}'linger explain' lists them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_a_record_is_explained_and_listed() {
        let names = Reason::ALL.iter().map(|reason| reason.name());
        let names = names.chain(Detector::ALL.iter().map(|detector| detector.name()));
        let names = names.chain(CloseMode::ALL.iter().map(|mode| mode.name()));
        let listed = topics();
        for name in names.chain(PAGES.iter().map(|page| page.topic)) {
            assert!(listed.contains(&format!(" {name}")), "{name}");
            assert!(explained(name).is_some_and(|text| text.ends_with('\n')), "{name}");
        }
        assert!(explained("stuck.frozen").unwrap().starts_with("stuck.frozen: the client was stuck: "));
    }

    #[test]
    fn an_unknown_word_has_the_nearest_ones_beside_it() {
        for (topic, said) in [
            ("stuck.frozn", "did you mean stuck.frozen? "),
            ("closng", "did you mean closing? "),
            ("frozen", "did you mean stuck.frozen? "),
            ("slow", "did you mean slow.bytes, slow.time? "),
        ] {
            assert!(unknown(topic).contains(said), "{}", unknown(topic));
        }
        assert!(unknown("zzz").ends_with("zzz is not a topic; 'linger explain' lists them"));
    }

    /// Words with an underscore or a dot are keys, but for these, and what is in capitals.
    #[test]
    fn what_is_advised_to_be_set_can_be_set() {
        const OTHERS: [&str; 3] = ["close_notify", "by_peer", "log_in_failed"];
        let keys = config::template();
        let mut count = 0;
        for &reason in Reason::ALL {
            let Meaning { usually, advice, .. } = meaning::of(reason);
            let words = usually.split(' ').chain(advice.split(' '));
            let words = words.map(|word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()));
            let is_name =
                |word: &&str| word.contains(['_', '.']) && !word.contains(|c: char| c.is_ascii_uppercase());
            for word in words.filter(is_name) {
                if !OTHERS.contains(&word) {
                    let key = word.rsplit('.').next().unwrap_or(word);
                    assert!(keys.contains(&format!("{key} = ")), "{reason}: {word}");
                    count += 1;
                }
            }
        }
        assert!(count > 10, "{count}");
    }
}
