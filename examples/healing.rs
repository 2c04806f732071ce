//! dev
use sceau_testkit::healing::*;
fn main() {
    for broken in [Broken::Dh, Broken::Kem] {
    for pattern in [Pattern::Lockstep, Pattern::Bursts, Pattern::Talker] {
        for texts in [Texts::Fixed(20), Texts::Fixed(100), Texts::Fixed(400), Texts::Mix] {
            for loss in [0, 10, 30] {
                let t = std::time::Instant::now();
                let s = Setting { pattern, texts, loss, padding: sceau::Padding::default(), broken };
                let f: Vec<usize> = (0..2).flat_map(|seed| measure(&s, seed, 60, 800)).collect();
                println!("{broken:?} {pattern:?} {texts:?} {loss}: {:?} n={} {:?}", median_and_worst(f.clone()), f.len(), t.elapsed());
            }
        }
    }}
}
