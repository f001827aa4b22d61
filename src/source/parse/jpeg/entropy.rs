//! Whether the entropy-coded data of a JPEG is whole (ITU-T T.81, annexes E and F).
//!
//! Decoders make a picture of whatever there is: data that has lost some bytes gives grey or shifted
//! blocks, and no error. Huffman codes fall into step again soon after damage, but then there are more
//! or fewer blocks than the picture has, or a DC coefficient that no picture has. A walk through the
//! codes, without any picture, finds that out. Damage that changes a few bits of coefficients and
//! nothing else stays unnoticed, and is as good as invisible.
//!
//! The walk ends with the data: work is in proportion to the bytes.

use std::fmt;

use super::{DHT, DQT, DRI, EOI, FILL, RST_FIRST, RST_LAST, SOF_BASELINE, SOF_EXTENDED, SOS};

/// Bytes that a camera may have between the last block and the marker: libjpeg warns of "extraneous
/// bytes" at many, and shows the picture. Zero bytes are padding.
const STRAY_MAX_BYTES: usize = 2;
/// A DC coefficient is eight times the mean of 64 samples from -128 to 127 (A.3.3), and some more for
/// transforms that are not exact. It is rounded to a multiple of the quantiser.
const DC_MAX: i32 = 8 * 128 * 5 / 4;
/// The codes up to this length are found in one step.
const FAST_BITS: u32 = 9;

/// What is wrong with the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JpegFault {
    /// A segment contradicts another one, or is cut off.
    Header,
    /// There are bits that are no code, or coefficients that no picture has.
    Code,
    /// The data ends before the last block, or there is no scan of a component.
    Missing,
    /// There is more data than blocks.
    TooMuch,
    /// A restart marker is missing, or is not the one whose turn it is.
    Restart,
}

impl fmt::Display for JpegFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JpegFault::Header => "its headers contradict each other",
            JpegFault::Code => "its data has impossible codes",
            JpegFault::Missing => "its data ends too early",
            JpegFault::TooMuch => "it has more data than blocks",
            JpegFault::Restart => "its restart markers are out of order",
        })
    }
}

/// Walks through the scans of a JPEG, from SOI to EOI. Those of a progressive one are not walked
/// through: their codes depend on all coefficients before them.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(file: &[u8]) -> Result<(), JpegFault> {
    let mut walk = Walk::default();
    let mut rest = file.get(2..).ok_or(JpegFault::Header)?;
    loop {
        rest = &rest[rest.iter().take_while(|byte| **byte == FILL).count()..];
        let (&code, after) = rest.split_first().ok_or(JpegFault::Missing)?;
        if code == EOI {
            let is_whole = walk.components.iter().all(|component| component.is_coded);
            return if is_whole { Ok(()) } else { Err(JpegFault::Missing) };
        }
        let length = after.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes));
        let segment = after.get(2..usize::from(length)).ok_or(JpegFault::Header)?;
        rest = &after[usize::from(length)..];
        match code {
            DHT => walk.take_tables(segment)?,
            DQT => walk.take_quantisers(segment)?,
            DRI => {
                let interval = segment.first_chunk().ok_or(JpegFault::Header)?;
                walk.restart_interval = u16::from_be_bytes(*interval).into();
            }
            SOF_BASELINE | SOF_EXTENDED => walk.take_frame(segment)?,
            SOS if walk.components.is_empty() => return Ok(()),
            SOS => rest = walk.take_scan(segment, rest)?,
            _ => {}
        }
    }
}

#[derive(Default)]
struct Walk {
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    /// The first element of each table.
    quantisers: [i32; 4],
    restart_interval: usize,
    /// None before the frame header, and for a progressive frame.
    components: Vec<Component>,
    width: usize,
    height: usize,
}

#[derive(Clone, Copy)]
struct Component {
    id: u8,
    h: usize,
    v: usize,
    quantiser: usize,
    is_coded: bool,
}

/// A component in a scan.
struct Part<'a> {
    component: Component,
    dc: &'a Table,
    ac: &'a Table,
    /// Blocks in an MCU.
    blocks: usize,
    quantiser: i32,
    prediction: i32,
}

impl Walk {
    fn take_quantisers(&mut self, mut segment: &[u8]) -> Result<(), JpegFault> {
        while let Some((&header, rest)) = segment.split_first() {
            let (bytes, first) = match (header >> 4, rest) {
                (0, [first, ..]) => (64, i32::from(*first)),
                (1, [high, low, ..]) => (128, i32::from(u16::from_be_bytes([*high, *low]))),
                _ => return Err(JpegFault::Header),
            };
            *self.quantisers.get_mut(usize::from(header & 15)).ok_or(JpegFault::Header)? = first;
            segment = rest.get(bytes..).ok_or(JpegFault::Header)?;
        }
        Ok(())
    }

