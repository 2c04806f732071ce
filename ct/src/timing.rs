//! Comparisons, measured: does it take longer when the first difference is at the end? Welch's t-test, as in dudect
//! (Reparaz, Balasch, Verbauwhede 2017).

use crate::rng::SecretRng;
use crate::world::{NOW, World};
use core::hint::black_box;
use rand_core::Rng;
use sceau::IdentityKeyPair;
use sceau::vault::Vault;
use sceau::verification::{QrCode, SafetyNumber};
use std::time::Instant;

/// Above it in every round, time depends on where the difference is. dudect's own bound for "definitely not constant".
const BOUND: f64 = 10.0;
/// What a comparison that stops early must show at least.
const LEAK: f64 = 50.0;
const ROUNDS: usize = 3;
const SAMPLES: usize = 30_000;

type Check = (&'static str, fn() -> f64);

/// Runs all; prints a line for each; how many are clean, of how many, and whether the control was caught.
pub fn run() -> (usize, usize, bool) {
    let checks: [Check; 6] = [
        ("qr-code", qr_code),
        ("safety-number", safety_number),
        ("vault-mac", vault_mac),
        ("attachment-mac", attachment_mac),
        ("envelope-header-mac", envelope_header_mac),
        ("envelope-body", envelope_body),
    ];
    let mut clean = 0;
    for (name, check) in checks {
        // Other work on the machine can look like a leak once; a leak looks like one each time.
        let (mut least, mut rounds) = (f64::INFINITY, 0);
        while rounds < ROUNDS && least > BOUND {
            least = least.min(check().abs());
            rounds += 1;
        }
        let good = least <= BOUND;
        clean += usize::from(good);
        println!("timing {name}: {} (|t| = {least:.1})", if good { "clean" } else { "LEAKS" });
    }
    let t = early_exit().abs();
    println!("timing leaky: {} (|t| = {t:.1})", if t > LEAK { "caught" } else { "NOT CAUGHT" });
    (clean, checks.len(), t > LEAK)
}

/// t of the times of `operation` on `bytes` with a difference at the one and at the other place, in random order. Each
/// sample is of `batch` runs.
fn compare(bytes: &[u8], places: [usize; 2], batch: u32, mut operation: impl FnMut(&[u8])) -> f64 {
    let mut rng = SecretRng::new(6);
    let mut samples = Vec::with_capacity(SAMPLES);
    // One buffer for both, so that both are equally far and equally aligned.
    let mut buffer = bytes.to_vec();
    for _ in 0..SAMPLES {
        let class = usize::from(rng.next_u32() & 1 == 1);
        buffer.copy_from_slice(bytes);
        buffer[black_box(places[class])] ^= 1;
        operation(black_box(&buffer));
        let start = Instant::now();
        for _ in 0..batch {
            operation(black_box(&buffer));
        }
        samples.push((class, start.elapsed().as_secs_f64()));
    }
    // The slowest tenth is interrupts.
    samples.sort_by(|one, other| one.1.total_cmp(&other.1));
    samples.truncate(SAMPLES / 10 * 9);
    welch(&samples)
}

fn welch(samples: &[(usize, f64)]) -> f64 {
    let [one, other] = [0, 1].map(|class| {
        let times = || samples.iter().filter(|sample| sample.0 == class).map(|sample| sample.1);
        let count = times().fold(0.0, |count, _| count + 1.0);
        let mean = times().sum::<f64>() / count;
        let variance = times().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    (one.0 - other.0) / (one.1 + other.1).sqrt()
}

fn fingerprints() -> [sceau::Fingerprint; 2] {
    let mut rng = SecretRng::new(7);
    [(); 2].map(|()| IdentityKeyPair::generate(&mut rng).fingerprint())
}

fn qr_code() -> f64 {
    let [one, other] = fingerprints();
    compare(&QrCode::encode(other, one), [1, 32], 40, |code| {
        black_box(QrCode::check(code, one, other).is_ok());
    })
}

/// Digits that are changed stay digits.
fn safety_number() -> f64 {
    let [one, other] = fingerprints();
    let number = SafetyNumber::of(one, other);
    compare(number.digits().as_bytes(), [0, 59], 4, |digits| {
        black_box(number.matches(core::str::from_utf8(digits).expect("digits")));
    })
}

fn vault_mac() -> f64 {
    let vault = Vault::new(&[7; 32]);
    let sealed = vault.seal(b"name", 1, &[8; 100], &mut SecretRng::new(8));
    compare(&sealed, [sealed.len() - 16, sealed.len() - 1], 3, |sealed| {
        black_box(vault.open(b"name", 1, sealed).is_ok());
    })
}

fn attachment_mac() -> f64 {
    let (key, sealed) = sceau::attachment::seal(&[8; 100], &mut SecretRng::new(9)).expect("short");
    compare(&sealed, [sealed.len() - 16, sealed.len() - 1], 2, |sealed| {
        black_box(sceau::attachment::open(&key, sealed).is_ok());
    })
}

/// The places of an envelope: 2 bytes, tag (16), header (56), its MAC (16), body.
fn envelope(places: impl Fn(usize) -> [usize; 2]) -> f64 {
    let mut world = World::confirmed();
    let envelope = world.seal(0, 1, b"to be damaged");
    let device = &mut world.devices[1];
    compare(&envelope, places(envelope.len()), 2, |envelope| {
        black_box(device.open(envelope, NOW).is_ok());
    })
}

fn envelope_header_mac() -> f64 {
    envelope(|_| [74, 89])
}

/// The header authenticates the body's hash.
fn envelope_body() -> f64 {
    envelope(|len| [90, len - 1])
}

fn early_exit() -> f64 {
    let expected = vec![7_u8; black_box(32)];
    compare(&expected, [0, 31], 40, |bytes| {
        black_box(bytes.iter().zip(&expected).all(|(one, other)| black_box(*one) == *other));
    })
}
