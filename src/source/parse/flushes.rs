//! Decides when a picture of H.264 is complete before the next one starts.

/// The block size of buffered writers: stdio writes pages, ffmpeg multiples of them, and a full pipe takes
/// pages. A writer that pauses at a multiple may still hold the rest of the picture.
const WRITE_BLOCK_BYTES: u64 = 4096;
/// A source is trusted after it has paused at the end of this many pictures in a row, and never within one.
/// A source that pauses within one of 200 pictures has failed by then with a probability of nine tenths.
pub const TRUSTED_AFTER_PICTURES: u32 = 512;
/// The fewest key frames among them, which are larger than other pictures, and come in more pieces.
pub const TRUSTED_AFTER_KEYFRAMES: u32 = 3;
/// The longest group of a trusted source, 10 s at 30 pictures a second: after a wrong decision, nothing is
/// shown until the next key frame.
pub const GROUP_MAX_PICTURES: u32 = 300;
/// After this many pictures in a row with a delimiter before them, delimiters separate pictures.
pub const DELIMITED_PICTURES: u32 = 8;

/// The pauses of a stream so far.
#[derive(Default)]
pub struct Flushes {
    /// A picture was completed at a pause, and the next one has not started.
    open: bool,
    /// More came of a picture that was completed at a pause.
    was_wrong: bool,
    /// The number of slices of the last picture.
    slices: u32,
    /// The position in the stream where the current picture starts.
    begins_at: u64,
    /// The position of the last pause.
    paused_at: u64,
    /// The current picture looked complete there.
    looked_whole: bool,
    /// The number of pictures and key frames in a row with a pause at their end.
    whole: u32,
    whole_keyframes: u32,
    /// The number of pictures since the last key frame, and in the group before it.
    group: u32,
    last_group: u32,
}

impl Flushes {
    /// Handles the start of a picture at this position: the first start code after the picture before.
    pub fn begin(&mut self, stream_bytes: u64) {
        self.open = false;
        self.begins_at = stream_bytes;
    }

    /// Handles a pause at this position, after this many slices of the current picture. Returns whether the
    /// picture is considered complete.
    pub fn handle_pause(&mut self, slices: Option<u32>, stream_bytes: u64) -> bool {
        let paused_before = std::mem::replace(&mut self.paused_at, stream_bytes);
        let Some(slices) = slices.filter(|_| stream_bytes > paused_before) else { return false };
        let in_blocks =
            [0, self.begins_at, paused_before].iter().any(|from| is_in_blocks(stream_bytes - from));
        let looks_whole = !in_blocks && slices >= self.slices;
        self.looked_whole |= looks_whole;
        looks_whole && self.is_trusted()
    }

    /// Handles more of the current picture.
    pub fn note_more(&mut self) {
        if std::mem::take(&mut self.looked_whole) {
            (self.whole, self.whole_keyframes) = (0, 0);
        }
    }

    fn is_trusted(&self) -> bool {
        !self.was_wrong
            && self.whole >= TRUSTED_AFTER_PICTURES
            && self.whole_keyframes >= TRUSTED_AFTER_KEYFRAMES
            && self.group.max(self.last_group) <= GROUP_MAX_PICTURES
    }

    /// Handles a drop of the current picture.
    pub fn note_drop(&mut self) {
        self.looked_whole = false;
    }

    /// Records that a picture was completed at a pause.
    pub fn open(&mut self) {
        self.open = true;
    }

    /// Records that what follows cannot belong to a picture that was completed at a pause.
    pub fn close(&mut self) {
        self.open = false;
    }

    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Records a complete picture of this many slices.
    pub fn note_picture(&mut self, slices: u32, keyframe: bool) {
        self.slices = slices;
        if keyframe {
            self.last_group = std::mem::take(&mut self.group);
        }
        self.group = self.group.saturating_add(1);
        if std::mem::take(&mut self.looked_whole) {
            self.whole = self.whole.saturating_add(1);
            self.whole_keyframes = self.whole_keyframes.saturating_add(u32::from(keyframe));
        }
    }

    /// Records a slice of a picture that was completed at a pause.
    pub fn note_late_slice(&mut self) {
        self.slices += 1;
    }

    /// Handles more bytes. Returns whether they belong to a picture that was completed at a pause, which
    /// happens at most once, as it ends the trust.
    pub fn is_too_early(&mut self) -> bool {
        let too_early = self.open && !self.was_wrong;
        self.was_wrong |= too_early;
        too_early
    }
}

/// Tells whether a stream has access unit delimiters only between pictures (ITU-T H.264, 7.4.1.2.3), or also
/// between the slices of one.
#[derive(Default)]
pub struct Delimiters {
    /// There was a delimiter since the last slice.
    is_pending: bool,
    /// The number of pictures in a row with a delimiter before them.
    pictures: u32,
}

impl Delimiters {
    /// Handles a delimiter. Returns whether it ends the picture before it.
    pub fn end_picture(&mut self) -> bool {
        self.is_pending = true;
        self.pictures >= DELIMITED_PICTURES
    }

    /// Handles the start of a slice, which may be the first of its picture.
    pub fn note_slice(&mut self, is_first: bool) {
        let is_delimited = std::mem::take(&mut self.is_pending);
        if is_first == is_delimited {
            self.pictures = self.pictures.saturating_add(u32::from(is_first));
        } else {
            self.pictures = 0;
        }
    }
}

/// Whether a buffered writer may hold more after this many bytes of a picture, whose start code has three
/// or four bytes.
fn is_in_blocks(bytes: u64) -> bool {
    bytes % WRITE_BLOCK_BYTES <= 1
}
