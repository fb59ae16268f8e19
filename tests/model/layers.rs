//! The sources themselves, compared with the layers: which module may know which, where the operating system
//! lives, how long a file may be, and how it opens.
//!
//! The one table is [`LAYERS`] (`layers/table.rs`): to let a module know another is to change it there, where it is seen. The
//! files of the reactor have a table of their own (`layers/parts.rs`).

mod circles;
mod parts;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use table::LAYERS;

/// What a pure module does not say, outside its tests. `std::net` has addresses too, which are only data.
const IMPURITIES: &[&str] = &[
    "mio::",
    "libc::",
    "rustix::",
    "std::os::",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "signal_hook",
];

/// Most lines of a file.
const LINES_MAX: usize = 500;

/// Files that are longer, and why.
const LONG_FILES: &[(&str, &str)] = &[];

/// All Rust files under `directory` of the repository: their path from its root, and their text.
fn sources(directory: &str) -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(directory) else { return };
        for path in entries.map(|entry| entry.expect("a readable directory").path()) {
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    walk(&root.join(directory), &mut paths);
    paths.sort();
    let relative = |path: &Path| path.strip_prefix(root).expect("found below it").display().to_string();
    paths
        .iter()
        .map(|path| (relative(path), fs::read_to_string(path).expect("a readable file of UTF-8")))
        .collect()
}

fn all_sources() -> Vec<(String, String)> {
    ["src", "tests", "benches"].into_iter().flat_map(sources).collect()
}

/// Rooms whose modules are layers of their own.
const ROOMS: &[&str] = &["core", "observe", "workers", "tools"];

/// The layer that a file belongs to: `src/hub/topics.rs` to `hub`, `src/core/conn/state.rs` to `core::conn`.
fn module_of(path: &str) -> String {
    let path = path.strip_prefix("src/").unwrap_or(path);
    let mut words = path.split(['/', '.']);
    let room = words.next().unwrap_or(path);
    match words.next() {
        Some(module) if ROOMS.contains(&room) && module != "mod" => format!("{room}::{module}"),
        Some(_) | None => room.to_owned(),
    }
}

/// Whether a file is nothing but tests, by its name.
fn is_test_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    ["tests.rs", "facts.rs"].iter().any(|end| name.ends_with(end))
        || ["model.rs", "testing.rs"].contains(&name)
}

/// The code of a file with its line numbers: no comments, and nothing from its tests on, which come last.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines: Vec<_> = text.lines().collect();
    let is_test = |at: usize| lines[at] == "#[cfg(test)]";
    // A module of tests in a file of its own is only named.
    let begin = (0..lines.len())
        .find(|&at| is_test(at) && !lines.get(at + 1).is_some_and(|next| next.ends_with(';')));
    let end = begin.unwrap_or(lines.len());
    let named = |at: usize| is_test(at) || at.checked_sub(1).is_some_and(is_test);
    let kept: Vec<_> = (0..end).filter(|&at| !named(at)).map(|at| (at + 1, lines[at])).collect();
    kept.into_iter().map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
}

/// Layers that a line of code names.
fn named_modules(line: &str) -> Vec<String> {
    let word = |text: &str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        text[..end].to_owned()
    };
    let each = |text: &str| match text.strip_prefix('{') {
        Some(group) => group.split(['}', ',']).map(|part| part.trim().to_owned()).collect(),
        None => vec![text.to_owned()],
    };
    // `$crate::` of our macros is a way to name our own, too.
    let paths = line.match_indices("crate::").flat_map(|(at, found)| each(&line[at + found.len()..]));
    let layers = paths.flat_map(|path| {
        let room = word(&path);
        let below = path.strip_prefix(&format!("{room}::")).filter(|_| ROOMS.contains(&room.as_str()));
        match below {
            Some(below) => each(below).iter().map(|path| format!("{room}::{}", word(path))).collect(),
            None => vec![room],
        }
    });
    layers.filter(|layer| !layer.is_empty()).collect()
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn arrows_point_one_way() {
    let mut found = Vec::new();
    for (path, text) in sources("src") {
        let module = module_of(&path);
        // A room itself only says what is in it.
        let is_outside = ["lib", "main"].contains(&module.as_str()) || ROOMS.contains(&module.as_str());
        if is_outside || is_test_file(&path) {
            continue;
        }
        let Some(layer) = LAYERS.iter().find(|layer| layer.module == module) else {
            found.push(format!("{path}: module {module} has no layer; give it a place in LAYERS"));
            continue;
        };
        for (number, line) in code(&text) {
            for named in named_modules(line) {
                if named != module
                    && !layer.knows.contains(&named.as_str())
                    && LAYERS.iter().any(|layer| layer.module == named)
                {
                    found.push(format!("{path}:{number}: {module} may not know {named}"));
                }
            }
        }
    }
    assert_none("modules that know what they should not", &found);
}

