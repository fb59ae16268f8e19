//! [`Secret`]: passwords, tokens and private keys are in it.

use std::fmt;
use std::ops::Deref;
use zeroize::Zeroize;

/// A value that no message of ours shows, and whose memory is wiped when it is dropped: what is freed is handed out again as
/// it is, and ends up in places that are not as well kept.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes a value that is wiped when this is dropped.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T: Zeroize> Deref for Secret<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    struct Wiped(Rc<Cell<u32>>);

    impl Zeroize for Wiped {
        fn zeroize(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn it_is_wiped_when_it_is_dropped_and_never_shown() {
        let wiped = Rc::new(Cell::new(0));
        let secret = Secret::new(Wiped(Rc::clone(&wiped)));
        assert_eq!((wiped.get(), secret.0.0.get()), (0, 0));
        drop(secret);
        assert_eq!(wiped.get(), 1);
        assert_eq!(format!("{:?}", Secret::new("key".to_owned())), "Secret");
    }
}
