//! Files that are made for the configuration.

use std::path::{Path, PathBuf};

/// A file that a converted configuration names. It may have secrets: only its owner may read it.
#[derive(Clone, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Its name, without a folder.
    pub name: String,
    /// What it has.
    pub contents: String,
}

impl std::fmt::Debug for GeneratedFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({} bytes)", self.name, self.contents.len())
    }
}

/// The files, and the directory where they will be.
pub(super) struct Files<'a> {
    directory: &'a Path,
    files: Vec<GeneratedFile>,
}

impl<'a> Files<'a> {
    pub(super) const fn new(directory: &'a Path) -> Self {
        Self { directory, files: Vec::new() }
    }

    /// Adds a file and returns its path. If there is one of this name with other contents, the new one gets a number.
    pub(super) fn add(&mut self, name: &str, contents: String) -> PathBuf {
        let mut number = 1;
        loop {
            let name = if number == 1 { name.to_owned() } else { format!("{number}-{name}") };
            match self.files.iter().find(|file| file.name == name) {
                Some(file) if file.contents != contents => number += 1,
                Some(_) => return self.directory.join(name),
                None => {
                    self.files.push(GeneratedFile { name: name.clone(), contents });
                    return self.directory.join(name);
                }
            }
        }
    }

    pub(super) fn done(self) -> Vec<GeneratedFile> {
        self.files
    }
}
