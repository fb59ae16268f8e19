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
        ("doctor", "a million"),
        ("sim", "--seed 42"),
        ("lab", "--quick"),
        ("load", "stuck.frozen"),
        ("audit", "close_wait"),
        ("health", "--ready"),
        ("top", "NO_COLOR"),
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
    for arguments in
        [[].as_slice(), &["sevre"], &["check", "--nonsense"], &["man", "nonsense"], &["doctor", "-c", "0"]]
    {
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
    let output = linger(&["check", "--all"]);
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
    // By default, what is served, and how much there is beside it.
    let short = stdout(&linger(&["check"]));
    let settings =
        |text: &str| text.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')).count();
    let others = format!(
        "\n# {} more settings are as they are by default: --all shows them\n",
        settings(&shown) - settings(&short)
    );
    assert!(short.starts_with("[[listener]]\nname = \"echo\" ") && short.contains(&others), "{short}");
}

#[test]
fn the_default_configuration_checks_to_the_defaults() {
    let config = linger(&["config"]);
    assert_eq!(config.status.code(), Some(0));
    let file = File::new("config", &stdout(&config));
    let without_origins = |output: &Output| -> Vec<String> {
        stdout(output).lines().map(|line| line.split(" # ").next().unwrap().trim_end().to_owned()).collect()
    };
    let checked = linger(&["check", "--all", "--config", file.path()]);
    assert_eq!(stderr(&checked), "");
    assert_eq!(without_origins(&checked), without_origins(&linger(&["check", "--all"])));
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
    assert!(
        page.contains(".TH linger-serve 1 \"\" \"linger ") && page.contains("max\\-connections"),
        "{page}"
    );
    assert!(stdout(&linger(&["man", "user", "add"])).contains(".TH linger-user-add 1"));
    for (arguments, told) in [
        (["man", "user", "ad"].as_slice(), "ad is not a command; they are add, "),
        (&["man", "serve", "add"], "add is not a command; linger-serve has none"),
    ] {
        let output = linger(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(told), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn each_page_that_a_man_page_names_is_written_with_it() {
    let directory = Root::new("man", &[("present", "")]);
    let to = directory.0.to_str().expect("the temporary directory has a name in UTF-8");
    let output = linger(&["man", "--all", to]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    let pages = std::fs::read_dir(&directory.0).expect("it is there");
    let pages = pages.map(|entry| entry.expect("it can be read").path());
    let mut named = 0;
    for page in pages.filter(|page| page.extension().is_some_and(|section| section == "1")) {
        let text = std::fs::read_to_string(&page).expect("a page is text");
        for line in text.lines().filter(|line| line.starts_with("linger\\-") && line.ends_with("(1)")) {
            let name = line.trim_end_matches("(1)").replace("\\-", "-");
            assert!(directory.0.join(format!("{name}.1")).exists(), "{}: {line}", page.display());
            named += 1;
        }
    }
    assert!(named > 15, "{named} pages are named");
    let output = linger(&["man", "--all", &format!("{to}/not/there")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/not/there: No such file"), "{}", stderr(&output));
}

/// A host's files below a directory of its own.
struct Root(PathBuf);

impl Root {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("linger-cli-{}-{name}", std::process::id()));
        for (file, text) in files {
            let file = path.join(file);
            std::fs::create_dir_all(file.parent().expect("it is below")).expect("a writable directory");
            std::fs::write(file, text).expect("a writable directory");
        }
        Self(path)
    }

    fn doctor(&self, more: &[&str]) -> Output {
        let root = self.0.to_str().expect("the temporary directory has a name in UTF-8");
        linger(&[&["doctor", "--root", root, "-c", "9"], more].concat())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn doctor_exits_0_where_nothing_hurts_and_1_where_something_does() {
    let well = Root::new("well", &[("proc/sys/net/core/somaxconn", "4096\n")]);
    let output = well.doctor(&[]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let said = stdout(&output);
    assert!(
        said.starts_with("This host, with 9 connections at once: nothing that can be seen would hurt.\n")
    );
    assert!(said.contains("\nHidden from here\n") && !said.contains("Would hurt"), "{said}");

    let ill = Root::new(
        "ill",
        &[("proc/sys/net/core/somaxconn", "128\n"), ("proc/sys/net/ipv4/tcp_tw_reuse", "1\n")],
    );
    let output = ill.doctor(&[]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(1), ""));
    let said = stdout(&output);
    assert!(said.contains("\nWould hurt\n  net.core.somaxconn = 128\n"), "{said}");
    assert!(said.contains("\n        sysctl -w net.core.somaxconn=4096\n"), "{said}");
    assert!(said.contains("\nFolklore\n! net.ipv4.tcp_tw_reuse = 1  (this host has it)\n"), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 100), "{said}");
    assert!(
        stdout(&ill.doctor(&["--verbose"]))
            .contains("shown by src/sys/facts.rs: the_backlog_is_capped_by_the_host")
    );
}

#[test]
fn doctor_takes_backlogs_and_ports_of_a_configuration() {
    let root = Root::new(
        "configured",
        &[
            ("proc/sys/net/core/somaxconn", "128\n"),
            ("proc/sys/net/ipv4/ip_local_port_range", "32768 60999\n"),
            ("proc/sys/net/ipv4/ip_local_reserved_ports", "\n"),
        ],
    );
    let file =
        File::new("doctor", "[[listener]]\nprotocol = 'echo'\naddress = '127.0.0.1:40000'\nbacklog = 100\n");
    let output = root.doctor(&["--config", file.path()]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("ip_local_reserved_ports=40000") && !said.contains("somaxconn="), "{said}");
    assert_eq!(root.doctor(&["--config", "/nonexistent.toml"]).status.code(), Some(2));
}

#[test]
fn doctor_says_nothing_good_of_a_root_without_a_host() {
    let root = Root::new("hostless", &[("etc/sysctl.conf", "")]);
    let output = root.doctor(&[]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""));
    assert!(stderr(&output).contains("no proc/sys"), "{}", stderr(&output));
}

#[test]
fn doctor_prints_json_of_a_stable_shape() {
    let root = Root::new("json", &[("proc/sys/net/core/somaxconn", "128\n")]);
    let output = root.doctor(&["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let keys =
        |value: &serde_json::Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&report), ["connections", "findings", "folklore", "verdict", "version"]);
    assert_eq!((&report["version"], &report["connections"]), (&1.into(), &9.into()));
    assert_eq!(report["verdict"], "harm");
    let findings = report["findings"].as_array().expect("an array");
    assert_eq!(keys(&findings[0]), ["name", "page", "set", "test", "value", "verdict", "why"]);
    let found = findings.iter().find(|finding| finding["name"] == "net.core.somaxconn").expect("a finding");
    assert_eq!((&found["value"], &found["verdict"]), (&"128".into(), &"harm".into()));
    assert_eq!(found["set"], serde_json::json!(["sysctl -w net.core.somaxconn=4096"]));
    let unseen = findings.iter().find(|finding| finding["name"] == "net.ipv4.tcp_mem").expect("a finding");
    assert_eq!((&unseen["value"], &unseen["verdict"]), (&serde_json::Value::Null, &"unknown".into()));
    assert_eq!(
        keys(&report["folklore"][0]),
        ["claim", "fact", "name", "page", "set", "test", "value", "verdict"]
    );
}

#[test]
fn top_wants_a_terminal_and_says_what_does_not() {
    let output = linger(&["top"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stdout(&output), "");
    assert!(
        stderr(&output).contains("wants a terminal") && stderr(&output).contains("linger tail"),
        "{output:?}"
    );
}

#[test]
fn explain_exits_0_with_a_page_and_2_where_it_knows_of_none() {
    let known = linger(&["explain", "stuck.frozen", "--lang", "en"]);
    assert_eq!((known.status.code(), stderr(&known).as_str()), (Some(0), ""));
    assert!(stdout(&known).starts_with("stuck.frozen: the client was stuck: "), "{}", stdout(&known));
    let chinese = linger(&["explain", "TIME_WAIT", "--lang", "zh"]);
    assert!(chinese.status.success() && stdout(&chinese).contains("谁"), "{}", stdout(&chinese));
    let unknown = linger(&["explain", "stuck.frozn"]);
    assert_eq!((unknown.status.code(), stdout(&unknown).as_str()), (Some(2), ""));
    let said = "linger: explain: stuck.frozn is not a topic; did you mean stuck.frozen? ";
    assert!(stderr(&unknown).starts_with(said), "{}", stderr(&unknown));
    let all = linger(&["explain"]);
    assert!(all.status.success() && stdout(&all).contains(" lost.heartbeat "), "{}", stdout(&all));
}
