//! VP8 frames (RFC 6386).

/// The start code of a key frame, after the three bytes of its tag (section 9.1).
const START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];
const INTER_FRAME: u8 = 0x01;

/// Whether a decoder can start here.
pub fn is_keyframe(data: &[u8]) -> bool {
    data.first().is_some_and(|tag| tag & INTER_FRAME == 0) && data.get(3..6) == Some(&START_CODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_frame_is_told_by_its_tag_and_its_start_code() {
        assert!(is_keyframe(&[0xb0, 0x44, 0, 0x9d, 0x01, 0x2a, 0x80, 2]));
        assert!(!is_keyframe(&[0xb1, 0x44, 0, 0x9d, 0x01, 0x2a]));
        assert!(!is_keyframe(&[0xb0, 0x44, 0, 0x9d, 0x01]));
        assert!(!is_keyframe(&[]));
    }
}
