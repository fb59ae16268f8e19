//! Who may log in on a listener, and what each may do. Pure: a text makes [`Users`], and those say who a password is of and
//! whether something is allowed. What a client asks for is judged in [`resp`](super::resp), which knows the commands.
//!
//! [`Guard`] is what a listener asks of its clients, and [`Standing`] where one connection is with it: two bytes, so
//! that a connection pays nothing for either. `user` has the rules, [`file`](mod@file) the file, [`failures`] who may
//! try again when.

pub mod failures;
pub mod file;
mod password;
mod user;

pub use password::{Hash, PASSWORD_BYTES_MAX};
pub use user::{RuleError, User};

use file::Mistake;
use indexmap::IndexMap;
use std::sync::{Arc, LazyLock};

/// The user of those who have not logged in, if it needs no password; and of those who name none when they do.
pub const DEFAULT: &str = "default";

/// The users of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Users {
    by_name: IndexMap<Box<str>, User>,
    default: UserNumber,
    default_has_line: bool,
}

/// Which of the users of a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserNumber(u16);

impl Users {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(text: &str) -> Result<Self, Vec<Mistake>> {
        file::read(text)
    }

    /// These. Where the default user is not among them, it is off: in Redis it would be allowed everything.
    fn new(mut by_name: IndexMap<Box<str>, User>) -> Self {
        let default_has_line = by_name.contains_key(DEFAULT);
        let default = by_name.entry(DEFAULT.into()).index();
        by_name.entry(DEFAULT.into()).or_default();
        Self { by_name, default: number(default), default_has_line }
    }

    /// That of a listener that has no users: everybody is the default user, which may do everything.
    pub fn none() -> &'static Self {
        static NONE: LazyLock<Users> =
            LazyLock::new(|| Users::new([(DEFAULT.into(), User::everything())].into_iter().collect()));
        &NONE
    }

    /// The user that logs in by that name and password; none: it cannot. Which of them was wrong takes no other time.
    pub fn log_in(&self, name: &[u8], password: &[u8]) -> Option<UserNumber> {
        if password.len() > PASSWORD_BYTES_MAX {
            return None;
        }
        let hash = Hash::of(password);
        let Some(found) = self.find(name) else {
            std::hint::black_box(Hash::NONE.is(&hash));
            return None;
        };
        self.user(found).takes(&hash).then_some(found)
    }

    /// The one of that name.
    pub fn find(&self, name: &[u8]) -> Option<UserNumber> {
        self.by_name.get_index_of(str::from_utf8(name).ok()?).map(number)
    }

    /// Whether there is a line about a user: the default user is there without one.
    pub fn has_line(&self, name: &str) -> bool {
        self.by_name.contains_key(name) && (name != DEFAULT || self.default_has_line)
    }

    /// What it is called.
    pub fn name(&self, of: UserNumber) -> &str {
        self.by_name.get_index(of.0.into()).expect("who is one of the users is in their list").0
    }

    /// What it may do.
    pub fn user(&self, of: UserNumber) -> &User {
        &self.by_name[usize::from(of.0)]
    }

    /// All of them with their names, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &User)> {
        self.by_name.iter().map(|(name, user)| (&**name, user))
    }

    /// The default user.
    pub const fn default_user(&self) -> UserNumber {
        self.default
    }

    /// Where a connection begins: as the default user, if that needs no password.
    fn initial(&self) -> Standing {
        let default = self.user(self.default);
        if default.is_on() && default.has_no_password() {
            Standing::of(self.default)
        } else {
            Standing::ANONYMOUS
        }
    }
}

fn number(index: usize) -> UserNumber {
    UserNumber(u16::try_from(index).expect("there are at most USERS_MAX, and the default user"))
}

/// What a listener asks of its clients.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Guard {
    /// Nothing: everybody may do everything.
    #[default]
    Open,
    /// Nothing, and anybody may come in: what acts on others is refused.
    Protected,
    /// To log in.
    Users(Arc<Users>),
}

impl Guard {
    /// Where a new connection is with it.
    pub fn initial(&self) -> Standing {
        match self {
            Self::Open => Standing::OPEN,
            Self::Protected => Standing::PROTECTED,
            Self::Users(users) => users.initial(),
        }
    }

    /// The users that there are.
    pub fn users(&self) -> &Users {
        match self {
            Self::Open | Self::Protected => Users::none(),
            Self::Users(users) => users,
        }
    }

