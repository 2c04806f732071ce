//! Two devices talk through a relay that must not learn who they are.
//!
//! `cargo run --release --example conversation -- FILE [--drop P] [--duplicate P] [--reorder P] [--tamper P]
//! [--restart P] [--seed N]`, P in percent. Without a FILE, README.md.
//!
//! The lines of the file are sent in alternating bursts. The relay drops, duplicates, holds back (by 1 to 64
//! deliveries) and damages envelopes; devices restart from what they have stored. At the end every line is accounted
//! for; the exit code says whether anything was accepted that should not have been, or lost that should not have been.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "an example: counters and indexes of its own making"
)]

use indicatif::{ProgressBar, ProgressStyle};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sceau::error::{OpenError, Stale};
use sceau::limits::MAX_CONTENT;
use sceau::prekey::Rotation;
use sceau::{Changes, Device, DirectoryEntry, Envelope, Event, Fingerprint, Notice, Record, RecordKey, Tag, UnixTime};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::process::ExitCode;

/// For how many seconds an application keeps an envelope that nobody recognised. Here a line takes one.
const KEEP_UNKNOWN: u64 = 600;

/// What the command line asks for. Percentages.
#[derive(Debug, Clone)]
struct Options {
    file: String,
    drop: f64,
    duplicate: f64,
    reorder: f64,
    tamper: f64,
    restart: f64,
    seed: u64,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            file: "README.md".into(),
            drop: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            tamper: 0.0,
            restart: 0.0,
            seed: 1,
        };
        while let Some(argument) = arguments.next() {
            let place = match argument.as_str() {
                "--drop" => &mut options.drop,
                "--duplicate" => &mut options.duplicate,
                "--reorder" => &mut options.reorder,
                "--tamper" => &mut options.tamper,
                "--restart" => &mut options.restart,
                "--seed" => {
                    let value = arguments.next().ok_or("--seed needs a number")?;
                    options.seed = value.parse().map_err(|_| format!("--seed {value}: not a number"))?;
                    continue;
                }
                other if other.starts_with('-') => return Err(format!("unknown option {other}")),
                file => {
                    options.file = file.into();
                    continue;
                }
            };
            let value = arguments.next().ok_or_else(|| format!("{argument} needs a percentage"))?;
            *place = value
                .parse()
                .ok()
                .filter(|percent| (0.0..=100.0).contains(percent))
                .ok_or_else(|| format!("{argument} {value}: not a percentage"))?;
        }
        Ok(options)
    }
}

/// A device, its store, and what its application keeps.
struct Party {
    name: &'static str,
    device: Device,
    store: BTreeMap<RecordKey, Vec<u8>>,
    directory: DirectoryEntry,
    unknown: Vec<Copy>,
    restarts: u64,
}

/// One copy of an envelope on its way.
struct Copy {
    to: usize,
    bytes: Vec<u8>,
    intact: bool,
    keep_until: UnixTime,
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Carried,
    Dropped,
    Tampered,
}

struct Line {
    from: usize,
    fate: Fate,
    reads: u32,
    mismatched: bool,
    copies_delivered: u64,
}

#[derive(Default)]
struct RelayView {
    envelopes: u64,
    introductions: u64,
    sizes: BTreeMap<usize, u64>,
    names_found: u64,
}

struct World {
    options: Options,
    rng: StdRng,
    now: UnixTime,
    parties: [Party; 2],
    /// By the delivery at which they are due, then by age.
    queue: BTreeMap<(u64, u64), Copy>,
    deliveries: u64,
    posted: u64,
    texts: Vec<Vec<u8>>,
    lines: Vec<Line>,
    by_tag: BTreeMap<Tag, usize>,
    relay: RelayView,
    sample: Vec<(String, String)>,
    tampered_accepted: u64,
    unexpected: BTreeSet<String>,
}

fn store_into(store: &mut BTreeMap<RecordKey, Vec<u8>>) -> impl FnOnce(&Changes) -> Result<(), Stale> {
    |changes| {
        let head = store.get(&RecordKey::HEAD).cloned();
        for record in changes.after(head.as_deref())? {
            match record {
                Record::Put(key, bytes) => store.insert(key, bytes.to_vec()),
                Record::Delete(key) => store.remove(&key),
            };
        }
        Ok(())
    }
}

