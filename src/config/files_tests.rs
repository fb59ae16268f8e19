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
    let read = resolve_read(&sources, &texts(&sources), no_files);
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
