//! The bytes of a connection between their arrival and their parsing.

/// What came and is not yet parsed. Holds no memory while empty, as a kept connection mostly is.
#[derive(Debug, Default)]
pub(super) struct ReceiveBuffer {
    bytes: Vec<u8>,
    /// Bytes of pipelined requests are moved once a `receive`, not once a request.
    consumed: usize,
}

impl ReceiveBuffer {
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.consumed..]
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.consumed);
        self.consumed = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Consumes `size_bytes` of what is unread, at most all of it.
    pub(super) fn consume(&mut self, size_bytes: usize) {
        self.consumed += size_bytes;
        debug_assert!(self.consumed <= self.bytes.len(), "consumed more than there is");
        if self.consumed == self.bytes.len() {
            *self = Self::default();
        }
    }
}
