//! The reference trajectory of the ball.

/// The reference centres; index 0 is frame 1.
pub fn trajectory() -> Vec<(f64, f64)> {
    let centre = |line: &str| {
        let mut fields = line.split(',').skip(1).map(|n| n.parse().unwrap());
        (fields.next().unwrap(), fields.next().unwrap())
    };
    include_str!("../ball/trajectory.csv").lines().skip(1).map(centre).collect()
}

const RADIUS: f64 = 20.0;

/// The centre of the disc along one axis, from its first and last pixel. An edge of the picture may
/// cut off a part of the disc.
pub fn middle(first: f64, last: f64, length: f64) -> f64 {
    match (first <= 0.0, last >= length - 1.0) {
        (true, _) => last - RADIUS,
        (_, true) => first + RADIUS,
        _ => (first + last) / 2.0,
    }
}

/// The frame numbers of consecutive observed centres. Each centre may be off by one pixel, and up to
/// `most_skipped` frames may be missing between two of them. The ball may pass a point twice, so
/// every start frame is tried.
pub fn follow(seen: &[(f64, f64)], most_skipped: usize) -> Result<Vec<usize>, String> {
    let reference = trajectory();
    let near = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).abs() <= 1.0 && (a.1 - b.1).abs() <= 1.0;
    let mut furthest = 0;
    for start in 0..reference.len() {
        let mut frames = Vec::new();
        let mut next = start;
        for centre in seen {
            let window = if frames.is_empty() { 0 } else { most_skipped };
            let candidates = next..=(next + window).min(reference.len() - 1);
            let Some(frame) = candidates.into_iter().find(|f| near(reference[*f], *centre)) else {
                break;
            };
            frames.push(frame + 1);
            next = frame + 1;
            if next == reference.len() {
                break;
            }
        }
        if frames.len() == seen.len() {
            return Ok(frames);
        }
        furthest = furthest.max(frames.len());
    }
    Err(format!("off the trajectory after {furthest} of {} frames: {seen:?}", seen.len()))
}
