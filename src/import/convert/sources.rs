//! Where users and rules come from: files and plugins, by listener.

use std::path::Path;

use super::{Conversion, Outcome};
use crate::import::conf::{Place, Plugin, Settings};

/// A file with users or rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) path: String,
    pub(super) at: Place,
    pub(super) option: String,
}

/// The files of all listeners, or of one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Sources {
    pub(super) passwords: Vec<Source>,
    pub(super) rules: Vec<Source>,
}

/// A plugin that comes with mosquitto.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    DynamicSecurity,
    PasswordFile,
    AclFile,
    Store,
    Sparkplug,
    Other,
}

impl Sources {
    /// Those of options.
    fn of(settings: &Settings) -> Self {
        let source = |option: &str| {
            let (path, at) = (settings.text(option)?.to_owned(), settings.at(option)?.clone());
            Some(Source { path, at, option: option.to_owned() })
        };
        let (passwords, rules) = (source("password_file"), source("acl_file"));
        Self { passwords: passwords.into_iter().collect(), rules: rules.into_iter().collect() }
    }

    fn extend(&mut self, other: Self) {
        self.passwords.extend(other.passwords);
        self.rules.extend(other.rules);
    }

    /// These, and then `other`.
    pub(super) fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.extend(other.clone());
        both
    }
}

impl Conversion<'_> {
    /// The sources of all listeners, and those of each one beside these.
    pub(super) fn sources(&mut self) -> (Sources, Vec<Sources>) {
        let mut global = Sources::of(&self.model.global);
        let mut own: Vec<_> = self.model.listeners.iter().map(|listener| Sources::of(&listener.settings)).collect();
        for plugin in &self.model.plugins {
            let of_plugin = self.of_plugin(plugin);
            if plugin.is_global {
                global.extend(of_plugin);
                continue;
            }
            for listener in &plugin.listeners {
                if let Some(sources) = own.get_mut(*listener) {
                    sources.extend(of_plugin.clone());
                }
            }
        }
        (global, own)
    }

    fn of_plugin(&mut self, plugin: &Plugin) -> Sources {
        if !plugin.is_global && plugin.listeners.is_empty() {
            self.plugin_is(plugin, Outcome::Missing, "no listener uses it: there is no plugin_use");
            return Sources::default();
        }
        match known(&plugin.path) {
            Known::Store => {
                self.plugin_is(plugin, Outcome::Missing, "the broker has a store of its own");
                Sources::default()
            }
            Known::Sparkplug => {
                self.plugin_is(
                    plugin,
                    Outcome::Missing,
                    "there is nothing for Sparkplug: certificates are not kept for late subscribers",
                );
                Sources::default()
            }
            Known::PasswordFile => match self.option(plugin, "password_file") {
                Some(source) => Sources { passwords: vec![source], rules: Vec::new() },
                None => self.guards(plugin, "it has no plugin_opt_password_file"),
            },
            Known::AclFile => match self.option(plugin, "acl_file") {
                Some(source) => Sources { passwords: Vec::new(), rules: vec![source] },
                None => self.guards(plugin, "it has no plugin_opt_acl_file"),
            },
            Known::DynamicSecurity => match self.dynamic_security(plugin) {
                Ok(sources) => sources,
                Err(text) => self.guards(plugin, &text),
            },
            Known::Other => {
                let name = Path::new(&plugin.path).file_name().unwrap_or_default().to_string_lossy();
                let text = format!(
                    "{name} may decide who connects and what clients do, and plugins of mosquitto can't be loaded: use an [[auth]] \
                     of the type http, postgresql or jwt, an ACL file, or delete the line"
                );
                self.guards(plugin, &text)
            }
        }
    }

    /// The file that an option of the plugin names. The other options have no effect.
    fn option(&mut self, plugin: &Plugin, wanted: &str) -> Option<Source> {
        self.add(Outcome::Carried, &plugin.at, &plugin.begun_by, "its file is used without the plugin");
        let mut found = None;
        for (key, value, at) in &plugin.options {
            let option = format!("plugin_opt_{key}");
            if key == wanted {
                found = Some(Source { path: value.clone(), at: at.clone(), option });
            } else {
                self.add(Outcome::Missing, at, &option, "the plugin is not there");
            }
        }
        found
    }

    /// Nobody may get in where the plugin counts.
    fn guards(&mut self, plugin: &Plugin, text: &str) -> Sources {
        self.plugin_is(plugin, Outcome::Guards, text);
        // Without a `listener`, the options of one are not those of the listeners on loopback.
        match plugin.is_global || !self.model.listens {
            true => self.guarded.all = true,
            false => self.guarded.listeners.extend(&plugin.listeners),
        }
        Sources::default()
    }

    fn plugin_is(&mut self, plugin: &Plugin, outcome: Outcome, text: &str) {
        self.add(outcome, &plugin.at, &plugin.begun_by, text);
        for (key, _, at) in &plugin.options {
            self.add(Outcome::Missing, at, &format!("plugin_opt_{key}"), "the plugin is not there");
        }
    }
}

/// Whether a plugin verifies the users of all clients.
pub(super) fn verifies_all(plugin: &Plugin) -> bool {
    let verifies = matches!(known(&plugin.path), Known::DynamicSecurity | Known::PasswordFile | Known::Other);
    plugin.is_global && verifies
}

fn known(path: &str) -> Known {
    match Path::new(path).file_stem().and_then(|name| name.to_str()).unwrap_or_default() {
        "mosquitto_dynamic_security" => Known::DynamicSecurity,
        "mosquitto_password_file" => Known::PasswordFile,
        "mosquitto_acl_file" => Known::AclFile,
        "mosquitto_persist_sqlite" => Known::Store,
        "mosquitto_sparkplug_aware" => Known::Sparkplug,
        _ => Known::Other,
    }
}
