//! `docs/SECURITY.md` has a row for each attack.

use std::fs;
use std::path::Path;

#[test]
fn every_attack_has_a_row_in_the_documentation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/SECURITY.md")).unwrap();
    let rows: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut attacks = Vec::new();
    for file in ["connections", "handshakes", "mutants", "readers", "state"] {
        let source = fs::read_to_string(root.join("tests/abuse").join(file).with_extension("rs")).unwrap();
        let mut lines = source.lines();
        while lines.any(|line| line == "#[test]") {
            let name = lines.next().and_then(|line| line.strip_prefix("fn ")?.strip_suffix("() {"));
            attacks.push(name.unwrap().to_owned());
        }
    }
    let mut listed = rows.clone();
    listed.retain(|row| !row.starts_with("fuzz"));
    listed.sort_unstable();
    attacks.sort_unstable();
    assert_eq!(listed, attacks);
}
