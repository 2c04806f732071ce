//! What groups of 2 to 10,000 members cost: `cargo run --release --example group_scale [-- LARGEST]`.
//!
//! One real founder and two real members, sampled; of the others only the bundles are real. Times are those of one run
//! of one device; bytes are those of all envelopes together. `docs/GROUPS.md` holds a table of a whole run.

#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "an example: numbers of its own making")]

use sceau::device::{Delivery, GroupChange, GroupCommitted};
use sceau::group::{GroupPolicy, Role};
use sceau::limits::MAX_GROUP_CHANGES;
use sceau::rand_core::{CryptoRng, Rng as _};
use sceau::{Device, Event, Fingerprint, GroupId, UnixTime};
use sceau_testkit::Disk;
use sceau_testkit::talk::done;
use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

const NOW: UnixTime = match UnixTime::from_secs(1_800_000_000) {
    Ok(now) => now,
    Err(_) => panic!("no clock shows it"),
};

/// What an operation took.
#[derive(Default)]
struct Cost {
    time: Duration,
    bytes: usize,
}

impl Cost {
    fn cell(&self) -> String {
        format!("{} / {}", short(self.time.as_secs_f64() * 1e6, &["µs", "ms", "s"]), size(self.bytes))
    }
}

fn short(mut value: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < units.len() {
        (value, unit) = (value / 1_000.0, unit + 1);
    }
    format!("{value:.3}").chars().take(4).collect::<String>().trim_end_matches('.').to_owned() + " " + units[unit]
}

#[allow(clippy::as_conversions, clippy::cast_precision_loss, reason = "three digits are shown")]
fn size(bytes: usize) -> String {
    short(bytes as f64, &["B", "kB", "MB", "GB"])
}

struct World {
    founder: Device,
    sampled: BTreeMap<Fingerprint, Device>,
    group: GroupId,
}

impl World {
    /// Gives the sampled members what is for them.
    fn hand_out(&mut self, committed: &GroupCommitted) {
        for Delivery { to, envelope, .. } in &committed.deliveries {
            if let Some(device) = self.sampled.get_mut(to)
                && let Ok(pending) = device.open(envelope, NOW)
            {
                done(pending);
                for ciphertext in &committed.attached {
                    if let Ok(pending) = device.take_attached(ciphertext, NOW) {
                        done(pending);
                    }
                }
            }
        }
    }

    /// Seals what is owed until nothing is; only the sealing is timed.
    fn pay(&mut self, first: GroupCommitted, cost: &mut Cost, rng: &mut dyn CryptoRng) -> Result<(), Box<dyn Error>> {
        let mut committed = first;
        while !committed.deliveries.is_empty() {
            let envelopes = committed.deliveries.iter().map(|delivery| &delivery.envelope);
            cost.bytes += envelopes.chain(&committed.attached).map(Vec::len).sum::<usize>();
            self.hand_out(&committed);
            let start = Instant::now();
            committed = done(self.founder.seal_group_owed(self.group, NOW, rng)?);
            cost.time += start.elapsed();
        }
        Ok(())
    }

    fn commit(&mut self, changes: &[GroupChange], rng: &mut dyn CryptoRng) -> Result<Cost, Box<dyn Error>> {
        let start = Instant::now();
        let committed = done(self.founder.commit_group(self.group, changes, NOW, rng)?);
        let mut cost = Cost { time: start.elapsed(), bytes: 0 };
        self.pay(committed, &mut cost, rng)?;
        Ok(cost)
    }

    /// The first message: with a chain for everyone.
    fn first(&mut self, rng: &mut dyn CryptoRng) -> Result<Cost, Box<dyn Error>> {
        let start = Instant::now();
        let ready = done(self.founder.prepare_group(self.group, NOW, rng)?);
        let mut cost = Cost { time: start.elapsed(), bytes: 0 };
        self.pay(ready, &mut cost, rng)?;
        let start = Instant::now();
        let sealed = done(self.founder.seal_group(self.group, &[7; 256], NOW, rng)?);
        cost.time += start.elapsed();
        cost.bytes += sealed.envelope.len();
        self.open(&sealed.envelope)?;
        Ok(cost)
    }

