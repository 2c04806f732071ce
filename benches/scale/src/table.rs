//! The tables on standard output.

use crate::clock::Times;
use crate::host;
use crate::relay;

/// Three digits, or all of a large number, its thousands apart.
fn digits(value: f64) -> String {
    match value {
        _ if value < 1.0 => format!("{value:.3}"),
        _ if value < 10.0 => format!("{value:.2}"),
        _ if value < 100.0 => format!("{value:.1}"),
        _ => whole(&format!("{value:.0}")),
    }
}

fn whole(number: &str) -> String {
    let mut grouped = String::new();
    for (place, digit) in number.chars().enumerate() {
        if place > 0 && (number.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn micros(times: &Times) -> String {
    format!("{} / {}", digits(times.min()), digits(times.median()))
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    println!("\n| {} |", head.join(" | "));
    println!("|{}", "---|".repeat(head.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}

fn count(row: &host::Row) -> String {
    whole(&row.count.to_string())
}

/// What a device with so many sessions, or groups, costs.
pub fn device(of: &str, rows: &[host::Row]) {
    println!("\nBytes for each of the {of}, in memory and stored; bytes that one message writes");
    let head = [
        of,
        "heap",
        "blocks",
        "heap after a restart",
        "the same, if spoken in",
        "stored",
        "records",
        "mailboxes",
        "opening writes",
        "sealing writes",
    ];
    let memory = |row: &host::Row| {
        let values = [
            row.heap_bytes,
            row.heap_blocks,
            row.restored_bytes,
            row.spoken_bytes,
            row.record_bytes,
            row.records,
            row.mailboxes,
            row.open_writes,
            row.seal_writes,
        ];
        [count(row)].into_iter().chain(values.map(digits)).collect()
    };
    table(&head, rows.iter().map(memory));

    println!("\nOne message, µs of CPU time, least / median");
    let head = [of, "open", "refuse forged", "refuse unknown", "seal", "store sealed"];
    let message = |row: &host::Row| {
        let times = [&row.open, &row.forged, &row.unknown, &row.seal, &row.sealed_store];
        [count(row)].into_iter().chain(times.map(micros)).collect()
    };
    table(&head, rows.iter().map(message));

    println!("\nThe whole device, µs of CPU time, least / median");
    let head = [of, "restore", "all records", "MB held for them", "maintain", "mailboxes", "owed"];
    let whole = |row: &host::Row| {
        vec![
            count(row),
            micros(&row.restore),
            micros(&row.export),
            digits(row.export_peak as f64 / 1e6),
            micros(&row.maintain),
            micros(&row.listen),
            micros(&row.owed),
        ]
    };
    table(&head, rows.iter().map(whole));
}

/// What a relay's index costs.
pub fn relay(rows: &[relay::Row]) {
    println!(
        "\nA relay's index: bytes for each mailbox that holds something; µs of CPU time, least / median; a second"
    );
    let head = [
        "mailboxes",
        "envelopes in each",
        "filled",
        "all moved once",
        "deliver",
        "delivered a second",
        "ask for an address",
        "asked a second",
        "longest delivery of 256 turns, ms",
    ];
    let row = |row: &relay::Row| {
        vec![
            whole(&row.mailboxes.to_string()),
            digits(row.envelopes),
            digits(row.filled_bytes),
            digits(row.churned_bytes),
            micros(&row.deliver),
            digits(1e6 / row.deliver.median()),
            micros(&row.fetch),
            digits(1e6 / row.fetch.median()),
            digits(row.longest / 1e3),
        ]
    };
    table(&head, rows.iter().map(row));
}
