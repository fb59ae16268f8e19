//! What `linger explain` says of what an audit finds and `linger doctor` looks at. A build without one of the tools does
//! not know its words.

use crate::guide::Language;
#[cfg(feature = "audit")]
use crate::observe::audit::Anomaly;
#[cfg(feature = "audit")]
use crate::tools::audit::{chinese, explain};
#[cfg(feature = "doctor")]
use crate::tools::doctor::{CHECKS, FOLKLORE};

/// The names of what `linger audit`, and the audit of a server, may find.
pub(super) fn of_audit() -> impl Iterator<Item = &'static str> {
    #[cfg(feature = "audit")]
    {
        Anomaly::ALL.iter().map(|anomaly| anomaly.name())
    }
    #[cfg(not(feature = "audit"))]
    std::iter::empty()
}

/// The names of what `linger doctor` looks at, and of the folklore that it knows: of both, those that are a word.
pub(super) fn of_doctor() -> impl Iterator<Item = &'static str> {
    #[cfg(feature = "doctor")]
    {
        let names = CHECKS.iter().map(|check| check.name).chain(FOLKLORE.iter().map(|belief| belief.name));
        names.filter(|name| !name.contains(' '))
    }
    #[cfg(not(feature = "doctor"))]
    std::iter::empty()
}

/// What is said of a name, and the topic of the page about it.
pub(super) fn explained(name: &str, language: Language) -> Option<(String, &'static str)> {
    audited(name, language).or_else(|| examined(name, language))
}

#[cfg(feature = "audit")]
fn audited(name: &str, language: Language) -> Option<(String, &'static str)> {
    let &anomaly = Anomaly::ALL.iter().find(|anomaly| anomaly.name() == name)?;
    let said = match language {
        Language::English => {
            let (what, advice) = (explain::what(anomaly), explain::advice(anomaly));
            format!("{name}, a finding of the audit: {what}.\n\nWhat to do: {advice}\n")
        }
        Language::Chinese => {
            let (what, advice) = (chinese::what(anomaly), chinese::advice(anomaly));
            format!("{name}，审计的发现：{what}。\n\n怎么办：{advice}\n")
        }
    };
    Some((said, explain::page(anomaly)))
}

#[cfg(not(feature = "audit"))]
const fn audited(_: &str, _: Language) -> Option<(String, &'static str)> {
    None
}

#[cfg(feature = "doctor")]
fn examined(name: &str, language: Language) -> Option<(String, &'static str)> {
    if let Some(belief) = FOLKLORE.iter().find(|belief| belief.name == name) {
        let said = match language {
            Language::English => {
                format!(
                    "{name}, folklore. It is said: \"{}\".\n\nWhat is so: {}.\n",
                    belief.claim, belief.fact
                )
            }
            Language::Chinese => {
                format!("{name}，流传的说法：“{}”。\n\n实际上：{}。\n", belief.claim_zh, belief.fact_zh)
            }
        };
        return Some((said, belief.page));
    }
    let check = CHECKS.iter().find(|check| check.name == name)?;
    let said = match language {
        Language::English => {
            format!(
                "{name} is what 'linger doctor' looks at: it says whether the value here will do, and why.\n"
            )
        }
        Language::Chinese => {
            format!("{name} 由 'linger doctor' 检查：它说明本机的值是否合适，以及为什么。\n")
        }
    };
    Some((said, check.page))
}

#[cfg(not(feature = "doctor"))]
const fn examined(_: &str, _: Language) -> Option<(String, &'static str)> {
    None
}

#[cfg(all(test, feature = "audit", feature = "doctor"))]
mod tests {
    use super::*;
    use crate::guide;

    const LANGUAGES: [Language; 2] = [Language::English, Language::Chinese];

    #[test]
    fn every_finding_is_told_in_both_languages_and_names_a_page_that_is_there() {
        let beliefs = FOLKLORE.iter().map(|belief| belief.name);
        for name in of_audit().chain(of_doctor()).chain(beliefs) {
            let [english, chinese] = LANGUAGES.map(|language| explained(name, language).unwrap());
            assert!(guide::page(english.1).is_some() && english.1 == chinese.1, "{name}");
            assert!(english.0.is_ascii() && !chinese.0.is_ascii(), "{name}");
            assert_eq!(
                guide::names_kept(&english.0, &chinese.0),
                Ok(()),
                "{name}: {} {}",
                english.0,
                chinese.0
            );
        }
    }

    #[test]
    fn a_finding_is_told_with_what_to_do() {
        let said = |name, language| explained(name, language).unwrap().0;
        let [english, chinese] = LANGUAGES.map(|language| said("queued_ghost", language));
        assert!(english.starts_with("queued_ghost, a finding of the audit: nobody has accepted it"));
        assert!(english.contains("\n\nWhat to do: Accept sooner; "), "{english}");
        assert!(chinese.starts_with("queued_ghost，审计的发现：还没有"), "{chinese}");
        assert!(chinese.contains("\n\n怎么办：尽早 accept；"), "{chinese}");
        let [english, chinese] = LANGUAGES.map(|language| said("net.ipv4.tcp_tw_reuse", language));
        assert!(english.contains("\n\nWhat is so: it concerns who connects"), "{english}");
        assert!(chinese.contains("\n\n实际上：它只关系到"), "{chinese}");
    }
}
