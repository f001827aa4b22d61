//! JPEGs, written segment by segment (ITU-T T.81, annex B), to be whole or flawed as a test needs them.

pub const DHT: u8 = 0xc4;
pub const DQT: u8 = 0xdb;
pub const PROGRESSIVE: u8 = 0xc2;
pub const SOS: u8 = 0xda;
pub const ADOBE: u8 = 0xee;

/// A marker segment.
pub fn segment(code: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16 + 2).to_be_bytes();
    [&[0xff, code][..], &length, payload].concat()
}

/// The frame header of a grey picture.
pub fn grey_frame(code: u8, [width, height]: [u16; 2]) -> Vec<u8> {
    let ([x1, x0], [y1, y0]) = (width.to_be_bytes(), height.to_be_bytes());
    segment(code, &[8, y1, y0, x1, x0, 1, 1, 0x11, 0])
}

/// A quantisation table of ones.
pub fn flat_quantiser() -> Vec<u8> {
    segment(DQT, &[&[0][..], &[1; 64]].concat())
}

/// A Huffman table with one code, of one bit, for the symbol 0. `class_and_id` as in B.2.4.2.
pub fn one_code(class_and_id: u8) -> Vec<u8> {
    segment(DHT, &[&[class_and_id, 1][..], &[0; 16]].concat())
}

/// The header of a scan of the first component, for coefficients `from` to `to`.
pub fn grey_scan(from: u8, to: u8) -> Vec<u8> {
    segment(SOS, &[1, 1, 0, from, to, 0])
}

/// From SOI to EOI.
pub fn file(segments: &[&[u8]]) -> Vec<u8> {
    [&[0xff, 0xd8], &segments.concat()[..], &[0xff, 0xd9]].concat()
}

/// A progressive grey picture that is called YCCK after its frame header: a decoder that believes it
/// looks for four components.
pub fn with_late_colours(size: [u16; 2]) -> Vec<u8> {
    file(&[
        &flat_quantiser(),
        &grey_frame(PROGRESSIVE, size),
        &segment(ADOBE, b"Adobe\0\x65\0\0\0\0\x02"),
        &one_code(0),
        &grey_scan(0, 63),
        &[0; 64],
    ])
}

/// A progressive black picture with this many scans, 64 at most, of one coefficient each.
pub fn with_scans(size: [u16; 2], scans: usize) -> Vec<u8> {
    let blocks = usize::from(size[0].div_ceil(8)) * usize::from(size[1].div_ceil(8));
    let first = [grey_scan(0, 0), vec![0; blocks.div_ceil(8)]].concat();
    // End-of-band runs of 2^14 blocks each: a code of one bit, and 14 that say how many more.
    let runs = vec![0; 2 * blocks.div_ceil(1 << 14)];
    let later = (1..scans as u8).flat_map(|at| [grey_scan(at, at), runs.clone()].concat());
    let later: Vec<u8> = later.collect();
    let run_table = segment(DHT, &[&[0x10, 1][..], &[0; 15], &[0xe0]].concat());
    file(&[
        &flat_quantiser(),
        &grey_frame(PROGRESSIVE, size),
        &one_code(0),
        &run_table,
        &first,
        &later,
    ])
}