    /// What was read again means to a connection: its user keeps its name, and has the rights of the new file. None: there is
    /// no such user any more, so that its connections end.
    ///
    /// One that had not logged in begins anew.
    pub fn adopt(&self, before: &Self, standing: Standing) -> Option<Standing> {
        match (self, before, standing.user()) {
            (Self::Users(new), Self::Users(old), Some(user)) => {
                let name = old.name(user);
                // Who is the default user because that needs no password is nobody once it needs one.
                if user == old.default && old.initial() == standing {
                    return Some(new.initial());
                }
                new.find(name.as_bytes()).map(Standing::of)
            }
            _ => Some(self.initial()),
        }
    }
}

/// Where a connection is with the guard of its listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing(u16);

impl Standing {
    /// It may do everything.
    pub const OPEN: Self = Self(0);
    /// It may do everything that concerns no others.
    pub const PROTECTED: Self = Self(1);
    /// It has to log in.
    pub const ANONYMOUS: Self = Self(2);

    /// It is that user.
    pub const fn of(user: UserNumber) -> Self {
        Self(user.0 + 3)
    }

    /// The user that it is, if it is one of a file.
    pub const fn user(self) -> Option<UserNumber> {
        if self.0 > 2 { Some(UserNumber(self.0 - 3)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(text: &str) -> Users {
        Users::read(text).unwrap()
    }

    fn guard(text: &str) -> Guard {
        Guard::Users(Arc::new(users(text)))
    }

    fn hash(password: &str) -> Hash {
        Hash::of(password.as_bytes())
    }

    #[test]
    fn a_user_logs_in_by_name_and_password_while_it_is_on() {
        let users = users(&format!("user a on #{0}\nuser b off #{0}\nuser c on\n", hash("secret")));
        let name = |name: &str, password: &str| {
            users.log_in(name.as_bytes(), password.as_bytes()).map(|user| users.name(user).to_owned())
        };
        assert_eq!(name("a", "secret").as_deref(), Some("a"));
        for (user, password) in
            [("a", "Secret"), ("a", ""), ("b", "secret"), ("c", ""), ("d", "secret"), ("default", "")]
        {
            assert_eq!(name(user, password), None, "{user} {password}");
        }
        let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
        let of_long = Users::read(&format!("user a on #{}\n", hash(&long))).unwrap();
        assert_eq!(of_long.log_in(b"a", long.as_bytes()), None);
    }

    #[test]
    fn without_a_line_the_default_user_is_off_and_with_nopass_all_begin_as_it() {
        assert_eq!(guard("user a on nopass\n").initial(), Standing::ANONYMOUS);
        assert_eq!(guard("user default on\n").initial(), Standing::ANONYMOUS);
        assert_eq!(guard("user default off nopass\n").initial(), Standing::ANONYMOUS);
        let open = guard("user a on\nuser default on nopass +ping\n");
        let user = open.initial().user().unwrap();
        assert_eq!((open.users().name(user), user), (DEFAULT, open.users().default_user()));
        assert_eq!(Guard::Open.initial(), Standing::OPEN);
        assert_eq!(Guard::Protected.initial(), Standing::PROTECTED);
        assert_eq!(
            Users::none().iter().map(|(name, user)| format!("{name} {user}")).collect::<Vec<_>>(),
            ["default on nopass &* claim:* vouch:* send:* +@all"]
        );
    }

    #[test]
    fn a_connection_keeps_its_user_by_name_and_ends_with_it() {
        let old = guard("user a on nopass\nuser b on nopass\n");
        let standing = |guard: &Guard, name: &str| Standing::of(guard.users().find(name.as_bytes()).unwrap());
        let new = guard("user b off\nuser c on\n");
        assert_eq!(
            new.adopt(&old, standing(&old, "b")),
            Some(standing(&new, "b")),
            "off is for those who come"
        );
        assert_eq!(new.adopt(&old, standing(&old, "a")), None);
        assert_eq!(new.adopt(&old, Standing::ANONYMOUS), Some(Standing::ANONYMOUS));
        assert_eq!(new.adopt(&Guard::Open, Standing::OPEN), Some(Standing::ANONYMOUS));
        assert_eq!(Guard::Protected.adopt(&old, standing(&old, "a")), Some(Standing::PROTECTED));
        let open = guard("user default on nopass\n");
        assert_eq!(new.adopt(&open, open.initial()), Some(Standing::ANONYMOUS), "nobody has logged in");
        assert_eq!(open.adopt(&old, Standing::ANONYMOUS), Some(open.initial()));
    }
}
