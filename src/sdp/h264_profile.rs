//! Profiles of H.264 as SDP has them (RFC 6184, section 8.1): which can be answered, and which is
//! nearest to what we send.

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

/// What a missing profile-level-id means: baseline, level 1 (RFC 6184, section 8.1).
pub const DEFAULT_PROFILE_LEVEL_ID: u32 = 0x42_00_0a;

/// The profiles whose decoders read constrained baseline: baseline, main, extended, high, high 10,
/// high 4:2:2 and high 4:4:4 (ITU-T H.264, A.2).
pub const PROFILES: [u32; 7] = [0x42, 0x4d, 0x58, 0x64, 0x6e, 0x7a, 0xf4];

/// We send constrained baseline, which every profile's decoder reads: the nearest comes first.
/// The bits are those of RFC 6184, table 5.
pub fn profile_rank(profile_level_id: u32) -> u8 {
    let profile_idc = profile_level_id >> 16;
    let constraint = |bit: u32| profile_level_id >> 8 & (0x80 >> bit) != 0;
    let constrained_baseline = match profile_idc {
        0x42 => constraint(1),
        0x4d => constraint(0),
        0x58 => constraint(0) && constraint(1),
        _ => false,
    };
    let baseline = profile_idc == 0x42 || profile_idc == 0x58 && constraint(0);
    match (constrained_baseline, baseline) {
        (true, _) => 0,
        (_, true) => 1,
        _ => 2,
    }
}
