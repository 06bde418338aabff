/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// The broker does not start, or loses what it has acknowledged.
    Error,
    /// It works, and something will go wrong, or is open by mistake.
    Warning,
    /// Good to know.
    Note,
    Ok,
}

impl Severity {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
            Self::Ok => "ok",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// What it is about, such as `data directory`.
    pub(super) subject: &'static str,
    pub(super) text: String,
    /// What to do, with a command where there is one.
    pub(super) mend: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, severity: Severity, subject: &'static str, text: String, mend: Option<String>) {
        self.0.push(Finding { severity, subject, text, mend });
    }

    pub(super) fn error(&mut self, subject: &'static str, text: String, mend: &str) {
        self.add(Severity::Error, subject, text, Some(mend.to_owned()));
    }

    pub(super) fn warning(&mut self, subject: &'static str, text: String, mend: &str) {
        self.add(Severity::Warning, subject, text, Some(mend.to_owned()));
    }

    pub(super) fn note(&mut self, subject: &'static str, text: String, mend: &str) {
        self.add(Severity::Note, subject, text, Some(mend.to_owned()));
    }

    pub(super) fn ok(&mut self, subject: &'static str, text: String) {
        self.add(Severity::Ok, subject, text, None);
    }

    pub(super) fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|finding| finding.severity == severity).count()
    }

    /// The worst first, otherwise as they were found.
    pub(super) fn sorted(&self) -> Vec<&Finding> {
        let mut sorted: Vec<&Finding> = self.0.iter().collect();
        sorted.sort_by_key(|finding| finding.severity);
        sorted
    }
}