impl Party {
    fn new(name: &'static str, now: UnixTime, rng: &mut StdRng) -> Result<Self, Box<dyn Error>> {
        let (mut device, mut store) = (Device::generate(rng), BTreeMap::new());
        let directory = device.publish_prekeys(10, now, rng)?.commit(store_into(&mut store))?.into_entry()?;
        Ok(Self { name, device, store, directory, unknown: Vec::new(), restarts: 0 })
    }
}

impl World {
    fn new(options: Options, texts: Vec<Vec<u8>>) -> Result<Self, Box<dyn Error>> {
        let mut rng = StdRng::seed_from_u64(options.seed);
        let now = sceau_testkit::talk::at(1_800_000_000);
        let parties = [Party::new("Alice", now, &mut rng)?, Party::new("Bob", now, &mut rng)?];
        Ok(Self {
            options,
            rng,
            now,
            parties,
            queue: BTreeMap::new(),
            deliveries: 0,
            posted: 0,
            texts,
            lines: Vec::new(),
            by_tag: BTreeMap::new(),
            relay: RelayView::default(),
            sample: Vec::new(),
            tampered_accepted: 0,
            unexpected: BTreeSet::new(),
        })
    }

    fn happens(&mut self, percent: f64) -> bool {
        self.rng.random_bool(percent / 100.0)
    }

    fn name(&self, party: usize) -> Fingerprint {
        self.parties[party].device.fingerprint()
    }

    /// Seals the next line and gives it to the relay.
    fn say(&mut self, from: usize) -> Result<(), Box<dyn Error>> {
        let to = 1 - from;
        let peer = self.name(to);
        let known = self.parties[from].device.peer(peer);
        if known.is_none_or(|known| known.session.is_none() && known.bundle_not_after.is_none()) {
            let bundle = self.parties[to].directory.take_bundle();
            let Party { device, store, .. } = &mut self.parties[from];
            device.add_peer(&bundle, self.now)?.commit(store_into(store))?;
        }
        let line = self.lines.len();
        let Party { device, store, .. } = &mut self.parties[from];
        let pending = device.seal(peer, &self.texts[line], self.now, &mut self.rng)?;
        let bytes = pending.commit(store_into(store))?;
        self.by_tag.insert(Envelope::parse(&bytes.envelope)?.tag(), line);
        let fate = self.post(to, bytes.envelope);
        self.lines.push(Line { from, fate, reads: 0, mismatched: false, copies_delivered: 0 });
        self.now = self.now.plus(1);
        Ok(())
    }

