//! Who may use a listener: what a protocol makes of its own settings for those who open and serve one.

/// Who may use a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Access {
    /// Names in a request's Host header that are answered.
    pub hosts: Hosts,
    /// Permissions of the file of a unix socket.
    pub socket_mode: u32,
}

impl Default for Access {
    /// Of a protocol without names, which is not served on unix sockets.
    fn default() -> Self {
        Self { hosts: Hosts::Named(Vec::new()), socket_mode: 0o660 }
    }
}

/// Names that a listener answers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hosts {
    /// Every name.
    Any,
    /// These, in small letters, and localhost and IP addresses.
    Named(Vec<String>),
}
