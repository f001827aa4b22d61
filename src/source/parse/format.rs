//! Detects the format of a stream from its first bytes.

use super::StreamError;

/// The format of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamFormat {
    /// H.264 as a byte stream (ITU-T H.264, Annex B).
    H264,
    /// I420 pictures with headers, as mjpegtools and ffmpeg's `yuv4mpegpipe` write them.
    Y4m,
    /// Concatenated JPEGs.
    Mjpeg,
    /// Raw pictures without headers.
    Raw,
}

impl StreamFormat {
    /// The name for users.
    pub fn name(self) -> &'static str {
        match self {
            StreamFormat::H264 => "H.264",
            StreamFormat::Y4m => "yuv4mpeg2",
            StreamFormat::Mjpeg => "MJPEG",
            StreamFormat::Raw => "raw pictures",
        }
    }
}

/// The number of bytes after which the format is certain: packets of MPEG-TS have 188 bytes (ISO/IEC 13818-1,
/// 2.4.3.2). All other formats need 25.
pub const DETECT_MAX_BYTES: usize = TS_PACKET_BYTES + 1;

const TS_PACKET_BYTES: usize = 188;
const TS_SYNC: u8 = 0x47;

pub(crate) const Y4M: &[u8] = b"YUV4MPEG2 ";

/// The first bytes of unsupported formats, and their names.
const CONTAINERS: [(&[u8], &str); 21] = [
    (b"FLV", "FLV"),
    (&[0x1a, 0x45, 0xdf, 0xa3], "Matroska or WebM"),
    (b"OggS", "Ogg"),
    (b"DKIF", "IVF"),
    (b"nut/multimedia container\0", "NUT"),
    (&[0x30, 0x26, 0xb2, 0x75], "ASF or WMV"),
    (&[0, 0, 1, 0xba], "MPEG-PS"),
    (&[0, 0, 1, 0xb3], "MPEG-2"),
    (&[0, 0, 1, 0xb0], "MPEG-4 Part 2"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"qoif", "QOI"),
    (b"P5\n", "PGM"),
    (b"P6\n", "PPM"),
    (b"fLaC", "FLAC"),
    (b"ID3", "MP3"),
    (&[0x1f, 0x8b, 8], "compressed by gzip"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "compressed by xz"),
    (b"PK\x03\x04", "a ZIP archive"),
];

/// Those without pictures.
const SOUND: [&str; 3] = ["FLAC", "MP3", "WAV"];

/// The form types of RIFF, after four bytes of length.
const RIFF: &[u8] = b"RIFF";
const RIFF_KINDS: [(&[u8; 4], &str); 3] = [(b"AVI ", "AVI"), (b"WAVE", "WAV"), (b"WEBP", "WebP")];

/// The first boxes of MP4 files and fragments (ISO/IEC 14496-12), after four bytes of length.
const MP4_BOXES: [&[u8; 4]; 7] = [b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip"];

/// Returns the format of a stream with these first bytes, or `None` if more are needed. [`DETECT_MAX_BYTES`]
/// are always enough.
///
/// # Errors
/// [`StreamError::Container`], [`StreamError::Sound`], [`StreamError::Multipart`],
/// [`StreamError::UnknownFormat`].
pub fn detect(first: &[u8]) -> Result<Option<StreamFormat>, StreamError> {
    let first = &first[..first.len().min(DETECT_MAX_BYTES)];
    if first.starts_with(Y4M) {
        return Ok(Some(StreamFormat::Y4m));
    }
    if first.starts_with(&[0xff, 0xd8]) {
        return Ok(Some(StreamFormat::Mjpeg));
    }
    if first.starts_with(b"--") {
        return Err(StreamError::Multipart);
    }
    if let Some(name) = container(first) {
        let is_sound = SOUND.contains(&name);
        return Err(if is_sound { StreamError::Sound(name) } else { StreamError::Container(name) });
    }
    if let Some(unit) = after_start_code(first) {
        match *unit {
            // The bytes that identify an MP4 box of 256 bytes and more.
            [_, b'f' | b's' | b'm', ..] if first.len() < 8 => return Ok(None),
            [header, _, ..] if begins_unit(header) => return Ok(Some(StreamFormat::H264)),
            [] | [_] if first.len() < 10 => return Ok(None),
            _ => return Err(StreamError::UnknownFormat(first.to_vec())),
        }
    }
    match could_continue(first) {
        true if first.len() < DETECT_MAX_BYTES => Ok(None),
        _ => Err(StreamError::UnknownFormat(first.to_vec())),
    }
}

/// Whether this byte is the header of a NAL unit of H.264 (table 7-1, and `nal_ref_idc` in 7.4.1).
pub(crate) fn begins_unit(header: u8) -> bool {
    let is_reference = header & 0x60 != 0;
    match header & 0x9f {
        1 => true,
        5 | 7 | 8 => is_reference,
        6 | 9..=12 => !is_reference,
        _ => false,
    }
}

/// Whether this is the header of a parameter set or a delimiter of H.265 (ITU-T H.265, 7.3.1.2).
pub(crate) fn is_h265(header: u8, second: u8) -> bool {
    matches!(header, 0x40 | 0x42 | 0x44 | 0x46) && second == 1
}

/// The name of an unsupported format.
fn container(first: &[u8]) -> Option<&'static str> {
    if let Some((_, name)) = CONTAINERS.iter().find(|(magic, _)| first.starts_with(magic)) {
        return Some(name);
    }
    if first.len() >= 12 && first.starts_with(RIFF) {
        let kind = RIFF_KINDS.iter().find(|(kind, _)| first[8..12] == **kind);
        return Some(kind.map_or("RIFF", |(_, name)| name));
    }
    if first.len() >= 8 && MP4_BOXES.iter().any(|name| first[4..8] == **name) {
        return Some("MP4");
    }
    if may_be_ts(first) && first.get(TS_PACKET_BYTES) == Some(&TS_SYNC) {
        return Some("MPEG-TS");
    }
    match *after_start_code(first)? {
        [header, second, ..] if is_h265(header, second) => Some("H.265"),
        _ => None,
    }
}

