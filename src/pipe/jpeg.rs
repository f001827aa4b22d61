//! JPEGs one after the other (MJPEG) to single ones, by walking their markers and segments (ITU-T
//! T.81, annex B). Application segments may hold a thumbnail, which is a JPEG itself, so that to
//! search for markers would cut at the wrong place.

use super::huffman::STANDARD_TABLES;
use super::{Item, Jpeg, Output, StreamError, check_size};
use crate::media::Size;
use crate::work;

/// A JPEG that is larger is left out: one of 3840×2160 in high quality has 3 MiB.
pub const JPEG_MAX_BYTES: usize = 4 << 20;
/// A JPEG that is smaller is damaged: its headers alone have more.
pub const JPEG_MIN_BYTES: usize = 128;
/// A JPEG with more scans is damaged: a decoder walks through all blocks for each, also where it has no
/// bits. Of libjpeg's own scripts the longest, for four components, has 18, and for three 10.
const SCANS_MAX: u32 = 20;
/// Of all segments with Huffman tables: a decoder works for each byte of them as for ten others. Each scan
/// may have 8 new tables (B.2.4.2), of 273 bytes at most.
const TABLES_MAX_BYTES: usize = SCANS_MAX as usize * 8 * 273;
/// Each block of each component has a code for its DC coefficient, and no code is shorter than a bit
/// (F.1.2.1, G.1.2.1): a file with fewer bits than blocks is damaged, and a decoder would fill its
/// picture with nothing. A black 1920x1080 in 4:2:0 is 6 kB at least.
const BLOCKS_PER_BYTE: usize = 8;

// Marker codes, table B.1.
const SOF_FIRST: u8 = 0xc0;
const SOF_BASELINE: u8 = 0xc0;
const SOF_EXTENDED: u8 = 0xc1;
const SOF_PROGRESSIVE: u8 = 0xc2;
const DHT: u8 = 0xc4;
const SOF_LAST: u8 = 0xcf;
const RST_FIRST: u8 = 0xd0;
const RST_LAST: u8 = 0xd7;
const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const TEM: u8 = 0x01;
const FILL: u8 = 0xff;

/// The parser of one stream.
pub struct Mjpeg {
    state: State,
    /// The picture under way.
    data: Vec<u8>,
    /// The picture is larger than it may be, and only walked through.
    oversized: bool,
    sof: Option<u8>,
    size: Option<Size>,
    /// What a decoder has to fill, of all components.
    blocks: usize,
    scans: u32,
    /// Of the file's own tables, which may be none.
    table_bytes: usize,
    has_tables: bool,
    tables_added: bool,
}

#[derive(Clone, Copy)]
enum State {
    /// Between pictures.
    Outside,
    /// Between pictures, after 0xFF.
    OutsideMarker,
    /// Where a marker must come.
    BeforeMarker,
    /// After the 0xFF of a marker.
    Marker,
    /// Before the length of a segment of this marker code, and between its two bytes.
    Length(u8),
    LengthLow(u8, u8),
    /// In a segment, which began here in `data`, and so many bytes before its end.
    Segment(u8, usize, usize),
    /// In entropy-coded data, and there after 0xFF.
    Scan,
    ScanMarker,
}

impl Mjpeg {
    pub fn new() -> Mjpeg {
        Mjpeg {
            state: State::Outside,
            data: Vec::new(),
            oversized: false,
            sof: None,
            size: None,
            blocks: 0,
            scans: 0,
            table_bytes: 0,
            has_tables: false,
            tables_added: false,
        }
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// [`StreamError::Size`] and [`StreamError::OddSize`], if this is the first picture. Later
    /// ones are damaged.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Output) -> Result<(), StreamError> {
        while let Some((&first, rest)) = bytes.split_first() {
            work::step();
            bytes = match self.state {
                State::Outside => self.search(bytes, out),
                State::Segment(code, start, left) => {
                    let (part, rest) = bytes.split_at(left.min(bytes.len()));
                    self.append(part);
                    match left - part.len() {
                        0 => self.end_segment(code, start, out)?,
                        left => self.state = State::Segment(code, start, left),
                    }
                    rest
                }
                State::Scan => {
                    let end = memchr::memchr(FILL, bytes);
                    let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                    self.append(part);
                    if end.is_some() {
                        self.state = State::ScanMarker;
                    }
                    &rest[usize::from(end.is_some())..]
                }
                State::OutsideMarker if !matches!(first, SOI | FILL) => {
                    out.counters.stray_bytes += 1;
                    self.state = State::Outside;
                    bytes
                }
                State::BeforeMarker if first != FILL => {
                    self.abandon(out);
                    bytes
                }
                _ => {
                    self.take_byte(first, out);
                    rest
                }
            };
        }
        Ok(())
    }

