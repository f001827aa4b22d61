//! Splits MJPEG into JPEGs by parsing their markers and segments (ITU-T T.81, annex B). Application segments
//! may contain a thumbnail, which is a JPEG itself, so that a search for markers would split at the wrong
//! place.

mod entropy;
mod frame;

#[cfg(feature = "testing")]
pub use self::entropy::JpegFault;
pub use self::entropy::check;
use self::frame::{FrameError, JpegFrame, uncommon_coding};
use super::huffman::STANDARD_TABLES;
use super::{ParsedItem, ParserOutput, StreamError, check_encoded_size};
use crate::media::{Jpeg, Size};
use crate::work;

/// The largest JPEG. Larger ones are dropped. A high-quality JPEG of 3840×2160 has 3 MiB.
pub const JPEG_MAX_BYTES: usize = 4 << 20;
/// The smallest JPEG. Smaller ones are damaged, as the headers alone are larger.
pub const JPEG_MIN_BYTES: usize = 128;
/// The most scans. JPEGs with more are damaged: a decoder visits all blocks for each scan, even if it is
/// empty. The longest scripts of libjpeg have 18 scans for four components, and 10 for three.
const SCANS_MAX: u32 = 20;
/// The most bytes of Huffman tables, each of which costs a decoder as much as ten other bytes. Each scan may
/// have 8 new tables (B.2.4.2) of at most 273 bytes.
const TABLES_MAX_BYTES: usize = SCANS_MAX as usize * 8 * 273;
/// Each block of each component has a code of at least one bit for its DC coefficient (F.1.2.1, G.1.2.1), so
/// that a file with fewer bits than blocks is damaged, and a decoder would fill most of the picture with
/// nothing. A black 1920x1080 in 4:2:0 has at least 6 kB.
const BLOCKS_PER_BYTE: usize = 8;
/// A picture without EOI is truncated if it has less than half of the bytes of the one before.
const STUMP_DIVISOR: usize = 2;

// Marker codes, table B.1.
const SOF_FIRST: u8 = 0xc0;
const SOF_BASELINE: u8 = 0xc0;
const SOF_EXTENDED: u8 = 0xc1;
const SOF_PROGRESSIVE: u8 = 0xc2;
const DHT: u8 = 0xc4;
const DAC: u8 = 0xcc;
const SOF_LAST: u8 = 0xcf;
const RST_FIRST: u8 = 0xd0;
const RST_LAST: u8 = 0xd7;
const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const DQT: u8 = 0xdb;
const DRI: u8 = 0xdd;
const TEM: u8 = 0x01;
const FILL: u8 = 0xff;

/// The parser of one stream.
pub struct Mjpeg {
    state: JpegState,
    /// The current picture.
    data: Vec<u8>,
    /// The picture exceeds the limit, and is only parsed.
    oversized: bool,
    sof: Option<u8>,
    size: Option<Size>,
    /// The number of blocks of all components.
    blocks: usize,
    scans: u32,
    /// The bytes of the file's own Huffman tables.
    table_bytes: usize,
    has_tables: bool,
    tables_added: bool,
    /// The size of the last picture that was delivered.
    usual_bytes: usize,
}

#[derive(Clone, Copy)]
enum JpegState {
    /// Between pictures.
    Outside,
    /// Between pictures, after 0xFF.
    OutsideMarker,
    /// A marker has to follow.
    BeforeMarker,
    /// After the 0xFF of a marker.
    Marker,
    /// Before, and within, the length of a segment with this marker code.
    Length(u8),
    LengthLow(u8, u8),
    /// In a segment: its start in `data`, and the bytes left.
    Segment(u8, usize, usize),
    /// In entropy-coded data, and after 0xFF there.
    Scan,
    ScanMarker,
}

impl Mjpeg {
    pub fn new() -> Mjpeg {
        Mjpeg {
            state: JpegState::Outside,
            data: Vec::new(),
            oversized: false,
            sof: None,
            size: None,
            blocks: 0,
            scans: 0,
            table_bytes: 0,
            has_tables: false,
            tables_added: false,
            usual_bytes: 0,
        }
    }

