//! How values become bytes and come back: numbers are little-endian, lists and text have their length before them, an
//! enum has a tag before its fields. Nothing here trusts a length, and nothing is allocated for an announcement.

use crate::core::secret::Secret;
use crate::core::table::Key;
use crate::core::time::Duration;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use zeroize::Zeroize;

/// Bytes that are no message. The other end is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// A value that goes through a channel.
pub(super) trait Wire: Sized {
    /// Appends its bytes.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads it back.
    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed>;

    /// How many of its bytes are secret.
    fn secret_bytes(&self) -> usize {
        0
    }
}

/// What is left to be read of a message.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
}

/// Implements [`Wire`] for an enum, each variant with its tag, or for a struct, by its fields.
macro_rules! wire {
    (enum $name:ty { $($tag:literal $variant:ident $({ $($field:ident),* })? $(( $($item:ident),* ))?,)* }) => {
        impl $crate::workers::link::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $({ $($field),* })? $(( $($item),* ))? => {
                        out.push($tag);
                        $($($field.put(out);)*)?
                        $($($item.put(out);)*)?
                    })*
                }
            }

            fn take(
                fields: &mut $crate::workers::link::wire::Fields<'_>,
            ) -> Result<Self, $crate::workers::link::wire::Malformed> {
                match <u8 as $crate::workers::link::wire::Wire>::take(fields)? {
                    $($tag => {
                        $($(let $field = $crate::workers::link::wire::Wire::take(fields)?;)*)?
                        $($(let $item = $crate::workers::link::wire::Wire::take(fields)?;)*)?
                        Ok(Self::$variant $({ $($field),* })? $(( $($item),* ))?)
                    })*
                    _ => Err($crate::workers::link::wire::Malformed),
                }
            }

            fn secret_bytes(&self) -> usize {
                match self {
                    $(Self::$variant $({ $($field),* })? $(( $($item),* ))? => {
                        0 $($(+ $crate::workers::link::wire::Wire::secret_bytes($field))*)?
                        $($(+ $crate::workers::link::wire::Wire::secret_bytes($item))*)?
                    })*
                }
            }
        }
    };
    (struct $name:ty { $($field:ident),* $(,)? }) => {
        impl $crate::workers::link::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($field.put(out);)*
            }

            fn take(
                fields: &mut $crate::workers::link::wire::Fields<'_>,
            ) -> Result<Self, $crate::workers::link::wire::Malformed> {
                $(let $field = $crate::workers::link::wire::Wire::take(fields)?;)*
                Ok(Self { $($field),* })
            }
        }
    };
}
pub(super) use wire;

impl Wire for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        fields.bytes(1).map(|bytes| bytes[0])
    }
}

impl Wire for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let bytes = fields.bytes(size_of::<Self>())?.try_into().map_err(|_| Malformed)?;
        Ok(Self::from_le_bytes(bytes))
    }
}

/// Smaller numbers, which go as larger ones.
macro_rules! small {
    ($($number:ty),*) => {$(
        impl Wire for $number {
            fn put(&self, out: &mut Vec<u8>) {
                u64::from(*self).put(out);
            }

            fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
                u64::take(fields)?.try_into().map_err(|_| Malformed)
            }
        }
    )*};
}
small!(u16, u32);

impl Wire for usize {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u64).put(out);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        u64::take(fields)?.try_into().map_err(|_| Malformed)
    }
}

impl Wire for Duration {
    fn put(&self, out: &mut Vec<u8>) {
        u64::try_from(self.as_nanos()).unwrap_or(u64::MAX).put(out);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        u64::take(fields).map(Self::from_nanos)
    }
}

impl Wire for f64 {
    fn put(&self, out: &mut Vec<u8>) {
        self.to_bits().put(out);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        u64::take(fields).map(Self::from_bits)
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        u8::from(*self).put(out);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        match u8::take(fields)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }
}

/// Bytes, in one go.
impl Wire for Vec<u8> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let length = usize::try_from(u64::take(fields)?).map_err(|_| Malformed)?;
        fields.bytes(length).map(<[u8]>::to_vec)
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Self::from_utf8(Vec::take(fields)?).map_err(|_| Malformed)
    }
}

/// Implements [`Wire`] for lists of what is no byte.
macro_rules! lists {
    ($($item:ty),*) => {$(
        impl $crate::workers::link::wire::Wire for Vec<$item> {
            fn put(&self, out: &mut Vec<u8>) {
                $crate::workers::link::wire::put_list(self, out);
            }

            fn take(
                fields: &mut $crate::workers::link::wire::Fields<'_>,
            ) -> Result<Self, $crate::workers::link::wire::Malformed> {
                $crate::workers::link::wire::take_list(fields)
            }
        }
    )*};
}
pub(super) use lists;

pub(super) fn put_list<T: Wire>(list: &[T], out: &mut Vec<u8>) {
    (list.len() as u64).put(out);
    for item in list {
        item.put(out);
    }
}

pub(super) fn take_list<T: Wire>(fields: &mut Fields<'_>) -> Result<Vec<T>, Malformed> {
    (0..u64::take(fields)?).map(|_| T::take(fields)).collect()
}

lists!(u32, u64, Vec<u8>);

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok((A::take(fields)?, B::take(fields)?))
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        if bool::take(fields)? { T::take(fields).map(Some) } else { Ok(None) }
    }

    fn secret_bytes(&self) -> usize {
        self.as_ref().map_or(0, Wire::secret_bytes)
    }
}

impl<T: Wire + Zeroize + AsRef<[u8]>> Wire for Secret<T> {
    fn put(&self, out: &mut Vec<u8>) {
        T::put(self, out);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        T::take(fields).map(Self::new)
    }

    fn secret_bytes(&self) -> usize {
        (**self).as_ref().len()
    }
}

impl<T: Wire> Wire for Box<T> {
    fn put(&self, out: &mut Vec<u8>) {
        T::put(self, out);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        T::take(fields).map(Self::new)
    }
}

/// What goes as text.
macro_rules! texts {
    ($($address:ty),*) => {$(
        impl Wire for $address {
            fn put(&self, out: &mut Vec<u8>) {
                self.to_string().put(out);
            }

            fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
                String::take(fields)?.parse().map_err(|_| Malformed)
            }
        }
    )*};
}
texts!(IpAddr, IpNet, SocketAddr, Key);
