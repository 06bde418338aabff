use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use oncemq::admin::PROCESS_HEADER;
use oncemq::config::Admin;

use crate::admin_client::{AdminClient, HINT};

/// Requests a backup from the running broker and waits for it. Returns its directory, or why there is none.
pub(super) fn send(admin: &Admin, process: &str) -> Result<PathBuf, String> {
    let client = AdminClient::new(admin.address);
    let url = client.url("/backup");
    let fail = |error: io::Error| format!("{url}: {error} ({HINT})");
    let header = format!("{PROCESS_HEADER}: {process}\r\n");
    let (mut code, mut text) = client.request("POST /backup", &header, "").map_err(fail)?;
    loop {
        match (code, text.split_once(' ')) {
            (202 | 200, None) if text == "running" => thread::sleep(POLL_INTERVAL),
            (202 | 200, Some(("done", directory))) => return Ok(PathBuf::from(directory)),
            (202 | 200, Some(("failed", cause))) => return Err(cause.to_owned()),
            _ => return Err(format!("{url} answered {code}: {text} ({HINT})")),
        }
        (code, text) = client.request("GET /backup", "", "").map_err(fail)?;
    }
}

/// Between two requests for the state of the backup.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
