//! dynamic-security.json as the plugin reads it: what is not understood in an entry is skipped, and the first one of a name counts.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};

/// The contents of the file.
#[derive(Debug, Default)]
pub(super) struct Dynsec {
    /// By name.
    pub(super) clients: Vec<Client>,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) roles: BTreeMap<String, Role>,
    pub(super) anonymous_group: Option<String>,
    pub(super) default: Access,
}

/// What is so where no rule of a role matches.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Access {
    pub(super) send: bool,
    pub(super) receive: bool,
    pub(super) subscribe: bool,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) is_disabled: bool,
    pub(super) hash: Option<String>,
    pub(super) client_id: Option<String>,
    /// The names of its roles, in the order in which they count.
    pub(super) roles: Vec<String>,
    /// Those of its groups, too.
    pub(super) groups: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Group {
    /// In the order in which they count.
    pub(super) roles: Vec<String>,
}

/// The rules of a role, of each kind in the order in which they count.
#[derive(Debug, Default)]
pub(super) struct Role {
    pub(super) send: Vec<Rule>,
    pub(super) receive: Vec<Rule>,
    pub(super) subscribe: Vec<Rule>,
    pub(super) has_unsubscribe_denial: bool,
    pub(super) allows_wildcards: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) allows: bool,
    pub(super) topic: String,
}

impl Dynsec {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("it is not valid JSON: {error}"))?;
        let Value::Object(tree) = value else { return Err("it is not the file of dynamic security".to_owned()) };
        if !["clients", "groups", "roles", "defaultACLAccess"].iter().any(|key| tree.contains_key(*key)) {
            return Err("it is not the file of dynamic security: it has no clients, groups and roles".to_owned());
        }
        let access = tree.get("defaultACLAccess").and_then(Value::as_object);
        let flag = |key: &str| access.and_then(|access| access.get(key)).and_then(Value::as_bool).unwrap_or_default();
        let default = Access {
            send: flag("publishClientSend"),
            receive: flag("publishClientReceive"),
            subscribe: flag("subscribe"),
        };
        let mut dynsec = Self { default, ..Self::default() };
        for role in list(&tree, "roles")? {
            if let Some(name) = name(role, "rolename") {
                dynsec.roles.entry(name).or_insert_with(|| Role::of(role));
            }
        }
        let memberships = dynsec.read_groups(list(&tree, "groups")?);
        dynsec.anonymous_group = text_at(&tree, "anonymousGroup").filter(|name| dynsec.groups.contains_key(name));
        let mut seen = HashSet::new();
        for client in list(&tree, "clients")? {
            let Some(name) = name(client, "username").filter(|name| seen.insert(name.clone())) else { continue };
            let groups = memberships.get(&name).cloned().unwrap_or_default();
            let client = Client {
                is_disabled: client.get("disabled").and_then(Value::as_bool).unwrap_or_default(),
                hash: hash(client),
                client_id: text_at(client, "clientid"),
                roles: dynsec.roles_of(client),
                groups: ordered(groups),
                name,
            };
            dynsec.clients.push(client);
        }
        dynsec.clients.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(dynsec)
    }

    /// Adds the groups; returns those of each client with their priorities.
    fn read_groups(&mut self, groups: Vec<&Map<String, Value>>) -> HashMap<String, Vec<(i64, String)>> {
        let mut memberships: HashMap<String, Vec<(i64, String)>> = HashMap::new();
        for group in groups {
            let Some(name) = name(group, "groupname").filter(|name| !self.groups.contains_key(name)) else { continue };
            let roles = self.roles_of(group);
            let clients = group.get("clients").and_then(Value::as_array).into_iter().flatten();
            for client in clients.filter_map(Value::as_object) {
                let Some(user) = text_at(client, "username") else { continue };
                let of_user = memberships.entry(user).or_default();
                if !of_user.iter().any(|(_, known)| *known == name) {
                    of_user.push((priority(client, -1), name.clone()));
                }
            }
            self.groups.insert(name, Group { roles });
        }
        memberships
    }

    /// The roles of a client or a group that exist, by priority and then by name.
    fn roles_of(&self, owner: &Map<String, Value>) -> Vec<String> {
        let roles = owner.get("roles").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
        let mut seen = HashSet::new();
        let known = roles.filter_map(|role| {
            let name = text_at(role, "rolename")?;
            let is_known = self.roles.contains_key(&name) && seen.insert(name.clone());
            is_known.then(|| (priority(role, -1), name))
        });
        ordered(known.collect())
    }
}

