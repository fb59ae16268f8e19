//! What each reason of an ending means to who operates the server: what happened, what usually lies behind it, and what to do.
//! `linger why`, `linger top` and the page of the admin interface say it in English, `linger explain` in Chinese, too. A reason
//! without its meaning in both languages does not compile.

mod chinese;
mod english;

use super::Language;
use crate::core::end::{CloseMode, Detector, Reason};

/// What a reason means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meaning {
    /// What happened, as the end of a sentence whose subject is the client.
    pub what: &'static str,
    /// What usually lies behind it.
    pub usually: &'static str,
    /// What to do.
    pub advice: &'static str,
}

const fn meaning(what: &'static str, usually: &'static str, advice: &'static str) -> Meaning {
    Meaning { what, usually, advice }
}

/// What a reason means.
pub const fn of(reason: Reason, language: Language) -> Meaning {
    match language {
        Language::English => english::of(reason),
        Language::Chinese => chinese::of(reason),
    }
}

/// How a detector noticed an ending, as a whole sentence.
pub const fn noticed(detector: Detector, language: Language) -> &'static str {
    match language {
        Language::English => english::noticed(detector),
        Language::Chinese => chinese::noticed(detector),
    }
}

/// How a socket was closed and what that leaves, as a whole sentence.
pub const fn closed(mode: CloseMode, language: Language) -> &'static str {
    match language {
        Language::English => english::closed(mode),
        Language::Chinese => chinese::closed(mode),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guide::names_kept;
    use std::collections::BTreeSet;

    const LANGUAGES: [Language; 2] = [Language::English, Language::Chinese];

    #[test]
    fn every_reason_has_its_own_meaning_in_whole_sentences() {
        for language in LANGUAGES {
            let ends: [char; 2] = match language {
                Language::English => ['.', '?'],
                Language::Chinese => ['。', '？'],
            };
            let mut seen = BTreeSet::new();
            for &reason in Reason::ALL {
                let Meaning { what, usually, advice } = of(reason, language);
                assert!(seen.insert(what), "{reason} means the same as another");
                for text in [what, usually, advice] {
                    assert!(
                        text.ends_with(ends) && text.len() > 7 && !text.contains("  "),
                        "{reason}: {text:?}"
                    );
                }
            }
            let noticed = Detector::ALL.iter().map(|&detector| noticed(detector, language));
            let closed = CloseMode::ALL.iter().map(|&mode| closed(mode, language));
            for text in noticed.chain(closed) {
                assert!(text.ends_with(ends) && seen.insert(text), "{text:?}");
            }
        }
    }

    #[test]
    fn a_meaning_goes_on_after_its_subject() {
        for &reason in Reason::ALL {
            let [english, chinese] = LANGUAGES.map(|language| of(reason, language).what);
            assert!(english.starts_with(|c: char| c.is_ascii_lowercase()), "{reason}: {english}");
            assert!(
                !chinese.is_ascii() && chinese.starts_with(|c: char| !c.is_ascii()),
                "{reason}: {chinese}"
            );
        }
    }

    #[test]
    fn chinese_names_what_english_names() {
        let same = |name: &str, texts: [&str; 2]| {
            let [english, chinese] = texts;
            assert_eq!(names_kept(english, chinese), Ok(()), "{name}: {english} {chinese}");
        };
        for &reason in Reason::ALL {
            let [english, chinese] = LANGUAGES.map(|language| of(reason, language));
            same(reason.name(), [english.what, chinese.what]);
            same(reason.name(), [english.usually, chinese.usually]);
            same(reason.name(), [english.advice, chinese.advice]);
        }
        for &detector in Detector::ALL {
            same(detector.name(), LANGUAGES.map(|language| noticed(detector, language)));
        }
        for &mode in CloseMode::ALL {
            same(mode.name(), LANGUAGES.map(|language| closed(mode, language)));
        }
    }
}
