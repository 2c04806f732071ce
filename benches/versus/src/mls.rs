//! openmls, with its own cryptography and its store in memory.

use crate::channel::Channel;
use crate::measure::{Cost, batch};
use openmls::prelude::{tls_codec::DeserializeBytes as _, *};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;

/// The one that every implementation must have; the fastest of this provider.
const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

/// Commits and messages are encrypted; joining by oneself can't be.
fn config() -> MlsGroupCreateConfig {
    MlsGroupCreateConfig::builder().ciphersuite(SUITE).wire_format_policy(MIXED_CIPHERTEXT_WIRE_FORMAT_POLICY).build()
}

/// Who is not yet in a group.
struct Client {
    provider: OpenMlsRustCrypto,
    signer: SignatureKeyPair,
    credential: CredentialWithKey,
}

impl Client {
    fn new(name: usize) -> Self {
        let signer = SignatureKeyPair::new(SUITE.signature_algorithm()).expect("a good suite");
        let credential = CredentialWithKey {
            credential: BasicCredential::new(name.to_be_bytes().to_vec()).into(),
            signature_key: signer.to_public_vec().into(),
        };
        Self { provider: OpenMlsRustCrypto::default(), signer, credential }
    }

    fn key_package(&self) -> KeyPackage {
        let built = KeyPackage::builder().build(SUITE, &self.provider, &self.signer, self.credential.clone());
        built.expect("good keys").key_package().clone()
    }

    fn found(self) -> Member {
        let group = MlsGroup::new(&self.provider, &self.signer, &config(), self.credential.clone());
        Member { group: group.expect("a good suite"), client: self }
    }

    /// Joins by itself, which fills its path in the tree; the commit, too.
    fn join(self, from: &Member) -> (Member, Vec<u8>) {
        let info = from.group.export_group_info(from.client.provider.crypto(), &from.client.signer, true);
        let MlsMessageBodyIn::GroupInfo(info) = MlsMessageIn::from(info.expect("a member")).extract() else {
            panic!("not what was exported");
        };
        let (mut group, bundle) = MlsGroup::external_commit_builder()
            .with_config(config().join_config().clone())
            .build_group(&self.provider, info, self.credential.clone())
            .expect("a good tree")
            .load_psks(self.provider.storage())
            .expect("none")
            .build(self.provider.rand(), self.provider.crypto(), &self.signer, |_| true)
            .expect("a commit")
            .finalize(&self.provider)
            .expect("a commit");
        group.merge_pending_commit(&self.provider).expect("its own commit");
        let commit = bundle.into_commit().to_bytes().expect("a message");
        (Member { group, client: self }, commit)
    }
}

struct Member {
    client: Client,
    group: MlsGroup,
}

impl Member {
    fn process(&mut self, wire: &[u8]) -> Option<ProcessedMessageContent> {
        let message = MlsMessageIn::tls_deserialize_exact_bytes(wire).ok()?.try_into_protocol_message().ok()?;
        Some(self.group.process_message(&self.client.provider, message).ok()?.into_content())
    }

    /// Takes a commit in.
    fn follow(&mut self, commit: &[u8]) {
        let Some(ProcessedMessageContent::StagedCommitMessage(staged)) = self.process(commit) else {
            panic!("not a commit");
        };
        self.group.merge_staged_commit(&self.client.provider, *staged).expect("a checked commit");
    }

    fn merge(&mut self) {
        self.group.merge_pending_commit(&self.client.provider).expect("its own commit");
    }

    /// New keys on the own path: the bytes for all others.
    fn update(&mut self) -> Vec<u8> {
        let Client { provider, signer, .. } = &self.client;
        let bundle = self.group.self_update(provider, signer, LeafNodeParameters::default()).expect("a member");
        let commit = bundle.into_commit().to_bytes().expect("a message");
        self.merge();
        commit
    }

