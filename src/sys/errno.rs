//! What the kernel's error numbers mean to the reactor: the one place where an errno becomes a
//! [`SocketError`], an [`Accepted`], or words.

use crate::net::{Accepted, Fatal, Resource, SocketError};
use std::io;

/// The errno of the call that has just failed on this thread.
pub(super) fn last() -> i32 {
    number(&io::Error::last_os_error())
}

/// The errno inside an error of the standard library or of mio; 0 if it holds none.
pub(super) fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

/// The errno in words, as in `Address already in use (os error 98)`.
pub(super) fn text(errno: i32) -> String {
    io::Error::from_raw_os_error(errno).to_string()
}

/// What was tried, with the kernel's answer in words.
pub(super) fn fatal(what: impl Into<String>, errno: i32) -> Fatal {
    Fatal { what: what.into(), why: text(errno) }
}

/// What a failed call on a connection says about the connection.
pub(super) const fn fault(errno: i32) -> SocketError {
    match errno {
        libc::ECONNRESET | libc::ECONNABORTED => SocketError::Reset,
        libc::EPIPE => SocketError::BrokenPipe,
        libc::ETIMEDOUT => SocketError::TimedOut,
        libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::ENETDOWN | libc::ENONET => {
            SocketError::Unreachable
        }
        libc::ENOBUFS | libc::ENOMEM => SocketError::Memory,
        other => SocketError::Other(other),
    }
}

/// What a failed accept says. Linux passes on errors of the new socket that were pending in the queue, and
/// EPERM where a firewall forbids the connection: both concern that one connection only (accept(2)).
pub(super) const fn refused<S>(errno: i32) -> Accepted<S> {
    match errno {
        libc::EAGAIN => Accepted::WouldBlock,
        libc::EINTR => Accepted::Interrupted,
        libc::EMFILE => Accepted::Exhausted(Resource::ProcessFiles),
        libc::ENFILE => Accepted::Exhausted(Resource::SystemFiles),
        libc::ENOBUFS | libc::ENOMEM => Accepted::Exhausted(Resource::Memory),
        libc::ECONNABORTED
        | libc::EPROTO
        | libc::ENETDOWN
        | libc::ENOPROTOOPT
        | libc::EHOSTDOWN
        | libc::ENONET
        | libc::EHOSTUNREACH
        | libc::EOPNOTSUPP
        | libc::ENETUNREACH
        | libc::EPERM => Accepted::Aborted(errno),
        other => Accepted::Failed(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_tells_apart_what_the_taxonomy_tells_apart() {
        assert_eq!(fault(libc::ECONNRESET), SocketError::Reset);
        assert_eq!(fault(libc::EPIPE), SocketError::BrokenPipe);
        assert_eq!(fault(libc::ETIMEDOUT), SocketError::TimedOut);
        assert_eq!(fault(libc::EHOSTUNREACH), SocketError::Unreachable);
        assert_eq!(fault(libc::ENOMEM), SocketError::Memory);
        assert_eq!(fault(libc::EINVAL), SocketError::Other(libc::EINVAL));
    }

    #[test]
    fn a_failed_accept_blames_the_connection_the_process_or_the_host() {
        assert!(matches!(refused::<()>(libc::EAGAIN), Accepted::WouldBlock));
        assert!(matches!(refused::<()>(libc::EINTR), Accepted::Interrupted));
        assert!(matches!(refused::<()>(libc::ECONNABORTED), Accepted::Aborted(libc::ECONNABORTED)));
        assert!(matches!(refused::<()>(libc::EPERM), Accepted::Aborted(libc::EPERM)));
        assert!(matches!(refused::<()>(libc::EMFILE), Accepted::Exhausted(Resource::ProcessFiles)));
        assert!(matches!(refused::<()>(libc::ENFILE), Accepted::Exhausted(Resource::SystemFiles)));
        assert!(matches!(refused::<()>(libc::ENOBUFS), Accepted::Exhausted(Resource::Memory)));
        assert!(matches!(refused::<()>(libc::EINVAL), Accepted::Failed(libc::EINVAL)));
    }
}
