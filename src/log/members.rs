//! Rule 4: who is in. Most accounts are judged by comparing places with bases; for the rest, what 256 removals at a time have in
//! their future is computed in one pass over the operations, for all accounts at once.

use super::index::{AccountAt, At, OWNER, place};
use super::roster::{Kind, Role, Roster};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// One bit for each of 256 removals.
type Lanes = [u64; 4];
const LANES: usize = 256;
/// Bans times lifts of an account, up to which additions are compared with each of them.
const MAX_PLAIN: usize = 1_024;

fn or(to: &mut Lanes, from: &Lanes) {
    for (to, from) in to.iter_mut().zip(from) {
        *to |= from;
    }
}

fn and(a: &Lanes, b: &Lanes) -> Lanes {
    let mut both = *a;
    for (to, from) in both.iter_mut().zip(b) {
        *to &= from;
    }
    both
}

fn set(lanes: &mut Lanes, lane: usize) {
    if let Some(word) = lanes.get_mut(lane >> 6) {
        *word |= 1 << (lane & 63);
    }
}

fn has(lanes: &Lanes, lane: usize) -> bool {
    lanes.get(lane >> 6).is_some_and(|word| word >> (lane & 63) & 1 != 0)
}

/// What places and bases say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plain {
    Holds,
    Fails,
    Open,
}

/// A removal, as an addition meets it.
#[derive(Debug, Clone, Copy)]
struct Removal {
    at: At,
    ban: bool,
    owners: bool,
}

/// What decides whether an account is in.
#[derive(Debug, Default)]
struct Case {
    /// Additions that may hold.
    additions: Vec<At>,
    removals: Vec<Removal>,
    lifts: Vec<At>,
}

impl Roster {
    /// Judges these accounts. Returns those whose role has changed, with what it was.
    pub(super) fn judge_members(&mut self, accounts: &BTreeSet<AccountAt>) -> BTreeMap<AccountAt, Role> {
        let mut roles = BTreeMap::new();
        let mut open: Vec<(AccountAt, bool, Case)> = Vec::new();
        for &account in accounts {
            if account == OWNER {
                continue;
            }
            let appointed = self.is_appointed(account);
            let mut case = self.case(account, appointed);
            let plain: Vec<Plain> = case.additions.iter().map(|&addition| self.plain(addition, &case)).collect();
            let mut verdicts = plain.iter();
            case.additions.retain(|_| verdicts.next() == Some(&Plain::Open));
            if plain.contains(&Plain::Holds) {
                self.set_role(account, true, appointed, &mut roles);
            } else if case.additions.is_empty() {
                self.set_role(account, false, appointed, &mut roles);
            } else {
                open.push((account, appointed, case));
            }
        }
        self.judge_open(&mut open);
        for (account, appointed, case) in open {
            self.set_role(account, !case.additions.is_empty(), appointed, &mut roles);
        }
        roles
    }

    fn set_role(&mut self, at: AccountAt, member: bool, appointed: bool, roles: &mut BTreeMap<AccountAt, Role>) {
        let Some(account) = self.accounts.get_mut(place(at)) else { return };
        let role = match (member, appointed) {
            (false, _) => Role::None,
            (true, false) => Role::Member,
            (true, true) => Role::Admin,
        };
        let before = core::mem::replace(&mut account.role, role);
        if before != role {
            roles.insert(at, before);
        }
    }

    /// Whether the owner has appointed an account, and not cut it since; and it has not left by that appointment.
    fn is_appointed(&mut self, account: AccountAt) -> bool {
        let (grants, cuts) = self.grants_and_cuts(account);
        let last = cuts.last().copied();
        let fresh = grants.into_iter().rev().take_while(|&grant| last.is_none_or(|cut| grant > cut));
        for grant in fresh.collect::<Vec<_>>() {
            let base = self.base(grant);
            let open: Vec<At> = cuts.iter().rev().copied().take_while(|&cut| cut >= base).collect();
            let view = self.index.view();
            let seen = if open.is_empty() { None } else { view.past(view.parents(grant), base, u64::MAX) };
            let steps = seen.as_ref().map_or(1, |(_, steps)| *steps);
            let knows = open.iter().all(|&cut| seen.as_ref().is_some_and(|(seen, _)| seen.has(cut)));
            self.steps = self.steps.saturating_add(steps);
            if knows && !self.has_left(account, grant) {
                return true;
            }
        }
        false
    }

