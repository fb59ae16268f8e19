//! Arrows between the files of one room: no circle of them, so that each file can be read with what is below it.

use super::{code, is_test_file, sources};
use std::collections::{BTreeMap, BTreeSet};

/// The files of a room, each with those that it names by `use`: `parts::pool` is `src/ROOM/parts/pool.rs`, and the file of
/// the room itself has no name.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// The paths that a `use` names, groups taken apart: `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`.
fn paths(text: &str) -> Vec<String> {
    let Some((before, group)) = text.split_once('{') else { return vec![text.trim().to_owned()] };
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    let (mut parts, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[begin..]);
    let named = parts.into_iter().filter(|part| !part.trim().is_empty());
    named.flat_map(paths).map(|path| format!("{}{path}", before.trim())).collect()
}

/// The file of `files` that a path leads to, from a file or module of this name.
fn target(path: &str, from: &str, room: &str, files: &BTreeSet<String>) -> Option<String> {
    let mut at: Vec<&str> = from.split("::").filter(|word| !word.is_empty()).collect();
    let mut words = path.split("::").peekable();
    if let Some(rest) = path.strip_prefix(&format!("crate::{room}::")) {
        at.clear();
        words = rest.split("::").peekable();
    } else if path.starts_with("super::") {
        while words.next_if_eq(&"super").is_some() {
            at.pop()?;
        }
    } else if !files.contains(&joined(&at, path.split("::").next()?)) {
        return None;
    }
    for word in words {
        if !files.contains(&joined(&at, word)) {
            break;
        }
        at.push(word);
    }
    Some(at.join("::"))
}

fn joined(at: &[&str], word: &str) -> String {
    at.iter().copied().chain([word]).collect::<Vec<_>>().join("::")
}

fn arrows(room: &str) -> Arrows {
    let prefix = format!("src/{room}/");
    let name = |path: &str| {
        let path = path.strip_prefix(&prefix)?.strip_suffix(".rs")?;
        let path = path.strip_suffix("mod").map_or(path, |folder| folder.trim_end_matches('/'));
        Some(path.replace('/', "::"))
    };
    let texts: BTreeMap<_, _> = sources(&prefix)
        .into_iter()
        .filter(|(path, _)| !is_test_file(path))
        .filter_map(|(path, text)| Some((name(&path)?, text)))
        .collect();
    let files: BTreeSet<_> = texts.keys().cloned().collect();
    let mut arrows = Arrows::new();
    for (file, text) in &texts {
        let code: Vec<_> = code(text).map(|(_, line)| line).collect();
        let code = code.join(" ");
        // What a room shows to others it need not know itself.
        let shown = |at: usize| code[..at].trim_end().ends_with("pub");
        let uses = code.match_indices("use ").filter(|(at, _)| !shown(*at));
        let uses = uses.filter_map(|(at, word)| code[at + word.len()..].split(';').next());
        let named = uses.flat_map(paths).filter_map(|path| target(&path, file, room, &files));
        arrows.insert(file.clone(), named.filter(|named| named != file).collect());
    }
    arrows
}

/// Those files that stand in a circle: what is left when everything was taken away that names nothing that is left, and
/// everything that nothing left names.
fn in_circles(mut arrows: Arrows) -> Arrows {
    loop {
        let before = arrows.len();
        let left: BTreeSet<_> = arrows.keys().cloned().collect();
        for named in arrows.values_mut() {
            named.retain(|file| left.contains(file));
        }
        let named: BTreeSet<_> = arrows.values().flatten().cloned().collect();
        arrows.retain(|file, names| !names.is_empty() && named.contains(file));
        if arrows.len() == before {
            return arrows;
        }
    }
}

#[test]
fn no_circle_of_files_in_the_reactor() {
    let arrows = arrows("reactor");
    let drawn: usize = arrows.values().map(BTreeSet::len).sum();
    assert!(arrows.len() > 30 && drawn > 100, "the search finds nothing any more: {drawn}");
    let found = in_circles(arrows);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_circle_is_found() {
    assert_eq!(paths("super::{a::{b, c::d}, e}"), ["super::a::b", "super::a::c::d", "super::e"]);
    let files = ["", "a", "b", "b::c"].map(str::to_owned).into();
    let target = |path, from| target(path, from, "room", &files);
    assert_eq!(target("super::b::c::D", "a").as_deref(), Some("b::c"));
    assert_eq!(target("super::Room", "a").as_deref(), Some(""));
    assert_eq!(target("crate::room::a", "b::c").as_deref(), Some("a"));
    assert_eq!(target("c::D", "b").as_deref(), Some("b::c"));
    assert_eq!(target("crate::other::a", "b"), None);
    let arrows = |pairs: &[(&str, &str)]| -> Arrows {
        let mut arrows = Arrows::new();
        for (from, to) in pairs {
            arrows.entry((*to).to_owned()).or_default();
            arrows.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        arrows
    };
    assert!(in_circles(arrows(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    assert_eq!(in_circles(arrows(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")])).len(), 2);
}
