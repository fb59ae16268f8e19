//! The pages about phenomena: both languages say the same, and name code and tests that are there.

use linger::guide::{PAGES, index};
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

/// Each page about a phenomenon: its topic, and its text in English and in Chinese.
fn phenomena() -> Vec<(&'static str, String, String)> {
    let pages = PAGES.iter().filter(|page| page.is_phenomenon()).map(|page| page.topic);
    let pages: Vec<_> = pages
        .map(|topic| {
            (topic, read(&format!("src/guide/{topic}.md")), read(&format!("src/guide/zh/{topic}.md")))
        })
        .collect();
    assert!(pages.len() >= 10, "the search finds nothing any more: {}", pages.len());
    pages
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
fn every_page_has_the_same_sections_in_both_languages() {
    for (topic, english, chinese) in phenomena() {
        let expected = SECTIONS.iter().filter(|(name, _)| *name != OPTIONAL || english.contains(OPTIONAL));
        let (in_english, in_chinese): (Vec<_>, Vec<_>) = expected.copied().unzip();
        assert_eq!(sections(&english), in_english, "{topic}");
        assert_eq!(sections(&chinese), in_chinese, "{topic}");
        let tables = |text: &str| text.lines().filter(|line| line.starts_with('|')).count();
        let points = |text: &str| text.lines().filter(|line| line.starts_with("- ")).count();
        assert_eq!(tables(&english), tables(&chinese), "rows of tables of {topic}");
        assert_eq!(points(&english), points(&chinese), "points of lists of {topic}");
        assert!(english.lines().count() <= 110, "{topic} is too long");
    }
}

#[test]
fn both_languages_have_the_same_commands_and_ci_runs_them_all() {
    for (topic, english, chinese) in phenomena() {
        assert!(!commands(&english).is_empty(), "{topic}: an experiment");
        assert_eq!(commands(&english), commands(&chinese), "{topic}");
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

#[test]
fn a_page_that_is_referred_to_is_there_and_in_chinese_where_it_can_be() {
    let mut count = 0;
    for (topic, english, chinese) in phenomena() {
        for (text, is_chinese) in [(english, false), (chinese, true)] {
            for rest in text.split("`linger explain ").skip(1) {
                let typed = rest.split('`').next().unwrap_or_default();
                let word = typed.strip_suffix(" --lang zh");
                let page =
                    index::page_for(word.unwrap_or(typed)).unwrap_or_else(|| panic!("{topic}: {typed}"));
                let leads_to_chinese = is_chinese && page.is_phenomenon();
                assert_eq!(word.is_some(), leads_to_chinese, "{topic}: linger explain {typed}");
                count += 1;
            }
        }
    }
    assert!(count >= 15, "the search finds nothing any more: {count}");
}
