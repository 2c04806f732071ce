//! The log as a caller sees it.

use super::author::{Author, Authors};
use super::evaluate::Changed;
use super::form;
use super::index::{ASIDE, AccountAt, At, EFFECTIVE, KEPT, OWNER, place};
use super::messages::HeadsHash;
use super::operation::{Change, Draft, Operation};
use super::plan::{Intake, Plan, Planner, Verdict};
use super::record::{self, LogRecord};
use super::roster::{Kind, Role, Roster};
use super::verify::{Keys, verify};
use super::waiting::{Verified, Waiting};
use crate::error::{DraftError, OperationError, StateError};
use crate::keys::{AccountId, OperationId, PeerId};
use crate::limits::MAX_PARENTS;
use alloc::borrow::Cow;
use alloc::vec::Vec;

/// A membership log: a set of signed operations, and what it means. Who holds the same set agrees, in whatever order it came.
///
/// In memory about 110 bytes an operation beside its encoding, and 200 an account.
#[derive(Debug)]
pub struct Log {
    pub(super) id: OperationId,
    pub(super) roster: Roster,
    pub(super) waiting: Waiting,
    pub(super) records: u64,
}

/// What a batch of operations has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// For each operation that was given, in its order, what became of it.
    pub verdicts: Vec<Verdict>,
    /// Accounts whose role is another than before, with what it was.
    pub roles: Vec<(AccountId, Role)>,
    /// Settings that another operation holds than before.
    pub settings: Vec<u8>,
    /// Operations that counted before, and do not count any more. Clients write again what they still want of them.
    pub fallen: Vec<OperationId>,
    /// What of the budget was used.
    pub spent: u64,
}

/// Operations that can be taken: store the record, then commit. Dropping it changes nothing.
#[derive(Debug)]
#[must_use = "nothing has changed before the commit"]
pub struct Receiving<'a> {
    log: &'a mut Log,
    plan: Plan,
}

impl Receiving<'_> {
    /// What has to be stored first, if anything.
    pub fn record(&self) -> Option<LogRecord> {
        self.plan.record.finish(self.log.records)
    }

    /// For each operation that was given, what becomes of it.
    pub fn verdicts(&self) -> &[Verdict] {
        &self.plan.results
    }

    /// Takes them. Can't fail.
    pub fn commit(self) -> Outcome {
        self.log.commit(self.plan)
    }

    /// What a peer has sent has ended, whatever it says.
    pub(super) fn end(&mut self) {
        self.plan.intake.unfinished = false;
    }

    /// Whether an operation is neither held nor waits.
    pub(super) fn is_missing(&self, id: &OperationId) -> bool {
        !self.log.contains(id) && self.log.waiting.get(id).is_none()
    }

    /// Takes them from a peer that has said what it has. Returns what the log has then: if it is the same, the peer has ended.
    pub(super) fn commit_with_hash(self, theirs: Option<HeadsHash>) -> (Outcome, HeadsHash) {
        let Self { log, plan } = self;
        let peer = plan.intake.peer;
        let outcome = log.commit(plan);
        let hash = log.heads_hash();
        if theirs == Some(hash) {
            log.waiting.set_unfinished(peer, false);
        }
        (outcome, hash)
    }
}

fn owned<'a>(operations: Vec<Verified>) -> Vec<Cow<'a, Verified>> {
    operations.into_iter().map(Cow::Owned).collect()
}

impl Log {
    /// A log from its first operation, whose id the caller knows: everything else can be checked from it. Returns the record to store.
    ///
    /// # Errors
    /// [`OperationError`]: `OtherLog` if the operation is not the one of this name.
    pub fn open(id: OperationId, genesis: &[u8], authors: &dyn Authors) -> Result<(Self, LogRecord), OperationError> {
        let operation = Operation::decode(genesis).map_err(OperationError::Malformed)?;
        let given = (operation.id(), operation, genesis);
        let verified = verify(&id, given, authors, &mut Keys::new(), PeerId([0; 32]))?;
        form::genesis(&verified.operation).map_err(OperationError::Form)?;
        let mut log = Self::empty(id);
        let plan = log.plan_verified(Vec::from([verified]));
        let record = plan.record.finish(0).ok_or(OperationError::OtherLog)?;
        log.commit(plan);
        Ok((log, record))
    }

