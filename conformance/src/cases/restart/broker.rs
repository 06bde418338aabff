use crate::broker::Signal;
use crate::context::Context;
use crate::failure::Outcome;

/// Ends the broker in this way and starts it again. Both standards let state be lost in a crash (comments in 4.1), so a
/// failure after SIGKILL is reported apart: each case tries SIGTERM first.
pub(super) fn restart(cx: &mut Context, signal: Signal) -> Outcome {
    let how = match signal {
        Signal::Term => "the broker is told to end (SIGTERM) and started again",
        Signal::Kill => "the broker is killed (SIGKILL) and started again",
    };
    cx.state().note("", how);
    if signal == Signal::Kill {
        cx.state().killed.set(true);
    }
    cx.broker()?.restart(signal)
}
