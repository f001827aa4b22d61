//! `--rotate`, `--mirror` and `--clock` in real Chromium: what is on the screen, pixel by pixel.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

use crate::support::chromium::{Chromium, Tab};
use crate::support::process::{Server, WAIT_LIMIT};
use crate::support::scripts::LIVE;

/// From the upper left corner, row by row.
const CORNERS: [Colour; 4] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]];
type Colour = [u8; 3];

/// The page's offer does not contain the header extension by which the browser rotates.
const WITHOUT_EXTENSION: &str = "const { createOffer } = RTCPeerConnection.prototype;
    RTCPeerConnection.prototype.createOffer = async function (...parameters) {
        const { type, sdp } = await createOffer.apply(this, parameters);
        return { type, sdp: sdp.replace(/a=extmap:\\d+ urn:3gpp:video-orientation\\r\\n/g, '') };
    };";
const VIEWPORT: (u32, u32) = (900, 600);

/// A command that writes a picture of 320x160 with a colour in each quarter.
fn quarters(output: &str) -> String {
    let colours = ["red", "lime", "blue", "white"];
    let inputs = colours.map(|colour| format!("color={colour}:s=160x80:r=30[{colour}];")).concat();
    format!(
        "exec ffmpeg -v error -re -f lavfi -i \"{inputs}[red][lime]hstack[up];[blue][white]hstack[down];\
         [up][down]vstack\" {output} -"
    )
}

fn y4m() -> String {
    quarters("-pix_fmt yuv420p -f yuv4mpegpipe")
}

fn h264() -> String {
    quarters("-pix_fmt yuv420p -c:v libx264 -preset ultrafast -bf 0 -g 30 -flush_packets 1 -f h264")
}

/// The corners after a rotation and then a mirroring.
fn expected(degrees: u32, is_mirrored: bool) -> [Colour; 4] {
    let turned = |[a, b, c, d]: [Colour; 4]| [c, a, d, b];
    let [a, b, c, d] = (0..degrees / 90).fold(CORNERS, |corners, _| turned(corners));
    if is_mirrored { [b, a, d, c] } else { [a, b, c, d] }
}

/// The colours of a screenshot at the corners of the picture, which fills the viewport in one direction, and
/// just outside of it at both ends of the other one.
fn on_screen(path: &Path, degrees: u32) -> ([Colour; 4], [Colour; 2]) {
    let mut reader =
        png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    let samples = info.color_type.samples();
    let (width, height) = (info.width as f64, info.height as f64);
    let at = |x: f64, y: f64| -> Colour {
        let at = samples * (y as usize * info.width as usize + x as usize);
        bytes[at..at + 3].try_into().unwrap()
    };
    let (wide, high) = if degrees.is_multiple_of(180) { (320.0, 160.0) } else { (160.0, 320.0) };
    let scale = f64::min(width / wide, height / high);
    let (half_width, half_height) = (scale * wide / 2.0, scale * high / 2.0);
    // Near the corners of the picture, but not where the page has its texts.
    let corner = |x: f64, y: f64| {
        at(width / 2.0 + x * 0.7 * half_width, height / 2.0 + y * 0.7 * half_height)
    };
    let corners = [corner(-1.0, -1.0), corner(1.0, -1.0), corner(-1.0, 1.0), corner(1.0, 1.0)];
    let outside = |side: f64| match half_width < half_height {
        true => at(width / 2.0 + side * (half_width + 8.0), height / 2.0),
        false => at(width / 2.0, height / 2.0 + side * (half_height + 8.0)),
    };
    (corners, [outside(-1.0), outside(1.0)])
}

fn is_near(is: Colour, should: Colour) -> bool {
    is.iter().zip(should).all(|(is, should)| is.abs_diff(should) <= 40)
}

/// The corners of a snapshot, and whether it lies on its side.
const SNAPSHOT: &str = "(async () => {
    const picture = new Image();
    picture.src = '/snapshot.jpg?' + Math.random();
    await picture.decode();
    const { naturalWidth: width, naturalHeight: height } = picture;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext('2d');
    context.drawImage(picture, 0, 0);
    const at = (x, y) => Array.from(context.getImageData(x * width, y * height, 1, 1).data.slice(0, 3));
    return [[at(0.2, 0.2), at(0.8, 0.2), at(0.2, 0.8), at(0.8, 0.8)], width < height];
})()";

fn open(chromium: &mut Chromium, server: &Server, script: &str) -> Tab {
    let tab = chromium.open_blank();
    chromium.prepare(&tab, script);
    chromium.set_viewport(&tab, VIEWPORT.0, VIEWPORT.1, false);
    chromium.navigate(&tab, &server.url());
    chromium.wait_for(&tab, LIVE);
    chromium.evaluate(&tab, "document.querySelector('#figures').hidden = true");
    tab
}

#[test]
fn a_picture_is_turned_once_whether_it_is_encoded_here_or_passed_on() {
    let mut chromium = Chromium::start();
    for (name, command, degrees, is_mirrored, script, page_rotates) in [
        ("encoded", y4m(), 90, true, "", false),
        ("browser-90", h264(), 90, true, "", false),
        ("browser-270", h264(), 270, false, "", false),
        ("page-90", h264(), 90, false, WITHOUT_EXTENSION, true),
        ("page-270", h264(), 270, true, WITHOUT_EXTENSION, true),
        ("page-180", h264(), 180, false, WITHOUT_EXTENSION, true),
    ] {
        let rotate = degrees.to_string();
        let mirror = is_mirrored.then_some("--mirror");
        let flags = ["--exec", &command, "--rotate", &rotate].into_iter().chain(mirror);
        let server = Server::start(&flags.collect::<Vec<_>>());
        server.wait_for("it runs", |stats| stats["source"]["state"] == "running");
        let tab = open(&mut chromium, &server, script);
        let corners = expected(degrees, is_mirrored);
        let end = Instant::now() + WAIT_LIMIT;
        loop {
            let path = chromium.screenshot(&tab, &format!("orientation-{name}.png"));
            let (shown, outside) = on_screen(&path, degrees);
            let is_framed = outside.iter().all(|it| !CORNERS[..3].iter().any(|c| is_near(*it, *c)));
            if is_framed && shown.iter().zip(corners).all(|(is, should)| is_near(*is, should)) {
                break;
            }
            assert!(Instant::now() < end, "{name}: {shown:?} in {outside:?}, not {corners:?}");
        }
        let rotation = chromium.evaluate(&tab, "document.querySelector('#page').dataset.rotation");
        let by_page = if page_rotates { degrees } else { 0 };
        assert_eq!(rotation, by_page.to_string(), "{name}: what the page does");
        let snapshot = chromium.evaluate(&tab, SNAPSHOT);
        let found: [Colour; 4] = serde_json::from_value(snapshot[0].clone()).unwrap();
        let is_right = found.iter().zip(corners).all(|(is, should)| is_near(*is, should));
        assert!(is_right, "{name}: the snapshot has {found:?}, not {corners:?}");
        assert_eq!(snapshot[1], json!(degrees % 180 == 90), "{name}: the size of the snapshot");
        chromium.close(&tab);
    }
}
