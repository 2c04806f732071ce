//! A messenger, as small as it can be and whole: what an application does around sceau, with nothing hidden.
//!
//! `cargo run --release --example messenger` plays a story: three people meet, write, restart, found a group, send a file,
//! remove someone; one loses all but its identity and comes back. It says what each is shown, and fails if that is not what
//! it should be.
//!
//! Real are: the order of things (stored before sent), the box of what is to be sent, envelopes that are kept and tried again,
//! what notices ask for. In memory are the database and the server.

use sceau::device::{Delivery, GroupChange, GroupEvent, Unreachable};
use sceau::error::{OpenError, Stale};
use sceau::group::{GroupPolicy, Role};
use sceau::{
    Attachment, Changes, Device, DirectoryEntry, Event, Fingerprint, GroupId, IdentityKeyPair, MailboxAddress, Notice,
    Opened, PreKeyBundle, PreKeyUpload, Record, RecordKey, UnixTime, attachment,
};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

type Res<T> = Result<T, Box<dyn Error>>;

/// Envelopes that nobody recognises are kept for so long, in seconds.
const KEPT: u64 = 14 * 86_400;

/// Where envelopes lie: with the uploads of the directory, or in a mailbox whose owner nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Introductions(Fingerprint),
    Mailbox([u8; 32]),
}

impl Place {
    fn of(mailbox: Option<MailboxAddress>, peer: Fingerprint) -> Self {
        mailbox.map_or(Self::Introductions(peer), |address| Self::Mailbox(*address.as_bytes()))
    }
}

/// What leaves a device.
#[derive(Debug)]
enum Outgoing {
    Upload(Vec<u8>),
    Ciphertext(Vec<u8>),
    Envelope(Place, Vec<u8>),
}

/// Directory, relay and store of ciphertexts. Trusted with nothing.
#[derive(Debug, Default)]
struct Server {
    uploads: BTreeMap<Fingerprint, DirectoryEntry>,
    envelopes: BTreeMap<Place, Vec<Vec<u8>>>,
    ciphertexts: BTreeMap<[u8; 32], Vec<u8>>,
}

impl Server {
    fn receive(&mut self, outgoing: Outgoing) -> Res<()> {
        match outgoing {
            Outgoing::Upload(bytes) => {
                let upload = PreKeyUpload::decode(&bytes)?;
                let owner = upload.identity().fingerprint();
                match self.uploads.get_mut(&owner) {
                    Some(held) => drop(held.update(upload)?),
                    None => drop(self.uploads.insert(owner, upload.into_entry()?)),
                }
            }
            Outgoing::Ciphertext(bytes) => drop(self.ciphertexts.insert(attachment::name(&bytes), bytes)),
            Outgoing::Envelope(place, bytes) => self.envelopes.entry(place).or_default().push(bytes),
        }
        Ok(())
    }

    fn bundle(&mut self, of: Fingerprint) -> Res<PreKeyBundle> {
        Ok(self.uploads.get_mut(&of).ok_or("nothing published")?.take_bundle())
    }
}

/// One device's database. Each commit below is one transaction.
#[derive(Debug, Default)]
struct Database {
    records: BTreeMap<[u8; 17], Vec<u8>>,
    to_send: Vec<Outgoing>,
    /// What people see.
    shown: Vec<String>,
    /// What nobody recognised yet, and since when.
    kept: Vec<(UnixTime, Vec<u8>)>,
    /// Up to where each place was read.
    read: BTreeMap<Place, usize>,
}

impl Database {
    fn apply(&mut self, changes: &Changes) -> Result<(), Stale> {
        let head = self.records.get(RecordKey::HEAD.as_bytes()).cloned();
        for record in changes.after(head.as_deref())? {
            match record {
                Record::Put(key, bytes) => self.records.insert(*key.as_bytes(), bytes.to_vec()),
                Record::Delete(key) => self.records.remove(key.as_bytes()),
            };
        }
        Ok(())
    }

    fn deliver(&mut self, attached: &[Vec<u8>], deliveries: &[Delivery]) {
        self.to_send.extend(attached.iter().cloned().map(Outgoing::Ciphertext));
        for Delivery { to, mailbox, envelope, .. } in deliveries {
            self.to_send.push(Outgoing::Envelope(Place::of(*mailbox, *to), envelope.clone()));
        }
    }
}

struct App {
    device: Device,
    database: Database,
    now: UnixTime,
}

