//! Every bound, each with its reason. docs/PROTOCOL.md, "Bounds".

/// Longest sealed message with its version and kind bytes: a relay, a decoder and a phone can hold it in memory.
pub const MAX_SEALED_LEN: usize = 1 << 20;

/// Longest content of one message: what is left of [`MAX_SEALED_LEN`] after the fixed fields and the room that is
/// always reserved for fragments. Longer content is for the application to split or to attach.
pub const MAX_CONTENT: usize = MAX_SEALED_LEN - SEALED_FIXED_LEN - FRAGMENT_RESERVE;

/// Bytes of a sealed message, its version and kind included, that are neither content nor padding.
pub const SEALED_FIXED_LEN: usize = 144;

/// Room for one fragment of four symbols, reserved in every message before its bucket is chosen, so that sizes never
/// tell whether key material travels.
pub const FRAGMENT_RESERVE: usize = 139;

/// Smallest sealed message with its version and kind bytes, and the default padding's smallest bucket: it holds every
/// ordinary text and leaves room for post-quantum key material.
pub const MIN_SEALED_LEN: usize = 640;

/// Messages that one envelope may jump over, behind an authentic header. Each costs one key derivation: all of them some 10
/// milliseconds, and 2,000 keys to store.
pub const MAX_JUMP: u32 = 8_192;

/// The same in an introduction that is not accepted yet: anyone with a bundle can make one. As many as keys are kept.
pub const MAX_FIRST_JUMP: u32 = 2_000;

/// Keys of skipped messages kept per session; the oldest go first. 2,000 keys are about 110 kB of state if they are of few
/// chains, and 190 kB if each is of a chain of its own.
pub const MAX_SKIPPED: usize = 2_000;

/// Skipped keys in one stored record, so that using one key rewrites little.
pub(crate) const SKIPPED_PER_BLOCK: u64 = 64;

/// Coming messages of a receiving chain that are recognised at once; a longer gap needs a search.
pub const TAG_WINDOW: u32 = 16;

/// The same for the chain that comes after the current one.
pub const NEXT_TAG_WINDOW: u32 = 8;

/// Opened positions of the current and the previous chain whose tags are recognised as duplicates.
pub const SPENT_WINDOW: u32 = 64;

/// Fragments of key material in one message: two are ever needed, and each can cost a reconstruction and a decapsulation.
pub const MAX_FRAGMENTS: usize = 4;

/// Messages in one chain: tags are distinct, and far below the AEAD's limits.
pub const MAX_CHAIN_LEN: u32 = 1 << 31;

/// Sessions with one peer that still receive beside the one that sends: crossings and lost states leave a few.
pub const MAX_FADING: usize = 4;

/// One-time prekeys held: a store of about 118 kB, weeks of first messages.
pub const MAX_ONE_TIME_PREKEYS: usize = 1_000;

/// Signed prekeys held, the current one and those in their grace period.
pub const MAX_SIGNED_PREKEYS: usize = 16;

/// Introductions accepted under one signed prekey: bounds the record of them, 32 bytes each.
pub const MAX_INTRODUCTIONS: usize = 65_536;

/// Introductions in one stored record, so that accepting one rewrites little.
pub(crate) const INTRODUCTIONS_PER_BLOCK: usize = 256;

/// `created_at` of an introduction stays below this, so that a rank above it always exists for the next.
pub const CREATED_AT_END: u64 = 1 << 62;

/// How far ahead of the receiver's time, in seconds, `created_at` of an introduction, or of a rank that a peer tells, may lie: a
/// clock that begins in 1970 still accepts today's, and nobody makes a session that can't be outranked.
pub const MAX_CREATED_AHEAD: u64 = 1 << 32;

/// Messages that a device seals in one chain without an answer before it introduces itself anew: the peer may have lost what
/// it needs to open them. With a peer that answers as [`ANSWER_AFTER`] says it takes eight lost answers to come so far.
pub const MAX_UNANSWERED: u32 = 256;

/// Chains that an initiator begins until it is overdue that it proves its identity: three times as many as the most that
/// `--example healing` measures, where messages fill their buckets and a third of them is lost.
pub const OVERDUE_TURNS: u32 = 120;

/// How often the KEM key of an identity decapsulates in one session: once, and again when the peer has fallen back to an old
/// state.
pub const MAX_IDENTITY_ANSWERS: u8 = 4;

/// For so many messages opened in one chain, one is owed in return, so that the peer knows that it is heard, and the ratchet turns.
pub const ANSWER_AFTER: u32 = 32;

/// Peers that have introduced themselves and were not accepted: when there are as many, others are refused.
pub const MAX_STRANGERS: usize = 256;

/// Envelopes opened lately, in one stored record, so that opening one rewrites little.
pub(crate) const RECENT_PER_BLOCK: usize = 32;

/// Records of envelopes opened lately: 4,096 of them, 12 bytes each, are known when they come again.
pub(crate) const MAX_RECENT_BLOCKS: usize = 128;

/// One-time prekeys of a peer that are remembered as used: the same bundle given again is noticed.
pub(crate) const MAX_USED_PREKEYS: usize = 16;

/// Ids in one receipt.
pub const MAX_RECEIPT_IDS: usize = 256;

