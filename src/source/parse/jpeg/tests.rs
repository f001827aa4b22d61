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

fn read(stream: &[u8], piece_bytes: usize) -> (ParserOutput, Result<(), StreamError>) {
    let (mut mjpeg, mut out) = (Mjpeg::new(), ParserOutput::default());
    for piece in stream.chunks(piece_bytes) {
        if let Err(error) = mjpeg.push(piece, &mut out) {
            return (out, Err(error));
        }
    }
    mjpeg.finish(&mut out);
    (out, Ok(()))
}

fn jpegs(out: &ParserOutput) -> Vec<Vec<u8>> {
    let data = |item: &ParsedItem| match item {
        ParsedItem::Jpeg(jpeg) => jpeg.data.clone(),
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
    // The fill byte is dropped.
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
fn a_picture_that_is_cut_off_in_its_headers_is_damaged_and_the_next_one_is_not() {
    let whole = jpeg(64, &[], &[1, 2, 3]);
    // A cut inside a segment takes bytes of the next picture for those that lack.
    for length in 6..100 {
        let out = read(&[&whole[..length], &whole, &whole].concat(), 64).0;
        assert!(!out.items.is_empty() && out.counters.damaged > 0, "{length}");
    }
    assert_eq!(read(&whole[..120], 64).0.counters.damaged, 1);
}

#[test]
fn a_picture_without_its_end_ends_where_the_next_one_begins() {
    let whole = jpeg(64, &[], &[1, 2, 3, FILL, 0, 4]);
    for missing in 1..=2 {
        let cut = &whole[..whole.len() - missing];
        for piece_bytes in [1, 7, 1_000] {
            let out = read(&[cut, cut, &whole, cut].concat(), piece_bytes).0;
            assert_eq!(jpegs(&out), vec![jpegs(&read(&whole, 64).0).remove(0); 4], "{missing}");
            assert_eq!((out.counters.damaged, out.counters.stray_bytes), (0, 0));
        }
    }
}

#[test]
fn a_stump_of_a_picture_is_left_out() {
    let whole = jpeg(64, &segment(DHT, &[0; 17]), &[7; 1_000]);
    let half = whole.len() / 2;
    for (length, damaged) in [(half - 9, 1), (half + 9, 0)] {
        let out = read(&[&whole[..], &whole[..length], &whole, &whole[..length]].concat(), 64).0;
        assert_eq!((out.items.len(), out.counters.damaged), (4 - 2 * damaged, 2 * damaged as u64));
    }
}

#[test]
fn kinds_that_are_not_decoded_are_named_and_only_the_first_is_an_error() {
    let of_kind = |code: u8| {
        let mut file = jpeg(64, &[], &[1]);
        let sof = file.windows(2).position(|pair| pair == [FILL, SOF_BASELINE]).unwrap();
        file[sof + 1] = code;
        file
    };
    for (code, name) in [(0xc3, "lossless"), (0xc5, "hierarchical"), (0xc9, "arithmetic")] {
        let error = read(&of_kind(code), 64).1.unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        let (out, result) = read(&[jpeg(64, &[], &[1]), of_kind(code)].concat(), 64);
        assert_eq!((out.items.len(), out.counters.damaged, result), (1, 1, Ok(())));
    }
    for precision in [8, 12] {
        let mut file = jpeg(64, &[], &[1]);
        let sof = file.windows(2).position(|pair| pair == [FILL, SOF_BASELINE]).unwrap();
        file[sof + 4] = precision;
        assert_eq!(read(&file, 64).1.is_err(), precision == 12);
    }
}

#[test]
fn sizes_are_checked_and_only_the_first_is_an_error() {
    let (out, result) = read(&jpeg(65, &[], &[1]), 64);
    assert_eq!((out.info.size, result), (Some(Size { width: 64, height: 48 }), Ok(())), "cropped");
    assert_eq!(read(&jpeg(15, &[], &[1]), 64).1, Err(StreamError::TooSmall(14, 48)));
    assert_eq!(read(&jpeg(5000, &[], &[1]), 64).1, Err(StreamError::Size(5000, 48)));
    assert_eq!(read(&jpeg(0, &[], &[1]), 64).0.counters.damaged, 1);
    let (out, result) = read(&[jpeg(64, &[], &[1]), jpeg(15, &[], &[1])].concat(), 64);
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
        assert_eq!((out.items.len(), out.counters.damaged), (items, 1 - items as u64), "{bytes}");
    }
}

#[test]
fn a_second_frame_header_is_damage() {
    let sof = segment(SOF_BASELINE, &[8, 0, 48, 0, 64, 1, 1, 0x11, 0]);
    let out = read(&[jpeg(64, &sof, &[1]), jpeg(64, &[], &[1])].concat(), 64).0;
    assert_eq!((out.items.len(), out.counters.damaged), (1, 1));
}
