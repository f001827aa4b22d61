//! The picture that was taken last. It is checked and decoded when that is first needed: without viewers, never.

use std::time::Instant;

use bytes::Bytes;

use super::finish::Finish;
use super::{PictureError, decode_h264, jpeg};
use crate::media::{Damage, Frame, Picture, Samples, Size, SourcePicture};
use crate::source::parse::check_jpeg;

pub struct Latest {
    picture: Option<Picture>,
    origin: Undecoded,
    pub captured: Instant,
}

/// What the picture is decoded from.
enum Undecoded {
    Nothing,
    Picture(Picture),
    Samples(Samples),
    Keyframe(Frame),
    /// Kept after decoding, as it is served as a file.
    Jpeg {
        file: Bytes,
        size: Size,
        is_whole: bool,
    },
}

impl Latest {
    pub fn new(picture: SourcePicture, captured: Instant) -> Latest {
        let (picture, origin) = match picture {
            SourcePicture::NoSignal(picture) => (Some(picture), Undecoded::Nothing),
            SourcePicture::Picture(picture) => (None, Undecoded::Picture(picture)),
            SourcePicture::Samples(samples) => (None, Undecoded::Samples(samples)),
            SourcePicture::Keyframe(frame) => (None, Undecoded::Keyframe(frame)),
            SourcePicture::Jpeg(jpeg) => {
                let file = jpeg.data.into();
                (None, Undecoded::Jpeg { file, size: jpeg.size, is_whole: false })
            }
        };
        Latest { picture, origin, captured }
    }

    /// A picture that is finished already.
    pub fn finished(picture: Picture, captured: Instant) -> Latest {
        Latest { picture: Some(picture), origin: Undecoded::Nothing, captured }
    }

    /// Checks that a JPEG file is complete, unless that is known. Decoders show missing parts in grey.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn check(&mut self) -> Result<(), PictureError> {
        if let Undecoded::Jpeg { file, is_whole, .. } = &mut self.origin
            && !*is_whole
        {
            let failed = |fault| PictureError::new(Damage::Decode, format_args!("JPEG: {fault}"));
            check_jpeg(file).map_err(failed)?;
            *is_whole = true;
        }
        Ok(())
    }

    /// Decodes and finishes the picture, unless that is done already.
    ///
    /// # Errors
    /// The picture is damaged, or of an unsupported kind.
    pub fn decode(&mut self, finish: &mut Finish) -> Result<(), PictureError> {
        if self.picture.is_some() {
            return Ok(());
        }
        self.check()?;
        let decoded = match std::mem::replace(&mut self.origin, Undecoded::Nothing) {
            Undecoded::Nothing => None,
            Undecoded::Picture(picture) => Some(picture),
            Undecoded::Samples(samples) => Some(samples.into_picture()),
            Undecoded::Keyframe(frame) => {
                let failed = |error| PictureError::new(Damage::DecodeKeyframe, error);
                Some(decode_h264::decode(&frame).map_err(failed)?)
            }
            Undecoded::Jpeg { file, size, is_whole } => {
                let failed = |error| PictureError::new(Damage::Decode, error);
                let picture = jpeg::decode(&file).map_err(failed)?;
                self.origin = Undecoded::Jpeg { file, size, is_whole };
                Some(picture)
            }
        };
        self.picture = decoded.map(|picture| finish.finish(picture, self.captured));
        Ok(())
    }

    /// The picture as it came, if it is not decoded.
    pub fn samples(&self) -> Option<&Samples> {
        match &self.origin {
            Undecoded::Samples(samples) => Some(samples),
            _ => None,
        }
    }

    /// The picture, if it is decoded.
    pub fn picture(&self) -> Option<&Picture> {
        self.picture.as_ref()
    }

    pub fn into_picture(self) -> Option<Picture> {
        self.picture
    }

    /// The camera's own JPEG file, if it has this width.
    pub fn file(&self, width: Option<usize>) -> Option<Bytes> {
        let Undecoded::Jpeg { file, size, .. } = &self.origin else { return None };
        width.is_none_or(|width| width == size.width).then(|| file.clone())
    }
}
