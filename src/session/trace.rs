//! What a session holds, for test vectors.

use crate::session::Session;
use crate::vectors::Value;

impl Session {
    /// Keys and counters.
    pub(crate) fn trace(&self) -> Value {
        self.ratchet.trace()
    }
}
