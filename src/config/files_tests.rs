//! Files that a configuration names: of users, and of a token.

use super::settings::ListenerSettings;
use super::*;
use crate::protocol::users::Guard;

/// Settings of a listener with that URL, where `/users` and `/token` are files with these texts.
fn with(urls: &[&str], admin: &[&str], files: [Option<&str>; 2]) -> Result<Effective, Vec<String>> {
    let overrides = admin.iter().map(|text| {
        let (key, value) = text.split_once('=').unwrap();
        Override { flag: format!("--set {text}"), key: key.to_owned(), value: value.to_owned() }
    });
    let listen = urls.iter().map(|&url| url.to_owned()).collect();
    let sources = Sources { file: None, listen, overrides: overrides.collect() };
    let texts = |sources: &Sources| {
        let (tables, _) = resolve_all(sources, None, Protocol::REGISTRY);
        let mut texts = Texts::default();
        texts.add(&tables, |path, _| {
            let [users, token] = files;
            let text = if path == "/users" { users } else { token };
            text.map(str::to_owned).ok_or_else(|| "the file cannot be read".to_owned())
        });
        // As it comes to a worker.
        Texts::unpack(&texts.pack()).unwrap()
    };
    let read = resolve_read(&sources, &texts(&sources));
    read.map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

fn listener(effective: &Effective) -> &ListenerSettings {
    &effective.settings.listeners[0]
}

#[test]
fn what_a_listener_asks_of_its_clients_follows_from_its_address_its_users_and_its_mode() {
    let guard =
        |url: &str| listener(&with(&[url], &[], [Some("user a on nopass"), None]).unwrap()).guard.clone();
    for open in [
        "resp://127.0.0.1:0",
        "resp://[::1]:0",
        "resp://[::ffff:127.0.0.1]:0",
        "echo://0.0.0.0:0",
        "resp://0.0.0.0:0?protected_mode=false",
    ] {
        assert_eq!(guard(open), Guard::Open, "{open}");
    }
    for protected in ["resp://0.0.0.0:0", "resp://[::]:0", "resp://192.0.2.1:0?protected_mode=true"] {
        assert_eq!(guard(protected), Guard::Protected, "{protected}");
    }
    for users in ["resp://0.0.0.0:0?users=/users", "resp://127.0.0.1:0?users=/users&protected_mode=false"] {
        assert!(matches!(guard(users), Guard::Users(users) if users.find(b"a").is_some()), "{users}");
    }
}

#[test]
fn a_listener_that_anybody_may_come_in_by_is_pointed_out() {
    let hints = |url: &str| {
        let effective = with(&[url], &[], [Some(""), None]).unwrap();
        effective.hints.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let protected = hints("resp://0.0.0.0:7000");
    assert!(
        protected.contains("other hosts can reach 0.0.0.0:7000") && protected.contains("users = FILE"),
        "{protected}"
    );
    for fine in [
        "resp://0.0.0.0:7000?users=/users",
        "resp://127.0.0.1:7000",
        "echo://0.0.0.0:7000",
        "resp://0.0.0.0:7000?protected_mode=false",
    ] {
        assert_eq!(hints(fine), "", "{fine}");
    }
}

#[test]
fn all_that_is_wrong_with_users_is_told_with_the_rest_and_its_lines() {
    let urls = ["resp://127.0.0.1:1?users=/users&linger=7d", "resp://127.0.0.1:2?users=/users"];
    let said = with(&urls, &[], [Some("user a >secret\n\nuser b +fly\n"), None]).unwrap_err();
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(
        said[0].starts_with("/users:1:1: rule > of user a is a password that everybody can read"),
        "{said:#?}"
    );
    assert!(said[1].starts_with("/users:3:1: rule +fly of user b names no command"), "{said:#?}");
    assert!(said[2].contains("linger"), "{said:#?}");
    let said = with(&urls[1..], &[], [None, None]).unwrap_err();
    assert!(
        matches!(said.as_slice(), [one] if one.contains("/users: the file cannot be read") && one.contains("linger user add")),
        "{said:#?}"
    );
}

#[test]
fn an_admin_interface_that_others_can_reach_needs_a_token_and_a_unix_socket_none() {
    let admin = |settings: &[&str], token| {
        let effective = with(&["echo://127.0.0.1:0"], settings, [None, token])?;
        Ok::<_, Vec<String>>(effective.settings.listeners.into_iter().next_back().unwrap())
    };
    let remote = ["admin.address=0.0.0.0:7070"];
    assert!(admin(&remote, None).unwrap_err()[0].contains("set admin.token_file"));
    let remote = ["admin.address=0.0.0.0:7070", "admin.token_file=/token"];
    assert!(admin(&remote, None).unwrap_err()[0].contains("/token: the file cannot be read"));
    assert!(admin(&remote, Some("short")).unwrap_err()[0].contains("the token has 5 bytes"));
    let token = admin(&remote, Some("0123456789abcdef\n")).unwrap().token.unwrap();
    assert!(token.is_in(Some("Bearer 0123456789abcdef")));
    assert!(
        admin(&["admin.token_file=/token"], Some("0123456789abcdef")).unwrap().token.is_some(),
        "on loopback, too"
    );
    let unix = ["admin.address=unix:/run/linger.sock", "admin.token_file=/token"];
    assert_eq!(admin(&unix, None).unwrap().token, None);
}

#[test]
fn all_that_a_server_reads_goes_to_its_workers_as_it_is() {
    let file = "[[listener]]\nprotocol = 'echo'\naddress = '127.0.0.1:1'\n\
                tls = { certificate = 'a.pem,b.pem', key = 'k.pem', client_certificate = 'required', client_ca = 'ca.pem', client_crl = 'crl.pem' }\n\
                [[listener]]\nprotocol = 'echo'\naddress = '127.0.0.1:2'\ntls = { enabled = 'off', certificate = 'unused.pem' }\n\
                [[listener]]\nprotocol = 'tcp'\naddress = '127.0.0.1:3'\nupstream = 'app'\n\
                [upstream.app]\nservers = '127.0.0.1:4'\ntls = { enabled = true, name = 'app', ca = 'roots.pem' }\n";
    let (tables, _) = resolve_all(&Sources::default(), Some(("f", file)), Protocol::REGISTRY);
    let mut texts = Texts::of_file(file.to_owned());
    texts.add(&tables, |path, _| {
        if path == "k.pem" { Err("no: 3:".to_owned()) } else { Ok(format!("{path}:9:\0\u{e9}\n")) }
    });
    let unpacked = Texts::unpack(&texts.pack()).unwrap();
    assert_eq!((&unpacked, unpacked.file.as_str()), (&texts, file));
    for path in ["a.pem", "b.pem", "ca.pem", "crl.pem", "roots.pem"] {
        assert_eq!(unpacked.read_tls(Path::new(path)), Ok(format!("{path}:9:\0\u{e9}\n")));
    }
    assert_eq!(unpacked.read_tls(Path::new("k.pem")), Err("no: 3:".to_owned()));
    assert_eq!(unpacked.read_tls(Path::new("unused.pem")), Err("the file was not read".to_owned()));
    assert!(!format!("{unpacked:?}").contains(":9:"), "a key is not written anywhere");
    for wrong in ["x", "5:abc", "3:abc1:p", "3:abc1:p1:?0:", "3:abc1:p1:+99999999999999999999:"] {
        assert_eq!(Texts::unpack(wrong), None, "{wrong}");
    }
}

#[test]
fn each_kind_of_file_has_its_bound() {
    use crate::protocol::{TOKEN_FILE_BYTES_MAX, users};
    let url = "resps://127.0.0.1:1?users=/users&tls.certificate=a.pem&tls.client_certificate=required&tls.client_ca=b.pem\
               &tls.client_crl=c.pem";
    let token =
        Override { flag: "--set".to_owned(), key: "admin.token_file".to_owned(), value: "/token".to_owned() };
    let address =
        Override { key: "admin.address".to_owned(), value: "127.0.0.1:2".to_owned(), ..token.clone() };
    let sources = Sources { file: None, listen: vec![url.to_owned()], overrides: vec![address, token] };
    let (tables, _) = resolve_all(&sources, None, Protocol::REGISTRY);
    let read = std::cell::RefCell::new(Vec::new());
    Texts::default().add(&tables, |path, bytes_max| {
        read.borrow_mut().push((path.to_owned(), bytes_max));
        Err("it is not there".to_owned())
    });
    let mut read = read.into_inner();
    read.sort();
    let certificates = ["a.pem", "b.pem", "c.pem"].map(|path| (path.to_owned(), crate::tls::FILE_BYTES_MAX));
    let others =
        [("/token".to_owned(), TOKEN_FILE_BYTES_MAX), ("/users".to_owned(), users::file::FILE_BYTES_MAX)];
    assert_eq!(read, [&others[..], &certificates].concat());
}

#[test]
fn what_is_too_much_for_one_message_to_a_worker_is_said_of_the_file_that_makes_it_so() {
    let url = "resps://127.0.0.1:1?tls.certificate=a.pem&tls.client_certificate=required&tls.client_ca=b.pem&tls.client_crl=c.pem";
    let sources = Sources { listen: vec![url.to_owned()], ..Sources::default() };
    let mistakes = resolve_text(&sources, None, |path, bytes_max| {
        assert_eq!(bytes_max, crate::tls::FILE_BYTES_MAX);
        Ok("x".repeat(if path == Path::new("c.pem") { bytes_max } else { bytes_max / 3 }))
    })
    .unwrap_err();
    let said: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    let expected = "tls.client_crl of listener resp: c.pem: with it, all files that the configuration names have more than 24 MiB together";
    assert!(said.iter().any(|said| said.contains(expected)), "{said:#?}");
    assert_eq!(said.iter().filter(|said| said.contains("24 MiB")).count(), 1, "{said:#?}");
}