impl App {
    fn start(device: Device, server: &mut Server, now: UnixTime) -> Res<Self> {
        let mut app = Self { device, database: Database::default(), now };
        app.publish()?;
        app.send(server)?;
        Ok(app)
    }

    fn restart(&mut self) -> Res<()> {
        let records = self.database.records.iter().map(|(key, bytes)| (RecordKey::from_bytes(*key), bytes));
        self.device = Device::restore(records, sceau::Policy::default())?;
        Ok(())
    }

    fn me(&self) -> Fingerprint {
        self.device.fingerprint()
    }

    fn publish(&mut self) -> Res<()> {
        let Self { device, database, now } = self;
        let pending = device.publish_prekeys(20, *now, &mut rand::rng())?;
        pending.commit_with(|changes, upload| {
            database.apply(changes)?;
            database.to_send.push(Outgoing::Upload(upload.encode()));
            Ok::<(), Stale>(())
        })?;
        Ok(())
    }

    /// Empties the box; what is left after a crash goes next time.
    fn send(&mut self, server: &mut Server) -> Res<()> {
        for outgoing in self.database.to_send.drain(..) {
            server.receive(outgoing)?;
        }
        Ok(())
    }

    fn meet(&mut self, server: &mut Server, peer: Fingerprint) -> Res<()> {
        let bundle = server.bundle(peer)?;
        if bundle.identity().fingerprint() != peer {
            return Err("the directory gave someone else's bundle".into());
        }
        let Self { device, database, now } = self;
        device.add_peer(&bundle, *now)?.commit(|changes| database.apply(changes))?;
        Ok(())
    }

    fn write(&mut self, server: &mut Server, peer: Fingerprint, text: &str) -> Res<()> {
        if self.device.peer(peer).is_none() {
            self.meet(server, peer)?;
        }
        let Self { device, database, now } = self;
        let place = Place::of(device.mailbox(peer), peer);
        device.seal(peer, text.as_bytes(), *now, &mut rand::rng())?.commit_with(|changes, envelope| {
            database.apply(changes)?;
            database.to_send.push(Outgoing::Envelope(place, envelope.clone().envelope));
            Ok::<(), Stale>(())
        })?;
        self.send(server)
    }

    /// What single peers are owed: answers, ranks, introductions of renewals. A real messenger waits a random while.
    fn pay_peers(&mut self) -> Res<()> {
        for (id, peer) in self.device.owed(self.now).collect::<Vec<_>>() {
            let Self { device, database, now } = self;
            device.seal_owed(id, *now, &mut rand::rng())?.commit_with(|changes, sealed| {
                database.apply(changes)?;
                database.to_send.push(Outgoing::Envelope(Place::of(sealed.mailbox, peer), sealed.envelope.clone()));
                Ok::<(), Stale>(())
            })?;
        }
        Ok(())
    }

    fn found(&mut self, server: &mut Server, members: &[Fingerprint]) -> Res<GroupId> {
        let Self { device, database, .. } = self;
        let group =
            device.create_group(GroupPolicy::default(), &mut rand::rng())?.commit(|changes| database.apply(changes))?;
        let adds: Vec<_> = members.iter().map(|name| GroupChange::Add(*name, Role::Member)).collect();
        self.change(server, group, &adds)?;
        Ok(group)
    }

    fn change(&mut self, server: &mut Server, group: GroupId, changes: &[GroupChange]) -> Res<()> {
        for change in changes {
            if let GroupChange::Add(peer, _) = change
                && self.device.peer(*peer).is_none()
            {
                self.meet(server, *peer)?;
            }
        }
        let Self { device, database, now } = self;
        let pending = device.commit_group(group, changes, *now, &mut rand::rng())?;
        let committed = pending.commit_with(|changes, committed| {
            database.apply(changes)?;
            database.deliver(&committed.attached, &committed.deliveries);
            Ok::<(), Stale>(())
        })?;
        self.reach(server, group, &committed.unreachable)?;
        self.prepare(server, group)
    }

    /// This device's chain, for whoever lacks it.
    fn prepare(&mut self, server: &mut Server, group: GroupId) -> Res<()> {
        let Self { device, database, now } = self;
        let ready = device.prepare_group(group, *now, &mut rand::rng())?.commit_with(|changes, ready| {
            database.apply(changes)?;
            database.deliver(&ready.attached, &ready.deliveries);
            Ok::<(), Stale>(())
        })?;
        self.reach(server, group, &ready.unreachable)?;
        self.pay(server, group)
    }

