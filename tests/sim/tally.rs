//! Counts of injected faults, of observed events and of refusals, by kind.

use std::collections::BTreeMap;

macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident { $($kind:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($kind),+ }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$kind),+];
        }
    };
}

kinds! {
    /// A fault that was injected.
    Fault {
        Lost, Duplicated, Reordered, Corrupted, Fragmented, QueueFull, LinkDown,
        PortChanged, AddressChanged, Vanished, Restarted,
        SendFailed, HttpCut, HttpDribbled, HttpPipelined, HttpMalformed, HttpFlood,
        ForgedStun, ForgedDtls, ForgedRtp, ForgedRtcp, Stranger, PliStorm,
        SourceStalled, SourceHuge, HostSuspended, HostAddresses, Insider, DearOffer,
        StreamOpenFails, StreamMute, StreamWrongFormat, StreamCut, StreamBurst, StreamStalled,
        StreamDamaged, StreamChanges, StreamFruitless, StreamBFrame, StreamHangs, StreamEnds, StreamReadError,
        CameraUnplugged, CameraRenumbered, CameraSilent, CameraMarksDamage, CameraCutsShort, CameraFails,
        CameraBusy, CameraNoBandwidth, CameraForbidden, CameraMute, CameraFarKeyframes, CameraOddTimes,
        CameraLosesPicture, CameraHangs, CameraOtherMode,
        CommandDiesAtOnce, CommandRunsOn, CommandLeavesOpen, CommandIgnoresSignal, EncodeFails,
        NameUnknown, NameLate, NameHangs, DeadAddress, ConnectRefused, ConnectHangs, DeleteFails,
        ReplyLate, ReplyCut, ReplyDribbled, WrongStatus, RetryAfter, HugeRetryAfter, NoLocation,
        NoSdp, NoVideo, OtherCodec, Garbage, EndlessHead, EndlessBody, StrangeCandidates,
        ManyCandidates, HostileText, EchoedToken, Redirected, RedirectCircle, RedirectHttps,
        RedirectNowhere, RedirectInside, NeverConnects, ServerVanished, ServerRestarted, ServerCloses,
        ServerFallsSilent,
    }
}

kinds! {
    /// An event that must occur in some seeds, or the simulation does not test what it should.
    Happening {
        FailedSend, GatedViewer, PliCollapsed, CapRefusal, AddressChange, SecondOffer,
        DtlsRetransmit, TimestampWrap, ShutdownInHandshake, CleanLeave,
        SilentViewer, HalfOpenExpired, Resend, Repeat, TwoCodecs, LateSnapshot,
        GroupGiven, GroupLetGo, WordsShown, JpegLeftOut, CommandKilled, GaveUp, PacedFrame,
        PublishedVp8, PublishedOverIpv6, IceLite, DtlsClient, ChunkedAnswer, SessionDeleted, DeleteNotFound,
        DeleteGivenUp, EndsWithoutSession, LeftSessionDeleted, ConnectionPaused,
    }
}

#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub faults: BTreeMap<Fault, u64>,
    pub happenings: BTreeMap<Happening, u64>,
    /// HTTP refusals, by the reason in the response.
    pub refusals: BTreeMap<String, u64>,
}

impl Tally {
    pub fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub fn happened(&mut self, happening: Happening) {
        *self.happenings.entry(happening).or_default() += 1;
    }

    pub fn refused(&mut self, reason: &str) {
        *self.refusals.entry(reason.to_owned()).or_default() += 1;
    }

    pub fn add(&mut self, other: &Tally) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (happening, count) in &other.happenings {
            *self.happenings.entry(*happening).or_default() += count;
        }
        for (reason, count) in &other.refusals {
            *self.refusals.entry(reason.clone()).or_default() += count;
        }
    }
}
