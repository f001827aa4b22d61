//! The bytes of a stream: little pictures of every format, each of which can be recognised.

use ballcast::testing::media::SourcePicture;
use fastrand::Rng;

use super::SourceOptions;
use crate::wire;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    H264,
    Y4m,
    Raw,
    Mjpeg,
}

/// Width and height of the pictures: a stream changes from one to the other.
pub const SIZES: [[u8; 2]; 2] = [[16, 16], [16, 32]];
/// Of all chroma samples, which are 128 in words.
const CHROMA: u8 = 0x5a;
/// Filler of slices, without zero bytes.
const FILLER: u8 = 0x9a;

// NAL units of pictures with 64 lines, by size and by version.
const SPS: [&[u8]; 2] =
    [&[0x67, 66, 0xc0, 10, 0xd9, 4, 0x7b, 1, 0x10], &[0x67, 66, 0xc0, 10, 0xd9, 5, 0x7b, 1, 0x10]];
const PPS: [&[u8]; 2] = [&[0x68, 0xcb, 0x83, 0xcb, 0x20], &[0x68, 0xcb, 0x83, 0xcb, 0x21]];
// The header of a NAL unit, and that of the slice in two bytes: the first slice of a picture, and
// further ones.
pub const IDR: [&[u8]; 2] = [&[0x65, 0x88, 0x84], &[0x65, 0x42, 0x21]];
pub const DELTA: [&[u8]; 2] = [&[0x41, 0x9a, 0x38], &[0x41, 0x46, 0x88]];
const B_SLICE: &[u8] = &[0x01, 0x9e, 0x38];

/// What a picture that is to be encoded shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// Why there is no picture.
    Words,
    /// This picture of the stream.
    Picture(u64),
    /// A JPEG that cannot be decoded.
    Damaged,
    /// A key frame, for a file of it.
    Keyframe,
    /// What comes of damaged bytes.
    Other,
}

/// Recognises a picture.
pub fn shows(picture: &SourcePicture) -> Shows {
    match picture {
        SourcePicture::NoSignal(_) => Shows::Words,
        SourcePicture::Picture(picture) => {
            match (picture.u.samples.first(), wire::digits(&picture.y.samples)) {
                (Some(&CHROMA), Some(number)) => Shows::Picture(number),
                _ => Shows::Other,
            }
        }
        SourcePicture::Samples(samples) => {
            wire::digits(&samples.planes[0]).map_or(Shows::Other, Shows::Picture)
        }
        SourcePicture::Keyframe(_) => Shows::Keyframe,
        // SOI, and a comment with the number.
        SourcePicture::Jpeg(jpeg) => match (jpeg.data.get(6..), jpeg.data.get(10)) {
            (_, Some(b'd')) => Shows::Damaged,
            (Some(rest), Some(b'w')) => wire::digits(rest).map_or(Shows::Other, Shows::Picture),
            _ => Shows::Other,
        },
    }
}

/// What is written for one picture.
pub struct Written {
    pub bytes: Vec<u8>,
    pub keyframe: bool,
    /// So many bytes have to come whole for it to be recognised.
    pub head: usize,
}

/// A writer of pictures, from the beginning of the stream on.
pub struct Stream {
    options: SourceOptions,
    begun: bool,
    size: usize,
    pps: usize,
    /// Delta frames until the next key frame.
    group_left: u32,
}

impl Stream {
    pub fn new(options: &SourceOptions, rng: &mut Rng) -> Stream {
        let size = if options.format == Format::Raw { 0 } else { rng.usize(..SIZES.len()) };
        Stream::of_size(options, size)
    }

