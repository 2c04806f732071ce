//! The primitives, wrapped: the only place that names their crates.
//!
//! Knows no protocol. Secret results come in wiping guards; failures carry no detail.

pub(crate) mod aead;
pub(crate) mod dh;
pub(crate) mod kdf;
pub(crate) mod kem;
pub(crate) mod sign;
pub(crate) mod stream;
#[cfg(test)]
mod wycheproof;

/// Runs a computation whose temporaries nobody wipes, and overwrites `N` bytes of the stack where they were: what stays there
/// could be copied into the unused room of something on the heap. Secrets that it computes go to a place that it is given; what
/// it returns is moved, and stays in the caller's frame.
pub(crate) fn scrubbed<const N: usize, T>(work: impl FnOnce() -> T) -> T {
    #[inline(never)]
    fn apart<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    #[inline(never)]
    fn scrub<const N: usize>() {
        core::hint::black_box(&mut [0_u8; N]);
    }
    let result = apart(work);
    scrub::<N>();
    result
}

/// What is scrubbed of the stack after one message, from the call on a session or a chain down: as much as it takes in a
/// release build, apart from agreements and the KEM, which scrub behind themselves.
pub(crate) const STEP_STACK: usize = 16_384;

/// The same after a handshake.
pub(crate) const HANDSHAKE_STACK: usize = 24_576;

/// Wipes a place at the speed of memory, where byte after byte would be felt.
pub(crate) fn overwrite(place: &mut [u8]) {
    place.fill(0);
    // Whoever may look at it later: the zeros are not left out.
    core::hint::black_box(place);
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
}

/// Notes one call of a costly primitive; nothing outside tests.
macro_rules! counted {
    ($field:ident) => {
        #[cfg(test)]
        crate::crypto::count::add(|calls| calls.$field += 1);
    };
}
pub(crate) use counted;

/// Counts calls of the costly primitives on this thread, so that tests can show what an operation did not do.
#[cfg(test)]
pub(crate) mod count {
    use core::cell::Cell;
    use core::ops::Sub;

    /// Calls so far.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub(crate) struct Calls {
        pub(crate) dh: u32,
        pub(crate) kem: u32,
        pub(crate) sign: u32,
        pub(crate) chain_steps: u32,
        pub(crate) aead_open: u32,
        pub(crate) hash: u32,
    }

    impl Sub for Calls {
        type Output = Self;
        fn sub(self, other: Self) -> Self {
            Self {
                dh: self.dh - other.dh,
                kem: self.kem - other.kem,
                sign: self.sign - other.sign,
                chain_steps: self.chain_steps - other.chain_steps,
                aead_open: self.aead_open - other.aead_open,
                hash: self.hash - other.hash,
            }
        }
    }

    std::thread_local! {
        static CALLS: Cell<Calls> =
            const { Cell::new(Calls { dh: 0, kem: 0, sign: 0, chain_steps: 0, aead_open: 0, hash: 0 }) };
    }

    pub(crate) fn calls() -> Calls {
        CALLS.get()
    }

    pub(crate) fn add(change: impl FnOnce(&mut Calls)) {
        let mut calls = CALLS.get();
        change(&mut calls);
        CALLS.set(calls);
    }
}
