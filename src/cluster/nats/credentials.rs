//! Who a node is for the servers of NATS. The files are read at each connection, so that they can be replaced while it runs.

use std::fs;
use std::path::Path;

use async_nats::{Auth, AuthError};
use nkeys::KeyPair;

use crate::config::Cluster;

/// What a node says about itself to a server that has sent this nonce.
///
/// # Errors
/// A file can't be used. The text does not have its content.
pub(super) fn auth(config: &Cluster, nonce: &[u8]) -> Result<Auth, AuthError> {
    let mut auth = Auth::new();
    if let (Some(name), Some(path)) = (&config.user_name, &config.password_file) {
        let text = read(path)?;
        auth.username = Some(name.clone());
        auth.password = Some(text.lines().next().unwrap_or_default().to_owned());
    } else if let Some(path) = &config.credentials_file {
        let text = read(path)?;
        let fault = || AuthError::new(format!("{} has no token and seed", path.display()));
        let token = block(&text, "NATS USER JWT").ok_or_else(fault)?;
        let seed = block(&text, "USER NKEY SEED").ok_or_else(fault)?;
        auth.jwt = Some(token.to_owned());
        auth.signature = Some(key(seed, path)?.sign(nonce).map_err(|_| unusable(path))?);
    } else if let Some(path) = &config.nkey_file {
        let text = read(path)?;
        let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
        let key = key(seed.ok_or_else(|| unusable(path))?, path)?;
        auth.nkey = Some(key.public_key());
        auth.signature = Some(key.sign(nonce).map_err(|_| unusable(path))?);
    }
    Ok(auth)
}

fn read(path: &Path) -> Result<String, AuthError> {
    fs::read_to_string(path).map_err(|error| AuthError::new(format!("cannot read {}: {error}", path.display())))
}

fn key(seed: &str, path: &Path) -> Result<KeyPair, AuthError> {
    KeyPair::from_seed(seed).map_err(|_| unusable(path))
}

fn unusable(path: &Path) -> AuthError {
    AuthError::new(format!("{} has no seed that can be used", path.display()))
}

/// The line behind `-----BEGIN title-----`.
fn block<'a>(text: &'a str, title: &str) -> Option<&'a str> {
    let begin = format!("BEGIN {title}");
    let mut lines = text.lines().map(str::trim).skip_while(|line| !(line.starts_with("---") && line.contains(&begin)));
    lines.nth(1).filter(|line| !line.is_empty() && !line.starts_with("---"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, text: &str, change: impl FnOnce(&mut Cluster, std::path::PathBuf)) -> Result<Auth, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        let mut config = Cluster::default();
        change(&mut config, path);
        auth(&config, b"nonce").map_err(|error| error.to_string())
    }

    #[test]
    fn each_kind_of_file_gives_what_the_server_asks_for_and_errors_have_no_secret() {
        let password = with("password", "sesam\nrest\n", |config, path| {
            (config.user_name, config.password_file) = (Some("user".to_owned()), Some(path));
        });
        let password = password.unwrap();
        assert_eq!((password.username.as_deref(), password.password.as_deref()), (Some("user"), Some("sesam")));
        let key = KeyPair::new_user();
        let seed = key.seed().unwrap();
        let of_nkey = with("nkey", &format!("# mine\n{seed}\n"), |config, path| config.nkey_file = Some(path)).unwrap();
        assert_eq!(of_nkey.nkey, Some(key.public_key()));
        key.verify(b"nonce", &of_nkey.signature.unwrap()).unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.a-b_c.d\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        let of_creds = with("creds", &text, |config, path| config.credentials_file = Some(path)).unwrap();
        assert_eq!(of_creds.jwt.as_deref(), Some("eyJ0.a-b_c.d"));
        key.verify(b"nonce", &of_creds.signature.unwrap()).unwrap();
        let broken = text.replace(&seed, "SUSECRET");
        let error = with("creds", &broken, |config, path| config.credentials_file = Some(path)).err().unwrap();
        assert!(error.contains("creds") && !error.contains("SUSECRET"), "{error}");
        let error = with("creds", "nothing", |config, path| config.credentials_file = Some(path)).err().unwrap();
        assert!(error.contains("no token"), "{error}");
    }
}
