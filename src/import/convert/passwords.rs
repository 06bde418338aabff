//! Password files: which lines mosquitto skips that we refuse.

use super::sources::Source;
use super::{Conversion, Outcome};

impl Conversion<'_> {
    /// The path of the password file that we can use: the same, or that of a copy without the lines that mosquitto skips.
    pub(super) fn password_file(&mut self, source: &Source) -> String {
        let Source { path, at, option } = source;
        // What can't be read is said when the configuration is checked.
        let skipped = self.files.text(path).ok().and_then(|text| without_skipped(&text));
        let Some(text) = skipped else {
            self.add(Outcome::Carried, at, option, "the file is used as it is");
            return path.clone();
        };
        let text_of_finding = "a copy of the file is used, without its lines that have no colon, which mosquitto skips";
        self.add(Outcome::Differs, at, option, text_of_finding);
        let name = std::path::Path::new(path).file_name().unwrap_or_default().to_string_lossy();
        self.files.add(&name, text).to_string_lossy().into_owned()
    }
}

/// The text without lines that have no colon; `None` if there are none.
fn without_skipped(text: &str) -> Option<String> {
    let is_skipped = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#') && !line.contains(':')
    };
    text.lines().any(|line| is_skipped(&line)).then(|| {
        let kept = text.lines().filter(|line| !is_skipped(line));
        kept.map(|line| format!("{line}\n")).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_a_colon_are_left_out() {
        assert_eq!(without_skipped("# a\n\nalice:$7$1$a$b\n"), None);
        assert_eq!(without_skipped("alice:x\nbob\n# c\n"), Some("alice:x\n# c\n".to_owned()));
    }
}
