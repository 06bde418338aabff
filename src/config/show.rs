use std::fmt;

use super::Origin;
use super::load::Loaded;
use super::schema::{keys, sections};

/// Writes the effective values as TOML, each with its origin as a comment. Settings without a value become comments.
impl fmt::Display for Loaded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = toml::Table::try_from(&self.config).map_err(|_| fmt::Error)?;
        let mut first = true;
        for section in sections() {
            let Some(value) = table.get(*section) else { continue };
            if let Some(table) = value.as_table() {
                begin(formatter, &mut first, &format!("[{section}]"))?;
                self.write_table(formatter, section, section, table)?;
            }
            for (index, listener) in value.as_array().into_iter().flatten().enumerate() {
                let Some(table) = listener.as_table() else { continue };
                begin(formatter, &mut first, &format!("[[{section}]]"))?;
                self.write_table(formatter, section, &format!("{section}[{index}]"), table)?;
            }
        }
        Ok(())
    }
}

impl Loaded {
    /// Appends the lines of `section`, which is at `path`.
    fn write_table(
        &self,
        formatter: &mut fmt::Formatter<'_>,
        section: &str,
        path: &str,
        table: &toml::Table,
    ) -> fmt::Result {
        let (mut lines, mut nested) = (Vec::new(), None);
        for key in keys(section) {
            match table.get(*key) {
                Some(toml::Value::Table(table)) if !keys(&format!("{section}.{key}")).is_empty() => {
                    nested = Some((key, table));
                }
                Some(value) => lines.push((format!("{key} = {value}"), self.origin(&format!("{path}.{key}")))),
                None => lines.push((format!("# {key} is not set"), &Origin::Default)),
            }
        }
        let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or_default();
        for (line, origin) in lines {
            writeln!(formatter, "{line:width$}  # {origin}")?;
        }
        if let Some((key, table)) = nested {
            writeln!(formatter, "\n[{section}.{key}]")?;
            self.write_table(formatter, &format!("{section}.{key}"), &format!("{path}.{key}"), table)?;
        }
        Ok(())
    }
}

fn begin(formatter: &mut fmt::Formatter<'_>, first: &mut bool, header: &str) -> fmt::Result {
    if !std::mem::take(first) {
        writeln!(formatter)?;
    }
    writeln!(formatter, "{header}")
}
