//! H.264 profiles in SDP (RFC 6184, section 8.1): which can be answered, and which is nearest to the stream.
//!
//! An answer repeats a profile of the offer, because both sides name the same one (RFC 6184, section 8.2.2),
//! and its level, which is what the offerer decodes. Only the parameter sets tell the actual profile of a
//! stream. Chromium 156 offers constrained baseline, baseline, main and high 4:4:4, but not high. Whichever of
//! these is answered, it decodes constrained baseline, main and high alike (`tests/driver/pipes.rs`).

use std::fmt;

/// The parameters of H.264 in packetization-mode 1 (RFC 6184, section 8.1).
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

/// Why H.264 of an offer cannot be sent, the nearest miss last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum H264Error {
    /// No packetization-mode means mode 0 (RFC 6184, section 8.1), in which no NAL unit exceeds a packet.
    NoMode,
    /// A packetization-mode other than 1.
    OtherMode,
    /// The profile-level-id of an unknown profile.
    UnknownProfile,
}

impl fmt::Display for H264Error {
    /// A clause about the offer ("the offer ...").
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            H264Error::NoMode => "has H.264 without a packetization-mode in its a=fmtp",
            H264Error::OtherMode => "has H.264 in a packetization-mode other than 1",
            H264Error::UnknownProfile => "has H.264 with an unknown profile-level-id",
        })
    }
}

/// The meaning of a missing profile-level-id: baseline, level 1 (RFC 6184, section 8.1).
pub const DEFAULT_PROFILE_LEVEL_ID: u32 = 0x42_00_0a;

/// The profiles whose decoders decode constrained baseline (ITU-T H.264, A.2). Each decoder decodes the
/// streams of the profiles before its own, if they are progressive and use no tool that encoders do not.
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
    /// Finds the profile by profile_idc and the constraint bits (RFC 6184, table 5).
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

    /// The rank of this profile as an answer for an unknown stream, or for our own, which is constrained
    /// baseline. The lowest is best.
    pub fn rank(self) -> u8 {
        (self as u8).min(Profile::Main as u8)
    }

    /// The rank of this profile as an answer for a stream of another. The lowest is best: the stream's own
    /// profile, then the next whose decoders decode it. The others follow: decoders play the stream anyway.
    pub fn rank_for(self, stream: Profile) -> u8 {
        match (self as u8).checked_sub(stream as u8) {
            Some(above) => above,
            None => Profile::High444 as u8 + 1 + self.rank(),
        }
    }
}
