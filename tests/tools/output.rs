//! What commands write to standard output: a reader that has left is no failure, and text that does not arrive is.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use std::fs::File;
use std::process::{Command, Output, Stdio};

/// Every command that tells something, quickly.
const TELLING: &[&[&str]] = &[
    &["help"],
    &["help", "serve"],
    &["--help"],
    &["--version"],
    &["load", "--help"],
    &["config"],
    &["check"],
    &["man"],
    &["man", "serve"],
    &["completions", "bash"],
    &["sim", "--seed", "3"],
    &["sim", "--seed", "3", "--trace"],
    &["doctor", "-c", "1"],
    &["audit"],
    &["load", "--schema"],
];

fn run(arguments: &[&str], stdout: impl Into<Stdio>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linger"));
    command.args(arguments).stdout(stdout).stderr(Stdio::piped()).output().expect("the binary runs")
}

#[test]
fn text_that_does_not_arrive_is_an_error_and_said_in_a_sentence() {
    for arguments in TELLING {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = run(arguments, full);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_some_and(|code| code > 0), "{arguments:?}: {:?}", output.status);
        let sentence = "writing to standard output: No space left on device";
        assert_eq!(said.lines().filter(|line| line.contains(sentence)).count(), 1, "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    }
}

#[test]
fn a_reader_that_has_left_is_no_failure() {
    for arguments in TELLING {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let left = run(arguments, writer);
        assert_eq!(String::from_utf8_lossy(&left.stderr), "", "{arguments:?}");
        // Theirs is a verdict on the host: the same as if somebody had read it.
        let expected = match arguments[0] {
            "doctor" | "audit" => run(arguments, Stdio::null()).status.code(),
            _ => Some(0),
        };
        assert_eq!(left.status.code(), expected, "{arguments:?}");
    }
}

#[test]
fn what_processes_of_linger_say_to_each_other_is_told_to_nobody() {
    let words = ["lab-client", "as-worker", "as-part"];
    let mut told = Vec::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        told.push(run(&["completions", shell], Stdio::piped()).stdout);
    }
    for command in ["serve", "load", "lab"] {
        told.push(run(&[command, "--help"], Stdio::piped()).stdout);
        told.push(run(&["man", command], Stdio::piped()).stdout);
    }
    for mistaken in
        [&["lab-clien"][..], &["serve", "--as-worke", "1"], &["load", "--as-par", "1"], &["man", "nosuch"]]
    {
        let output = run(mistaken, Stdio::piped());
        assert_eq!(output.status.code(), Some(2), "{mistaken:?}");
        told.push(output.stderr);
    }
    for text in told {
        let text = String::from_utf8_lossy(&text);
        // A man page writes each hyphen as `\\-`.
        let plain = text.replace('\\', "");
        assert!(words.iter().all(|word| !plain.contains(word)), "{text}");
    }
    let output = run(&["man", "lab-client"], Stdio::piped());
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
}

#[test]
fn what_no_process_of_linger_would_say_is_a_mistake() {
    let output = run(&["serve", "--as-worker", "nonsense"], Stdio::piped());
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("for workers, which a supervisor starts"),
        "{output:?}"
    );
}
