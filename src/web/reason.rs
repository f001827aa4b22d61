//! Every reason for which a request is refused: a short, stable name that the answer carries
//! (`reason`) and that `/stats` counts by. The answer's sentence tells a guest what to do; the
//! [remedy](Reason::remedy) tells the operator, in the log.

use std::fmt;

use crate::http::HttpError;

/// One row per reason of this server's own: variant and stable name.
macro_rules! reasons {
    ($($variant:ident = $name:literal,)*) => {
        /// Why a request is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            /// The request, or the peer's use of its connection, breaks HTTP or a limit of it.
            Http(HttpError),
            $($variant,)*
        }

        impl Reason {
            /// The reasons that are not errors of HTTP.
            #[cfg(feature = "testing")]
            const OWN: &[Reason] = &[$(Reason::$variant,)*];

            /// The name in answers and in `/stats`.
            pub const fn name(self) -> &'static str {
                match self {
                    Reason::Http(error) => error.name(),
                    $(Reason::$variant => $name,)*
                }
            }
        }
    };
}

reasons! {
    // Our fault: something panicked on the request.
    Internal = "internal",

    // Requests that no client, or not this one, may make.
    NotFound = "not-found",
    MethodNotAllowed = "method-not-allowed",
    ContentType = "content-type",
    HostUnknown = "host-unknown",
    ForeignOrigin = "foreign-origin",
    TokenMissing = "token-missing",
    TokenWrong = "token-wrong",
    TokenRate = "token-rate",

    // Offers and sessions.
    OfferMalformed = "offer-malformed",
    OfferTooLarge = "offer-too-large",
    FormatChanged = "format-changed",
    NoVideo = "no-video",
    NoCodec = "no-codec",
    VideoNotReceiving = "video-not-receiving",
    IceLite = "ice-lite",
    NoSession = "no-session",
    IfMatchMissing = "if-match-missing",
    IfMatchStale = "if-match-stale",
    FragmentMalformed = "fragment-malformed",

    // Pictures.
    SnapshotWidth = "snapshot-width",
    NoPictures = "no-pictures",

    // Limits, and states of the server.
    NoSource = "no-source",
    ShuttingDown = "shutting-down",
    Connections = "connections",
    Viewers = "viewers",
    ViewersPerAddress = "viewers-per-address",
    OfferRate = "offer-rate",
    MjpegClients = "mjpeg-clients",
    SnapshotRate = "snapshot-rate",
}

impl Reason {
    /// Every reason, once.
    #[cfg(feature = "testing")]
    pub fn all() -> impl Iterator<Item = Reason> {
        let of_http = HttpError::ALL.iter().map(|error| Reason::Http(*error));
        of_http.chain(Reason::OWN.iter().copied())
    }

    /// What the operator can do about it, for the log: a clause after the name.
    pub const fn remedy(self) -> Option<&'static str> {
        match self {
            Reason::HostUnknown => Some("--allow-host NAME adds a name for this server"),
            Reason::ForeignOrigin => Some("--allow-origin ORIGIN allows pages of that site"),
            Reason::TokenMissing => Some(
                "open the URL with #token=TOKEN in a browser; send Authorization: Bearer, or the \
                 token as the password, from a program",
            ),
            Reason::Viewers => Some("--max-viewers is the limit"),
            Reason::ViewersPerAddress => Some("--max-viewers-per-address is the limit"),
            Reason::OfferRate => Some("--max-offers-per-second is the limit"),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
