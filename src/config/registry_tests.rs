//! Protocols through all of the configuration: one that no other module knows is a line of a registry and nothing else; and what
//! follows from which of them are served.

use super::*;
use crate::core::setting::Value;
use crate::core::time::Duration;

struct Shown(Vec<Resolved>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print::effective(f, &self.0)
    }
}

fn from_file(text: &str) -> Result<Shown, Vec<Diagnostic>> {
    resolve_tables(&Sources::default(), Some(("f", text)), Protocol::REGISTRY)
        .map(|(tables, _)| Shown(tables))
}

fn from_url(url: &str) -> Result<Shown, Vec<Diagnostic>> {
    let sources = Sources { listen: vec![url.to_owned()], ..Sources::default() };
    resolve_tables(&sources, None, Protocol::REGISTRY).map(|(tables, _)| Shown(tables))
}

fn listener(shown: &Shown) -> &Resolved {
    shown.0.iter().find(|table| table.is(Scope::Listener)).expect("there is one")
}

/// The one mistake.
fn mistake(outcome: Result<Shown, Vec<Diagnostic>>) -> String {
    let mistakes = outcome.map(|shown| shown.to_string()).expect_err("a mistake");
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    mistakes[0].to_string()
}

const TOY: &str = "[[listener]]\nprotocol = 'toy'\naddress = '127.0.0.1:1'\n";
const RESP: &str = "[[listener]]\nprotocol = 'resp'\naddress = '127.0.0.1:1'\n";

#[test]
fn its_scheme_defaults_and_own_key_are_understood() {
    let plain = from_url("toy://127.0.0.1:1").unwrap();
    let toy = listener(&plain);
    assert_eq!((toy.protocol_name(), toy.name()), ("toy", "toy"));
    assert_eq!(toy.period("idle_timeout"), Some(Duration::from_secs(60)));
    assert_eq!(toy.own(), [("batch.frames", Value::Count(8))].into_iter().collect());

    let by_url = from_url("toy://127.0.0.1:1?batch.frames=9").unwrap();
    let by_file = from_file(&format!("{TOY}[listener.batch]\nframes = 9")).unwrap();
    for shown in [by_url, by_file] {
        assert_eq!(listener(&shown).own().value("batch.frames"), Some(&Value::Count(9)));
        // What is shown is a file that says the same.
        let again = from_file(&shown.to_string()).unwrap();
        assert_eq!(listener(&again).own(), listener(&shown).own());
    }
    let all = from_file(&format!("{TOY}batch.frames = 'all'")).unwrap();
    assert_eq!(listener(&all).own().value("batch.frames"), Some(&Value::Word("all")));
}

#[test]
fn mistakes_about_its_own_key_are_told_as_those_of_any_other() {
    for (outcome, said) in [
        (
            from_file(&format!("{TOY}batch.frames = 65")),
            "f:4:16: listener.batch.frames: 65 is out of range; write a number from 1 to 64, or \"all\"",
        ),
        (
            from_url("toy://127.0.0.1:1?batch.frame=1"),
            "--listen toy://127.0.0.1:1?batch.frame=1: batch.frame: is not a key of [[listener]]; did you mean \
             batch.frames?",
        ),
        (
            from_file(&format!("{TOY}batch = 3")),
            "f:4:9: listener.batch: is a table, not a value; its keys are batch.frames",
        ),
        (
            from_url("tou://127.0.0.1:1"),
            "--listen tou://127.0.0.1:1: protocol: \"tou\" is none of the choices (did you mean \"toy\"?); write \
             \"echo\", \"resp\", \"tcp\" or \"toy\"",
        ),
    ] {
        assert_eq!(mistake(outcome), said);
    }
}

