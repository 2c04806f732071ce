//! What would become of operations that came: computed from `&self`, nothing is changed.

use super::author::Author;
use super::batch::{Batch, Cost};
use super::form::{Candidate, Planned};
use super::index::{ASIDE, At, MOVED, New, Overlay, View, count};
use super::operation::{Change, Operation};
use super::record;
use super::roster::Roster;
use super::waiting::{Verified, Waiting};
use crate::error::OperationError;
use crate::keys::{AccountId, OperationId, PeerId};
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// What became of an operation that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is in the log from now on. Whether it is effective, the log says.
    Taken,
    /// It was in the log.
    Known,
    /// It waits for operations that it builds on: ask who brought it for them.
    WaitsForParents,
    /// It can't count now, and nothing that can needs it. It waits, as one of few of its author.
    CannotCount,
    /// The peer's budget is used up. It waits, and is judged when the budget allows.
    OverBudget,
    /// It is refused.
    Refused(OperationError),
}

/// Who brings operations, and what they may cost.
#[derive(Debug, Clone, Copy)]
pub struct Intake {
    /// Who.
    pub peer: PeerId,
    /// Steps of evaluation that its operations may cost: [`crate::limits::MAX_EVALUATION_STEPS`] a minute. The last one taken may
    /// cost more than is left.
    pub budget: u64,
    /// Whether the peer has said that more is to come. Then operations that can't count are kept until the rest has come.
    pub unfinished: bool,
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) overlay: Overlay,
    pub(super) accounts: Vec<AccountId>,
    pub(super) devices: Vec<(Author, u16)>,
    /// How many are taken.
    pub(super) taken: usize,
    pub(super) wait: Vec<Verified>,
    /// By id.
    pub(super) verdicts: Vec<(OperationId, Verdict)>,
    /// One for each operation that was given.
    pub(super) results: Vec<Verdict>,
    pub(super) record: record::Draft,
    pub(super) spent: u64,
    pub(super) intake: Intake,
    planned: Planned,
    /// The longest way back of a late operation.
    window: u64,
}

impl Plan {
    pub(super) fn new(roster: &Roster, intake: Intake) -> Self {
        Self {
            overlay: Overlay::new(&roster.index),
            accounts: Vec::new(),
            devices: Vec::new(),
            taken: 0,
            wait: Vec::new(),
            verdicts: Vec::new(),
            results: Vec::new(),
            record: record::Draft::default(),
            spent: 0,
            intake,
            planned: Planned::default(),
            window: 0,
        }
    }

    /// What became of an operation that was planned.
    pub(super) fn verdict(&self, id: &OperationId) -> Option<Verdict> {
        let at = self.verdicts.binary_search_by_key(id, |&(id, _)| id).ok()?;
        self.verdicts.get(at).map(|&(_, verdict)| verdict)
    }

    /// One waits from now on, if it does not yet.
    fn wait(&mut self, verified: Cow<'_, Verified>) {
        if let Cow::Owned(verified) = verified {
            self.wait.push(verified);
        }
    }

    /// The place that an account will have.
    fn account(&mut self, roster: &Roster, id: AccountId) -> u32 {
        if let Some(at) = roster.names.find(&id) {
            return at;
        }
        let new = self.accounts.iter().position(|other| *other == id).unwrap_or_else(|| {
            self.accounts.push(id);
            self.accounts.len().saturating_sub(1)
        });
        count(roster.names.list.len().saturating_add(new))
    }

    /// The place that a device will have.
    fn device(&mut self, roster: &Roster, author: &Author, rank: u16) -> u32 {
        let account = self.account(roster, author.account);
        if let Some(at) = roster.find_device(account, &author.device, &author.admission) {
            return at;
        }
        let new = self.devices.iter().position(|(other, _)| other == author).unwrap_or_else(|| {
            self.devices.push((*author, rank));
            self.devices.len().saturating_sub(1)
        });
        count(roster.devices.len().saturating_add(new))
    }
}

/// One that is not taken, and why.
type NotTaken<'a> = Box<(Verdict, Cow<'a, Verified>)>;

