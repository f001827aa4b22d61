//! Which format a stream has, from its first bytes.

use super::StreamError;

/// What a stream consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// H.264 as a byte stream (ITU-T H.264, Annex B).
    H264,
    /// I420 pictures with headers, as mjpegtools and ffmpeg's `yuv4mpegpipe` write them.
    Y4m,
    /// JPEGs, one after the other.
    Mjpeg,
    /// Pictures without headers.
    Raw,
}

impl Format {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Format::H264 => "H.264",
            Format::Y4m => "yuv4mpeg2",
            Format::Mjpeg => "MJPEG",
            Format::Raw => "raw pictures",
        }
    }
}

/// The first bytes of a stream decide when there are this many of them, most do before.
pub const DETECT_MAX_BYTES: usize = 10;

const Y4M: &[u8] = b"YUV4MPEG2 ";

/// The first bytes of what is not read, and its name.
const CONTAINERS: [(&[u8], &str); 8] = [
    (&[0x47], "MPEG-TS"),
    (b"FLV", "FLV"),
    (&[0x1a, 0x45, 0xdf, 0xa3], "Matroska or WebM"),
    (b"RIFF", "AVI"),
    (b"OggS", "Ogg"),
    (b"DKIF", "IVF"),
    (&[0, 0, 1, 0xba], "MPEG-PS"),
    (&[0, 0, 1, 0xb3], "MPEG-2"),
];

