use std::io::Cursor;
use std::path::Path;

use oncemq::import::state::{Options, examine};
use oncemq::timestamp::WallTime;

/// Any bytes as a mosquitto.db: what is in it, or an error with a text.
pub(crate) fn mosquitto_db(input: &[u8]) {
    // Shortly after the seeds were made, so that some of their messages and sessions have not expired.
    let options = Options { now: WallTime(1_795_955_850_000), ..Options::default() };
    match examine(Cursor::new(input), Path::new("input"), &options) {
        Ok(report) => {
            let bytes = input.len() as u64;
            assert!(report.sessions <= bytes && report.retained <= bytes && report.queued <= bytes);
            assert!(!report.to_string().is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
