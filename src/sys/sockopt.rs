//! `getsockopt` and `setsockopt`, typed by their value. What an option means is said where it is used.

use super::errno;
use libc::{c_int, socklen_t};
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A value that the kernel may read and write byte by byte.
///
/// # Safety
/// Every pattern of bytes is a value of the type, it is `repr(C)` or primitive, and it has no padding.
#[expect(unsafe_code, reason = "the promise that lets the two calls below be safe")]
pub(super) unsafe trait Plain: Copy {}

#[expect(unsafe_code, reason = "see Plain")]
// SAFETY: an integer.
unsafe impl Plain for c_int {}

#[expect(unsafe_code, reason = "see Plain")]
// SAFETY: two integers of the same size.
unsafe impl Plain for libc::linger {}

/// Sets an option, or answers with the errno.
#[expect(unsafe_code, reason = "setsockopt(2)")]
pub(super) fn set<T: Plain>(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: T) -> Result<(), i32> {
    // SAFETY: the descriptor is open while it is borrowed; the kernel reads at most the given length, all of
    // it initialised because `T` is `Plain`, and keeps no pointer.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), length_of::<T>()) };
    if result == 0 { Ok(()) } else { Err(errno::last()) }
}

/// Reads an option, or answers with the errno. What the kernel did not write stays as `T::default()`.
pub(super) fn read<T: Plain + Default>(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> Result<T, i32> {
    read_prefix(fd, level, name, length_of::<T>())
}

/// Reads at most the first `length` bytes of an option: all that an older kernel would know of.
#[expect(unsafe_code, reason = "getsockopt(2)")]
pub(super) fn read_prefix<T: Plain + Default>(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    length: socklen_t,
) -> Result<T, i32> {
    let mut value = T::default();
    let mut length = length.min(length_of::<T>());
    // SAFETY: the descriptor is open while it is borrowed; the kernel writes at most `length` bytes, which is
    // no more than `value` has, and any bytes are a `T` because it is `Plain`. It keeps no pointer.
    let result =
        unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut length) };
    if result == 0 { Ok(value) } else { Err(errno::last()) }
}

/// A value out of bytes that the kernel wrote elsewhere: as many as there are, and no more than it has.
#[expect(unsafe_code, reason = "see Plain")]
pub(super) fn from_bytes<T: Plain + Default>(bytes: &[u8]) -> T {
    let mut value = T::default();
    let length = bytes.len().min(size_of::<T>());
    // SAFETY: both have `length` bytes at least, they do not overlap, and any bytes are a `T`, which is `Plain`.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut value).cast(), length) };
    value
}

#[expect(clippy::cast_possible_truncation, reason = "the options are a few hundred bytes at most")]
const fn length_of<T>() -> socklen_t {
    size_of::<T>() as socklen_t
}