    /// Every sampled member reads it; the mean time.
    fn open(&mut self, envelope: &[u8]) -> Result<Duration, Box<dyn Error>> {
        let mut time = Duration::ZERO;
        for device in self.sampled.values_mut() {
            let start = Instant::now();
            let opened = done(device.open(envelope, NOW)?);
            time += start.elapsed();
            assert!(matches!(opened.event, Event::GroupMessage { .. }), "{:?}", opened.event);
        }
        Ok(time / u32::try_from(self.sampled.len())?)
    }
}

fn measure(members: usize) -> Result<(), Box<dyn Error>> {
    let mut rng = sceau_testkit::rng(u64::try_from(members)?);
    let mut founder = Device::generate(&mut rng);
    let (mut names, mut sampled) = (Vec::new(), BTreeMap::new());
    // One more, to be added later.
    for index in 1..=members {
        let mut device = Device::generate(&mut rng);
        let bundle = done(device.publish_prekeys(0, NOW, &mut rng)?).into_entry()?.take_bundle();
        names.push(done(founder.add_peer(&bundle, NOW)?));
        if index == 1 || index + 1 == members {
            sampled.insert(device.fingerprint(), device);
        }
    }
    let newcomer = names.pop().ok_or("no newcomer")?;
    let group = done(founder.create_group(GroupPolicy::default(), &mut rng)?);
    let mut world = World { founder, sampled, group };

    let mut create = Cost::default();
    for part in names.chunks(MAX_GROUP_CHANGES) {
        let adds: Vec<_> = part.iter().map(|name| GroupChange::Add(*name, Role::Member)).collect();
        let cost = world.commit(&adds, &mut rng)?;
        create = Cost { time: create.time + cost.time, bytes: create.bytes + cost.bytes };
    }
    let first = world.first(&mut rng)?;
    let rounds = 50;
    let (mut sealing, mut opening) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..rounds {
        let mut content = [0; 256];
        rng.fill_bytes(&mut content);
        let start = Instant::now();
        let sealed = done(world.founder.seal_group(group, &content, NOW, &mut rng)?);
        sealing += start.elapsed();
        assert!(sealed.deliveries.is_empty());
        opening += world.open(&sealed.envelope)?;
    }
    let add = if members < 10_000 {
        world.commit(&[GroupChange::Add(newcomer, Role::Member)], &mut rng)?.cell()
    } else {
        "-".to_owned()
    };
    // Not a sampled one, where there are others.
    let gone = names.iter().find(|name| !world.sampled.contains_key(*name)).copied();
    let (remove, after) = match gone {
        Some(gone) => {
            let remove = world.commit(&[GroupChange::Remove(gone)], &mut rng)?;
            (remove.cell(), world.first(&mut rng)?.cell())
        }
        None => ("-".to_owned(), "-".to_owned()),
    };
    let member = world.sampled.values().next().map_or(0, |device| Disk::of(device).size());
    println!(
        "| {members} | {} | {} | {} | {} | {add} | {remove} | {after} | {} | {} |",
        create.cell(),
        first.cell(),
        short(sealing.as_secs_f64() * 1e6 / f64::from(rounds), &["µs", "ms"]),
        short(opening.as_secs_f64() * 1e6 / f64::from(rounds), &["µs", "ms"]),
        size(Disk::of(&world.founder).size()),
        size(member),
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let largest: usize = std::env::args().nth(1).map_or(Ok(10_000), |argument| argument.parse())?;
    println!(
        "Time of one device / bytes of all envelopes. Create: welcomes in introductions. First message: its chain for"
    );
    println!("each member too. Stored: the records of the founder, and of one member.\n");
    println!(
        "| members | create | first message | steady | open | add one | remove one | first after that | stored | member |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for members in [2, 10, 100, 1_000, 10_000] {
        if members <= largest {
            measure(members)?;
        }
    }
    Ok(())
}
