//! The inputs and outputs of the core.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::http::Url;
use crate::media::{Codec, Damage, EncoderName, Frame, SnapshotError, SourcePicture};
use crate::publish::{self, TargetId};
use crate::source;
use crate::webrtc::Transmit;

/// A TCP connection. The driver creates one for each that it accepts, and never reuses it.
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
    /// The kernel has taken everything that was sent on the connection. Of pipelined requests, the next one
    /// is served now, so that a connection has one request served per turn.
    Flushed(ConnId),
    /// The peer will send no more, but may still read.
    HalfClosed(ConnId),
    /// The connection is gone, and the driver has closed it.
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
    /// This encoder makes H.264 from now on, or for another reason.
    EncoderChanged(EncoderName),
    /// A picture was left out, as an encoder is busy with those before.
    PictureLeftOut,
    /// A capture has failed, and brings no frame.
    CaptureFailed,
    /// A picture of [`Output::Encode`] that is reported was encoded in all its codecs.
    PictureShown,
    /// A picture that is reported could not be decoded or encoded, and is skipped.
    PictureDamaged(Damage),
    /// An event of the source.
    Source(source::SourceEvent<'a>),
    /// An event of the connection to a media server.
    Publish(TargetId, publish::PublishEvent<'a>),
    /// The result of [`Output::Snapshot`] for this width: a JPEG file, or why there is none.
    Snapshot {
        width: Option<usize>,
        made: Result<Bytes, SnapshotError>,
        /// The time that it took.
        cost: Duration,
    },
    /// The bound addresses, after they have changed.
    Addresses(&'a [SocketAddr]),
    /// The names of the host, in lower case, after they have changed.
    Names(&'a [String]),
    /// The wall clock was set.
    WallClock(SystemTime),
    /// Ends all viewers and connections.
    Shutdown,
}

/// Effects. They own.
#[derive(Debug)]
pub enum Output {
    Send(ConnId, Bytes),
    /// Shut down the write side after what was sent, and go on reading.
    Finish(ConnId),
    /// Stop reading the connection until [`Output::Resume`], so that its peer has to wait.
    Pause(ConnId),
    /// Read the connection again.
    Resume(ConnId),
    /// Close the connection now.
    Close(ConnId),
    Transmit(Transmit),
    /// Make the codec's next frame a key frame.
    ForceKeyframe(Codec),
    /// Take a picture, encode it in each of these codecs, and pass on each frame as [`Input::Frame`].
    /// Without a codec, the picture is for [`Output::Snapshot`] alone.
    Capture(Vec<Codec>),
    /// Do this to the source.
    Source(source::SourceCommand),
    /// Do this to the connection to a media server.
    Publish(TargetId, publish::PublishCommand),
    /// Store the current session at a media server, or that there is none, for
    /// [`Config::stale_sessions`](super::Config::stale_sessions) of the next process.
    KeepSession(TargetId, Option<Url>),
    /// Make a JPEG file of the newest picture, scaled down to this even width or in its own, and pass it on
    /// as [`Input::Snapshot`], now or later. At most one is under way.
    Snapshot {
        width: Option<usize>,
    },
    /// Encode this picture in each of these codecs, and pass on each frame as [`Input::Frame`]. Without a
    /// codec, the picture is for [`Output::Snapshot`] alone.
    Encode {
        picture: SourcePicture,
        /// When it was taken.
        captured: Instant,
        codecs: Vec<Codec>,
        /// It is a picture of the source: [`Input::PictureShown`] or [`Input::PictureDamaged`] reports
        /// whether it could be encoded, at once or when its last frame has come. Nothing does if an encoder
        /// was too busy for it, or has lost it.
        is_reported: bool,
    },
    /// Nothing more for now: call again at this time, or when something happens. `None` is never.
    Timeout(Option<Instant>),
}
