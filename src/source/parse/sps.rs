//! Parses the sequence parameter set (ITU-T H.264, 7.3.2.1.1 and E.1.1), and checks whether browsers decode
//! the stream.

use super::bits::BitReader;
use super::{FrameRate, StreamError, check_size};
use crate::media::{Matrix, PixelFormat, Size};

/// A sequence parameter set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sps {
    /// `seq_parameter_set_id`, at most 31.
    pub id: u8,
    pub profile_idc: u8,
    /// The constraint flags. `constraint_set0_flag` is the highest bit.
    pub constraints: u8,
    pub level_idc: u8,
    pub chroma_format_idc: u8,
    pub bit_depth_luma: u8,
    pub bit_depth_chroma: u8,
    /// The length of `frame_num` in slices, 4 to 16.
    pub frame_num_bits: u32,
    /// The length of `pic_order_cnt_lsb` in slices: 4 to 16, or 0 if there is none.
    pub order_count_lsb_bits: u32,
    pub max_num_ref_frames: u32,
    /// `frame_mbs_only_flag`: no fields, and no field macroblocks.
    pub frame_mbs_only: bool,
    /// After cropping, not yet checked.
    pub width: u64,
    pub height: u64,
    /// `max_num_reorder_frames`, if present.
    pub max_num_reorder_frames: Option<u32>,
    pub frame_rate: Option<FrameRate>,
    /// `video_full_range_flag`.
    pub full_range: bool,
    /// `matrix_coefficients` (table E-5), if present.
    pub matrix_coefficients: Option<u8>,
}

/// Baseline, main and high, constrained or not, which all browsers decode.
const PROFILES: [u8; 3] = [66, 77, 100];

