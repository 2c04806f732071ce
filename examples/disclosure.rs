//! What a relay learns from when envelopes are delivered: `cargo run --release --example disclosure -- [--users N]
//! [--trials N] [--epoch-messages N] [--max-messages N] [--delay EPOCHS] [--seed N]`.
//!
//! The statistical disclosure attack of "Improving Signal's Sealed Sender" (Martiny, Kaptchuk, Aviv, Roche, Wustrow;
//! NDSS 2021), in a model. The relay does not see who sends, only to which address each envelope goes, and when. Each
//! envelope for Bob opens an epoch, in which a receipt or a reply goes to whoever wrote to him; what else is delivered
//! then is chance. No cryptography runs here.
//!
//! The attacker is given much: it knows which envelopes are for Bob, only Alice writes to Bob, it has seen what is
//! usual before the two began to write to each other, and a figure is the best of several ways to count, chosen with
//! knowledge of the results. All trials of a row share one population; Alice and Bob are any two of it.

#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "an example: numbers of its own making")]

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::process::ExitCode;

/// Milliseconds. `--epoch-messages` is how many envelopes others get in so long a time.
const EPOCH: usize = 1_000;
/// The time in which Alice writes once, generously.
const PACE: usize = 60 * EPOCH;
/// Of 100 turns in a conversation, those that are answered.
const ANSWERED: usize = 60;
/// A receipt is under way for the first, and twice up to the second on top of it.
const LATENCY: (usize, usize) = (100, 150);
/// For how many epochs the relay has watched what is usual.
const WATCHED: usize = 2_000;
/// For how many messages more Alice has to stay on top.
const CONFIRMED: usize = 5;
const NEVER: usize = usize::MAX;

/// What the command line asks for.
struct Options {
    users: usize,
    trials: usize,
    epoch_messages: usize,
    max_messages: usize,
    /// The longest time by which a receipt is delayed, in epochs.
    delay: usize,
    seed: usize,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { users: 2_000, trials: 100, epoch_messages: 40, max_messages: 400, delay: 60, seed: 1 };
        while let Some(argument) = arguments.next() {
            let (place, range) = match argument.as_str() {
                "--users" => (&mut options.users, 10..=1_000_000),
                "--trials" => (&mut options.trials, 1..=10_000),
                "--epoch-messages" => (&mut options.epoch_messages, 1..=500),
                "--max-messages" => (&mut options.max_messages, 50..=1_000),
                "--delay" => (&mut options.delay, 1..=3_600),
                "--seed" => (&mut options.seed, 0..=usize::MAX),
                other => return Err(format!("unknown option {other}")),
            };
            let value = arguments.next().and_then(|value| value.parse().ok()).filter(|value| range.contains(value));
            *place =
                value.ok_or_else(|| format!("{argument} needs a number from {} to {}", range.start(), range.end()))?;
        }
        Ok(options)
    }
}

struct Dice(ChaCha20Rng);

impl Dice {
    /// For small ends, compared with 2^32.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.next_u32()).unwrap_or_default() % end
    }

    /// How long people take: from a shortest time through so many doublings of it, each as likely.
    fn pause(&mut self, shortest: usize, doublings: usize) -> usize {
        let scale = shortest << self.below(doublings);
        scale + self.below(scale)
    }
}

/// An envelope, delivered. The relay sees the time, and the address that stands for `to`.
#[derive(Clone, Copy)]
struct Envelope {
    time: usize,
    to: usize,
    pair: usize,
    /// Not a receipt. The relay does not see that.
    message: bool,
    /// The first of a turn, that is, the first in its mailbox.
    fresh: bool,
}

struct Trial {
    alice: usize,
    bob: usize,
    envelopes: Vec<Envelope>,
}

/// Everything that is delivered.
struct World<'a> {
    options: &'a Options,
    /// In milliseconds.
    length: usize,
    /// If there are receipts, their longest delay in epochs.
    receipts: Option<usize>,
    others: Vec<Envelope>,
    trials: Vec<Trial>,
}

impl<'a> World<'a> {
    fn new(options: &'a Options, receipts: Option<usize>, dice: &mut Dice) -> Self {
        let length = options.max_messages * PACE;
        let mut world = Self { options, length, receipts, others: Vec::new(), trials: Vec::new() };
        world.others = world.background(length / EPOCH * options.epoch_messages, dice);
        world.trials = (0..options.trials).map(|_| world.trial(dice)).collect();
        world
    }

