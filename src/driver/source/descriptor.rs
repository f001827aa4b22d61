//! The descriptor of a stream: standard input, a named pipe, a file, or a command's standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::fcntl_setpipe_size;

use crate::source::{SourceEvent, SourceFailure};

/// The most bytes of one read.
pub const READ_BYTES: usize = 64 * 1_024;
/// Opens the standard input of this process with an open file description of its own, so that its flags
/// (O_NONBLOCK) are not shared with the shell or the writer.
pub const STDIN_PATH: &str = "/proc/self/fd/0";
/// The largest pipe of an unprivileged process (pipe(7)). With 64 KiB, one raw 720p picture would take 22
/// turns.
const PIPE_BYTES: usize = 1 << 20;

pub struct Descriptor {
    file: File,
    is_fifo: bool,
    /// Whether a read may block.
    is_blocking: bool,
    /// The end or an error was reported.
    has_ended: bool,
}

impl Descriptor {
    pub fn open(path: &Path) -> io::Result<Descriptor> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        Ok(Descriptor::nonblocking(file))
    }

    pub fn open_fifo(path: &Path) -> io::Result<Descriptor> {
        Ok(Descriptor { is_fifo: true, ..Descriptor::open(path)? })
    }

    pub fn open_stdin() -> io::Result<Descriptor> {
        if let Ok(stdin) = Descriptor::open(Path::new(STDIN_PATH)) {
            return Ok(stdin);
        }
        // Sockets and the pipes of another user cannot be opened again. Their flags stay as they are.
        let file = io::stdin().as_fd().try_clone_to_owned()?.into();
        Ok(Descriptor { is_blocking: true, ..Descriptor::nonblocking(file) })
    }

    fn nonblocking(file: File) -> Descriptor {
        Descriptor { file, is_fifo: false, is_blocking: false, has_ended: false }
    }

    pub fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        // Fails for anything but a pipe, and for a user whose pipes are at their limit. Both may go on.
        let _ = fcntl_setpipe_size(&self.file, PIPE_BYTES);
        registry.register(&mut SourceFd(&self.file.as_raw_fd()), token, Interest::READABLE)
    }

    /// Reads at most [`READ_BYTES`]. `None` if there is nothing for now, or the end or an error was reported.
    pub fn read<'a>(&mut self, buffer: &'a mut [u8]) -> Option<SourceEvent<'a>> {
        if self.has_ended {
            return None;
        }
        let buffer = &mut buffer[..READ_BYTES];
        loop {
            if self.is_blocking && self.poll().is_empty() {
                return None;
            }
            match self.file.read(buffer) {
                // A named pipe without a writer so far reads as if it had ended.
                Ok(0) if self.is_fifo && !self.poll().contains(PollFlags::HUP) => return None,
                Ok(0) => {
                    self.has_ended = true;
                    return Some(SourceEvent::Ended);
                }
                Ok(bytes) => return Some(SourceEvent::Bytes(&buffer[..bytes])),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => {
                    self.has_ended = true;
                    return Some(SourceEvent::Failed(SourceFailure::Read((&error).into())));
                }
            }
        }
    }

    /// What can be read without waiting: bytes, or the end.
    fn poll(&self) -> PollFlags {
        let mut descriptors = [PollFd::new(&self.file, PollFlags::IN)];
        match poll(&mut descriptors, Some(&Timespec::default())) {
            Ok(_) => descriptors[0].revents(),
            Err(_) => PollFlags::empty(),
        }
    }
}

impl From<PipeReader> for Descriptor {
    /// The pipe does not block.
    fn from(pipe: PipeReader) -> Descriptor {
        Descriptor::nonblocking(OwnedFd::from(pipe).into())
    }
}