    fn take_tables(&mut self, mut segment: &[u8]) -> Result<(), JpegFault> {
        while let Some((&header, rest)) = segment.split_first() {
            let counts: &[u8; 16] = rest.first_chunk().ok_or(JpegFault::Header)?;
            let codes = counts.iter().map(|count| usize::from(*count)).sum();
            let values = rest[16..].get(..codes).ok_or(JpegFault::Header)?;
            let tables = if header >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            let table = tables.get_mut(usize::from(header & 15)).ok_or(JpegFault::Header)?;
            *table = Some(Table::new(counts, values).ok_or(JpegFault::Header)?);
            segment = &rest[16 + codes..];
        }
        Ok(())
    }

    fn take_frame(&mut self, segment: &[u8]) -> Result<(), JpegFault> {
        let [_, y1, y0, x1, x0, _, components @ ..] = segment else {
            return Err(JpegFault::Header);
        };
        (self.width, self.height) = (
            usize::from(u16::from_be_bytes([*x1, *x0])),
            usize::from(u16::from_be_bytes([*y1, *y0])),
        );
        self.components = components
            .as_chunks()
            .0
            .iter()
            .map(|[id, factors, quantiser]| Component {
                id: *id,
                h: usize::from(factors >> 4).max(1),
                v: usize::from(factors & 15).max(1),
                quantiser: usize::from(*quantiser),
                is_coded: false,
            })
            .collect();
        Ok(())
    }

    /// Walks through a scan, and returns what follows the 0xFF of the marker after it.
    fn take_scan<'a>(&mut self, segment: &[u8], data: &'a [u8]) -> Result<&'a [u8], JpegFault> {
        let (&count, parameters) = segment.split_first().ok_or(JpegFault::Header)?;
        let named = parameters.as_chunks::<2>().0.get(..count.into()).ok_or(JpegFault::Header)?;
        let mut parts = named.iter().map(|part| self.part(*part)).collect::<Option<Vec<_>>>();
        let parts = parts.as_mut().ok_or(JpegFault::Header)?;
        let h_max = self.components.iter().map(|component| component.h).max().unwrap_or(1);
        let v_max = self.components.iter().map(|component| component.v).max().unwrap_or(1);
        let mcus = match parts.as_mut_slice() {
            // A scan of one component has blocks in place of MCUs (A.2.2).
            [part] => {
                let in_blocks =
                    |pixels: usize, of: usize, max: usize| (pixels * of).div_ceil(max).div_ceil(8);
                part.blocks = 1;
                let Component { h, v, .. } = part.component;
                in_blocks(self.width, h, h_max) * in_blocks(self.height, v, v_max)
            }
            _ => self.width.div_ceil(8 * h_max) * self.height.div_ceil(8 * v_max),
        };
        let mut bits = Bits::new(data);
        for mcu in 0..mcus {
            if mcu > 0 && self.restart_interval > 0 && mcu.is_multiple_of(self.restart_interval) {
                let turn = (mcu / self.restart_interval - 1) % 8;
                bits.restart(RST_FIRST + turn as u8)?;
                parts.iter_mut().for_each(|part| part.prediction = 0);
            }
            for part in parts.iter_mut() {
                for _ in 0..part.blocks {
                    part.walk_block(&mut bits)?;
                }
            }
        }
        let after = bits.end()?;
        if let Some(RST_FIRST..=RST_LAST) = after.first() {
            return Err(JpegFault::TooMuch);
        }
        for component in &mut self.components {
            component.is_coded |= named.iter().any(|[id, _]| *id == component.id);
        }
        Ok(after)
    }

    /// What a scan header says about one component.
    fn part(&self, [id, tables]: [u8; 2]) -> Option<Part<'_>> {
        let component = *self.components.iter().find(|component| component.id == id)?;
        let quantiser = self.quantisers.get(component.quantiser)?;
        Some(Part {
            component,
            dc: self.dc.get(usize::from(tables >> 4))?.as_ref()?,
            ac: self.ac.get(usize::from(tables & 15))?.as_ref()?,
            blocks: component.h * component.v,
            quantiser: (*quantiser).max(1),
            prediction: 0,
        })
    }
}

impl Part<'_> {
    fn walk_block(&mut self, bits: &mut Bits) -> Result<(), JpegFault> {
        let category = u32::from(bits.code(self.dc)?);
        if category > 11 {
            return Err(JpegFault::Code);
        }
        self.prediction += bits.signed(category)?;
        if self.prediction.abs() * self.quantiser > DC_MAX + self.quantiser {
            return Err(JpegFault::Code);
        }
        let mut at = 1;
        while at < 64 {
            let code = bits.code(self.ac)?;
            let (zeros, category) = (u32::from(code >> 4), u32::from(code & 15));
            match (zeros, category) {
                (0, 0) => break,
                (15, 0) => at += 16,
                (_, 1..=10) => {
                    at += zeros;
                    bits.skip(category)?;
                    if at > 63 {
                        return Err(JpegFault::Code);
                    }
                    at += 1;
                }
                _ => return Err(JpegFault::Code),
            }
        }
        Ok(())
    }
}