/// Members of a group: a roster of them takes 1.05 MB.
pub const MAX_GROUP_MEMBERS: usize = 10_000;

/// Changes in one commit: at most 0.4 MB.
pub const MAX_GROUP_CHANGES: usize = 4_096;

/// Commits that can be undone when a better one for the same roster arrives late, and passed on to who misses them.
pub const MAX_KEPT_COMMITS: usize = 8;

/// Epochs whose late messages can still be read.
pub const MAX_KEPT_EPOCHS: usize = 64;

/// Receiving chains kept for one member of a group: the one in use and those whose late messages may come. As many as a member
/// begins in two weeks, by default, with 1,500 messages: who was away reads all of it.
pub const MAX_MEMBER_CHAINS: usize = 16;

/// Commits of one peer and group that wait for what comes before them: the oldest go first.
pub const MAX_WAITING: usize = 8;

/// Commits, and announcements, of one peer that wait, over all groups.
pub const MAX_WAITING_OF_PEER: usize = 32;

/// Bytes of what waits of one peer: the oldest go first. A few of the longest commits.
pub(crate) const MAX_WAITING_BYTES: usize = 1 << 20;

/// Longest commit that is kept for a group that is not known yet: strangers can fill no disk with them.
pub(crate) const MAX_WAITING_UNKNOWN: usize = 4_096;

/// Commits that wait and are compared with the branch that is followed, when the roster changes, each counted as often as its
/// peer has some waiting: in a group of 10,000 one costs some milliseconds. The others are compared when it changes again.
pub(crate) const MAX_COMPARISONS: usize = 256;

/// To so many who are not in a group, and were not put out of it lately, something is owed: they stand in no member's way.
pub(crate) const MAX_STRANGERS_OWED: usize = 64;

/// Groups of one device: each costs a roster.
pub const MAX_GROUPS: usize = 1_024;

/// Groups into which one peer can bring this device: those of which it is an admin. One peer can't use up all.
pub const MAX_GROUPS_OF_PEER: usize = 64;

/// Bytes of envelopes for single members of a group that are made at once, but for the last of them; the rest stays owed.
pub const MAX_GROUP_BATCH: usize = 64 << 20;

/// Longest attachment, 1 TiB: far below what one key may encrypt, and 2^24 chunks.
pub const MAX_ATTACHMENT: u64 = 1 << 40;

/// Mailboxes to listen on for one session: the next, the current and the previous chain's, and five older ones of which
/// messages are missing.
pub const MAX_MAILBOXES: usize = 8;

/// Longest commit or welcome that is sealed for each member by itself; a longer one is encrypted once, and each member gets
/// its key. A roster of about 150 members: below that, all welcomes together stay under 4 MB.
pub const MAX_INLINE_ROSTER: usize = 16_384;

/// Longest commit or welcome that is taken as an attachment: the largest roster with the largest commit.
pub(crate) const MAX_ATTACHED_ROSTER: u64 = 3 << 19;

/// Parents of one operation: as many heads as one operation can join.
pub const MAX_PARENTS: usize = 8;

/// Changes of one operation: a group is filled with few operations, and one can't cost more than its bytes suggest.
pub const MAX_OPERATION_CHANGES: usize = 64;

/// Longest value of a setting: a name, or the key to an attached picture.
pub const MAX_SETTING_LEN: usize = 1_024;

/// Longest operation: several settings at their longest, and 64 changes of any other kind.
pub const MAX_OPERATION_LEN: usize = 8_192;

/// Operations in a row: a log that is so high is full, and a new one has to be founded. Seen in the operation's own past, so
/// that all agree.
pub const MAX_LOG_HEIGHT: u32 = 65_535;

/// Operations of one account in the past of another of its operations: one admin can't use up the height alone.
pub const MAX_OWN_OPERATIONS: usize = 32_768;

/// Operations of one account that wait because they can't count: nobody who was ever in can fill a disk.
pub const MAX_DEAD_OF_AUTHOR: usize = 64;

/// Operations of one peer that wait: for their parents, for their budget, or because they can't count.
pub const MAX_WAITING_OPERATIONS: usize = 256;

/// The same while the peer has said that more is to come: a run of operations that do not count can stand before one that does, and
/// is no longer than a log.
pub const MAX_UNFINISHED_OPERATIONS: usize = 65_536;

/// Bytes of what waits while an answer is unfinished, of all peers together: as much as one peer sends in a day (`log`).
pub const MAX_UNFINISHED_BYTES: usize = 1 << 26;

/// Parts of an answer in a row that bring nothing which is taken: then it is treated as ended, and asked for again later.
pub const MAX_IDLE_PARTS: u32 = 64;

/// Steps of evaluation that one peer can cost at once, and again each minute: some milliseconds.
pub const MAX_EVALUATION_STEPS: u64 = 1 << 22;

/// Operations in one answer, and its longest encoding: it fits one message.
pub const MAX_ANSWER_OPERATIONS: usize = 1_024;

/// See [`MAX_ANSWER_OPERATIONS`].
pub const MAX_ANSWER_LEN: usize = 1 << 19;

/// Older ids in a want: at distances 1, 2, 4 and so on, they reach back over the longest log.
pub const MAX_OLDER_IDS: usize = 16;
