//! The broker, if it runs: its process, whether it is ready, and what it warns of.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use oncemq::admin::SOCKET;
use oncemq::config::Config;
use rustix::net::sockopt::socket_peercred;
use serde_json::Value;

use super::finding::Findings;
use crate::admin_client::AdminClient;

/// The broker with the data directory.
#[derive(Debug)]
pub(super) struct Running {
    socket: PathBuf,
    state: State,
}

#[derive(Debug)]
enum State {
    Runs {
        process: Option<i32>,
    },
    /// Its socket is not for this user.
    Hidden,
    No,
}

impl Running {
    pub(super) fn find(config: &Config) -> Self {
        let socket = config.server.data.join(SOCKET);
        let state = match UnixStream::connect(&socket) {
            Ok(stream) => {
                State::Runs { process: socket_peercred(&stream).ok().map(|peer| peer.pid.as_raw_nonzero().get()) }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => State::Hidden,
            Err(_) => State::No,
        };
        Self { socket, state }
    }

    /// Its process, if it runs and may be known.
    pub(super) const fn process(&self) -> Option<i32> {
        match self.state {
            State::Runs { process } => process,
            State::Hidden | State::No => None,
        }
    }

    /// A path below `/proc/PID` of the broker, or of this process.
    pub(super) fn proc(&self, file: &str) -> String {
        self.process().map_or_else(|| format!("/proc/self/{file}"), |process| format!("/proc/{process}/{file}"))
    }

    pub(super) fn examine(&self, findings: &mut Findings) {
        match self.state {
            State::Runs { process } => self.ask(process, findings),
            State::Hidden => {
                let text = format!("{}: this user may not ask the broker", self.socket.display());
                findings.note(SUBJECT, text, "run this as the user of the broker, or as root");
            }
            State::No => {
                let text = format!("no broker answers at {}", self.socket.display());
                findings.note(SUBJECT, text, "if one runs, name its --config or --data");
            }
        }
    }

    fn ask(&self, process: Option<i32>, findings: &mut Findings) {
        let client = AdminClient::unix(self.socket.clone());
        let name = process.map_or_else(|| "the broker".to_owned(), |process| format!("the broker (process {process})"));
        match client.request("GET /health/ready", "", "") {
            Ok((200, _)) => findings.ok(SUBJECT, format!("{name} is ready")),
            // The owner of the cluster serves the clients.
            Ok((503, text)) if status_in(&text).as_deref() == Some(STANDBY) => {
                findings.ok(SUBJECT, format!("{name} is a standby"))
            }
            Ok((code, text)) => {
                let text = format!("{name} is not ready: {code}: {}", text.trim());
                findings.error(SUBJECT, text, "read its log: journalctl -u oncemq");
            }
            Err(error) => {
                findings.error(
                    SUBJECT,
                    format!("{name} does not answer: {error}"),
                    "read its log: journalctl -u oncemq",
                );
            }
        }
        for warning in texts_of(&client, "GET /api/v1/overview", "warnings") {
            findings.warning(SUBJECT, warning, "oncemq status shows it, docs/OPERATING.md says more");
        }
        for trouble in texts_of(&client, "GET /api/v1/cluster", "troubles") {
            findings.error(SUBJECT, trouble, "oncemq cluster status shows the nodes, docs/CLUSTER.md says more");
        }
    }
}

/// What `/health/ready` says.
fn status_in(answer: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(answer).ok()?;
    answer.get("status")?.as_str().map(str::to_owned)
}

/// A list of texts in the answer of the broker; none if it has no answer.
fn texts_of(client: &AdminClient, request: &str, list: &str) -> Vec<String> {
    let answer = client.request(request, "", "").ok().filter(|(code, _)| *code == 200);
    let answer: Option<Value> = answer.and_then(|(_, text)| serde_json::from_str(&text).ok());
    let texts = answer.as_ref().and_then(|answer| answer.get(list)?.as_array());
    texts.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

const SUBJECT: &str = "running broker";
/// What `/health/ready` says of a node that serves no clients, because another one does.
const STANDBY: &str = "standby";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_is_known_by_its_answer() {
        assert_eq!(status_in("{\"status\":\"standby\"}").as_deref(), Some(STANDBY));
        assert_eq!(status_in("a shard is stuck"), None);
    }
}
