//! Keys that an application takes from a session, for a call or whatever else both ends need one for.

use crate::crypto::kdf;
use crate::labels::Label;
use crate::secret::Secret;
use crate::session::Session;
use core::fmt;

/// A key from [`Session::export`]: wiped on drop, never printed.
pub struct ExportedKey(Secret<32>);

impl ExportedKey {
    /// The 32 bytes.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

impl fmt::Debug for ExportedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExportedKey")
    }
}

impl Session {
    /// A key that both ends of the session come to, and nobody else: 32 bytes, the same for the same context, at any time.
    /// docs/PROTOCOL.md, "Exporter".
    ///
    /// `context` says what the key is for and **holds an id drawn for this one use**, 32 random bytes that went to the peer
    /// in a message of the session, such as `b"example.org call" || call id`. Both ends delete the id with the key: the key is then
    /// as secret as that message was, whatever is stolen later.
    ///
    /// Without such an id it has the forward secrecy of the session as a whole: whoever steals the stored session computes
    /// every key that was or will be exported from it, and no turn heals that; when the session is deleted on both sides,
    /// it is as secret as a handshake is. Whoever has an exported key, or all of them, opens no message.
    pub fn export(&self, context: &[u8]) -> ExportedKey {
        let parts: [&[u8]; 2] = [self.ratchet.context(), context];
        ExportedKey(kdf::expand_parts(self.exporter.expose(), Label::Exporter, parts))
    }
}
