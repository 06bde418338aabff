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

/// What a client sent at CONNECT, and what is known about its connection.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    /// Its Client Identifier, also if the broker assigned it.
    pub client_id: &'a str,
    /// User Name of CONNECT.
    pub user_name: Option<&'a str>,
    /// Password of CONNECT.
    pub password: Option<&'a [u8]>,
    /// Its address, from the PROXY protocol if that is enabled; `None` for a Unix socket.
    pub address: Option<IpAddr>,
    /// The identity in its verified certificate, if the listener uses that as the user name.
    pub certificate_identity: Option<&'a str>,
    /// The listener's override of `security.allow_anonymous`.
    pub allow_anonymous: Option<AllowAnonymous>,
}

/// Authenticates clients. Its files can be reloaded while it is in use.
#[derive(Debug)]
pub struct Authenticator {
    security: Security,
    snapshot: ArcSwap<Snapshot>,
}

/// The contents of the files when they were last read.
#[derive(Debug)]
pub struct Snapshot {
    passwords: Option<PasswordFile>,
    acl: Option<AclFile>,
}

/// Why a client is refused. The text is for the log: the client gets only the Reason Code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It sent no user name, and anonymous clients are not accepted.
    #[error("anonymous clients are not allowed from this address")]
    Anonymous,
    /// It sent a user name that can't be verified, and anonymous clients are not accepted.
    #[error(
        "there is no password file to verify the user name, and anonymous clients are not allowed from this address"
    )]
    Unverifiable,
    /// The password file doesn't contain the user.
    #[error("unknown user name")]
    UnknownUser,
    /// The password is wrong.
    #[error("wrong password")]
    WrongPassword,
    /// It sent a user name without a password.
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

    /// Reads the files again. After an error, the previous contents stay in force.
    pub fn reload(&self) -> Result<(), AuthError> {
        let snapshot = Snapshot::load(&self.security)?;
        self.snapshot.store(snapshot.into());
        Ok(())
    }

    /// Whether [`authenticate`](Self::authenticate) will hash a password for this client, which takes milliseconds and
    /// megabytes. The caller then limits how many run at the same time.
    pub fn needs_hashing(&self, credentials: &Credentials<'_>) -> bool {
        let passwords = credentials.user_name.is_some() && credentials.password.is_some();
        let snapshot = self.snapshot.load();
        passwords
            && credentials.certificate_identity.is_none()
            && snapshot.passwords.as_ref().is_some_and(PasswordFile::has_users)
    }

    /// Returns the client's access rules, or why it is refused. Blocks while a password is hashed.
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
    /// Reads the files that `security` names. An invalid line is an error.
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
