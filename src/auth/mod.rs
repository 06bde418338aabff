//! Who a client is, and what it may do: decided at CONNECT from the password file, its certificate and the ACL file.
//!
//! | the client brings | password file | who it is | its rules |
//! | --- | --- | --- | --- |
//! | a certificate whose identity is the user name | any | that user | those of the user, and the patterns |
//! | a user name and its password | has the user | that user | those of the user, and the patterns |
//! | a user name and anything else | is set | refused | |
//! | a user name | is not set | anonymous, under a name that nobody verified | those before the first user, and the patterns |
//! | no user name | any | anonymous | those before the first user, and the patterns |
//!
//! Anonymous clients are let in as `allow_anonymous` says. A name that nobody verified never counts in an ACL file, neither
//! for `user` nor for `%u`: else everyone could choose whose rules to have. Without an ACL file whoever is let in may do
//! everything.

mod acl_file;
mod error;
mod password_edit;
mod password_file;

use std::net::IpAddr;

use arc_swap::ArcSwap;

pub use error::{AclCause, AuthError, PasswordCause};
pub use password_edit::{EditError, Existing, remove_user, set_password};

use self::acl_file::AclFile;
use self::password_file::{Mismatch, PasswordFile};
use crate::codec::ReasonCode;
use crate::config::{AllowAnonymous, Security};
use crate::routing::Access;

/// What a client says about itself, and what we know of where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    /// Its Client Identifier, also if we assigned it.
    pub client_id: &'a str,
    /// User Name of CONNECT.
    pub user_name: Option<&'a str>,
    /// Password of CONNECT.
    pub password: Option<&'a [u8]>,
    /// Its address, from the PROXY protocol where that is on; none for a Unix socket.
    pub address: Option<IpAddr>,
    /// The identity of its verified certificate, at listeners where that is the user name.
    pub certificate_identity: Option<&'a str>,
    /// What its listener says about anonymous clients, if it says something.
    pub allow_anonymous: Option<AllowAnonymous>,
}

/// Decides who gets in, by files that can be read again while it runs.
#[derive(Debug)]
pub struct Authenticator {
    security: Security,
    snapshot: ArcSwap<Snapshot>,
}

/// The files as they were read last.
#[derive(Debug)]
pub struct Snapshot {
    passwords: Option<PasswordFile>,
    acl: Option<AclFile>,
}

/// Why a client isn't let in. The text is for the log: the client learns the Reason Code alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It brought no user name, and may not be anonymous.
    #[error("anonymous clients are not allowed from here")]
    Anonymous,
    /// It brought a user name that nobody can verify, and may not be anonymous.
    #[error("there is no password file to verify the user name with, and anonymous clients are not allowed from here")]
    Unverifiable,
    /// The password file has no such user.
    #[error("unknown user name")]
    UnknownUser,
    /// The user has another password.
    #[error("wrong password")]
    WrongPassword,
    /// A user name without a password.
    #[error("user name without a password")]
    MissingPassword,
}

impl Refusal {
    /// The Reason Code of the CONNACK that refuses the client.
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::Anonymous | Self::Unverifiable => ReasonCode::NotAuthorized,
            Self::UnknownUser | Self::WrongPassword | Self::MissingPassword => ReasonCode::BadUserNameOrPassword,
        }
    }
}

impl Authenticator {
    /// Reads the files for the first time.
    pub fn new(security: &Security) -> Result<Self, AuthError> {
        let snapshot = ArcSwap::from_pointee(Snapshot::load(security)?);
        Ok(Self { security: security.clone(), snapshot })
    }

    /// Reads the files again. After an error everything stays as it was.
    pub fn reload(&self) -> Result<(), AuthError> {
        let snapshot = Snapshot::load(&self.security)?;
        self.snapshot.store(snapshot.into());
        Ok(())
    }

    /// Whether [`authenticate`](Self::authenticate) will hash a password for this client, and so take milliseconds and
    /// megabytes: the caller then runs it where few at a time can.
    pub fn needs_hashing(&self, credentials: &Credentials<'_>) -> bool {
        let passwords = credentials.user_name.is_some() && credentials.password.is_some();
        let snapshot = self.snapshot.load();
        passwords
            && credentials.certificate_identity.is_none()
            && snapshot.passwords.as_ref().is_some_and(PasswordFile::has_users)
    }

    /// What the client may do, or why it isn't let in. Blocks for as long as hashing the password takes.
    pub fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Access, Refusal> {
        let snapshot = self.snapshot.load_full();
        let user = match (credentials.certificate_identity, credentials.user_name, &snapshot.passwords) {
            (Some(identity), _, _) => Some(identity),
            (None, Some(user), Some(passwords)) => {
                let password = credentials.password.ok_or(Refusal::MissingPassword)?;
                passwords.verify(user, password)?;
                Some(user)
            }
            (None, Some(_), None) if !self.allows_anonymous(credentials) => return Err(Refusal::Unverifiable),
            (None, None, _) if !self.allows_anonymous(credentials) => return Err(Refusal::Anonymous),
            (None, Some(_), None) | (None, None, _) => None,
        };
        Ok(match &snapshot.acl {
            Some(acl) => acl.access(credentials.client_id, user),
            None => Access::everything(),
        })
    }

    fn allows_anonymous(&self, credentials: &Credentials<'_>) -> bool {
        match credentials.allow_anonymous.unwrap_or(self.security.allow_anonymous) {
            AllowAnonymous::Always => true,
            AllowAnonymous::Never => false,
            AllowAnonymous::Loopback => credentials.address.is_none_or(|address| address.to_canonical().is_loopback()),
        }
    }
}

impl Snapshot {
    /// Reads the files that `security` names, and fails if one isn't right in every line.
    pub fn load(security: &Security) -> Result<Self, AuthError> {
        Ok(Self {
            passwords: security.password_file.as_deref().map(PasswordFile::read).transpose()?,
            acl: security.acl_file.as_deref().map(AclFile::read).transpose()?,
        })
    }
}

impl From<Mismatch> for Refusal {
    fn from(mismatch: Mismatch) -> Self {
        match mismatch {
            Mismatch::UnknownUser => Self::UnknownUser,
            Mismatch::WrongPassword => Self::WrongPassword,
        }
    }
}

#[cfg(test)]
mod tests;
