//! `oncemq pub`.

use std::fs;

use crate::messages::{Make, publish, subscribe};
use crate::process::{Broker, Running, run, wait_for};

#[test]
fn lines_files_and_input_become_messages() {
    let broker = Broker::start(&[]);
    let keep = ["-i", "keeper", "-c", "-t", "in/#", "-q", "2"];
    subscribe(&broker, &[&keep[..], &["-E"]].concat()).succeeded();
    let with_input = |arguments: &[&str], input: &[u8]| {
        let mut running = Running::start(Make::OnceMq.publisher(&broker, arguments));
        running.input(input);
        running.end().succeeded();
    };
    let many: String = (0..500).map(|number| format!("{number}\n")).collect();
    with_input(&["-t", "in/lines", "-q", "2", "-l"], many.as_bytes());
    with_input(&["-t", "in/all", "-q", "1", "-s"], b"a\nb\n");
    let file = broker.directory.path().join("payload");
    fs::write(&file, b"\x00\xFF").unwrap();
    publish(&broker, &["-t", "in/file", "-q", "1", "-f", file.to_str().unwrap()]).succeeded();
    publish(&broker, &["-t", "in/none", "-q", "1", "-n"]).succeeded();
    let format = ["-F", "%t %x", "-C", "503"];
    let output = subscribe(&broker, &[&keep[..], &format].concat()).succeeded();
    let lines: Vec<&str> = output.lines().collect();
    for (number, line) in lines[..500].iter().enumerate() {
        let hex: String = number.to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(*line, format!("in/lines {hex}"));
    }
    assert_eq!(lines[500..], ["in/all 610a620a", "in/file 00ff", "in/none "]);
}

#[test]
fn properties_and_retained_messages_arrive() {
    let broker = Broker::start(&[]);
    let properties = [
        "-D",
        "publish",
        "content-type",
        "text/plain",
        "-D",
        "publish",
        "user-property",
        "k",
        "v",
        "-D",
        "publish",
        "message-expiry-interval",
        "900",
        "-D",
        "publish",
        "response-topic",
        "re",
        "-D",
        "publish",
        "correlation-data",
        "7",
    ];
    publish(&broker, &[&["-t", "p", "-m", "x", "-r", "-q", "1"], &properties[..]].concat()).succeeded();
    let format = "%C|%P|%R|%D|%r";
    let output = subscribe(&broker, &["-t", "p", "-C", "1", "-F", format]).succeeded();
    assert_eq!(output, "text/plain|k:v|re|7|1\n");
    let output = subscribe(
        &broker,
        &["-t", "p", "-C", "1", "-F", "%E", "-D", "subscribe", "user-property", "message-id", "true"],
    );
    assert!(output.succeeded().trim().parse::<u32>().unwrap() > 800);
    publish(&broker, &["-t", "p", "-r", "-n"]).succeeded();
    subscribe(&broker, &["-t", "p", "-W", "1"]).failed(27, "-W");
}

#[test]
fn a_refusal_is_said_in_words_and_by_the_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let (users, rules) = (directory.path().join("users"), directory.path().join("rules"));
    let mut passwd = Running::start({
        let mut command = crate::process::oncemq();
        command.args(["passwd", "--password-stdin", "--create"]).arg(&users).arg("alice");
        command
    });
    passwd.input(b"secret\n");
    passwd.end().succeeded();
    fs::write(&rules, "user alice\ntopic write mine/#\ntopic read mine/#\n").unwrap();
    let files = ["--password-file", users.to_str().unwrap(), "--acl-file", rules.to_str().unwrap()];
    let broker = Broker::start(&[&files[..], &["--set", "security.allow_anonymous=false"]].concat());
    let login = ["-u", "alice", "-P", "secret"];
    let with_login = |arguments: &[&'static str]| [&login[..], arguments].concat();
    publish(&broker, &with_login(&["-t", "mine/a", "-m", "x", "-q", "2"])).succeeded();
    for qos in ["1", "2"] {
        let done = publish(&broker, &with_login(&["-t", "other", "-m", "x", "-q", qos]));
        done.failed(1, "the broker refused the message: Not authorized (0x87)");
    }
    subscribe(&broker, &with_login(&["-t", "other"])).failed(1, "the broker refused the subscription to \"other\"");
    let one = with_login(&["-t", "other", "-t", "mine/#", "-W", "1"]);
    subscribe(&broker, &one).failed(27, "the broker refused the subscription to \"other\"");
    publish(&broker, &["-u", "alice", "-P", "wrong", "-t", "a", "-m", "x"]).failed(134, "Bad User Name or Password");
    publish(&broker, &["-V", "311", "-u", "alice", "-P", "wrong", "-t", "a", "-m", "x"]).failed(134, "refused");
    subscribe(&broker, &["-t", "a"]).failed(135, "Not authorized");
}