    /// The stream has ended.
    pub fn finish(&mut self, out: &mut Output) {
        if !matches!(self.state, State::Outside | State::OutsideMarker) {
            self.abandon(out);
        }
    }

    /// The bytes that are kept, in allocated memory.
    pub fn bytes(&self) -> usize {
        self.data.capacity()
    }

    /// Skips what is not part of a picture. Zero bytes are padding.
    fn search<'a>(&mut self, bytes: &'a [u8], out: &mut Output) -> &'a [u8] {
        let end = memchr::memchr(FILL, bytes);
        let (skipped, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        out.counters.stray_bytes += skipped.iter().filter(|byte| **byte != 0).count() as u64;
        if end.is_some() {
            self.state = State::OutsideMarker;
        }
        &rest[usize::from(end.is_some())..]
    }

    /// Takes a byte in a state that takes them one by one.
    fn take_byte(&mut self, byte: u8, out: &mut Output) {
        match self.state {
            State::OutsideMarker if byte == SOI => self.begin(),
            State::OutsideMarker => out.counters.stray_bytes += 1,
            State::BeforeMarker => self.state = State::Marker,
            // Any number of fill bytes may precede a marker (B.1.1.2).
            State::Marker | State::ScanMarker if byte == FILL => {}
            State::ScanMarker if matches!(byte, 0 | RST_FIRST..=RST_LAST) => {
                self.append(&[FILL, byte]);
                self.state = State::Scan;
            }
            State::Marker | State::ScanMarker => self.take_marker(byte, out),
            State::Length(code) => self.state = State::LengthLow(code, byte),
            State::LengthLow(code, high) => {
                self.append(&[high, byte]);
                match usize::from(u16::from_be_bytes([high, byte])) {
                    0 | 1 => self.abandon(out),
                    2 => self.state = State::BeforeMarker,
                    length if code == DHT && self.table_bytes + length > TABLES_MAX_BYTES => {
                        self.abandon(out);
                    }
                    length => {
                        self.table_bytes += if code == DHT { length } else { 0 };
                        self.state = State::Segment(code, self.data.len(), length - 2);
                    }
                }
            }
            State::Outside | State::Segment(..) | State::Scan => {}
        }
    }

    fn begin(&mut self) {
        let mut data = std::mem::take(&mut self.data);
        data.clear();
        data.extend_from_slice(&[FILL, SOI]);
        *self = Mjpeg { state: State::BeforeMarker, data, ..Mjpeg::new() };
    }

    fn take_marker(&mut self, code: u8, out: &mut Output) {
        match code {
            SOI => {
                self.abandon(out);
                self.begin();
                return;
            }
            EOI if self.scans > 0 => return self.complete(out),
            EOI | 0 | TEM | RST_FIRST..=RST_LAST => return self.abandon(out),
            DHT => self.has_tables = true,
            SOF_BASELINE | SOF_EXTENDED | SOF_PROGRESSIVE if self.sof.is_none() => {
                self.sof = Some(code);
            }
            // A second picture; lossless, hierarchical and arithmetic coding, which no browser decodes.
            SOF_FIRST..=SOF_LAST => return self.abandon(out),
            SOS if self.size.is_none() || self.scans == SCANS_MAX => return self.abandon(out),
            SOS if !self.has_tables && self.sof != Some(SOF_PROGRESSIVE) => {
                self.append(&STANDARD_TABLES);
                (self.has_tables, self.tables_added) = (true, true);
            }
            _ => {}
        }
        self.append(&[FILL, code]);
        self.state = State::Length(code);
    }

    fn end_segment(&mut self, code: u8, start: usize, out: &mut Output) -> Result<(), StreamError> {
        self.state = State::BeforeMarker;
        if code == SOS {
            self.scans += 1;
            self.state = State::Scan;
        } else if Some(code) == self.sof && !self.oversized {
            // Precision, height, width (B.2.2).
            let size = match self.data[start..] {
                [8, y1, y0, x1, x0, ..] => [[x1, x0], [y1, y0]].map(u16::from_be_bytes),
                _ => [0, 0],
            };
            match check_size(size[0].into(), size[1].into()) {
                Ok(size) => match blocks(size, &self.data[start + 5..]) {
                    Some(blocks) => (self.size, self.blocks) = (Some(size), blocks),
                    None => self.abandon(out),
                },
                Err(error) if size[0] > 0 && size[1] > 0 && out.info.size.is_none() => {
                    return Err(error);
                }
                Err(_) => self.abandon(out),
            }
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.data.len() + bytes.len() > JPEG_MAX_BYTES {
            self.oversized = true;
            self.data = Vec::new();
        }
        if !self.oversized {
            self.data.extend_from_slice(bytes);
        }
    }

    fn complete(&mut self, out: &mut Output) {
        self.append(&[FILL, EOI]);
        self.state = State::Outside;
        let added = if self.tables_added { STANDARD_TABLES.len() } else { 0 };
        let bytes = self.data.len().saturating_sub(added);
        let is_filled = bytes >= JPEG_MIN_BYTES && self.blocks <= BLOCKS_PER_BYTE * bytes;
        match self.size {
            _ if self.oversized => out.counters.oversized += 1,
            Some(size) if is_filled => {
                out.info.size = Some(size);
                out.add(Item::Jpeg(Jpeg { data: self.data.as_slice().to_vec(), size }));
            }
            _ => out.counters.damaged += 1,
        }
    }

    /// The picture under way is damaged.
    fn abandon(&mut self, out: &mut Output) {
        out.counters.damaged += 1;
        self.state = State::Outside;
    }
}

