//! The clock: deadlines that survive a restart depend on it.

use std::path::Path;
use std::time::Duration;

use oncemq::server::is_synchronized;
use rustix::time::{ClockId, clock_gettime};

use super::finding::Findings;

pub(super) fn examine(findings: &mut Findings) {
    let now = clock_gettime(ClockId::Realtime).tv_sec;
    let now = Duration::from_secs(u64::try_from(now).unwrap_or_default());
    let has_rtc = ["/dev/rtc", "/dev/rtc0", "/sys/class/rtc/rtc0"].iter().any(|path| Path::new(path).exists());
    judge(now, is_synchronized(), has_rtc, findings);
}

fn judge(since_epoch: Duration, is_synchronized: bool, has_rtc: bool, findings: &mut Findings) {
    if since_epoch < OLDEST {
        let text = "the clock is wrong: it is before this version was made".to_owned();
        findings.error(
            SUBJECT,
            text,
            "timedatectl set-ntp true, or install chrony; certificates can't be verified before",
        );
    } else if is_synchronized {
        findings.ok(SUBJECT, "the kernel's clock is synchronized".to_owned());
    } else {
        let text = "the kernel's clock is not synchronized: after a restart of the machine, expiry counts as if no time had passed".to_owned();
        findings.warning(SUBJECT, text, "timedatectl set-ntp true, or install chrony with rtcsync");
    }
    if !has_rtc {
        let text = "no clock that runs without power is visible: the machine may start with a wrong time".to_owned();
        findings.note(
            SUBJECT,
            text,
            "let oncemq.service start after time-sync.target, where it must be right from the start",
        );
    }
}

const SUBJECT: &str = "clock";
/// January 2025.
const OLDEST: Duration = Duration::from_secs(1_735_689_600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Severity;

    #[test]
    fn a_clock_that_nobody_sets_is_found() {
        let found = |seconds, is_synchronized, has_rtc| {
            let mut findings = Findings::default();
            judge(Duration::from_secs(seconds), is_synchronized, has_rtc, &mut findings);
            findings.sorted().iter().map(|finding| finding.severity).collect::<Vec<_>>()
        };
        assert_eq!(found(1_800_000_000, true, true), [Severity::Ok]);
        assert_eq!(found(1_800_000_000, false, true), [Severity::Warning]);
        assert_eq!(found(1_800_000_000, true, false), [Severity::Note, Severity::Ok]);
        assert_eq!(found(1_000, true, true), [Severity::Error]);
    }
}