/// The first boxes of MP4 files and fragments (ISO/IEC 14496-12), after four bytes of length.
const MP4_BOXES: [&[u8; 4]; 7] = [b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip"];

/// The format of a stream with these first bytes, or nothing yet if more of them are needed. There
/// is an answer for every [`DETECT_MAX_BYTES`] bytes.
///
/// # Errors
/// [`StreamError::Container`], [`StreamError::Multipart`], [`StreamError::UnknownFormat`].
pub fn detect(first: &[u8]) -> Result<Option<Format>, StreamError> {
    let first = &first[..first.len().min(DETECT_MAX_BYTES)];
    if first.starts_with(Y4M) {
        return Ok(Some(Format::Y4m));
    }
    if first.starts_with(&[0xff, 0xd8]) {
        return Ok(Some(Format::Mjpeg));
    }
    if first.starts_with(b"--") {
        return Err(StreamError::Multipart);
    }
    if let Some((_, name)) = CONTAINERS.iter().find(|(magic, _)| first.starts_with(magic)) {
        return Err(StreamError::Container(name));
    }
    if first.len() >= 8 && MP4_BOXES.iter().any(|name| first[4..8] == **name) {
        return Err(StreamError::Container("MP4"));
    }
    if let Some(unit) = after_start_code(first) {
        match *unit {
            // The header of a NAL unit of H.265 (ITU-T H.265, 7.3.1.2): VPS, SPS, PPS, AUD.
            [0x40 | 0x42 | 0x44 | 0x46, 1, ..] => return Err(StreamError::Container("H.265")),
            // The bytes that tell an MP4 box of 256 bytes and more.
            [_, b'f' | b's' | b'm', ..] if first.len() < 8 => return Ok(None),
            // forbidden_zero_bit (7.4.1).
            [header, _, ..] if header & 0x80 == 0 => return Ok(Some(Format::H264)),
            [] | [_] if first.len() < DETECT_MAX_BYTES => return Ok(None),
            _ => return Err(StreamError::UnknownFormat(first.to_vec())),
        }
    }
    match could_continue(first) {
        true if first.len() < DETECT_MAX_BYTES => Ok(None),
        _ => Err(StreamError::UnknownFormat(first.to_vec())),
    }
}

/// What follows a first start code, and zero bytes before it (B.1.1).
fn after_start_code(first: &[u8]) -> Option<&[u8]> {
    let zeros = first.iter().take_while(|byte| **byte == 0).count();
    first[zeros..].strip_prefix(&[1]).filter(|_| zeros >= 2)
}

/// Whether more bytes could still make one of the formats of this, or something with a name.
fn could_continue(first: &[u8]) -> bool {
    let begins = |magic: &[u8]| magic.starts_with(first);
    begins(Y4M)
        || begins(&[0xff, 0xd8])
        || begins(b"--")
        || CONTAINERS.iter().any(|(magic, _)| begins(magic))
        || first.iter().all(|byte| *byte == 0)
        // The length of an MP4 box, and the start of its name.
        || first.len() < 8 && first.starts_with(&[0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the bytes are found to be when they come one at a time, and that it stays so.
    fn found(bytes: &[u8]) -> Result<Option<Format>, StreamError> {
        let answers: Vec<_> = (0..=bytes.len()).map(|length| detect(&bytes[..length])).collect();
        let first = answers.iter().position(|answer| *answer != Ok(None));
        let first = first.unwrap_or(bytes.len());
        let kind = |answer: &Result<Option<Format>, StreamError>| match answer {
            Err(StreamError::UnknownFormat(_)) => Err(StreamError::UnknownFormat(Vec::new())),
            other => other.clone(),
        };
        for answer in &answers[first..] {
            assert_eq!(kind(answer), kind(&answers[first]), "{bytes:02x?}");
        }
        answers[first].clone()
    }

    #[test]
    fn the_three_formats_are_known_by_their_first_bytes() {
        assert_eq!(found(&[0, 0, 0, 1, 0x67, 0x42, 0, 1, 2]), Ok(Some(Format::H264)));
        assert_eq!(found(&[0, 0, 1, 9, 0x10, 0, 0, 0, 1, 0x67]), Ok(Some(Format::H264)));
        assert_eq!(found(&[0, 0, 0, 0, 0, 0, 1, 0x67, 0x42]), Ok(Some(Format::H264)));
        assert_eq!(found(b"YUV4MPEG2 W64 H48\n"), Ok(Some(Format::Y4m)));
        assert_eq!(found(&[0xff, 0xd8, 0xff, 0xe0]), Ok(Some(Format::Mjpeg)));
    }

    #[test]
    fn what_is_not_read_is_refused_by_name() {
        let container = |name| Err(StreamError::Container(name));
        assert_eq!(found(&[0x47, 0x40, 0, 0x10]), container("MPEG-TS"));
        assert_eq!(found(b"FLV\x01\x05"), container("FLV"));
        assert_eq!(found(b"\0\0\0\x20ftypisom"), container("MP4"));
        assert_eq!(found(b"\0\0\x01\x20ftypisom"), container("MP4"));
        assert_eq!(found(&[0x1a, 0x45, 0xdf, 0xa3, 1]), container("Matroska or WebM"));
        assert_eq!(found(&[0, 0, 0, 1, 0x40, 1, 0x0c, 1]), container("H.265"));
        assert_eq!(found(&[0, 0, 1, 0xba, 0x44]), container("MPEG-PS"));
        assert_eq!(found(b"--frame\r\nContent-Type"), Err(StreamError::Multipart));
    }

    #[test]
    fn garbage_is_refused_with_its_first_bytes() {
        for bytes in [&b"hello, world"[..], b"YUV4MPEG3 W64", &[0xff, 0xd9], &[0, 1], &[16; 20]] {
            assert!(matches!(found(bytes), Err(StreamError::UnknownFormat(_))), "{bytes:02x?}");
        }
        assert_eq!(found(&[0x7f]), Err(StreamError::UnknownFormat(vec![0x7f])));
        assert_eq!(found(&[0; 9]), Ok(None));
        assert!(found(&[0; DETECT_MAX_BYTES]).is_err());
    }

    #[test]
    fn ten_bytes_are_always_enough() {
        let mut random = 1_u32;
        for _ in 0..100_000 {
            let bytes: [u8; DETECT_MAX_BYTES] = std::array::from_fn(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                [0, 0, 1, b'f', 0xff, 0x47, b'Y', (random >> 8) as u8][(random >> 28) as usize % 8]
            });
            assert_ne!(found(&bytes), Ok(None), "{bytes:02x?}");
        }
    }
}
