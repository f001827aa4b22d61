//! Layouts with interleaved samples. All loops are over pairs of bytes as words, of which the compiler takes eight and
//! more at a time.

use crate::media::{Picture, Plane, Size};

fn first_of(pair: [u8; 2]) -> u8 {
    u16::from_le_bytes(pair) as u8
}

fn second_of(pair: [u8; 2]) -> u16 {
    u16::from_le_bytes(pair) >> 8
}

/// The first and the second bytes of all pairs.
pub fn split(pairs: &[u8]) -> [Vec<u8>; 2] {
    let (mut first, mut second) = (vec![0; pairs.len() / 2], vec![0; pairs.len() / 2]);
    split_into(pairs, &mut first, &mut second);
    [first, second]
}

fn split_into(pairs: &[u8], first: &mut [u8], second: &mut [u8]) {
    let pairs = pairs.as_chunks::<2>().0;
    first.iter_mut().zip(pairs).for_each(|(sample, pair)| *sample = first_of(*pair));
    second.iter_mut().zip(pairs).for_each(|(sample, pair)| *sample = second_of(*pair) as u8);
}

/// From [`Layout::Yuyv`](super::Layout::Yuyv). The chroma of two rows is averaged.
pub fn from_yuyv(bytes: &[u8], size: Size) -> Picture {
    let (width, half) = (size.width, size.width / 2);
    let mut luma = vec![0; width * size.height];
    let (mut us, mut vs) = (vec![0; luma.len() / 4], vec![0; luma.len() / 4]);
    // Cb and Cr of two rows, still interleaved.
    let mut means = vec![0; width];
    let row_pairs = bytes.chunks_exact(4 * width).zip(luma.chunks_exact_mut(2 * width));
    let chroma = us.chunks_exact_mut(half).zip(vs.chunks_exact_mut(half));
    for ((rows, luma), (us, vs)) in row_pairs.zip(chroma) {
        let rows = rows.as_chunks::<2>().0;
        luma.iter_mut().zip(rows).for_each(|(luma, pair)| *luma = first_of(*pair));
        let (upper, lower) = rows.split_at(width);
        for ((mean, upper), lower) in means.iter_mut().zip(upper).zip(lower) {
            *mean = ((second_of(*upper) + second_of(*lower) + 1) >> 1) as u8;
        }
        split_into(&means, us, vs);
    }
    let chroma = |samples| Plane { width: half, height: size.height / 2, samples };
    let y = Plane { width, height: size.height, samples: luma };
    Picture { y, u: chroma(us), v: chroma(vs) }
}
