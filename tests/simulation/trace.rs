use std::fmt::Write;

/// Whether events are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tracing {
    Off,
    All,
}

/// Recorded events, one line each.
#[derive(Debug)]
pub(crate) struct Trace {
    tracing: Tracing,
    lines: Vec<(u64, Option<usize>, String)>,
}

impl Trace {
    pub(crate) fn new(tracing: Tracing) -> Self {
        Self { tracing, lines: Vec::new() }
    }

    /// Records an event of a client, or of none.
    pub(crate) fn note(&mut self, now: u64, client: Option<usize>, text: impl FnOnce() -> String) {
        if self.tracing == Tracing::All {
            self.lines.push((now, client, text()));
        }
    }

    pub(crate) fn lines(&self) -> &[(u64, Option<usize>, String)] {
        &self.lines
    }

    /// The last lines of this client, or of all clients.
    pub(crate) fn about(&self, client: Option<usize>) -> String {
        let concerned: Vec<_> = self.lines.iter().filter(|line| client.is_none() || line.1 == client).collect();
        text(concerned.into_iter().rev().take(LINES).rev())
    }

    pub(crate) fn all(&self) -> String {
        text(self.lines.iter())
    }
}

fn text<'a>(lines: impl Iterator<Item = &'a (u64, Option<usize>, String)>) -> String {
    let mut text = String::new();
    for (now, whose, line) in lines {
        let whose = whose.map_or("-".to_owned(), |whose| format!("c{whose}"));
        let _ = writeln!(text, "{:>8} {whose:<4}{line}", now - crate::world::BEGIN);
    }
    text
}

const LINES: usize = 150;
