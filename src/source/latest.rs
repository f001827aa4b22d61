//! The picture that was taken last, decoded when that is first needed: without viewers it never is.

use std::time::Instant;

use bytes::Bytes;

use super::{PictureError, jpeg};
use crate::media::{Damage, Picture, Samples, Size};
use crate::server::Raw;

pub struct Latest {
    picture: Option<Picture>,
    origin: Origin,
    pub captured: Instant,
}

/// What the picture is made from.
enum Origin {
    Nothing,
    Samples(Samples),
    /// It is kept: whoever asks for a file is given it.
    Jpeg(Bytes, Size),
}

impl Latest {
    pub fn new(picture: Raw, captured: Instant) -> Latest {
        let (picture, origin) = match picture {
            Raw::Picture(picture) => (Some(picture), Origin::Nothing),
            Raw::Samples(samples) => (None, Origin::Samples(samples)),
            Raw::Jpeg(jpeg) => (None, Origin::Jpeg(jpeg.data.into(), jpeg.size)),
        };
        Latest { picture, origin, captured }
    }

    /// Decodes the picture, unless it is decoded.
    pub fn decode(&mut self) -> Result<(), PictureError> {
        if self.picture.is_some() {
            return Ok(());
        }
        self.picture = match std::mem::replace(&mut self.origin, Origin::Nothing) {
            Origin::Nothing => None,
            Origin::Samples(samples) => Some(samples.into_picture()),
            Origin::Jpeg(file, size) => {
                let failed = |error| PictureError::new(Damage::Decode, error);
                let picture = jpeg::decode(&file).map_err(failed)?;
                self.origin = Origin::Jpeg(file, size);
                Some(picture)
            }
        };
        Ok(())
    }

    /// The picture, if it is decoded.
    pub fn picture(&self) -> Option<&Picture> {
        self.picture.as_ref()
    }

    pub fn into_picture(self) -> Option<Picture> {
        self.picture
    }

    /// The camera's own file, if it is as wide as is asked for.
    pub fn file(&self, width: Option<usize>) -> Option<Bytes> {
        let Origin::Jpeg(file, size) = &self.origin else { return None };
        width.is_none_or(|width| width == size.width).then(|| file.clone())
    }
}
