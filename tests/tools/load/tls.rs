//! `linger load` over TLS.

use super::{count, json, load};
use crate::common::Server;
use crate::common::file::TempFile;
use crate::common::tls::House;

fn server(house: &House, query: &str) -> Server {
    Server::start(&["--listen", &house.listener("echos", query), "--admin", "127.0.0.1:0"])
}

fn url(server: &Server) -> String {
    format!("echos://{}", server.address("echo"))
}

#[test]
fn sessions_are_resumed_unless_it_is_told_not_to() {
    let house = House::new();
    let server = server(&house, "");
    let mut arguments = vec!["--cacert", house.ca.path(), "--sni", "localhost"];
    arguments.extend(["-c", "10", "--rate", "200", "--churn", "100", "-d", "1s", "--json"]);
    let run = json(&load(&url(&server), &arguments));
    let (opened, resumed) = (count(&run, "/connections/opened"), count(&run, "/connections/resumed"));
    // Those that are opened together at the beginning have nothing to resume.
    assert!(resumed > 0 && resumed >= opened - 20, "{resumed} of {opened}");

    arguments.push("--no-resumption");
    let run = json(&load(&url(&server), &arguments));
    assert!(count(&run, "/connections/opened") > 20, "{run}");
    assert_eq!(count(&run, "/connections/resumed"), 0);
}

#[test]
fn certificates_are_verified_on_both_sides() {
    let house = House::new();
    let server =
        server(&house, &format!("&tls.client_certificate=required&tls.client_ca={}", house.ca.path()));
    let own = TempFile::new(&house.authority.sign("dev1").both());
    let run = ["-c", "2", "--rate", "20", "-d", "200ms"];
    let with = |arguments: &[&str]| {
        let output = load(&url(&server), &[&["--sni", "localhost"], arguments, &run].concat());
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let (code, told) = with(&["--cacert", house.ca.path(), "--cert", own.path()]);
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = with(&["--cacert", own.path(), "--cert", own.path()]);
    assert_ne!(code, Some(0));
    assert!(told.contains("speak TLS") && told.contains("authority"), "{told}");
    let (code, told) = with(&["--cacert", house.ca.path()]);
    assert_ne!(code, Some(0), "{told}");
}
