//! The same bytes, cut up in different ways.

use std::fmt::Debug;

/// Runs `raw` in one piece, in two pieces split at every point, and byte by byte, and checks that what
/// comes of it is the same.
pub fn run_in_every_way<T: PartialEq + Debug>(
    name: &str,
    raw: &[u8],
    run: impl Fn(Vec<&[u8]>) -> T,
) -> T {
    let whole = run(vec![raw]);
    assert_eq!(run(raw.chunks(1).collect()), whole, "{name}: byte by byte");
    // Every point of a long text would take minutes. Both of its ends and a stride that reaches every
    // alignment take less.
    let is_long = raw.len() > 1024;
    for at in
        (0..raw.len()).filter(|at| !is_long || *at < 64 || raw.len() - at < 64 || at % 331 == 0)
    {
        let (first, second) = raw.split_at(at);
        assert_eq!(run(vec![first, second]), whole, "{name}: cut at {at}");
    }
    whole
}
