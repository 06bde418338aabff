//! Who may connect, and what clients may do: `[security]`, `[[auth]]`, and the users and rules of each listener.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Section, Why};
use super::rules::Users;
use super::sources::{Source, Sources};
use super::{Conversion, Outcome};

/// Users and rules, by listener.
#[derive(Debug, Default)]
pub(super) struct Access {
    /// `security.password_file`.
    password_file: Option<(String, Source)>,
    /// `security.acl_file`.
    acl_file: Option<(String, Source)>,
    /// `[[auth]]`: the name, the file and where it comes from.
    providers: Vec<(String, String, Source)>,
    /// Those of each listener.
    pub(super) listeners: Vec<OfListener>,
}

/// What one listener has of its own.
#[derive(Debug, Clone, Default)]
pub(super) struct OfListener {
    pub(super) password_file: Option<(String, Source)>,
    pub(super) acl_file: Option<(String, Source)>,
    /// The names of providers; `None`: all.
    pub(super) auth: Option<(Vec<String>, Why)>,
    pub(super) allow_anonymous: Option<(bool, Why)>,
}

impl Conversion<'_> {
    pub(super) fn access(&mut self) -> Access {
        let (global, own) = self.sources();
        let mut access =
            Access { listeners: vec![OfListener::default(); self.model.listeners.len()], ..Access::default() };
        let served: Vec<Sources> = match self.model.listens {
            true => own.iter().map(|own| global.and(own)).collect(),
            false => vec![global],
        };
        self.passwords(&mut access, &served);
        self.rules(&mut access, &served);
        self.anonymous(&mut access, &served);
        access
    }

    /// Which files verify users, and at which listeners.
    fn passwords(&mut self, access: &mut Access, served: &[Sources]) {
        let lists: Vec<&[Source]> = served.iter().map(|sources| sources.passwords.as_slice()).collect();
        let paths = |list: &[Source]| list.iter().map(|source| source.path.clone()).collect::<Vec<_>>();
        let distinct: BTreeSet<Vec<String>> = lists.iter().map(|list| paths(list)).collect();
        let Some(first) = lists.first() else { return };
        match (distinct.len(), *first) {
            (1, []) => return,
            (1, [source]) => {
                access.password_file = Some((self.password_file(source), source.clone()));
                self.same_file(&lists, "password_file");
                return;
            }
            _ => {}
        }
        let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
        for source in lists.iter().flat_map(|list| list.iter()) {
            *uses.entry(&source.path).or_default() += 1;
        }
        if distinct.len() > 1 && lists.iter().all(|list| list.len() <= 1) && uses.values().all(|count| *count == 1) {
            for (of_listener, list) in access.listeners.iter_mut().zip(&lists) {
                of_listener.password_file = list.first().map(|source| (self.password_file(source), source.clone()));
            }
            return;
        }
        self.providers(access, &lists);
        if distinct.len() > 1 {
            for (of_listener, list) in access.listeners.iter_mut().zip(&lists) {
                let names = list.iter().filter_map(|source| {
                    access
                        .providers
                        .iter()
                        .find(|(_, _, known)| known.path == source.path)
                        .map(|(name, ..)| name.clone())
                });
                let why = list.first().map_or(Why::Text("it has no password file"), |source| (&source.at).into());
                of_listener.auth = Some((names.collect(), why));
            }
        }
    }

    /// A provider for each file.
    fn providers(&mut self, access: &mut Access, lists: &[&[Source]]) {
        for source in lists.iter().flat_map(|list| list.iter()) {
            if access.providers.iter().any(|(_, _, known)| known.path == source.path) {
                self.add(Outcome::Carried, &source.at, &source.option, "the file is used as it is");
                continue;
            }
            let name = format!("passwords-{}", access.providers.len() + 1);
            access.providers.push((name, self.password_file(source), source.clone()));
        }
    }

    /// All listeners have the file, and each of them names it.
    fn same_file(&mut self, lists: &[&[Source]], setting: &str) {
        for source in lists.iter().skip(1).filter_map(|list| list.first()) {
            self.add(Outcome::Carried, &source.at, &source.option, format!("[security] {setting}, for all listeners"));
        }
    }

    fn rules(&mut self, access: &mut Access, served: &[Sources]) {
        let lists: Vec<&[Source]> = served.iter().map(|sources| sources.rules.as_slice()).collect();
        for (place, list) in lists.iter().enumerate().filter(|(_, list)| list.len() > 1) {
            for source in *list {
                let text = "there are several sources of rules for a listener, and their order can't be kept: join them into one ACL file";
                self.add(Outcome::Guards, &source.at, &source.option, text);
            }
            match self.model.listens {
                true => _ = self.guarded.listeners.insert(place),
                false => self.guarded.all = true,
            }
        }
        let users = |place: usize| {
            let is_verified = served.get(place).is_some_and(|sources| !sources.passwords.is_empty());
            let listener = self.model.listeners.get(place);
            let has_identity = listener.is_some_and(super::tls::has_identity);
            if is_verified || has_identity { Users::Verified } else { Users::Unverified }
        };
        let users: Vec<Users> = (0..lists.len()).map(users).collect();
        let verified = users.iter().all(|users| *users == Users::Verified);
        let of_all = if verified { Users::Verified } else { Users::Unverified };
        let is_shared = lists.windows(2).all(|pair| matches!(pair, [one, other] if same_paths(one, other)));
        match lists.first() {
            Some([source]) if is_shared => {
                access.acl_file = Some((self.acl_file(source, of_all), source.clone()));
                self.same_file(&lists, "acl_file");
            }
            Some(_) if !is_shared => {
                for ((of_listener, list), users) in access.listeners.iter_mut().zip(&lists).zip(users) {
                    of_listener.acl_file = list.first().map(|source| (self.acl_file(source, users), source.clone()));
                }
            }
            Some(_) | None => {}
        }
    }

    /// At which listeners clients may be anonymous.
    fn anonymous(&mut self, access: &mut Access, served: &[Sources]) {
        let global = self.model.global.flag("allow_anonymous");
        if let Some(at) = self.model.global.at("allow_anonymous") {
            self.add(Outcome::Carried, at, "allow_anonymous", "[security] allow_anonymous");
        }
        for (place, listener) in self.model.listeners.iter().enumerate() {
            let settings = &listener.settings;
            let set = ["listener_allow_anonymous", "allow_anonymous"]
                .into_iter()
                .filter_map(|option| Some((settings.flag(option)?, settings.at(option)?, option)));
            // They are the same setting of the listener: the later line counts.
            let set: Vec<_> = set.collect();
            let own = set.iter().max_by_key(|(_, at, _)| self.model.lines.iter().position(|(line, _)| line == *at));
            for (_, at, option) in &set {
                self.add(Outcome::Carried, at, option, "allow_anonymous of the listener");
            }
            let Some(of_listener) = access.listeners.get_mut(place) else { continue };
            if let Some((is_allowed, at, _)) = own {
                of_listener.allow_anonymous = Some((*is_allowed, Why::from(*at)));
            }
            if super::tls::has_identity(listener) {
                let why = Why::Text("every client has a certificate with its name");
                of_listener.allow_anonymous = Some((false, why));
            }
            let is_allowed = of_listener.allow_anonymous.as_ref().map_or(global == Some(true), |(allowed, _)| *allowed);
            let names_are_refused = of_listener.auth.as_ref().is_some_and(|(names, _)| names.is_empty());
            if is_allowed && names_are_refused && served.get(place).is_some_and(|own| own.passwords.is_empty()) {
                let text = "clients that send a user name are refused here, because no password file has it; mosquitto accepts every name";
                self.add(Outcome::Differs, &listener.at, &listener.begun_by, text);
            }
        }
    }

    pub(super) fn security(&mut self, access: &Access) {
        let mut section = Section::new("[security]", Why::Text(""));
        let global = &self.model.global;
        match (global.flag("allow_anonymous"), global.at("allow_anonymous")) {
            _ if self.guarded.all && !self.model.listens => {
                section.flag(
                    "allow_anonymous",
                    false,
                    Why::Text("something that keeps clients out is not there: see the report"),
                );
            }
            (Some(is_allowed), Some(at)) => section.flag("allow_anonymous", is_allowed, at),
            _ if self.model.listens => {
                section.flag("allow_anonymous", false, Why::Text("so it is in mosquitto with a listener"));
            }
            _ => {}
        }
        if let Some((path, source)) = &access.password_file {
            section.text("password_file", path, &source.at);
        }
        if let Some((path, source)) = &access.acl_file {
            section.text("acl_file", path, &source.at);
        }
        if let (Some(is_on), Some(at)) = (global.flag("check_retain_source"), global.at("check_retain_source")) {
            section.flag("check_retain_source", is_on, at);
            self.add(Outcome::Carried, at, "check_retain_source", "[security] check_retain_source");
        }
        self.document.push_filled(section);
        if access.providers.is_empty() {
            return;
        }
        let why = || Why::Text("certificates first");
        let mut certificates = Section::new("[[auth]]", why());
        certificates.text("type", "certificate", why());
        self.document.push(certificates);
        for (name, path, source) in &access.providers {
            let mut provider = Section::new("[[auth]]", &source.at);
            provider.text("type", "password-file", &source.at);
            provider.text("name", name, &source.at);
            provider.text("file", path, &source.at);
            self.document.push(provider);
        }
    }
}

fn same_paths(one: &[Source], other: &[Source]) -> bool {
    one.iter().map(|source| &source.path).eq(other.iter().map(|source| &source.path))
}
