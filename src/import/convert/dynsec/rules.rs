//! The ACL file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::flatten::{Flat, common, flatten, has_placeholder, overlap, widened};
use super::read::{Client, Dynsec, Role, Rule};
use crate::topic::TopicFilter;

/// The text of the file, and what it decides differently.
pub(super) fn text(dynsec: &Dynsec) -> (String, Vec<String>) {
    let mut writer = Writer { dynsec, text: String::new(), notes: BTreeSet::new() };
    writer.about_roles();
    writer.anonymous();
    writer.everybody();
    let mut members: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    // Of clients with the same roles, what they may do is worked out once. `None`: they are members of the roles.
    let mut known: HashMap<Vec<&str>, Option<Rc<Rights>>> = HashMap::new();
    let mut own = Vec::new();
    for client in dynsec.clients.iter().filter(|client| super::is_fit(&client.name)) {
        let names = dynsec.names(client);
        if let Some(client_id) = client.client_id.as_deref().filter(|_| dynsec.names_the_client_id(&names)) {
            let rights = writer.own_rights(&names).unwrap_or_else(|| Rc::new(writer.rights(&names)));
            own.push((client, Rc::new(rights.with_client_id(client_id))));
            continue;
        }
        let rights = known.entry(names.clone()).or_insert_with(|| writer.own_rights(&names));
        match rights {
            Some(rights) => own.push((client, Rc::clone(rights))),
            None => names.into_iter().for_each(|name| members.entry(name).or_default().push(&client.name)),
        }
    }
    for (role, members) in members {
        let rights = writer.rights(&[role]);
        writer.group(&format!("role {role}"), &members, &rights);
    }
    for (client, rights) in own {
        writer.about_denials(&client.name, &rights);
        writer.group(&format!("client {}", client.name), &[&client.name], &rights);
    }
    (writer.text, writer.notes.into_iter().collect())
}

/// What a client may do.
#[derive(Debug, Default)]
struct Rights {
    read: Vec<String>,
    write: Vec<String>,
    deny: Vec<String>,
    /// Allowed before, and denied now, because a rule that denies counts first and is about both directions.
    lost: Vec<String>,
}

impl Rights {
    /// Those of a client that has this Client Identifier alone: here, it may have any.
    fn with_client_id(&self, client_id: &str) -> Self {
        let is_level = !client_id.contains(['/', '+', '#']) && !has_placeholder(client_id) && is_line(client_id);
        let filled = |filters: &[String], instead: Option<&str>| -> Vec<String> {
            let fill = |filter: &String| match (filter.split('/').any(|level| level == CLIENT_ID), instead) {
                (false, _) => Some(filter.clone()),
                (true, None) => None,
                (true, Some(instead)) => {
                    let levels = filter.split('/').map(|level| if level == CLIENT_ID { instead } else { level });
                    Some(levels.collect::<Vec<_>>().join("/"))
                }
            };
            filters.iter().filter_map(fill).collect()
        };
        let allowed = is_level.then_some(client_id);
        Self {
            read: filled(&self.read, allowed),
            write: filled(&self.write, allowed),
            deny: filled(&self.deny, allowed.or(Some("+"))),
            lost: self.lost.clone(),
        }
    }
}

struct Writer<'a> {
    dynsec: &'a Dynsec,
    text: String,
    notes: BTreeSet<String>,
}

impl Dynsec {
    /// The roles of a client in the order in which they count: its own, and then those of its groups.
    fn names<'a>(&'a self, client: &'a Client) -> Vec<&'a str> {
        let of_groups = client.groups.iter().filter_map(|group| self.groups.get(group)).flat_map(|group| &group.roles);
        let mut names = Vec::new();
        for name in client.roles.iter().chain(of_groups) {
            if !names.contains(&name.as_str()) {
                names.push(name.as_str());
            }
        }
        names
    }

    /// Whether a rule of these roles has the Client Identifier in it.
    fn names_the_client_id(&self, names: &[&str]) -> bool {
        let roles = names.iter().filter_map(|name| self.roles.get(*name));
        let mut rules = roles.flat_map(|role| role.send.iter().chain(&role.receive).chain(&role.subscribe));
        rules.any(|rule| rule.topic.contains(CLIENT_ID))
    }

