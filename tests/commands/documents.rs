//! Help, completion, manual pages, and `docs/COMMANDS.md`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::run;

/// The help of a command and of its commands, in the order of the help.
fn collect(words: &[&str], sections: &mut Vec<(String, String)>) {
    let help = run([words, &["--help"]].concat()).succeeded();
    let mut commands = Vec::new();
    if let Some((_, list)) = help.split_once("\nCommands:\n") {
        let list = list.lines().take_while(|line| !line.is_empty());
        commands.extend(list.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().map(str::to_owned)));
    }
    let name = [&["oncemq"], words].concat().join(" ");
    sections.push((name, help));
    for command in commands.iter().filter(|command| !command.is_empty() && *command != "help") {
        collect(&[words, &[command]].concat(), sections);
    }
}

fn document() -> String {
    let mut sections = Vec::new();
    collect(&[], &mut sections);
    let mut text = "# The commands\n\nThe help of every command, as `oncemq COMMAND --help` prints it. [OPERATING.md](OPERATING.md#the-command-line) \
         says what they have in common. This file is written by `ONCEMQ_WRITE_DOCUMENTS=1 cargo test --test commands documents`.\n"
        .to_owned();
    for (name, help) in sections {
        text.push_str(&format!("\n## {name}\n\n```text\n{}\n```\n", help.trim_end()));
    }
    text
}

#[test]
fn the_document_of_the_commands_is_in_step() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/COMMANDS.md");
    let text = document();
    if std::env::var_os("ONCEMQ_WRITE_DOCUMENTS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == text,
        "docs/COMMANDS.md is old: write it with ONCEMQ_WRITE_DOCUMENTS=1"
    );
}

#[test]
fn every_command_of_an_operator_has_examples() {
    let mut sections = Vec::new();
    collect(&[], &mut sections);
    assert!(sections.len() > 25, "{}", sections.len());
    let without = [
        "oncemq",
        "oncemq config",
        "oncemq store",
        "oncemq session",
        "oncemq acl",
        "oncemq users",
        "oncemq token",
        "oncemq import",
    ];
    for (name, help) in &sections {
        let is_older = ["oncemq config ", "oncemq store ", "oncemq users ", "oncemq token "];
        let is_exempt = without.contains(&&**name) || is_older.iter().any(|older| name.starts_with(older));
        assert!(is_exempt || help.contains("Examples:"), "{name}");
    }
}

#[test]
fn shells_accept_their_completion() {
    for (shell, words) in [("bash", "clients"), ("zsh", "clients"), ("fish", "clients")] {
        let script = run(["completion", shell]).succeeded();
        assert!(script.contains(words) && script.contains("retained"), "{shell}");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("script");
        fs::write(&file, script).unwrap();
        // Only shells that are installed are asked.
        if let Ok(output) = Command::new(shell).arg("-n").arg(&file).output() {
            assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    assert_eq!(run(["completion", "tcsh"]).code, 2);
}

#[test]
fn manual_pages_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    run(["man", pages.to_str().unwrap()]).succeeded();
    for name in ["oncemq", "oncemq-clients", "oncemq-pub", "oncemq-store-check", "oncemq-acl-explain"] {
        let page = fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}");
    }
    fs::write(directory.path().join("file"), "").unwrap();
    assert_eq!(run(["man", directory.path().join("file").to_str().unwrap()]).code, 2);
}
