//! A device that is driven by lines, for other implementations to talk to: `cargo run --release --example interop`.
//!
//! One command per line, words separated by spaces, byte strings in hexadecimal (`-` for none). One answer per line: `ok`
//! and what was asked for, or `err` and the name of the error's variant. Nothing is stored.
//!
//! ```text
//! new SEED                        ok FINGERPRINT IDENTITYKEY       a new device; all is drawn by rand_core's ChaCha20, `seed_from_u64(SEED)`
//! time SECONDS                    ok                               the clock; 1800000000 at the start
//! publish COUNT                   ok UPLOAD
//! bundle                          ok BUNDLE                        of the last upload, its one-time prekeys from the last to the first
//! add BUNDLE                      ok FINGERPRINT
//! renew PEER BUNDLE               ok
//! block PEER, unblock PEER        ok
//! drop PEER, forget PEER          ok ENVELOPE                      what tells the peer, or `-`: its sessions go, or all of it
//! seal PEER CONTENT               ok ENVELOPE MAILBOX              `-` for an introduction's
//! seal-attachment PEER KEY NOTE   ok ENVELOPE MAILBOX              KEY is 72 bytes
//! seal-long PEER KEY              ok ENVELOPE MAILBOX              of a message that travels beside its envelope
//! export PEER CONTEXT             ok SESSION KEY                   of the session that is sent on
//! export-of SESSION CONTEXT       ok KEY
//! receipt PEER TAG...             ok ENVELOPE
//! owed                            ok PEER:ENVELOPE...              every control that is owed
//! open ENVELOPE                   ok message FROM TAG CONTENT
//!                                    attachment FROM TAG KEY NOTE
//!                                    long-message FROM TAG KEY
//!                                    receipt FROM TAG...
//!                                    control FROM
//!                                    unreadable FROM WHY           Diverged or TooFarAhead
//!                                    group-message GROUP FROM EPOCH CONTENT
//!                                    group-attachment GROUP FROM EPOCH KEY NOTE
//!                                    group-long-message GROUP FROM EPOCH KEY
//!                                    group GROUP WHAT              WHAT is a `GroupEvent`'s name: Joined, Changed, ChainAnnounced,
//!                                                                  ChainReceived, ChainWanted, Known, Outvoted, Waiting, Fork, Refused, CommitsWanted
//! search ENVELOPE                 as open, in all sessions, then in all groups
//! renewed                         ok 0 or 1                        whether what was opened last introduced a peer that holds a session
//! mailboxes PEER                  ok ADDRESS...
//! certificate CERTIFICATE         ok                               sets the device's own
//! trust ROOT                      ok
//! certified PEER                  ok ADDRESS NOT_AFTER             or ok -
//! attach CONTENT                  ok KEY CIPHERTEXT
//! detach KEY CIPHERTEXT           ok CONTENT
//! safety PEER                     ok DIGITS
//! group-new MESSAGES AGE          ok GROUP
//! group-commit GROUP CHANGE...    ok EPOCH TO:ENVELOPE...          add:PEER:member, add:PEER:admin, remove:PEER,
//!                                                                  role:PEER:member, role:PEER:admin, policy:MESSAGES:AGE, leave
//! group-say GROUP CONTENT         ok ENVELOPE MAILBOX TO:ENVELOPE...
//! group-long GROUP KEY            ok ENVELOPE MAILBOX TO:ENVELOPE...
//! group-owed GROUP                ok TO:ENVELOPE...                until it gives none
//! group-ask GROUP MEMBER          ok ENVELOPE
//! group GROUP                     ok EPOCH TRANSCRIPT MEMBER:ROLE...
//! quit
//! ```

#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "an example: a malformed line ends it")]

use chacha20::ChaCha20Rng;
use sceau::certificate::{Address, Certificate, RootKey};
use sceau::device::{Delivery, GroupChange, Sealed};
use sceau::group::{GroupId, GroupPolicy, Role};
use sceau::verification::SafetyNumber;
use sceau::{
    Attachment, Device, DirectoryEntry, Event, Fingerprint, Notice, PreKeyBundle, SessionId, Tag, UnixTime, attachment,
};
use sceau_testkit::talk::done;
use std::error::Error;
use std::io::{BufRead, Write};

type Answer = Result<String, Box<dyn Error>>;

struct Peer {
    device: Device,
    rng: ChaCha20Rng,
    now: UnixTime,
    upload: Option<DirectoryEntry>,
    renewed: bool,
}

