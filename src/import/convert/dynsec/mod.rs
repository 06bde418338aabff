//! The file of the dynamic security plugin: clients, groups and roles, made into a password file and an ACL file.

mod flatten;
mod read;
mod rules;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::sources::{Source, Sources};
use super::{Conversion, Outcome};
use crate::auth::is_password_hash;
use crate::import::conf::{Place, Plugin};
use read::{Client, Dynsec};

impl Conversion<'_> {
    /// The users and the rules of the plugin; `None`: its file can't be used.
    pub(super) fn dynamic_security(&mut self, plugin: &Plugin) -> Result<Sources, String> {
        let mut file = None;
        for (key, value, at) in &plugin.options {
            match key.as_str() {
                "config_file" => file = Some((value, at)),
                _ => {
                    self.add(Outcome::Missing, at, &format!("plugin_opt_{key}"), "the file with users is there already")
                }
            }
        }
        let (path, at) = file.ok_or("it has no plugin_opt_config_file")?;
        let text = text_of(Path::new(path)).map_err(|error| format!("cannot read {path}: {error}"))?;
        let dynsec = Dynsec::parse(&text).map_err(|error| format!("{path}: {error}"))?;
        let text = "its users and rules are in two files, which the API and `oncemq passwd` change";
        self.add(Outcome::Carried, &plugin.at, &plugin.begun_by, text);
        let option = "plugin_opt_config_file";
        let counts =
            format!("{} clients, {} groups, {} roles", dynsec.clients.len(), dynsec.groups.len(), dynsec.roles.len());
        self.add(Outcome::Carried, at, option, counts);
        let passwords = self.clients(&dynsec, at);
        let (rules, notes) = rules::text(&dynsec);
        for note in notes {
            self.add(Outcome::Differs, at, option, note);
        }
        let mut source = |name: &str, text: String| {
            let path = self.files.add(name, text).to_string_lossy().into_owned();
            Source { path, at: at.clone(), option: option.to_owned() }
        };
        let (passwords, rules) =
            (source("dynamic-security.passwords", passwords), source("dynamic-security.acl", rules));
        Ok(Sources { passwords: vec![passwords], rules: vec![rules] })
    }

    /// The password file.
    fn clients(&mut self, dynsec: &Dynsec, at: &Place) -> String {
        let mut text = String::new();
        let (mut disabled, mut without_password, mut unfit, mut bound) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for client in &dynsec.clients {
            let Client { name, hash, .. } = client;
            match hash.as_deref().filter(|hash| is_password_hash(hash)) {
                _ if client.is_disabled => disabled.push(name),
                None => without_password.push(name),
                Some(_) if !is_fit(name) => unfit.push(name),
                Some(hash) => {
                    text.push_str(&format!("{name}:{hash}\n"));
                    if client.client_id.is_some() {
                        bound.push(name);
                    }
                }
            }
        }
        for (outcome, names, what) in [
            (
                Outcome::Missing,
                disabled,
                "disabled, so they are left out: add them with `oncemq passwd` when they may connect again",
            ),
            (
                Outcome::Missing,
                without_password,
                "without a password that can be used, so they can't connect, as in mosquitto",
            ),
            (Outcome::Missing, unfit, "left out, because a password file has no such name"),
            (
                Outcome::Differs,
                bound,
                "bound to a Client Identifier, which is not so here: they may connect with any, and have the rules for their own; \
                 `client_id = \"must-be-user-name\"` of a listener binds it to the user name",
            ),
        ] {
            if !names.is_empty() {
                self.add(outcome, at, "plugin_opt_config_file", format!("clients {what}: {}", list(&names)));
            }
        }
        text
    }
}

/// Whether a line of a password file and of an ACL file can have the name.
fn is_fit(name: &str) -> bool {
    !name.contains(':') && !name.starts_with('#') && rules::is_line(name)
}

/// The first names, and how many there are beyond.
fn list(names: &[&String]) -> String {
    let first: Vec<&str> = names.iter().take(LISTED_MAX).map(|name| name.as_str()).collect();
    let rest = names.len().saturating_sub(LISTED_MAX);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{more}", first.join(", "))
}

fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if length as u64 > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it has more than 64 MiB"));
    }
    Ok(text)
}

/// More is counted only.
const LISTED_MAX: usize = 20;
/// A hundred thousand clients have 30 MB.
const BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests;
