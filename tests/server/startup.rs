//! How a server starts, and how it does not: what it prints, where, and with which exit code.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]
#![allow(clippy::print_stderr, reason = "a part that is skipped is said")]
#![allow(clippy::disallowed_types, reason = "clients of the tests are ordinary blocking ones")]
#![allow(clippy::disallowed_methods, reason = "tests measure on the real clock")]

use crate::common::{Client, DEADLINE};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};

fn linger(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_linger")).arg("serve").args(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A server whose output is read as it comes.
struct Raw {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Raw {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_linger"))
            .arg("serve")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// The next line of its log, without hints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        while line.is_empty() || line.starts_with("hint: ") {
            line.clear();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "the log has ended");
        }
        line
    }

    /// Ends it, and gives what it printed and the rest of its log.
    fn finish(mut self) -> (String, String) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        let (mut out, mut log) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.log.read_to_string(&mut log).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        (out, log)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_address_in_use_is_said_clearly_and_once() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("echo://{}", taken.local_addr().unwrap());
    let port = taken.local_addr().unwrap().port();
    let logged = linger(&["--admin", "off", "--listen", &url, "--log-format", "json"]);
    assert_eq!(logged.status.code(), Some(1));
    assert_eq!(text(&logged.stdout), "", "nothing is served, so nothing is greeted");
    let event: Value = serde_json::from_str(text(&logged.stderr).trim()).expect("one line, and it is JSON");
    assert_eq!((&event["event"], &event["level"]), (&"fatal".into(), &"ERROR".into()));
    assert_eq!(event["cannot"], format!("listen on 127.0.0.1:{port}"));
    let advice = format!("ss -tanp 'sport = :{port}'");
    assert!(event["why"].as_str().unwrap().contains(&advice), "{event}");
    // With the log switched off, one still sees why nothing runs.
    let silent = linger(&["--admin", "off", "--listen", &url, "--log", "off"]);
    assert_eq!(silent.status.code(), Some(1));
    let said = text(&silent.stderr);
    assert!(
        said.starts_with(&format!("linger: cannot listen on 127.0.0.1:{port}: Address already in use")),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1);
}

#[test]
fn too_few_descriptors_for_a_single_client_is_an_error_with_advice() {
    let script = "ulimit -n 64; exec \"$0\" serve --admin 127.0.0.1:0 --listen echo://127.0.0.1:0 --log off";
    let output = Command::new("bash").args(["-c", script, env!("CARGO_BIN_EXE_linger")]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("cannot serve with 64 descriptors") && said.contains("ulimit -Hn"), "{said}");
}

