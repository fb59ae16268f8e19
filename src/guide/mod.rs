//! The guide: pages for people who run linger or learn from it. `linger explain` prints them, and the crate documentation
//! shows them here. What a reader sees first, a state, an error code or a word, leads to its page by [`index`]. Every page is
//! there in English and in Chinese, and so is what the words of a record mean ([`meaning`]).

pub mod index;
pub mod meaning;

/// A language of the guide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    /// The one in which the tools print what they find.
    English,
    /// Simplified Chinese.
    Chinese,
}

impl Language {
    /// That of messages in this environment: the first of these variables that says anything (POSIX.1-2017, 8.2).
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut said = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(variable);
        let is_chinese = |locale: String| locale == "zh" || locale.starts_with("zh_");
        if said.find(|locale| !locale.is_empty()).is_some_and(is_chinese) {
            Self::Chinese
        } else {
            Self::English
        }
    }
}

/// One page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// What `linger explain` calls it.
    pub topic: &'static str,
    /// The text, in Markdown.
    text: &'static str,
    /// The same in Chinese.
    chinese: &'static str,
    /// Whether it is about what one sees of TCP, and has the sections of such a page.
    is_phenomenon: bool,
}

impl Page {
    /// Its heading.
    pub fn title(&self, language: Language) -> &'static str {
        self.text_in(language).lines().next().unwrap_or_default().trim_start_matches("# ")
    }

    /// The text as it is printed: without the marks for the tools that check it.
    pub fn lines(&self, language: Language) -> impl Iterator<Item = &'static str> {
        self.text_in(language).lines().filter(|line| !line.starts_with("<!--"))
    }

    /// Whether it is about what one sees of TCP.
    pub const fn is_phenomenon(&self) -> bool {
        self.is_phenomenon
    }

    fn text_in(&self, language: Language) -> &'static str {
        match language {
            Language::English => self.text,
            Language::Chinese => self.chinese,
        }
    }
}

/// Declares each page as a module, whose documentation it is, with one in it for the Chinese, and lists them.
macro_rules! pages {
    ($($topic:ident)+; $($phenomenon:ident)+) => {
        $(pages!(declare $topic);)+
        $(pages!(declare $phenomenon);)+

        /// All pages, in reading order: how to run it, then the phenomena.
        pub const PAGES: &[Page] = &[
            $(pages!(page $topic, false),)+
            $(pages!(page $phenomenon, true),)+
        ];
    };
    (declare $topic:ident) => {
        #[doc = include_str!(concat!(stringify!($topic), ".md"))]
        #[allow(clippy::doc_markdown, reason = "names in tables that tools write, and of other systems")]
        pub mod $topic {
            #[doc = include_str!(concat!("zh/", stringify!($topic), ".md"))]
            #[allow(clippy::doc_markdown, reason = "names in tables that tools write, and of other systems")]
            pub mod zh {}
        }
    };
    (page $topic:ident, $is_phenomenon:literal) => {
        Page {
            topic: stringify!($topic),
            text: include_str!(concat!(stringify!($topic), ".md")),
            chinese: include_str!(concat!("zh/", stringify!($topic), ".md")),
            is_phenomenon: $is_phenomenon,
        }
    };
}

pages! {
    operating
    crowd
    gateway
    tls
    commands
    users
    workers
    service
    packages
    why
    events
    page
    endings
    closing
    detection
    host
    load
    million
    figures
    simulation
    techniques
    ;
    time_wait
    close_wait
    fin_wait2
    ghosts
    heartbeats
    accept_queue
    half_close
    sigpipe
    windows
    your_server
}

/// The page on a topic.
pub fn page(topic: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.topic == topic)
}

/// Whether a translation has all names of the original: of settings, states, protocols, and what is typed.
#[cfg(test)]
pub(crate) fn names_kept(original: &str, translation: &str) -> Result<(), String> {
    fn names(text: &str) -> impl Iterator<Item = &str> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.'));
        // TIME_WAITs is more than one of what has the name.
        let words = words.map(|word| word.trim_matches('.').trim_end_matches('s'));
        let is_name = |word: &str| {
            let is_capital = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
            word.contains(['_', '.'])
                || word.len() > 1 && word.starts_with(is_capital) && word.chars().all(is_capital)
        };
        words.filter(move |word| is_name(word) && word.contains(|c: char| c.is_ascii_alphabetic()))
    }
    let kept: Vec<_> = names(translation).collect();
    let typed = original.split('\'').filter(|text| text.starts_with("linger "));
    let mut missing = names(original).filter(|name| !kept.contains(name));
    let mut untyped = typed.filter(|command| !translation.contains(command));
    missing.next().or_else(|| untyped.next()).map_or(Ok(()), |name| Err(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_has_a_heading_and_the_readme_names_all_of_them() {
        let readme = include_str!("../../README.md");
        for page in PAGES {
            assert!(readme.contains(&format!("(src/guide/{}.md)", page.topic)), "{}", page.topic);
            assert!(
                readme.contains(&format!("(src/guide/zh/{}.md)", page.topic)),
                "{} in Chinese",
                page.topic
            );
            for language in [Language::English, Language::Chinese] {
                let text = page.text_in(language);
                assert!(text.starts_with("# ") && !page.title(language).is_empty(), "{}", page.topic);
                assert!(page.lines(language).all(|line| !line.contains("<!--")), "{}", page.topic);
            }
        }
        let named = readme.split("(src/guide/").skip(1).filter(|rest| {
            // A picture is no page.
            rest.split_once(')').is_some_and(|(name, _)| name.strip_suffix(".md").is_some())
        });
        assert_eq!(named.count(), 2 * PAGES.len());
    }

    #[test]
    fn a_page_has_all_names_in_both_languages() {
        for page in PAGES {
            assert_eq!(names_kept(page.text, page.chinese), Ok(()), "{}", page.topic);
        }
    }

    #[test]
    fn names_are_told_from_words() {
        let original = "Raise slow_time or source.accept_rate (TIME_WAITs, 'linger doctor'): a NAT. A way.";
        assert_eq!(
            names_kept(original, "slow_time source.accept_rate TIME_WAIT NAT 'linger doctor'"),
            Ok(())
        );
        for (translation, missing) in [
            ("slow_time source.accept_rate TIME_WAIT NAT", "linger doctor"),
            ("slow_times source.accept_rate TIME_WAIT 'linger doctor'", "NAT"),
            ("slow source.accept_rate TIME_WAIT NAT 'linger doctor'", "slow_time"),
        ] {
            assert_eq!(names_kept(original, translation), Err(missing.to_owned()));
        }
    }

    #[test]
    fn the_environment_says_the_language_and_its_first_word_counts() {
        let language = |said: &[(&str, &str)]| {
            Language::of_environment(|name| {
                said.iter().find(|(variable, _)| *variable == name).map(|(_, locale)| (*locale).to_owned())
            })
        };
        for (said, expected) in [
            (&[][..], Language::English),
            (&[("LANG", "zh_CN.UTF-8")], Language::Chinese),
            (&[("LC_ALL", "C"), ("LANG", "zh_CN.UTF-8")], Language::English),
            (&[("LC_ALL", ""), ("LC_MESSAGES", "zh"), ("LANG", "C")], Language::Chinese),
            (&[("LANG", "zhuang")], Language::English),
        ] {
            assert_eq!(language(said), expected, "{said:?}");
        }
    }
}
