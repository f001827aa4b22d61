use super::*;
use crate::cli::flags::{FLAGS, FlagAction};
use crate::driver::SourceOrigin;
use crate::driver::encode::hardware::EncoderWish;
use crate::driver::test_folder::TestFolder;
use crate::http::Url;
use crate::media::{Appearance, Layout, Matrix, Orientation, PixelFormat, Rotation};
use crate::source::RawPictures;
use crate::source::camera::{CameraFormat, CameraWish, ModeWish};

fn flags(line: &str) -> Result<Flags, UsageError> {
    flags_with(line, None)
}

fn flags_with(line: &str, variable: Option<&str>) -> Result<Flags, UsageError> {
    let token = variable.map(OsString::from);
    flags_in(line, Environment { token, ..Environment::default() })
}

fn flags_in(line: &str, environment: Environment) -> Result<Flags, UsageError> {
    let arguments = line.split_whitespace().map(OsString::from);
    match parse(arguments, environment)? {
        CliCommand::Serve(flags) => Ok(*flags),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_flag_is_understood() {
    let flags = flags(
        "--port 0 --bind 127.0.0.1 --bind=[::1] --size 1280x720 --fps 25 --bitrate 2000 \
         --max-viewers 3 --max-viewers-per-address 2 --max-offers-per-second 1 \
         --allow-host Camera.Example --allow-origin https://Home.Example:8123/ --stamp \
         --rotate 270 --mirror --clock \
         --trusted-proxy 127.0.0.1 --trusted-proxy fd00::/8 --announce 192.168.1.20 --qr --title Porch --token abc-._~+/== \
         --publish http://media.example/whip",
    );
    let expected = Flags {
        port: 0,
        encoder: EncoderWish::Auto,
        when_watched: false,
        bind: vec![[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()],
        size: Size { width: 1280, height: 720 },
        frames_per_second: 25,
        quality: Quality::Bitrate(2_000_000),
        appearance: Appearance {
            orientation: Orientation { rotation: Rotation::Deg270, is_mirrored: true },
            has_clock: true,
        },
        max_viewers: 3,
        max_viewers_per_address: 2,
        max_offers_per_second: 1,
        allow_hosts: vec!["camera.example".into()],
        allow_origins: vec!["https://home.example:8123".into()],
        trusted_proxies: ["127.0.0.1/32", "fd00::/8"].map(|it| it.parse().unwrap()).into(),
        announced: vec![[192, 168, 1, 20].into()],
        token: Token::parse("abc-._~+/=="),
        targets: vec![Target {
            url: Url::parse("http://media.example/whip").unwrap(),
            token: None,
        }],
        state: None,
        stamp: true,
        title: Some("Porch".into()),
        qr: true,
        source: SourceChoice::Ball,
        source_interval: None,
    };
    assert_eq!(flags, Ok(expected));
}

#[test]
fn a_wrong_value_names_the_flag_the_value_and_what_is_allowed() {
    let wrong = [
        ("--port 65536", ["--port", "'65536'", "0 to 65535"]),
        ("--port x", ["--port", "'x'", "0 to 65535"]),
        ("--bind device", ["--bind", "'device'", "192.168.1.20"]),
        ("--size 641x480", ["--size", "'641x480'", "even"]),
        ("--size 640", ["--size", "'640'", "WxH"]),
        ("--size 4096x2160", ["--size", "'4096x2160'", "3840x2160"]),
        ("--fps 0", ["--fps", "'0'", "1 to 120"]),
        ("--bitrate 1", ["--bitrate", "'1'", "50 to 50000"]),
        ("--max-viewers 0", ["--max-viewers", "'0'", "1 to 10000"]),
        ("--allow-host http://x", ["--allow-host", "'http://x'", "host name"]),
        ("--allow-origin x", ["--allow-origin", "'x'", "https://home.example:8123"]),
        ("--allow-origin http://x/y", ["--allow-origin", "'http://x/…'", "without a path"]),
        ("--trusted-proxy x", ["--trusted-proxy", "'x'", "172.17.0.0/16"]),
        ("--trusted-proxy 10.0.0.0/33", ["--trusted-proxy", "'10.0.0.0/33'", "network"]),
        ("--trusted-proxy fd00::/129", ["--trusted-proxy", "'fd00::/129'", "network"]),
        ("--trusted-proxy 10.0.0.0/", ["--trusted-proxy", "'10.0.0.0/'", "network"]),
        ("--announce 10.0.0.1:80", ["--announce", "'10.0.0.1:80'", "without a port"]),
        ("--title=", ["--title", "''", "1 to 100 characters"]),
        ("--title \u{7}", ["--title", "\\u{7}", "1 to 100 characters"]),
        ("--check-health x", ["--check-health", "'x'", "http://127.0.0.1:8080"]),
        ("--check-health https://x", ["--check-health", "'https://x'", "URL"]),
        ("--rotate 0", ["--rotate", "'0'", "90, 180 or 270"]),
        ("--rotate -90", ["--rotate", "'-90'", "clockwise"]),
        ("--stamp --size 320x240", ["--stamp", "320x240", "384"]),
        ("--stamp --rotate 90 --size 640x360", ["--stamp", "640x360", "384"]),
    ];
    for (line, expected) in wrong {
        let sentence = flags(line).unwrap_err().to_string();
        for part in expected {
            assert!(sentence.contains(part), "{line}: {sentence}");
        }
    }
}

#[test]
fn a_token_comes_one_way_only_and_no_sentence_repeats_it() {
    assert_eq!(flags("").unwrap().token, None);
    let token = Token::parse("opensesame");
    assert_eq!(flags_with("", Some("opensesame")).unwrap().token, token);
    let folder = TestFolder::new("flags");
    let file = |name: &str, text: &str| {
        let path = folder.0.join(name);
        std::fs::write(&path, text).unwrap();
        format!("--token-file {}", path.display())
    };
    assert_eq!(flags(&file("right", "opensesame\n")).unwrap().token, token);
    let missing = format!("--token-file {}", folder.0.join("missing").display());
    let wrong = [
        ("--token secret", None, ["--token", "8 to 256"]),
        ("--token wörtlich-geheim", None, ["--token", "letters"]),
        ("", Some(""), ["no token in BALLCAST_TOKEN", "8 to 256"]),
        ("", Some("secret secret"), ["invalid token in BALLCAST_TOKEN", "letters"]),
        (&file("empty", "\n"), None, ["no token in --token-file", "empty: expected 8 to 256"]),
        (
            &file("lines", "secretone\nsecrettwo\n"),
            None,
            ["invalid token in --token-file", "lines: expected"],
        ),
        (&missing, None, ["cannot read --token-file", "missing: No such file"]),
        ("--token secretone --token secretone", None, ["once", "--token-file"]),
        ("--token secretone", Some("secretone"), ["once", "BALLCAST_TOKEN"]),
        (&file("both", "secretone"), Some("secretone"), ["once", "BALLCAST_TOKEN"]),
    ];
    for (line, variable, expected) in wrong {
        let sentence = flags_with(line, variable).unwrap_err().to_string();
        assert!(expected.iter().all(|part| sentence.contains(part)), "{line}: {sentence}");
        assert!(!sentence.contains("secret") && !sentence.contains("geheim"), "{sentence}");
    }
    assert!(!format!("{:?}", flags("--token opensesame")).contains("opensesame"));
}

#[test]
fn the_token_of_a_systemd_unit_counts_where_no_other_is_given() {
    let folder = TestFolder::new("unit");
    let token = |line: &str| {
        let credentials = Some(folder.0.clone());
        let environment = Environment { credentials, ..Environment::default() };
        flags_in(line, environment).map(|flags| flags.token)
    };
    assert_eq!(token(""), Ok(None), "a unit may have none");
    std::fs::write(folder.0.join("ballcast.token"), "opensesame\n").unwrap();
    assert_eq!(token(""), Ok(Token::parse("opensesame")));
    assert_eq!(token("--token another-one"), Ok(Token::parse("another-one")));
    std::fs::write(folder.0.join("ballcast.token"), "secret").unwrap();
    let sentence = token("").unwrap_err().to_string();
    assert!(
        sentence.starts_with("invalid token in the credential ballcast.token: expected"),
        "{sentence}"
    );
}

#[test]
fn the_first_folder_of_a_unit_is_for_what_is_kept() {
    for (variable, folder) in [
        (None, None),
        (Some(""), None),
        (Some("/var/lib/ballcast"), Some("/var/lib/ballcast")),
        (Some("/var/lib/ballcast:/var/lib/other"), Some("/var/lib/ballcast")),
    ] {
        let state = variable.map(OsString::from);
        let flags = flags_in("", Environment { state, ..Environment::default() }).unwrap();
        assert_eq!(flags.state, folder.map(PathBuf::from), "{variable:?}");
    }
}

#[test]
fn a_source_is_a_command_or_a_path_and_raw_pictures_have_a_size_and_a_rate() {
    assert_eq!(flags("").unwrap().source, SourceChoice::Ball);
    let origin = SourceOrigin::Command("camera".into());
    for (format, layout, matrix) in [
        ("", Layout::I420, Matrix::Bt601),
        (":i420", Layout::I420, Matrix::Bt601),
        (",bt709", Layout::I420, Matrix::Bt709),
        (":nv12,bt709", Layout::Nv12, Matrix::Bt709),
        (":yuyv", Layout::Yuyv, Matrix::Bt601),
        (":yuyv,bt709", Layout::Yuyv, Matrix::Bt709),
        (":bgr24", Layout::Bgr24, Matrix::Bt601),
        (":rgb24", Layout::Rgb24, Matrix::Bt601),
        (":gray8", Layout::Gray8, Matrix::Bt601),
    ] {
        let raw = Some(RawPictures {
            size: Size { width: 1280, height: 720 },
            pixels: PixelFormat { matrix, ..PixelFormat::usual(layout) },
            frames_per_second: 30,
        });
        let line = format!("--exec camera --raw 1280x720@30{format} --bitrate 500");
        let expected = SourceChoice::Stream { origin: origin.clone(), raw };
        assert_eq!(flags(&line).unwrap().source, expected, "{format}");
    }
    let stamped = flags("--exec=camera --stamp").unwrap();
    assert_eq!((stamped.source, stamped.stamp), (SourceChoice::Stream { origin, raw: None }, true));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let expected = SourceChoice::Stream { origin: SourceOrigin::File(file.into()), raw: None };
    assert_eq!(flags(file).unwrap().source, expected);
}

#[test]
fn flags_that_do_not_fit_the_source_are_refused_with_the_reason() {
    let directory = env!("CARGO_MANIFEST_DIR");
    let wrong = [
        ("--size 64x64 --exec camera", ["--size", "ball only", "--raw"]),
        ("--exec camera --fps 25", ["--fps", "ball only", "--raw"]),
        ("--raw 640x480@30", ["--raw", "needs a stream", "--exec"]),
        ("--exec one --exec two", ["one source", "--exec", "PATH"]),
        ("--exec camera Cargo.toml", ["one source", "--exec", "PATH"]),
        ("--exec=", ["--exec", "''", "command"]),
        ("/nowhere/clip.h264", ["cannot open", "/nowhere/clip.h264", "No such file"]),
        (directory, [directory, "is a directory", "named pipe"]),
        ("/dev/null", ["/dev/null", "is a device", "--exec"]),
        ("rtsp://camera:554", ["rtsp://camera:554", "is a URL", "-i rtsp://camera:554 -an"]),
        ("--exec camera --stamp --mirror", ["--stamp", "--rotate or --mirror", "source"]),
        ("--source-interval 60", ["--source-interval", "needs a stream", "--exec"]),
        ("--exec camera --source-interval 0", ["--source-interval", "'0'", "1 to 3600"]),
        ("--exec camera --raw 640x480", ["--raw", "'640x480'", "WxH@FPS"]),
        ("--exec camera --raw 641x480@30", ["--raw", "'641x480@30'", "even"]),
        ("--exec camera --raw 640x480@0", ["--raw", "'640x480@0'", "1 to 120"]),
        ("--exec camera --raw 640x480@30:bgr", ["'640x480@30:bgr'", "bgr24", "gray8"]),
        ("--exec camera --raw 64x64@9:bgr24,bt709", ["bt709 with", "i420", "yuyv only"]),
        ("--exec camera --raw 64x64@9:i420,bt2020", ["bt2020'", "[,bt709]", "FORMAT"]),
    ];
    for (line, expected) in wrong {
        let sentence = flags(line).unwrap_err().to_string();
        for part in expected {
            assert!(sentence.contains(part), "{line}: {sentence}");
        }
    }
}

#[test]
fn help_and_version_are_words_too() {
    let command = |word: &str| parse([OsString::from(word)], Environment::default());
    for (word, text) in [
        ("help", CliText::Help),
        ("--help", CliText::Help),
        ("-h", CliText::Summary),
        ("version", CliText::Version),
        ("--version", CliText::Version),
        ("-V", CliText::Version),
        ("--man", CliText::Manual),
    ] {
        let Ok(CliCommand::Print(printed)) = command(word) else { panic!("{word}") };
        assert_eq!(printed, text, "{word}");
    }
}

#[test]
fn unknown_flags_and_missing_values_are_errors() {
    for (line, sentence) in [
        ("--frobnicate", "unknown option --frobnicate. See ballcast --help."),
        ("--prot=80", "unknown option --prot. Did you mean --port? See ballcast --help."),
        ("-port 80", "unknown option -port. Did you mean --port? See ballcast --help."),
    ] {
        assert_eq!(flags(line).unwrap_err().to_string(), sentence);
    }
    let sentence = flags("--port x").unwrap_err().to_string();
    let expected = "invalid value 'x' for --port: expected a whole number from 0 to 65535.";
    assert_eq!(sentence, expected);
    assert!(flags("--port").unwrap_err().to_string().contains("--port"));
    assert!(flags("somewhere").is_err());
    assert!(flags("--stamp=yes").is_err());
}

#[test]
fn the_default_of_the_table_is_that_of_the_program() {
    let mut tried = 0;
    for flag in FLAGS {
        let (FlagAction::Set(..), Some(default)) = (&flag.action, flag.default) else { continue };
        if default.contains(' ') {
            continue;
        }
        assert_eq!(flags(&format!("--{} {default}", flag.name)), Ok(Flags::default()), "{default}");
        tried += 1;
    }
    assert_eq!(tried, 7, "port, size, fps, the encoder and three limits");
    let command = |words: &[&str]| match parse(words.iter().map(Into::into), Environment::default())
    {
        Ok(CliCommand::CheckHealth(server)) => server.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(command(&["--check-health"]), "127.0.0.1:8080");
    assert_eq!(command(&["--check-health", "http://camera:81/x"]), "camera:81");
}

#[test]
fn names_and_letters_of_options_are_unique() {
    for (number, flag) in FLAGS.iter().enumerate() {
        assert!(FLAGS[..number].iter().all(|other| other.name != flag.name), "{}", flag.name);
        assert_ne!(flag.name, supervisor::FLAG);
    }
}

#[test]
fn a_camera_is_named_by_its_device_by_a_part_of_its_name_or_not_at_all() {
    let camera = |line: &str| match flags(line).unwrap().source {
        SourceChoice::Camera(camera) => camera,
        other => panic!("{other:?}"),
    };
    let at = |path: &str| CameraWish::At(path.into());
    for (line, wish) in [
        ("--camera", CameraWish::First),
        ("--camera --port 0", CameraWish::First),
        ("--camera=", CameraWish::First),
        ("--camera C920", CameraWish::Named("C920".into())),
        ("--camera=C920 --port 0", CameraWish::Named("C920".into())),
        ("--camera /dev/v4l/by-id/usb-1", at("/dev/v4l/by-id/usb-1")),
        ("/dev/video97", at("/dev/video97")),
        ("/dev/v4l/by-path/missing", at("/dev/v4l/by-path/missing")),
    ] {
        assert_eq!(camera(line).wish, wish, "{line}");
    }
    let size = Size { width: 1280, height: 720 };
    let camera = camera(
        "/dev/video97 --camera-size 1280x720@25 --camera-format h264 --control gain=-3 --control a_b=1",
    );
    let mode = ModeWish {
        size: Some(size),
        frames_per_second: Some(25),
        format: Some(CameraFormat::H264),
    };
    assert_eq!(camera.mode, mode);
    assert_eq!(camera.controls, [("gain".to_owned(), -3), ("a_b".to_owned(), 1)]);
    for line in [
        "--camera --exec x",
        "/dev/video97 --camera",
        "--camera --raw 64x64@25",
        "--camera --fps 25",
        "--camera --source-interval 5",
        "--camera-size 640x480",
        "--exec x --control gain=1",
        "--camera --camera-size 640",
        "--camera --camera-size 640x480@0",
        "--camera --camera-format jpeg",
        "--camera --control gain",
        "--camera --control gain=high",
        "--camera --control =1",
    ] {
        assert!(flags(line).is_err(), "{line}");
    }
}

#[test]
fn an_encoder_is_chosen_by_a_word_or_its_device() {
    let encoder = |line: &str| flags(line).map(|flags| flags.encoder);
    assert_eq!(encoder(""), Ok(EncoderWish::Auto));
    assert_eq!(encoder("--encoder software"), Ok(EncoderWish::Software));
    assert_eq!(encoder("--encoder /dev/video11"), Ok(EncoderWish::Device("/dev/video11".into())));
    assert!(encoder("--encoder hardware").is_err());
}
