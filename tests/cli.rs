//! The binary from the outside: what its commands print, to which stream, and how they exit.

use std::path::PathBuf;
use std::process::{Command, Output};

fn linger(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_linger")).args(arguments).output().expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("output is UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("output is UTF-8")
}

/// A file that lives as long as the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("linger-cli-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).expect("the temporary directory is writable");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("the temporary directory has a name in UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn every_command_has_help_with_what_it_does() {
    for (command, part) in [
        ("serve", "Keys of a listener URL"),
        ("check", "every mistake"),
        ("config", "linger.toml"),
        ("sim", "--seed 42"),
        ("load", "stuck.frozen"),
        ("completions", "bash"),
        ("man", "linger-serve.1"),
    ] {
        let help = linger(&[command, "--help"]);
        assert_eq!(help.status.code(), Some(0), "{command}");
        assert!(stdout(&help).contains(part), "{command}: {}", stdout(&help));
        assert_eq!(stderr(&help), "", "{command}");
    }
    for arguments in [["--help"].as_slice(), &["serve", "--help"], &["check", "--help"]] {
        assert!(stdout(&linger(arguments)).contains("Exit codes:"), "{arguments:?}");
    }
}

#[test]
fn a_usage_mistake_exits_2_and_says_so_on_standard_error() {
    for arguments in [[].as_slice(), &["sevre"], &["check", "--nonsense"], &["man", "nonsense"]] {
        let output = linger(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
        assert_ne!(stderr(&output), "", "{arguments:?}");
    }
}

#[test]
fn check_reports_all_mistakes_at_once_and_serve_starts_nothing_with_them() {
    let file = File::new(
        "mistakes",
        "[defaults]\nheartbeat = { tiemout = '30s' }\n[[listener]]\nprotocol = 'resp'\naddress = '0.0.0.0'\n\
         frame_max = 0\n[drain]\nspread = '2m'\n",
    );
    for command in ["check", "serve"] {
        let output =
            linger(&[command, "--config", file.path(), "--admin", "0.0.0.0:7070", "--set", "turn.accepts=0"]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert_eq!(stdout(&output), "", "{command}");
        let said = stderr(&output);
        let lines: Vec<&str> = said.lines().collect();
        for (line, part) in lines.iter().zip([
            ":2:15: defaults.heartbeat.tiemout: is not a key of [defaults]; did you mean heartbeat.timeout?",
            ":5:11: listener.address: \"0.0.0.0\" has no port; write ",
            ":6:13: listener.frame_max: 0 is out of range; write a size from 64 to \"64MiB\"",
            ":8:10: drain.spread: \"2m\" is longer than drain.timeout, \"30s\"; ",
            "--admin: admin.address: 0.0.0.0:7070 can be reached from other hosts",
            "--set turn.accepts=0: turn.accepts: \"0\" is out of range",
            "linger: 6 mistakes; nothing was started",
        ]) {
            assert!(line.contains(part), "{command}: {line}");
        }
        assert_eq!(lines.len(), 7, "{said}");
    }
}

#[test]
fn check_of_nothing_shows_the_defaults() {
    let output = linger(&["check"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "");
    let shown = stdout(&output);
    for line in
        ["address = \"127.0.0.1:7007\"", "address = \"127.0.0.1:7000\"", "address = \"127.0.0.1:7070\""]
    {
        assert!(
            shown.lines().any(|shown| shown.starts_with(line) && shown.ends_with("# default")),
            "{shown}"
        );
    }
}

#[test]
fn the_default_configuration_checks_to_the_defaults() {
    let config = linger(&["config"]);
    assert_eq!(config.status.code(), Some(0));
    let file = File::new("config", &stdout(&config));
    let without_origins = |output: &Output| -> Vec<String> {
        stdout(output).lines().map(|line| line.split(" # ").next().unwrap().trim_end().to_owned()).collect()
    };
    let checked = linger(&["check", "--config", file.path()]);
    assert_eq!(stderr(&checked), "");
    assert_eq!(without_origins(&checked), without_origins(&linger(&["check"])));
}

#[test]
fn hints_go_to_standard_error_and_are_no_failure() {
    let output = linger(&["check", "--listen", "echo://127.0.0.1:7007?user_timeout=20s"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).starts_with("hint: --listen echo://127.0.0.1:7007?user_timeout=20s: "));
}

#[test]
fn completions_and_man_pages_are_made_of_the_same_definition() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = linger(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(stdout(&output).contains("max-connections"), "{shell}");
    }
    assert!(stdout(&linger(&["man"])).contains("linger\\-serve(1)"));
    let page = stdout(&linger(&["man", "serve"]));
    assert!(page.contains(".TH linger-serve 1") && page.contains("max\\-connections"), "{page}");
}
