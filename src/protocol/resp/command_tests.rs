//! Tests of commands: each verb whole, each refusal in its words, and the replies that need no server.

use super::*;
use crate::protocol::resp::acl::AclCommand;
use crate::protocol::resp::acts::Class;
use crate::protocol::resp::answer;
use crate::protocol::resp::client::{ClientType, KillFilter, KillForm, ListFilter};
use crate::protocol::resp::decode::{Decoder, Scratch};
use crate::protocol::resp::encode::Reply;

/// Parses one inline line and hands the outcome to `check`.
fn with<T>(line: &str, check: impl FnOnce(Result<Command<'_>, CommandError>) -> T) -> T {
    let bytes = format!("{line}\n").into_bytes();
    let mut scratch = Scratch::default();
    let arguments = Decoder::default().next_frame(&mut bytes.as_slice(), 16_384, &mut scratch);
    check(Command::parse(arguments.expect("grammatical").expect("whole")))
}

#[track_caller]
fn parses(line: &str, expected: &Command<'_>) {
    with(line, |command| assert_eq!(command.as_ref(), Ok(expected), "{line}"));
}

#[track_caller]
fn refused(line: &str, expected: &str) {
    with(line, |command| {
        assert_eq!(command.map(|_| ()), Err(CommandError::from(expected.to_owned())), "{line}");
    });
}

fn id(text: &str) -> Identity<'_> {
    Identity::new(text.as_bytes()).expect("valid")
}

#[test]
fn commands_are_parsed_whole() {
    parses("ping", &Command::Ping(None));
    parses("Ping \"a b\"", &Command::Ping(Some(b"a b")));
    parses("ECHO x", &Command::Echo(b"x"));
    parses("QUIT now", &Command::Quit);
    parses("RESET", &Command::Reset);
    let hello = |version, name, auth| Command::Hello { version, name, auth };
    let secret = Credentials { user: Some(b"default"), password: b"secret" };
    parses("HELLO", &hello(None, None, None));
    parses("HELLO 2", &hello(Some(Version::Resp2), None, None));
    parses("HELLO 3 auth default secret setname me", &hello(Some(Version::Resp3), Some(b"me"), Some(secret)));
    parses("AUTH default secret", &Command::Auth(secret));
    parses("AUTH secret", &Command::Auth(Credentials { user: None, ..secret }));
    parses("ACL whoami", &Command::Acl(AclCommand::WhoAmI));
    parses("ACL CAT Admin", &Command::Acl(AclCommand::Cat(Some(Class::Admin))));
    parses("ACL GETUSER a", &Command::Acl(AclCommand::GetUser(b"a")));
    parses("SELECT 0", &Command::Select);
    parses("BEAT", &Command::Beat);
    parses("BEATFOR a", &Command::BeatFor { identity: id("a"), token: b"" });
    parses("BEATFOR a s3cret", &Command::BeatFor { identity: id("a"), token: b"s3cret" });
    parses("SEND a \"x y\"", &Command::Send { identity: id("a"), payload: b"x y" });
    parses("WHO", &Command::Who(None));
    parses("WHO a*", &Command::Who(Some(b"a*")));
    parses("STATE a", &Command::State(id("a")));
    parses("STATE a last", &Command::LastEnd(id("a")));
    parses("PUBLISH c m", &Command::Publish { channel: b"c", payload: b"m" });
    parses("PUBSUB channels", &Command::PubsubChannels(None));
    parses("PUBSUB numpat", &Command::PubsubNumpat);
    parses("HELP", &Command::Help);
    parses("COMMAND COUNT", &Command::Command(Listing::Count));
}