/// How many blocks of 8x8 samples the components have together, which a frame header names (B.2.2,
/// A.2.2): their number, then each one's id, sampling factors and table.
fn blocks(size: Size, components: &[u8]) -> Option<usize> {
    let (count, components) = components.split_first()?;
    let components = components.get(..3 * usize::from(*count)).filter(|_| *count <= 4)?;
    let factors =
        components.chunks_exact(3).map(|c| (usize::from(c[1] >> 4), usize::from(c[1] & 15)));
    if !factors.clone().all(|(h, v)| (1..=4).contains(&h) && (1..=4).contains(&v)) {
        return None;
    }
    let h_max = factors.clone().map(|(h, _)| h).max()?;
    let v_max = factors.clone().map(|(_, v)| v).max()?;
    let length =
        |pixels: usize, factor: usize, max: usize| (pixels * factor).div_ceil(max).div_ceil(8);
    let blocks = |(h, v)| length(size.width, h, h_max) * length(size.height, v, v_max);
    Some(factors.map(blocks).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(code: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u16 + 2).to_be_bytes();
        [&[FILL, code][..], &length, payload].concat()
    }

    fn jpeg(width: u16, before: &[u8], scan: &[u8]) -> Vec<u8> {
        let [x1, x0] = width.to_be_bytes();
        let sof = segment(SOF_BASELINE, &[8, 0, 48, x1, x0, 1, 1, 0x11, 0]);
        let sos = segment(SOS, &[1, 1, 0, 0, 63, 0]);
        let padding = segment(0xfe, &[b'x'; 100]);
        [&[FILL, SOI], before, &padding, &sof, &sos, scan, &[FILL, EOI]].concat()
    }

    fn read(stream: &[u8], piece_bytes: usize) -> (Output, Result<(), StreamError>) {
        let (mut mjpeg, mut out) = (Mjpeg::new(), Output::default());
        for piece in stream.chunks(piece_bytes) {
            if let Err(error) = mjpeg.push(piece, &mut out) {
                return (out, Err(error));
            }
        }
        mjpeg.finish(&mut out);
        (out, Ok(()))
    }

    fn jpegs(out: &Output) -> Vec<Vec<u8>> {
        let data = |item: &Item| match item {
            Item::Jpeg(jpeg) => jpeg.data.clone(),
            other => panic!("{other:?}"),
        };
        out.items.iter().map(data).collect()
    }

    #[test]
    fn thumbnails_padding_and_garbage_do_not_matter() {
        let tables = segment(DHT, &[0; 17]);
        let thumbnail = segment(0xe1, &jpeg(16, &[], &[1]));
        let first = jpeg(64, &[thumbnail, tables.clone()].concat(), &[1, FILL, 0, 2, FILL, 0xd0]);
        let second = jpeg(64, &tables, &[3, FILL, FILL, 0, 4]);
        let stream = [&[0, 0, 7, FILL, 9][..], &first, &[0; 40], &second, &[8, FILL]].concat();
        // The fill byte is left out.
        let second = jpeg(64, &tables, &[3, FILL, 0, 4]);
        for piece_bytes in 1..stream.len() {
            let (out, result) = read(&stream, piece_bytes);
            assert_eq!(result, Ok(()));
            assert_eq!(jpegs(&out), [first.clone(), second.clone()], "pieces of {piece_bytes}");
            assert_eq!(out.counters.stray_bytes, 4);
            assert_eq!(out.counters.damaged, 0);
            assert_eq!(out.info.size, Some(Size { width: 64, height: 48 }));
        }
    }

    #[test]
    fn standard_tables_are_put_in_before_the_scan() {
        let out = read(&jpeg(64, &[], &[1]), 50).0;
        let with = jpegs(&out).remove(0);
        let at = memchr::memmem::find(&with, &STANDARD_TABLES).unwrap();
        assert_eq!(with[at + STANDARD_TABLES.len()..][..2], [FILL, SOS]);
        let without = [&with[..at], &with[at + STANDARD_TABLES.len()..]].concat();
        assert_eq!(without, jpeg(64, &[], &[1]));
        assert_eq!(jpegs(&read(&with, 50).0).concat(), with, "they are put in once");
    }

    #[test]
    fn a_picture_that_is_cut_off_is_damaged_and_the_next_one_is_not() {
        let whole = jpeg(64, &[], &[1, 2, 3]);
        for length in whole.len() - 5..whole.len() - 1 {
            let out = read(&[&whole[..length], &whole].concat(), 64).0;
            assert_eq!((out.items.len(), out.counters.damaged), (1, 1), "{length}");
        }
        // A cut inside a segment takes bytes of the next picture for those that lack.
        for length in 6..100 {
            let out = read(&[&whole[..length], &whole, &whole].concat(), 64).0;
            assert!(!out.items.is_empty() && out.counters.damaged > 0, "{length}");
        }
        assert_eq!(read(&whole[..120], 64).0.counters.damaged, 1);
    }

    #[test]
    fn sizes_are_checked_and_only_the_first_is_an_error() {
        assert_eq!(read(&jpeg(63, &[], &[1]), 64).1, Err(StreamError::OddSize(63, 48)));
        assert_eq!(read(&jpeg(5000, &[], &[1]), 64).1, Err(StreamError::Size(5000, 48)));
        assert_eq!(read(&jpeg(0, &[], &[1]), 64).0.counters.damaged, 1);
        let (out, result) = read(&[jpeg(64, &[], &[1]), jpeg(63, &[], &[1])].concat(), 64);
        assert_eq!((out.items.len(), out.counters.damaged, result), (1, 1, Ok(())));
    }

    #[test]
    fn what_is_too_large_or_too_small_is_left_out() {
        let whole = jpeg(64, &[], &[1]);
        let large = jpeg(64, &[], &vec![7; JPEG_MAX_BYTES]);
        let out = read(&[&large[..], &whole].concat(), 100_000).0;
        assert_eq!((out.items.len(), out.counters.oversized), (1, 1));
        let sof = segment(SOF_BASELINE, &[8, 0, 48, 0, 64, 1, 1, 0x11, 0]);
        let small = [&[FILL, SOI], &sof[..], &segment(SOS, &[0; 6]), &[1, FILL, EOI]].concat();
        let out = read(&[&small[..], &whole].concat(), 100_000).0;
        assert_eq!((out.items.len(), out.counters.damaged), (1, 1));
    }

    /// A grey picture of 8-bit samples with this many scans, and this many bytes in all.
    fn grey([width, height]: [u16; 2], scans: usize, bytes: usize) -> Vec<u8> {
        let ([x1, x0], [y1, y0]) = (width.to_be_bytes(), height.to_be_bytes());
        let sof = segment(SOF_PROGRESSIVE, &[8, y1, y0, x1, x0, 1, 1, 0x11, 0]);
        let scan = segment(SOS, &[1, 1, 0, 0, 0, 0]);
        let mut file = [&[FILL, SOI], &sof[..], &scan.repeat(scans)].concat();
        assert!(file.len() + 2 <= bytes);
        file.resize(bytes - 2, 0);
        file.extend([FILL, EOI]);
        file
    }

    #[test]
    fn a_picture_has_as_many_scans_as_encoders_write() {
        for scans in [1, 10, 18, 20] {
            let out = read(&grey([64, 48], scans, 1_000), 64).0;
            assert_eq!((out.items.len(), out.counters.damaged), (1, 0), "{scans} scans");
        }
        let out = read(&[grey([64, 48], 21, 1_000), grey([64, 48], 20, 1_000)].concat(), 64).0;
        assert_eq!((out.items.len(), out.counters.damaged), (1, 1));
    }

    #[test]
    fn a_picture_has_as_many_tables_as_its_scans_may_have() {
        let tables = segment(DHT, &[0; 8 * 273]);
        for (segments, items) in [(19, 1), (20, 0)] {
            let out = read(&jpeg(64, &tables.repeat(segments), &[1]), 64).0;
            assert_eq!((out.items.len(), out.counters.damaged), (items, 1 - items as u64));
        }
    }

    #[test]
    fn a_picture_has_as_many_bits_as_blocks() {
        // 480 by 270 blocks.
        for (bytes, items) in [(148, 0), (16_199, 0), (16_200, 1)] {
            let out = read(&grey([3840, 2160], 1, bytes), 4_096).0;
            assert_eq!(
                (out.items.len(), out.counters.damaged),
                (items, 1 - items as u64),
                "{bytes}"
            );
        }
    }

    #[test]
    fn blocks_are_those_of_all_components() {
        let size = Size { width: 322, height: 242 };
        let blocks_of = |factors: &[u8]| {
            let components = factors.iter().flat_map(|factors| [1, *factors, 0]);
            blocks(size, &[&[factors.len() as u8], &components.collect::<Vec<_>>()[..]].concat())
        };
        assert_eq!(blocks_of(&[0x11]), Some(41 * 31));
        assert_eq!(blocks_of(&[0x22]), Some(41 * 31), "factors are relative");
        assert_eq!(blocks_of(&[0x22, 0x11, 0x11]), Some(41 * 31 + 2 * (21 * 16)));
        assert_eq!(blocks_of(&[0x21, 0x11, 0x11]), Some(41 * 31 + 2 * (21 * 31)));
        assert_eq!(blocks_of(&[0x11; 4]), Some(4 * 41 * 31));
        for impossible in [&[][..], &[0x11; 5], &[0x01], &[0x15]] {
            assert_eq!(blocks_of(impossible), None, "{impossible:?}");
        }
        assert_eq!(blocks(size, &[3, 1, 0x11, 0, 2, 0x11, 0]), None, "one is missing");
    }

    #[test]
    fn a_second_frame_header_is_damage() {
        let sof = segment(SOF_BASELINE, &[8, 0, 48, 0, 64, 1, 1, 0x11, 0]);
        let out = read(&[jpeg(64, &sof, &[1]), jpeg(64, &[], &[1])].concat(), 64).0;
        assert_eq!((out.items.len(), out.counters.damaged), (1, 1));
    }
}