#[test]
fn the_table_itself_has_no_arrow_down() {
    let place = |module: &str| LAYERS.iter().position(|layer| layer.module == module);
    let mut found = Vec::new();
    for layer in LAYERS {
        for known in layer.knows {
            if place(known) >= place(layer.module) {
                found.push(format!("{} knows {known}, which is not below it", layer.module));
            }
        }
    }
    assert_none("arrows that point down", &found);
}

/// A protocol is bytes, and what they ask of the hub. Who serves it is known to it by a contract alone.
#[test]
fn arrows_that_are_never_drawn() {
    const NEVER: &[(&str, &[&str])] = &[
        ("protocol", &["config", "net", "reactor", "sys", "workers::supervisor", "workers::link"]),
        ("hub", &["protocol", "config", "reactor", "sys"]),
    ];
    for (module, never) in NEVER {
        let layer = LAYERS.iter().find(|layer| layer.module == *module);
        let layer = layer.unwrap_or_else(|| panic!("{module} has no layer"));
        let drawn: Vec<_> = layer.knows.iter().filter(|known| never.contains(known)).collect();
        assert!(drawn.is_empty(), "{module} never knows {drawn:?}");
    }
}

#[test]
fn pure_modules_know_no_operating_system() {
    let mut found = Vec::new();
    for (path, text) in sources("src") {
        let pure = LAYERS.iter().any(|layer| layer.pure && layer.module == module_of(&path));
        if !pure || is_test_file(&path) {
            continue;
        }
        for (number, line) in code(&text) {
            // A size compared with a bound names the real descriptor, and takes none.
            let measured = line.starts_with("const _: () = assert!(size_of");
            for word in IMPURITIES.iter().filter(|word| !measured && line.contains(**word)) {
                found.push(format!("{path}:{number}: {word}"));
            }
        }
    }
    assert_none("pure modules with something of the operating system in them", &found);
}

#[test]
fn unsafe_code_is_in_sys_alone() {
    let mut found = Vec::new();
    for (path, text) in all_sources() {
        if path.starts_with("src/sys/") {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "(unsafe_code"];
            if words.iter().any(|word| line.contains(word)) && !line.contains("let words") {
                found.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    assert_none("unsafe outside of src/sys", &found);
}

#[test]
fn files_are_short_enough_to_read() {
    let mut found = Vec::new();
    for (path, text) in all_sources() {
        let lines = text.lines().count();
        let excused = LONG_FILES.iter().any(|(file, _)| *file == path);
        if lines > LINES_MAX && !excused {
            found.push(format!("{path}: {lines} lines"));
        } else if lines <= LINES_MAX && excused {
            found.push(format!("{path}: {lines} lines need no excuse any more"));
        }
    }
    assert_none(&format!("files of more than {LINES_MAX} lines"), &found);
}

#[test]
fn every_file_says_first_what_it_is() {
    let found: Vec<String> = all_sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| path)
        .collect();
    assert_none("files that do not open with //!", &found);
}

/// Tests that a text names as `file: name`, the file below `src` or `tests`; a name may be on the next line of a
/// comment.
fn tests_named_in(text: &str) -> Vec<(String, String)> {
    let flat: Vec<_> = text.lines().map(|line| line.trim().trim_start_matches(['/', '!'])).collect();
    let flat = flat.join(" ");
    let mut named = Vec::new();
    for (at, _) in flat.match_indices(".rs: ") {
        let start =
            flat[..at].rfind(|c: char| !(c.is_alphanumeric() || "/_".contains(c))).map_or(0, |at| at + 1);
        let file = &flat[start..at + 3];
        let rest = flat[at + 5..].trim_start();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        // One word of a sentence is no name.
        if ["src/", "tests/"].iter().any(|root| file.starts_with(root)) && rest[..end].contains('_') {
            named.push((file.to_owned(), rest[..end].to_owned()));
        }
    }
    named
}

#[test]
fn tests_that_are_named_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = all_sources();
    let guide = linger::guide::PAGES.iter().map(|page| format!("src/guide/{}.md", page.topic));
    for page in guide.chain(["README.md", "src/sys/facts.md"].map(str::to_owned)) {
        let text = fs::read_to_string(root.join(&page)).expect("a readable page");
        texts.push((page, text));
    }
    let (mut found, mut page, mut tables) = (Vec::new(), 0, 0);
    for (path, text) in texts {
        for (file, name) in tests_named_in(&text) {
            page += usize::from(path == "src/sys/facts.md");
            tables += usize::from(path.starts_with("src/tools/doctor/"));
            // Kinds of endings are functions, from which a macro makes the tests.
            let tested = fs::read_to_string(root.join(&file)).unwrap_or_default();
            if !tested.contains(&format!("fn {name}(")) {
                found.push(format!("{path}: {file}: {name}"));
            }
        }
    }
    assert!(page > 60 && tables > 20, "the search finds nothing any more: {page}, {tables}");
    assert_none("tests that are named and do not exist", &found);
}

