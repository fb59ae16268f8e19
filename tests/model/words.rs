//! Plain words: the sources and the documentation say what this project does in the terms of its field.
//!
//! [`INSTEAD`] has the words that an engineer of this field would have to learn first, or that a reader of another
//! mother tongue would have to look up, and what is said instead. CHANGELOG.md tells of the past in the words of its
//! time, and is not read.

use std::fs;
use std::path::{Path, PathBuf};

/// What is not said, and what is said instead. In names the words are apart by `_`, or by a capital letter.
const INSTEAD: &[(&str, &str)] = &[
    ("owe", "output is queued or pending; an answer must come"),
    ("owes", "output is queued or pending; an answer must come"),
    ("owed", "queued output, pending output"),
    ("owing", "queued output, pending output"),
    ("whoever", "the one who, anyone who, a client that"),
    ("fellow", "the other worker"),
    ("fellows", "the other workers"),
    ("likewise", "too, the same; or say it again"),
    ("glance", "snapshot"),
    ("misdeed", "fault"),
    ("misdeeds", "faults"),
    ("heard of", "known"),
    ("parted from", "closed"),
    ("stand still", "stall, stop, wait"),
    ("stands still", "is stalled, is paused"),
    ("stood still", "was stalled"),
    ("standing still", "stalled"),
    ("held against", "compared with"),
    ("parting", "closing, the close"),
    ("parted", "closed"),
];

/// Names that users know, which stay: where, which.
const KEPT: &[(&str, &str)] = &[
    // A kind of trouble in the results of `linger load`, in its file of the format and where that is written.
    ("src/tools/load/schema.json", "owed_lost"),
    ("src/tools/load/stats.rs", "owed_lost"),
];

/// Where to look, below the root.
const ROOTS: &[&str] = &["src", "tests", "benches", "scripts", "README.md"];

/// What is not read: this table itself, and the inputs that fuzzing has found.
const UNREAD: &[&str] = &["tests/model/words.rs", "tests/fuzz/corpus", "tests/fuzz/target"];

/// Kinds of files that somebody has written.
const WRITTEN: &[&str] = &["rs", "md", "py", "sh", "c", "mjs", "json", "toml", "cfg", "conf", "dict"];

/// A word of a text, or a mark between two words, with the number of its line.
type Token = (usize, String);

/// The words of a text in lower case; those of a name apart. A phrase goes on across the end of a line, and the signs of
/// a comment at the beginning of the next one, but not across any other mark.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start().trim_start_matches(['/', '!', '#', '*', '|', '"']);
        let (mut word, mut before) = (String::new(), ' ');
        for c in line.chars().chain([' ']) {
            let is_next_word = c.is_uppercase() && before.is_lowercase();
            if (!c.is_alphabetic() || is_next_word) && !word.is_empty() {
                tokens.push((index + 1, std::mem::take(&mut word)));
            }
            if c.is_alphabetic() {
                word.extend(c.to_lowercase());
            } else if !c.is_whitespace() && !['_', '\\'].contains(&c) {
                tokens.push((index + 1, c.to_string()));
            }
            before = c;
        }
    }
    tokens
}

/// The words of [`INSTEAD`] in a text: the line of each, the word, and what to say instead.
fn words_in(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    for (at, (line, _)) in tokens.iter().enumerate() {
        for (word, instead) in INSTEAD {
            let mut following = tokens[at..].iter().map(|(_, token)| token.as_str());
            if word.split(' ').all(|part| following.next() == Some(part)) {
                found.push((*line, *word, *instead));
            }
        }
    }
    found
}

/// All written files below `path` of the repository, from its root.
fn written(path: &str) -> Vec<String> {
    fn walk(root: &Path, path: &Path, found: &mut Vec<String>) {
        let name = path.strip_prefix(root).expect("found below it").display().to_string();
        if UNREAD.contains(&name.as_str()) {
            return;
        }
        if !path.is_dir() {
            let is_written = |extension: &str| WRITTEN.contains(&extension);
            if path.extension().and_then(|extension| extension.to_str()).is_some_and(is_written) {
                found.push(name);
            }
            return;
        }
        let entries = fs::read_dir(path).expect("a readable directory");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
        paths.sort();
        for path in &paths {
            walk(root, path, found);
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(root, &root.join(path), &mut found);
    found
}

#[test]
fn the_words_are_those_of_the_field() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = ROOTS.iter().flat_map(|path| written(path)).collect();
    assert!(files.len() > 500, "the search finds nothing any more: {} files", files.len());
    let mut found = Vec::new();
    for path in files {
        let mut text = fs::read_to_string(root.join(&path)).expect("a readable file of UTF-8");
        for (_, kept) in KEPT.iter().filter(|(file, _)| *file == path) {
            assert!(text.contains(kept), "{path}: {kept} is not there any more, and needs no exception");
            text = text.replace(kept, "");
        }
        for (line, word, instead) in words_in(&text) {
            found.push(format!("{path}:{line}: \"{word}\"; instead: {instead}"));
        }
    }
    assert!(found.is_empty(), "words that are not those of the field:\n  {}", found.join("\n  "));
}

#[test]
fn words_are_found_in_names_and_across_lines_and_nowhere_else() {
    let lines = |text: &str| words_in(text).iter().map(|(line, word, _)| (*line, *word)).collect::<Vec<_>>();
    assert_eq!(lines("/// What a client is\n/// Owed, now."), [(2, "owed")]);
    assert_eq!(lines("let owed_bytes = x;\nenum Trouble { OwedLost }"), [(1, "owed"), (2, "owed")]);
    assert_eq!(lines("//! nothing is held\n//! against it"), [(1, "held against")]);
    assert_eq!(lines("fn a_worker_that_stands_still() {}"), [(1, "stands still")]);
    assert_eq!(lines("allowed, followed, hollow, showed; it was heard. Of these, held, against"), []);
}