    /// The newest additions and removals of an account, as far as they matter: what is below a removal's base is gone.
    fn case(&mut self, at: AccountAt, protected: bool) -> Case {
        let mut case = Case::default();
        let Some(account) = self.account(at) else { return case };
        let (mut fence, mut low, mut steps) = (0, At::MAX, 0_u64);
        for mark in account.marks.iter().rev() {
            let settled = case.removals.is_empty() && !case.additions.is_empty() && mark.at < low;
            if !account.ever_banned && (settled || mark.at < fence.min(low)) {
                break;
            }
            steps = steps.saturating_add(1);
            if !self.is_effective(mark.at) {
                continue;
            }
            let owners = self.is_owners(mark.at);
            if mark.kind.adds() && mark.at >= fence && !self.has_left(at, mark.at) {
                low = low.min(self.base(mark.at));
                case.additions.push(mark.at);
            } else if mark.kind.removes() && (owners || !protected) {
                fence = fence.max(self.base(mark.at));
                case.removals.push(Removal { at: mark.at, ban: mark.kind == Kind::Ban, owners });
            } else if mark.kind == Kind::Lift {
                case.lifts.push(mark.at);
            }
        }
        case.additions.retain(|&addition| addition >= fence);
        self.steps = self.steps.saturating_add(steps);
        case
    }

    /// Whether an addition holds, as far as places and bases tell.
    fn plain(&self, addition: At, case: &Case) -> Plain {
        let (base, owners) = (self.base(addition), self.is_owners(addition));
        // Each of many additions would meet all of them: one pass tells more cheaply.
        if case.removals.len().saturating_mul(case.lifts.len()) > MAX_PLAIN {
            return Plain::Open;
        }
        let mut open = false;
        for removal in &case.removals {
            // An admin's removal does not reach what the owner did at the same time.
            let weak = owners && !removal.owners;
            if removal.at >= base {
                if removal.at > addition {
                    if !weak || addition < self.base(removal.at) {
                        return Plain::Fails;
                    }
                    open = true;
                } else if !weak {
                    open = true;
                }
            }
            if removal.ban && !weak {
                match self.plain_lift(addition, base, *removal, &case.lifts) {
                    Plain::Holds => {}
                    Plain::Fails => return Plain::Fails,
                    Plain::Open => open = true,
                }
            }
        }
        if open { Plain::Open } else { Plain::Holds }
    }

    /// Whether a lift that knows of the ban is in the addition's past.
    fn plain_lift(&self, addition: At, base: At, ban: Removal, lifts: &[At]) -> Plain {
        let mut open = false;
        for &lift in lifts.iter().filter(|&&lift| ban.at < lift && lift < addition && self.may_lift(lift, ban)) {
            if ban.at < self.base(lift) && lift < base {
                return Plain::Holds;
            }
            open = true;
        }
        if open { Plain::Open } else { Plain::Fails }
    }

    /// The owner's bans are lifted by the owner.
    fn may_lift(&self, lift: At, ban: Removal) -> bool {
        !ban.owners || self.is_owners(lift)
    }

    /// Leaves in each case the additions that hold.
    fn judge_open(&mut self, open: &mut [(AccountAt, bool, Case)]) {
        let lanes: Vec<(usize, Removal)> = open
            .iter()
            .enumerate()
            .flat_map(|(which, (_, _, case))| case.removals.iter().map(move |&removal| (which, removal)))
            .collect();
        for block in lanes.chunks(LANES) {
            self.judge_block(block, open);
        }
    }

