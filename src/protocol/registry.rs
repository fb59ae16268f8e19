//! The registry of protocols: what a line of it stands for. [`Protocol`](super::Protocol) is what it makes.

/// Makes the enum of the protocols, that of their encodings, and that of their sessions. Every question of the contract is
/// a `match` over them: no table of functions stands between a connection and its protocol.
macro_rules! registry {
    ($protocol:ident, $encoding:ident, $session:ident, $scratch:ident { $($(#[$only:meta])* $name:ident: $spec:ty,)+ }) => {
        /// A protocol that a listener can speak. What each answers is in [`Spec`](crate::protocol::Spec).
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $protocol {
            $(
                $(#[$only])*
                #[doc = concat!("[`", stringify!($spec), "`]")]
                $name,
            )+
        }

        impl $protocol {
            /// All of them, in the order of the registry.
            pub const ALL: &[Self] = &[$($(#[$only])* Self::$name,)+];

            /// What it declares.
            pub const fn declaration(self) -> &'static $crate::protocol::Declaration {
                match self { $($(#[$only])* Self::$name => const { &$crate::protocol::Declaration::of::<$spec>() },)+ }
            }

            const CLIENTS: usize = {
                let (mut at, mut count) = (0, 0);
                while at < Self::ALL.len() {
                    count += Self::ALL[at].declaration().serves_clients as usize;
                    at += 1;
                }
                count
            };

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
                all: &[$($(#[$only])* Self::$name.declaration(),)+],
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
                        $($(#[$only])* Self::$name => {
                            <$spec as $crate::protocol::Spec>::goodbye($crate::protocol::registry::own!($encoding::$name, encoding), reason, out);
                        })+
                    },
                }
            }

            /// [`Spec::server_ping`](crate::protocol::Spec::server_ping)
            pub fn server_ping(self, encoding: Option<$encoding>) -> Option<&'static [u8]> {
                match self {
                    $($(#[$only])* Self::$name => {
                        <$spec as $crate::protocol::Spec>::server_ping($crate::protocol::registry::own!($encoding::$name, encoding))
                    })+
                }
            }

            /// [`Spec::eof_probe`](crate::protocol::Spec::eof_probe)
            pub fn eof_probe(self, encoding: Option<$encoding>) -> &'static [u8] {
                match self {
                    $($(#[$only])* Self::$name => {
                        <$spec as $crate::protocol::Spec>::eof_probe($crate::protocol::registry::own!($encoding::$name, encoding))
                    })+
                }
            }

            /// [`Spec::to_try`](crate::protocol::Spec::to_try)
            pub fn to_try(self, at: $crate::protocol::Reached<'_>) -> Vec<String> {
                match self { $($(#[$only])* Self::$name => <$spec as $crate::protocol::Spec>::to_try(at),)+ }
            }
        }

        /// How messages of the hub are encoded for a session: the [`Encode`](crate::protocol::Encode) value of its
        /// protocol.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $encoding {
            $(
                $(#[$only])*
                #[doc = concat!("Of [`", stringify!($spec), "`]")]
                $name(<$spec as $crate::protocol::Spec>::Encoding),
            )+
        }

        impl $encoding {
            /// How many values precede those of a protocol.
            const fn before(protocol: usize) -> usize {
                let counts = [
                    $($(#[$only])* <<$spec as $crate::protocol::Spec>::Encoding as $crate::protocol::Encode>::COUNT,)+
                ];
                let (mut at, mut before) = (0, 0);
                while at < protocol {
                    before += counts[at];
                    at += 1;
                }
                before
            }
        }

        impl $crate::protocol::EncodeDirect for $encoding {
            #[inline]
            fn direct(self, identity: &str, payload: &[u8], out: &mut Vec<u8>) {
                match self { $($(#[$only])* Self::$name(own) => own.direct(identity, payload, out),)+ }
            }
        }

        impl $crate::protocol::Encode for $encoding {
            const COUNT: usize = Self::before($protocol::ALL.len());

            #[inline]
            fn index(self) -> usize {
                match self { $($(#[$only])* Self::$name(own) => own.index() + const { Self::before($protocol::$name as usize) },)+ }
            }

            #[inline]
            fn message(self, message: &$crate::protocol::Message<'_>, out: &mut Vec<u8>) {
                match self { $($(#[$only])* Self::$name(own) => own.message(message, out),)+ }
            }

            fn name(self, name: &[u8], out: &mut Vec<u8>) -> usize {
                match self { $($(#[$only])* Self::$name(own) => own.name(name, out),)+ }
            }

            fn version(self) -> u8 {
                match self { $($(#[$only])* Self::$name(own) => own.version(),)+ }
            }
        }

        /// The session of a connection: what its protocol remembers of it.
        #[derive(Debug)]
        pub enum $session {
            $(
                $(#[$only])*
                #[doc = concat!("Of [`", stringify!($spec), "`]")]
                $name(<$spec as $crate::protocol::Spec>::Session),
            )+
        }

        /// What the sessions of each protocol share.
        #[derive(Debug, Default)]
        #[expect(non_snake_case, reason = "the lines of the registry are named after their protocols")]
        pub struct $scratch {
            $(
                $(#[$only])*
                $name: <<$spec as $crate::protocol::Spec>::Session as $crate::protocol::Session>::Scratch,
            )+
        }

        impl $protocol {
            /// [`Session::open`](crate::protocol::Session::open)
            pub fn open(self) -> Option<$session> {
                match self {
                    $($(#[$only])* Self::$name => <<$spec as $crate::protocol::Spec>::Session as $crate::protocol::Session>::open().map($session::$name),)+
                }
            }
        }

        impl $session {
            /// [`Session::encoding`](crate::protocol::Session::encoding)
            #[inline]
            #[expect(unreachable_code, reason = "a protocol without sessions has none of them to ask")]
            pub fn encoding(&self) -> $encoding {
                match self { $($(#[$only])* Self::$name(own) => $encoding::$name($crate::protocol::Session::encoding(own)),)+ }
            }

            /// [`Session::serve`](crate::protocol::Session::serve)
            #[inline]
            pub fn serve(
                &mut self,
                input: &mut $crate::protocol::session::Unread<'_>,
                scratch: &mut $scratch,
                server: &mut impl $crate::protocol::Server,
                replies: &mut Vec<u8>,
            ) -> Result<$crate::protocol::session::Served, $crate::protocol::ProtocolError> {
                match self {
                    $($(#[$only])* Self::$name(own) => $crate::protocol::Session::serve(own, input, &mut scratch.$name, server, replies),)+
                }
            }

            /// [`Session::answered`](crate::protocol::Session::answered)
            pub fn answered(&mut self, answer: $crate::protocol::session::Answer<'_>, replies: &mut Vec<u8>) {
                match self { $($(#[$only])* Self::$name(own) => $crate::protocol::Session::answered(own, answer, replies),)+ }
            }

            /// [`Session::reject`](crate::protocol::Session::reject)
            pub fn reject(&self, error: &$crate::protocol::ProtocolError, replies: &mut Vec<u8>) {
                match self { $($(#[$only])* Self::$name(own) => $crate::protocol::Session::reject(own, error, replies),)+ }
            }

            /// [`Session::takes_goodbye`](crate::protocol::Session::takes_goodbye)
            pub fn takes_goodbye(&self, asks_for_pings: bool) -> bool {
                match self { $($(#[$only])* Self::$name(own) => $crate::protocol::Session::takes_goodbye(own, asks_for_pings),)+ }
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
