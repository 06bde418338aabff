//! The licences and sources of all dependencies, and the crates that are there in several versions.
//!
//! Advisories are not checked here: their database is not part of a build. `cargo deny check advisories` and `cargo audit` have it.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The packages of the workspace's dependency graph on this platform.
fn packages() -> Vec<Value> {
    let mut command = Command::new(env!("CARGO"));
    let arguments = ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform"];
    let output = command.args(arguments).arg(host()).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].take();
    let Value::Array(packages) = packages else { panic!("no packages") };
    assert!(packages.len() > 50, "cargo metadata lists the dependencies");
    packages
}

fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

/// Whether an SPDX expression can be met with allowed licences. `/` is how old crates write `OR`.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], "");
    // With this precedence `(A OR B) AND C` is read as `A OR (B AND C)`, which could allow too much: all of its licences are looked at.
    if expression.contains(" AND ") && expression.contains(" OR ") {
        return expression
            .split(" AND ")
            .flat_map(|part| part.split(" OR "))
            .all(|name| ALLOWED.contains(&name.trim()));
    }
    expression.split(" OR ").any(|choice| choice.split(" AND ").all(|name| ALLOWED.contains(&name.trim())))
}

#[test]
fn every_dependency_has_a_permissive_licence() {
    let refused: Vec<String> = packages()
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(is_allowed))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert_eq!(refused, Vec::<String>::new());
}

#[test]
fn an_expression_is_allowed_only_with_permissive_licences() {
    for allowed in
        ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "Apache-2.0 AND ISC", "(MIT OR Apache-2.0) AND Unicode-3.0"]
    {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for refused in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR GPL-3.0) AND ISC", "", "SSPL-1.0"] {
        assert!(!is_allowed(refused), "{refused}");
    }
}

#[test]
fn every_dependency_is_from_the_public_registry_or_of_this_repository() {
    for package in packages() {
        let is_ours = package["manifest_path"].as_str().unwrap().starts_with(env!("CARGO_MANIFEST_DIR"));
        let source = package["source"].as_str();
        assert!(is_ours || source == Some(REGISTRY), "{} {source:?}", package["name"]);
    }
}

/// Each such crate is compiled and read twice. A new one needs a line here, a gone one leaves.
#[test]
fn few_crates_are_there_in_several_versions() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        let [name, version] = ["name", "version"].map(|field| package[field].as_str().unwrap().to_owned());
        versions.entry(name).or_default().insert(version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    assert_eq!(versions.into_keys().collect::<Vec<_>>(), IN_SEVERAL_VERSIONS);
}

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// Licences that only ask for their text to be kept.
const ALLOWED: [&str; 10] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "0BSD",
];
/// Those of `digest`, `hmac` and `sha2` are newer in the client of PostgreSQL than in `argon2` and `pbkdf2`; the signatures of NATS (`nkeys`) have an
/// older `const-oid`, `rand_chacha` and `signature`.
const IN_SEVERAL_VERSIONS: [&str; 16] = [
    "base64",
    "block-buffer",
    "const-oid",
    "cpufeatures",
    "crypto-common",
    "digest",
    "getrandom",
    "hashbrown",
    "hmac",
    "rand",
    "rand_chacha",
    "rand_core",
    "sha2",
    "signature",
    "syn",
    "synstructure",
];
