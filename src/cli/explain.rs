//! `linger explain`: pages of the guide, keys of the configuration, and what the words of a record mean; [`findings`] has those of the tools.

mod findings;

use super::lang::LangArgs;
use super::{console, print, usage_mistake};
use crate::config;
use crate::core::end::{CloseMode, Detector, Reason};
use crate::core::nearest::did_you_mean;
use crate::guide::meaning::{self, Meaning};
use crate::guide::{Language, PAGES, Page, index};
use clap::Args;
use std::fmt::Write as _;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  linger explain                  all topics
  linger explain closing | less
  linger explain stuck.frozen     what a reason means, what usually lies behind it, and what to do
  linger explain heartbeat.timeout   a key of the configuration: its values, its default, where it may stand
  linger explain queued_ghost     what a finding of an audit means, and what to do
  linger explain TIME_WAIT        the page that answers: also of CLOSE_WAIT, 10054, EPIPE, heartbeat ...
  linger explain 心跳 --lang zh";

/// Of a list of names.
const COLUMNS: usize = 100;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A page, a key of the configuration, a name as records of endings have it, or what you see: a state, an error, its number;
    /// several, one after the other
    topic: Vec<String>,
    #[command(flatten)]
    lang: LangArgs,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let language = arguments.lang.language();
    if arguments.topic.is_empty() {
        return print(topics(language).as_bytes());
    }
    match all_explained(&arguments.topic, language) {
        Ok(text) => print(text.as_bytes()),
        Err(topic) => {
            console::err(unknown(topic));
            usage_mistake()
        }
    }
}