    pub(super) fn empty(id: OperationId) -> Self {
        Self { id, roster: Roster::new(), waiting: Waiting::default(), records: 0 }
    }

    /// Restores a log from all its records, in the order of their numbers. Signatures are not verified again; every reference is.
    ///
    /// # Errors
    /// [`StateError`]: `Key` for a record that stands at another's place, `Inconsistent` if one is missing.
    pub fn restore<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, StateError> {
        let mut log: Option<Self> = None;
        for (number, bytes) in (0..).zip(records) {
            let operations = record::read(bytes, number)?;
            let log = match (&mut log, operations.first()) {
                (Some(log), _) => log,
                (None, Some(first)) => {
                    form::genesis(&first.operation).map_err(|_| StateError::Invariant)?;
                    log.insert(Self::empty(first.id))
                }
                (None, None) => return Err(StateError::Inconsistent),
            };
            if operations.iter().any(|verified| verified.operation.log != log.id && verified.id != log.id) {
                return Err(StateError::Inconsistent);
            }
            let count = operations.len();
            let plan = log.plan_verified(operations);
            // All are new, have their parents before them, and have the form of an operation.
            if plan.taken != count {
                return Err(StateError::Inconsistent);
            }
            log.commit(plan);
        }
        log.ok_or(StateError::Inconsistent)
    }

    /// Plans without verifying signatures, budget and bounds on what can't count: for what has been taken before.
    pub(super) fn plan_verified(&self, operations: Vec<Verified>) -> Plan {
        let intake = Intake { peer: PeerId([0; 32]), budget: u64::MAX, unfinished: false };
        let mut plan = Plan::new(&self.roster, intake);
        Planner { roster: &self.roster, waiting: &self.waiting, restoring: true }.plan(owned(operations), &mut plan);
        plan
    }