impl Role {
    /// The number of its rules.
    pub(super) const fn len(&self) -> usize {
        self.send.len() + self.receive.len() + self.subscribe.len()
    }

    fn of(role: &Map<String, Value>) -> Self {
        let of_kind = |kind: &str| {
            let acls = role.get("acls").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
            let mut seen = HashSet::new();
            let rules = acls.filter_map(|acl| {
                let is_kind = text_at(acl, "acltype")?.eq_ignore_ascii_case(kind);
                let topic = text_at(acl, "topic").filter(|topic| is_kind && !topic.is_empty())?;
                let allows = acl.get("allow").and_then(Value::as_bool).unwrap_or_default();
                seen.insert(topic.clone()).then(|| (priority(acl, 0), Rule { allows, topic }))
            });
            let mut rules: Vec<(i64, Rule)> = rules.collect();
            // Stable: of the same priority, the earlier one counts.
            rules.sort_by_key(|(priority, _)| -priority);
            rules.into_iter().map(|(_, rule)| rule).collect::<Vec<Rule>>()
        };
        // A filter that stands in a rule as it is precedes those that match it.
        let mut subscribe = of_kind("subscribeLiteral");
        subscribe.extend(of_kind("subscribePattern"));
        let unsubscribe = ["unsubscribeLiteral", "unsubscribePattern"].map(of_kind);
        Self {
            send: of_kind("publishClientSend"),
            receive: of_kind("publishClientReceive"),
            subscribe,
            has_unsubscribe_denial: unsubscribe.iter().flatten().any(|rule| !rule.allows),
            allows_wildcards: role.get("allowwildcardsubs").and_then(Value::as_bool).unwrap_or(true),
        }
    }
}

fn list<'a>(tree: &'a Map<String, Value>, key: &str) -> Result<Vec<&'a Map<String, Value>>, String> {
    match tree.get(key) {
        None => Ok(Vec::new()),
        Some(Value::Array(entries)) => Ok(entries.iter().filter_map(Value::as_object).collect()),
        Some(_) => Err(format!("{key} is no list")),
    }
}

fn text_at(entry: &Map<String, Value>, key: &str) -> Option<String> {
    entry.get(key)?.as_str().map(str::to_owned)
}

fn name(entry: &Map<String, Value>, key: &str) -> Option<String> {
    text_at(entry, key).filter(|name| !name.is_empty())
}

fn priority(entry: &Map<String, Value>, otherwise: i64) -> i64 {
    let given = entry.get("priority").and_then(Value::as_f64);
    #[expect(clippy::cast_possible_truncation, reason = "it is clamped before")]
    given.map_or(otherwise, |number| number.clamp(-PRIORITY_MAX, PRIORITY_MAX) as i64)
}

/// By priority, highest first, and then by name.
fn ordered(mut entries: Vec<(i64, String)>) -> Vec<String> {
    entries.sort_by(|(one, name), (other, other_name)| other.cmp(one).then_with(|| name.cmp(other_name)));
    entries.into_iter().map(|(_, name)| name).collect()
}

fn hash(client: &Map<String, Value>) -> Option<String> {
    if let Some(encoded) = text_at(client, "encoded_password") {
        return Some(encoded);
    }
    let iterations = client.get("iterations")?.as_i64().filter(|count| *count > 0)?;
    Some(format!("$7${iterations}${}${}", text_at(client, "salt")?, text_at(client, "password")?))
}

/// The plugin's.
const PRIORITY_MAX: f64 = 100_000.0;
