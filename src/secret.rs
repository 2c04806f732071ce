//! Secret bytes: on the heap while stored, on the stack under a wiping guard while computed with.
//!
//! Outside `crypto`, only this module touches raw secret bytes; `git grep expose` lists every use.

use alloc::boxed::Box;
use core::fmt;
use core::ops::{Deref, DerefMut};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

/// Secret bytes that live for one call, wiped when they go out of scope, never printed.
///
/// A move leaves a copy that nobody wipes, and what is made there later can take it along to the heap, between its fields. So a
/// guard begins empty, where it stays, and is filled there: whoever computes a secret is given the place for it.
pub(crate) struct Guarded<const N: usize>([u8; N]);

impl<const N: usize> Deref for Guarded<N> {
    type Target = [u8; N];

    fn deref(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> DerefMut for Guarded<N> {
    fn deref_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> Drop for Guarded<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> fmt::Debug for Guarded<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guarded<{N}>")
    }
}

/// A buffer with secret content, wiped when it goes out of scope. Give it its capacity at once: growing leaves copies.
pub(crate) type GuardedVec = Zeroizing<alloc::vec::Vec<u8>>;

/// Puts bytes under a guard.
pub(crate) fn guard(bytes: alloc::vec::Vec<u8>) -> GuardedVec {
    Zeroizing::new(bytes)
}

/// An empty guard of `N` zero bytes.
pub(crate) fn guarded<const N: usize>() -> Guarded<N> {
    Guarded([0; N])
}

/// `N` secret bytes in stored state: one heap place, updated in place, wiped on drop, never printed, never copied by
/// accident.
pub(crate) struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Copies `bytes` to the heap. The caller's guard wipes the original.
    pub(crate) fn new(bytes: &[u8; N]) -> Self {
        Self::made(|place| place.copy_from_slice(bytes))
    }

    /// Draws `N` bytes, to where they stay.
    pub(crate) fn draw<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self::made(|place| rng.fill_bytes(place))
    }

    /// Has `N` bytes computed, to where they stay.
    pub(crate) fn made(compute: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Self(Box::new([0; N]));
        compute(&mut secret.0);
        secret
    }

    /// The bytes, for a computation.
    pub(crate) fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// Exchanges the content with another's, without a copy.
    pub(crate) fn swap(&mut self, other: &mut Self) {
        core::mem::swap(&mut self.0, &mut other.0);
    }

    /// Exchanges the content with what a plan holds.
    pub(crate) fn swap_guarded(&mut self, other: &mut Guarded<N>) {
        self.0.swap_with_slice(other.as_mut_slice());
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{N}>")
    }
}

/// A newtype for one role of a secret: the roles can't be mixed up.
macro_rules! secret_role {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name(crate::secret::Secret<$len>);

        impl $name {
            /// Takes the bytes into stored state.
            pub(crate) fn new(bytes: &[u8; $len]) -> Self {
                Self(crate::secret::Secret::new(bytes))
            }

            /// The bytes, for a computation.
            pub(crate) fn expose(&self) -> &[u8; $len] {
                self.0.expose()
            }
        }
    };
}
pub(crate) use secret_role;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn debug_shows_the_type_only() {
        assert_eq!(format!("{:?}", Secret::new(&[7; 32])), "Secret<32>");
        assert_eq!(format!("{:?}", guarded::<32>()), "Guarded<32>");
    }

    #[test]
    fn swap_exchanges_content() {
        let mut secret = Secret::new(&[1; 4]);
        let mut guard = Secret::new(&[2; 4]);
        secret.swap(&mut guard);
        assert_eq!((secret.expose(), guard.expose()), (&[2; 4], &[1; 4]));
        let mut guard = guarded();
        guard.fill(3);
        secret.swap_guarded(&mut guard);
        assert_eq!((secret.expose(), &*guard), (&[3; 4], &[2; 4]));
    }
}