    /// Members for whom a bundle is needed.
    fn reach(&mut self, server: &mut Server, group: GroupId, unreachable: &[Unreachable]) -> Res<()> {
        for missed in unreachable {
            self.meet(server, missed.peer)?;
        }
        if unreachable.is_empty() { self.send(server) } else { self.pay(server, group) }
    }

    /// What members are owed, until there is no more.
    fn pay(&mut self, server: &mut Server, group: GroupId) -> Res<()> {
        loop {
            let Self { device, database, now } = self;
            let paid = device.seal_group_owed(group, *now, &mut rand::rng())?.commit_with(|changes, paid| {
                database.apply(changes)?;
                database.deliver(&paid.attached, &paid.deliveries);
                Ok::<(), Stale>(())
            })?;
            for missed in &paid.unreachable {
                self.meet(server, missed.peer)?;
            }
            if paid.deliveries.is_empty() && paid.unreachable.is_empty() {
                return self.send(server);
            }
        }
    }

    fn say(&mut self, server: &mut Server, group: GroupId, text: &str) -> Res<()> {
        self.prepare(server, group)?;
        let Self { device, database, now } = self;
        device.seal_group(group, text.as_bytes(), *now, &mut rand::rng())?.commit_with(|changes, sealed| {
            database.apply(changes)?;
            database.deliver(&sealed.attached, &sealed.deliveries);
            let place = Place::Mailbox(*sealed.mailbox.as_bytes());
            database.to_send.push(Outgoing::Envelope(place, sealed.envelope.clone()));
            Ok::<(), Stale>(())
        })?;
        self.send(server)
    }

    fn share(&mut self, server: &mut Server, group: GroupId, file: &[u8], note: &str) -> Res<()> {
        self.prepare(server, group)?;
        let (attachment, ciphertext) = attachment::seal(file, &mut rand::rng())?;
        let Self { device, database, now } = self;
        let pending = device.seal_group_attachment(group, &attachment, note.as_bytes(), *now, &mut rand::rng())?;
        pending.commit_with(|changes, sealed| {
            database.apply(changes)?;
            database.to_send.push(Outgoing::Ciphertext(ciphertext));
            database.deliver(&sealed.attached, &sealed.deliveries);
            let place = Place::Mailbox(*sealed.mailbox.as_bytes());
            database.to_send.push(Outgoing::Envelope(place, sealed.envelope.clone()));
            Ok::<(), Stale>(())
        })?;
        self.send(server)
    }

    /// Fetches from every place, until nothing is new: where to listen changes with what is opened.
    fn fetch(&mut self, server: &mut Server) -> Res<()> {
        loop {
            let mut places: BTreeSet<Place> =
                self.device.mailboxes().map(|address| Place::Mailbox(*address.as_bytes())).collect();
            places.insert(Place::Introductions(self.me()));
            let mut news = Vec::new();
            for place in places {
                let there = server.envelopes.get(&place).map_or(&[][..], Vec::as_slice);
                let from = self.database.read.entry(place).or_default();
                news.extend(there.iter().skip(*from).cloned());
                *from = there.len();
            }
            if news.is_empty() {
                return Ok(());
            }
            for envelope in news {
                self.take(server, self.now, envelope)?;
            }
        }
    }

    /// Opens an envelope that came at some time, and does what follows.
    fn take(&mut self, server: &mut Server, since: UnixTime, envelope: Vec<u8>) -> Res<()> {
        let Self { device, database, now } = self;
        match device.open(&envelope, *now) {
            Ok(pending) => {
                let opened = pending.commit_with(|changes, opened| {
                    database.apply(changes)?;
                    database.shown.extend(text_of(opened));
                    Ok::<(), Stale>(())
                })?;
                self.follow(server, opened)
            }
            Err(OpenError::Unknown) => {
                database.kept.push((since, envelope));
                Ok(())
            }
            Err(OpenError::CommitMissing(group, member)) => {
                database.kept.push((since, envelope));
                let pending = device.ask_for_commits(group, member, *now, &mut rand::rng())?;
                pending.commit_with(|changes, question| {
                    database.apply(changes)?;
                    let place = Place::of(question.mailbox, member);
                    database.to_send.push(Outgoing::Envelope(place, question.envelope.clone()));
                    Ok::<(), Stale>(())
                })?;
                self.send(server)
            }
            Err(OpenError::PreKeyFull) => self.publish(),
            Err(_) => Ok(()), // Dropped.
        }
    }

