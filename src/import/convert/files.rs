//! Files that are made for the configuration.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{fs, io};

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

/// How files are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileNames {
    /// By what they have: the same in each conversion.
    Plain,
    /// With a hash of their contents: a file never changes, so a configuration in force keeps what it names.
    ByContents,
}

/// The files, and the directory where they will be.
pub(super) struct Files<'a> {
    directory: &'a Path,
    names: FileNames,
    files: Vec<GeneratedFile>,
}

impl<'a> Files<'a> {
    pub(super) const fn new(directory: &'a Path, names: FileNames) -> Self {
        Self { directory, names, files: Vec::new() }
    }

    /// The contents of a file: one of these, or one on the disk.
    pub(super) fn text(&self, path: &str) -> io::Result<String> {
        let is_it = |file: &&GeneratedFile| self.directory.join(&file.name) == Path::new(path);
        self.files.iter().find(is_it).map_or_else(|| fs::read_to_string(path), |file| Ok(file.contents.clone()))
    }

    /// Adds a file and returns its path. If there is one of this name with other contents, the new one gets a number.
    pub(super) fn add(&mut self, name: &str, contents: String) -> PathBuf {
        let name = &match self.names {
            FileNames::Plain => name.to_owned(),
            FileNames::ByContents => {
                let mut hasher = DefaultHasher::new();
                contents.hash(&mut hasher);
                format!("{:016x}-{name}", hasher.finish())
            }
        };
        let mut number = 1;
        loop {
            let name = if number == 1 { name.clone() } else { format!("{number}-{name}") };
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
