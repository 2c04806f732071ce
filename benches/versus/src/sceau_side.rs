//! sceau, as an application uses it: through its public interface, with default policies.

use crate::channel::{Channel, Meeting, Talk};
use crate::measure::{Cost, batch};
use rand::rng;
use sceau::device::{Delivery, GroupChange, GroupCommitted, GroupEvent};
use sceau::error::OpenError;
use sceau::group::{GroupPolicy, Role};
use sceau::limits::MAX_FIRST_JUMP;
use sceau::prekey::{PreKeyLifetimes, PreKeyStore, Rotation, VerifiedPreKeyBundle};
use sceau::session::{Content, Opened, Session};
use sceau::{Device, Envelope, Event, Fingerprint, GroupId, IdentityKeyPair, Padding, PreKeyBundle, UnixTime};
use std::hint::black_box;

const NOW: UnixTime = match UnixTime::from_secs(1_800_000_000) {
    Ok(now) => now,
    Err(_) => panic!("no clock shows it"),
};

fn seal(session: &mut Session, content: &[u8]) -> Vec<u8> {
    session.seal(content, Padding::default(), &mut rng()).expect("a session can seal")
}

fn text(opened: Opened) -> Vec<u8> {
    let Content::Message(content) = opened.content else { panic!("not a message") };
    content
}

fn open(session: &mut Session, wire: &[u8]) -> Option<Vec<u8>> {
    session.open(&Envelope::parse(wire).ok()?, NOW).ok().map(text)
}

/// A session that both have written on.
pub struct Sessions {
    alice: Session,
    bob: Session,
}

impl Sessions {
    pub fn new() -> Self {
        let mut meeting = Strangers::new();
        let bundle = meeting.bundles(1).remove(0);
        let (alice, first) = meeting.initiate(&bundle, b"first");
        let (bob, _) = meeting.accept(&first);
        let mut sessions = Self { alice, bob };
        let reply = sessions.answer(b"reply");
        sessions.open_answer(&reply).expect("a reply");
        let third = sessions.seal(b"third");
        sessions.open(&third).expect("a message");
        sessions
    }
}

impl Channel for Sessions {
    fn seal(&mut self, content: &[u8]) -> Vec<u8> {
        seal(&mut self.alice, content)
    }

    fn open(&mut self, wire: &[u8]) -> Option<Vec<u8>> {
        open(&mut self.bob, wire)
    }

    fn open_far(&mut self, wire: &[u8]) -> Option<Vec<u8>> {
        self.bob.search(&Envelope::parse(wire).ok()?, NOW).ok().map(text)
    }
}

impl Talk for Sessions {
    fn answer(&mut self, content: &[u8]) -> Vec<u8> {
        seal(&mut self.bob, content)
    }

    fn open_answer(&mut self, wire: &[u8]) -> Option<Vec<u8>> {
        open(&mut self.alice, wire)
    }

    fn stored(&self) -> usize {
        self.bob.to_state().expose().len()
    }
}

/// Two who have not met.
pub struct Strangers {
    alice: IdentityKeyPair,
    bob: IdentityKeyPair,
    prekeys: PreKeyStore,
}

impl Strangers {
    pub fn new() -> Self {
        let [alice, bob] = [(); 2].map(|()| IdentityKeyPair::generate(&mut rng()));
        Self { alice, bob, prekeys: PreKeyStore::new() }
    }

    /// An introduction with a real handshake, whose message is damaged.
    pub fn forged(&mut self) -> Vec<u8> {
        let bundle = self.bundles(1).remove(0);
        let (_, mut forged) = self.initiate(&bundle, &[7; 256]);
        *forged.last_mut().expect("not empty") ^= 1;
        forged
    }

    /// A genuine introduction whose message is as far ahead as Bob accepts: the costliest that a stranger can make.
    pub fn far(&mut self) -> Vec<u8> {
        let bundle = self.bundles(1).remove(0);
        let (mut session, mut wire) = self.initiate(&bundle, &[7; 256]);
        for _ in 0..MAX_FIRST_JUMP {
            wire = seal(&mut session, &[7; 256]);
        }
        wire
    }

    /// Bob refuses it, or would accept it: nothing changes.
    pub fn consider(&self, wire: &[u8]) -> Result<(), OpenError> {
        let envelope = Envelope::parse(wire).expect("well formed");
        let accepted = Session::accept(&self.bob, &self.prekeys, &envelope, &PreKeyLifetimes::default(), NOW);
        accepted.map(|accepted| drop(black_box(accepted)))
    }
}

impl Meeting for Strangers {
    type Bundle = PreKeyBundle;
    type Session = Session;

    fn bundles(&mut self, count: usize) -> Vec<PreKeyBundle> {
        let Self { bob, prekeys, .. } = self;
        let lifetimes = PreKeyLifetimes::default();
        let published = prekeys.publish(bob, count, Rotation::IfDue, &lifetimes, NOW, &mut rng());
        let mut directory = published.expect("room").into_entry().expect("signed");
        (0..count).map(|_| directory.take_bundle()).collect()
    }