#[test]
fn ident_makes_a_heartbeat_contract() {
    let plain = Command::Ident { identity: id("a"), beat: None, server_ping: false, token: b"" };
    parses("IDENT a", &plain);
    let beat = Some(Duration::from_millis(2_500));
    parses("IDENT a BEAT 2.5", &Command::Ident { identity: id("a"), beat, server_ping: false, token: b"" });
    parses(
        "ident a serverping beat 2.5",
        &Command::Ident { identity: id("a"), beat, server_ping: true, token: b"" },
    );
    for seconds in ["0", "0.01", "86401", "x", "-1", "1e3", "inf", "NaN", ".", "''"] {
        refused(&format!("IDENT a BEAT {seconds}"), "ERR BEAT takes seconds, from 0.1 to 86400");
    }
    let agreed = Command::Ident { identity: id("a"), beat, server_ping: false, token: b"t" };
    parses("IDENT a CHANNEL t BEAT 2.5", &agreed);
    let bounds = "ERR the token of a heartbeat channel has 1 to 64 bytes";
    refused(&format!("IDENT a CHANNEL {}", "t".repeat(65)), bounds);
    refused("BEATFOR a ''", bounds);
    let usage = "Usage: IDENT id [BEAT seconds] [SERVERPING] [CHANNEL token]";
    refused("IDENT a CHANNEL", &format!("ERR syntax error in IDENT option 'CHANNEL': {usage}"));
    refused("IDENT a BEAT", &format!("ERR syntax error in IDENT option 'BEAT': {usage}"));
    refused("IDENT a FOO", &format!("ERR syntax error in IDENT option 'FOO': {usage}"));
}

fn key(worker: Option<u32>) -> GlobalKey {
    GlobalKey { worker, index: 17, generation: 4711 }
}

#[test]
fn another_connection_is_named_by_its_key() {
    parses("IDENTFOR 17-4711 a", &Command::IdentFor { key: key(None), identity: id("a") });
    parses("identfor 2.17-4711 a", &Command::IdentFor { key: key(Some(2)), identity: id("a") });
    let right = "is not a key: it is as 17-4711 in the log, or 2.17-4711 of worker 2";
    for wrong in ["a", "''", "17", "2.17", "x.17-4711", "17-4711-1"] {
        for line in [format!("IDENTFOR {wrong} a"), format!("CLIENT KILL KEY {wrong}")] {
            refused(&line, &format!("ERR '{}' {right}", wrong.trim_matches('\'')));
        }
    }
    refused("IDENTFOR 17-4711", "ERR wrong number of arguments for 'identfor' command");
    let long = "x".repeat(129);
    let invalid = "ERR invalid identity: 1 to 128 bytes of UTF-8 without blanks and control characters";
    refused(&format!("IDENTFOR 17-4711 {long}"), invalid);
}

#[test]
fn lists_come_without_the_verb() {
    with("SUBSCRIBE a b", |command| {
        let Ok(Command::Subscribe(channels)) = command else { panic!("{command:?}") };
        assert_eq!(channels.iter().collect::<Vec<_>>(), [b"a", b"b"]);
    });
    with("UNSUBSCRIBE", |command| {
        assert!(matches!(command, Ok(Command::Unsubscribe(all)) if all.is_empty()));
    });
    with("COMMAND", |command| {
        assert!(matches!(command, Ok(Command::Command(Listing::Info(all))) if all.is_empty()));
    });
}