    fn rules(&self, names: &[&str], kind: impl Fn(&Role) -> &[Rule]) -> Vec<Rule> {
        let roles = names.iter().filter_map(|name| self.roles.get(*name));
        roles.flat_map(|role| kind(role).iter().cloned()).filter_map(usable).collect()
    }
}

impl Writer<'_> {
    /// What clients with these roles may do, if it is not what each of the roles allows by itself.
    fn own_rights(&mut self, names: &[&str]) -> Option<Rc<Rights>> {
        let roles = names.iter().filter_map(|name| self.dynsec.roles.get(*name));
        if roles.map(Role::len).sum::<usize>() > RULES_MAX {
            self.notes
                .insert(format!("clients with more than {RULES_MAX} rules get none: {} and so on", names.join(", ")));
            return Some(Rc::default());
        }
        let rights = self.rights(names);
        // A rule that denies may be void only because of another role.
        let is_apart = rights.deny.is_empty()
            && self.dynsec.default.receive
            && names.iter().all(|name| self.rights(&[name]).deny.is_empty());
        (!is_apart).then(|| Rc::new(rights))
    }

    /// What roles allow together.
    fn rights(&self, names: &[&str]) -> Rights {
        let default = self.dynsec.default;
        let flat = |rules: Vec<Rule>, otherwise| flatten(&rules, otherwise);
        let send: Flat = flat(self.dynsec.rules(names, |role| &role.send), default.send);
        let subscribe = flat(self.dynsec.rules(names, |role| &role.subscribe), default.subscribe);
        let mut receive = flat(self.dynsec.rules(names, |role| &role.receive), default.receive);
        let mut wanted = subscribe.allow.clone();
        if default.subscribe {
            wanted.extend(EVERYTHING.map(str::to_owned));
        }
        let read = match default.receive {
            // Whatever it may subscribe to is sent.
            true => subscribe.allow.clone(),
            false => common(&wanted, &receive.allow),
        };
        receive.deny.retain(|deny| wanted.iter().any(|allow| overlap(allow, deny)));
        let of_reading = subscribe.deny.iter().chain(&receive.deny);
        let mut lost: Vec<String> = send.lost.iter().chain(&subscribe.lost).chain(&receive.lost).cloned().collect();
        let crossed = |denies: &[String], allows: &[String]| {
            let crossed = allows.iter().filter(|allow| denies.iter().any(|deny| overlap(allow, deny)));
            crossed.cloned().collect::<Vec<_>>()
        };
        let denied_to_read: Vec<String> = of_reading.cloned().collect();
        lost.extend(crossed(&send.deny, &read));
        lost.extend(crossed(&denied_to_read, &send.allow));
        let mut deny = send.deny;
        deny.extend(denied_to_read);
        deny.sort();
        deny.dedup();
        lost.sort();
        lost.dedup();
        Rights { read, write: send.allow, deny, lost }
    }

    fn about_roles(&mut self) {
        let roles = || self.dynsec.roles.values();
        let mut notes = Vec::new();
        if roles().any(|role| !role.allows_wildcards) {
            notes.push("allowwildcardsubs = false is not there: a subscription with wildcards is granted, and gives what the rules allow");
        }
        if roles().any(|role| role.has_unsubscribe_denial) {
            notes.push("every client may unsubscribe");
        }
        let rules = || roles().flat_map(|role| role.send.iter().chain(&role.receive).chain(&role.subscribe));
        if rules().any(|rule| rule.topic.starts_with("$CONTROL")) {
            notes.push("rules for $CONTROL are left out: use `oncemq users`, `oncemq acl` and the HTTP API");
        }
        let unusable = rules().filter(|rule| !rule.topic.starts_with("$CONTROL"));
        if unusable.cloned().any(|rule| usable(rule).is_none()) {
            notes
                .push("rules with a topic that is no Topic Filter, or has %c or %u in a part of a level, are left out");
        }
        self.notes.extend(notes.into_iter().map(str::to_owned));
    }

    fn about_denials(&mut self, name: &str, rights: &Rights) {
        if !rights.lost.is_empty() {
            let lost = rights.lost.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
            self.notes.insert(format!(
                "{name}: a rule that denies counts before all that allow, and for both directions, so less of these is allowed: {lost}"
            ));
        }
    }

    /// The rules of clients without a user name: those of the anonymous group.
    fn anonymous(&mut self) {
        let group = self.dynsec.anonymous_group.as_ref().and_then(|name| self.dynsec.groups.get(name));
        let Some(group) = group else { return };
        let names: Vec<&str> = group.roles.iter().map(String::as_str).collect();
        let rights = self.rights(&names);
        self.about_denials("clients without a user name", &rights);
        let (denied, allowed) = lines(&rights);
        for (access, filter) in denied {
            // Before the first section, there are no placeholders.
            self.text.push_str(&format!("topic {access} {}\n", widened(&filter).join("/")));
        }
        for (access, filter) in allowed {
            if has_placeholder(&filter) {
                self.notes
                    .insert("rules with %c and %u that allow something to the anonymous group are left out".to_owned());
            } else {
                self.text.push_str(&format!("topic {access} {filter}\n"));
            }
        }
    }

    /// What is allowed where no rule matches.
    fn everybody(&mut self) {
        let default = self.dynsec.default;
        if default.send {
            self.text.push_str("pattern write #\n");
        }
        if default.subscribe && default.receive {
            for filter in EVERYTHING {
                self.text.push_str(&format!("pattern read {filter}\n"));
            }
        }
    }

    fn group(&mut self, name: &str, members: &[&str], rights: &Rights) {
        let name: String = name.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect();
        self.text.push_str(&format!("\ngroup {}\n", name.trim()));
        for member in members {
            self.text.push_str(&format!("member {member}\n"));
        }
        let (denied, allowed) = lines(rights);
        for (access, filter) in denied.into_iter().chain(allowed) {
            let keyword = if has_placeholder(&filter) { "pattern" } else { "topic" };
            self.text.push_str(&format!("{keyword} {access} {filter}\n"));
        }
    }
}