    fn initiate(&mut self, bundle: &PreKeyBundle, content: &[u8]) -> (Session, Vec<u8>) {
        let bundle = VerifiedPreKeyBundle::verify(bundle.clone(), NOW).expect("a good bundle");
        let mut session = Session::initiate(&self.alice, None, &bundle, 1, &mut rng()).expect("good keys");
        let wire = seal(&mut session, content);
        (session, wire)
    }

    fn accept(&mut self, wire: &[u8]) -> (Session, Vec<u8>) {
        let envelope = Envelope::parse(wire).expect("well formed");
        let accepted = Session::accept(&self.bob, &self.prekeys, &envelope, &PreKeyLifetimes::default(), NOW);
        let (session, opened) = accepted.expect("a good introduction").settle(&mut self.prekeys).expect("it is new");
        (session, text(opened))
    }
}

/// Commits; what is to be stored is made and looked at, not written.
fn done<T>(pending: sceau::Pending<'_, T>) -> T {
    let Ok(value) = pending.commit(|changes| {
        black_box(changes);
        Ok::<(), std::convert::Infallible>(())
    });
    value
}

/// A new device with its bundle, known to another one, and a session on which both have written.
fn acquaintance(of: &mut Device) -> Device {
    let mut device = Device::generate(&mut rng());
    let upload = done(device.publish_prekeys(0, NOW, &mut rng()).expect("room"));
    let bundle = upload.into_entry().expect("signed").take_bundle();
    let name = done(of.add_peer(&bundle, NOW).expect("a good bundle"));
    let introduction = done(of.seal(name, b"hello", NOW, &mut rng()).expect("a bundle")).envelope;
    done(device.open(&introduction, NOW).expect("an introduction"));
    let reply = done(device.seal(of.fingerprint(), b"hello", NOW, &mut rng()).expect("a session")).envelope;
    done(of.open(&reply, NOW).expect("a reply"));
    device
}

/// A device that is given forged envelopes.
pub struct Flooded {
    device: Device,
    /// Nobody's tag.
    pub unknown: Vec<u8>,
    /// The tag of a message that is awaited, another body.
    pub changed: Vec<u8>,
}

impl Flooded {
    pub fn new(sessions: usize) -> Self {
        let mut device = Device::generate(&mut rng());
        let mut peers: Vec<_> = (0..sessions).map(|_| acquaintance(&mut device)).collect();
        let real = done(peers[0].seal(device.fingerprint(), &[7; 256], NOW, &mut rng()).expect("a session")).envelope;
        let [mut unknown, mut changed] = [real.clone(), real];
        unknown[5] ^= 1;
        *changed.last_mut().expect("not empty") ^= 1;
        let mut flooded = Self { device, unknown, changed };
        for (forged, expected) in [(&flooded.unknown, OpenError::Unknown), (&flooded.changed, OpenError::Rejected)] {
            assert_eq!(flooded.device.open(forged, NOW).err(), Some(expected));
        }
        flooded
    }

    pub fn refuse(&mut self, forged: &[u8]) -> bool {
        self.device.open(forged, NOW).is_err()
    }
}

/// A founder and real devices, all of one group, who have answered each other.
pub struct Crowd {
    founder: Device,
    members: Vec<Device>,
    names: Vec<Fingerprint>,
    group: GroupId,
}

/// What it costs to replace the founder's chain.
#[derive(Clone, Copy)]
pub struct Healed {
    /// A new chain, sealed for each member.
    pub send: Cost,
    /// Opening what the members answer.
    pub settle: Cost,
    /// Taking it in and answering, for one member.
    pub receive: Cost,
    /// What the founder sends, in all.
    pub bytes: usize,
}

impl Crowd {
    pub fn new(count: usize) -> Self {
        let mut founder = Device::generate(&mut rng());
        let members: Vec<_> = (1..count).map(|_| acquaintance(&mut founder)).collect();
        let names: Vec<_> = members.iter().map(Device::fingerprint).collect();
        // So that no chain is replaced while messages are measured.
        let policy = GroupPolicy { max_messages: 1 << 30, max_age: u64::MAX };
        let group = done(founder.create_group(policy, &mut rng()).expect("a good policy"));
        let mut crowd = Self { founder, members, names, group };
        let adds: Vec<_> = crowd.names.iter().map(|name| GroupChange::Add(*name, Role::Member)).collect();
        let committed = crowd.commit(&adds);
        crowd.hand_out(&committed);
        let ready = crowd.prepare();
        crowd.hand_out(&ready);
        crowd.answer();
        crowd
    }

    fn commit(&mut self, changes: &[GroupChange]) -> GroupCommitted {
        let committed = done(self.founder.commit_group(self.group, changes, NOW, &mut rng()).expect("an admin"));
        assert!(committed.unreachable.is_empty());
        committed
    }

    fn prepare(&mut self) -> GroupCommitted {
        done(self.founder.prepare_group(self.group, NOW, &mut rng()).expect("a member"))
    }

