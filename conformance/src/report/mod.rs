//! Reports of a run, for people and programs.

mod escape;
mod file;
mod html;
mod junit;
mod markdown;
mod results;
mod table;
mod text;
mod verdict;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

pub use file::{BrokerUnderTest, CaseEntry, FORMAT, FORMAT_VERSION, ResultFile, Suite};
pub use results::{CaseResult, Counts, Report};
pub use table::table;
pub use text::{failures, summary};
pub use verdict::Verdict;

impl Report {
    /// Writes the report in the format of the file's suffix: md, json, html or xml (JUnit). `broker` goes into the
    /// result file, which is the JSON form.
    pub fn write(&self, file: &Path, broker: &BrokerUnderTest) -> anyhow::Result<()> {
        let text = match file.extension().and_then(|extension| extension.to_str()) {
            Some("md") => markdown::render(self),
            Some("json") => ResultFile::new(self, broker.clone()).render()?,
            Some("html") => html::render(self),
            Some("xml") => junit::render(self),
            Some(_) | None => bail!("{}: a report ends in .md, .json, .html or .xml", file.display()),
        };
        fs::write(file, text).with_context(|| format!("writing {}", file.display()))
    }
}