/// What all of these mean, each page once; or the first of them that means nothing. What was not quoted is one topic, if it
/// is known as one: `connection reset by peer`.
fn all_explained(words: &[String], language: Language) -> Result<String, &str> {
    if let Some(text) = explained(&words.join(" "), language) {
        return Ok(text);
    }
    let mut texts: Vec<String> = Vec::new();
    for word in words {
        let text = explained(word, language).ok_or(word.as_str())?;
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    Ok(texts.join("\n"))
}

/// What there is to explain.
fn topics(language: Language) -> String {
    let headings = match language {
        Language::English => [
            "Pages of the guide, in English and Chinese (--lang zh):",
            "What one sees of TCP:",
            "Reasons of endings:",
            "Detectors, and ways of closing:",
            "Findings of audits, and what 'linger doctor' looks at:",
            "Keys of the configuration ('linger config' has all of them with their reasons):",
            "Words that lead to a page:",
        ],
        Language::Chinese => [
            "指南（中文；--lang en 为英文）：",
            "TCP 的现象：",
            "连接结束的原因：",
            "检测手段与关闭方式：",
            "审计的发现，以及 'linger doctor' 检查的内容：",
            "配置项（英文；'linger config' 列出全部及其理由）：",
            "这些词各有对应的页面：",
        ],
    };
    let [pages, phenomena, reasons, detectors, findings, keys, words] = headings;
    let mut text = format!("{pages}\n");
    let list = |text: &mut String, phenomena: bool| {
        for page in PAGES.iter().filter(|page| page.is_phenomenon() == phenomena) {
            let _ = writeln!(text, "  {:<12} {}", page.topic, page.title(language));
        }
    };
    list(&mut text, false);
    let _ = writeln!(text, "\n{phenomena}");
    list(&mut text, true);
    let _ = writeln!(text, "\n{reasons}");
    for &reason in Reason::ALL {
        let subject = match language {
            Language::English => "The client ",
            Language::Chinese => "客户端",
        };
        let _ = writeln!(text, "  {:<26} {subject}{}", reason.name(), meaning::of(reason, language).what);
    }
    let _ = writeln!(text, "\n{detectors}");
    names(&mut text, Detector::ALL.iter().map(|detector| detector.name()));
    names(&mut text, CloseMode::ALL.iter().map(|mode| mode.name()));
    if cfg!(any(feature = "audit", feature = "doctor")) {
        let _ = writeln!(text, "\n{findings}");
        names(&mut text, findings::of_audit());
        names(&mut text, findings::of_doctor());
    }
    let _ = writeln!(text, "\n{keys}");
    names(&mut text, config::key_names().into_iter());
    let _ = writeln!(text, "\n{words}");
    for (topic, words) in index::ALIASES {
        let _ = writeln!(text, "  {topic:<12} {}", words.join(", "));
    }
    text
}

/// Names, as many in a line as it has room for.
fn names(text: &mut String, names: impl Iterator<Item = impl AsRef<str>>) {
    let mut line = String::from(" ");
    for name in names {
        let name = name.as_ref();
        if line.len() + 1 + name.len() > COLUMNS {
            let _ = writeln!(text, "{line}");
            line = String::from(" ");
        }
        line.push(' ');
        line.push_str(name);
    }
    let _ = writeln!(text, "{line}");
}

/// What a topic means. One word may be that of a record, a key of the configuration and one that leads to a page, which is
/// the longest.
fn explained(topic: &str, language: Language) -> Option<String> {
    if let Some(&reason) = Reason::ALL.iter().find(|reason| reason.name() == topic) {
        return Some(of_reason(reason, language));
    }
    let detector = Detector::ALL.iter().find(|detector| detector.name() == topic);
    let detector = detector.map(|&detector| (of_detector(detector, language), index::of_detector(detector)));
    let mode = CloseMode::ALL.iter().find(|mode| mode.name() == topic);
    let word = detector.or(mode.map(|&mode| (of_close(mode, language), index::of_close(mode))));
    let page = index::page_for(topic).map(|page| whole(page, language));
    let word = word.map(|(sentence, about)| match page {
        Some(_) => sentence,
        None => sentence + &more(about, language),
    });
    let key = config::explain_key(topic).map(|key| key + &reasons_of(topic));
    let parts: Vec<_> = [word, key, page].into_iter().flatten().collect();
    if !parts.is_empty() {
        return Some(parts.join("\n"));
    }
    let finding = findings::explained(topic, language);
    let finding = finding.map(|(sentences, about)| format!("{sentences}\n{}", more(about, language)));
    finding.or_else(|| config::explain_part(topic))
}

/// The reasons that have the name of a key as a part of theirs.
fn reasons_of(key: &str) -> String {
    let names = Reason::ALL.iter().map(|reason| reason.name());
    let names: Vec<_> = names.filter(|name| name.split('.').any(|part| part == key)).collect();
    if names.is_empty() {
        String::new()
    } else {
        format!("A reason has that name, too: {}.\n", names.join(", "))
    }
}

fn of_reason(reason: Reason, language: Language) -> String {
    let Meaning { what, usually, advice } = meaning::of(reason, language);
    let page = page_in(index::of_reason(reason), language);
    match language {
        Language::English => format!(
            "{reason}: the client {what}\n\nUsually: {usually}\nWhat to do: {advice}\n\n{page} has what lies behind it; \
             'linger why TARGET --reason {reason}' tells whose connections ended so.\n"
        ),
        Language::Chinese => format!(
            "{reason}：客户端{what}\n\n常见原因：{usually}\n怎么办：{advice}\n\n来龙去脉见 {page}；\
             'linger why TARGET --reason {reason}' 列出哪些连接这样结束。\n"
        ),
    }
}

fn of_detector(detector: Detector, language: Language) -> String {
    let noticed = meaning::noticed(detector, language);
    match language {
        Language::English => format!("{detector}, a detector: {noticed}\n"),
        Language::Chinese => format!("{detector}，检测手段：{noticed}\n"),
    }
}

fn of_close(mode: CloseMode, language: Language) -> String {
    let closed = meaning::closed(mode, language);
    match language {
        Language::English => format!("{mode}, a way of closing: {closed}\n"),
        Language::Chinese => format!("{mode}，关闭方式：{closed}\n"),
    }
}

/// Where there is more.
fn more(topic: &str, language: Language) -> String {
    let page = page_in(topic, language);
    match language {
        Language::English => format!("{page} has more.\n"),
        Language::Chinese => format!("详见 {page}。\n"),
    }
}

/// What to type for a page.
fn page_in(topic: &str, language: Language) -> String {
    match language {
        Language::English => format!("'linger explain {topic}'"),
        Language::Chinese => format!("'linger explain {topic} --lang zh'"),
    }
}

fn whole(page: &Page, language: Language) -> String {
    let lines: Vec<_> = page.lines(language).collect();
    format!("{}\n", lines.join("\n"))
}

/// What is said of a topic that there is not.
fn unknown(topic: &str) -> String {
    let reasons = Reason::ALL.iter().map(|reason| reason.name());
    let pages = PAGES.iter().map(|page| page.topic);
    let others = Detector::ALL.iter().map(|detector| detector.name());
    let others = others.chain(CloseMode::ALL.iter().map(|mode| mode.name()));
    let others = others.chain(findings::of_audit()).chain(findings::of_doctor());
    let aliases = index::ALIASES.iter().flat_map(|(_, words)| words.iter().copied());
    let known = reasons.chain(pages).chain(others).chain(aliases).map(str::to_owned);
    let meant = did_you_mean(topic, known.chain(config::key_names()));
    format!("linger: explain: {topic} is not a topic; {meant}'linger explain' lists them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_words_are_one_topic_or_each_its_own() {
        let all = |words: &str| {
            let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
            all_explained(&words, Language::English).map_err(str::to_owned)
        };
        let one = |word| explained(word, Language::English).unwrap();
        assert_eq!(all("connection reset by peer"), Ok(one("10054")));
        assert_eq!(
            all("TIME_WAIT 10054 ECONNRESET"),
            Ok(one("time_wait") + "\n" + &one("windows")),
            "each page once"
        );
        assert_eq!(all("TIME_WAIT nothing").unwrap_err(), "nothing");
    }

    #[test]
    fn every_word_of_a_record_is_explained_and_listed() {
        let names = Reason::ALL.iter().map(|reason| reason.name());
        let names = names.chain(Detector::ALL.iter().map(|detector| detector.name()));
        let names = names.chain(CloseMode::ALL.iter().map(|mode| mode.name()));
        let names = names.chain(findings::of_audit()).chain(findings::of_doctor());
        let names = names.chain(PAGES.iter().map(|page| page.topic)).map(str::to_owned);
        let names: Vec<_> = names.chain(config::key_names()).collect();
        for language in [Language::English, Language::Chinese] {
            let listed = topics(language);
            for name in &names {
                assert!(listed.contains(&format!(" {name}")), "{name}");
                assert!(explained(name, language).is_some_and(|text| text.ends_with('\n')), "{name}");
            }
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
        assert_ne!(said("closing", english), said("closing", chinese));
        let frozen = said("frozen", english);
        assert!(frozen.starts_with("frozen, a key of the configuration: "), "{frozen}");
        assert!(frozen.ends_with("\nA reason has that name, too: stuck.frozen.\n"), "{frozen}");
        // A detector by that name, and a word for the page.
        assert!(said("heartbeat", english).starts_with("heartbeat, a detector: "));
        assert!(said("heartbeat", english).ends_with(&said("heartbeats", english)));
        assert_eq!(said("presence", english), said("commands", english));
        assert!(said("lost.keepalive", english).contains("'linger explain ghosts' has what lies behind it"));
    }

    #[test]
    fn in_chinese_the_words_of_records_are_told_in_chinese_and_lead_to_chinese_pages() {
        let said = |word| explained(word, Language::Chinese).unwrap();
        assert!(said("stuck.frozen").starts_with("stuck.frozen：客户端卡死："));
        for part in ["\n常见原因：", "\n怎么办：", "见 'linger explain heartbeats --lang zh'；"] {
            assert!(said("stuck.frozen").contains(part), "{part}");
        }
        assert!(said("protocol.tls").contains("见 'linger explain tls --lang zh'；"));
        assert!(said("zero_read").starts_with("zero_read，检测手段："));
        assert!(said("zero_read").ends_with("详见 'linger explain close_wait --lang zh'。\n"));
        assert!(said("linger2").starts_with("linger2，关闭方式："));
        // A detector by that name, and a word for the page.
        assert!(said("heartbeat").ends_with(&said("heartbeats")));
        let listed = topics(Language::Chinese);
        let headings = listed.lines().filter(|line| !line.is_empty() && !line.starts_with(' '));
        assert!(headings.clone().count() >= 5);
        assert!(headings.clone().all(|line| line.ends_with('：')), "{listed}");
        for &reason in Reason::ALL {
            let what = meaning::of(reason, Language::Chinese).what;
            assert!(listed.contains(&format!(" 客户端{what}\n")), "{reason}");
        }
    }

    #[test]
    fn an_unknown_word_has_the_nearest_ones_beside_it() {
        for (topic, said) in [
            ("stuck.frozn", "did you mean stuck.frozen? "),
            ("closng", "did you mean closing? "),
            ("heartbeat.timout", "did you mean heartbeat.timeout? "),
            ("lost.hartbeat", "did you mean lost.heartbeat? "),
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
            let Meaning { usually, advice, .. } = meaning::of(reason, Language::English);
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
