//! The camera of this machine: finds, starts, reads and stops it as [`CameraCommand`]s say, and reports
//! [`CameraEvent`]s.

mod devices;
pub mod scan;
mod stream;

use std::io;
use std::sync::Arc;

use mio::{Registry, Waker};

use self::devices::DeviceWatch;
pub use self::stream::CameraStream;
use self::stream::Failure;
use crate::driver::blocking::Blocking;
use crate::driver::tokens::{DEVICES, SOURCE};
use crate::os_error::OsError;
use crate::source::camera::{CameraCommand, CameraEvent, CameraScan, CameraStarted, CameraStep};

/// Reads one camera, and watches for others.
pub struct CameraReader {
    /// What blocks, one at a time.
    job: Blocking<JobEnd>,
    stream: Option<CameraStream>,
    /// Waits until what blocks has returned: a camera that has failed is closed, perhaps as it was to be stopped.
    next: Option<CameraCommand>,
    /// `None` if the kernel cannot watch them.
    watch: Option<DeviceWatch>,
}

/// What has become of a command.
enum JobEnd {
    Scanned(CameraScan),
    Started(Result<(CameraStream, CameraStarted), Failure>),
    Stopped,
    /// A camera that had failed is closed.
    Closed,
}

impl CameraReader {
    /// A reader with nothing open. A command that has blocked wakes the poll with this waker, and so does a change
    /// of the devices.
    pub fn new(waker: Arc<Waker>, registry: &Registry) -> CameraReader {
        let watch = DeviceWatch::new(registry, DEVICES);
        if let Err(error) = &watch {
            log::warn!(
                "cameras that are plugged in are noticed late, as /dev cannot be watched: {error}"
            );
        }
        CameraReader { job: Blocking::new(waker), stream: None, next: None, watch: watch.ok() }
    }

    /// Begins to carry out a command, and returns its event if it has failed at once.
    pub fn execute(&mut self, command: CameraCommand) -> Option<CameraEvent<'static>> {
        if self.job.is_running() {
            self.next = Some(command);
            return None;
        }
        let begun = match command {
            CameraCommand::Scan { path, size, with_controls } => {
                let scan = move || scan::scan(path.as_deref(), size, with_controls);
                self.job.start("camera", move || JobEnd::Scanned(scan()))
            }
            CameraCommand::Start(start) => {
                self.job.start("camera", move || JobEnd::Started(CameraStream::start(&start)))
            }
            CameraCommand::Stop => {
                let stream = self.stream.take();
                self.job.start("camera", move || {
                    drop(stream);
                    JobEnd::Stopped
                })
            }
            CameraCommand::Run(_) => unreachable!("a command is started elsewhere"),
        };
        let error = begun.err()?;
        Some(CameraEvent::Failed(CameraStep::Open, (&error).into()))
    }

    /// The next event of a command that is carried out, if there is one. A stream that has started is to be
    /// read at once.
    pub fn take_event(&mut self, registry: &Registry) -> Option<CameraEvent<'static>> {
        Some(match self.job.take() {
            None | Some(Ok(JobEnd::Closed)) => {
                let next = self.next.take_if(|_| !self.job.is_running())?;
                return self.execute(next);
            }
            Some(Err(error)) => CameraEvent::Failed(CameraStep::Open, (&error).into()),
            Some(Ok(JobEnd::Scanned(scan))) => CameraEvent::Scanned(scan),
            Some(Ok(JobEnd::Stopped)) => CameraEvent::Stopped,
            Some(Ok(JobEnd::Started(Err((step, error))))) => CameraEvent::Failed(step, error),
            Some(Ok(JobEnd::Started(Ok((stream, started))))) => {
                match stream.register(registry, SOURCE) {
                    Ok(()) => {
                        self.stream = Some(stream);
                        CameraEvent::Started(started)
                    }
                    Err(error) => CameraEvent::Failed(CameraStep::Read, (&error).into()),
                }
            }
        })
    }

    /// Takes the stream for reading, if there is one. It is [put back](Self::put_stream).
    pub fn take_stream(&mut self) -> Option<CameraStream> {
        self.stream.take()
    }

    /// Puts back a stream that was read, or reports that it has failed.
    pub fn put_stream(
        &mut self,
        stream: CameraStream,
        read: io::Result<()>,
    ) -> Option<CameraEvent<'static>> {
        match read {
            Ok(()) => {
                self.stream = Some(stream);
                None
            }
            Err(error) => {
                // This may block, too.
                let closed = self.job.start("camera", move || {
                    drop(stream);
                    JobEnd::Closed
                });
                if let Err(error) = closed {
                    log::debug!("a camera is closed late: {error}");
                }
                Some(CameraEvent::Failed(CameraStep::Read, OsError::from(&error)))
            }
        }
    }

    /// Whether the video devices have changed.
    pub fn take_change(&mut self) -> Option<CameraEvent<'static>> {
        self.watch.as_mut()?.take_change().then_some(CameraEvent::DevicesChanged)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use mio::{Poll, Token};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A camera that fails while it is to be stopped is looked for while the command to stop it is carried out.
    #[test]
    fn a_command_that_comes_while_another_blocks_is_carried_out_after_it() {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut reader = CameraReader::new(waker, poll.registry());
        assert!(reader.execute(CameraCommand::Stop).is_none());
        let path = Some("/nowhere".into());
        assert!(
            reader
                .execute(CameraCommand::Scan { path, size: None, with_controls: false })
                .is_none()
        );
        let end = Instant::now() + LIMIT;
        let mut next_event = || {
            loop {
                if let Some(event) = reader.take_event(poll.registry()) {
                    return event;
                }
                assert!(Instant::now() < end, "it is not carried out");
            }
        };
        assert!(matches!(next_event(), CameraEvent::Stopped));
        assert!(matches!(next_event(), CameraEvent::Scanned(scan) if scan.nodes.is_empty()));
    }
}
