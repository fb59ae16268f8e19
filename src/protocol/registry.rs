//! The registry of protocols: what a line of it stands for. [`Protocol`](super::Protocol) is what it makes.

/// Makes the enum of the protocols and the enum of their encodings. Every question of the contract is a `match` over
/// them: no table of functions stands between a connection and its protocol.
macro_rules! registry {
    ($protocol:ident, $encoding:ident { $($name:ident: $spec:ty,)+ }) => {
        /// A protocol that a listener can speak. What each answers is in [`Spec`](crate::protocol::Spec).
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $protocol {
            $(
                #[doc = concat!("[`", stringify!($spec), "`]")]
                $name,
            )+
        }

        impl $protocol {
            /// All of them, in the order of the registry.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// What it declares.
            pub const fn declaration(self) -> &'static $crate::protocol::Declaration {
                match self { $(Self::$name => const { &$crate::protocol::Declaration::of::<$spec>() },)+ }
            }

            const CLIENTS: usize = 0 $(+ <$spec as $crate::protocol::Spec>::SERVES_CLIENTS as usize)+;

            const CLIENT_NAMES: [&'static str; Self::CLIENTS] = {
                let mut names = [""; Self::CLIENTS];
                let (mut at, mut count) = (0, 0);
                while at < Self::ALL.len() {
                    let declaration = Self::ALL[at].declaration();
                    if declaration.serves_clients {
                        names[count] = declaration.name;
                        count += 1;
                    }
                    at += 1;
                }
                names
            };

            /// What all of them declare.
            pub const REGISTRY: &'static $crate::protocol::Registry = &$crate::protocol::Registry {
                all: &[$(Self::$name.declaration(),)+],
                client_names: &Self::CLIENT_NAMES,
            };

            /// [`Spec::goodbye`](crate::protocol::Spec::goodbye), or [`Spec::FULL`](crate::protocol::Spec::FULL) where
            /// it is for want of a place.
            pub fn goodbye(
                self,
                encoding: Option<$encoding>,
                reason: $crate::core::end::Reason,
                out: &mut Vec<u8>,
            ) {
                match (self.declaration().full, reason) {
                    (Some(full), $crate::core::end::Reason::LocalLimit) => full(out),
                    _ => match self {
                        $(Self::$name => {
                            <$spec as $crate::protocol::Spec>::goodbye($crate::protocol::registry::own!($encoding::$name, encoding), reason, out);
                        })+
                    },
                }
            }

            /// [`Spec::server_ping`](crate::protocol::Spec::server_ping)
            pub fn server_ping(self, encoding: Option<$encoding>) -> Option<&'static [u8]> {
                match self {
                    $(Self::$name => {
                        <$spec as $crate::protocol::Spec>::server_ping($crate::protocol::registry::own!($encoding::$name, encoding))
                    })+
                }
            }

            /// [`Spec::eof_probe`](crate::protocol::Spec::eof_probe)
            pub fn eof_probe(self, encoding: Option<$encoding>) -> &'static [u8] {
                match self {
                    $(Self::$name => {
                        <$spec as $crate::protocol::Spec>::eof_probe($crate::protocol::registry::own!($encoding::$name, encoding))
                    })+
                }
            }

            /// [`Spec::to_try`](crate::protocol::Spec::to_try)
            pub fn to_try(self, at: $crate::protocol::Reached<'_>) -> Vec<String> {
                match self { $(Self::$name => <$spec as $crate::protocol::Spec>::to_try(at),)+ }
            }
        }

        /// How messages of the hub are encoded for a session: the [`Encode`](crate::protocol::Encode) value of its
        /// protocol.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $encoding {
            $(
                #[doc = concat!("Of [`", stringify!($spec), "`]")]
                $name(<$spec as $crate::protocol::Spec>::Encoding),
            )+
        }

        impl $encoding {
            /// How many values precede those of a protocol.
            const fn before(protocol: $protocol) -> usize {
                let counts = [
                    $(<<$spec as $crate::protocol::Spec>::Encoding as $crate::protocol::Encode>::COUNT,)+
                ];
                let (mut at, mut before) = (0, 0);
                while at < protocol as usize {
                    before += counts[at];
                    at += 1;
                }
                before
            }
        }

        impl $crate::protocol::Encode for $encoding {
            const COUNT: usize =
                0 $(+ <<$spec as $crate::protocol::Spec>::Encoding as $crate::protocol::Encode>::COUNT)+;

            #[inline]
            fn index(self) -> usize {
                match self { $(Self::$name(own) => own.index() + const { Self::before($protocol::$name) },)+ }
            }

            #[inline]
            fn message(self, message: &$crate::protocol::Message<'_>, out: &mut Vec<u8>) {
                match self { $(Self::$name(own) => own.message(message, out),)+ }
            }

            #[inline]
            fn direct(self, identity: &str, payload: &[u8], out: &mut Vec<u8>) {
                match self { $(Self::$name(own) => own.direct(identity, payload, out),)+ }
            }
        }
    };
}

/// The value of a session's encoding for its own protocol; that of another protocol is as good as none.
macro_rules! own {
    ($encoding:ident::$name:ident, $value:expr) => {
        if let Some($encoding::$name(own)) = $value { Some(own) } else { None }
    };
}

pub(super) use {own, registry};