/// A table of Huffman codes (C.2).
struct Table {
    /// The length and the value of the code that these bits begin with; a length of 0 for longer ones.
    fast: Box<[(u8, u8); 1 << FAST_BITS]>,
    /// For each length: the first code that is longer, as the first of 16 bits, and what to add to a
    /// code of this length for the place of its value.
    ends: [u32; 17],
    places: [i32; 17],
    values: Vec<u8>,
}

impl Table {
    fn new(counts: &[u8; 16], values: &[u8]) -> Option<Table> {
        let mut table = Table {
            fast: Box::new([(0, 0); 1 << FAST_BITS]),
            ends: [0; 17],
            places: [0; 17],
            values: values.to_vec(),
        };
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, count) in (1..=16_u32).zip(counts) {
            table.places[length as usize] = place as i32 - code as i32;
            for _ in 0..*count {
                if length <= FAST_BITS {
                    let first = (code << (FAST_BITS - length)) as usize;
                    let entries = table.fast.get_mut(first..first + (1 << (FAST_BITS - length)))?;
                    entries.fill((length as u8, values[place]));
                }
                code += 1;
                place += 1;
            }
            table.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        // No more codes than there can be.
        (table.ends[16] <= 1 << 16).then_some(table)
    }
}

/// The bits of a scan.
struct Bits<'a> {
    data: &'a [u8],
    /// The next bits, from the highest on, and how many of them there are.
    bits: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(data: &'a [u8]) -> Bits<'a> {
        Bits { data, bits: 0, count: 0 }
    }

    /// Takes in whole bytes up to the next marker. After it, the bits are zero.
    fn fill(&mut self) {
        while self.count <= 56 {
            let (byte, bytes) = match *self.data {
                [FILL, 0, ..] => (FILL, 2),
                [FILL, ..] | [] => return,
                [byte, ..] => (byte, 1),
            };
            self.data = &self.data[bytes..];
            self.bits |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    fn code(&mut self, table: &Table) -> Result<u8, JpegFault> {
        if self.count < 32 {
            self.fill();
        }
        let (length, value) = table.fast[(self.bits >> (64 - FAST_BITS)) as usize];
        if length > 0 {
            self.skip(length.into())?;
            return Ok(value);
        }
        let next = (self.bits >> 48) as u32;
        let is_longer = |length: &u32| next >= table.ends[*length as usize];
        let length = (FAST_BITS + 1..=16).find(|length| !is_longer(length));
        let length =
            length.ok_or(if self.count < 16 { JpegFault::Missing } else { JpegFault::Code })?;
        self.skip(length)?;
        let place = (next >> (16 - length)) as i32 + table.places[length as usize];
        table.values.get(place as usize).copied().ok_or(JpegFault::Code)
    }

    /// The value of a category (F.1.2.1).
    fn signed(&mut self, category: u32) -> Result<i32, JpegFault> {
        if category == 0 {
            return Ok(0);
        }
        let value = (self.bits >> (64 - category)) as i32;
        self.skip(category)?;
        let is_negative = value < 1 << (category - 1);
        Ok(if is_negative { value - (1 << category) + 1 } else { value })
    }

    /// At most 16 bits, of 32 that [`fill`](Self::fill) has taken in.
    fn skip(&mut self, bits: u32) -> Result<(), JpegFault> {
        self.count = self.count.checked_sub(bits).ok_or(JpegFault::Missing)?;
        self.bits <<= bits;
        Ok(())
    }

    /// The interval ends here: returns what follows the 0xFF of the marker.
    fn end(&mut self) -> Result<&'a [u8], JpegFault> {
        self.fill();
        // Less than a byte of them fills up the last one.
        let strays = (self.bits << (self.count % 8)).to_be_bytes();
        let mut count = strays.iter().filter(|byte| **byte != 0).count();
        loop {
            self.data = match *self.data {
                [FILL, 0, ref rest @ ..] => {
                    count += 1;
                    rest
                }
                [FILL, ref rest @ ..] => {
                    (self.data, self.bits, self.count) = (rest, 0, 0);
                    break;
                }
                [byte, ref rest @ ..] => {
                    count += usize::from(byte != 0);
                    rest
                }
                [] => return Err(JpegFault::Missing),
            };
            if count > STRAY_MAX_BYTES {
                return Err(JpegFault::TooMuch);
            }
        }
        if count > STRAY_MAX_BYTES { Err(JpegFault::TooMuch) } else { Ok(self.data) }
    }

    fn restart(&mut self, marker: u8) -> Result<(), JpegFault> {
        let after = self.end()?;
        let after = &after[after.iter().take_while(|byte| **byte == FILL).count()..];
        self.data = after.strip_prefix(&[marker]).ok_or(JpegFault::Restart)?;
        Ok(())
    }
}
