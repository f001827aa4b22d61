//! The table of options, in the order of the helps and the manual page.

use std::time::Duration;

use super::CliText;
use super::FlagAction::{Ask, Command, Print, Set, SetOptional, Switch};
use super::FlagSection::{Access, Camera, Limits, Network, Other, Picture, Publishing, Source};
use super::{CliCommand, Flag};
use crate::cli::health::USUAL;
use crate::driver::encode::codec::Quality;

pub const FLAGS: &[Flag] = &[
    Flag {
        name: "exec",
        section: Source,
        action: Set("COMMAND", |it, value| it.sources.add_command(value)),
        default: None,
        line: "What a shell command writes to standard output",
        more: "Quote the command. It is started again when it exits, hangs or shows no picture.",
    },
    Flag {
        name: "raw",
        section: Source,
        action: Set("WxH@FPS[:FORMAT]", |it, value| it.sources.set_raw(value)),
        default: None,
        line: "The source is raw pictures of this size and rate",
        more: "FORMAT is i420, nv12, yuyv, bgr24 (as in OpenCV), rgb24 or gray8; i420 if omitted. Append \
               ,bt709 if the colours of i420, nv12 or yuyv are BT.709 instead of BT.601, as those of rpicam-vid \
               are from 720p on.",
    },
    Flag {
        name: "source-interval",
        section: Source,
        action: Set("SECONDS", |it, value| {
            let seconds: u32 = value.number(1..=3_600)?;
            it.flags.source_interval = Some(Duration::from_secs(seconds.into()));
            Ok(())
        }),
        default: Some("as declared or measured, at least 2 s"),
        line: "Longest time between two pictures of the source",
        more: "1 to 3600. For a source that is slower than its stream declares. After twice this time without \
               a picture the source has failed; after three times as long a command is restarted.",
    },
    Flag {
        name: "camera",
        section: Camera,
        action: SetOptional("NAME", |it, value| it.sources.add_camera(value)),
        default: None,
        line: "The first camera, or that with NAME in its name",
        more: "NAME may also be part of the name of a link in /dev/v4l/by-id. Without a USB camera, the camera \
               of a Raspberry Pi is shown by rpicam-vid. A camera that is unplugged is back when it is plugged in \
               again, and one that is missing is taken when it comes.",
    },
    Flag {
        name: "camera-size",
        section: Camera,
        action: Set("WxH[@FPS]", |it, value| it.sources.set_camera_size(value)),
        default: Some("up to 1280x720"),
        line: "Size and rate of the pictures",
        more: "One that the camera offers, see --list-cameras. Without it, 25 pictures a second or more come \
               first, then the largest size up to 1280x720. A size that is given is kept, even if this device \
               cannot encode it as fast as the pictures come.",
    },
    Flag {
        name: "camera-format",
        section: Camera,
        action: Set("FORMAT", |it, value| it.sources.set_camera_format(value)),
        default: None,
        line: "One of h264, i420, nv12, yuyv and mjpeg",
        more: "Without it, the first of these that the camera has at the best size and rate. H.264 is chosen only if it has a key frame every two seconds.",
    },
    Flag {
        name: "control",
        section: Camera,
        action: Set("NAME=VALUE", |it, value| it.sources.add_control(value)),
        default: None,
        line: "Set a control, such as brightness=128",
        more: "Names and values are those of --list-cameras and v4l2-ctl; older names are understood. May be \
               repeated: controls are set in this order, each time that the camera starts.",
    },
    Flag {
        name: "list-cameras",
        section: Camera,
        action: Command(|| CliCommand::ListCameras),
        default: None,
        line: "Print the cameras, and which one is chosen",
        more: "With formats, sizes and rates, and controls with their range, default and current value. Exits \
               with 1 if there is no camera.",
    },
    Flag {
        name: "when-watched",
        section: Source,
        action: Switch(|flags| flags.when_watched = true),
        default: None,
        line: "Run the camera or command only while watched",
        more: "From the first viewer to 10 seconds after the last: for its light, its heat and its power.",
    },
    Flag {
        name: "port",
        section: Network,
        action: Set("N", |it, value| value.number(0..=65_535).map(|port| it.flags.port = port)),
        default: Some("8080"),
        line: "TCP and UDP port; 0 picks a free one",
        more: "",
    },
    Flag {
        name: "bind",
        section: Network,
        action: Set("ADDR", |it, value| value.address().map(|address| it.flags.bind.push(address))),
        default: Some("all addresses but those of containers and bridges"),
        line: "Serve on this IP address only",
        more: "May be repeated. 0.0.0.0 stands for all IPv4 addresses, and :: for all IPv6 addresses.",
    },
    Flag {
        name: "announce",
        section: Network,
        action: Set("ADDR", |it, value| {
            value.address().map(|address| it.flags.announced.push(address))
        }),
        default: None,
        line: "Advertise this extra address (same ports)",
        more: "For a container, a NAT or a VPN: an IP address at which viewers outside reach this server. May \
               be repeated.",
    },
    Flag {
        name: "trusted-proxy",
        section: Network,
        action: Set("ADDR[/BITS]", |it, value| {
            value.network().map(|network| it.flags.trusted_proxies.push(network))
        }),
        default: None,
        line: "Trust the forwarding headers of this proxy",
        more: "X-Forwarded-For or Forwarded gives the client's address, and X-Forwarded-Host or Forwarded the \
               host that it asked for. ADDR/BITS is a network. May be repeated.",
    },
    Flag {
        name: "token-file",
        section: Access,
        action: Set("FILE", |it, value| value.token_from_file().map(|token| it.tokens.push(token))),
        default: Some("no token is required"),
        line: "Require the token in this file",
        more: "8 to 256 letters, digits or any of - . _ ~ + / with = at the end only. A browser opens \
               http://device:8080/#token=TOKEN; a player sends Authorization: Bearer TOKEN, or the token as the \
               password of any user.",
    },
    Flag {
        name: "token",
        section: Access,
        action: Set("TOKEN", |it, value| value.token().map(|token| it.tokens.push(token))),
        default: None,
        line: "Require this token",
        more: "Every user of this device sees it in the list of processes: prefer --token-file, or the \
               variable BALLCAST_TOKEN.",
    },
    Flag {
        name: "allow-host",
        section: Access,
        action: Set("NAME", |it, value| {
            value.host_name().map(|name| it.flags.allow_hosts.push(name))
        }),
        default: Some("its addresses, its host name, that name with .local, and localhost"),
        line: "Accept another name of this server",
        more: "May be repeated.",
    },
    Flag {
        name: "allow-origin",
        section: Access,
        action: Set("ORIGIN", |it, value| {
            value.origin().map(|origin| it.flags.allow_origins.push(origin))
        }),
        default: Some("pages of this host, on any port"),
        line: "Let pages of this site play and embed the video",
        more: "An origin such as https://home.example:8123. May be repeated. With at least one, pages of all \
               sites may show /snapshot.jpg and /stream.mjpg.",
    },
    Flag {
        name: "publish",
        section: Publishing,
        action: Set("URL", |it, value| it.media_servers.add_url(value)),
        default: None,
        line: "Also send the stream to this media server",
        more: "A WHIP URL over plain http, such as http://media.example:8889/camera/whip. The server shows the \
               stream to more viewers than this device can serve. May be given up to 4 times. After a failure, \
               Ballcast tries again after 1 to 30 s, or when the server says so.",
    },
    Flag {
        name: "publish-token-file",
        section: Publishing,
        action: Set("FILE", |it, value| it.media_servers.add_token_file(value)),
        default: None,
        line: "Send the token in this file to the media server",
        more: "Given once it is for all media servers; otherwise give it once for each, in the same order. 1 to \
               4096 letters, digits or any of - . _ ~ + / : with = at the end only, such as a stream key, a JWT, \
               or user:password for MediaMTX.",
    },
    Flag {
        name: "size",
        section: Picture,
        action: Set("WxH", |it, value| {
            it.flags.size = value.size()?;
            it.sources.add_ball_flag(value.flag);
            Ok(())
        }),
        default: Some("640x480"),
        line: "Size of the ball's picture in pixels",
        more: "Both even, 64x64 to 3840x2160.",
    },
    Flag {
        name: "fps",
        section: Picture,
        action: Set("N", |it, value| {
            it.flags.frames_per_second = value.number(1..=120)?;
            it.sources.add_ball_flag(value.flag);
            Ok(())
        }),
        default: Some("30"),
        line: "Frames per second of the ball",
        more: "1 to 120.",
    },
    Flag {
        name: "bitrate",
        section: Picture,
        action: Set("KBIT", |it, value| {
            let kbit: u32 = value.number(50..=50_000)?;
            it.flags.quality = Quality::Bitrate(kbit * 1_000);
            Ok(())
        }),
        default: Some("constant quality for the ball, 2500 for a source"),
        line: "Bitrate of the encoder in kbit/s",
        more: "50 to 50000. H.264 from a source is not encoded again and keeps its bitrate.",
    },
    Flag {
        name: "rotate",
        section: Picture,
        action: Set("DEGREES", |it, value| {
            it.flags.appearance.orientation.rotation = value.rotation()?;
            Ok(())
        }),
        default: None,
        line: "Rotate the picture clockwise by 90, 180 or 270",
        more: "H.264 from a source is not encoded again: the browser or the page rotates it, and media servers \
               get it unrotated.",
    },
    Flag {
        name: "mirror",
        section: Picture,
        action: Switch(|flags| flags.appearance.orientation.is_mirrored = true),
        default: None,
        line: "Mirror the picture, left to right",
        more: "After --rotate. H.264 from a source is mirrored by the page, not for other players and media \
               servers.",
    },
    Flag {
        name: "clock",
        section: Picture,
        action: Switch(|flags| flags.appearance.has_clock = true),
        default: None,
        line: "Show date and time in the picture",
        more: "The local time of the capture, at the top left. Not in H.264 from a source, which is not encoded \
               again.",
    },
    Flag {
        name: "encoder",
        section: Picture,
        action: Set("WHICH", |it, value| value.encoder().map(|which| it.flags.encoder = which)),
        default: Some("auto"),
        line: "Encoder of H.264: auto, software or /dev/videoN",
        more: "auto takes the hardware encoder of the board, if the kernel has a driver for it (V4L2), such as \
               that of a Raspberry Pi up to 4; never run on a Pi. If it fails, openh264 takes over at once.",
    },
    Flag {
        name: "stamp",
        section: Picture,
        action: Switch(|flags| flags.stamp = true),
        default: None,
        line: "Show the time from capture to screen",
        more: "Burns the capture time into the ball's picture, for the page to read. A source has to do so in its \
               own pictures.",
    },
    Flag {
        name: "max-viewers",
        section: Limits,
        action: Set("N", |it, value| {
            value.number(1..=10_000).map(|viewers| it.flags.max_viewers = viewers)
        }),
        default: Some("50"),
        line: "Viewers at the same time",
        more: "1 to 10000.",
    },
    Flag {
        name: "max-viewers-per-address",
        section: Limits,
        action: Set("N", |it, value| {
            value.number(1..=10_000).map(|viewers| it.flags.max_viewers_per_address = viewers)
        }),
        default: Some("10"),
        line: "Viewers from one IP address",
        more: "1 to 10000.",
    },
    Flag {
        name: "max-offers-per-second",
        section: Limits,
        action: Set("N", |it, value| {
            value.number(1..=10_000).map(|offers| it.flags.max_offers_per_second = offers)
        }),
        default: Some("10"),
        line: "Offers per second from one IP address",
        more: "1 to 10000.",
    },
    Flag {
        name: "title",
        section: Other,
        action: Set("TEXT", |it, value| value.title().map(|title| it.flags.title = Some(title))),
        default: Some("the host name or address in the URL"),
        line: "Title of the page",
        more: "1 to 100 characters, shown to everybody who opens the page.",
    },
    Flag {
        name: "qr",
        section: Other,
        action: Switch(|flags| flags.qr = true),
        default: Some("if standard output is a terminal with room for it"),
        line: "Print the first URL as a QR code",
        more: "The code includes the token.",
    },
    Flag {
        name: "check-health",
        section: Other,
        action: Ask(CliCommand::CheckHealth),
        default: Some(USUAL),
        line: "Ask a running server whether it has a picture",
        more: "Exits with 0 if it has, and with 1 if it has none or does not answer; for health checks of \
               containers.",
    },
    Flag {
        name: "man",
        section: Other,
        action: Print { text: CliText::Manual, short: None },
        default: None,
        line: "Print the manual page; man -l - shows it",
        more: "",
    },
    Flag {
        name: "help",
        section: Other,
        action: Print { text: CliText::Help, short: Some(('h', CliText::Summary)) },
        default: None,
        line: "Print the options; -h prints one line for each",
        more: "",
    },
    Flag {
        name: "version",
        section: Other,
        action: Print { text: CliText::Version, short: Some(('V', CliText::Version)) },
        default: None,
        line: "Print the version",
        more: "",
    },
];
