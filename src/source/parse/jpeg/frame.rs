//! The frame header of a JPEG (ITU-T T.81, B.2.2): what the picture is, and whether it is decoded.

use crate::source::parse::StreamError;

const GREY: usize = 1;
const COLOUR: usize = 3;

/// What a frame header says.
#[derive(Debug)]
pub struct JpegFrame {
    pub width: u16,
    pub height: u16,
    /// Of each component: horizontal and vertical sampling factors, 1 to 4.
    factors: Vec<(usize, usize)>,
}

/// Why a frame is not decoded.
#[derive(Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Its values are impossible.
    Damaged,
    /// It is of a kind that is not decoded.
    Refused(StreamError),
}

/// How a frame with this marker is coded, if it is not decoded: of all kinds in table B.1, browsers
/// show baseline, extended and progressive ones with Huffman codes.
pub fn uncommon_coding(sof: u8) -> Option<StreamError> {
    Some(StreamError::Jpeg(match sof {
        0xc3 => "lossless coding",
        0xc5..=0xc7 => "hierarchical coding",
        0xc9..=0xcb | 0xcd..=0xcf => "arithmetic coding",
        _ => return None,
    }))
}

impl JpegFrame {
    /// Reads a segment, without its length, of a baseline, extended or progressive frame.
    ///
    /// # Errors
    /// Its values are impossible, or [`StreamError::Jpeg`].
    pub fn parse(segment: &[u8]) -> Result<JpegFrame, FrameError> {
        let [precision, y1, y0, x1, x0, count, components @ ..] = segment else {
            return Err(FrameError::Damaged);
        };
        let count = usize::from(*count);
        let components = components.as_chunks::<3>().0.get(..count).ok_or(FrameError::Damaged)?;
        let factors = components.iter().map(|[_, factors, _]| (factors >> 4, factors & 15));
        let are_possible =
            factors.clone().all(|(h, v)| (1..=4).contains(&h) && (1..=4).contains(&v));
        let [height, width] = [[*y1, *y0], [*x1, *x0]].map(u16::from_be_bytes);
        if width == 0 || height == 0 || !are_possible || !(1..=4).contains(&count) {
            return Err(FrameError::Damaged);
        }
        let refused = |what| Err(FrameError::Refused(StreamError::Jpeg(what)));
        match precision {
            8 => {}
            12 => return refused("12 bits a sample"),
            _ => return Err(FrameError::Damaged),
        }
        if count != GREY && count != COLOUR {
            return refused("four inks (CMYK) or other than three colours");
        }
        if factors.clone().any(|(h, _)| h == 3) {
            return refused("chroma of a third of the width");
        }
        let factors = factors.map(|(h, v)| (usize::from(h), usize::from(v))).collect();
        Ok(JpegFrame { width, height, factors })
    }

    /// How many blocks of 8x8 samples the components have together (A.2.2).
    pub fn blocks(&self) -> usize {
        let h_max = self.factors.iter().map(|(h, _)| *h).max().unwrap_or(1);
        let v_max = self.factors.iter().map(|(_, v)| *v).max().unwrap_or(1);
        let length = |pixels: u16, factor: usize, max: usize| {
            (usize::from(pixels) * factor).div_ceil(max).div_ceil(8)
        };
        let blocks = |(h, v): &(usize, usize)| {
            length(self.width, *h, h_max) * length(self.height, *v, v_max)
        };
        self.factors.iter().map(blocks).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(precision: u8, factors: &[u8]) -> Result<JpegFrame, FrameError> {
        let components = factors.iter().flat_map(|factors| [1, *factors, 0]);
        let head = [precision, 0, 242, 1, 66, factors.len() as u8];
        JpegFrame::parse(&head.into_iter().chain(components).collect::<Vec<u8>>())
    }

    #[test]
    fn blocks_are_those_of_all_components() {
        let blocks = |factors: &[u8]| frame(8, factors).unwrap().blocks();
        assert_eq!(blocks(&[0x11]), 41 * 31);
        assert_eq!(blocks(&[0x22]), 41 * 31, "factors are relative");
        assert_eq!(blocks(&[0x22, 0x11, 0x11]), 41 * 31 + 2 * (21 * 16));
        assert_eq!(blocks(&[0x21, 0x11, 0x11]), 41 * 31 + 2 * (21 * 31));
        assert_eq!(blocks(&[0x11, 0x24, 0x11]), 21 * 8 + 41 * 31 + 21 * 8);
    }

    #[test]
    fn what_no_picture_has_is_damage() {
        for impossible in [&[][..], &[0x11; 5], &[0x01], &[0x15]] {
            assert_eq!(frame(8, impossible).unwrap_err(), FrameError::Damaged, "{impossible:?}");
        }
        assert_eq!(frame(9, &[0x11]).unwrap_err(), FrameError::Damaged);
        let missing = [8, 0, 242, 1, 66, 3, 1, 0x11, 0, 2, 0x11, 0];
        assert_eq!(JpegFrame::parse(&missing).unwrap_err(), FrameError::Damaged);
    }

    #[test]
    fn what_is_not_decoded_is_refused_by_name() {
        let name = |precision, factors: &[u8]| match frame(precision, factors) {
            Err(FrameError::Refused(StreamError::Jpeg(name))) => name,
            other => panic!("{other:?}"),
        };
        assert!(name(12, &[0x11]).contains("12 bits"));
        assert!(name(8, &[0x11; 4]).contains("CMYK"));
        assert!(name(8, &[0x31, 0x11, 0x11]).contains("third of the width"));
        assert!(frame(8, &[0x13, 0x11, 0x11]).is_ok());
    }
}
