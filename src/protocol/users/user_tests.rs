//! Tests of users: what rules make of them, and in which order.

use super::*;
use proptest::prelude::*;

fn user(rules: &str) -> User {
    let mut user = User::default();
    for rule in rules.split_whitespace() {
        user.apply(rule).unwrap_or_else(|error| panic!("{rule}: {error:?}"));
    }
    user
}

fn act(name: &str) -> Act {
    Act::all().find(|act| act.name() == name).unwrap()
}

fn may(rules: &str, name: &str) -> bool {
    user(rules).may(act(name))
}

#[test]
fn rules_are_applied_from_left_to_right_and_the_later_one_wins() {
    assert!(may("+@all", "ping") && !may("+@all -@all", "ping") && may("-@all +ping", "ping"));
    assert!(may("-@connection +ping", "ping") && !may("+ping -@connection", "ping"));
    assert!(may("+client -client|kill", "client|list") && !may("+client -client|kill", "client|kill"));
    assert!(!may("+@all -@dangerous", "client|kill") && may("+@all -@dangerous", "client|id"));
    assert!(
        may("+@all -client +client|kill", "client|kill") && !may("+@all -client +client|kill", "client|id")
    );
    assert!(!may("", "ping") && !may("+@all reset", "ping"));
    assert!(may("+@ALL -@Admin +PING", "ping") && user("ON NoPass").is_on());
}

#[test]
fn passwords_are_added_removed_and_reset() {
    let hash = |password: &[u8]| format!("#{}", Hash::of(password));
    let (a, b) = (hash(b"a"), hash(b"b"));
    let takes = |rules: &str, password: &[u8]| user(rules).takes(&Hash::of(password));
    assert!(takes(&format!("on {a} {b}"), b"a") && takes(&format!("on {a} {b}"), b"b"));
    assert!(!takes(&a, b"a"), "off");
    assert!(!takes(&format!("on {a} !{}", &a[1..]), b"a"));
    assert!(takes("on nopass", b"anything") && !takes(&format!("on nopass {a}"), b"anything"));
    assert!(takes(&format!("on {a} nopass"), b"anything") && !takes(&format!("on {a} resetpass"), b"a"));
    assert!(!takes("on", b""), "without a password nobody logs in");
}

#[test]
fn channels_and_identities_match_patterns_and_patterns_match_letter_by_letter() {
    let one = user("&news.* &chat claim:dev-? vouch:dev-* send:*");
    assert!(one.may_use(b"news.a") && one.may_use(b"chat") && !one.may_use(b"chats"));
    assert!(one.may_listen(b"news.*") && !one.may_listen(b"news.a*") && !one.may_listen(b"*"));
    assert!(
        one.may_claim("dev-1") && !one.may_claim("dev-10") && one.may_vouch("dev-10") && one.may_send("x")
    );
    assert!(user("allchannels").may_listen(b"anything*") && !user("allchannels resetchannels").may_use(b"a"));
    let all = user("allidentities");
    assert!(all.may_claim("a") && all.may_vouch("a") && all.may_send("a"));
    assert!(!user("allidentities resetidentities").may_send("a"));
    assert!(user("&*").hears_all_of(&one) && !one.hears_all_of(&user("&*")));
    assert!(one.hears_all_of(&user("&chat")) && !user("&chat").hears_all_of(&one));
}

#[test]
fn what_is_no_rule_is_said_in_a_sentence_of_its_own() {
    let said = |rule: &str| {
        let RuleError { wrong, right } = User::default().apply(rule).unwrap_err();
        format!("{rule} {wrong}: {right}")
    };
    assert!(said(">secret").contains("everybody can read") && said(">secret").contains("linger user passwd"));
    assert!(said("+@string").contains("the classes are all, connection"));
    assert!(said("+get").contains("names no command"));
    assert!(said("-client|fly").contains("names no command"));
    assert!(said("#12").contains("64 hexadecimal digits") && said("!12").contains("64"));
    assert!(said("(+get ~a)").contains("selector"));
    assert!(said("claim:").contains("has no pattern") && said("&").contains("has no pattern"));
    assert!(said("onn").contains("is no rule") && said("é").contains("is no rule"));
    for without_effect in ["~*", "%R~a*", "allkeys", "resetkeys", "sanitize-payload"] {
        assert_eq!(user(without_effect), User::default(), "{without_effect}");
    }
}

fn rule() -> impl Strategy<Value = String> {
    let words = "(on|off|nopass|resetpass|allchannels|resetchannels|allidentities|resetidentities|reset)";
    let acts = "[+-](@all|@connection|@admin|@dangerous|@others|@pubsub|ping|client|client\\|kill|client\\|id|acl|send)";
    let patterns = "(&|claim:|vouch:|send:)([a-c]|\\*|[a-c]\\*)";
    let hashes = (0_u8..3, any::<bool>())
        .prop_map(|(at, adds)| format!("{}{}", if adds { '#' } else { '!' }, Hash::of(&[at])));
    prop_oneof![2 => words, 8 => acts, 4 => patterns, 2 => hashes]
}

proptest! {
    /// The oracle: of every act, the last rule that is about it says whether it is allowed.
    #[test]
    fn the_last_rule_about_an_act_says_whether_it_is_allowed(rules in prop::collection::vec(rule(), 0..12)) {
        let one = user(&rules.join(" "));
        for act in Act::all() {
            let name = act.name();
            let about = |rule: &&String| {
                let (sign, rest) = rule.split_at(1);
                *rule == "reset" || ("+-".contains(sign) && (rest == "@all"
                    || rest.strip_prefix('@').is_some_and(|class| act.classes().iter().any(|own| own.name() == class))
                    || rest == name || name.strip_prefix(rest).is_some_and(|sub| sub.starts_with('|'))))
            };
            let allowed = rules.iter().rev().find(about).is_some_and(|rule| rule.starts_with('+'));
            prop_assert_eq!(one.may(act), allowed, "{} by {:?}", name, rules);
        }
    }

    /// What `ACL LIST` shows of a user makes the same user.
    #[test]
    fn a_user_is_the_one_that_its_description_makes(rules in prop::collection::vec(rule(), 0..12)) {
        let one = user(&rules.join(" "));
        let again = user(&one.to_string());
        prop_assert_eq!(again.to_string(), one.to_string());
        for act in Act::all() {
            prop_assert_eq!(again.may(act), one.may(act), "{}", act.name());
        }
        prop_assert_eq!(again.hashes(), one.hashes());
    }
}
