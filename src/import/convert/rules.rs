//! ACL files: what mosquitto decides differently.

use super::sources::Source;
use super::{Conversion, Outcome};

impl Conversion<'_> {
    /// The path of the ACL file that we can use: the same, or that of a copy in which the bridges may do what they may in mosquitto.
    pub(super) fn acl_file(&mut self, source: &Source, users: Users) -> String {
        let Source { path, at, option } = source;
        let text = self.files.text(path);
        let contents = text.as_deref().unwrap_or_default();
        let is_same = "the rules are used as they are: a subscription that gives nothing is refused";
        self.add(Outcome::Carried, at, option, is_same);
        if has_pattern_that_denies(contents) {
            let text = "a `pattern deny` counts before all rules that allow; in mosquitto, the rules of a user count before patterns";
            self.add(Outcome::Differs, at, option, text);
        }
        if users == Users::Unverified {
            let text = "no password file verifies user names, so all clients get the rules before the first `user`; mosquitto believes \
                        every name";
            self.add(Outcome::Differs, at, option, text);
        }
        let bridges: Vec<String> = self.bridge_users();
        if bridges.is_empty() || text.is_err() {
            return path.clone();
        }
        self.add(
            Outcome::Differs,
            at,
            option,
            "a copy of the file is used, in which the bridges may do everything, as in mosquitto",
        );
        let with_bridges = with_superusers(contents, &bridges);
        let name = std::path::Path::new(path).file_name().unwrap_or_default().to_string_lossy();
        self.files.add(&name, with_bridges).to_string_lossy().into_owned()
    }
}

/// Whether something verifies user names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Users {
    Verified,
    Unverified,
}

/// The rules, and these users as superusers.
pub(super) fn with_superusers(rules: &str, users: &[String]) -> String {
    let end = if rules.is_empty() || rules.ends_with('\n') { "" } else { "\n" };
    let sections = users.iter().map(|user| format!("user {user}\nsuperuser\n"));
    format!("{rules}{end}{}", sections.collect::<String>())
}

fn has_pattern_that_denies(text: &str) -> bool {
    let mut lines = text.lines().map(|line| line.split_whitespace().take(3).collect::<Vec<_>>());
    lines.any(|words| matches!(words[..], ["pattern", "deny", _]))
}