/// A word of an ACL file, and the filter that it is about.
type Line = (&'static str, String);

/// The lines that deny, and those that allow.
fn lines(rights: &Rights) -> (Vec<Line>, Vec<Line>) {
    let denied = rights.deny.iter().map(|filter| ("deny", filter.clone())).collect();
    let mut allowed = Vec::new();
    for filter in &rights.read {
        let access = if rights.write.contains(filter) { "readwrite" } else { "read" };
        allowed.push((access, filter.clone()));
    }
    let only_write = rights.write.iter().filter(|filter| !rights.read.contains(filter));
    allowed.extend(only_write.map(|filter| ("write", filter.clone())));
    (denied, allowed)
}

/// The rule as an ACL file can have it; `None`: it can't. One that denies is widened rather than left out.
fn usable(rule: Rule) -> Option<Rule> {
    let is_odd = |level: &str| has_placeholder(level) && level != "%c" && level != "%u";
    let Rule { allows, topic } = rule;
    let topic = match topic.split('/').any(is_odd) {
        false => topic,
        true if allows => return None,
        true => topic.split('/').map(|level| if is_odd(level) { "+" } else { level }).collect::<Vec<_>>().join("/"),
    };
    let is_filter = is_line(&topic) && TopicFilter::try_from(topic.as_str()).is_ok();
    (is_filter && !topic.starts_with("$CONTROL")).then_some(Rule { allows, topic })
}

/// Whether a line of a file can end with the text.
pub(super) fn is_line(text: &str) -> bool {
    text.trim() == text && !text.is_empty() && !text.contains(char::is_control)
}

/// The level that stands for the Client Identifier.
const CLIENT_ID: &str = "%c";
/// What the ACL file accepts for a client.
const RULES_MAX: usize = 4_096;
/// All topics of clients, and what the broker says about itself.
const EVERYTHING: [&str; 2] = ["#", "$SYS/#"];