/// What is planned from: a roster and what waits.
pub(super) struct Planner<'a> {
    pub(super) roster: &'a Roster,
    pub(super) waiting: &'a Waiting,
    /// Whether these are the log's own records: everything in them is taken again.
    pub(super) restoring: bool,
}

impl<'a> Planner<'a> {
    pub(super) fn is_known(&self, id: &OperationId) -> bool {
        self.roster.index.find(id).is_some()
    }

    /// Plans to take these, and what waits for them. Each that is looked at costs a step.
    pub(super) fn plan(&self, given: Vec<Cow<'a, Verified>>, plan: &mut Plan) {
        let mut batch = Batch::default();
        for verified in given {
            if !self.is_known(&verified.id) {
                batch.add(verified);
            }
        }
        self.gather(&mut batch, plan);
        let mut order = self.order(&batch);
        let stirs = !self.restoring && self.stirs(&batch, &order);
        if stirs {
            let before = batch.list.len();
            for verified in self.waiting.iter().filter(|verified| !self.waiting.is_unfinished(&verified.peer)) {
                batch.add(Cow::Borrowed(verified));
            }
            let added = batch.list.len().saturating_sub(before);
            plan.spent = plan.spent.saturating_add(u64::from(count(added)));
            order = self.order(&batch);
        }
        let needed = self.needed(&batch, stirs);
        for which in order {
            let Some(verified) = batch.list.get_mut(which).and_then(Option::take) else { continue };
            let id = verified.id;
            let verdict = if needed.get(which) == Some(&true) {
                self.take(verified, plan)
            } else {
                Err(Box::new((Verdict::CannotCount, verified)))
            };
            let verdict = match verdict {
                Ok(()) => Verdict::Taken,
                Err(refused) => {
                    let (verdict, verified) = *refused;
                    if !matches!(verdict, Verdict::Refused(_)) {
                        plan.wait(verified);
                    }
                    verdict
                }
            };
            plan.verdicts.push((id, verdict));
        }
        plan.spent = plan.spent.saturating_add(plan.window.saturating_mul(2));
        for verified in batch.list.into_iter().flatten() {
            plan.verdicts.push((verified.id, Verdict::WaitsForParents));
            plan.wait(verified);
        }
        plan.verdicts.sort_unstable_by_key(|&(id, _)| id);
    }

    /// Adds what waits and has to do with what came, as far as the budget goes: without one, nothing is taken anyway.
    fn gather(&self, batch: &mut Batch<'a>, plan: &mut Plan) {
        if self.waiting.len() == 0 {
            return;
        }
        let mut next = 0;
        while let Some(Some(verified)) = batch.list.get(next) {
            if plan.spent >= plan.intake.budget {
                return;
            }
            next = next.saturating_add(1);
            let parents = verified.operation.parents.iter().filter_map(|parent| self.waiting.get(parent));
            let related: Vec<&Verified> = parents.chain(self.waiting.children(&verified.id)).collect();
            let before = batch.list.len();
            for verified in related {
                batch.add(Cow::Borrowed(verified));
            }
            let added = batch.list.len().saturating_sub(before);
            plan.spent = plan.spent.saturating_add(u64::from(count(added)));
        }
    }

