//! Random histories of membership logs, and what the crate says of them after each operation, for a second implementation to
//! judge: `cargo run --release --example log_histories -- COUNT [FIRST]`. One JSON object a line, an operation each; an
//! operation without a `log` before it begins one.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a tool of the tests"
)]

use sceau_testkit::log_history::History;
use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string");
        text
    })
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let (count, first) = (arguments.next().unwrap_or(100), arguments.next().unwrap_or(0));
    let mut out = BufWriter::new(std::io::stdout().lock());
    for seed in first..first + count {
        let mut history = History::new(seed);
        writeln!(
            out,
            "{{\"log\":{seed},\"operation\":\"{}\",\"state\":{}}}",
            hex(&history.operations[0].1),
            history.state()
        )?;
        for _ in 0..60 {
            if let Some(i) = history.step() {
                writeln!(out, "{{\"operation\":\"{}\",\"state\":{}}}", hex(&history.operations[i].1), history.state())?;
            }
        }
    }
    out.flush()
}
