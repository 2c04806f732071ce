//! One item of each crate: all of them are in one build.

pub use openmls::group::MlsGroup;
pub use openmls_rust_crypto::OpenMlsRustCrypto;
pub use russh::client::Config as SshConfig;
pub use rustls::ClientConfig as TlsConfig;
pub use sceau::Device;
pub use vodozemac::olm::Account;