/// The bytes after the first start code and the zero bytes before it (B.1.1).
fn after_start_code(first: &[u8]) -> Option<&[u8]> {
    let zeros = first.iter().take(8).take_while(|byte| **byte == 0).count();
    first[zeros..].strip_prefix(&[1]).filter(|_| zeros >= 2)
}

/// Whether these bytes start an unscrambled packet of MPEG-TS (ISO/IEC 13818-1, 2.4.3.2).
fn may_be_ts(first: &[u8]) -> bool {
    first.first() == Some(&TS_SYNC) && first.get(3).is_none_or(|flags| flags & 0xc0 == 0)
}

/// Whether more bytes could complete the start of a supported format or one with a name.
fn could_continue(first: &[u8]) -> bool {
    let begins = |magic: &[u8]| magic.len() > first.len() && magic.starts_with(first);
    begins(Y4M)
        || begins(&[0xff, 0xd8])
        || begins(b"--")
        || CONTAINERS.iter().any(|(magic, _)| begins(magic))
        || begins(RIFF)
        || first.starts_with(RIFF)
        || may_be_ts(first)
        || first.len() < 10 && first.iter().all(|byte| *byte == 0)
        // The length of an MP4 box, and the start of its name.
        || first.len() < 8 && first.starts_with(&[0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the bytes are found to be when they come one at a time, and that it stays so.
    fn found(bytes: &[u8]) -> Result<Option<StreamFormat>, StreamError> {
        let answers: Vec<_> = (0..=bytes.len()).map(|length| detect(&bytes[..length])).collect();
        let first = answers.iter().position(|answer| *answer != Ok(None));
        let first = first.unwrap_or(bytes.len());
        let kind = |answer: &Result<Option<StreamFormat>, StreamError>| match answer {
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
        assert_eq!(found(&[0, 0, 0, 1, 0x67, 0x42, 0, 1, 2]), Ok(Some(StreamFormat::H264)));
        assert_eq!(found(&[0, 0, 1, 9, 0x10, 0, 0, 0, 1, 0x67]), Ok(Some(StreamFormat::H264)));
        assert_eq!(found(&[0, 0, 0, 0, 0, 0, 1, 0x67, 0x42]), Ok(Some(StreamFormat::H264)));
        assert_eq!(found(b"YUV4MPEG2 W64 H48\n"), Ok(Some(StreamFormat::Y4m)));
        assert_eq!(found(&[0xff, 0xd8, 0xff, 0xe0]), Ok(Some(StreamFormat::Mjpeg)));
    }

    #[test]
    fn what_is_not_read_is_refused_by_name() {
        let container = |name| Err(StreamError::Container(name));
        let packet: Vec<u8> = (0..188).map(|at| if at == 0 { 0x47 } else { at % 64 }).collect();
        assert_eq!(found(&[&packet[..], &packet].concat()), container("MPEG-TS"));
        assert_eq!(found(b"\x89PNG\r\n\x1a\n"), container("PNG"));
        assert_eq!(found(b"GIF89a\x01\0"), container("GIF"));
        assert_eq!(found(b"RIFF\x24\0\0\0WEBPVP8 "), container("WebP"));
        assert_eq!(found(b"RIFF\x24\0\0\0AVI LIST"), container("AVI"));
        assert_eq!(found(b"RIFF\x24\0\0\0WAVEfmt "), Err(StreamError::Sound("WAV")));
        assert_eq!(found(b"RIFF\x24\0\0\0RMIDdata"), container("RIFF"));
        assert_eq!(found(b"nut/multimedia container\0"), container("NUT"));
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
        // An icon, and what begins with the letter of MPEG-TS.
        assert!(matches!(found(&[0, 0, 1, 0, 1, 0]), Err(StreamError::UnknownFormat(_))));
        assert_eq!(found(&[[0x47].repeat(3), vec![0; 185]].concat()), Ok(None));
        for bytes in [&b"Grabbing frames"[..], &[[0x47].repeat(3), vec![0; 186]].concat()] {
            assert!(matches!(found(bytes), Err(StreamError::UnknownFormat(_))), "{bytes:02x?}");
        }
    }

    #[test]
    fn the_most_bytes_are_always_enough() {
        let mut random = 1_u32;
        for _ in 0..100_000 {
            let bytes: [u8; DETECT_MAX_BYTES] = std::array::from_fn(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                [0, 0, 1, b'f', 0xff, 0x47, b'Y', (random >> 8) as u8][(random >> 28) as usize % 8]
            });
            assert_ne!(detect(&bytes), Ok(None), "{bytes:02x?}");
            let is_ts = bytes[0] == 0x47;
            assert!(is_ts || detect(&bytes[..25]) != Ok(None), "{bytes:02x?}");
        }
    }
}