    /// Members open what is theirs.
    fn hand_out(&mut self, committed: &GroupCommitted) {
        for Delivery { to, envelope, .. } in &committed.deliveries {
            let Some(at) = self.names.iter().position(|name| name == to) else { continue };
            let member = &mut self.members[at];
            let opened = done(member.open(envelope, NOW).expect("a message of a peer"));
            if let Event::Group { what: GroupEvent::Elsewhere { .. }, .. } = opened.event {
                done(member.take_attached(&committed.attached[0], NOW).expect("it is wanted"));
            }
        }
    }

    /// Members answer what they owe, and the founder opens it.
    fn answer(&mut self) {
        for member in &mut self.members {
            for Delivery { envelope, .. } in owed(member, self.group) {
                done(self.founder.open(&envelope, NOW).expect("an answer"));
            }
        }
    }

    /// One content for each member, by itself.
    pub fn seal_many(&mut self, content: &[u8]) -> Cost {
        let Self { founder, names, .. } = self;
        let (cost, sealed) =
            batch(vec![()], |()| done(founder.seal_many(names, content, NOW, &mut rng()).expect("sessions")));
        assert_eq!(sealed[0].deliveries.len(), names.len());
        for Delivery { to, envelope, .. } in &sealed[0].deliveries {
            let at = names.iter().position(|name| name == to).expect("a member");
            let opened = done(self.members[at].open(envelope, NOW).expect("a message"));
            assert!(matches!(opened.event, Event::Message { content: read, .. } if read == content));
        }
        cost
    }

    /// From now on each message asks for a new chain.
    pub fn heal_often(&mut self) {
        let policy = GroupPolicy { max_messages: 1, max_age: u64::MAX };
        let committed = self.commit(&[GroupChange::SetPolicy(policy)]);
        self.hand_out(&committed);
        self.answer();
    }

    /// The founder's chain is replaced, and every member has it.
    pub fn heal(&mut self) -> Healed {
        let Self { founder, members, names, group } = self;
        let group = *group;
        // The one message that the chain before may carry.
        done(founder.seal_group(group, b"x", NOW, &mut rng()).expect("a member"));
        let (send, mut ready) =
            batch(vec![()], |()| done(founder.prepare_group(group, NOW, &mut rng()).expect("a member")));
        let deliveries = ready.remove(0).deliveries;
        assert_eq!(deliveries.len(), names.len());
        let bytes = deliveries.iter().map(|delivery| delivery.envelope.len()).sum();
        let envelope = |name| deliveries.iter().find(|delivery| delivery.to == name).map(|found| &found.envelope);
        let inputs = members.iter_mut().filter_map(|member| Some((envelope(member.fingerprint())?, member))).collect();
        let (receive, answers) = batch(inputs, |(envelope, member)| {
            let opened = done(member.open(envelope, NOW).expect("a chain"));
            assert!(matches!(opened.event, Event::Group { what: GroupEvent::ChainAnnounced, .. }));
            owed(member, group)
        });
        let answers: Vec<_> = answers.into_iter().flatten().collect();
        assert_eq!(answers.len(), names.len());
        let (settle, _) = batch(answers, |answer| done(founder.open(&answer.envelope, NOW).expect("an answer")));
        let settle = Cost { nanoseconds: settle.nanoseconds * names.len() as f64, ..settle };
        Healed { send, settle, receive, bytes }
    }

    /// Someone new is added, and removed again: what that costs the founder, until all is sealed that makes the group
    /// ready for its next message, and what it costs a member to take each in.
    pub fn churn(&mut self) -> [[Cost; 2]; 2] {
        let newcomer = acquaintance(&mut self.founder).fingerprint();
        [GroupChange::Add(newcomer, Role::Member), GroupChange::Remove(newcomer)].map(|change| {
            let (founder, made) = batch(vec![()], |()| {
                let committed = self.commit(&[change]);
                (committed, self.prepare())
            });
            let (committed, ready) = &made[0];
            let member = &mut self.members[0];
            let name = member.fingerprint();
            let for_it = [&committed.deliveries, &ready.deliveries].into_iter().flatten();
            let inputs: Vec<_> = for_it.filter(|delivery| delivery.to == name).collect();
            let count = inputs.len() as f64;
            let (each, _) = batch(inputs, |delivery| {
                done(member.open(&delivery.envelope, NOW).expect("a message of a peer"));
                owed(member, self.group)
            });
            [founder, Cost { nanoseconds: each.nanoseconds * count, ..each }]
        })
    }
}

fn owed(member: &mut Device, group: GroupId) -> Vec<Delivery> {
    done(member.seal_group_owed(group, NOW, &mut rng()).expect("a member")).deliveries
}

impl Channel for Crowd {
    fn seal(&mut self, content: &[u8]) -> Vec<u8> {
        let sealed = done(self.founder.seal_group(self.group, content, NOW, &mut rng()).expect("a member"));
        assert!(sealed.deliveries.is_empty());
        sealed.envelope
    }

    fn open(&mut self, wire: &[u8]) -> Option<Vec<u8>> {
        match done(self.members[0].open(wire, NOW).ok()?).event {
            Event::GroupMessage { content, .. } => Some(content),
            _ => None,
        }
    }
}
