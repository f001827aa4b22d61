//! VP8 with libwebp: a lossy WebP file contains one VP8 key frame.
//!
//! Every frame is a key frame, so a lost packet harms one picture, no viewer has to request a key frame, and
//! viewers may join at any frame. The price is size: the ball takes 1,550 bytes a frame where libvpx takes 270, a
//! camera picture 45,000 where libvpx takes 6,000 at lower quality. VP8 is for the few browsers without H.264, and
//! libwebp, unlike libvpx, is built from its crate with only a C compiler.

#![allow(unsafe_code, reason = "libwebp is C")]

use std::io;
use std::ptr;
use std::time::Instant;

use libwebp_sys::{
    WebPConfig, WebPEncode, WebPMemoryWrite, WebPMemoryWriter, WebPMemoryWriterClear,
    WebPMemoryWriterInit, WebPPicture, WebPPreset,
};

use super::codec::{Encode, Quality};
use crate::media::{Frame, Picture};

/// Of 0 to 100. At 75, no sample of the ball is more than 16 steps off; from 85, its frames are twice as large.
const BEST_QUALITY: f32 = 75.0;
const WORST_QUALITY: f32 = 2.0;
/// The fastest of libwebp's methods, which are 0 to 6.
const FASTEST: i32 = 0;

/// The chunk of a WebP file with the frame (RFC 9649, section 2.5), and its offset: it follows `RIFF`, a length
/// and `WEBP`.
const FRAME_CHUNK: &[u8] = b"VP8 ";
const FILE_HEADER_BYTES: usize = 12;
const CHUNK_HEADER_BYTES: usize = 8;

pub struct Vp8Encoder {
    config: WebPConfig,
    quality: Quality,
    frames_per_second: u32,
}

impl Vp8Encoder {
    pub fn new(frames_per_second: u32, quality: Quality) -> io::Result<Vp8Encoder> {
        let preset = WebPPreset::WEBP_PRESET_DEFAULT;
        let config = WebPConfig::new_with_preset(preset, BEST_QUALITY);
        let mut config =
            config.map_err(|()| io::Error::other("libwebp has an incompatible version"))?;
        config.method = FASTEST;
        config.segments = 1;
        Ok(Vp8Encoder { config, quality, frames_per_second })
    }

    /// Lowers the quality fast after a frame that was too large, and raises it slowly.
    fn adapt(&mut self, bytes: usize) {
        let Quality::Bitrate(bits_per_second) = self.quality else { return };
        let wanted = (bits_per_second / 8 / self.frames_per_second) as usize;
        let quality = &mut self.config.quality;
        if bytes > wanted {
            *quality *= 0.85;
        } else if bytes < wanted * 4 / 5 {
            *quality += 0.5;
        }
        *quality = quality.clamp(WORST_QUALITY, BEST_QUALITY);
    }
}

impl Encode for Vp8Encoder {
    fn encode(&mut self, picture: &Picture, captured: Instant) -> io::Result<Frame> {
        let file = encode(&self.config, picture)?;
        let frame = frame_of(&file).ok_or_else(|| io::Error::other("libwebp produced no VP8"))?;
        self.adapt(frame.len());
        Ok(Frame::vp8(frame.to_vec(), captured))
    }

    /// Every frame is a key frame.
    fn force_keyframe(&mut self) {}

    fn set_rate(&mut self, frames_per_second: u32) {
        self.frames_per_second = frames_per_second;
    }
}