    /// A conversation that the first of the two begins: turns of one to three messages, and the devices' receipts. A
    /// receipt is for all that has come since the one before. Returns when the last message is delivered.
    fn converse(
        &self,
        people: [usize; 2],
        pair: usize,
        start: usize,
        envelopes: &mut Vec<Envelope>,
        dice: &mut Dice,
    ) -> usize {
        let (mut time, mut from, mut covered) = (start, 0, [None; 2]);
        loop {
            let to = 1 - from;
            for later in 0..=dice.below(3) {
                if later > 0 {
                    time += dice.pause(EPOCH, 3);
                }
                envelopes.push(Envelope { time, to: people[to], pair, message: true, fresh: false });
                if let Some(delay) = self.receipts
                    && covered[to] < Some(time)
                {
                    let latency = LATENCY.0 + dice.below(LATENCY.1) + dice.below(LATENCY.1);
                    let time = time + latency + dice.below(delay * EPOCH + 1);
                    covered[to] = Some(time);
                    envelopes.push(Envelope { time, to: people[from], pair, message: false, fresh: false });
                }
            }
            if dice.below(100) >= ANSWERED {
                return time;
            }
            time += dice.pause(2 * EPOCH, 5);
            from = to;
        }
    }

    /// Sorts by time, what is beyond the end coming at the beginning, and marks the first envelope of every turn.
    fn settle(&self, mut envelopes: Vec<Envelope>, pairs: usize) -> Vec<Envelope> {
        for envelope in &mut envelopes {
            envelope.time %= self.length;
        }
        envelopes.sort_unstable_by_key(|envelope| (envelope.time, envelope.pair, envelope.to, envelope.message));
        let mut turn = vec![None; pairs];
        for envelope in &mut envelopes {
            envelope.fresh = turn[envelope.pair].replace(envelope.to) != Some(envelope.to);
        }
        envelopes
    }

    /// What others send to each other. Everyone has three to eight contacts, some dearer than others; the n-th account
    /// is chosen for one an n-th as often as the first.
    fn background(&self, amount: usize, dice: &mut Dice) -> Vec<Envelope> {
        let mut total = 0;
        let mut popularity = Vec::new();
        for rank in 1..=self.options.users {
            total += 1_000_000 / rank;
            popularity.push(total);
        }
        let (mut pairs, mut first_pair) = (Vec::new(), vec![0]);
        for user in 0..self.options.users {
            for _ in 0..3 + dice.below(6) {
                let drawn = dice.below(total);
                let contact = popularity.partition_point(|share| *share <= drawn);
                pairs.push([user, if contact == user { (user + 1) % self.options.users } else { contact }]);
            }
            first_pair.push(pairs.len());
        }
        let mut envelopes = Vec::new();
        while envelopes.len() < amount {
            let user = dice.below(self.options.users);
            let contacts = first_pair[user + 1] - first_pair[user];
            let pair = first_pair[user] + dice.below(contacts).min(dice.below(contacts));
            let first = dice.below(2);
            let people = [pairs[pair][first], pairs[pair][1 - first]];
            self.converse(people, pair, dice.below(self.length), &mut envelopes, dice);
        }
        self.settle(envelopes, pairs.len())
    }

    /// Alice writes to Bob, who answers or not, and again after a while.
    fn trial(&self, dice: &mut Dice) -> Trial {
        let alice = dice.below(self.options.users);
        let bob = (alice + 1 + dice.below(self.options.users - 1)) % self.options.users;
        let (mut envelopes, mut time, mut messages) = (Vec::new(), dice.below(self.length), 0);
        while messages < self.options.max_messages {
            let known = envelopes.len();
            time = self.converse([alice, bob], 0, time, &mut envelopes, dice) + dice.pause(16 * EPOCH, 4);
            messages += envelopes[known..].iter().filter(|envelope| envelope.message && envelope.to == bob).count();
        }
        Trial { alice, bob, envelopes: self.settle(envelopes, 1) }
    }
}

/// What is delivered after an instant, for so long.
fn after(envelopes: &[Envelope], start: usize, window: usize) -> &[Envelope] {
    let later = &envelopes[envelopes.partition_point(|envelope| envelope.time <= start)..];
    &later[..later.partition_point(|envelope| envelope.time <= start + window)]
}

/// How the relay counts.
#[derive(Clone, Copy)]
struct Counting {
    /// How long its epochs are.
    window: usize,
    /// Only the first envelope in a mailbox: the first answer to a turn is one.
    fresh_only: bool,
}

/// Points of every account, or connection: those have the number of their account here.
struct Scores {
    of: Vec<f64>,
    counted_in: Vec<usize>,
    epoch: usize,
}

impl Scores {
    fn new(users: usize) -> Self {
        Self { of: vec![0.0; users], counted_in: vec![0; users], epoch: 0 }
    }