#[test]
fn what_can_not_be_right_ends_with_2_and_no_broker_with_7() {
    for arguments in [
        &["pub", "-t", "a"][..],
        &["pub", "-m", "x"],
        &["pub", "-t", "a", "-m", "x", "-l"],
        &["pub", "-t", "a/#", "-m", "x"],
        &["pub", "-t", "a", "-m", "x", "-q", "3"],
        &["pub", "-t", "a", "-m", "x", "-c"],
        &["pub", "-t", "a", "-m", "x", "-V", "311", "-x", "5"],
        &["pub", "-t", "a", "-m", "x", "-V", "4"],
        &["pub", "-t", "a", "-m", "x", "-D", "publish", "topic-alias", "1"],
        &["pub", "-t", "a", "-m", "x", "-D", "will", "will-delay-interval", "1"],
        &["pub", "-t", "a", "-m", "x", "--unix", "s", "--cafile", "f"],
        &["pub", "-t", "a", "-m", "x", "--cafile", "/does/not/exist"],
        &["pub", "-L", "http://x/y", "-m", "x"],
        &["sub"],
        &["sub", "-t", "a#"],
        &["sub", "-t", "a", "-F", "%y"],
        &["sub", "-t", "a", "-C", "0"],
        &["sub", "-t", "a", "-v", "-F", "%t"],
        &["sub", "-t", "a", "-D", "publish", "content-type", "x"],
        &["sub", "-t", "a", "--unknown"],
    ] {
        let done = run(arguments);
        assert_eq!(done.code, 2, "{arguments:?}: {done:?}");
    }
    let nobody = wire::free_address().port().to_string();
    run(["pub", "-h", "127.0.0.1", "-p", &nobody, "-t", "a", "-m", "x"]).failed(7, "refused");
    run(["sub", "--unix", "/does/not/exist", "-t", "a"]).failed(7, "/does/not/exist");
}

#[test]
fn a_message_that_is_too_large_is_not_sent() {
    let broker = Broker::start(&["--set", "limits.maximum_packet_size=1024"]);
    publish(&broker, &["-t", "a", "-m", &"x".repeat(2_000), "-q", "1"]).failed(1, "at most 1024");
}

#[test]
fn a_signal_ends_it_and_the_exit_code_tells() {
    let broker = Broker::start(&[]);
    for signal in ["-INT", "-TERM"] {
        let keep = ["-i", "k", "-c", "-t", "s", "-q", "1"];
        subscribe(&broker, &[&keep[..], &["-E"]].concat()).succeeded();
        let mut running = Running::start(Make::OnceMq.publisher(&broker, &["-t", "s", "-l", "-q", "1"]));
        running.input(b"one\n");
        assert_eq!(subscribe(&broker, &[&keep[..], &["-C", "1"]].concat()).succeeded(), "one\n");
        running.signal(signal);
        // The input stays open, so that only the signal can end it.
        wait_for("the end", || !running.is_running());
        running.end().failed(1, "interrupted; 0 messages were not acknowledged");
    }
}

#[test]
fn a_will_is_published_when_the_process_dies() {
    let broker = Broker::start(&[]);
    let keep = ["-i", "watcher", "-c", "-t", "will", "-q", "1"];
    subscribe(&broker, &[&keep[..], &["-E"]].concat()).succeeded();
    let will = ["--will-topic", "will", "--will-payload", "gone", "--will-qos", "1"];
    let alive = Running::start(Make::OnceMq.subscriber(&broker, &[&["-t", "alive", "-q", "1"][..], &will].concat()));
    wait_for("the first message", || {
        publish(&broker, &["-t", "alive", "-m", "x", "-q", "1"]).succeeded();
        alive.has_output()
    });
    alive.signal("-KILL");
    assert_eq!(subscribe(&broker, &[&keep[..], &["-C", "1"]].concat()).succeeded(), "gone\n");
}