#[test]
fn every_dependency_has_its_reason_in_the_readme() {
    let readme = include_str!("../../README.md");
    let rows =
        readme.lines().filter(|line| line.starts_with("| `") || line.starts_with("The core depends on"));
    let told: BTreeSet<_> = rows
        .flat_map(|row| row.split('|').take(2).collect::<Vec<_>>())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    let manifest = include_str!("../../Cargo.toml");
    let (_, dependencies) = manifest.split_once("\n[dependencies]\n").expect("there is the table");
    let lines = dependencies.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let missing: Vec<_> = names.filter(|name| !told.contains(name)).map(str::to_owned).collect();
    assert_none("dependencies without a reason in README.md", &missing);
}

#[test]
fn every_technique_names_its_code_and_a_test() {
    let page = include_str!("../../src/guide/techniques.md");
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    assert!(rows.len() > 15, "the search finds nothing any more: {}", rows.len());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let wrong = |row: &&&str| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let [_, code, test] = cells[..] else { return true };
        let Some((file, function)) = code.trim_matches('`').split_once(": ") else { return true };
        let source = fs::read_to_string(root.join(file)).unwrap_or_default();
        let written = [format!("fn {function}("), format!("fn {function}<")];
        tests_named_in(test).len() != 1 || !written.iter().any(|start| source.contains(start))
    };
    let wrong: Vec<_> = rows.iter().filter(wrong).map(|row| (*row).to_owned()).collect();
    assert_none("techniques without code or test", &wrong);
}

#[test]
fn every_fact_and_every_piece_of_folklore_names_a_test() {
    let page = include_str!("../../src/sys/facts.md");
    let rows = page.lines().filter(|line| {
        line.starts_with("| ") && !line.ends_with("| test that shows it |") && !line.starts_with("| ---")
    });
    let untested: Vec<_> = rows.filter(|row| tests_named_in(row).is_empty()).map(str::to_owned).collect();
    assert_none("facts without a test", &untested);
    let beliefs =
        linger::tools::doctor::FOLKLORE.iter().filter(|belief| tests_named_in(belief.test).len() != 1);
    assert_none("folklore without a test", &beliefs.map(|belief| belief.name.to_owned()).collect::<Vec<_>>());
    let checks = linger::tools::doctor::CHECKS.iter().filter_map(|check| Some((check.name, check.test?)));
    let wrong = checks.filter(|(_, test)| tests_named_in(test).len() != 1);
    assert_none("checks that name no test so", &wrong.map(|(name, _)| name.to_owned()).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_over() {
    // Put together here, so that this file does not name them itself.
    let leftovers = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["X", "XX"].concat(),
        ["/wo", "rk/"].concat(),
        ["/tmp", "/h-"].concat(),
        ["/tmp", "/t-"].concat(),
        ["/ro", "ot/"].concat(),
        ["/ho", "me/"].concat(),
        ["clau", "de"].concat(),
        ["co", "pilot"].concat(),
        ["chat", "gpt"].concat(),
    ];
    let mut found = Vec::new();
    for (path, text) in all_sources() {
        for (index, line) in text.lines().enumerate() {
            let lower = line.to_ascii_lowercase();
            for word in &leftovers {
                let upper_case = word.chars().all(|c| c.is_ascii_uppercase());
                if if upper_case { has_word(line, word) } else { lower.contains(word.as_str()) } {
                    found.push(format!("{path}:{}: {word}", index + 1));
                }
            }
        }
    }
    assert_none("left over", &found);
}

/// Whether `line` has `word` with no letter beside it.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let beside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        !beside(line[..at].chars().next_back()) && !beside(line[at + word.len()..].chars().next())
    })
}