    /// Those whose whole past is here, parents first.
    fn order(&self, batch: &Batch<'_>) -> Vec<usize> {
        let mut open: Vec<u32> = alloc::vec![0; batch.list.len()];
        let mut children: Vec<Vec<usize>> = alloc::vec![Vec::new(); batch.list.len()];
        for (which, (verified, open)) in batch.list.iter().flatten().zip(&mut open).enumerate() {
            for parent in verified.operation.parents.iter().filter(|parent| !self.is_known(parent)) {
                *open = open.saturating_add(1);
                if let Some(children) = batch.find(parent).and_then(|parent| children.get_mut(parent)) {
                    children.push(which);
                }
            }
        }
        let mut order: Vec<usize> = (0..open.len()).filter(|&which| open.get(which) == Some(&0)).collect();
        let mut next = 0;
        while let Some(which) = order.get(next).copied() {
            next = next.saturating_add(1);
            for &child in children.get(which).into_iter().flatten() {
                if let Some(left) = open.get_mut(child) {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        order.push(child);
                    }
                }
            }
        }
        order
    }

    /// Plans to take one whose parents are here.
    fn take(&self, verified: Cow<'a, Verified>, plan: &mut Plan) -> Result<(), NotTaken<'a>> {
        if plan.spent >= plan.intake.budget {
            return Err(Box::new((Verdict::OverBudget, verified)));
        }
        let view = View { index: &self.roster.index, overlay: Some(&plan.overlay) };
        let mut parents: Vec<At> = verified.operation.parents.iter().filter_map(|parent| view.find(parent)).collect();
        if parents.iter().any(|&at| self.roster.index.is(at, ASIDE)) {
            self.bring_back(parents, plan);
            let view = View { index: &self.roster.index, overlay: Some(&plan.overlay) };
            parents = verified.operation.parents.iter().filter_map(|parent| view.find(parent)).collect();
        }
        if parents.len() != verified.operation.parents.len() {
            // A parent was refused, or waits.
            return Err(Box::new((Verdict::WaitsForParents, verified)));
        }
        let (roster, overlay, planned) = (self.roster, &plan.overlay, &plan.planned);
        let candidate = Candidate { roster, overlay, planned, operation: &verified.operation, parents: &parents };
        if !verified.operation.is_genesis() {
            match candidate.check() {
                Ok(steps) => plan.spent = plan.spent.saturating_add(steps),
                Err(error) => return Err(Box::new((Verdict::Refused(error), verified))),
            }
        }
        plan.record.push(&verified);
        plan.taken = plan.taken.saturating_add(1);
        let Verified { id, operation, bytes, rank, target, .. } = verified.into_owned();
        self.push(id, operation, bytes, (rank, target), &parents, plan);
        Ok(())
    }

    fn push(
        &self,
        id: OperationId,
        operation: Operation,
        bytes: Vec<u8>,
        (rank, target): (u16, Option<u16>),
        parents: &[At],
        plan: &mut Plan,
    ) {
        let device = plan.device(self.roster, &operation.author, rank);
        let author = plan.account(self.roster, operation.author.account);
        if let ([Change::Retire { device, admission }], Some(target)) = (operation.changes.as_slice(), target) {
            let retired = Author { device: *device, admission: *admission, ..operation.author };
            plan.device(self.roster, &retired, target);
        }
        let judging = Cost::of(self.roster, &operation);
        plan.planned.note(plan.overlay.next(), &operation);
        let new = New { id, author, device, changes: operation.changes, bytes: bytes.into_boxed_slice() };
        let (at, steps) = plan.overlay.push(&self.roster.index, new, parents);
        let base = plan.overlay.get(at).map_or(at, |entry| entry.base);
        let window = u64::from(at.saturating_sub(base));
        plan.window = plan.window.max(window);
        plan.spent = plan.spent.saturating_add(steps).saturating_add(judging.steps(window));
    }

    /// Plans to bring operations back from aside, with what is aside of their past, parents first.
    pub(super) fn bring_back(&self, from: Vec<At>, plan: &mut Plan) {
        let index = &self.roster.index;
        let (mut stack, mut found) = (from, BTreeSet::new());
        while let Some(at) = stack.pop() {
            let Some(entry) = index.get(at).filter(|entry| entry.is(ASIDE) && !entry.is(MOVED)) else { continue };
            if plan.overlay.find(&entry.id).is_some() || !found.insert((entry.height, at)) {
                continue;
            }
            stack.extend(index.view().parents(at).iter().map(|&parent| index.resolve(parent)));
        }
        for (_, at) in found {
            let Some(entry) = index.get(at) else { continue };
            let Ok(operation) = Operation::decode(&entry.bytes) else { continue };
            let view = View { index, overlay: Some(&plan.overlay) };
            let parents: Vec<At> = operation.parents.iter().filter_map(|parent| view.find(parent)).collect();
            let rank = self.roster.rank(entry.device);
            let to = index.len().saturating_add(count(plan.overlay.len()));
            self.push(entry.id, operation, Vec::new(), (rank, None), &parents, plan);
            plan.overlay.back.insert(to, at);
        }
    }
}