    /// Takes operations that came, in any order, and what waited for them. Signatures are verified with what `authors` says.
    ///
    /// Nothing changes before [`Receiving::commit`]. No operation that is refused hinders another.
    pub fn receive<'a>(&'a mut self, operations: &[&[u8]], authors: &dyn Authors, intake: Intake) -> Receiving<'a> {
        let mut plan = Plan::new(&self.roster, intake);
        let (mut results, mut fresh, mut keys) = (Vec::with_capacity(operations.len()), Vec::new(), Keys::new());
        for bytes in operations {
            let operation = match Operation::decode(bytes) {
                Ok(operation) => operation,
                Err(error) => {
                    results.push((None, Verdict::Refused(OperationError::Malformed(error))));
                    continue;
                }
            };
            let id = operation.id();
            if self.roster.index.find(&id).is_some() {
                results.push((Some(id), Verdict::Known));
                continue;
            }
            match verify(&self.id, (id, operation, bytes), authors, &mut keys, intake.peer) {
                Ok(verified) => {
                    results.push((Some(id), Verdict::Known));
                    fresh.push(verified);
                }
                Err(error) => results.push((None, Verdict::Refused(error))),
            }
        }
        self.planner().plan(owned(fresh), &mut plan);
        plan.results =
            results.into_iter().map(|(id, verdict)| id.and_then(|id| plan.verdict(&id)).unwrap_or(verdict)).collect();
        Receiving { log: self, plan }
    }

    /// Judges what waits, with a new budget: what had gone beyond an earlier one.
    pub fn resume(&mut self, intake: Intake) -> Receiving<'_> {
        let mut plan = Plan::new(&self.roster, intake);
        let waiting = self.waiting.iter().filter(|verified| verified.peer == intake.peer).map(Cow::Borrowed).collect();
        self.planner().plan(waiting, &mut plan);
        plan.results = plan.verdicts.iter().map(|&(_, verdict)| verdict).collect();
        Receiving { log: self, plan }
    }

    /// What would become of operations, judged as if something that counts needed them.
    #[cfg(feature = "vectors")]
    pub(crate) fn judge_for_vectors(&self, operations: &[&[u8]], authors: &dyn Authors) -> Vec<Verdict> {
        let plan_one = |bytes: &&[u8]| {
            let operation = match Operation::decode(bytes) {
                Ok(operation) => operation,
                Err(error) => return Verdict::Refused(OperationError::Malformed(error)),
            };
            let given = (operation.id(), operation, *bytes);
            match verify(&self.id, given, authors, &mut Keys::new(), PeerId([0; 32])) {
                Err(error) => Verdict::Refused(error),
                Ok(verified) => {
                    let id = verified.id;
                    self.plan_verified(Vec::from([verified])).verdict(&id).unwrap_or(Verdict::Known)
                }
            }
        };
        operations.iter().map(plan_one).collect()
    }

    pub(super) fn planner(&self) -> Planner<'_> {
        Planner { roster: &self.roster, waiting: &self.waiting, restoring: false }
    }

    pub(super) fn commit(&mut self, plan: Plan) -> Outcome {
        if self.waiting.len() > 0 {
            for (id, verdict) in &plan.verdicts {
                if matches!(verdict, Verdict::Taken | Verdict::Refused(_)) {
                    self.waiting.remove(id);
                }
            }
        }
        self.waiting.set_unfinished(plan.intake.peer, plan.intake.unfinished);
        for verified in plan.wait {
            self.waiting.insert(verified);
        }
        if plan.taken > 0 {
            self.records = self.records.saturating_add(1);
        }
        let changed = if plan.overlay.len() == 0 {
            Changed::default()
        } else {
            for account in plan.accounts {
                self.roster.meet(account);
            }
            for (author, rank) in &plan.devices {
                self.roster.meet_device(author, *rank);
            }
            let (first, changes) = self.roster.append(plan.overlay);
            let changed = self.roster.evaluate(first, changes);
            if changed.fallen.is_empty() { changed } else { self.judge_aside(changed) }
        };
        let id = |at: &At| self.roster.index.get(*at).map(|entry| entry.id);
        let account = |(at, role): (&AccountAt, &Role)| self.roster.names.list.get(place(*at)).map(|id| (*id, *role));
        Outcome {
            verdicts: plan.results,
            roles: changed.roles.iter().filter_map(account).collect(),
            settings: changed.settings.into_iter().collect(),
            fallen: changed.fallen.iter().filter_map(id).collect(),
            spent: plan.spent,
        }
    }

    /// Where something counts no more, what it had taken may count again: everything that is aside is judged with the rest.
    fn judge_aside(&mut self, mut changed: Changed) -> Changed {
        let aside: Vec<At> = self.roster.index.aside.iter().copied().collect();
        if aside.is_empty() {
            return changed;
        }
        let intake = Intake { peer: PeerId([0; 32]), budget: u64::MAX, unfinished: false };
        let mut plan = Plan::new(&self.roster, intake);
        self.planner().bring_back(aside, &mut plan);
        let (first, changes) = self.roster.append(plan.overlay);
        let more = self.roster.evaluate(first, changes);
        for (account, role) in more.roles {
            changed.roles.entry(account).or_insert(role);
        }
        changed.roles.retain(|&at, before| self.roster.account(at).is_none_or(|account| account.role != *before));
        changed.settings.extend(more.settings);
        // What stood aside from the first judgement on has another place now.
        for at in &mut changed.fallen {
            *at = self.roster.index.resolve(*at);
        }
        changed.fallen.retain(|&at| self.roster.index.is(at, ASIDE) || !self.roster.is_live(at));
        changed
    }

    /// The log's name: the id of its first operation.
    pub fn id(&self) -> OperationId {
        self.id
    }

    /// Its owner.
    pub fn owner(&self) -> Option<AccountId> {
        self.roster.names.list.first().copied()
    }

    /// What an account is at present.
    pub fn role(&self, account: &AccountId) -> Role {
        self.roster.find_account(account).map_or(Role::None, |account| account.role)
    }

    /// Who is in, with their roles.
    pub fn members(&self) -> impl Iterator<Item = (AccountId, Role)> {
        let accounts = self.roster.names.list.iter().zip(&self.roster.accounts);
        accounts.filter(|(_, account)| account.role != Role::None).map(|(id, account)| (*id, account.role))
    }

    /// A setting.
    pub fn setting(&self, key: u8) -> Option<Vec<u8>> {
        let changes = self.roster.index.get(*self.roster.settings.get(&key)?)?.changes();
        changes.into_iter().find_map(|change| match change {
            Change::Set { key: other, value } if other == key => Some(value),
            _ => None,
        })
    }

    /// The operation that holds a setting.
    pub fn setting_from(&self, key: u8) -> Option<OperationId> {
        self.roster.index.get(*self.roster.settings.get(&key)?).map(|entry| entry.id)
    }

    /// The heads of what counts, ascending: what a new operation builds on.
    pub fn heads(&self) -> Vec<OperationId> {
        let at = self.roster.index.heads.iter();
        let mut heads: Vec<OperationId> =
            at.filter_map(|&at| self.roster.index.get(at)).map(|entry| entry.id).collect();
        heads.sort_unstable();
        heads
    }

    /// Operations that count, and their pasts.
    pub fn len(&self) -> usize {
        self.roster.index.kept
    }

    /// Never: the first operation counts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Operations that wait. They are not stored.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether an operation is held: it counts, is in the past of one that does, or once was.
    pub fn contains(&self, id: &OperationId) -> bool {
        self.roster.index.find(id).is_some()
    }

    /// Whether an operation is effective at present: what it says about who is in, or a setting, is heard.
    pub fn is_effective(&self, id: &OperationId) -> bool {
        self.roster.index.find(id).is_some_and(|at| self.roster.index.is(at, EFFECTIVE))
    }

    /// Whether an operation counts, or is in the past of one that does.
    pub fn is_kept(&self, id: &OperationId) -> bool {
        self.roster.index.find(id).is_some_and(|at| self.roster.index.is(at, KEPT))
    }

    /// Whether an operation counts: it is effective, a retiring, or the leaving of an addition that is effective.
    pub fn counts(&self, id: &OperationId) -> bool {
        self.roster.index.find(id).is_some_and(|at| !self.roster.index.is(at, ASIDE) && self.roster.is_live(at))
    }

    /// An operation's encoding.
    pub fn operation(&self, id: &OperationId) -> Option<&[u8]> {
        self.roster.index.get(self.roster.index.find(id)?).map(|entry| &*entry.bytes)
    }

    /// Operations visited in evaluation, since the log was made or restored: what budgets are measured in.
    pub fn steps(&self) -> u64 {
        self.roster.steps
    }

    /// An operation on the present heads, to be signed and given to [`Self::receive`]. Whether its author may make these changes
    /// shows there.
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn draft(&self, author: Author, changes: Vec<Change>) -> Result<Draft, DraftError> {
        let mut heads = self.heads();
        if heads.len() > MAX_PARENTS {
            if !changes.is_empty() {
                return Err(DraftError::TooManyHeads);
            }
            heads.truncate(MAX_PARENTS);
        }
        Draft::new(self.id, author, heads, changes).map_err(DraftError::Changes)
    }

    /// Leavings, one for each addition of the author that is in effect and that it has not ended yet.
    ///
    /// # Errors
    /// [`DraftError::NotMember`] if there is none.
    pub fn draft_leave(&self, author: Author) -> Result<Vec<Draft>, DraftError> {
        let at = self.roster.names.find(&author.account).filter(|&at| at != OWNER).ok_or(DraftError::NotMember)?;
        let mut drafts = Vec::new();
        for mark in self.roster.account(at).into_iter().flat_map(|account| &account.marks) {
            if !mark.kind.adds() || !self.roster.is_effective(mark.at) || self.roster.has_left(at, mark.at) {
                continue;
            }
            let parents = self.roster.index.get(mark.at).map(|entry| entry.id).into_iter().collect();
            drafts.push(Draft::new(self.id, author, parents, Vec::from([Change::Leave])).map_err(DraftError::Changes)?);
        }
        if drafts.is_empty() { Err(DraftError::NotMember) } else { Ok(drafts) }
    }

    /// The operations, in effect, that made an account a member or an admin.
    pub fn additions(&self, account: &AccountId) -> Vec<OperationId> {
        let marks = self.roster.find_account(account).into_iter().flat_map(|account| &account.marks);
        marks
            .filter(|mark| matches!(mark.kind, Kind::Add | Kind::Appoint) && self.roster.is_effective(mark.at))
            .filter_map(|mark| self.roster.index.get(mark.at))
            .map(|entry| entry.id)
            .collect()
    }
}
