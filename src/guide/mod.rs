//! The guide: pages for people who run linger or learn from it. `linger explain` prints them, and the crate documentation
//! shows them here.

pub mod meaning;

/// One page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// What `linger explain` calls it.
    pub topic: &'static str,
    /// The text, in Markdown.
    text: &'static str,
}

impl Page {
    /// Its heading.
    pub fn title(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("# ")
    }

    /// The text as it is printed: without the marks for the tools that check it.
    pub fn lines(&self) -> impl Iterator<Item = &'static str> {
        self.text.lines().filter(|line| !line.starts_with("<!--"))
    }
}

/// Declares each page as a module, whose documentation it is, and lists them.
macro_rules! pages {
    ($($topic:ident)+) => {
        $(
            #[doc = include_str!(concat!(stringify!($topic), ".md"))]
            #[allow(clippy::doc_markdown, reason = "names in tables that tools write")]
            pub mod $topic {}
        )+

        /// All pages, in reading order.
        pub const PAGES: &[Page] = &[
            $(Page { topic: stringify!($topic), text: include_str!(concat!(stringify!($topic), ".md")) },)+
        ];
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
}

/// The page on a topic.
pub fn page(topic: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.topic == topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_has_a_heading_and_the_readme_names_all_of_them() {
        let readme = include_str!("../../README.md");
        for page in PAGES {
            assert!(page.text.starts_with("# ") && !page.title().is_empty(), "{}", page.topic);
            assert!(readme.contains(&format!("(src/guide/{}.md)", page.topic)), "{}", page.topic);
            assert!(page.lines().all(|line| !line.contains("<!--")), "{}", page.topic);
        }
        assert_eq!(readme.matches("(src/guide/").count(), PAGES.len());
    }
}