/// The profiles whose SPS has a chroma format (7.3.2.1.1).
const PROFILES_WITH_CHROMA: [u8; 13] =
    [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

const EXTENDED_SAR: u32 = 255;
/// `cpb_cnt_minus1` is at most 31 (E.2.2).
const CPB_COUNT_MAX: u32 = 32;

impl Sps {
    /// Parses a NAL unit of type 7 with its header byte. `None` if it is truncated or invalid. Invalid VUI
    /// parameters are ignored.
    pub fn parse(unit: &[u8]) -> Option<Sps> {
        let mut reader = BitReader::new(unit.get(1..)?);
        let read = &mut reader;
        let [profile_idc, constraints, level_idc] = [read.bits(8)?, read.bits(8)?, read.bits(8)?];
        let profile_idc = profile_idc as u8;
        let id = at_most(read.ue()?, 31)?;
        let (mut chroma_format_idc, mut bit_depth_luma, mut bit_depth_chroma) = (1, 8, 8);
        if PROFILES_WITH_CHROMA.contains(&profile_idc) {
            chroma_format_idc = at_most(read.ue()?, 3)?;
            if chroma_format_idc == 3 {
                let _separate_planes = read.flag()?;
            }
            bit_depth_luma = 8 + at_most(read.ue()?, 6)?;
            bit_depth_chroma = 8 + at_most(read.ue()?, 6)?;
            let _lossless = read.flag()?;
            if read.flag()? {
                skip_scaling_lists(read, if chroma_format_idc == 3 { 12 } else { 8 })?;
            }
        }
        let frame_num_bits = 4 + u32::from(at_most(read.ue()?, 12)?);
        let order_count_lsb_bits = read_picture_order_count(read)?;
        let max_num_ref_frames = read.ue()?;
        let _gaps_allowed = read.flag()?;
        let [width_mbs, height_units] = [u64::from(read.ue()?) + 1, u64::from(read.ue()?) + 1];
        let frame_mbs_only = read.flag()?;
        if !frame_mbs_only {
            let _mbaff = read.flag()?;
        }
        let _direct_8x8 = read.flag()?;
        let field_rows = if frame_mbs_only { 1 } else { 2 };
        let (mut width, mut height) = (16 * width_mbs, 16 * height_units * field_rows);
        if read.flag()? {
            // Table 6-1, and 7-19 to 7-22.
            let (unit_x, unit_y) = match chroma_format_idc {
                1 => (2, 2 * field_rows),
                2 => (2, field_rows),
                _ => (1, field_rows),
            };
            let [left, right] = [read.ue()?, read.ue()?].map(u64::from);
            let [top, bottom] = [read.ue()?, read.ue()?].map(u64::from);
            width = width.saturating_sub(unit_x * (left + right));
            height = height.saturating_sub(unit_y * (top + bottom));
        }
        let vui = if read.flag()? { Vui::parse(read).unwrap_or_default() } else { Vui::default() };
        Some(Sps {
            id,
            profile_idc,
            constraints: constraints as u8,
            level_idc: level_idc as u8,
            chroma_format_idc,
            bit_depth_luma,
            bit_depth_chroma,
            frame_num_bits,
            order_count_lsb_bits,
            max_num_ref_frames,
            frame_mbs_only,
            width,
            height,
            max_num_reorder_frames: vui.max_num_reorder_frames,
            frame_rate: vui.frame_rate,
            full_range: vui.full_range,
            matrix_coefficients: vui.matrix_coefficients,
        })
    }

    /// Returns the size of the pictures if browsers decode them.
    ///
    /// # Errors
    /// [`StreamError::PixelFormat`], [`StreamError::Interlaced`], [`StreamError::Profile`] and
    /// [`StreamError::Size`].
    pub fn check(&self) -> Result<Size, StreamError> {
        let chroma = match self.chroma_format_idc {
            0 => Some("monochrome"),
            2 => Some("4:2:2"),
            3 => Some("4:4:4"),
            _ => None,
        };
        if let Some(chroma) = chroma {
            return Err(StreamError::PixelFormat(chroma));
        }
        let bit_depth = self.bit_depth_luma.max(self.bit_depth_chroma);
        if bit_depth > 8 {
            return Err(StreamError::PixelFormat("of more than 8 bits a sample"));
        }
        if !self.frame_mbs_only {
            return Err(StreamError::Interlaced);
        }
        if !PROFILES.contains(&self.profile_idc) {
            return Err(StreamError::Profile(self.profile_idc));
        }
        check_size(self.width, self.height)
    }

    /// The format of decoded pictures. If the stream declares no matrix, it depends on the size as in players:
    /// BT.709 from 720 rows on.
    pub fn pixel_format(&self) -> PixelFormat {
        let matrix = match self.matrix_coefficients {
            Some(1) => Matrix::Bt709,
            None | Some(2) if self.height >= 720 => Matrix::Bt709,
            _ => Matrix::Bt601,
        };
        PixelFormat { matrix, full_range: self.full_range, ..PixelFormat::PICTURE }
    }

    /// The `profile-level-id` of SDP (RFC 6184, section 8.1) as a number.
    pub fn profile_level_id(&self) -> u32 {
        u32::from_be_bytes([0, self.profile_idc, self.constraints, self.level_idc])
    }
}

/// The VUI parameters that are used here.
#[derive(Default)]
struct Vui {
    max_num_reorder_frames: Option<u32>,
    frame_rate: Option<FrameRate>,
    full_range: bool,
    matrix_coefficients: Option<u8>,
}

impl Vui {
    fn parse(read: &mut BitReader) -> Option<Vui> {
        let mut vui = Vui::default();
        if read.flag()? && read.bits(8)? == EXTENDED_SAR {
            let _sar = read.bits(32)?;
        }
        if read.flag()? {
            let _overscan_appropriate = read.flag()?;
        }
        if read.flag()? {
            let _format = read.bits(3)?;
            vui.full_range = read.flag()?;
            if read.flag()? {
                let _primaries_and_transfer = read.bits(16)?;
                vui.matrix_coefficients = Some(read.bits(8)? as u8);
            }
        }
        if read.flag()? {
            let _chroma_location = [read.ue()?, read.ue()?];
        }
        if read.flag()? {
            let [units_in_tick, time_scale] = [read.bits(32)?, read.bits(32)?];
            let _fixed = read.flag()?;
            // A frame is two ticks (E.2.1, equation E-75).
            vui.frame_rate = FrameRate::new(time_scale.into(), 2 * u64::from(units_in_tick));
        }
        let [nal_hrd, vcl_hrd] = [skip_hrd(read)?, skip_hrd(read)?];
        if nal_hrd || vcl_hrd {
            let _low_delay = read.flag()?;
        }
        let _pic_struct = read.flag()?;
        if read.flag()? {
            let _over_boundaries = read.flag()?;
            for _bytes_bits_and_vector_ranges in 0..4 {
                read.ue()?;
            }
            vui.max_num_reorder_frames = Some(read.ue()?);
        }
        Some(vui)
    }
}

fn at_most(value: u32, most: u8) -> Option<u8> {
    u8::try_from(value).ok().filter(|value| *value <= most)
}

/// 7.3.2.1.1.1.
fn skip_scaling_lists(read: &mut BitReader, lists: usize) -> Option<()> {
    for list in 0..lists {
        if !read.flag()? {
            continue;
        }
        let (mut last, mut next) = (8, 8);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + read.se()?).rem_euclid(256);
            }
            if next != 0 {
                last = next;
            }
        }
    }
    Some(())
}

