//! The root chain: each turn mixes a DH output, and a KEM secret when there is one, into the root key.

use crate::crypto::dh::DH_LEN;
use crate::crypto::kdf;
use crate::labels::Label;
use crate::secret::Secret;

/// What a root step gives.
pub(crate) struct RootStep {
    pub(crate) root_key: Secret<32>,
    pub(crate) chain_key: Secret<32>,
    /// Header secret of the chain after the one that begins.
    pub(crate) next_header_secret: Secret<32>,
}

/// `rk'(32) || ck(32) || next header secret(32) = HKDF(salt = rk, ikm = dh || pq, label || context, 96)`.
///
/// `pq` is empty, or a KEM secret bound to its key and ciphertext.
pub(crate) fn kdf_rk(
    root_key: &[u8; 32],
    dh: &Secret<DH_LEN>,
    pq: Option<&Secret<64>>,
    context: &[u8; 32],
) -> RootStep {
    let pq = pq.map_or(&[][..], |mix| mix.expose());
    let okm = kdf::derive::<96>(root_key, &[dh.expose(), pq], Label::RootStep, context);
    let [root_key, chain_key, next_header_secret] = split(okm.expose());
    RootStep { root_key, chain_key, next_header_secret }
}

/// Splits key material into keys of 32 bytes.
pub(crate) fn split<const N: usize>(okm: &[u8]) -> [Secret<32>; N] {
    let mut parts = okm.chunks_exact(32);
    let mut next = || parts.next().and_then(|part| part.first_chunk()).unwrap_or(&[0; 32]);
    core::array::from_fn(|_| Secret::new(next()))
}
