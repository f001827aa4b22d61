//! JPEGs of a real encoder, and changes of them that keep enough of the shape for a decoder to go on.

use arbitrary::Arbitrary;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

const MAX_EDITS: usize = 12;
/// The longest side: a picture of several MCUs in both directions.
const MAX_SIDE: u16 = 80;

const SAMPLINGS: [SamplingFactor; 8] = [
    SamplingFactor::F_1_1,
    SamplingFactor::F_2_1,
    SamplingFactor::F_1_2,
    SamplingFactor::F_2_2,
    SamplingFactor::F_4_1,
    SamplingFactor::F_4_2,
    SamplingFactor::F_1_4,
    SamplingFactor::F_2_4,
];

/// Segments that real files have elsewhere, or that change what comes after them.
const SEGMENTS: [&[u8]; 10] = [
    // Adobe: RGB or CMYK, YCbCr, YCCK.
    b"\xff\xee\0\x0eAdobe\0\x65\0\0\0\0\0",
    b"\xff\xee\0\x0eAdobe\0\x65\0\0\0\0\x01",
    b"\xff\xee\0\x0eAdobe\0\x65\0\0\0\0\x02",
    // Restart intervals: none, one, many MCUs.
    b"\xff\xdd\0\x04\0\0",
    b"\xff\xdd\0\x04\0\x01",
    b"\xff\xdd\0\x04\xff\xff",
    // A scan of the first component: DC, DC refined, AC, AC refined.
    b"\xff\xda\0\x08\x01\x01\0\0\0\x01\xa5",
    b"\xff\xda\0\x08\x01\x01\0\0\0\x10\xa5",
    b"\xff\xda\0\x08\x01\x01\0\x01\x3f\x01\xa5\x5a",
    b"\xff\xda\0\x08\x01\x01\0\x01\x3f\x10\xa5\x5a",
];

/// A picture and how it is encoded.
#[derive(Debug, Arbitrary)]
pub struct Model {
    width: u8,
    height: u8,
    sampling: u8,
    quality: u8,
    scans: u8,
    restart_interval: u8,
    is_grey: bool,
    noise: u8,
    edits: Vec<Edit>,
}

/// A change. Positions count from the start and wrap around.
#[derive(Debug, Arbitrary)]
enum Edit {
    Overwrite(u16, u8),
    Insert(u16, u8),
    Delete(u16, u8),
    /// A byte of a header, which a random position in a large file seldom is.
    OverwriteHeader(u8, u8, u8),
    SwapSegments(u8, u8),
    DoubleSegment(u8, u8),
    DeleteSegment(u8),
    InsertSegment(u8, u8),
}

impl Model {
    pub fn file(&self) -> Vec<u8> {
        let edits = self.edits.iter().take(MAX_EDITS);
        let segments = edits.fold(segments(&self.encode()), |segments, edit| edit.apply(segments));
        [&[0xff, 0xd8], &segments.concat()[..], &[0xff, 0xd9]].concat()
    }

    fn encode(&self) -> Vec<u8> {
        let side = |half: u8| 2 * (1 + u16::from(half) % (MAX_SIDE / 2));
        let (width, height) = (side(self.width), side(self.height));
        let (colours, samples) =
            if self.is_grey { (ColorType::Luma, 1) } else { (ColorType::Ycbcr, 3) };
        let mut random = fastrand::Rng::with_seed(u64::from(self.noise));
        let pixels = (0..usize::from(width) * usize::from(height) * samples)
            .map(|at| (at / 3) as u8 ^ random.u8(..=self.noise))
            .collect::<Vec<u8>>();
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, 1 + self.quality % 100);
        encoder.set_sampling_factor(SAMPLINGS[usize::from(self.sampling) % SAMPLINGS.len()]);
        encoder.set_restart_interval(u16::from(self.restart_interval % 8));
        if self.scans % 8 >= 2 {
            encoder.set_progressive_scans(self.scans % 8);
        }
        encoder.encode(&pixels, width, height, colours).expect("the picture is small");
        file
    }
}

/// The segments between SOI and EOI of a whole file, a scan's data with its header.
fn segments(file: &[u8]) -> Vec<Vec<u8>> {
    let mut segments = Vec::new();
    let mut rest = &file[2..file.len() - 2];
    while rest.len() >= 4 {
        let header = 2 + usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7);
        let data = rest[header..].windows(2).position(is_marker);
        let (segment, after) = rest.split_at(data.map_or(rest.len(), |data| header + data));
        segments.push(segment.to_vec());
        rest = after;
    }
    segments
}

impl Edit {
    fn apply(&self, mut segments: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        if segments.iter().all(Vec::is_empty) {
            return segments;
        }
        let at = |which: u8| usize::from(which) % segments.len();
        match *self {
            Edit::SwapSegments(one, other) => {
                let (one, other) = (at(one), at(other));
                segments.swap(one, other);
            }
            Edit::DoubleSegment(which, to) => {
                let (which, to) = (at(which), at(to));
                segments.insert(to, segments[which].clone());
            }
            Edit::DeleteSegment(which) => {
                segments.remove(at(which));
            }
            Edit::InsertSegment(which, to) => {
                let segment = SEGMENTS[usize::from(which) % SEGMENTS.len()];
                segments.insert(at(to), segment.to_vec());
            }
            Edit::OverwriteHeader(which, position, byte) => {
                let which = at(which);
                if let Some(place) = segments[which].get_mut(4 + usize::from(position % 32)) {
                    *place = byte;
                }
            }
            Edit::Overwrite(position, byte) => {
                let mut bytes = segments.concat();
                let position = usize::from(position) % bytes.len();
                bytes[position] = byte;
                return vec![bytes];
            }
            Edit::Insert(position, byte) => {
                let mut bytes = segments.concat();
                bytes.insert(usize::from(position) % bytes.len(), byte);
                return vec![bytes];
            }
            Edit::Delete(position, count) => {
                let mut bytes = segments.concat();
                let from = usize::from(position) % bytes.len();
                bytes.drain(from..(from + usize::from(count)).min(bytes.len()));
                return vec![bytes];
            }
        }
        segments
    }
}
