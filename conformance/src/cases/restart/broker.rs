use crate::broker::Signal;
use crate::context::Context;
use crate::failure::Outcome;

/// Terminates the broker with this signal and restarts it. Both standards permit state to be lost in a crash (comments
/// in 4.1), so failures after SIGKILL are reported separately; each case tries SIGTERM first.
pub(super) fn restart(cx: &mut Context, signal: Signal) -> Outcome {
    let how = match signal {
        Signal::Term => "the broker is shut down (SIGTERM) and restarted",
        Signal::Kill => "the broker is killed (SIGKILL) and restarted",
    };
    cx.state().note("", how);
    if signal == Signal::Kill {
        cx.state().killed.set(true);
    }
    cx.broker()?.restart(signal)
}