#[test]
fn its_own_key_is_refused_wherever_it_is_not_spoken() {
    for (outcome, said) in [
        (
            from_file(&format!("{RESP}batch.frames = 9")),
            "f:4:1: listener.batch: is not a key of [[listener]] with protocol = \"resp\"; it is a key of \
             [[listener]] with protocol = \"toy\"",
        ),
        (
            from_url("echo://127.0.0.1:1?batch.frames=9"),
            "--listen echo://127.0.0.1:1?batch.frames=9: batch.frames: is not a key of [[listener]] with protocol = \
             \"echo\"; it is a key of [[listener]] with protocol = \"toy\"",
        ),
        (
            from_file("[defaults]\nbatch.frames = 9"),
            "f:2:1: defaults.batch: is not a key of [defaults]; it is a key of [[listener]] with protocol = \"toy\"",
        ),
        (
            from_file("[batch]\nframes = 9"),
            "f:1:2: batch: is not a table of linger; it is a key of [[listener]] with protocol = \"toy\"",
        ),
        (
            from_file("[admin]\nbatch.frames = 9"),
            "f:2:1: admin.batch: is not a key of [admin]; it is a key of [[listener]] with protocol = \"toy\"",
        ),
        (
            from_file(&format!("{TOY}hosts = 'any'")),
            "f:4:1: listener.hosts: is not a key of [[listener]]; it is a key of [admin]",
        ),
    ] {
        assert_eq!(mistake(outcome), said);
    }
}

#[test]
fn what_does_not_apply_to_it_is_refused_on_its_listeners_and_not_inherited_by_them() {
    let stray = "a stray byte breaks the frames of a toy; leave it out";
    for (outcome, place) in [
        (from_file(&format!("{TOY}probe.after_eof = true")), "f:4:1: listener.probe"),
        (from_file(&format!("{TOY}[listener.probe]\noob = '3s'")), "f:4:11: listener.probe"),
        (from_url("toy://127.0.0.1:1?probe.oob=3s"), "--listen toy://127.0.0.1:1?probe.oob=3s: probe.oob"),
    ] {
        assert_eq!(mistake(outcome), format!("{place}: {stray}"));
    }

    let defaults = "[defaults]\nprobe.after_eof = true\n";
    let toy = from_file(&format!("{defaults}{TOY}")).unwrap();
    assert!(!listener(&toy).flag("probe.after_eof"), "it keeps its default");
    let resp = from_file(&format!("{defaults}{RESP}")).unwrap();
    assert!(listener(&resp).flag("probe.after_eof"));
    let probes =
        |shown: &Shown| listener(shown).entries().filter(|(name, _)| name.starts_with("probe.")).count();
    assert_eq!((probes(&toy), probes(&resp)), (0, 2), "what does not apply is not shown");
}

#[test]
fn the_help_and_the_default_file_explain_it() {
    let keys = print::listener_keys(Protocol::REGISTRY);
    assert!(keys.contains("  batch.frames         8 (toy only)\n"), "{keys}");
    assert!(keys.contains("off (echo), off (resp), off (tcp), 1m (toy)\n"), "{keys}");
    let file = print::template(Protocol::REGISTRY);
    let unwrapped = file.replace("\n# ", " ");
    assert!(unwrapped.contains("; toy takes frames with their length before them."), "{unwrapped}");
    for line in [
        "# What only a [[listener]] with protocol = \"toy\" has.\n",
        "# Most frames in a batch.\n# Takes a number from 1 to 64, or \"all\".\n# Why: A batch fits in a packet.\n",
        "\n# batch.frames = 8\n",
    ] {
        assert!(file.contains(line), "{line}\n{file}");
    }
    let defaults = resolve_tables(&Sources::default(), None, Protocol::REGISTRY).unwrap().0;
    let values = |shown: Shown| shown.to_string().parse::<toml::Table>().unwrap();
    assert_eq!(values(from_file(&file).unwrap()), values(Shown(defaults)));
}

#[test]
fn endings_are_kept_where_somebody_can_ask_for_them() {
    let kept = |text: &str| {
        let effective = resolve_text(&Sources::default(), Some(("f", text)), no_files).expect("it is sound");
        effective.settings.server.history_bytes
    };
    let echo = "admin.address = \"off\"\n[[listener]]\nprotocol = \"echo\"\naddress = \"127.0.0.1:7\"";
    assert_eq!([kept(echo), kept(&echo.replace("echo", "resp")), kept("")], [0, 4 << 20, 4 << 20]);
}
