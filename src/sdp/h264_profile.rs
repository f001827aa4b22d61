//! Profiles of H.264 as SDP has them (RFC 6184, section 8.1): which can be answered, and which is
//! nearest to what we send.
//!
//! An answer has a profile of the offer, as both sides name it alike (RFC 6184, section 8.2.2), and its
//! level, which is that of what the offerer decodes. What the profile of a stream is, only its parameter
//! sets say. Chromium 156 offers constrained baseline, baseline, main and high 4:4:4, and no high. Whatever
//! of these is answered, it decodes constrained baseline, main and high alike (`tests/driver/pipes.rs`).

use std::fmt;

/// H.264 in packetization-mode 1 (RFC 6184, section 8.1), as an offer and its answer describe it.
pub struct H264 {
    pub profile_level_id: u32,
    pub level_asymmetry_allowed: bool,
}

impl fmt::Display for H264 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.level_asymmetry_allowed {
            f.write_str("level-asymmetry-allowed=1;")?;
        }
        write!(f, "packetization-mode=1;profile-level-id={:06x}", self.profile_level_id)
    }
}

/// Why H.264 of an offer is not what can be sent, the nearest miss last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum H264Error {
    /// No packetization-mode, which is mode 0 (RFC 6184, section 8.1): no NAL unit is larger than a
    /// packet.
    NoMode,
    /// Another than packetization-mode 1.
    OtherMode,
    /// A profile-level-id of no profile that is known.
    UnknownProfile,
}

impl fmt::Display for H264Error {
    /// A clause whose subject is the offer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            H264Error::NoMode => "has H.264 without a packetization-mode in its a=fmtp",
            H264Error::OtherMode => "has H.264 in another packetization-mode than 1",
            H264Error::UnknownProfile => "has H.264 with a profile-level-id that is not known",
        })
    }
}

/// What a missing profile-level-id means: baseline, level 1 (RFC 6184, section 8.1).
pub const DEFAULT_PROFILE_LEVEL_ID: u32 = 0x42_00_0a;

/// The profiles whose decoders read constrained baseline (ITU-T H.264, A.2). Each decoder reads the streams
/// of the profiles before its own, as far as they are progressive and without what nobody makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    ConstrainedBaseline,
    /// Or extended.
    Baseline,
    Main,
    High,
    High10,
    High422,
    High444,
}

impl Profile {
    /// By profile_idc and the bits of RFC 6184, table 5.
    pub fn of(profile_level_id: u32) -> Option<Profile> {
        let constraint = |bit: u32| profile_level_id >> 8 & (0x80 >> bit) != 0;
        let constrained = Profile::ConstrainedBaseline;
        Some(match profile_level_id >> 16 {
            0x42 if constraint(1) => constrained,
            0x4d if constraint(0) => constrained,
            0x58 if constraint(0) && constraint(1) => constrained,
            0x42 | 0x58 => Profile::Baseline,
            0x4d => Profile::Main,
            0x64 => Profile::High,
            0x6e => Profile::High10,
            0x7a => Profile::High422,
            0xf4 => Profile::High444,
            _ => return None,
        })
    }

    /// The lowest is the best answer as long as nothing is known about the stream, and to our own, which
    /// is constrained baseline.
    pub fn rank(self) -> u8 {
        (self as u8).min(Profile::Main as u8)
    }

    /// The lowest is the best answer for a stream of this profile: its own, then the next whose decoders
    /// read it. Where there is none, decoders take it all the same.
    pub fn rank_for(self, stream: Profile) -> u8 {
        match (self as u8).checked_sub(stream as u8) {
            Some(above) => above,
            None => Profile::High444 as u8 + 1 + self.rank(),
        }
    }
}
