//! The steps of a case, and what comes of them.
//!
//! A line is a step and its outcome: `VERB WORDS => OUTCOME`. A blank in a word is `%20`; `""` is empty, `16kB` as a payload is that many bytes,
//! `*` at the end of a word of an outcome is anything, and ` | ` separates outcomes that may be. `#` begins a comment. The first word after a verb is the name of a client.
//!
//! | step | outcomes |
//! | --- | --- |
//! | `connect NAME WHERE [OPTION …]`, `WHERE` one of `tcp:PORT`, `tls:PORT`, `ws:PORT`, `wss:PORT`, `unix:PATH` with the published port or path, and `remote-` before it for the broker behind a bridge | `accepted`, `accepted, session present`, `refused CODE`, `closed`, `untrusted` (the certificate of the broker), `unreachable` |
//! | `subscribe NAME FILTER QOS` | `granted QOS`, `refused CODE`, `closed [CODE]` |
//! | `unsubscribe NAME FILTER` | `done`, `refused CODE`, `closed [CODE]` |
//! | `publish NAME TOPIC QOS [retained] PAYLOAD` | `sent` (QoS 0), `taken`, `refused CODE`, `closed [CODE]` |
//! | `receive NAME [N]`: the next message, or the next N in any order, which are sorted and separated by ` + ` | `TOPIC QOS [retained] PAYLOAD`, `nothing`, `closed [CODE]` |
//! | `relay FROM TO TOPIC QOS PAYLOAD`: publishes until the other receives it, for bridges that are on their way | as `receive` |
//! | `ended NAME`: the broker closes the connection | `closed [CODE]`, `open` |
//! | `disconnect NAME`, `cut NAME` (without DISCONNECT), `restart` or `kill` of the broker, which starts again and has no clients then; `stop-remote`, `start-remote` | none |
//! | `append PATH WORDS` to a file, `replace PATH TEXT TEXT` in one, `reload` by SIGHUP, `pause` for half a second | none |
//! | `said WORDS` in the broker's log, without regard to case | `yes`, `no` |
//! | `start`, in a case whose broker does not start at once; where it stops, only `start`, `said`, `append` and `replace` are done | `runs`, `stops` |
//!
//! `eventually` before a step repeats it until its outcome is the expected one. A line that follows and begins with `ours =>` has the
//! outcome with OnceMQ where it differs, and behind ` -- ` the name of the difference in the file `differences`, whose sentence is also in
//! `docs/MOVING.md`; one with `2.0 =>` that of
//! mosquitto 2.0.11, where a fault was mended later, and one with `2.1 =>` that of 2.1.
//!
//! Options of `connect`: `id=`, `user=NAME:PASSWORD`, `version=3.1|3.1.1|5`, `clean=no`, `expiry=SECONDS`, `keepalive=SECONDS`,
//! `will=TOPIC:QOS:PAYLOAD` (`will-retained=`), `ca=PATH` (or `ca=any`, or
//! `ca=openssl` for a client of OpenSSL that trusts any), `cert=PATH` and `key=PATH`, `name=` for the name in the certificate, `host=NAME`, `acks=no`, and
//! `show=PROPERTY,…` of CONNACK, which follow `accepted`.

use std::fs;
use std::path::Path;

/// What a case does.
pub(crate) struct Script {
    pub(crate) steps: Vec<Step>,
    /// Whether OnceMQ also runs from the file that `oncemq import mosquitto` writes.
    pub(crate) imported: bool,
    /// Whether mosquitto itself is left out: it lacks what the file names.
    pub(crate) only_ours: bool,
}

/// One line.
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) eventually: bool,
    pub(crate) verb: String,
    pub(crate) words: Vec<String>,
    /// The outcome, if the step has one.
    pub(crate) expected: Option<String>,
    pub(crate) ours: Option<Difference>,
    /// The outcome with mosquitto 2.0.11.
    pub(crate) older: Option<String>,
    /// The outcome with mosquitto 2.1.
    pub(crate) newer: Option<String>,
}

/// An intended difference.
pub(crate) struct Difference {
    pub(crate) expected: String,
    /// Its name in the file `differences`.
    pub(crate) name: String,
}

