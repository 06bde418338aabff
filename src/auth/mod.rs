//! Authenticates clients at CONNECT, and gives them access rules.
//!
//! The [`Provider`]s of a listener are asked in the order of the configuration; the first one that doesn't abstain decides. The last one is
//! always that of anonymous clients:
//!
//! | provider | accepts | refuses | abstains |
//! | --- | --- | --- | --- |
//! | certificate | a certificate with a user name | | without one |
//! | password file | a user of the file with its password | the user with another password or none | a user that the file doesn't have |
//! | tokens | a valid token | what has the form of a token and is not valid | everything else |
//! | SCRAM | a user of the file with a right proof | one with a wrong proof; and in the name of all providers of SCRAM, users that no file has | other Authentication Methods |
//! | services | what the service accepts | what it refuses, and everyone while it does not answer | what it says is not its own |
//! | anonymous | a client without credentials that `allow_anonymous` accepts | everyone else | |
//!
//! Without `[[auth]]`, the chain is certificate and password file. A user that the file doesn't have is refused then; and without a password
//! file nothing verifies user names, so a client with one is anonymous, too. An unverified name never counts in an ACL file, neither for
//! `user` nor for `%u`; otherwise a client could choose its rules. Without an ACL file, every accepted client may publish and subscribe to
//! everything, unless its token says to what.
//!
//! A [`Pool`] runs the providers that block, and those that ask a service, on its own threads, in an order that is fair between addresses; credentials that were verified
//! before in this process are not hashed again. A reload of the files starts a new [`Generation`]: a verdict of an older one is discarded
//! and the client is authenticated again, if it isn't accepted yet.

mod account;
mod acl_edit;
mod acl_file;
mod anonymous;
mod authenticator;
mod certificate;
mod chain;
mod error;
mod exchange;
mod expectations;
mod fair_queue;
mod files;
mod fingerprint;
mod job;
mod jwt;
mod listener_rules;
mod loaded;
mod mounts;
mod own;
mod password;
mod password_edit;
mod password_file;
mod pool;
mod provider;
mod remote;
mod replace;
mod rules;
mod scram;
mod source;
mod terms;
mod topics;
mod unavailable;
mod verified;
mod workers;

pub use account::Account;
pub use acl_edit::{acl_text, set_acl};
pub use acl_file::AclSize;
pub use authenticator::{Authenticator, Renewal, Standing};
pub use error::{AclCause, AuthError, KeyCause, PasswordCause, ScramCause};
pub use exchange::Exchange;
pub use expectations::{AclRules, Expectation, ExpectationCause, ExpectationError, ExpectedAction};
pub use fingerprint::Fingerprint;
pub use job::{Answer, Waiting};
pub use loaded::Generation;
pub use own::is_own_provider;
pub use password_edit::{
    EditError, Existing, remove_user, remove_user_atomically, set_password, set_password_atomically,
    set_scram_password, users,
};
pub use password_file::is_password_hash;
pub use pool::{Asked, Pool, PoolCounts};
pub use provider::{Consultation, Cost, Decision, Provider, Refusal, RemoteBounds, Request, Verdict};
pub use remote::{Notice, RemoteCounts};
pub use scram::{ScramHash, ScramTerms};
pub use source::{Source, SourceError};

#[cfg(test)]
mod tests;