    /// Whoever gets an envelope in an epoch gets points, once.
    fn count<'a>(&mut self, epoch: impl Iterator<Item = &'a Envelope>, how: Counting, points: impl Fn(usize) -> f64) {
        self.epoch += 1;
        for to in epoch.filter(|envelope| envelope.fresh || !how.fresh_only).map(|envelope| envelope.to) {
            if self.counted_in[to] != self.epoch {
                self.counted_in[to] = self.epoch;
                self.of[to] += points(to);
            }
        }
    }

    fn on_top(&self, trial: &Trial) -> bool {
        let less = |score: f64| score < self.of[trial.alice];
        self.of.iter().enumerate().all(|(who, score)| who == trial.alice || who == trial.bob || less(*score))
    }
}

/// After how many messages Alice is found: the median, nine in ten; and of a hundred trials, those that find nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    median: usize,
    most: usize,
    never: usize,
}

impl Found {
    const NOTHING: Self = Self { median: NEVER, most: NEVER, never: 100 };

    fn of(mut messages: Vec<usize>) -> Self {
        messages.sort_unstable();
        let at = |percent: usize| messages[(messages.len() * percent).div_ceil(100) - 1];
        let never = messages.iter().filter(|found| **found == NEVER).count();
        Self { median: at(50), most: at(90), never: (never * 100).div_ceil(messages.len()) }
    }

    fn cell(&self) -> String {
        format!("{} / {} / {} %", count(self.median), count(self.most), self.never)
    }
}

fn count(messages: usize) -> String {
    if messages == NEVER { "never".to_owned() } else { messages.to_string() }
}

/// What following the turns comes to, in thousandths.
#[derive(Default)]
struct Linked {
    /// Right guesses at the mailbox in which Alice is answered.
    next: usize,
    /// Turns over which one right guess follows another, on average over the turns to begin with.
    run: usize,
}

impl World<'_> {
    /// What an envelope in a target epoch says, by how usual one is: the logarithm of the likelihood ratio, if one
    /// target epoch in two has an answer.
    fn evidence(&self, how: Counting) -> Vec<f64> {
        let (mut usual, mut epochs) = (Scores::new(self.options.users), 0.0);
        for start in (0..self.length).step_by(self.length / WATCHED) {
            usual.count(after(&self.others, start, how.window).iter(), how, |_| 1.0);
            epochs += 1.0;
        }
        usual.of.iter().map(|seen| (1.0 + (epochs + 1.0) / (seen + 0.5)).ln()).collect()
    }

    /// After how many of her messages Alice is found: by the sum of evidence, or without it as in the paper, by the
    /// number of target epochs less that of as many others.
    fn identify(&self, trial: &Trial, how: Counting, evidence: Option<&[f64]>, dice: &mut Dice) -> usize {
        let mut scores = Scores::new(self.options.users);
        let (mut messages, mut on_top) = (0, 0);
        for target in trial.envelopes.iter().filter(|envelope| envelope.to == trial.bob) {
            let others = after(&self.others, target.time, how.window).iter();
            let epoch = others.chain(after(&trial.envelopes, target.time, how.window));
            if let Some(evidence) = evidence {
                scores.count(epoch, how, |account| evidence[account]);
            } else {
                scores.count(epoch, how, |_| 1.0);
                scores.count(after(&self.others, dice.below(self.length), how.window).iter(), how, |_| -1.0);
            }
            if target.message && messages < self.options.max_messages {
                messages += 1;
                on_top = if scores.on_top(trial) { on_top + 1 } else { 0 };
                if on_top > CONFIRMED {
                    return messages - CONFIRMED;
                }
            }
        }
        NEVER
    }

    /// The paper's attack, and the one with evidence; the best that each comes to.
    fn attack(&self, fresh_only: &[bool], dice: &mut Dice) -> [Found; 2] {
        let longest = self.receipts.unwrap_or_default().max(63) + 1;
        let mut best = [Found::NOTHING; 2];
        for window in [EPOCH / 2, EPOCH, 4 * EPOCH, 16 * EPOCH, longest * EPOCH] {
            for &fresh_only in fresh_only {
                let how = Counting { window, fresh_only };
                let evidence = self.evidence(how);
                for (best, evidence) in best.iter_mut().zip([None, Some(&evidence[..])]) {
                    let found = self.trials.iter().map(|trial| self.identify(trial, how, evidence, dice)).collect();
                    *best = Found::of(found).min(*best);
                }
            }
        }
        best
    }

    /// What a relay can do that sees mailboxes only. Each lives for one turn, so that none comes again for long enough
    /// to be counted; but which is the next one of the same conversation can be guessed. It gets its first envelope
    /// after the last one in this: the relay takes the one whose first comes nearest to when it expects it.
    fn follow(&self) -> Linked {
        let first: Vec<usize> = self.others.iter().filter(|other| other.fresh).map(|other| other.time).collect();
        let is_nearest = |last: Envelope, next: Envelope, delay: usize| {
            let expected = last.time + delay;
            let distance = next.time.abs_diff(expected);
            let from = first.partition_point(|time| *time <= last.time.max(expected.saturating_sub(distance)));
            first.get(from).is_none_or(|time| *time >= expected + distance)
        };
        let delays = [0, LATENCY.0 + LATENCY.1, EPOCH, 4 * EPOCH];
        let mut best = Linked::default();
        for (by_bob, by_alice) in delays.iter().flat_map(|one| delays.iter().map(move |other| (*one, *other))) {
            let (mut guesses, mut right, mut starts, mut runs) = (0, 0, 0, 0);
            for trial in &self.trials {
                let turns: Vec<&[Envelope]> = trial.envelopes.chunk_by(|_, next| !next.fresh).collect();
                let mut run = 0;
                for pair in turns.windows(2).rev() {
                    let (last, next) = (pair[0][pair[0].len() - 1], pair[1][0]);
                    let for_bob = last.to == trial.bob;
                    let hit = is_nearest(last, next, if for_bob { by_bob } else { by_alice });
                    run = if hit { run + 1 } else { 0 };
                    (starts, runs) = (starts + 1, runs + run);
                    (guesses, right) = (guesses + usize::from(for_bob), right + usize::from(for_bob && hit));
                }
            }
            best.next = best.next.max(right * 1_000 / guesses.max(1));
            best.run = best.run.max(runs * 1_000 / starts.max(1));
        }
        best
    }
}

