//! When a picture of H.264 may be taken for complete before the next one begins.

/// What buffered streams write in: stdio blocks are pages, ffmpeg's are multiples of them. A writer
/// that stops at a multiple may hold the rest of the picture.
const WRITE_BLOCK_BYTES: u64 = 4096;
/// After a flush that was too early, there is none for so many pictures.
pub const FLUSH_PAUSE_PICTURES: u32 = 128;
/// A source is trusted that has paused after so many pictures in a row, and never within one: two key
/// frames, which are written in more pieces than others, are among them in most streams.
pub const TRUSTED_AFTER_PICTURES: u32 = 128;

/// What is known about the flushes of a stream so far.
pub struct Flushes {
    /// A picture was completed by a flush, and its successor has not begun.
    open: bool,
    /// The slices of the last picture.
    slices: u32,
    /// The pictures without a flush to come, and how many they are the next time.
    pub pause: u32,
    next_pause: u32,
    /// The stream has run dry, and the picture under way looked whole.
    ran_dry_at: Option<u64>,
    /// Where in the stream the picture under way begins, if the stream had run dry before it.
    begins_at: Option<u64>,
    /// The pictures in a row that were whole when the stream ran dry.
    whole: u32,
    trusted_after: u32,
}

impl Flushes {
    pub fn new() -> Flushes {
        Flushes {
            open: false,
            slices: 0,
            pause: 0,
            next_pause: FLUSH_PAUSE_PICTURES,
            ran_dry_at: None,
            begins_at: None,
            whole: 0,
            trusted_after: TRUSTED_AFTER_PICTURES,
        }
    }

    /// Whether a picture of so many slices looks complete after so many bytes of the stream.
    pub fn looks_complete(&self, slices: u32, stream_bytes: u64) -> bool {
        let in_blocks = stream_bytes.is_multiple_of(WRITE_BLOCK_BYTES);
        self.pause == 0 && !in_blocks && slices >= self.slices
    }

    /// The same the moment that the stream has run dry, which a writer of blocks may be about to go
    /// on with: ffmpeg writes a large picture in blocks, and so do stdio and a pipe that is full.
    pub fn looks_whole(&self, slices: u32, stream_bytes: u64) -> bool {
        let in_blocks = |at: u64| (stream_bytes - at).is_multiple_of(WRITE_BLOCK_BYTES);
        let began_alone = self.begins_at.is_some_and(|at| !in_blocks(at));
        began_alone && self.looks_complete(slices, stream_bytes)
    }

    /// The stream has run dry here, and the picture under way looks whole.
    pub fn note_dry(&mut self, stream_bytes: u64) {
        self.ran_dry_at = Some(stream_bytes);
    }

    /// More of the picture under way has come.
    pub fn note_more(&mut self) {
        if self.ran_dry_at.take().is_some() {
            self.whole = 0;
        }
    }

    /// Whether what looks whole can be taken for complete without waiting for more.
    pub fn is_trusted(&self) -> bool {
        self.whole >= self.trusted_after
    }

    /// The picture under way is dropped.
    pub fn note_drop(&mut self) {
        (self.ran_dry_at, self.begins_at) = (None, None);
    }

    /// A picture was completed by a flush, here in the stream.
    pub fn open(&mut self, stream_bytes: u64) {
        self.open = true;
        self.begins_at = Some(stream_bytes);
    }

    /// What has begun cannot belong to a picture that was completed by a flush.
    pub fn close(&mut self) {
        self.open = false;
    }

    pub fn is_open(&self) -> bool {
        self.open
    }

    /// A picture of so many slices is complete.
    pub fn note_picture(&mut self, slices: u32) {
        self.slices = slices;
        self.pause = self.pause.saturating_sub(1);
        self.begins_at = self.ran_dry_at.take();
        self.whole = self.whole.saturating_add(u32::from(self.begins_at.is_some()));
    }

    /// A slice has come that belongs to a picture that was completed by a flush.
    pub fn note_late_slice(&mut self) {
        self.slices += 1;
    }

    /// More has come. Whether it belongs to a picture that was completed by a flush, which is told
    /// once.
    pub fn is_too_early(&mut self) -> bool {
        let too_early = self.open && self.pause == 0;
        if too_early {
            self.pause = self.next_pause;
            self.next_pause = self.next_pause.saturating_mul(2);
            self.whole = 0;
            self.trusted_after = self.trusted_after.saturating_mul(2);
        }
        too_early
    }
}
