//! Statistics: spreads and slopes.

use std::fmt;

/// A sample in ascending order.
#[derive(Debug, Clone)]
pub struct Spread {
    sorted: Vec<f64>,
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let mut spread =
            Spread { sorted: values, least: f64::NAN, median: f64::NAN, most: f64::NAN };
        spread.median = spread.quantile(0.5);
        (spread.least, spread.most) = (spread.quantile(0.0), spread.quantile(1.0));
        spread
    }

    /// Interpolates linearly. NaN for an empty sample.
    pub fn quantile(&self, quantile: f64) -> f64 {
        let Some(last) = self.sorted.len().checked_sub(1) else { return f64::NAN };
        let at = quantile * last as f64;
        let (below, above) =
            (self.sorted[at as usize], self.sorted[(at.ceil() as usize).min(last)]);
        below + (above - below) * at.fract()
    }

    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    pub fn values(&self) -> &[f64] {
        &self.sorted
    }

    pub fn scaled(&self, factor: f64) -> Spread {
        Spread::of(self.sorted.iter().map(|value| value * factor).collect())
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count() == 1 {
            return f.write_str(&short(self.median));
        }
        write!(f, "{} ({}–{})", short(self.median), short(self.least), short(self.most))
    }
}

/// With about three significant digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size.is_nan() => "–".into(),
        0.0 => "0".into(),
        size if size >= 100.0 => grouped(value.round() as i64),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

/// The slope of the least-squares line through the points.
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|p| p.0).sum::<f64>() / count;
    let mean_y = points.iter().map(|p| p.1).sum::<f64>() / count;
    let covariance: f64 = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum();
    let variance: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    covariance / variance
}