fn hex(bytes: &[u8]) -> String {
    match bytes {
        [] => "-".into(),
        _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn unhex(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    if text == "-" {
        return Ok(Vec::new());
    }
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err("Hex".into());
    }
    (0..text.len() / 2).map(|i| Ok(u8::from_str_radix(&text[2 * i..2 * i + 2], 16)?)).collect()
}

fn array<const N: usize>(text: &str) -> Result<[u8; N], Box<dyn Error>> {
    unhex(text)?.try_into().map_err(|_| "Length".into())
}

fn name(text: &str) -> Result<Fingerprint, Box<dyn Error>> {
    Ok(Fingerprint::from_bytes(array(text)?))
}

/// 72 bytes as they travel; an image has a version in front.
fn key(text: &str) -> Result<Attachment, Box<dyn Error>> {
    Ok(Attachment::from_state(&[&[1][..], &unhex(text)?].concat())?)
}

fn shown(key: &Attachment) -> String {
    hex(&key.to_state().expose()[1..])
}

fn all(deliveries: &[Delivery]) -> String {
    deliveries.iter().fold(String::new(), |line, delivery| {
        format!("{line} {}:{}", hex(delivery.to.as_bytes()), hex(&delivery.envelope))
    })
}

fn role(text: &str) -> Result<Role, Box<dyn Error>> {
    match text {
        "member" => Ok(Role::Member),
        "admin" => Ok(Role::Admin),
        _ => Err("Role".into()),
    }
}

fn change(text: &str) -> Result<GroupChange, Box<dyn Error>> {
    let words: Vec<&str> = text.split(':').collect();
    Ok(match words[..] {
        ["add", peer, as_role] => GroupChange::Add(name(peer)?, role(as_role)?),
        ["remove", peer] => GroupChange::Remove(name(peer)?),
        ["role", peer, as_role] => GroupChange::SetRole(name(peer)?, role(as_role)?),
        ["policy", messages, age] => {
            GroupChange::SetPolicy(GroupPolicy { max_messages: messages.parse()?, max_age: age.parse()? })
        }
        _ => return Err("Change".into()),
    })
}

fn told(event: &Event) -> String {
    match event {
        Event::Message { from, tag, content, .. } => {
            format!("message {} {} {}", hex(from.as_bytes()), hex(tag.as_bytes()), hex(content))
        }
        Event::Attachment { from, tag, attachment, note, .. } => {
            format!("attachment {} {} {} {}", hex(from.as_bytes()), hex(tag.as_bytes()), shown(attachment), hex(note))
        }
        Event::LongMessage { from, tag, attachment, .. } => {
            format!("long-message {} {} {}", hex(from.as_bytes()), hex(tag.as_bytes()), shown(attachment))
        }
        Event::GroupLongMessage { group, from, epoch, attachment, .. } => {
            let (group, from) = (hex(group.as_bytes()), hex(from.as_bytes()));
            format!("group-long-message {group} {from} {epoch} {}", shown(attachment))
        }
        Event::Receipt { from, tags } => {
            let tags: Vec<String> = tags.iter().map(|tag| hex(tag.as_bytes())).collect();
            format!("receipt {} {}", hex(from.as_bytes()), tags.join(" "))
        }
        Event::GroupMessage { group, from, epoch, content, .. } => {
            format!("group-message {} {} {epoch} {}", hex(group.as_bytes()), hex(from.as_bytes()), hex(content))
        }
        Event::GroupAttachment { group, from, epoch, attachment, note, .. } => {
            let (group, from) = (hex(group.as_bytes()), hex(from.as_bytes()));
            format!("group-attachment {group} {from} {epoch} {} {}", shown(attachment), hex(note))
        }
        Event::Group { group, what, .. } => {
            let what = format!("{what:?}");
            let what = what.split([' ', '{']).next().unwrap_or_default();
            format!("group {} {what}", hex(group.as_bytes()))
        }
        Event::Unreadable { from, why } => format!("unreadable {} {why:?}", hex(from.as_bytes())),
        Event::Control { from } => format!("control {}", hex(from.as_bytes())),
        _ => "other".into(),
    }
}

fn farewell(sealed: Option<Sealed>) -> String {
    sealed.map_or("-".into(), |sealed| hex(&sealed.envelope))
}

/// The name of an error's variant.
fn class(error: &dyn Error) -> String {
    let text = format!("{error:?}");
    text.trim_matches('"').split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
}

impl Peer {
    fn new(seed: u64) -> Self {
        let mut rng = sceau_testkit::rng(seed);
        Self {
            device: Device::generate(&mut rng),
            rng,
            now: sceau_testkit::talk::at(1_800_000_000),
            upload: None,
            renewed: false,
        }
    }

    /// In how many sessions and chains an envelope is looked for that nobody recognises.
    fn look_in(&mut self, sessions: usize) {
        let mut policy = self.device.policy().clone();
        policy.search = sessions;
        self.device.set_policy(policy);
    }

    fn mailbox(&self, peer: Fingerprint) -> String {
        self.device.mailbox(peer).map_or("-".into(), |address| hex(address.as_bytes()))
    }

    fn groups(&mut self, words: &[&str]) -> Answer {
        let Self { device, rng, now, .. } = self;
        if let ["group-new", messages, age] = words {
            let policy = GroupPolicy { max_messages: messages.parse()?, max_age: age.parse()? };
            return Ok(hex(done(device.create_group(policy, rng)?).as_bytes()));
        }
        let group = GroupId::from_bytes(array(words.get(1).ok_or("Command")?)?);
        match words {
            ["group-commit", _, "leave"] => {
                let committed = done(device.leave_group(group, *now, rng)?);
                Ok(format!("{}{}", committed.epoch, all(&committed.deliveries)))
            }
            ["group-commit", _, changes @ ..] => {
                let changes = changes.iter().map(|text| change(text)).collect::<Result<Vec<_>, _>>()?;
                let committed = done(device.commit_group(group, &changes, *now, rng)?);
                Ok(format!("{}{}", committed.epoch, all(&committed.deliveries)))
            }
            ["group-say", _, content] => {
                let sealed = done(device.seal_group(group, &unhex(content)?, *now, rng)?);
                let mailbox = device.group_mailbox(group).map_or("-".into(), |address| hex(address.as_bytes()));
                Ok(format!("{} {mailbox}{}", hex(&sealed.envelope), all(&sealed.deliveries)))
            }
            ["group-long", _, attached] => {
                let sealed = done(device.seal_group_long_message(group, &key(attached)?, *now, rng)?);
                let mailbox = device.group_mailbox(group).map_or("-".into(), |address| hex(address.as_bytes()));
                Ok(format!("{} {mailbox}{}", hex(&sealed.envelope), all(&sealed.deliveries)))
            }
            ["group-owed", _] => Ok(all(&done(device.seal_group_owed(group, *now, rng)?).deliveries).trim().to_owned()),
            ["group-ask", _, member] => {
                Ok(hex(&done(device.ask_for_commits(group, name(member)?, *now, rng)?).envelope))
            }
            ["group", _] => {
                let roster = device.group(group).ok_or("UnknownGroup")?.roster;
                let members =
                    roster.members().map(|(name, member)| format!(" {}:{:?}", hex(name.as_bytes()), member.role()));
                Ok(format!(
                    "{} {}{}",
                    roster.epoch(),
                    hex(&roster.transcript()),
                    members.collect::<String>().to_lowercase()
                ))
            }
            _ => Err("Command".into()),
        }
    }

    fn certificates(&mut self, words: &[&str]) -> Answer {
        match words {
            ["certificate", bytes] => {
                done(self.device.set_certificate(Some(Certificate::decode(&unhex(bytes)?)?))?);
                Ok(String::new())
            }
            ["trust", root] => {
                let mut policy = self.device.policy().clone();
                policy.certificates.roots.push(RootKey(array(root)?));
                self.device.set_policy(policy);
                Ok(String::new())
            }
            ["certified", peer] => {
                let known = self.device.peer(name(peer)?).ok_or("UnknownPeer")?.certified;
                Ok(known.map_or("-".into(), |known| {
                    let address: &Address = &known.address;
                    format!("{} {}", hex(address.as_bytes()), known.not_after.as_secs())
                }))
            }
            _ => Err("Command".into()),
        }
    }

    fn obey(&mut self, words: &[&str]) -> Answer {
        let Self { device, rng, now, upload, .. } = self;
        match words {
            ["new", seed] => {
                *self = Self::new(seed.parse()?);
                self.look_in(0);
                let identity = self.device.identity_key();
                Ok(format!("{} {}", hex(identity.fingerprint().as_bytes()), hex(&identity.encode())))
            }
            ["time", seconds] => {
                *now = UnixTime::from_secs(seconds.parse()?)?;
                Ok(String::new())
            }
            ["publish", count] => {
                let published = done(device.publish_prekeys(count.parse()?, *now, rng)?);
                let bytes = hex(&published.encode());
                *upload = Some(published.into_entry()?);
                Ok(bytes)
            }
            ["bundle"] => Ok(hex(&upload.as_mut().ok_or("NothingPublished")?.take_bundle().encode())),
            ["add", bundle] => {
                let pending = device.add_peer(&PreKeyBundle::decode(&unhex(bundle)?)?, *now)?;
                Ok(hex(done(pending).as_bytes()))
            }
            ["renew", peer, bundle] => {
                done(device.renew(name(peer)?, &PreKeyBundle::decode(&unhex(bundle)?)?, *now, rng)?);
                Ok(String::new())
            }
            ["seal", peer, content] => {
                let envelope = done(device.seal(name(peer)?, &unhex(content)?, *now, rng)?);
                Ok(format!("{} {}", hex(&envelope.envelope), self.mailbox(name(peer)?)))
            }
            ["seal-attachment", peer, attached, note] => {
                let pending = device.seal_attachment(name(peer)?, &key(attached)?, &unhex(note)?, *now, rng)?;
                let envelope = done(pending);
                Ok(format!("{} {}", hex(&envelope.envelope), self.mailbox(name(peer)?)))
            }
            ["seal-long", peer, attached] => {
                let envelope = done(device.seal_long_message(name(peer)?, &key(attached)?, *now, rng)?);
                Ok(format!("{} {}", hex(&envelope.envelope), self.mailbox(name(peer)?)))
            }
            ["export", peer, context] => {
                let session = device.peer(name(peer)?).and_then(|peer| peer.session).ok_or("UnknownSession")?.id;
                Ok(format!("{session} {}", hex(device.export(session, &unhex(context)?)?.expose())))
            }
            ["export-of", session, context] => {
                Ok(hex(device.export(session.parse::<SessionId>()?, &unhex(context)?)?.expose()))
            }
            ["receipt", peer, tags @ ..] => {
                let tags = tags
                    .iter()
                    .map(|tag| Ok(Tag::from_bytes(array(tag)?)))
                    .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
                Ok(hex(&done(device.seal_receipt(name(peer)?, &tags, *now, rng)?).envelope))
            }
            ["owed"] => {
                let owed: Vec<_> = device.owed(*now).collect();
                let mut line = String::new();
                for (id, peer) in owed {
                    let envelope = done(device.seal_owed(id, *now, rng)?);
                    line = format!("{line} {}:{}", hex(peer.as_bytes()), hex(&envelope.envelope));
                }
                Ok(line.trim().to_owned())
            }
            ["open", envelope] => {
                let opened = done(device.open(&unhex(envelope)?, *now)?);
                self.renewed = opened.notices.iter().any(|notice| matches!(notice, Notice::Renewed(_)));
                Ok(told(&opened.event))
            }
            ["renewed"] => Ok(u8::from(self.renewed).to_string()),
            ["search", envelope] => {
                self.look_in(usize::MAX);
                let answer = self.device.open(&unhex(envelope)?, self.now).map(|pending| told(&done(pending).event));
                self.look_in(0);
                Ok(answer?)
            }
            ["block", peer] => {
                done(device.block(name(peer)?)?);
                Ok(String::new())
            }
            ["unblock", peer] => {
                done(device.unblock(name(peer)?)?);
                Ok(String::new())
            }
            ["drop", peer] => Ok(farewell(done(device.drop_sessions(name(peer)?, rng)?))),
            ["forget", peer] => Ok(farewell(done(device.delete_peer(name(peer)?, rng)?))),
            ["mailboxes", peer] => {
                let addresses = device.mailboxes_of(name(peer)?).map(|address| hex(address.as_bytes()));
                Ok(addresses.collect::<Vec<_>>().join(" "))
            }
            ["attach", content] => {
                let (attached, ciphertext) = attachment::seal(&unhex(content)?, rng)?;
                Ok(format!("{} {}", shown(&attached), hex(&ciphertext)))
            }
            ["detach", attached, ciphertext] => Ok(hex(&attachment::open(&key(attached)?, &unhex(ciphertext)?)?)),
            ["safety", peer] => Ok(SafetyNumber::of(device.fingerprint(), name(peer)?).digits()),
            ["certificate" | "trust" | "certified", ..] => self.certificates(words),
            [command, ..] if command.starts_with("group") => self.groups(words),
            _ => Err("Command".into()),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut peer = Peer::new(0);
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        if words == ["quit"] {
            break;
        }
        match peer.obey(&words) {
            Ok(answer) if answer.is_empty() => writeln!(out, "ok")?,
            Ok(answer) => writeln!(out, "ok {answer}")?,
            Err(error) => writeln!(out, "err {}", class(&*error))?,
        }
        out.flush()?;
    }
    Ok(())
}
