//! The results: a table in Markdown, and a JSON document.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::figures::{Spread, short};
use crate::targets::{self, Target};

struct Row {
    part: &'static str,
    /// A stable name of the figure.
    key: &'static str,
    figure: String,
    unit: &'static str,
    /// The value that is compared with the target.
    value: f64,
    /// The value as it is shown.
    text: String,
    target: Target,
    note: String,
    samples: Vec<f64>,
}

pub struct Report {
    machine: String,
    quick: bool,
    part: &'static str,
    rows: Vec<Row>,
    failures: Vec<(&'static str, String)>,
    skipped: Vec<(&'static str, String)>,
}

impl Report {
    pub fn new(machine: String, quick: bool) -> Report {
        let (rows, failures, skipped) = (Vec::new(), Vec::new(), Vec::new());
        Report { machine, quick, part: "", rows, failures, skipped }
    }

    /// The value of a figure that was measured before in this run.
    pub fn value(&self, key: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.key == key).map(|row| row.value)
    }

    /// Starts a part: figures that are added from now on belong to it.
    pub fn begin(&mut self, part: &'static str) {
        self.part = part;
    }

    /// Adds one number.
    pub fn add(&mut self, key: &'static str, figure: &str, value: f64, unit: &'static str) {
        self.add_spread(key, figure, &Spread::of(vec![value]), unit);
    }

    /// Adds the median of repetitions, with the smallest and the largest value.
    pub fn add_spread(
        &mut self,
        key: &'static str,
        figure: &str,
        spread: &Spread,
        unit: &'static str,
    ) {
        self.push(key, figure, spread, spread.median, spread.to_string(), unit);
    }

    /// Adds a distribution. Its 95th percentile is compared with the target.
    pub fn add_distribution(
        &mut self,
        key: &'static str,
        figure: &str,
        spread: &Spread,
        unit: &'static str,
    ) {
        let quantiles = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)];
        let text = quantiles.map(|(name, q)| format!("{name} {}", short(spread.quantile(q))));
        let figure = format!("{figure} ({} samples)", spread.count());
        self.push(key, &figure, spread, spread.quantile(0.95), text.join(", "), unit);
    }

    /// Adds a remark to the last figure.
    pub fn note(&mut self, note: String) {
        if let Some(row) = self.rows.last_mut() {
            row.note = note;
        }
    }

    fn push(
        &mut self,
        key: &'static str,
        figure: &str,
        spread: &Spread,
        value: f64,
        text: String,
        unit: &'static str,
    ) {
        self.rows.push(Row {
            part: self.part,
            key,
            figure: figure.to_owned(),
            unit,
            value,
            text,
            target: targets::of(key),
            note: String::new(),
            samples: spread.values().to_vec(),
        });
    }

    /// Records that the measurement of a part failed, and why.
    pub fn fail(&mut self, why: String) {
        self.failures.push((self.part, why));
    }

    /// Records that a part cannot be measured on this machine, and why.
    pub fn skip(&mut self, why: String) {
        self.skipped.push((self.part, why));
    }

    pub fn has_failed(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Markdown, as the README has it.
    pub fn table(&self) -> String {
        let mut cells = vec![["part", "figure", "measured", "target", ""].map(str::to_owned)];
        for row in &self.rows {
            let measured = format!("{} {}", row.text, row.unit);
            let result = self.result(row);
            let remark = [result, row.note.as_str()].join(" ").trim().to_owned();
            let figure = row.figure.clone();
            cells.push([row.part.into(), figure, measured, row.target.text(), remark]);
        }
        let width = |column: usize| cells.iter().map(|r| r[column].chars().count()).max();
        let widths: Vec<usize> = (0..5).map(|column| width(column).unwrap_or(0)).collect();
        let mut table = format!("{}\n\n", self.heading());
        for (index, row) in cells.iter().enumerate() {
            let padded: Vec<String> =
                row.iter().zip(&widths).map(|(c, w)| format!("{c:<w$}")).collect();
            table += &format!("| {} |\n", padded.join(" | "));
            if index == 0 {
                let rules: Vec<String> = widths.iter().map(|w| "-".repeat(*w)).collect();
                table += &format!("| {} |\n", rules.join(" | "));
            }
        }
        for (part, why) in &self.skipped {
            table += &format!("\n{part}: not measured, {why}");
        }
        for (part, why) in &self.failures {
            table += &format!("\n{part}: FAILED, {why}");
        }
        table + "\n"
    }

    /// Writes the JSON document, and returns its path.
    pub fn write(&self) -> io::Result<PathBuf> {
        let directory = directory();
        fs::create_dir_all(&directory)?;
        let path = directory.join("results.json");
        fs::write(&path, format!("{:#}\n", self.document()))?;
        Ok(path)
    }

    fn heading(&self) -> String {
        let mode = if self.quick { "Quick run, for correctness only" } else { "Measured" };
        format!("{mode} on {}", self.machine)
    }

    fn result(&self, row: &Row) -> &'static str {
        match row.target.is_met(row.value) {
            Some(_) if self.quick => "",
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        }
    }

    fn document(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(|row| self.entry(row)).collect();
        let pairs = |list: &[(&'static str, String)]| {
            let entries = list.iter().map(|(part, why)| ((*part).to_owned(), json!(why)));
            Value::Object(entries.collect::<Map<_, _>>())
        };
        json!({
            "machine": self.machine,
            "quick": self.quick,
            "figures": rows,
            "failed": pairs(&self.failures),
            "not_measured": pairs(&self.skipped),
        })
    }

    fn entry(&self, row: &Row) -> Value {
        let (bound, limit) = match row.target {
            Target::None => (Value::Null, Value::Null),
            Target::AtMost(limit) => (json!("at most"), json!(limit)),
            Target::AtLeast(limit) => (json!("at least"), json!(limit)),
        };
        json!({
            "part": row.part,
            "key": row.key,
            "figure": row.figure,
            "unit": row.unit,
            "value": row.value,
            "samples": row.samples,
            "target": limit,
            "target_is": bound,
            "met": if self.quick { None } else { row.target.is_met(row.value) },
            "note": row.note,
        })
    }
}

/// The directory for all files that a run writes.
pub fn directory() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    target.parent().map_or(target.clone(), |parent| parent.join("bench"))
}