#[test]
fn the_admin_interface_is_not_opened_to_other_hosts_by_a_slip() {
    let output = linger(&["--admin", "0.0.0.0:0", "--listen", "echo://127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("has no token")
            && said.contains("admin.token_file")
            && said.contains("nothing was started"),
        "{said}"
    );
    let meant = [
        "--admin",
        "0.0.0.0:0",
        "--set",
        "admin.token_file=tests/common/token",
        "--listen",
        "echo://127.0.0.1:0",
    ];
    let mut server = Raw::start(&meant);
    assert!(server.line().contains("listener=echo"));
    assert!(server.line().contains("listener=admin protocol=http address=0.0.0.0:"));
    server.finish();
}

#[test]
fn the_greeting_says_what_listens_the_limits_and_how_to_try_it() {
    let listeners =
        ["--listen", "echo://127.0.0.1:0", "--listen", "resp://0.0.0.0:0", "--admin", "127.0.0.1:0"];
    let mut server = Raw::start(&[listeners.as_slice(), &["--max-connections", "77"]].concat());
    let address = |line: &str| -> SocketAddr {
        let field = line.split(' ').find_map(|field| field.strip_prefix("address=")).unwrap();
        field.parse().unwrap()
    };
    let (echo, resp, admin) = (address(&server.line()), address(&server.line()), address(&server.line()));
    let (greeting, log) = server.finish();
    for part in [
        format!("echo   {echo}"),
        format!("resp   {resp}"),
        format!("admin  {admin}"),
        "limits: 77 client connections".to_owned(),
        format!("printf hello | nc -N 127.0.0.1 {}", echo.port()),
        // One cannot connect to 0.0.0.0 everywhere; the loopback address is meant.
        format!("redis-cli -h 127.0.0.1 -p {}", resp.port()),
        format!("curl http://{admin}/connections"),
        "SIGTERM".to_owned(),
    ] {
        assert!(greeting.contains(&part), "{part} in\n{greeting}");
    }
    assert_ne!(echo.port(), 0, "port 0 lets the kernel choose");
    assert!(log.contains(" stopped "), "{log}");
}

#[test]
fn every_line_of_the_log_can_be_read_by_a_program() {
    for format in ["text", "json"] {
        let mut server = Raw::start(&[
            "--log",
            "debug",
            "--log-format",
            format,
            "--admin",
            "off",
            "--listen",
            "resp://127.0.0.1:0?name=a-name&frame_max=64&linger=10ms",
        ]);
        let first = server.line();
        let field = first.replace(['"', ','], " ").replace("address=", "address ");
        let address = field.split_whitespace().find(|word| word.starts_with("127.0.0.1:")).unwrap();
        let mut client = Client::connect(address.parse().unwrap());
        // An identity and an error text with everything that has to be escaped.
        client.send("*2\r\n$5\r\nIDENT\r\n$9\r\na \"b\"=\\\t\u{e4}\r\n");
        client.send("*1\r\n$9999\r\n");
        client.read_to_end().unwrap();
        drop(client);
        let (_, rest) = server.finish();
        let lines: Vec<&str> = rest.lines().collect();
        assert!(lines.len() >= 4, "{rest}");
        let names: Vec<String> = lines
            .iter()
            .copied()
            .chain([first.trim()])
            .map(|line| match format {
                "json" => {
                    let event: Value =
                        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                    assert!(event["time"].is_string() && event["level"].is_string(), "{line}");
                    event["event"].as_str().unwrap().to_owned()
                }
                _ => fields(line)[2].clone(),
            })
            .collect();
        for name in ["listening", "protocol_error", "end", "draining", "stopped"] {
            assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
        }
    }
}

/// Takes a text line apart: time, level, event, then `key=value`, with the value quoted where it must be.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        let field = fields.last_mut().unwrap();
        match character {
            '\\' if quoted => field.extend([character, characters.next().expect("something escaped")]),
            '"' => {
                quoted = !quoted;
                field.push(character);
            }
            ' ' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    assert!(!quoted, "{line}");
    // The level is padded to a width.
    fields.retain(|field| !field.is_empty());
    for pair in &fields[3..] {
        let (key, value) = pair.split_once('=').unwrap_or_else(|| panic!("{pair} in {line}"));
        assert!(key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{key} in {line}");
        assert!(!value.is_empty(), "{line}");
    }
    fields
}

#[test]
fn more_endings_than_lines_are_counted_and_none_is_lost() {
    let mut server = Raw::start(&[
        "--log",
        "debug",
        "--log-format",
        "json",
        "--set",
        "log.endings_per_second=3",
        "--listen",
        "resp://127.0.0.1:0",
        "--admin",
        "off",
    ]);
    let event: Value = serde_json::from_str(&server.line()).unwrap();
    let address = event["address"].as_str().unwrap().parse().unwrap();
    for _ in 0..20 {
        let mut client = Client::connect(address);
        client.ask("QUIT", "+OK\r\n");
    }
    // The count is told within a second, although nobody comes any more.
    let mut told = 0;
    let mut left_out = 0;
    while told + left_out < 20 {
        let event: Value = serde_json::from_str(&server.line()).unwrap();
        match event["event"].as_str().unwrap() {
            "end" => told += 1,
            // The same for lines about the opening.
            "lines_not_logged" => {
                let kinds = event["events"].as_str().unwrap().split(',');
                let ends = kinds.filter_map(|kind| kind.strip_prefix("end:"));
                left_out += ends.map(|count| count.parse::<u64>().unwrap()).sum::<u64>();
            }
            _ => {}
        }
    }
    assert!(left_out >= 11, "{told} told, {left_out} counted: at most 3 a second, and this took no three");
    let (_, rest) = server.finish();
    assert!(rest.contains("\"reasons\":\"peer.goodbye:20\""), "{rest}");
}

#[test]
fn ipv6_alone_and_together_with_ipv4() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("this host has no IPv6: skipped");
        return;
    }
    let mut server = Raw::start(&[
        "--admin",
        "off",
        "--log-format",
        "json",
        "--listen",
        "resp://[::1]:0?name=six",
        "--listen",
        "resp://[::]:0?name=both",
        "--listen",
        "resp://[::]:0?name=only&v6_only=true",
    ]);
    let mut port = || {
        let event: Value = serde_json::from_str(&server.line()).unwrap();
        event["address"].as_str().unwrap().parse::<SocketAddr>().unwrap().port()
    };
    let (six, both, only) = (port(), port(), port());
    let mut reached = Vec::new();
    for (ip, port) in [("[::1]", six), ("127.0.0.1", both), ("[::1]", both), ("[::1]", only)] {
        let mut client = Client::connect(format!("{ip}:{port}").parse().unwrap());
        client.ask("PING", "+PONG\r\n");
        reached.push(client);
    }
    // IPv4 clients are shown as such.
    reached[1].send("CLIENT INFO\r\n");
    let mut info = [0; 200];
    reached[1].stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let count = reached[1].stream.read(&mut info).unwrap();
    assert!(text(&info[..count]).contains("addr=127.0.0.1:"), "{}", text(&info[..count]));
    assert!(std::net::TcpStream::connect(("127.0.0.1", only)).is_err(), "v6_only");
    drop(reached);
    let (greeting, _) = server.finish();
    assert!(greeting.contains(&format!("nc -N ::1 {six}")), "{greeting}");
}

