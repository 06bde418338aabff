//! Reports of a run, for people and programs.

mod escape;
mod html;
mod json;
mod junit;
mod markdown;
mod results;
mod text;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

pub use results::{CaseResult, Counts, Report};
pub use text::{failures, summary};

impl Report {
    /// Writes the report in the format of the file's suffix: md, json, html or xml (JUnit).
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = match file.extension().and_then(|extension| extension.to_str()) {
            Some("md") => markdown::render(self),
            Some("json") => json::render(self)?,
            Some("html") => html::render(self),
            Some("xml") => junit::render(self),
            Some(_) | None => bail!("{}: a report ends in .md, .json, .html or .xml", file.display()),
        };
        fs::write(file, text).with_context(|| format!("writing {}", file.display()))
    }
}
