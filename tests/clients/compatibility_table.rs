//! Compares the table in `docs/COMPATIBILITY.md` with the tests, and with the versions that `tests/run` installs.

use std::fs;
use std::path::{Path, PathBuf};

/// A row of the table: its cells.
struct Row(Vec<String>);

impl Row {
    /// All rows whose last cell says how the client was tried.
    fn all() -> Vec<Self> {
        let text = fs::read_to_string(source("docs/COMPATIBILITY.md")).unwrap();
        let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        let rows = rows.map(|row| Self(row.split(" | ").map(str::to_owned).collect()));
        let rows: Vec<Self> = rows.filter(|row| !matches!(row.test(), "test" | "---")).collect();
        assert!(rows.len() > 20, "{} rows", rows.len());
        rows
    }

    fn test(&self) -> &str {
        self.0.last().unwrap()
    }

    /// What the cell has in backticks.
    fn quoted(cell: &str) -> impl Iterator<Item = &str> {
        cell.split('`').skip(1).step_by(2)
    }
}

#[test]
fn the_table_names_tests_that_exist_and_all_of_these() {
    let rows = Row::all();
    let mut named = Vec::new();
    for row in &rows {
        assert_eq!(row.0.len(), 6, "{:?}", row.0);
        for test in Row::quoted(row.test()) {
            let (file, function) = test.split_once("::").unwrap_or_else(|| panic!("{test} names no file"));
            let text = fs::read_to_string(source("tests/clients").join(format!("{file}.rs"))).expect(test);
            assert!(function == "*" || text.contains(&format!("\nfn {function}()")), "there is no {test}");
            named.push(test);
        }
        assert!(row.test() == "by hand" || row.test().starts_with('`'), "{:?}", row.0);
    }
    for file in ["compat", "tools"] {
        let text = fs::read_to_string(source("tests/clients").join(format!("{file}.rs"))).unwrap();
        let tests = text.split("#[test]\nfn ").skip(1).filter_map(|rest| Some(rest.split_once('(')?.0));
        for test in tests {
            assert!(named.contains(&format!("{file}::{test}").as_str()), "no row names {file}::{test}");
        }
    }
}

#[test]
fn the_table_has_the_versions_that_are_installed() {
    let pins = [
        "Cargo.lock",
        "tests/python/requirements.txt",
        "tests/python/paho-1.6.txt",
        "tests/node/agents/package.json",
        "tests/node/package.json",
    ];
    let pins: String = pins.iter().map(|file| fs::read_to_string(source(file)).expect(file)).collect();
    for row in Row::all() {
        let (version, origin) = row.0[1].split_once(" (").unwrap_or_else(|| panic!("{:?} has no origin", row.0));
        let package = Row::quoted(&row.0[0]).next().unwrap_or_else(|| panic!("{:?} names no package", row.0));
        let pin = match origin {
            _ if row.test() == "by hand" => continue,
            "PyPI)" => format!("{package}=={version}\n"),
            "crates.io)" => format!("name = \"{package}\"\nversion = \"{version}\""),
            "npm)" => format!("\"{package}\": \"{version}\""),
            "Debian 12)" => continue,
            _ => panic!("{:?}: unknown origin", row.0),
        };
        assert!(pins.contains(&pin), "{package} {version} is not what is installed");
    }
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
