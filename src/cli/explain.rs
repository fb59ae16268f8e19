//! `linger explain`: pages of the guide, and what the words of a record mean.

use super::{console, print, usage_mistake};
use crate::config;
use crate::core::end::{CloseMode, Detector, Reason};
use crate::guide::meaning::{self, Meaning};
use crate::guide::{Language, PAGES, Page, index};
use clap::{Args, ValueEnum};
use std::fmt::Write as _;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  linger explain                  all topics
  linger explain closing | less
  linger explain stuck.frozen     what a reason means, what usually lies behind it, and what to do
  linger explain TIME_WAIT        the page that answers: also of CLOSE_WAIT, 10054, EPIPE, heartbeat ...
  linger explain 心跳 --lang zh";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A page, a name as records of endings have it, or what you see: a state, an error, its number
    topic: Option<String>,
    /// The language of pages; without it, that of `LC_ALL`, `LC_MESSAGES` or `LANG`
    ///
    /// Pages about phenomena are there in Chinese, too. The others are printed in English.
    #[arg(long, value_name = "LANGUAGE")]
    lang: Option<Lang>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Lang {
    /// English
    En,
    /// 中文: Simplified Chinese
    Zh,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let language = match arguments.lang {
        Some(Lang::En) => Language::English,
        Some(Lang::Zh) => Language::Chinese,
        None => Language::of_environment(|name| std::env::var(name).ok()),
    };
    match arguments.topic.as_deref() {
        None => print(topics(language).as_bytes()),
        Some(topic) => {
            let Some(text) = explained(topic, language) else {
                console::err(unknown(topic));
                return usage_mistake();
            };
            print(text.as_bytes())
        }
    }
}

/// What there is to explain.
fn topics(language: Language) -> String {
    let mut text = String::from("Pages of the guide:\n");
    let list = |text: &mut String, phenomena: bool| {
        for page in PAGES.iter().filter(|page| page.is_phenomenon() == phenomena) {
            let _ = writeln!(text, "  {:<12} {}", page.topic, page.title(language));
        }
    };
    list(&mut text, false);
    text.push_str("\nWhat one sees of TCP, in English and Chinese (--lang zh):\n");
    list(&mut text, true);
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
    text.push_str("\nWords that lead to a page:\n");
    for (topic, words) in index::ALIASES {
        let _ = writeln!(text, "  {topic:<12} {}", words.join(", "));
    }
    text
}

fn explained(topic: &str, language: Language) -> Option<String> {
    if let Some(&reason) = Reason::ALL.iter().find(|reason| reason.name() == topic) {
        let Meaning { what, usually, advice } = meaning::of(reason);
        return Some(format!(
            "{reason}: the client {what}\n\nUsually: {usually}\nWhat to do: {advice}\n\n'linger explain {}' has what lies \
             behind it; 'linger why TARGET --reason {reason}' tells whose connections ended so.\n",
            index::of_reason(reason)
        ));
    }
    let detector = Detector::ALL.iter().find(|detector| detector.name() == topic).map(|&detector| {
        (format!("{detector}, a detector: {}\n", meaning::noticed(detector)), index::of_detector(detector))
    });
    let mode = CloseMode::ALL.iter().find(|mode| mode.name() == topic).map(|&mode| {
        (format!("{mode}, a way of closing: {}\n", meaning::closed(mode)), index::of_close(mode))
    });
    let page = index::page_for(topic);
    match (detector.or(mode), page) {
        // A word of records that people search for as well.
        (Some((sentence, _)), Some(page)) => Some(format!("{sentence}\n{}", whole(page, language))),
        (Some((sentence, about)), None) => Some(format!("{sentence}'linger explain {about}' has more.\n")),
        (None, page) => page.map(|page| whole(page, language)),
    }
}

fn whole(page: &Page, language: Language) -> String {
    let lines: Vec<_> = page.lines(language).collect();
    format!("{}\n", lines.join("\n"))
}

/// What is said of a topic that there is not.
fn unknown(topic: &str) -> String {
    let reasons = Reason::ALL.iter().map(|reason| reason.name());
    // Who knows only one half of it, such as "frozen" or "lost".
    let halves: Vec<_> = reasons.clone().filter(|name| name.split('.').any(|half| half == topic)).collect();
    let pages = PAGES.iter().map(|page| page.topic);
    let others = Detector::ALL.iter().map(|detector| detector.name());
    let others = others.chain(CloseMode::ALL.iter().map(|mode| mode.name()));
    let aliases = index::ALIASES.iter().flat_map(|(_, words)| words.iter().copied());
    let near = config::nearest(topic, reasons.chain(pages).chain(others).chain(aliases));
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
        let listed = topics(Language::English);
        for name in names.chain(PAGES.iter().map(|page| page.topic)) {
            assert!(listed.contains(&format!(" {name}")), "{name}");
            assert!(explained(name, Language::English).is_some_and(|text| text.ends_with('\n')), "{name}");
        }
        assert!(
            explained("stuck.frozen", Language::English)
                .unwrap()
                .starts_with("stuck.frozen: the client was stuck: ")
        );
    }

    #[test]
    fn what_is_searched_for_is_answered_by_its_page_in_the_language_asked_for() {
        let (english, chinese) = (Language::English, Language::Chinese);
        let said = |word, language| explained(word, language).unwrap();
        assert!(said("TIME_WAIT", english).starts_with("# "));
        assert_eq!(said("TIME_WAIT", english), said("time_wait", english));
        assert_ne!(said("TIME_WAIT", english), said("TIME_WAIT", chinese));
        assert_eq!(said("closing", english), said("closing", chinese), "there is no other");
        // A detector by that name, and a word for the page.
        assert!(said("heartbeat", english).starts_with("heartbeat, a detector: "));
        assert!(said("heartbeat", english).ends_with(&said("heartbeats", english)));
        assert!(said("lost.keepalive", english).contains("'linger explain ghosts' has what lies behind it"));
    }

    #[cfg(all(feature = "audit", feature = "doctor"))]
    #[test]
    fn every_finding_of_audit_and_doctor_names_a_page_that_is_there() {
        use crate::observe::audit::Anomaly;
        use crate::tools::{audit::explain::page, doctor};
        let anomalies = Anomaly::ALL.iter().map(|&anomaly| page(anomaly));
        let checks = doctor::CHECKS.iter().map(|check| check.page);
        let beliefs = doctor::FOLKLORE.iter().map(|belief| belief.page);
        for topic in anomalies.chain(checks).chain(beliefs) {
            assert!(crate::guide::page(topic).is_some(), "{topic}");
        }
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