impl Script {
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let mut script = Self { steps: Vec::new(), imported: false, only_ours: false };
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let at = || format!("{}:{}: {line}", path.display(), index + 1);
            match line.split_once(' ') {
                _ if line.is_empty() || line.starts_with('#') => {}
                Some(("option", "imported")) => script.imported = true,
                Some(("option", "only-ours")) => script.only_ours = true,
                Some(("ours", rest)) => {
                    let step = script.steps.last_mut().unwrap_or_else(|| panic!("{}", at()));
                    let rest = rest.strip_prefix("=> ").unwrap_or_else(|| panic!("{}", at()));
                    let (expected, name) = rest.split_once(" -- ").unwrap_or_else(|| panic!("no reason: {}", at()));
                    step.ours = Some(Difference { expected: expected.to_owned(), name: name.to_owned() });
                }
                Some((version @ ("2.0" | "2.1"), rest)) => {
                    let step = script.steps.last_mut().unwrap_or_else(|| panic!("{}", at()));
                    let outcome = Some(rest.strip_prefix("=> ").unwrap_or_else(|| panic!("{}", at())).to_owned());
                    *(if version == "2.0" { &mut step.older } else { &mut step.newer }) = outcome;
                }
                _ => script.steps.push(Step::parse(line, index + 1)),
            }
        }
        script
    }
}

impl Step {
    fn parse(line: &str, number: usize) -> Self {
        let (step, expected) = match line.split_once(" => ") {
            Some((step, expected)) => (step, Some(expected.trim().to_owned())),
            None => (line, None),
        };
        let words = step.split_whitespace();
        let mut words =
            words.map(|word| if word == "\"\"" { String::new() } else { word.replace("%20", " ") }).peekable();
        let eventually = words.next_if(|word| word == "eventually").is_some();
        let verb = words.next().unwrap();
        let silent = [
            "disconnect",
            "cut",
            "restart",
            "kill",
            "append",
            "replace",
            "reload",
            "pause",
            "stop-remote",
            "start-remote",
        ]
        .contains(&verb.as_str());
        assert_eq!(expected.is_none(), silent, "line {number}: {line}");
        Self { line: number, eventually, verb, words: words.collect(), expected, ours: None, older: None, newer: None }
    }

    /// The word at an index.
    #[track_caller]
    pub(crate) fn word(&self, index: usize) -> &str {
        self.words.get(index).unwrap_or_else(|| panic!("line {}: word {index} is missing", self.line))
    }
}

/// Whether an outcome is the expected one, or one of those separated by ` | `.
pub(crate) fn fits(expected: &str, outcome: &str) -> bool {
    expected.split(" | ").any(|expected| fits_one(expected, outcome))
}

fn fits_one(expected: &str, outcome: &str) -> bool {
    let (mut expected, mut outcome) = (expected.split(' '), outcome.split(' '));
    loop {
        match (expected.next(), outcome.next()) {
            (None, None) => return true,
            (Some(left), Some(right)) if left == right => {}
            (Some(left), Some(right)) if left.strip_suffix('*').is_some_and(|begin| right.starts_with(begin)) => {}
            _ => return false,
        }
    }
}

#[test]
fn outcome_fits_word_by_word() {
    assert!(fits("a/b 1 on", "a/b 1 on"));
    assert!(fits("a/b 1 *", "a/b 1 anything"));
    assert!(!fits("a/b 1 *", "a/b 1"));
    assert!(fits("assigned auto-*", "assigned auto-1"));
    assert!(!fits("assigned auto-*", "assigned 1"));
    assert!(!fits("a/b 1", "a/b 1 retained"));
    assert!(!fits("accepted", "refused 0x05"));
    assert!(fits("closed | refused 0x87", "refused 0x87"));
    assert!(!fits("closed | refused 0x87", "refused 0x05"));
}

#[test]
fn step_is_read_with_its_outcomes() {
    let step = Step::parse("eventually publish hub a/b 1 \"\"  =>  taken", 7);
    assert_eq!((step.line, step.eventually, step.verb.as_str()), (7, true, "publish"));
    assert_eq!(step.words, ["hub", "a/b", "1", ""]);
    assert_eq!(step.expected.as_deref(), Some("taken"));
}
