//! Every reason for which a request is refused: a short, stable name that the answer carries
//! (`reason`) and that `/stats` counts by. What a guest can do about it is in the answer's sentence,
//! what the operator can is in the log.

macro_rules! reasons {
    ($($name:ident = $text:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($name,)*
        }

        impl Reason {
            pub const ALL: &[Reason] = &[$(Reason::$name,)*];

            /// As answers and `/stats` write it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Reason::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    // What is no HTTP as we take it. `http::refusal` has the status and the sentence of each.
    BareLf = "bare-lf",
    BareCr = "bare-cr",
    ControlCharacter = "control-character",
    RequestLine = "request-line",
    Target = "target",
    LineFolded = "line-folded",
    HeaderMalformed = "header-malformed",
    LengthMalformed = "length-malformed",
    LengthAndCoding = "length-and-coding",
    CodingUnknown = "coding-unknown",
    HostMissing = "host-missing",
    HostMalformed = "host-malformed",
    Incomplete = "incomplete",
    HeadLate = "head-late",
    BodyLate = "body-late",
    LengthMissing = "length-missing",
    Chunked = "chunked",
    BodyTooLarge = "body-too-large",
    TargetTooLong = "target-too-long",
    Expectation = "expectation",
    HeadersTooMany = "headers-too-many",
    HeadersTooLarge = "headers-too-large",
    MethodUnknown = "method-unknown",
    Version = "version",
    // Without an answer.
    AnswerLate = "answer-late",
    InputOverflow = "input-overflow",
    // The answer was not made in time.
    NotReady = "not-ready",
    // Our fault: something panicked on the request.
    Internal = "internal",

    // Requests that are welcome to nobody, or not to this client.
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

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