    /// What an event and its notices ask for.
    fn follow(&mut self, server: &mut Server, opened: Opened) -> Res<()> {
        match &opened.event {
            Event::GroupAttachment { from, attachment, .. } | Event::Attachment { from, attachment, .. } => {
                let file = download(server, attachment)?;
                self.database.shown.push(format!("{}: a file of {} bytes", short(*from), file.len()));
            }
            Event::GroupLongMessage { from, attachment, .. } | Event::LongMessage { from, attachment, .. } => {
                let text = download(server, attachment)?;
                self.database.shown.push(format!("{}: {}", short(*from), String::from_utf8_lossy(&text)));
            }
            _ => {}
        }
        let mut again = false;
        if let Event::Group { group, what, .. } = &opened.event {
            let is_member = self.device.group(*group).is_some_and(|status| status.member);
            match what {
                GroupEvent::Joined { .. } | GroupEvent::Changed { .. } => {
                    again = true;
                    if is_member {
                        self.prepare(server, *group)?;
                    }
                }
                GroupEvent::Elsewhere { name } => {
                    let ciphertext = server.ciphertexts.get(name).ok_or("a ciphertext is missing")?.clone();
                    let Self { device, database, now } = self;
                    let opened = device.take_attached(&ciphertext, *now)?.commit(|changes| database.apply(changes))?;
                    self.follow(server, opened)?;
                }
                _ => {}
            }
        }
        for notice in opened.notices {
            match notice {
                Notice::NewChain(_) => again = true,
                Notice::RenewalDue(peer) | Notice::Ended(peer) => {
                    self.meet(server, peer)?;
                    self.pay_peers()?;
                }
                Notice::GroupOwed(group) => self.pay(server, group)?,
                Notice::FewPreKeys { .. } | Notice::IntroductionsHalfFull => self.publish()?,
                Notice::Owed(_) => self.pay_peers()?,
                // Shown to people, with the message (`text_of`).
                _ => {}
            }
        }
        self.send(server)?;
        if again {
            let now = self.now;
            for (since, envelope) in core::mem::take(&mut self.database.kept) {
                if now <= since.plus(KEPT) {
                    self.take(server, since, envelope)?;
                }
            }
        }
        Ok(())
    }
}

fn download(server: &Server, attachment: &Attachment) -> Res<Vec<u8>> {
    let ciphertext = server.ciphertexts.get(attachment.name()).ok_or("a ciphertext is missing")?;
    Ok(attachment::open(attachment, ciphertext)?)
}

/// What people are shown, stored with what was opened: the event, and the notices that are for them.
fn text_of(opened: &Opened) -> Vec<String> {
    let text = |from: &Fingerprint, content: &[u8]| format!("{}: {}", short(*from), String::from_utf8_lossy(content));
    let mut shown = Vec::new();
    for notice in &opened.notices {
        match notice {
            Notice::NewPeer(peer) => shown.push(format!("{} is new", short(*peer))),
            Notice::Displaced { peer, .. } => {
                shown.push(format!("{} has begun anew: ask whether it was so", short(*peer)));
            }
            Notice::IntroducedBeside { peer, .. } => shown.push(format!("doubt what {} says here", short(*peer))),
            Notice::MessagesLost { peer, count } => shown.push(format!("{count} of {} are lost", short(*peer))),
            Notice::GroupFork { .. } => shown.push("the group has come apart".into()),
            _ => {}
        }
    }
    match &opened.event {
        Event::Message { content, .. } if content.is_empty() => {} // Of a renewal.
        Event::Message { from, content, .. } => shown.push(text(from, content)),
        Event::GroupMessage { from, content, .. } => shown.push(format!("to all, {}", text(from, content))),
        Event::GroupAttachment { from, note, .. } | Event::Attachment { from, note, .. } => {
            shown.push(text(from, note));
        }
        Event::Group { what: GroupEvent::Joined { .. }, from, .. } => {
            shown.push(format!("brought in by {}", short(*from)));
        }
        Event::Group { what: GroupEvent::Changed { added, removed, .. }, .. } => {
            shown.extend(added.iter().map(|name| format!("{} is in", short(*name))));
            shown.extend(removed.iter().map(|name| format!("{} is out", short(*name))));
        }
        Event::Group { what: GroupEvent::Fork { .. }, .. } => shown.push("the group has come apart".into()),
        _ => {}
    }
    shown
}

fn short(name: Fingerprint) -> String {
    format!("{name}").chars().take(4).collect()
}

