/// When an entry counts as stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Written and synced: it survives the loss of power.
    #[default]
    PowerLoss,
    /// Handed to the operating system: it survives the end of the process.
    Crash,
    /// At once. Nothing is written, and nothing can be read back.
    None,
}