    /// Parses the next bytes of the stream.
    ///
    /// # Errors
    /// [`StreamError::Size`], [`StreamError::TooSmall`] and [`StreamError::Jpeg`], if this is the
    /// first picture. Later ones are damaged.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut ParserOutput) -> Result<(), StreamError> {
        while let Some((&first, rest)) = bytes.split_first() {
            work::step();
            bytes = match self.state {
                JpegState::Outside => self.search(bytes, out),
                JpegState::Segment(code, start, left) => {
                    let (part, rest) = bytes.split_at(left.min(bytes.len()));
                    self.append(part);
                    match left - part.len() {
                        0 => self.end_segment(code, start, out)?,
                        left => self.state = JpegState::Segment(code, start, left),
                    }
                    rest
                }
                JpegState::Scan => {
                    let end = memchr::memchr(FILL, bytes);
                    let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                    self.append(part);
                    if end.is_some() {
                        self.state = JpegState::ScanMarker;
                    }
                    &rest[usize::from(end.is_some())..]
                }
                JpegState::OutsideMarker if !matches!(first, SOI | FILL) => {
                    out.counters.stray_bytes += 1;
                    self.state = JpegState::Outside;
                    bytes
                }
                JpegState::BeforeMarker if first != FILL => {
                    self.abandon(out);
                    bytes
                }
                _ => {
                    self.take_byte(first, out)?;
                    rest
                }
            };
        }
        Ok(())
    }

    /// Handles the end of the stream.
    pub fn finish(&mut self, out: &mut ParserOutput) {
        match self.state {
            JpegState::Outside | JpegState::OutsideMarker => {}
            JpegState::Scan | JpegState::ScanMarker => self.cut_off(out),
            _ => self.abandon(out),
        }
    }

    /// The bytes of allocated memory.
    #[cfg(feature = "testing")]
    pub fn bytes(&self) -> usize {
        self.data.capacity()
    }

    /// Skips bytes between pictures. Zero bytes are padding.
    fn search<'a>(&mut self, bytes: &'a [u8], out: &mut ParserOutput) -> &'a [u8] {
        let end = memchr::memchr(FILL, bytes);
        let (skipped, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        out.counters.stray_bytes += skipped.iter().filter(|byte| **byte != 0).count() as u64;
        if end.is_some() {
            self.state = JpegState::OutsideMarker;
        }
        &rest[usize::from(end.is_some())..]
    }

    /// Handles a byte in a state that takes single bytes.
    fn take_byte(&mut self, byte: u8, out: &mut ParserOutput) -> Result<(), StreamError> {
        match self.state {
            JpegState::OutsideMarker if byte == SOI => self.begin(),
            JpegState::OutsideMarker => out.counters.stray_bytes += 1,
            JpegState::BeforeMarker => self.state = JpegState::Marker,
            // Any number of fill bytes may precede a marker (B.1.1.2).
            JpegState::Marker | JpegState::ScanMarker if byte == FILL => {}
            JpegState::ScanMarker if matches!(byte, 0 | RST_FIRST..=RST_LAST) => {
                self.append(&[FILL, byte]);
                self.state = JpegState::Scan;
            }
            JpegState::Marker | JpegState::ScanMarker => return self.take_marker(byte, out),
            JpegState::Length(code) => self.state = JpegState::LengthLow(code, byte),
            JpegState::LengthLow(code, high) => {
                self.append(&[high, byte]);
                match usize::from(u16::from_be_bytes([high, byte])) {
                    0 | 1 => self.abandon(out),
                    2 => self.state = JpegState::BeforeMarker,
                    length if code == DHT && self.table_bytes + length > TABLES_MAX_BYTES => {
                        self.abandon(out);
                    }
                    length => {
                        self.table_bytes += if code == DHT { length } else { 0 };
                        self.state = JpegState::Segment(code, self.data.len(), length - 2);
                    }
                }
            }
            JpegState::Outside | JpegState::Segment(..) | JpegState::Scan => {}
        }
        Ok(())
    }

    fn begin(&mut self) {
        let mut data = std::mem::take(&mut self.data);
        data.clear();
        data.extend_from_slice(&[FILL, SOI]);
        let usual_bytes = self.usual_bytes;
        *self = Mjpeg { state: JpegState::BeforeMarker, data, usual_bytes, ..Mjpeg::new() };
    }

    fn take_marker(&mut self, code: u8, out: &mut ParserOutput) -> Result<(), StreamError> {
        match code {
            SOI => {
                match self.state {
                    JpegState::ScanMarker => self.cut_off(out),
                    _ => self.abandon(out),
                }
                self.begin();
                return Ok(());
            }
            EOI if self.scans > 0 => {
                self.complete(out);
                return Ok(());
            }
            EOI | 0 | TEM | RST_FIRST..=RST_LAST => {
                self.abandon(out);
                return Ok(());
            }
            DHT => self.has_tables = true,
            SOF_BASELINE | SOF_EXTENDED | SOF_PROGRESSIVE if self.sof.is_none() => {
                self.sof = Some(code);
            }
            SOF_FIRST..=SOF_LAST if code != DAC => {
                let first = self.sof.is_none();
                return self.refuse(uncommon_coding(code).filter(|_| first), out);
            }
            SOS if self.size.is_none() || self.scans == SCANS_MAX => {
                self.abandon(out);
                return Ok(());
            }
            SOS if !self.has_tables && self.sof != Some(SOF_PROGRESSIVE) => {
                self.append(&STANDARD_TABLES);
                (self.has_tables, self.tables_added) = (true, true);
            }
            _ => {}
        }
        self.append(&[FILL, code]);
        self.state = JpegState::Length(code);
        Ok(())
    }

    /// Drops the current picture, which is damaged or cannot be decoded. Before the first picture, this is the
    /// error of the stream.
    fn refuse(
        &mut self,
        kind: Option<StreamError>,
        out: &mut ParserOutput,
    ) -> Result<(), StreamError> {
        match kind.filter(|_| out.info.size.is_none()) {
            Some(error) => Err(error),
            None => {
                self.abandon(out);
                Ok(())
            }
        }
    }

    fn end_segment(
        &mut self,
        code: u8,
        start: usize,
        out: &mut ParserOutput,
    ) -> Result<(), StreamError> {
        self.state = JpegState::BeforeMarker;
        if code == SOS {
            self.scans += 1;
            self.state = JpegState::Scan;
        } else if Some(code) == self.sof && !self.oversized {
            let checked = JpegFrame::parse(&self.data[start..]).and_then(|frame| {
                // 4:2:0 has no odd row or column.
                let [width, height] = [frame.width, frame.height].map(|side| u64::from(side & !1));
                let size = check_encoded_size(width, height).map_err(FrameError::Refused)?;
                Ok((size, frame.blocks()))
            });
            match checked {
                Ok((size, blocks)) => (self.size, self.blocks) = (Some(size), blocks),
                Err(FrameError::Refused(error)) => return self.refuse(Some(error), out),
                Err(FrameError::Damaged) => self.abandon(out),
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

    fn complete(&mut self, out: &mut ParserOutput) {
        self.append(&[FILL, EOI]);
        self.state = JpegState::Outside;
        let added = if self.tables_added { STANDARD_TABLES.len() } else { 0 };
        let bytes = self.data.len().saturating_sub(added);
        let is_filled = bytes >= JPEG_MIN_BYTES && self.blocks <= BLOCKS_PER_BYTE * bytes;
        match self.size {
            _ if self.oversized => out.counters.oversized += 1,
            Some(size) if is_filled => {
                out.info.size = Some(size);
                self.usual_bytes = bytes;
                out.add(ParsedItem::Jpeg(Jpeg { data: self.data.as_slice().to_vec(), size }));
            }
            _ => out.counters.damaged += 1,
        }
    }

    /// Ends a picture without EOI at the start of the next one or at the end of the stream: some cameras omit
    /// EOI. The decoder finds out whether all rows are there.
    fn cut_off(&mut self, out: &mut ParserOutput) {
        match STUMP_DIVISOR * self.data.len() < self.usual_bytes {
            true => self.abandon(out),
            false => self.complete(out),
        }
    }

    /// Drops the current picture, which is damaged.
    fn abandon(&mut self, out: &mut ParserOutput) {
        out.counters.damaged += 1;
        self.state = JpegState::Outside;
    }
}

#[cfg(test)]
mod tests;