#[test]
fn an_address_of_one_interface_is_listened_on_and_printed_back() {
    // What interfaces there are is read as the socket is opened: this one is nowhere, and the address is sound.
    let url = "resp://[fe80::1%nosuch0]:7000";
    let checked =
        Command::new(env!("CARGO_BIN_EXE_linger")).args(["check", "--listen", url]).output().unwrap();
    assert!(text(&checked.stdout).contains("\naddress = \"[fe80::1%nosuch0]:7000\""), "{checked:?}");
    let output = linger(&["--admin", "off", "--listen", url]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("[fe80::1%nosuch0]:7000") && said.contains("no interface of this host is called"),
        "{said}"
    );
    let bare = linger(&["--admin", "off", "--listen", "resp://[fe80::1]:7000"]);
    assert_eq!(bare.status.code(), Some(2));
    assert!(text(&bare.stderr).contains("does not say on which interface"), "{bare:?}");

    let script = "ip link set lo up && ip -6 address add fe80::1/64 dev lo nodad && exec \"$0\" \"$@\"";
    let possible = Command::new("unshare").args(["-n", "true"]).status().is_ok_and(|status| status.success());
    if !possible {
        eprintln!("skipped: no network namespace can be made here");
        return;
    }
    for interface in ["lo", "1"] {
        let program = ["unshare", "-n", "sh", "-c", script, env!("CARGO_BIN_EXE_linger")];
        let url = format!("resp://[fe80::1%{interface}]:0");
        let server = crate::common::Server::start_as(&program, &["--listen", &url, "--admin", "off"]);
        let listening = server.events("listening");
        let address = listening[0]["address"].as_str().expect("an address");
        assert!(address.starts_with(&format!("[fe80::1%{interface}]:")), "{address}");
        let pid = server.pid().to_string();
        #[cfg(feature = "load")]
        for interface in ["lo", "1"] {
            let port = address.rsplit_once(':').expect("a port").1;
            let target = format!("resp://[fe80::1%{interface}]:{port}");
            let loaded = Command::new("nsenter")
                .args([
                    "-t",
                    &pid,
                    "-n",
                    env!("CARGO_BIN_EXE_linger"),
                    "load",
                    &target,
                    "-c",
                    "2",
                    "-d",
                    "100ms",
                ])
                .output()
                .unwrap();
            assert_eq!(loaded.status.code(), Some(0), "{target}: {loaded:?}");
        }
    }
}

#[test]
fn as_many_listeners_as_can_be_told_apart_and_no_more() {
    let url = |number: usize| format!("echo://127.0.0.1:0?name=n{number}");
    let flags = |count: usize| {
        (1..=count).flat_map(|number| ["--listen".to_owned(), url(number)]).collect::<Vec<_>>()
    };
    // With the admin interface it is one too many: said before any socket is opened.
    for command in ["check", "serve"] {
        let mut too_many = Command::new(env!("CARGO_BIN_EXE_linger"));
        let output =
            too_many.arg(command).args(["--admin", "127.0.0.1:0"]).args(flags(256)).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{command}");
        let said = text(&output.stderr);
        assert!(said.contains("n256") && said.contains("one of 257 listeners"), "{said}");
    }
    let flags = flags(255);
    let mut arguments = vec!["--admin", "127.0.0.1:0"];
    arguments.extend(flags.iter().map(String::as_str));
    let server = crate::common::Server::start(&arguments);
    let mut last = server.connect("n255");
    last.send("hello");
    last.half_close();
    assert_eq!(last.read_to_end().unwrap(), b"hello");
    // The admin interface is the last of all.
    assert!(!server.metrics().is_empty());
}