    fn judge_block(&mut self, block: &[(usize, Removal)], open: &mut [(AccountAt, bool, Case)]) {
        let Some(first) = block.iter().map(|(_, removal)| removal.at).min() else { return };
        let cases: BTreeMap<usize, Vec<(usize, Removal)>> =
            block.iter().enumerate().fold(BTreeMap::new(), |mut cases, (lane, &(which, removal))| {
                cases.entry(which).or_insert_with(Vec::new).push((lane, removal));
                cases
            });
        let concerned = || cases.keys().filter_map(|&which| open.get(which));
        let additions = || concerned().flat_map(|(_, _, case)| case.additions.iter().copied());
        let Some(end) = additions().max().map(|last| last.saturating_add(1)) else { return };
        let end = end.max(block.iter().map(|(_, removal)| removal.at.saturating_add(1)).max().unwrap_or(0));
        let lifts: BTreeMap<At, Lanes> = cases.iter().fold(BTreeMap::new(), |mut lifts, (&which, lanes)| {
            for &lift in open.get(which).map(|(_, _, case)| case.lifts.as_slice()).unwrap_or_default() {
                for &(lane, removal) in lanes {
                    if removal.ban && self.may_lift(lift, removal) {
                        set(lifts.entry(lift).or_default(), lane);
                    }
                }
            }
            lifts
        });
        let (seen, lifted) = self.upward(block, &lifts, first, end);
        // Only the owner's additions ask whether an admin's removal has seen them.
        let low = additions().filter(|&addition| self.is_owners(addition)).min();
        let known = low.map(|low| (low, self.downward(block, low, end)));
        for (&which, lanes) in &cases {
            let Some((_, _, case)) = open.get_mut(which) else { continue };
            case.additions.retain(|&addition| {
                let look = |table: &Vec<Lanes>, from: At| {
                    addition.checked_sub(from).and_then(|at| table.get(place(at))).copied().unwrap_or_default()
                };
                let (seen, lifted) = (look(&seen, first), lifted.as_ref().map_or([0; 4], |table| look(table, first)));
                let known = known.as_ref().map_or([0; 4], |(low, table)| look(table, *low));
                let owners = self.is_owners(addition);
                lanes.iter().all(|&(lane, removal)| {
                    let weak = owners && !removal.owners;
                    (has(&seen, lane) || (weak && !has(&known, lane))) && (!removal.ban || weak || has(&lifted, lane))
                })
            });
        }
    }

    /// For each operation from `first` on, which removals it is or has in its past, and which of these a lift in its past lifts.
    fn upward(
        &mut self,
        block: &[(usize, Removal)],
        lifts: &BTreeMap<At, Lanes>,
        first: At,
        end: At,
    ) -> (Vec<Lanes>, Option<Vec<Lanes>>) {
        let len = place(end.saturating_sub(first));
        let mut seen: Vec<Lanes> = alloc::vec![[0; 4]; len];
        let mut lifted: Option<Vec<Lanes>> = (!lifts.is_empty()).then(|| alloc::vec![[0; 4]; len]);
        for (lane, (_, removal)) in block.iter().enumerate() {
            if let Some(lanes) = seen.get_mut(place(removal.at.saturating_sub(first))) {
                set(lanes, lane);
            }
        }
        let view = self.index.view();
        for at in first..end {
            let here = place(at.saturating_sub(first));
            let mut sum = seen.get(here).copied().unwrap_or_default();
            let mut lifts_sum = [0; 4];
            for parent in view.parents(at).iter().filter_map(|parent| parent.checked_sub(first)).map(place) {
                or(&mut sum, seen.get(parent).unwrap_or(&[0; 4]));
                if let Some(lifted) = &lifted {
                    or(&mut lifts_sum, lifted.get(parent).unwrap_or(&[0; 4]));
                }
            }
            if let Some(lanes) = seen.get_mut(here) {
                *lanes = sum;
            }
            if let Some(lifted) = lifted.as_mut().and_then(|lifted| lifted.get_mut(here)) {
                if let Some(may) = lifts.get(&at) {
                    or(&mut lifts_sum, &and(&sum, may));
                }
                *lifted = lifts_sum;
            }
        }
        self.steps = self.steps.saturating_add(u64::from(end.saturating_sub(first)));
        (seen, lifted)
    }

    /// For each operation from `low` on, which removals have it in their past.
    fn downward(&self, block: &[(usize, Removal)], low: At, end: At) -> Vec<Lanes> {
        let mut known: Vec<Lanes> = alloc::vec![[0; 4]; place(end.saturating_sub(low))];
        for (lane, (_, removal)) in block.iter().enumerate() {
            if let Some(lanes) = removal.at.checked_sub(low).and_then(|at| known.get_mut(place(at))) {
                set(lanes, lane);
            }
        }
        let view = self.index.view();
        for at in (low..end).rev() {
            let lanes = known.get(place(at.saturating_sub(low))).copied().unwrap_or_default();
            if lanes == [0; 4] {
                continue;
            }
            for parent in view.parents(at).iter().filter_map(|parent| parent.checked_sub(low)) {
                if let Some(parent) = known.get_mut(place(parent)) {
                    or(parent, &lanes);
                }
            }
        }
        known
    }
}
