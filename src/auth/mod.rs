//! Authenticates clients at CONNECT with the password file and certificates, and gives them access rules from the ACL
//! file.
//!
//! | client sends | password file | identity | access rules |
//! | --- | --- | --- | --- |
//! | a certificate whose identity is the user name | any | that user | those of the user, and the patterns |
//! | a user name and its password | has the user | that user | those of the user, and the patterns |
//! | a user name and a wrong password or none | is set | refused | |
//! | a user name | is not set | anonymous, with an unverified name | those before the first user, and the patterns |
//! | no user name | any | anonymous | those before the first user, and the patterns |
//!
//! `allow_anonymous` decides whether anonymous clients are accepted. An unverified name never counts in an ACL file,
//! neither for `user` nor for `%u`; otherwise a client could choose its rules. Without an ACL file, every accepted
//! client may publish and subscribe to everything.
//!
//! The [`Provider`]s are asked in this order: certificate, password file if one is set, `allow_anonymous`. The first one that doesn't
//! abstain decides. A [`Pool`] runs the providers that block on its own threads, in an order that is fair between addresses; credentials that
//! were verified before in this process are not hashed again. A reload of the files starts a new [`Generation`]:
//! a verdict of an older one is discarded and the client is authenticated again, if it isn't accepted yet.

mod acl_edit;
mod acl_file;
mod anonymous;
mod authenticator;
mod certificate;
mod chain;
mod error;
mod fair_queue;
mod password;
mod password_edit;
mod password_file;
mod pool;
mod provider;
mod replace;
mod rules;
mod source;
mod verified;

pub use acl_edit::{acl_text, set_acl};
pub use authenticator::{Authenticator, Generation, Renewal, Standing};
pub use error::{AclCause, AuthError, PasswordCause};
pub use password_edit::{
    EditError, Existing, remove_user, remove_user_atomically, set_password, set_password_atomically, users,
};
pub use password_file::Fingerprint;
pub use pool::{Answer, Asked, Pool, PoolCounts, Waiting};
pub use provider::{Cost, Decision, Provider, Refusal, Request, Verdict};
pub use source::{Source, SourceError};

#[cfg(test)]
mod tests;
