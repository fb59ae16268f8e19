//! `linger load` on a server with users.

use super::{count, json, load, url};
use crate::common::Server;
use crate::common::file::TempFile;
use linger::protocol::users::Hash;

#[test]
fn each_client_logs_in_first_and_so_does_who_hears_the_verdicts() {
    let users =
        TempFile::new(&format!("user load on #{} +@all allchannels allidentities\n", Hash::of(b"s3cret")));
    let listen = format!("resp://127.0.0.1:0?heartbeat.grace=2s&users={}", users.path());
    let server = Server::start(&["--listen", &listen, "--admin", "127.0.0.1:0"]);
    let run = ["-c", "10", "--rate", "100", "-d", "500ms", "--fault", "fin=30%", "--json"];
    let with = |arguments: &[&str]| load(&url(&server, "resp"), &[arguments, &run].concat());
    let password = TempFile::new("s3cret\n");
    let output = with(&["--user", "load", "--password-file", password.path()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let run_found = json(&output);
    assert!(count(&run_found, "/requests/answered") > 0, "{run_found}");
    assert_eq!(count(&run_found, "/verdicts/wrong"), 0, "{run_found}");

    let wrong = TempFile::new("other\n");
    let empty = TempFile::new("\n");
    for (arguments, why) in [
        (&["--user", "load", "--password-file", wrong.path()][..], "WRONGPASS"),
        (&["--user", "load", "--password-file", empty.path()], "its first line is to be the password"),
        (&["--user", "load"], "--password-file"),
        (&[], "NOAUTH"),
    ] {
        let output = with(arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() != Some(0) && told.contains(why), "{arguments:?}: {output:?}");
    }
    let output = load("echo://127.0.0.1:1", &["--user", "load", "--password-file", password.path()]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("echo has no users"), "{output:?}");
}
