//! The index of a relay that delivers to mailboxes: from an address to the ids of the envelopes that wait there. Knows
//! nothing else of the relay: no network, no envelopes, no disk.

use crate::clock::{Effort, Times};
use crate::heap;
use chacha20::ChaCha20Rng;
use sceau::rand_core::Rng as _;
use std::collections::HashMap;

type Address = [u8; 32];

/// Addresses that a device asks for, for each session: the next chain's, the current one's and the previous one's.
const LISTENED: usize = 3;

/// Envelopes of one turn that wait together, at most; at least one.
const MOST_IN_TURN: u64 = 3;

/// Conversations that go on in one sample.
const BATCH: usize = 256;

/// The standard map with its keyed hash: senders choose addresses, and must not be able to choose colliding ones.
#[derive(Default)]
struct Index {
    mailboxes: HashMap<Address, Vec<u64>>,
    next: u64,
}

impl Index {
    /// An address becomes a mailbox with its first envelope.
    fn deliver(&mut self, address: Address) {
        self.mailboxes.entry(address).or_default().push(self.next);
        self.next += 1;
    }

    /// All that waits, oldest first; the mailbox is gone.
    fn fetch(&mut self, address: &Address) -> Vec<u64> {
        self.mailboxes.remove(address).unwrap_or_default()
    }
}

/// One line of the table.
pub struct Row {
    pub mailboxes: usize,
    /// Envelopes that wait in each.
    pub envelopes: f64,
    /// The index's bytes for each mailbox, when it was filled and after all have moved.
    pub filled_bytes: f64,
    pub churned_bytes: f64,
    pub deliver: Times,
    /// For each address that is asked for.
    pub fetch: Times,
    /// The longest delivery of [`BATCH`] turns while it was filled, as a whole: a map that grows moves all its entries.
    pub longest: f64,
}

fn address(rng: &mut ChaCha20Rng) -> Address {
    let mut address = [0; 32];
    rng.fill_bytes(&mut address);
    address
}

fn shuffle<T>(items: &mut [T], rng: &mut ChaCha20Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(last + 1, rng));
    }
}

fn below(end: usize, rng: &mut ChaCha20Rng) -> usize {
    usize::try_from(rng.next_u64() % end as u64).unwrap_or_default()
}

/// So many addresses, each as often as envelopes of one turn go there, in any order.
fn turns(addresses: &[Address], rng: &mut ChaCha20Rng) -> Vec<Address> {
    let mut to = Vec::new();
    for address in addresses {
        let envelopes = 1 + rng.next_u64() % MOST_IN_TURN;
        to.extend((0..envelopes).map(|_| *address));
    }
    shuffle(&mut to, rng);
    to
}

/// So many conversations, in each of which something waits at one address.
fn measure(count: usize, effort: Effort) -> Row {
    let mut rng = sceau_testkit::rng(5);
    let mut waiting: Vec<Address> = (0..count).map(|_| address(&mut rng)).collect();
    let mut index = Index::default();
    let mut filling = Times::with_capacity(count.div_ceil(BATCH));
    let before = heap::live();
    for part in waiting.chunks(BATCH) {
        let to = turns(part, &mut rng);
        filling.batch(1, || to.iter().for_each(|address| index.deliver(*address)));
    }
    let filled = heap::live() - before;
    let mut row = Row {
        mailboxes: count,
        envelopes: index.next as f64 / count as f64,
        filled_bytes: filled.bytes as f64 / count as f64,
        churned_bytes: 0.0,
        deliver: Times::default(),
        fetch: Times::default(),
        longest: filling.max(),
    };
    let batch = BATCH.min(count);
    for _ in 0..effort.rounds.max(count.div_ceil(batch)) {
        // Different ones: they come to the front.
        for place in 0..batch {
            let other = place + below(count - place, &mut rng);
            waiting.swap(place, other);
        }
        let part = &mut waiting[..batch];
        let mut asked: Vec<Address> = part.to_vec();
        asked.extend((0..batch * (LISTENED - 1)).map(|_| address(&mut rng)));
        shuffle(&mut asked, &mut rng);
        let fetched: usize = row.fetch.batch(asked.len(), || asked.iter().map(|at| index.fetch(at).len()).sum());
        assert!(fetched >= batch, "each has one at least");
        part.fill_with(|| address(&mut rng));
        let to = turns(part, &mut rng);
        row.deliver.batch(to.len(), || to.iter().for_each(|address| index.deliver(*address)));
    }
    assert_eq!(index.mailboxes.len(), count, "what is empty is gone");
    let before = heap::live();
    drop(index);
    row.churned_bytes = (before - heap::live()).bytes as f64 / count as f64;
    row
}

pub fn run(counts: &[usize], effort: Effort) -> Vec<Row> {
    let measure = |count: &usize| {
        eprintln!("{count} mailboxes");
        measure(*count, effort)
    };
    counts.iter().map(measure).collect()
}
