//! Changes of the password file and the ACL file by an operator, which apply at once.

use std::path::PathBuf;

use tokio::task::spawn_blocking;

use super::handle::{ReloadError, Reloader, Scope};
use super::stamps::ACCESS;
use crate::auth::{self, AuthError, EditError};

/// Why a change of the password file or the ACL file is not in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditFailure {
    /// What is to be written is invalid: nothing has changed.
    #[error("{0}")]
    Invalid(String),
    /// The user doesn't exist: nothing has changed.
    #[error("there is no user {0}")]
    UnknownUser(String),
    /// The configuration names no such file: the setting.
    #[error("{0} is not set")]
    NoFile(&'static str),
    /// The file can't be read or written: nothing has changed.
    #[error("{0}")]
    Failed(String),
    /// The file was changed, but the files can't be used together, so what was in force before stays.
    #[error("the file was changed, but is not in force: {0}")]
    NotInForce(String),
    /// The file was changed, and will be in force when the broker gets to it.
    #[error("the file was changed: {0}")]
    Pending(ReloadError),
}

impl Reloader {
    /// The users of the password file, sorted.
    ///
    /// # Errors
    /// There is no such file, or it can't be read.
    pub async fn users(&self) -> Result<Vec<String>, EditFailure> {
        let path = self.password_file()?;
        let mut users = blocking(move || auth::users(&path)).await?;
        users.sort_unstable();
        Ok(users)
    }

    /// Sets the password of a user, who may be new, and applies the file. A crash leaves the old or the new file. Returns when the shards are
    /// told.
    ///
    /// # Errors
    /// See [`EditFailure`].
    pub async fn set_user(&self, user: String, password: Vec<u8>) -> Result<(), EditFailure> {
        let path = self.password_file()?;
        let _editing = self.editing.lock().await;
        blocking(move || auth::set_password_atomically(&path, &user, &password)).await?;
        self.apply().await
    }

    /// Removes a user, and applies the file.
    ///
    /// # Errors
    /// See [`EditFailure`].
    pub async fn remove_user(&self, user: String) -> Result<(), EditFailure> {
        let path = self.password_file()?;
        let _editing = self.editing.lock().await;
        blocking(move || auth::remove_user_atomically(&path, &user)).await?;
        self.apply().await
    }

    /// The text of the ACL file.
    ///
    /// # Errors
    /// There is no such file, or it can't be read.
    pub async fn acl(&self) -> Result<String, EditFailure> {
        let path = self.acl_file()?;
        blocking(move || auth::acl_text(&path)).await
    }

    /// Replaces the text of the ACL file if its rules are valid, and applies it. A crash leaves the old or the new file.
    ///
    /// # Errors
    /// See [`EditFailure`]; for an invalid rule it names the line.
    pub async fn set_acl(&self, text: String) -> Result<(), EditFailure> {
        let path = self.acl_file()?;
        let _editing = self.editing.lock().await;
        blocking(move || auth::set_acl(&path, &text)).await?;
        self.apply().await
    }

    fn password_file(&self) -> Result<PathBuf, EditFailure> {
        let loaded = self.in_force();
        loaded.config.security.password_file.clone().ok_or(EditFailure::NoFile("security.password_file"))
    }

    fn acl_file(&self) -> Result<PathBuf, EditFailure> {
        self.in_force().config.security.acl_file.clone().ok_or(EditFailure::NoFile("security.acl_file"))
    }

    /// Reads both files as a reload does.
    async fn apply(&self) -> Result<(), EditFailure> {
        let report = self.request(Scope::Files(vec![ACCESS.to_owned()])).await.map_err(EditFailure::Pending)?;
        report.error(ACCESS).map_or(Ok(()), |error| Err(EditFailure::NotInForce(error.to_owned())))
    }
}

/// Runs what waits for the disk or hashes a password on another thread.
async fn blocking<T: Send + 'static, E: Into<EditFailure> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, EditFailure> {
    match spawn_blocking(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => Err(EditFailure::Failed(error.to_string())),
    }
}

impl From<EditError> for EditFailure {
    fn from(error: EditError) -> Self {
        match error {
            EditError::InvalidUser | EditError::EmptyPassword => Self::Invalid(error.to_string()),
            EditError::UnknownUser(user) => Self::UnknownUser(user),
            EditError::Missing(path) => Self::Failed(format!("{} does not exist", path.display())),
            EditError::Exists(_) | EditError::Io { .. } | EditError::Hash(_) => Self::Failed(error.to_string()),
        }
    }
}

impl From<AuthError> for EditFailure {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Acl { .. } | AuthError::Password { .. } => Self::Invalid(error.to_string()),
            AuthError::Unreadable { .. }
            | AuthError::Unwritable { .. }
            | AuthError::Key { .. }
            | AuthError::Service { .. } => Self::Failed(error.to_string()),
        }
    }
}
