//! When a picture of H.264 may be taken for complete before the next one begins.

/// What buffered streams write in: stdio blocks are pages, ffmpeg's are multiples of them, and a pipe
/// that is full takes pages. A writer that stops at a multiple may hold the rest of the picture.
const WRITE_BLOCK_BYTES: u64 = 4096;
/// A source is trusted that has paused at the end of so many pictures, and never within one. A source
/// that pauses within one picture of 200 or more has lost the run by then with a probability of
/// nine tenths.
pub const TRUSTED_AFTER_PICTURES: u32 = 512;
/// And of so many key frames among them, which are larger than others, and come in more pieces.
pub const TRUSTED_AFTER_KEYFRAMES: u32 = 3;
/// If the trust is wrong, there is nothing to be shown until the next key frame. Sources with longer
/// groups are not trusted: at 30 pictures a second, these are 10 s.
pub const GROUP_MAX_PICTURES: u32 = 300;
/// So many pictures in a row that began after a delimiter tell that it is between pictures.
pub const DELIMITED_PICTURES: u32 = 8;

/// What is known about the pauses of a stream so far.
#[derive(Default)]
pub struct Flushes {
    /// A picture was completed by a flush, and its successor has not begun.
    open: bool,
    /// More of a picture came after a flush.
    was_wrong: bool,
    /// The slices of the last picture.
    slices: u32,
    /// Where in the stream the picture under way begins.
    begins_at: u64,
    /// Where the stream was when it last ran dry.
    dry_at: u64,
    /// The picture under way looked whole there.
    looked_whole: bool,
    /// The pictures and the key frames in a row at whose ends the stream has run dry.
    whole: u32,
    whole_keyframes: u32,
    /// The pictures since the last key frame, and those of the group that ended with it.
    group: u32,
    last_group: u32,
}

impl Flushes {
    /// A picture begins here in the stream: the first start code after the picture before it.
    pub fn begin(&mut self, stream_bytes: u64) {
        self.open = false;
        self.begins_at = stream_bytes;
    }

    /// The stream has run dry here, with so many slices of the picture under way. Whether it can be
    /// taken for complete.
    pub fn run_dry(&mut self, slices: Option<u32>, stream_bytes: u64) -> bool {
        let dry_before = std::mem::replace(&mut self.dry_at, stream_bytes);
        let Some(slices) = slices.filter(|_| stream_bytes > dry_before) else { return false };
        let in_blocks =
            [0, self.begins_at, dry_before].iter().any(|from| is_in_blocks(stream_bytes - from));
        let looks_whole = !in_blocks && slices >= self.slices;
        self.looked_whole |= looks_whole;
        looks_whole && self.is_trusted()
    }

    /// More of the picture under way has come.
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

    /// The picture under way is dropped.
    pub fn note_drop(&mut self) {
        self.looked_whole = false;
    }

    /// A picture was completed because the stream ran dry.
    pub fn open(&mut self) {
        self.open = true;
    }

    /// What has begun cannot belong to a picture that was completed by a flush.
    pub fn close(&mut self) {
        self.open = false;
    }

    pub fn is_open(&self) -> bool {
        self.open
    }

    /// A picture of so many slices is complete.
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

    /// A slice has come that belongs to a picture that was completed by a flush.
    pub fn note_late_slice(&mut self) {
        self.slices += 1;
    }

    /// More has come. Whether it belongs to a picture that was completed by a flush, which is told
    /// once, and ends all flushes.
    pub fn is_too_early(&mut self) -> bool {
        let too_early = self.open && !self.was_wrong;
        self.was_wrong |= too_early;
        too_early
    }
}

/// Where access unit delimiters are in a stream: in front of pictures (ITU-T H.264, 7.4.1.2.3), or also
/// between the slices of one.
#[derive(Default)]
pub struct Delimiters {
    /// There was one since the last slice.
    is_pending: bool,
    /// The pictures in a row that began after one.
    pictures: u32,
}

impl Delimiters {
    /// A delimiter. Whether it ends the picture before it.
    pub fn end_picture(&mut self) -> bool {
        self.is_pending = true;
        self.pictures >= DELIMITED_PICTURES
    }

    /// A slice begins, which may be the first one of its picture.
    pub fn note_slice(&mut self, is_first: bool) {
        let is_delimited = std::mem::take(&mut self.is_pending);
        if is_first == is_delimited {
            self.pictures = self.pictures.saturating_add(u32::from(is_first));
        } else {
            self.pictures = 0;
        }
    }
}

/// Whether a writer of blocks may be about to go on after so many bytes of a picture, whose start code
/// has three bytes or four.
fn is_in_blocks(bytes: u64) -> bool {
    bytes % WRITE_BLOCK_BYTES <= 1
}
