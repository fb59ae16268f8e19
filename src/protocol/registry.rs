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

            /// [`Spec::NAME`](crate::protocol::Spec::NAME)
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => <$spec as $crate::protocol::Spec>::NAME,)+ }
            }

            /// [`Spec::SUMMARY`](crate::protocol::Spec::SUMMARY)
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$name => <$spec as $crate::protocol::Spec>::SUMMARY,)+ }
            }

            /// [`Spec::SERVES_CLIENTS`](crate::protocol::Spec::SERVES_CLIENTS)
            pub const fn serves_clients(self) -> bool {
                match self { $(Self::$name => <$spec as $crate::protocol::Spec>::SERVES_CLIENTS,)+ }
            }

            /// [`Spec::KEEPS_SESSION`](crate::protocol::Spec::KEEPS_SESSION)
            pub const fn keeps_session(self) -> bool {
                match self { $(Self::$name => <$spec as $crate::protocol::Spec>::KEEPS_SESSION,)+ }
            }

            /// [`Spec::ANSWERS_FRAMES`](crate::protocol::Spec::ANSWERS_FRAMES)
            pub const fn answers_frames(self) -> bool {
                match self { $(Self::$name => <$spec as $crate::protocol::Spec>::ANSWERS_FRAMES,)+ }
            }

            /// [`Spec::BUILTIN_ADDRESS`](crate::protocol::Spec::BUILTIN_ADDRESS)
            pub const fn builtin_address(self) -> Option<&'static str> {
                match self { $(Self::$name => <$spec as $crate::protocol::Spec>::BUILTIN_ADDRESS,)+ }
            }

            /// [`Spec::DEFAULTS`](crate::protocol::Spec::DEFAULTS)
            pub const fn defaults(self) -> &'static [(&'static str, &'static str)] {
                match self { $(Self::$name => <$spec as $crate::protocol::Spec>::DEFAULTS,)+ }
            }

            /// [`Spec::INAPPLICABLE`](crate::protocol::Spec::INAPPLICABLE)
            pub const fn inapplicable(self) -> &'static [$crate::protocol::Inapplicable] {
                match self { $(Self::$name => <$spec as $crate::protocol::Spec>::INAPPLICABLE,)+ }
            }

            /// [`Spec::OPENING`](crate::protocol::Spec::OPENING)
            pub const fn opening(self) -> Option<&'static $crate::protocol::Opening> {
                match self { $(Self::$name => const { <$spec as $crate::protocol::Spec>::OPENING.as_ref() },)+ }
            }

            /// [`Spec::FULL`](crate::protocol::Spec::FULL)
            pub const fn full(self) -> Option<fn(&mut Vec<u8>)> {
                match self { $(Self::$name => <$spec as $crate::protocol::Spec>::FULL,)+ }
            }

            /// [`Spec::goodbye`](crate::protocol::Spec::goodbye), or [`Spec::FULL`](crate::protocol::Spec::FULL) where
            /// it is for want of a place.
            pub fn goodbye(
                self,
                encoding: Option<$encoding>,
                reason: $crate::core::end::Reason,
                out: &mut Vec<u8>,
            ) {
                match (self.full(), reason) {
                    (Some(full), $crate::core::end::Reason::LocalLimit) => full(out),
                    _ => match self {
                        $(Self::$name => {
                            <$spec as $crate::protocol::Spec>::goodbye(if let Some($encoding::$name(own)) = encoding { Some(own) } else { None }, reason, out);
                        })+
                    },
                }
            }

            /// [`Spec::server_ping`](crate::protocol::Spec::server_ping)
            pub fn server_ping(self, encoding: Option<$encoding>) -> Option<&'static [u8]> {
                match self {
                    $(Self::$name => <$spec as $crate::protocol::Spec>::server_ping(if let Some($encoding::$name(own)) = encoding { Some(own) } else { None }),)+
                }
            }

            /// [`Spec::eof_probe`](crate::protocol::Spec::eof_probe)
            pub fn eof_probe(self, encoding: Option<$encoding>) -> &'static [u8] {
                match self {
                    $(Self::$name => <$spec as $crate::protocol::Spec>::eof_probe(if let Some($encoding::$name(own)) = encoding { Some(own) } else { None }),)+
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

pub(super) use registry;