    /// A writer of pictures of one of [`SIZES`].
    pub fn of_size(options: &SourceOptions, size: usize) -> Stream {
        Stream { options: options.clone(), begun: false, size, pps: 0, group_left: 0 }
    }

    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The next picture. With `changes`, its parameter sets or its size are others than before.
    pub fn next(&mut self, number: u64, changes: bool, rng: &mut Rng) -> Written {
        let first = !std::mem::replace(&mut self.begun, true);
        match self.options.format {
            Format::H264 => self.h264(number, first, changes && !first, rng),
            Format::Mjpeg => {
                self.size ^= usize::from(changes && !first);
                let is_damaged = rng.f64() < self.options.damaged_jpegs;
                whole(jpeg(SIZES[self.size], number, is_damaged, self.options.delta_bytes))
            }
            Format::Y4m => {
                let [width, height] = SIZES[self.size];
                let rate = self.options.frames_per_second;
                let header = format!("YUV4MPEG2 W{width} H{height} F{rate}:1\n").into_bytes();
                let header = if first { header } else { Vec::new() };
                whole([header, b"FRAME\n".to_vec(), i420(SIZES[self.size], number)].concat())
            }
            Format::Raw => whole(i420(SIZES[self.size], number)),
        }
    }

    fn h264(&mut self, number: u64, first: bool, changes: bool, rng: &mut Rng) -> Written {
        let keyframe = self.group_left == 0;
        self.group_left = match keyframe {
            true => rng.u32(..self.options.group),
            false => self.group_left - 1,
        };
        let mut bytes = Vec::new();
        if keyframe {
            self.size ^= usize::from(changes);
            if first || changes || self.options.repeats_sets {
                write_unit(&mut bytes, &[SPS[self.size]]);
                write_unit(&mut bytes, &[PPS[self.pps]]);
            }
        } else if changes {
            self.pps ^= 1;
            write_unit(&mut bytes, &[PPS[self.pps]]);
        }
        let (headers, size) = match keyframe {
            true => (IDR, self.options.keyframe_bytes),
            false => (DELTA, self.options.delta_bytes),
        };
        let mut head = 0;
        for slice in 0..self.options.slices {
            let filler = vec![FILLER; size / self.options.slices];
            let header = headers[usize::from(slice > 0)];
            write_unit(&mut bytes, &[header, &wire::number_bytes(number), &filler]);
            if slice == 0 {
                head = bytes.len() - filler.len();
            }
        }
        Written { bytes, keyframe, head }
    }
}

/// A picture that browsers do not decode.
pub fn b_frame(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_unit(&mut bytes, &[B_SLICE, &wire::number_bytes(number), &[FILLER; 20]]);
    bytes
}

/// H264 of which nothing can be shown.
pub fn without_keyframes(size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_unit(&mut bytes, &[SPS[0]]);
    write_unit(&mut bytes, &[PPS[0]]);
    while bytes.len() < size {
        write_unit(&mut bytes, &[DELTA[0], &[FILLER; 1_000]]);
    }
    bytes.truncate(size);
    bytes
}

fn whole(bytes: Vec<u8>) -> Written {
    Written { head: bytes.len(), bytes, keyframe: true }
}

fn write_unit(bytes: &mut Vec<u8>, parts: &[&[u8]]) {
    bytes.extend_from_slice(&[0, 0, 0, 1]);
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
}

fn i420([width, height]: [u8; 2], number: u64) -> Vec<u8> {
    let pixels = usize::from(width) * usize::from(height);
    let mut bytes = wire::number_bytes(number).to_vec();
    bytes.resize(pixels, FILLER);
    bytes.resize(pixels * 3 / 2, CHROMA);
    bytes
}

fn jpeg([width, height]: [u8; 2], number: u64, is_damaged: bool, scan_bytes: usize) -> Vec<u8> {
    let segment =
        |code: u8, payload: &[u8]| [&[0xff, code, 0, payload.len() as u8 + 2], payload].concat();
    let flag = if is_damaged { b'd' } else { b'w' };
    let comment = [&wire::number_bytes(number)[..], &[flag], &[b'x'; 110]].concat();
    let sof = [8, 0, height, 0, width, 1, 1, 0x11, 0];
    [
        vec![0xff, 0xd8],
        segment(0xfe, &comment),
        segment(0xc0, &sof),
        segment(0xda, &[1, 1, 0, 0, 63, 0]),
        vec![FILLER; scan_bytes],
        vec![0xff, 0xd9],
    ]
    .concat()
}
