//! The table.

use crate::measure::Both;
use std::fmt::Write as _;

/// In what a row is measured. Less is better in all.
#[derive(Clone, Copy, PartialEq)]
pub enum Unit {
    /// Microseconds of processor time; figures are nanoseconds.
    Time,
    /// Nanoseconds of processor time for each byte on the wire.
    TimePerByte,
    Bytes,
    Allocations,
    Messages,
}

/// What the project wants of a row.
#[derive(Clone, Copy)]
pub enum Goal {
    None,
    /// Theirs is so many times ours, or more.
    Times(f64),
    /// Ours is no more than this.
    AtMost(f64),
}

pub struct Row {
    pub what: String,
    pub peer: &'static str,
    pub unit: Unit,
    pub both: Both,
    pub goal: Goal,
    /// In what the sides differ.
    pub note: &'static str,
    /// Why sceau is behind, where it is.
    pub reason: &'static str,
}

impl Row {
    pub fn new(what: impl Into<String>, peer: &'static str, unit: Unit, both: Both) -> Self {
        Self { what: what.into(), peer, unit, both, goal: Goal::None, note: "", reason: "" }
    }

    pub fn goal(self, goal: Goal) -> Self {
        Self { goal, ..self }
    }

    pub fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    pub fn reason(self, reason: &'static str) -> Self {
        Self { reason, ..self }
    }

    pub fn is_behind(&self) -> bool {
        self.both[0].median > self.both[1].median
    }

    /// Whether it has a goal and meets it.
    pub fn meets(&self) -> Option<bool> {
        let [ours, theirs] = self.both;
        match self.goal {
            Goal::None => None,
            Goal::Times(times) => Some(theirs.median >= times * ours.median),
            Goal::AtMost(most) => Some(ours.median <= most),
        }
    }

    fn figure(&self, value: f64) -> String {
        match self.unit {
            Unit::Time => digits(value / 1e3),
            Unit::TimePerByte => digits(value),
            Unit::Bytes | Unit::Allocations | Unit::Messages => digits(value.round()),
        }
    }

    fn unit(&self) -> &'static str {
        match self.unit {
            Unit::Time => "µs",
            Unit::TimePerByte => "ns/B",
            Unit::Bytes => "bytes",
            Unit::Allocations => "allocations",
            Unit::Messages => "messages",
        }
    }

    fn goal_cell(&self) -> String {
        let goal = match self.goal {
            Goal::None => return String::new(),
            Goal::Times(times) => format!("{times:.2}x"),
            Goal::AtMost(most) => format!("at most {}", self.figure(most)),
        };
        let met = if self.meets() == Some(true) { "met" } else { "MISSED" };
        format!("{goal}: {met}")
    }

    fn remarks(&self) -> String {
        match (self.is_behind(), self.reason) {
            (false, _) => self.note.to_owned(),
            (true, "") => format!("{} Behind: not expected.", self.note).trim_start().to_owned(),
            (true, reason) => format!("{} Behind: {reason}", self.note).trim_start().to_owned(),
        }
    }

    fn cells(&self, number: usize) -> [String; 11] {
        let [ours, theirs] = self.both;
        let times = |ours: f64, theirs: f64| if ours > 0.0 { digits(theirs / ours) } else { "-".to_owned() };
        [
            number.to_string(),
            self.what.clone(),
            self.peer.to_owned(),
            self.unit().to_owned(),
            format!("{} / {}", self.figure(ours.min), self.figure(ours.median)),
            format!("{} / {}", self.figure(theirs.min), self.figure(theirs.median)),
            times(ours.median, theirs.median),
            times(ours.min, theirs.min),
            if self.is_behind() { "BEHIND" } else { "" }.to_owned(),
            self.goal_cell(),
            self.remarks(),
        ]
    }
}

/// Three digits, or all of a larger number, with commas.
fn digits(value: f64) -> String {
    if value < 100.0 && value.fract() != 0.0 {
        let places = if value < 1.0 {
            3
        } else if value < 10.0 {
            2
        } else {
            1
        };
        return format!("{value:.places$}");
    }
    let plain = format!("{value:.0}");
    let mut grouped = String::new();
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

const HEADS: [&str; 11] = [
    "#",
    "what",
    "peer",
    "unit",
    "sceau: min / median",
    "peer: min / median",
    "peer / sceau",
    "of minima",
    "",
    "goal",
    "notes",
];

/// All rows, aligned, or as Markdown.
pub fn table(rows: &[Row], markdown: bool) -> String {
    let mut lines = vec![HEADS.map(str::to_owned)];
    lines.extend(rows.iter().enumerate().map(|(at, row)| row.cells(at + 1)));
    let widths: [usize; 11] =
        std::array::from_fn(|at| lines.iter().map(|cells| cells[at].chars().count()).max().unwrap_or(0));
    let mut out = String::new();
    for (at, cells) in lines.iter().enumerate() {
        if markdown {
            writeln!(out, "| {} |", cells.join(" | ")).expect("a string takes all");
            if at == 0 {
                out.push_str("|---|---|---|---|---|---|---|---|---|---|---|\n");
            }
            continue;
        }
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        out.push_str(padded.join("  ").trim_end());
        out.push('\n');
    }
    out
}
