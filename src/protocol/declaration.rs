//! What protocols declare, as values: for those who ask about all of them and know none by name. The configuration and
//! the help read a [`Registry`], whichever it is.

use super::access::Access;
use super::first_bytes::Opening;
use super::gateway::Gateway;
use super::spec::{Inapplicable, LocalOnly, Raw, Spec};
use crate::core::setting::{Key, Values};

/// The constants of a [`Spec`], which has the meaning of each.
#[derive(Debug)]
#[expect(missing_docs, reason = "each has the name and the meaning of a constant of the trait")]
pub struct Declaration {
    pub name: &'static str,
    pub summary: &'static str,
    pub serves_clients: bool,
    pub keeps_session: bool,
    pub answers_frames: bool,
    pub builtin_address: Option<&'static str>,
    pub settings: &'static [Key],
    pub defaults: &'static [(&'static str, &'static str)],
    pub inapplicable: &'static [Inapplicable],
    pub local_only: Option<LocalOnly>,
    pub opening: Option<Opening>,
    pub full: Option<fn(&mut Vec<u8>)>,
    pub raw: Option<Raw>,
    pub access: fn(&Values) -> Access,
    pub gateway: fn(&Values) -> Option<Gateway>,
}

impl Declaration {
    pub(super) const fn of<S: Spec>() -> Self {
        Self {
            name: S::NAME,
            summary: S::SUMMARY,
            serves_clients: S::SERVES_CLIENTS,
            keeps_session: S::KEEPS_SESSION,
            answers_frames: S::ANSWERS_FRAMES,
            builtin_address: S::BUILTIN_ADDRESS,
            settings: S::SETTINGS,
            defaults: S::DEFAULTS,
            inapplicable: S::INAPPLICABLE,
            local_only: S::LOCAL_ONLY,
            opening: S::OPENING,
            full: S::FULL,
            raw: S::RAW,
            access: S::access,
            gateway: S::gateway,
        }
    }

    /// Why no value of the key `name` applies, where none does.
    pub fn inapplicable_key(&self, name: &str) -> Option<&'static Inapplicable> {
        self.inapplicable.iter().find(|one| one.values.is_empty() && one.is_about(name))
    }
}

/// The protocols that there are, in the order of their lines.
#[derive(Debug)]
pub struct Registry {
    /// What each declares.
    pub all: &'static [&'static Declaration],
    /// The names of those for clients.
    pub client_names: &'static [&'static str],
}

impl Registry {
    /// Those for clients.
    pub fn clients(&self) -> impl Iterator<Item = &'static Declaration> + Clone {
        self.all.iter().copied().filter(|protocol| protocol.serves_clients)
    }

    /// The one for clients of that name.
    pub fn client(&self, name: &str) -> Option<&'static Declaration> {
        self.clients().find(|protocol| protocol.name == name)
    }

    /// The one for the operator.
    pub fn operator(&self) -> &'static Declaration {
        self.all.iter().find(|protocol| !protocol.serves_clients).expect("every registry has one")
    }
}
