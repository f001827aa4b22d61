//! When a picture of H.264 may be taken for complete before the next one begins.

/// What buffered streams write in: stdio blocks are pages, ffmpeg's are multiples of them. A writer
/// that stops at a multiple may hold the rest of the picture.
const WRITE_BLOCK_BYTES: u64 = 4096;
/// After a flush that was too early, there is none for so many pictures.
pub const FLUSH_PAUSE_PICTURES: u32 = 128;

/// What is known about the flushes of a stream so far.
pub struct Flushes {
    /// A picture was completed by a flush, and its successor has not begun.
    open: bool,
    /// The slices of the last picture.
    slices: u32,
    /// The pictures without a flush to come, and how many they are the next time.
    pub pause: u32,
    next_pause: u32,
}

impl Flushes {
    pub fn new() -> Flushes {
        Flushes { open: false, slices: 0, pause: 0, next_pause: FLUSH_PAUSE_PICTURES }
    }

    /// Whether a picture of so many slices looks complete after so many bytes of the stream.
    pub fn looks_complete(&self, slices: u32, stream_bytes: u64) -> bool {
        let in_blocks = stream_bytes.is_multiple_of(WRITE_BLOCK_BYTES);
        self.pause == 0 && !in_blocks && slices >= self.slices
    }

    /// A picture was completed by a flush.
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
    pub fn note_picture(&mut self, slices: u32) {
        self.slices = slices;
        self.pause = self.pause.saturating_sub(1);
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
        }
        too_early
    }
}