/// Each as a Redis 7.0.15 says it, the advice after it apart.
#[test]
fn refusals_are_in_the_words_of_redis() {
    for (line, text) in [
        ("PING a b", "ERR wrong number of arguments for 'ping' command"),
        ("ECHO", "ERR wrong number of arguments for 'echo' command"),
        ("RESET x", "ERR wrong number of arguments for 'reset' command"),
        ("SUBSCRIBE", "ERR wrong number of arguments for 'subscribe' command"),
        ("HELLO 4", "NOPROTO unsupported protocol version"),
        ("HELLO x", "ERR Protocol version is not an integer or out of range"),
        ("HELLO 3 FOO", "ERR Syntax error in HELLO option 'FOO'"),
        ("HELLO 3 SETNAME", "ERR Syntax error in HELLO option 'SETNAME'"),
        ("HELLO 3 SETNAME 'a b'", "ERR Client names cannot contain spaces, newlines or special characters."),
        ("AUTH", "ERR wrong number of arguments for 'auth' command"),
        ("AUTH a b c", "ERR syntax error"),
        ("ACL FOO", "ERR unknown subcommand 'FOO'. Try ACL HELP."),
        ("ACL CAT foo", "ERR Unknown category 'foo'"),
        ("ACL WHOAMI x", "ERR wrong number of arguments for 'acl|whoami' command"),
        ("ACL SETUSER a on", "ERR users are changed in their file: use 'linger user', then SIGHUP"),
        ("SELECT 1", "ERR DB index is out of range"),
        ("SELECT x", "ERR value is not an integer or out of range"),
        ("CLIENT", "ERR wrong number of arguments for 'client' command"),
        ("CLIENT FOO", "ERR unknown subcommand 'FOO'. Try CLIENT HELP."),
        ("CLIENT SETNAME", "ERR wrong number of arguments for 'client|setname' command"),
        ("CLIENT ID x", "ERR wrong number of arguments for 'client|id' command"),
        ("CLIENT LIST TYPE foo", "ERR Unknown client type 'foo'"),
        ("CLIENT LIST ID x", "ERR Invalid client ID"),
        ("CLIENT LIST FOO", "ERR syntax error"),
        ("CLIENT KILL", "ERR wrong number of arguments for 'client|kill' command"),
        ("CLIENT KILL ADDR", "ERR No such client"),
        ("CLIENT KILL ID 0", "ERR client-id should be greater than 0"),
        ("CLIENT KILL ID 9 FOO", "ERR syntax error"),
        ("CLIENT KILL ID 9 FOO x", "ERR syntax error"),
        ("CLIENT KILL SKIPME maybe", "ERR syntax error"),
        ("CLIENT NO-EVICT x", "ERR syntax error"),
        ("CLIENT TRACKING x", "ERR syntax error"),
        ("COMMAND COUNT x", "ERR wrong number of arguments for 'command|count' command"),
        ("CONFIG", "ERR wrong number of arguments for 'config' command"),
        ("CONFIG GET", "ERR wrong number of arguments for 'config|get' command"),
        ("PUBSUB NUMPAT x", "ERR wrong number of arguments for 'pubsub|numpat' command"),
    ] {
        refused(line, text);
    }
}

#[test]
fn an_unknown_verb_is_told_what_is_understood() {
    with("FOO a 'b c'", |command| {
        let Err(CommandError(text)) = command else { panic!("{command:?}") };
        let redis = "ERR unknown command 'FOO', with args beginning with: 'a' 'b c' ";
        assert!(text.starts_with(redis), "{text}");
        assert!(Verb::ALL.iter().all(|verb| text.contains(verb.entry().name)), "{text}");
    });
    let long = "x".repeat(3_000);
    with(&format!("{long} {long} {long}"), |command| {
        assert!(command.unwrap_err().0.len() < 1_000);
    });
}

#[test]
fn client_libraries_get_through_their_greeting() {
    let client = |line: &str, expected| parses(line, &Command::Client(expected));
    client("CLIENT SETNAME me", ClientCommand::SetName(b"me"));
    client("CLIENT SETNAME ''", ClientCommand::SetName(b""));
    client("client getname", ClientCommand::GetName);
    client("CLIENT ID", ClientCommand::Id);
    client("CLIENT INFO", ClientCommand::Info);
    client("CLIENT LIST", ClientCommand::List(ListFilter::All));
    client("CLIENT LIST TYPE pubsub", ClientCommand::List(ListFilter::Type(ClientType::Pubsub)));
    for accepted in ["SETINFO lib-name redis-py", "SETINFO LIB-VER 7.1", "NO-EVICT on", "NO-TOUCH off"] {
        client(&format!("CLIENT {accepted}"), ClientCommand::Accepted);
    }
    client("CLIENT TRACKING OFF", ClientCommand::Accepted);
    client("CLIENT REPLY ON", ClientCommand::Accepted);
    client("CLIENT LIST KEY 17-4711", ClientCommand::List(ListFilter::Key(key(None))));
    with("CLIENT LIST ID 4 5", |command| {
        let Ok(Command::Client(ClientCommand::List(ListFilter::Ids(ids)))) = command else { panic!() };
        assert_eq!(ids.iter().collect::<Vec<_>>(), [4, 5]);
    });
}

