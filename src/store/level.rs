/// When an entry counts as stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Written and synced: it survives power loss.
    #[default]
    PowerLoss,
    /// Written to the operating system: it survives the end of the process.
    Crash,
    /// Immediately. Nothing is written, and nothing can be read.
    None,
}
