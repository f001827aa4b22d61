//! The part of the slice header (ITU-T H.264, 7.3.3) that identifies the picture.

use super::bits::BitReader;
use super::parameter_sets::ParameterSets;
use crate::media::h264::NAL_IDR;

/// `slice_type` (table 7-6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SliceKind {
    P,
    B,
    I,
    /// SP and SI of the extended profile.
    Switching,
}

#[derive(Debug, PartialEq, Eq)]
pub struct SliceHeader {
    pub kind: SliceKind,
    /// The id of its SPS, and its picture. `None` if its parameter sets are not known.
    pub refers_to: Option<(u8, PictureId)>,
}

/// The values that all slices of a picture share, and two consecutive pictures never do (7.4.1.2.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureId {
    is_reference: bool,
    frame_num: u32,
    frame_num_bits: u32,
    /// `field_pic_flag` and `bottom_field_flag`.
    field: [bool; 2],
    idr_pic_id: Option<u32>,
    order_count_lsb: u32,
}

impl SliceHeader {
    /// Parses the header of a NAL unit of type 1 or 5. `None` if it is truncated or invalid.
    pub fn parse(unit: &[u8], sets: &ParameterSets) -> Option<SliceHeader> {
        let (&nal_header, payload) = unit.split_first()?;
        let mut reader = BitReader::new(payload);
        let _first_mb = reader.ue()?;
        let kind = match reader.ue()? {
            0 | 5 => SliceKind::P,
            1 | 6 => SliceKind::B,
            2 | 7 => SliceKind::I,
            3 | 4 | 8 | 9 => SliceKind::Switching,
            _ => return None,
        };
        let Some((id, sps)) = sets.sps_of(reader.ue()?) else {
            return Some(SliceHeader { kind, refers_to: None });
        };
        let frame_num = reader.bits(sps.frame_num_bits)?;
        let mut field = [false; 2];
        if !sps.frame_mbs_only {
            field[0] = reader.flag()?;
            field[1] = field[0] && reader.flag()?;
        }
        let idr_pic_id = if nal_header & 0x1f == NAL_IDR { Some(reader.ue()?) } else { None };
        let picture = PictureId {
            is_reference: nal_header & 0x60 != 0,
            frame_num,
            frame_num_bits: sps.frame_num_bits,
            field,
            idr_pic_id,
            order_count_lsb: reader.bits(sps.order_count_lsb_bits)?,
        };
        Some(SliceHeader { kind, refers_to: Some((id, picture)) })
    }
}

impl PictureId {
    /// Whether this picture may directly follow `former`: `frame_num` is the same, or the next one (7.4.3).
    pub fn may_follow(&self, former: &PictureId) -> bool {
        let steps = self.frame_num.wrapping_sub(former.frame_num);
        self.frame_num_bits == former.frame_num_bits
            && steps & ((1 << self.frame_num_bits) - 1) <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frame numbers of 4 bits, order counts of type 2.
    const SPS: &[u8] = &[0x67, 66, 0xc0, 10, 0xd9, 4, 0x7b, 1, 0x10];
    const PPS: &[u8] = &[0x68, 0xcb, 0x83, 0xcb, 0x20];

    /// A slice of the bits after the header byte of its NAL unit.
    fn slice(header: u8, bits: &str) -> Option<SliceHeader> {
        let mut sets = ParameterSets::default();
        sets.take_sps(SPS);
        sets.take_pps(PPS);
        let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').collect();
        let byte = |bits: &[u8]| bits.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
        let unit = [vec![header], bits.chunks_exact(8).map(byte).collect()].concat();
        SliceHeader::parse(&unit, &sets)
    }

    fn picture(header: u8, bits: &str) -> PictureId {
        slice(header, bits).unwrap().refers_to.unwrap().1
    }

    #[test]
    fn slices_of_a_picture_have_the_same_id_and_those_of_two_pictures_do_not() {
        let first = picture(0x41, "1 00110 1 0001 00000");
        assert_eq!(first, picture(0x61, "010 00110 1 0001 000"));
        assert_ne!(first, picture(0x01, "010 00110 1 0001 000"), "not referred to");
        assert_ne!(first, picture(0x41, "010 00110 1 0010 000"), "another number");
        let idr = picture(0x65, "1 0001000 1 0000 010");
        assert_eq!(idr, picture(0x65, "010 0001000 1 0000 010000000"));
        assert_ne!(idr, picture(0x65, "010 0001000 1 0000 011000000"));
    }

    #[test]
    fn numbers_go_on_by_one_and_begin_again_after_the_highest() {
        let numbered = |number: &str| picture(0x41, &format!("1 00110 1 {number} 00000"));
        for (former, next, follows) in [
            ("0001", "0001", true),
            ("0001", "0010", true),
            ("1111", "0000", true),
            ("0001", "0011", false),
            ("0001", "0000", false),
        ] {
            let (former, next) = (numbered(former), numbered(next));
            assert_eq!(next.may_follow(&former), follows, "{former:?}, {next:?}");
        }
    }

    #[test]
    fn what_is_cut_off_is_nothing_and_what_is_unknown_has_no_picture() {
        assert_eq!(slice(0x41, "1 00110 1 0"), None);
        assert_eq!(slice(0x41, "1 0001011 10001000"), None, "a slice type of 10");
        let unknown = slice(0x41, "1 00111 010 0001000").unwrap();
        assert_eq!(unknown, SliceHeader { kind: SliceKind::B, refers_to: None });
    }
}