/// Encodes a picture as a WebP file.
fn encode(config: &WebPConfig, picture: &Picture) -> io::Result<Vec<u8>> {
    let mut webp = WebPPicture::new().map_err(|()| io::Error::other("libwebp is incompatible"))?;
    let size = picture.size();
    (webp.width, webp.height) = (size.width as i32, size.height as i32);
    // With `use_argb` 0, which `new` sets, libwebp reads the planes. It writes to them only for transparency.
    webp.y = picture.y.samples.as_ptr().cast_mut();
    webp.u = picture.u.samples.as_ptr().cast_mut();
    webp.v = picture.v.samples.as_ptr().cast_mut();
    (webp.y_stride, webp.uv_stride) = (picture.y.width as i32, picture.u.width as i32);
    let mut writer = WebPMemoryWriter { mem: ptr::null_mut(), size: 0, max_size: 0, pad: [0] };
    // SAFETY: the planes have the sizes that width, height and strides state, and outlive the call. So does the
    // writer, whose memory belongs to libwebp and is copied before it is cleared.
    unsafe {
        WebPMemoryWriterInit(&mut writer);
        webp.writer = Some(WebPMemoryWrite);
        webp.custom_ptr = ptr::from_mut(&mut writer).cast();
        let done = WebPEncode(config, &mut webp) != 0;
        let file = if writer.mem.is_null() {
            Vec::new()
        } else {
            std::slice::from_raw_parts(writer.mem, writer.size).to_vec()
        };
        WebPMemoryWriterClear(&mut writer);
        if done {
            Ok(file)
        } else {
            Err(io::Error::other(format!("libwebp: {:?}", webp.error_code)))
        }
    }
}

fn frame_of(file: &[u8]) -> Option<&[u8]> {
    let chunk = file.get(FILE_HEADER_BYTES..)?;
    let length = u32::from_le_bytes(chunk.get(4..CHUNK_HEADER_BYTES)?.try_into().ok()?);
    let frame = chunk.get(CHUNK_HEADER_BYTES..)?.get(..length as usize)?;
    chunk.starts_with(FRAME_CHUNK).then_some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Ball, Colour, Plane, Size};

    const VGA: Size = Size { width: 640, height: 480 };

    /// Decodes a frame to its planes.
    fn decode(file: &[u8], size: Size) -> [Vec<u8>; 3] {
        let plane = |size: Size| vec![0; size.width * size.height];
        let half = Size { width: size.width / 2, height: size.height / 2 };
        let [mut y, mut u, mut v] = [plane(size), plane(half), plane(half)];
        let strides = (size.width as i32, half.width as i32);
        // SAFETY: each plane has the stated length.
        let decoded = unsafe {
            libwebp_sys::WebPDecodeYUVInto(
                file.as_ptr(),
                file.len(),
                y.as_mut_ptr(),
                y.len(),
                strides.0,
                u.as_mut_ptr(),
                u.len(),
                strides.1,
                v.as_mut_ptr(),
                v.len(),
                strides.1,
            )
        };
        assert!(!decoded.is_null());
        [y, u, v]
    }

    #[test]
    fn the_ball_is_what_was_drawn_and_every_frame_a_key_frame() {
        let mut ball = Ball::new(VGA);
        let mut picture = Picture::filled(VGA, Colour::BLACK);
        let mut encoder = Vp8Encoder::new(30, Quality::Constant).unwrap();
        for _ in 0..30 {
            ball.advance();
            ball.draw(&mut picture);
            let frame = encoder.encode(&picture, Instant::now()).unwrap();
            assert!(frame.is_keyframe());
            assert!(frame.len() < 2_000, "{} bytes", frame.len());
            let decoded = decode(&encode(&encoder.config, &picture).unwrap(), VGA);
            for (plane, decoded) in [&picture.y, &picture.u, &picture.v].into_iter().zip(decoded) {
                let steps = plane.samples.iter().zip(decoded).map(|(a, b)| a.abs_diff(b));
                let worst = steps.max().unwrap();
                assert!(worst <= 16, "{worst} steps");
            }
        }
    }

    #[test]
    fn a_bitrate_is_kept_by_quality() {
        let mut encoder = Vp8Encoder::new(30, Quality::Bitrate(3_000_000)).unwrap();
        let mut picture = Picture::filled(VGA, Colour::BLACK);
        let mut noise = fastrand::Rng::with_seed(1);
        let Plane { width, samples, .. } = &mut picture.y;
        for (index, sample) in samples.iter_mut().enumerate() {
            *sample = ((index % *width) / 8 + index / *width / 8) as u8 | noise.u8(..32);
        }
        let mut bytes = Vec::new();
        for _ in 0..120 {
            bytes.push(encoder.encode(&picture, Instant::now()).unwrap().len());
        }
        let mean = bytes[60..].iter().sum::<usize>() / 60;
        let wanted = 3_000_000 / 8 / 30;
        assert!(bytes[0] > 2 * wanted, "{}", bytes[0]);
        assert!((wanted * 3 / 4..=wanted).contains(&mean), "{mean} of {wanted}");
    }
}