    /// The relay takes an envelope in, and does what it does to it.
    fn post(&mut self, to: usize, mut bytes: Vec<u8>) -> Fate {
        self.look(&bytes);
        if self.happens(self.options.drop) {
            return Fate::Dropped;
        }
        let fate = if self.happens(self.options.tamper) { Fate::Tampered } else { Fate::Carried };
        if fate == Fate::Tampered {
            let bit = self.rng.random_range(0..bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let copies = if self.happens(self.options.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let hold = if self.happens(self.options.reorder) { self.rng.random_range(1..=64) } else { 0 };
            let copy = Copy {
                to,
                bytes: bytes.clone(),
                intact: fate == Fate::Carried,
                keep_until: sceau_testkit::talk::at(0),
            };
            self.queue.insert((self.deliveries + hold, self.posted), copy);
            self.posted += 1;
        }
        fate
    }

    /// What a curious relay notes of an envelope.
    fn look(&mut self, bytes: &[u8]) {
        self.relay.envelopes += 1;
        self.relay.introductions += u64::from(bytes.get(1) == Some(&1));
        *self.relay.sizes.entry(bytes.len()).or_default() += 1;
        for party in &self.parties {
            let found = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
            // Looking for a name in each of many envelopes is slow; the first ones show it.
            if self.relay.envelopes <= 200 {
                let key = party.device.identity_key().encode();
                let names = found(party.device.fingerprint().as_bytes()) || found(&key[..32]) || found(&key[32..]);
                self.relay.names_found += u64::from(names);
            }
        }
        if self.sample.len() < 6 {
            let hex: String = bytes[..10].iter().map(|byte| format!("{byte:02x}")).collect();
            let kind = if bytes[1] == 1 { "introduction" } else { "sealed" };
            self.sample.push((format!("{hex}…  {:>5} bytes  {kind}", bytes.len()), String::new()));
        }
    }

    /// Delivers what is due; everything, at the end.
    fn deliver(&mut self, everything: bool) -> Result<(), Box<dyn Error>> {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > self.deliveries && !everything {
                break;
            }
            let mut copy = entry.remove();
            copy.keep_until = self.now.plus(KEEP_UNKNOWN);
            self.deliveries += 1;
            if self.happens(self.options.restart) {
                let party = usize::from(self.rng.random_bool(0.5));
                self.restart(party)?;
            }
            self.take(copy, true)?;
        }
        Ok(())
    }

    fn restart(&mut self, party: usize) -> Result<(), Box<dyn Error>> {
        let party = &mut self.parties[party];
        party.device = Device::restore(party.store.iter().map(|(key, bytes)| (*key, bytes)), sceau::Policy::default())?;
        party.restarts += 1;
        Ok(())
    }

    /// A device takes an envelope.
    fn take(&mut self, copy: Copy, first_time: bool) -> Result<(), Box<dyn Error>> {
        let line = Envelope::parse(&copy.bytes).ok().and_then(|envelope| self.by_tag.get(&envelope.tag()).copied());
        if first_time
            && copy.intact
            && let Some(line) = line
        {
            self.lines[line].copies_delivered += 1;
        }
        let now = self.now;
        let Party { device, store, .. } = &mut self.parties[copy.to];
        let opened = match device.open(&copy.bytes, now) {
            Ok(pending) => pending.commit(store_into(store))?,
            Err(error) => {
                return self.refused(copy, error);
            }
        };
        self.tampered_accepted += u64::from(!copy.intact);
        if let Event::Message { from, tag, content, .. } = opened.event {
            self.read(copy.to, from, tag, &content);
        }
        for notice in opened.notices {
            self.heed(copy.to, notice)?;
        }
        Ok(())
    }

    fn read(&mut self, reader: usize, from: Fingerprint, tag: Tag, content: &[u8]) {
        let author = self.parties[1 - reader].device.fingerprint();
        let Some(&number) = self.by_tag.get(&tag) else {
            self.unexpected.insert("a message that nobody sent".into());
            return;
        };
        let line = &mut self.lines[number];
        line.reads += 1;
        line.mismatched |= content != self.texts[number] || from != author || line.from != 1 - reader || line.reads > 1;
        if let Some((_, seen)) = self.sample.get_mut(number) {
            let text: String = String::from_utf8_lossy(content).chars().take(36).collect();
            *seen = format!("{} → {}: {text}", self.parties[1 - reader].name, self.parties[reader].name);
        }
    }

    /// What an application does with an envelope that did not open.
    fn refused(&mut self, copy: Copy, error: OpenError) -> Result<(), Box<dyn Error>> {
        let to = copy.to;
        match error {
            OpenError::Unknown => {
                self.parties[to].unknown.push(copy);
            }
            OpenError::TooFarAhead(_) => self.renew(to)?,
            OpenError::PreKeyGone if copy.intact => {
                self.unexpected.insert(format!("an intact envelope: {error}"));
            }
            OpenError::Violation(_) => {
                self.unexpected.insert(error.to_string());
            }
            _ => {}
        }
        Ok(())
    }

    fn heed(&mut self, party: usize, notice: Notice) -> Result<(), Box<dyn Error>> {
        match notice {
            Notice::Owed(id) => {
                let Party { device, store, .. } = &mut self.parties[party];
                let bytes = device.seal_owed(id, self.now, &mut self.rng)?.commit(store_into(store))?;
                self.post(1 - party, bytes.envelope);
            }
            Notice::RenewalDue(_) => self.renew(party)?,
            Notice::NewChain(_) => self.retry(party)?,
            Notice::FewPreKeys { .. } | Notice::IntroductionsHalfFull => {
                let Party { device, store, directory, .. } = &mut self.parties[party];
                if directory.one_time_left() < 5 {
                    let pending = device.rotate_prekeys(10, Rotation::IfDue, self.now, &mut self.rng)?;
                    directory.update(pending.commit(store_into(store))?)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn renew(&mut self, party: usize) -> Result<(), Box<dyn Error>> {
        let peer = self.name(1 - party);
        let bundle = self.parties[1 - party].directory.take_bundle();
        let Party { device, store, .. } = &mut self.parties[party];
        Ok(device.renew(peer, &bundle, self.now, &mut self.rng)?.commit(store_into(store))?)
    }

    /// Tries once more what nobody recognised, and forgets what was kept long enough.
    fn retry(&mut self, party: usize) -> Result<(), Box<dyn Error>> {
        for copy in std::mem::take(&mut self.parties[party].unknown) {
            if copy.keep_until >= self.now {
                self.take(copy, false)?;
            }
        }
        Ok(())
    }

    fn talk(&mut self, bar: &ProgressBar) -> Result<(), Box<dyn Error>> {
        let mut from = 0;
        while self.lines.len() < self.texts.len() {
            let burst = self.rng.random_range(1..=8).min(self.texts.len() - self.lines.len());
            for _ in 0..burst {
                self.say(from)?;
                self.deliver(false)?;
                bar.inc(1);
            }
            from = 1 - from;
        }
        self.deliver(true)?;
        for party in 0..2 {
            self.retry(party)?;
        }
        Ok(())
    }
}

fn report(world: &World) -> bool {
    println!("what the relay saw                                   what the people saw");
    for (seen, read) in &world.sample {
        println!("{seen:<52} {}", if read.is_empty() { "(nothing)" } else { read });
    }
    let relay = &world.relay;
    let sizes: Vec<String> = relay.sizes.iter().map(|(size, count)| format!("{count} of {size}")).collect();
    println!("…");
    println!("the relay carried {} envelopes, {} of them introductions", relay.envelopes, relay.introductions);
    println!("their sizes: {} bytes", sizes.join(", "));
    println!("names found in the first 200 of them: {}", relay.names_found);
    for party in &world.parties {
        let bytes: usize = party.store.values().map(Vec::len).sum();
        println!("{}: {} restarts, {} records of {bytes} bytes", party.name, party.restarts, party.store.len());
    }
    let [alice, bob] = &world.parties;
    if let Some(session) = alice.device.peer(bob.device.fingerprint()).and_then(|peer| peer.session) {
        let (own, peers) = session.kem_epochs;
        let epochs = u64::from(own) + u64::from(peers);
        let each = relay.envelopes.checked_div(epochs).map_or("-".into(), |each| each.to_string());
        println!("KEM secrets mixed into the session: {own} + {peers}, one in {each} envelopes");
    }
    for unexpected in &world.unexpected {
        println!("unexpected: {unexpected}");
    }
    let count = |condition: &dyn Fn(&Line) -> bool| world.lines.iter().filter(|line| condition(line)).count();
    let mismatched = count(&|line| line.mismatched);
    let delivered = count(&|line| line.reads > 0 && !line.mismatched);
    let dropped = count(&|line| line.fate == Fate::Dropped);
    let tampered = count(&|line| line.fate == Fate::Tampered && line.reads == 0);
    let unreadable = count(&|line| line.fate == Fate::Carried && line.reads == 0);
    let refused: u64 = world
        .lines
        .iter()
        .filter(|line| line.reads > 0)
        .map(|line| line.copies_delivered - u64::from(line.reads))
        .sum();
    println!(
        "sent={} delivered={delivered} dropped_by_relay={dropped} duplicates_refused={refused} tampered={tampered} \
         tampered_accepted={} mismatched={mismatched} unreadable={unreadable}",
        world.lines.len(),
        world.tampered_accepted,
    );
    let accounted = delivered + dropped + tampered + mismatched + unreadable == world.lines.len();
    accounted && world.tampered_accepted == 0 && mismatched == 0 && unreadable == 0 && world.unexpected.is_empty()
}

fn run() -> Result<bool, Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1))?;
    let text = std::fs::read(&options.file).map_err(|error| format!("{}: {error}", options.file))?;
    let lines = text.split(|byte| *byte == b'\n');
    // A line longer than a message can be is sent in parts.
    let mut texts: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        texts.extend(line.chunks(MAX_CONTENT).map(Vec::from));
        if line.is_empty() {
            texts.push(Vec::new());
        }
    }
    // The end of the last line is not a line.
    if texts.last().is_some_and(Vec::is_empty) {
        texts.pop();
    }
    let bar = if texts.len() > 2_000 {
        let bar = ProgressBar::new(u64::try_from(texts.len())?);
        bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} lines, {eta} left")?);
        bar
    } else {
        ProgressBar::hidden()
    };
    let mut world = World::new(options, texts)?;
    world.talk(&bar)?;
    bar.finish_and_clear();
    Ok(report(&world))
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