/// The bits of `pic_order_cnt_lsb`.
fn read_picture_order_count(read: &mut BitReader) -> Option<u32> {
    match read.ue()? {
        0 => return Some(4 + u32::from(at_most(read.ue()?, 12)?)),
        1 => {
            let _always_zero = read.flag()?;
            let _offsets = [read.se()?, read.se()?];
            for _ in 0..at_most(read.ue()?, 255)? {
                read.se()?;
            }
        }
        2 => {}
        _ => return None,
    }
    Some(0)
}

/// Skips HRD parameters (E.1.2) with the flag before them. Returns whether there were any.
fn skip_hrd(read: &mut BitReader) -> Option<bool> {
    if !read.flag()? {
        return Some(false);
    }
    let count = read.ue()?.checked_add(1).filter(|count| *count <= CPB_COUNT_MAX)?;
    let _scales = read.bits(8)?;
    for _ in 0..count {
        let _rate_and_size = [read.ue()?, read.ue()?];
        let _constant = read.flag()?;
    }
    let _lengths = read.bits(20)?;
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    // What libx264 writes.
    const BASELINE_64X48: &str = "6742c00ad9047b011000000300100000030320f1226480";
    const MAIN_162X90: &str = "674d400bd902cde224ffc0050006c400000fa40003a9823c50a920";
    const HIGH_1080: &str = "67640028acb200f0044fcbff80018002080000030008000003019478c19240";
    const HIGH_B_FRAMES: &str = "6764001facd9405005bbff0003000410000003001000000303c0f1831960";
    const HIGH_HRD: &str = "6764000dacd9447b01100000030010000003032602001e840007a12930c01e28532c";
    const INTERLACED: &str = "67640015acd9444fcb808800000300080000030190f8a14cb0";
    const FORMAT_400: &str = "6764000af36511ec05b2000003000200000300641e244b2c";
    const FORMAT_422: &str = "677a000abcd9447b011000000300100000030320f1225960";
    const FORMAT_444: &str = "67f4000a919b288f6022000003000200000300641e244b2c";
    const TEN_BITS: &str = "676e000aa6cd9447b011000003000100000300320f122596";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = |n: usize| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap();
        (0..hex.len() / 2).map(digits).collect()
    }

    fn sps(hex: &str) -> Sps {
        Sps::parse(&bytes(hex)).unwrap()
    }

    /// An SPS of a profile from the bits after `seq_parameter_set_id`.
    fn from_bits(profile: u8, bits: &str) -> Option<Sps> {
        let bits: String = format!("1{bits}1").split(' ').collect();
        let mut unit = vec![0x67, profile, 0, 30];
        let byte = |bits: &[u8]| bits.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
        let padding = "0".repeat(bits.len().next_multiple_of(8) - bits.len());
        unit.extend((bits + &padding).as_bytes().chunks(8).map(byte));
        Sps::parse(&unit)
    }

    #[test]
    fn what_x264_writes_is_read() {
        let size = |width, height| Ok(Size { width, height });
        let baseline = sps(BASELINE_64X48);
        assert_eq!(baseline.check(), size(64, 48));
        assert_eq!(baseline.profile_level_id(), 0x42_c0_0a);
        assert_eq!(baseline.max_num_ref_frames, 3);
        assert_eq!(baseline.max_num_reorder_frames, Some(0));
        assert_eq!(baseline.frame_rate, FrameRate::new(25, 1));
        let main = sps(MAIN_162X90);
        assert_eq!(main.check(), size(162, 90), "cropped");
        assert_eq!(main.profile_level_id(), 0x4d_40_0b);
        assert_eq!(main.frame_rate, FrameRate::new(30_000, 1_001));
        assert_eq!(sps(HIGH_1080).check(), size(1920, 1080));
        assert_eq!(sps(HIGH_B_FRAMES).max_num_reorder_frames, Some(2));
        let hrd = sps(HIGH_HRD);
        assert_eq!((hrd.check(), hrd.frame_rate), (size(64, 48), FrameRate::new(25, 1)));
        assert_eq!(hrd.max_num_reorder_frames, Some(2));
    }

    #[test]
    fn what_browsers_do_not_decode_is_refused() {
        let pixels = |what| Err(StreamError::PixelFormat(what));
        assert_eq!(sps(INTERLACED).check(), Err(StreamError::Interlaced));
        assert_eq!(sps(FORMAT_400).check(), pixels("monochrome"));
        assert_eq!(sps(FORMAT_422).check(), pixels("4:2:2"));
        assert_eq!(sps(FORMAT_444).check(), pixels("4:4:4"));
        assert_eq!(sps(TEN_BITS).check(), pixels("of more than 8 bits a sample"));
        let baseline = sps(BASELINE_64X48);
        let extended = Sps { profile_idc: 88, ..baseline.clone() };
        assert_eq!(extended.check(), Err(StreamError::Profile(88)));
        for (width, height) in [(0, 48), (64, 0), (3_842, 2_160), (2_160, 3_842), (1 << 36, 16)] {
            let sized = Sps { width, height, ..baseline.clone() };
            assert_eq!(sized.check(), Err(StreamError::Size(width, height)));
        }
        assert_eq!(Sps { width: 2_160, height: 3_840, ..baseline }.check(), size_of_portrait());
    }

    #[test]
    fn colours_are_those_that_are_said_or_those_of_the_size() {
        let format = |hex: &str| (sps(hex).pixel_format().matrix, sps(hex).full_range);
        assert_eq!(format(BASELINE_64X48), (Matrix::Bt601, false));
        assert_eq!(format(HIGH_1080), (Matrix::Bt709, false));
        let said = Sps { matrix_coefficients: Some(6), ..sps(HIGH_1080) };
        assert_eq!(said.pixel_format().matrix, Matrix::Bt601);
        let said = Sps { matrix_coefficients: Some(1), full_range: true, ..sps(BASELINE_64X48) };
        let expected =
            PixelFormat { matrix: Matrix::Bt709, full_range: true, ..PixelFormat::PICTURE };
        assert_eq!(said.pixel_format(), expected);
    }

    fn size_of_portrait() -> Result<Size, StreamError> {
        Ok(Size { width: 2_160, height: 3_840 })
    }

    #[test]
    fn cut_off_it_is_nothing_or_lacks_its_vui() {
        let whole = bytes(HIGH_HRD);
        let fields = Sps::parse(&whole[..12]).unwrap();
        assert_eq!((fields.check(), fields.frame_rate), (sps(HIGH_HRD).check(), None));
        for length in 0..whole.len() {
            if let Some(sps) = Sps::parse(&whole[..length]) {
                assert_eq!(sps.check(), fields.check(), "{length} bytes");
            }
        }
        assert_eq!(Sps::parse(&whole[..7]), None);
    }

    #[test]
    fn scaling_lists_and_offsets_of_order_counts_are_skipped() {
        // Eight lists with one delta of -8 each, frame numbers, order count 1 with two offsets.
        let lists = "1 000010001".repeat(8);
        let order = "1 010 1 1 1 011 010 011";
        let rest = "010 0 00100 011 1 0 0 0";
        let sps = from_bits(100, &format!("010 1 1 0 1 {lists} {order} {rest}")).unwrap();
        assert_eq!((sps.width, sps.height, sps.max_num_ref_frames), (64, 48, 1));
    }

    #[test]
    fn impossible_values_are_nothing() {
        let rest = "010 0 00100 011 1 0";
        assert!(from_bits(66, &format!("1 011 {rest} 0 0")).is_some());
        assert_eq!(from_bits(66, &format!("1 00100 {rest} 0 0")), None, "order count of type 3");
        // A crop of 64 columns of 2 from a width of 64.
        let crop = format!("1 011 {rest} 1 0000001000001 1 1 1 0");
        assert_eq!(from_bits(66, &crop).unwrap().check(), Err(StreamError::Size(0, 48)));
        let huge = format!("{}1{}", "0".repeat(31), "1".repeat(31));
        let size = from_bits(66, &format!("1 011 010 0 {huge} {huge} 1 0 0 0")).unwrap().check();
        assert_eq!(size, Err(StreamError::Size(16 * 0xffff_ffff, 16 * 0xffff_ffff)));
    }
}