#[test]
fn kill_takes_an_address_or_conditions() {
    let kill = |line: &str, filter| parses(line, &Command::Client(ClientCommand::Kill(filter)));
    let none = KillFilter {
        form: KillForm::Filter,
        id: None,
        key: None,
        peer: None,
        local: None,
        client_type: None,
        user: None,
        skip_me: true,
    };
    let v4 = Some("1.2.3.4:5".parse().unwrap());
    kill(
        "CLIENT KILL 1.2.3.4:5",
        KillFilter { form: KillForm::Address, peer: v4, skip_me: false, ..none.clone() },
    );
    kill(
        "CLIENT KILL ADDR [::ffff:1.2.3.4]:5 skipme no",
        KillFilter { peer: v4, skip_me: false, ..none.clone() },
    );
    let local = Some("[::1]:7000".parse().unwrap());
    kill(
        "CLIENT KILL ID 7 LADDR [::1]:7000 TYPE normal USER default",
        KillFilter {
            id: Some(7),
            local,
            client_type: Some(ClientType::Normal),
            user: Some(b"default".to_vec()),
            ..none.clone()
        },
    );
    kill("CLIENT KILL KEY 2.17-4711", KillFilter { key: Some(key(Some(2))), ..none });
}

#[test]
fn a_resp2_subscriber_may_only_say_what_cannot_be_confused() {
    for line in
        ["PING", "QUIT", "RESET", "BEAT", "SUBSCRIBE a", "UNSUBSCRIBE", "PSUBSCRIBE a", "PUNSUBSCRIBE"]
    {
        with(line, |command| assert_eq!(command.unwrap().allowed_while_subscribed(), Ok(()), "{line}"));
    }
    let text = "ERR Can't execute 'publish': only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT / RESET / BEAT are \
                allowed in this context";
    with("PUBLISH a b", |command| {
        assert_eq!(command.unwrap().allowed_while_subscribed(), Err(text.into()));
    });
}

#[test]
fn what_needs_no_server_is_answered_from_the_table() {
    let answered = |line: &str, subscribed: bool, version| {
        with(line, |command| {
            let mut out = Vec::new();
            let done = answer(&command.unwrap(), subscribed, &mut Reply::new(&mut out, version));
            assert_eq!(done, !out.is_empty());
            String::from_utf8(out).unwrap()
        })
    };
    let two = |line| answered(line, false, Version::Resp2);
    assert_eq!(two("PING"), "+PONG\r\n");
    assert_eq!(two("PING x"), "$1\r\nx\r\n");
    assert_eq!(answered("PING", true, Version::Resp2), "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    assert_eq!(answered("PING", true, Version::Resp3), "+PONG\r\n");
    assert_eq!(two("ECHO x"), "$1\r\nx\r\n");
    assert_eq!(two("CONFIG GET save"), "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
    assert_eq!(two("CONFIG GET nosuch"), "*0\r\n");
    assert_eq!(two("COMMAND COUNT"), format!(":{}\r\n", Verb::ALL.len()));
    assert!(two("COMMAND INFO ping nosuch").starts_with("*2\r\n*10\r\n$4\r\nping\r\n:-1\r\n"));
    assert!(two("COMMAND INFO ping nosuch").ends_with("$-1\r\n"));
    assert!(
        answered("COMMAND DOCS", false, Version::Resp3).starts_with(&format!("%{}\r\n", Verb::ALL.len()))
    );
    assert!(two("HELP").contains("+PING [message] - Answers PONG, or the message.\r\n"));
    assert!(two("HELP").contains("+BEAT - A heartbeat"));
    assert!(two("CLIENT HELP").starts_with(&format!("*{}\r\n", crate::protocol::resp::client::HELP.len())));
    assert_eq!(two("BEAT"), "");
    assert_eq!(two("STATE a"), "");
}
