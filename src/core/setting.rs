//! What an operator can set, as declarations: keys, what each may be, and the values that are set. A room that has
//! settings of its own declares them in these words; how values are read and written is the configuration's business.

use super::time::Duration;

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name within its table, dotted when it lives in a sub-table.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What it is when nobody says.
    pub default: Default,
    /// What it does.
    pub doc: &'static str,
    /// Why its default is what it is.
    pub why: &'static str,
}

/// The default of a key, as text that its own kind reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Default {
    /// None: the key must be given.
    Required,
    /// The same value for every protocol.
    Same(&'static str),
    /// This, on a listener whose protocol has none of its own.
    Usual(&'static str),
}

/// What a key's value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A number in a range, or one of the words.
    Count {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
        /// Words in the place of a number.
        words: &'static [&'static str],
    },
    /// A number of bytes in a range, or one of the words.
    Size {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
        /// Words in the place of a size.
        words: &'static [&'static str],
    },
    /// A length of time in a range, in whole steps, or one of the words.
    Period {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
        /// What it must be a multiple of.
        step: Step,
        /// Words in the place of a length of time.
        words: &'static [&'static str],
    },
    /// A text, or one of the words.
    Text {
        /// Words with a meaning of their own.
        words: &'static [&'static str],
        /// Takes any other text.
        read: ReadText,
        /// What would be right, as the rest of a sentence that begins with "write".
        expects: &'static str,
    },
    /// A list of texts, which TOML can also write as an array, or one of the words. Its value is a text.
    List {
        /// Words with a meaning of their own.
        words: &'static [&'static str],
        /// Takes any other list, its items separated by commas.
        read: ReadText,
        /// What would be right, as the rest of a sentence that begins with "write".
        expects: &'static str,
    },
    /// Permissions of a file, as chmod(1) takes them.
    Mode,
    /// An IP address and a port.
    TcpAddress,
    /// The same, or a unix socket, or `off`.
    AddressOrOff,
}

/// Gives a text in its usual form, or says what is wrong with it.
pub type ReadText = fn(&str) -> Result<String, String>;

/// What a period must be a multiple of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Milliseconds, the grain of our timers and of `TCP_USER_TIMEOUT`.
    Millisecond,
    /// Whole seconds, the grain of the kernel's keepalive.
    Second,
}

/// A value of some key, sound by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// True or false.
    Flag(bool),
    /// A number of things.
    Count(u64),
    /// A number of bytes.
    Size(u64),
    /// A length of time.
    Period(Duration),
    /// One of the words that the kind allows: a choice, or `off` or `auto` in place of a number.
    Word(&'static str),
    /// A text, or an address as text.
    Text(String),
    /// Permissions of a file.
    Mode(u32),
}

impl Value {
    /// Whether it is a flag that is set.
    pub const fn is_set(&self) -> bool {
        matches!(self, Self::Flag(true))
    }

    /// The number, if it is one.
    pub const fn count(&self) -> Option<u64> {
        if let Self::Count(count) = self { Some(*count) } else { None }
    }

    /// The bytes, if it is a size.
    pub const fn size(&self) -> Option<u64> {
        if let Self::Size(bytes) = self { Some(*bytes) } else { None }
    }

    /// The length of time, if it is one.
    pub const fn period(&self) -> Option<Duration> {
        if let Self::Period(period) = self { Some(*period) } else { None }
    }

    /// The word, if it is one.
    pub const fn word(&self) -> Option<&'static str> {
        if let Self::Word(word) = self { Some(word) } else { None }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The permissions, if it is some.
    pub const fn mode(&self) -> Option<u32> {
        if let Self::Mode(mode) = self { Some(*mode) } else { None }
    }
}

/// The values of all keys that a room has declared.
#[derive(Clone, PartialEq, Eq, Debug, std::default::Default)]
pub struct Values(Vec<(&'static str, Value)>);

impl Values {
    /// The value of the key.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

impl FromIterator<(&'static str, Value)> for Values {
    fn from_iter<I: IntoIterator<Item = (&'static str, Value)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}
