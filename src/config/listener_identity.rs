//! Who the clients of a listener are, and what they may do: the settings of `[[listeners]]` about it.

use super::auth::is_name;
use super::problem::{Problem, unreadable};
use super::{Listener, Provider, ProviderKind};

impl Listener {
    /// The provider that its `password_file` stands for.
    pub fn own_provider(&self) -> Option<Provider> {
        let file = self.password_file.clone()?;
        let name = format!("{}@{}", ProviderKind::PasswordFile.default_name(), self.label());
        Some(Provider { name: Some(name), file: Some(file), ..Provider::new(ProviderKind::PasswordFile) })
    }

    /// Checks the settings about users and rules. `key` is the path of this listener.
    pub(super) fn identity_problems(&self, key: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |setting: &str, text: &str| problems.push(Problem::new(&format!("{key}.{setting}"), text));
        if self.password_file.is_some() {
            // The name is a part of the owner of the sessions of the users in this file.
            if !self.name.as_deref().is_some_and(is_name) {
                let text = "needs a name of the listener, of 1 to 64 letters, digits, `-`, `_` or `.`: the sessions of its \
                            users belong to them at a listener of this name";
                problem("password_file", text);
            }
            if self.auth.is_some() {
                let text =
                    "can't be set with auth: name an [[auth]] of the type \"password-file\" with this file there";
                problem("password_file", text);
            }
        }
        let files = [("password_file", &self.password_file), ("acl_file", &self.acl_file)];
        problems.extend(files.iter().filter_map(|(setting, path)| {
            let path = path.as_deref()?;
            unreadable(&format!("{key}.{setting}"), path)
        }));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn problems(change: impl FnOnce(&mut Listener)) -> Vec<String> {
        let mut listener = Listener::new("127.0.0.1:1".parse().unwrap());
        listener.name = Some("internal".to_owned());
        change(&mut listener);
        let config = Config { listeners: vec![listener], ..Config::default() };
        config.problems().into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn the_password_file_of_a_listener_needs_its_name_and_excludes_providers() {
        let file = std::env::current_exe().unwrap();
        let with = |name: Option<&str>| {
            problems(|listener| {
                listener.name = name.map(str::to_owned);
                (listener.password_file, listener.acl_file) = (Some(file.clone()), Some(file.clone()));
            })
        };
        assert_eq!(with(Some("internal")), [""; 0]);
        for name in [None, Some(""), Some("a b"), Some("a@b")] {
            assert_eq!(with(name), ["listeners[0].password_file"], "{name:?}");
        }
        let found = problems(|listener| {
            (listener.password_file, listener.auth) = (Some(file.clone()), Some(Vec::new()));
        });
        assert_eq!(found, ["listeners[0].password_file"]);
        let found = problems(|listener| {
            (listener.password_file, listener.acl_file) = (Some("/missing".into()), Some("/".into()));
        });
        assert_eq!(found, ["listeners[0].password_file", "listeners[0].acl_file"]);
    }

    #[test]
    fn the_provider_of_a_listener_has_a_name_that_no_other_has() {
        let mut listener = Listener::new("127.0.0.1:1".parse().unwrap());
        assert_eq!(listener.own_provider(), None);
        (listener.name, listener.password_file) = (Some("internal".to_owned()), Some("users".into()));
        let provider = listener.own_provider().unwrap();
        assert_eq!((provider.label(), &provider.file), ("password@internal", &Some("users".into())));
        assert!(!is_name("password@internal"));
        let config = Config { listeners: vec![listener], ..Config::default() };
        assert_eq!(config.provider_names(), ["password", "certificate", "password@internal"]);
    }
}
