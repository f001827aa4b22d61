//! What is told to the core, and what it wants done.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::http::Url;
use crate::media::{Codec, Damage, Frame, SnapshotError, SourcePicture};
use crate::publish::{self, TargetId};
use crate::source;
use crate::webrtc::Transmit;

/// A TCP connection. The driver mints one for each that it accepts and never uses it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// Facts. They borrow.
#[derive(Debug)]
pub enum Input<'a> {
    /// Only time has passed.
    Timeout,
    /// A TCP connection was accepted.
    Connected(ConnId, SocketAddr),
    Received(ConnId, &'a [u8]),
    /// The kernel has taken all that was sent on the connection. Of requests that came together, the
    /// next is served now: who gives each connection its turn serves no more than one in it.
    Flushed(ConnId),
    /// The peer will send no more, but may still read.
    HalfClosed(ConnId),
    /// The connection is gone, and the driver has let go of it.
    Disconnected(ConnId),
    /// `destination` is one of the configured addresses.
    Datagram {
        source: SocketAddr,
        destination: SocketAddr,
        contents: &'a [u8],
    },
    /// A datagram for `destination` could not be sent.
    TransmitFailed {
        destination: SocketAddr,
    },
    /// One encoded access unit.
    Frame(Frame),
    /// No frame comes of a capture: the source is broken, or not there.
    CaptureFailed,
    /// A picture of [`Output::Encode`] was encoded in all codecs that it was asked for in.
    PictureShown,
    /// One that was to be reported could not be decoded or encoded, and is left out: what is wrong with it.
    PictureDamaged(Damage),
    /// Something has happened to the stream from outside.
    Source(source::SourceEvent<'a>),
    /// Something has happened to the connection to a media server.
    Publish(TargetId, publish::PublishEvent<'a>),
    /// What has become of [`Output::Snapshot`] for this width: a JPEG file, or why there is none.
    Snapshot {
        width: Option<usize>,
        made: Result<Bytes, SnapshotError>,
        /// What it has taken the source.
        cost: Duration,
    },
    /// The host's addresses have changed to these.
    Addresses(&'a [SocketAddr]),
    /// The names of the host are these now, in lower case.
    Names(&'a [String]),
    /// The wall clock was set.
    WallClock(SystemTime),
    /// End all viewers and connections.
    Shutdown,
}

/// Effects. They own.
#[derive(Debug)]
pub enum Output {
    Send(ConnId, Bytes),
    /// After what was sent: send no more, but go on reading.
    Finish(ConnId),
    /// Leave what the connection brings in the kernel, until [`Output::Resume`]: its peer has to wait.
    Pause(ConnId),
    /// Read the connection again.
    Resume(ConnId),
    /// Let go of the connection now.
    Close(ConnId),
    Transmit(Transmit),
    /// Make the codec's next frame a key frame.
    ForceKeyframe(Codec),
    /// Take a picture, encode it in each of these codecs, and bring each as [`Input::Frame`]. Without
    /// any, the picture is for [`Output::Snapshot`] alone.
    Capture(Vec<Codec>),
    /// Do this to the stream from outside.
    Source(source::SourceCommand),
    /// Do this to the connection to a media server.
    Publish(TargetId, publish::PublishCommand),
    /// This is the session at a media server from now on, if there is any: keep it beyond the end of the
    /// process, for [`Config::left_sessions`](super::Config::left_sessions).
    KeepSession(TargetId, Option<Url>),
    /// Make a JPEG file of the newest picture, scaled down to this even width or in its own, and bring
    /// it as [`Input::Snapshot`], now or later. At most one is under way.
    Snapshot {
        width: Option<usize>,
    },
    /// Encode this picture in each of these codecs, and bring each as [`Input::Frame`]. Without any,
    /// the picture is for [`Output::Snapshot`] alone.
    Encode {
        picture: SourcePicture,
        /// When it was taken.
        captured: Instant,
        codecs: Vec<Codec>,
        /// It is one of the stream from outside: whether it could be encoded is told by
        /// [`Input::PictureShown`] or [`Input::PictureDamaged`].
        is_reported: bool,
    },
    /// Nothing more for now: come back then, or when something happens. `None` is for ever.
    Timeout(Option<Instant>),
}
