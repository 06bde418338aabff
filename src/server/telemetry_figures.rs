/// What became of the spans of traces since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TelemetryFigures {
    /// Spans by [`SpanResult`], in the order of [`SpanResult::ALL`].
    pub spans: [u64; SpanResult::ALL.len()],
}

impl TelemetryFigures {
    /// Both together.
    pub(crate) fn sum(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let Some((mut sum, other)) = one.zip(other) else { return one.or(other) };
        sum.spans.iter_mut().zip(other.spans).for_each(|(sum, more)| *sum += more);
        Some(sum)
    }
}

/// What became of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanResult {
    /// The collector has accepted it.
    Sent,
    /// It was not made or not sent, because there were too many.
    Dropped,
    /// The collector is gone, or has refused it.
    Failed,
}

impl SpanResult {
    /// All results.
    pub const ALL: [Self; 3] = [Self::Sent, Self::Dropped, Self::Failed];

    /// Its name in the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
        }
    }
}
