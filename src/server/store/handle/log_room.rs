use crate::server::log::log_line;
use crate::store::Shortage;

/// Logs that a resource ran out, or is available again.
pub(super) fn log_room(before: Option<Shortage>, now: Option<Shortage>) {
    if let Some(shortage) = now {
        let reason = shortage.sentence();
        log_line!(DiskFull { reason }, "{reason}: new messages for durable sessions are refused until that changes");
    } else if let Some(shortage) = before {
        let reason = shortage.end_sentence();
        log_line!(DiskFree { reason }, "{reason}: new messages for durable sessions are accepted");
    }
}
