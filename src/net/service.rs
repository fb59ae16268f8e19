//! What a server says of itself to the service manager that started it (`sd_notify(3)`).

/// A piece of that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServiceNews<'a> {
    /// It serves: after the start, and after a configuration was read again.
    Ready,
    /// It reads its configuration again. [`Ready`](Self::Ready) follows.
    Reloading,
    /// It drains.
    Stopping,
    /// Its loop turns.
    Alive,
    /// How it is, in one line for a person.
    Status(&'a str),
}