fn run(options: &Options) {
    let modes = [("at once", Some(0)), ("delayed, bundled", Some(options.delay)), ("none", None)];
    let (mut accounts, mut mailboxes, mut connections) = (Vec::new(), Vec::new(), Vec::new());
    for (_, receipts) in modes {
        let seed = u64::try_from(options.seed).unwrap_or_default();
        let dice = &mut Dice(ChaCha20Rng::seed_from_u64(seed));
        let world = World::new(options, receipts, dice);
        accounts.push(world.attack(&[false], dice));
        if receipts.is_some() {
            mailboxes.push(world.follow());
            connections.push(world.attack(&[false, true], dice));
        }
    }
    let Options { users, trials, epoch_messages, max_messages, delay, seed } = options;
    println!("Alice's messages to Bob until she is found: median / nine trials in ten / trials in which she never is.");
    println!("{trials} trials of {max_messages} messages, {users} accounts, {epoch_messages} envelopes of others in");
    println!("{EPOCH} ms, receipts delayed by up to {delay} times as long, seed {seed}.\n");
    println!(
        "| the relay sees | receipts | the paper's attack | knowing what is usual | next mailbox | turns in a row |"
    );
    println!("|---|---|---|---|---|---|");
    let attacked = |view: &str, found: &[[Found; 2]]| {
        for ((receipts, _), [paper, usual]) in modes.iter().zip(found) {
            println!("| {view} | {receipts} | {} | {} | | |", paper.cell(), usual.cell());
        }
    };
    attacked("accounts", &accounts);
    for ((receipts, _), Linked { next, run }) in modes.iter().zip(&mailboxes) {
        let cells = format!("{}.{} % | {}.{:03}", next / 10, next % 10, run / 1_000, run % 1_000);
        println!("| mailboxes of one turn each | {receipts} | never (not in view) | never (not in view) | {cells} |");
    }
    attacked("mailboxes, and over which connection each is fetched", &connections);
    println!(
        "\nNot in view: where mailboxes are fetched one by one and anonymously, the relay sees no account to find."
    );
    println!(
        "That is so by construction, not measured. Measured is how often it guesses right in which mailbox Alice is"
    );
    println!("answered, her pseudonym for one turn, and over how many turns in a row it follows a conversation.\n");
    let median = |[paper, usual]: &[Found; 2]| format!("_median={}", count(paper.median.min(usual.median)));
    let keys = ["account_receipts_at_once", "account_delayed", "account_no_receipts"];
    let mut results: Vec<String> =
        keys.iter().zip(&accounts).map(|(key, found)| format!("{key}{}", median(found))).collect();
    results.push("mailbox_identified=0".to_owned());
    for (key, Linked { next, run }) in ["mailbox_at_once", "mailbox_delayed"].iter().zip(&mailboxes) {
        results.push(format!("{key}_next_permille={next} {key}_run_thousandths={run}"));
    }
    for (key, found) in ["connection_at_once", "connection_delayed"].iter().zip(&connections) {
        results.push(format!("{key}{}", median(found)));
    }
    println!("{}", results.join(" "));
}

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)) {
        Ok(options) => {
            run(&options);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