    fn add(&mut self, packages: &[KeyPackage]) -> Vec<u8> {
        let Client { provider, signer, .. } = &self.client;
        let (commit, welcome, _) = self.group.add_members(provider, signer, packages).expect("good packages");
        let (commit, _) = (commit.to_bytes().expect("a message"), welcome.to_bytes().expect("a message"));
        self.merge();
        commit
    }

    fn remove(&mut self, index: LeafNodeIndex) -> Vec<u8> {
        let Client { provider, signer, .. } = &self.client;
        let (commit, _, _) = self.group.remove_members(provider, signer, &[index]).expect("a member");
        let commit = commit.to_bytes().expect("a message");
        self.merge();
        commit
    }
}

/// A group of which two members are played.
pub struct Mls {
    alice: Member,
    bob: Member,
}

/// What a commit costs.
#[derive(Clone, Copy)]
pub struct Committed {
    pub send: Cost,
    pub receive: Cost,
    pub bytes: usize,
}

impl Mls {
    /// Everyone has joined by themselves: no node of the tree is empty, which is the best that a tree can be.
    pub fn full(members: usize) -> Self {
        let mut last = Client::new(0).found();
        let mut before = None;
        for name in 1..members {
            let (member, commit) = Client::new(name).join(&last);
            before = Some((core::mem::replace(&mut last, member), commit));
        }
        let (mut alice, commit) = before.expect("two members at least");
        alice.follow(&commit);
        Self { alice, bob: last }
    }

    /// One has just added all others at once: the tree is empty, the worst that it can be.
    pub fn fresh(members: usize) -> Self {
        let mut alice = Client::new(0).found();
        let bob = Client::new(1);
        let mut packages = vec![bob.key_package()];
        packages.extend((2..members).map(|name| Client::new(name).key_package()));
        let Client { provider, signer, .. } = &alice.client;
        let (_, welcome, _) = alice.group.add_members(provider, signer, &packages).expect("good packages");
        alice.merge();
        let MlsMessageBodyIn::Welcome(welcome) = MlsMessageIn::from(welcome).extract() else { panic!("not a welcome") };
        let tree = alice.group.export_ratchet_tree().into();
        let staged = StagedWelcome::new_from_welcome(&bob.provider, config().join_config(), welcome, Some(tree))
            .expect("invited");
        let group = staged.into_group(&bob.provider).expect("a good tree");
        Self { alice, bob: Member { group, client: bob } }
    }

    pub fn heal(&mut self) -> Committed {
        let Self { alice, bob } = self;
        let (send, commits) = batch(vec![()], |()| alice.update());
        let bytes = commits[0].len();
        let (receive, _) = batch(commits, |commit| bob.follow(commit));
        assert_eq!(alice.group.epoch_authenticator().as_slice(), bob.group.epoch_authenticator().as_slice());
        Committed { send, receive, bytes }
    }

    /// Someone is added, and removed again: what each costs who does it, and a member.
    pub fn churn(&mut self) -> [[Cost; 2]; 2] {
        let Self { alice, bob } = self;
        let packages = [Client::new(usize::MAX).key_package()];
        let (add, commits) = batch(vec![()], |()| alice.add(&packages));
        let (added, _) = batch(commits, |commit| bob.follow(commit));
        let index = bob.group.members().map(|member| member.index).max().expect("members");
        let (remove, commits) = batch(vec![index], |index| alice.remove(*index));
        let (removed, _) = batch(commits, |commit| bob.follow(commit));
        assert_eq!(alice.group.epoch_authenticator().as_slice(), bob.group.epoch_authenticator().as_slice());
        [[add, added], [remove, removed]]
    }
}

impl Channel for Mls {
    fn seal(&mut self, content: &[u8]) -> Vec<u8> {
        let Client { provider, signer, .. } = &self.alice.client;
        let message = self.alice.group.create_message(provider, signer, content).expect("a member");
        message.to_bytes().expect("a message")
    }

    fn open(&mut self, wire: &[u8]) -> Option<Vec<u8>> {
        match self.bob.process(wire)? {
            ProcessedMessageContent::ApplicationMessage(message) => Some(message.into_bytes()),
            _ => None,
        }
    }
}
