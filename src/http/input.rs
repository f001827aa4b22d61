//! The bytes of a connection that are received and not yet parsed.

/// Received bytes that are not yet parsed. It holds no memory while empty, as on an idle connection.
#[derive(Debug, Default)]
pub(super) struct ReceiveBuffer {
    bytes: Vec<u8>,
    /// The bytes at the start that are parsed. They are removed once per `append`, not once per request.
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
