//! The pages of the guide: both languages say the same, and those about phenomena name code and tests that are there.

use linger::guide::{PAGES, Page, index};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Sections by their headings: those that every page has, in this order, and others that may stand among them.
const SECTIONS: &[(&str, &str)] = &[
    ("What you see", "现象"),
    ("What happens", "原因"),
    ("What does not help", "没有用的办法"),
    ("Try it", "动手试"),
    ("What to do", "怎么办"),
    ("In the code", "代码与测试"),
];
const OPTIONAL: &str = "What does not help";

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a readable file")
}

/// Pages: the topic of each, and its text in English and in Chinese.
fn pages(is_meant: impl Fn(&Page) -> bool) -> Vec<(&'static str, String, String)> {
    let pages = PAGES.iter().filter(|page| is_meant(page)).map(|page| page.topic);
    let pages: Vec<_> = pages
        .map(|topic| {
            (topic, read(&format!("src/guide/{topic}.md")), read(&format!("src/guide/zh/{topic}.md")))
        })
        .collect();
    assert!(pages.len() >= 10, "the search finds nothing any more: {}", pages.len());
    pages
}

fn all_pages() -> Vec<(&'static str, String, String)> {
    pages(|_| true)
}

/// Those about what one sees of TCP.
fn phenomena() -> Vec<(&'static str, String, String)> {
    pages(Page::is_phenomenon)
}

fn sections(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("## ")).collect()
}

/// What is run of a page: the blocks in `sh`, without the comments at the ends of lines.
fn commands(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => found.push(line.split("  #").next().unwrap_or(line).trim_end()),
            _ => {}
        }
    }
    // A comment behind fewer blanks.
    found.iter().map(|line| line.split(" # ").next().unwrap_or(line).trim_end()).collect()
}

/// Lines outside of blocks of code, and the one that begins each block.
fn prose(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        let is_fence = line.starts_with("```");
        if !inside {
            found.push(line);
        }
        inside ^= is_fence;
    }
    found
}

/// What a page is made of, in order: the levels of its headings, the points of its lists, the kinds of its blocks of code.
fn shape(text: &str) -> Vec<&str> {
    let parts = prose(text).into_iter().filter_map(|line| match line.as_bytes() {
        [b'`', b'`', b'`', ..] => Some(line),
        [b'#', ..] | [b'-', b' ', ..] => line.split(' ').next(),
        _ => None,
    });
    parts.collect()
}

/// A row of a table.
#[derive(Debug)]
struct Row<'a> {
    bars: usize,
    numbers: BTreeSet<&'a str>,
    /// What is typed; of a page, without the language.
    names: BTreeSet<&'a str>,
}

fn rows(text: &str) -> Vec<Row<'_>> {
    let rows = prose(text).into_iter().filter(|line| line.starts_with('|'));
    rows.map(|row| Row {
        bars: row.matches('|').count(),
        numbers: row.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty()).collect(),
        names: row.split('`').skip(1).step_by(2).map(|name| name.trim_end_matches(" --lang zh")).collect(),
    })
    .collect()
}

/// The rows of the table at the end: the code and the test of each.
fn proofs(text: &str) -> Vec<(&str, &str)> {
    let table = text.rsplit("## ").next().unwrap_or_default();
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.contains(".rs: "));
    let proof = |row| {
        let cells: Vec<&str> = str::trim_matches(row, '|').split(" | ").map(str::trim).collect();
        let [_, code, shown_by] = cells[..] else { panic!("three columns: {row}") };
        (code.trim_matches('`'), shown_by.trim_matches('`'))
    };
    rows.map(proof).collect()
}

#[test]
fn every_page_is_made_of_the_same_parts_in_both_languages() {
    let mut count = 0;
    for (topic, english, chinese) in all_pages() {
        assert_eq!(shape(&english), shape(&chinese), "{topic}");
        let [in_english, in_chinese] = [&english, &chinese].map(|text| rows(text));
        assert_eq!(in_english.len(), in_chinese.len(), "rows of tables of {topic}");
        for (row, other) in in_english.iter().zip(&in_chinese) {
            let is_same = row.bars == other.bars && row.numbers == other.numbers;
            assert!(is_same && row.names.is_subset(&other.names), "{topic}: {row:?} {other:?}");
        }
        count += in_english.len();
    }
    assert!(count >= 300, "the search finds nothing any more: {count}");
}

#[test]
fn a_page_about_a_phenomenon_has_its_sections_in_both_languages() {
    for (topic, english, chinese) in phenomena() {
        let expected = SECTIONS.iter().filter(|(name, _)| *name != OPTIONAL || english.contains(OPTIONAL));
        let (in_english, in_chinese): (Vec<_>, Vec<_>) = expected.copied().unzip();
        assert_eq!(sections(&english), in_english, "{topic}");
        assert_eq!(sections(&chinese), in_chinese, "{topic}");
        assert!(english.lines().count() <= 110, "{topic} is too long");
    }
}

#[test]
fn both_languages_have_the_same_commands_and_ci_runs_all_of_a_phenomenon() {
    for (topic, english, chinese) in all_pages() {
        assert_eq!(commands(&english), commands(&chinese), "{topic}");
    }
    for (topic, english, _) in phenomena() {
        assert!(!commands(&english).is_empty(), "{topic}: an experiment");
        let blocks = english.matches("\n```sh\n").count();
        let marked = english.matches("<!-- ci").count();
        assert_eq!(blocks, marked, "{topic}: every block is marked, so that CI runs it");
    }
}

#[test]
fn every_page_names_code_and_tests_that_are_there() {
    for (topic, english, chinese) in phenomena() {
        let proofs = proofs(&english);
        assert!(proofs.len() >= 4, "{topic}");
        assert_eq!(proofs, self::proofs(&chinese), "{topic}");
        for name in proofs.iter().flat_map(|(code, test)| [code, test]) {
            let (file, function) = name.split_once(": ").expect("file: function");
            let source = read(file);
            let is_there = ["(", "<"].iter().any(|end| source.contains(&format!("fn {function}{end}")));
            assert!(is_there, "{topic}: {name}");
        }
        let tests: BTreeSet<_> = proofs.iter().map(|(_, test)| test).collect();
        assert_eq!(tests.len(), proofs.len(), "{topic}: a test stands for one thing");
    }
}

/// The pages that a page refers to, as they are typed.
fn references(text: &str) -> Vec<String> {
    let text = prose(text).join(" ");
    let typed = text.split("`linger explain ").skip(1).map(|rest| rest.split('`').next().unwrap_or_default());
    typed.map(str::to_owned).collect()
}

#[test]
fn a_page_that_is_referred_to_is_there_and_in_the_language_of_the_one_that_refers_to_it() {
    /// Stands for what one may ask for.
    const ANY: [&str; 2] = ["NAME", "REASON"];
    let mut count = 0;
    for (topic, english, chinese) in all_pages() {
        let in_english: BTreeSet<_> = references(&english).into_iter().collect();
        for asked in &in_english {
            let is_there = ANY.contains(&asked.as_str()) || index::page_for(asked).is_some();
            assert!(is_there, "{topic}: linger explain {asked}");
        }
        let in_chinese: BTreeSet<_> = references(&chinese).into_iter().collect();
        // The list of all that there is has no name.
        let translated: BTreeSet<_> =
            in_chinese.iter().filter(|typed| *typed != "--lang zh").cloned().collect();
        let expected = in_english.iter().map(|asked| format!("{asked} --lang zh")).collect();
        assert_eq!(translated, expected, "{topic}");
        count += in_english.len();
    }
    assert!(count >= 30, "the search finds nothing any more: {count}");
}
