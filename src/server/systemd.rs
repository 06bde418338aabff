use super::log::log_line;

/// Notifies systemd, if it started the process with `Type=notify`.
pub(super) fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        log_line!(SystemdNotNotified { reason = %error }, "systemd was not notified: {error}");
    }
}