/// Lets everybody fetch until nothing moves.
fn settle(server: &mut Server, apps: &mut [App]) -> Res<()> {
    for _ in 0..6 {
        for app in &mut *apps {
            app.now = app.now.plus(1);
            app.fetch(server)?;
        }
    }
    Ok(())
}

fn main() -> Res<()> {
    let (mut server, now) = (Server::default(), UnixTime::from_secs(1_800_000_000)?);
    let mut app = || App::start(Device::generate(&mut rand::rng()), &mut server, now);
    let mut apps = [app()?, app()?, app()?];
    let [alice, bob, carol] = apps.each_ref().map(App::me);

    // Alice knows Bob's fingerprint, writes, and both go on after a restart.
    apps[0].write(&mut server, bob, "Bonjour")?;
    settle(&mut server, &mut apps)?;
    apps[1].write(&mut server, alice, "Bonjour, Alice")?;
    settle(&mut server, &mut apps)?;
    apps[1].restart()?;
    apps[0].write(&mut server, bob, "Ça va ?")?;
    settle(&mut server, &mut apps)?;

    // A group, a file, and someone who is removed.
    let group = apps[0].found(&mut server, &[bob, carol])?;
    settle(&mut server, &mut apps)?;
    apps[2].say(&mut server, group, "bonjour à tous")?;
    apps[1].share(&mut server, group, &vec![7; 200_000], "une photo")?;
    settle(&mut server, &mut apps)?;
    apps[0].change(&mut server, group, &[GroupChange::Remove(carol)])?;
    settle(&mut server, &mut apps)?;
    apps[0].say(&mut server, group, "entre nous")?;
    settle(&mut server, &mut apps)?;

    // Bob keeps only his identity: he writes to Alice, who asks him, and brings him back into the group.
    let identity = IdentityKeyPair::from_state(apps[1].device.identity().to_state().expose())?;
    let before = core::mem::take(&mut apps[1].database.shown);
    let later = apps[1].now.plus(60);
    apps[1] = App::start(Device::with_identity(identity, &mut rand::rng()), &mut server, later)?;
    apps[1].database.shown = before;
    apps[1].write(&mut server, alice, "j'ai tout perdu")?;
    settle(&mut server, &mut apps)?;
    apps[0].change(&mut server, group, &[GroupChange::Remove(bob)])?;
    apps[0].change(&mut server, group, &[GroupChange::Add(bob, Role::Member)])?;
    settle(&mut server, &mut apps)?;
    apps[1].say(&mut server, group, "me revoilà")?;
    apps[0].say(&mut server, group, "bienvenue")?;
    settle(&mut server, &mut apps)?;

    let [a, b, c] = [alice, bob, carol].map(short);
    let expected = [
        vec![
            format!("{b}: Bonjour, Alice"),
            format!("to all, {c}: bonjour à tous"),
            format!("{b}: une photo"),
            format!("{b}: a file of 200000 bytes"),
            format!("{b} has begun anew: ask whether it was so"),
            format!("{b}: j'ai tout perdu"),
            format!("to all, {b}: me revoilà"),
        ],
        vec![
            format!("{a}: Bonjour"),
            format!("{a}: Ça va ?"),
            format!("brought in by {a}"),
            format!("to all, {c}: bonjour à tous"),
            format!("{c} is out"),
            format!("to all, {a}: entre nous"),
            format!("to all, {a}: bienvenue"),
        ],
        vec![
            format!("brought in by {a}"),
            format!("{b}: une photo"),
            format!("{b}: a file of 200000 bytes"),
            format!("{c} is out"),
        ],
    ];
    let mut missing: usize = 0;
    for ((app, expected), name) in apps.iter().zip(&expected).zip(["Alice", "Bob", "Carol"]) {
        println!("{name}, {}", app.me());
        app.database.shown.iter().for_each(|line| println!("    {line}"));
        for line in expected.iter().filter(|line| !app.database.shown.contains(line)) {
            println!("    MISSING: {line}");
            missing = missing.saturating_add(1);
        }
    }
    let removed_reads = apps[2].database.shown.iter().any(|line| line.contains("entre nous"));
    let unsent: usize = apps.iter().map(|app| app.database.to_send.len()).sum();
    println!("missing={missing} removed_reads={removed_reads} unsent={unsent}");
    if missing > 0 || removed_reads || unsent > 0 { Err("not as it should be".into()) } else { Ok(()) }
}
