//! What `--help` prints.

pub const HELP: &str = "\
Ballcast shows live video from this device in any browser on the local network.
Start it, then open one of the URLs that it prints. Without a SOURCE, the
picture is a bouncing ball.
Without WebRTC: /snapshot.jpg is one picture, /stream.mjpg one after the other.
For programs: /stats is JSON, /metrics for Prometheus, /health 200 or 503.

Usage: ballcast [FLAGS] [SOURCE]

Source: H.264 without a container, yuv4mpeg2 or MJPEG, whichever it is
  -               Standard input
  PATH            A named pipe, or a file, which is played over and over
  --exec 'COMMAND'
                  What a command of the shell writes to its standard output
  --source-interval SECONDS
                  For a source that is slower than its stream says: the
                  longest time between two pictures. After twice that, it
                  counts as dead [as declared or measured]
  --raw WxH@FPS[:FORMAT][,bt709]
                  The source is pictures without headers, of this size and at
                  this rate. FORMAT is i420, nv12, bgr24 (as OpenCV has them),
                  rgb24 or gray8 [i420]. With bt709, the colours of i420 and
                  nv12 are BT.709, as those of rpicam-vid from 720p on, and not
                  BT.601

Network
  --port N        TCP and UDP port, 0 for any free one [8080]
  --bind ADDR     Serve on this IP address only; may be repeated, 0.0.0.0 and ::
                  stand for all of IPv4 and IPv6 [all but containers' and
                  bridges']
  --allow-host NAME
                  A further name that this server may be opened by; may be
                  repeated [its addresses, its host name, that name with .local,
                  localhost]
  --allow-origin ORIGIN
                  Another site whose pages may play, and show this page inside
                  them, such as https://home.example:8123; may be repeated. With
                  one, pages of all sites may show /snapshot.jpg and
                  /stream.mjpg [pages of this host, on any port]
  --trusted-proxy ADDR[/BITS]
                  A proxy in front of this server: who asks is whom it names in
                  X-Forwarded-For or Forwarded, and the host is that of
                  X-Forwarded-Host; may be repeated [none]
  --announce ADDR A further address that leads here, at the same ports, from
                  outside of a container, a NAT or a VPN; may be repeated [none]
  --token-file FILE
                  Show the picture only to those who know the token in this
                  file: to the page as http://device:8080/#token=TOKEN, and to
                  players that send it as Authorization: Bearer, or as the
                  password of any user [everybody]
  --token TOKEN   The same, but everybody on this device sees it in the list of
                  processes; the variable BALLCAST_TOKEN is a third way

More viewers
  --publish URL   Send the stream to the media server there, too, which shows it
                  to more viewers: its URL for WHIP, over plain http, such as
                  http://media.example:8889/camera/whip; up to 4 times. One that
                  fails is tried again after 1 to 30 s. With a folder named in
                  the variable STATE_DIRECTORY, the next start ends the session
                  that a kill or a power cut has left there [none]
  --publish-token-file FILE
                  The token in this file is what the media server asks for, such
                  as a stream key, a JWT or user:password; given once for all of
                  them, or once for each, in their order. The variable
                  BALLCAST_PUBLISH_TOKEN is another way, for all [none]

Picture
  --size WxH      Width and height of the ball's picture in pixels, even, 64x64
                  to 3840x2160 [640x480]
  --fps N         Frames a second of the ball, 1 to 120 [30]
  --bitrate KBIT  Hold this many kbit/s, 50 to 50000 [constant quality for the
                  ball, 2500 for a source]; H.264 from a source stays as it is
  --stamp         Burn the capture time into the ball's picture; a SOURCE brings
                  it in its pictures. The page then shows the time from capture
                  to screen

Limits
  --max-viewers N              Viewers at once, 1 to 10000 [50]
  --max-viewers-per-address N  Viewers from one IP address, 1 to 10000 [10]
  --max-offers-per-second N    Offers a second from one IP address [10]

  --check-health [URL]
                  Ask the server at this URL whether it has a picture, and exit
                  with 0 or 1, for containers [http://127.0.0.1:8080]
  --title TEXT    Title of the page, for everybody who opens it, to tell several
                  cameras apart [the name or address that it is opened by]
  --qr            Print the first URL as a QR code, too, with the token [if
                  standard output is a terminal with room for it]
  --help, -h      This text
  --version, -V   The version

A camera of a Raspberry Pi, up to Pi 4:
  ballcast --exec 'rpicam-vid -t 0 -n --inline --flush --profile baseline \\
    --intra 30 -b 2500000 --width 1280 --height 720 --framerate 30 -o -'
The same on a Pi 5:
  ballcast --exec 'rpicam-vid -t 0 -n --low-latency --libav-format h264 \\
    --profile baseline --intra 30 -b 2500000 --width 1280 --height 720 -o -'
A USB camera, encoded by Ballcast, so that a viewer has the picture at once:
  ballcast --exec 'ffmpeg -v error -f v4l2 -framerate 30 -video_size 1280x720 \\
    -i /dev/video0 -pix_fmt yuv420p -f yuv4mpegpipe -'
The same, encoded by ffmpeg:
  ballcast --exec 'ffmpeg -v error -f v4l2 -i /dev/video0 -pix_fmt yuv420p \\
    -c:v libx264 -preset ultrafast -tune zerolatency -profile:v baseline -g 30 \\
    -f h264 -flush_packets 1 -'
A network camera that sends H.264:
  ballcast --exec 'ffmpeg -v error -rtsp_transport tcp -i rtsp://CAMERA/STREAM \\
    -an -c:v copy -bsf:v dump_extra=freq=keyframe -f h264 -'

The log goes to standard error; RUST_LOG chooses what is in it (error, warn,
info, debug, trace) [info]. Ctrl-C says goodbye to all viewers and ends.
";

/// The long options, without their dashes.
pub(super) fn options() -> impl Iterator<Item = &'static str> {
    HELP.lines()
        .filter_map(|line| line.strip_prefix("  --"))
        .filter_map(|line| line.split([' ', ',']).next())
}

#[cfg(test)]
mod tests {
    use super::HELP;
    use crate::cli::Flags;

    #[test]
    fn help_names_every_flag_and_every_default() {
        for flag in [
            "--port",
            "--bind",
            "--size",
            "--fps",
            "--bitrate",
            "--max-viewers ",
            "--max-viewers-per-address",
            "--max-offers-per-second",
            "--allow-host",
            "--allow-origin",
            "--token ",
            "--token-file",
            "BALLCAST_TOKEN",
            "--publish ",
            "--publish-token-file",
            "BALLCAST_PUBLISH_TOKEN",
            "STATE_DIRECTORY",
            "--stamp",
            "--exec",
            "--raw",
            "--source-interval",
            "--check-health",
            "--qr",
            "--title",
            "--trusted-proxy",
            "--announce",
            "--help",
            "--version",
            "RUST_LOG",
        ] {
            assert!(HELP.contains(flag), "{flag}");
        }
        let defaults = Flags::default();
        for value in [
            u64::from(defaults.port),
            u64::from(defaults.frames_per_second),
            defaults.max_viewers as u64,
            defaults.max_viewers_per_address as u64,
        ] {
            assert!(HELP.contains(&format!("[{value}]")), "{value}");
        }
        assert!(HELP.contains(&format!("[{}]", defaults.size)));
        assert!(HELP.lines().all(|line| line.chars().count() <= 80));
    }
}
