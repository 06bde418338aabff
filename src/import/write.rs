//! The files of a conversion on the disk. Only their owner may read them.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::convert::{Converted, GeneratedFile};

/// What happens to a file that exists and has other contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is an error, and nothing is written.
    Kept,
    /// It is replaced.
    Replaced,
}

/// Why a result can't be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A file can't be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// The directory of the generated files of a configuration at `out`: `FILE.d` beside it.
pub fn beside(out: &Path) -> PathBuf {
    with_ending(out, ".d")
}

/// Writes the configuration to `out`, its report to `FILE.report`, and the files that it names to the directory [`beside`] it. A file that has the
/// same contents already stays as it is.
///
/// # Errors
/// A file exists with other contents and is [`Existing::Kept`], or can't be written.
pub fn write(converted: &Converted, out: &Path, existing: Existing) -> Result<(), WriteError> {
    let directory = beside(out);
    let generated = converted.files.iter().map(|file| (directory.join(&file.name), file.contents.clone()));
    let report = (with_ending(out, ".report"), converted.report.to_string());
    // The configuration comes last: it names the others.
    let files: Vec<_> = generated.chain([report, (out.to_owned(), converted.toml().to_owned())]).collect();
    for (path, contents) in &files {
        if existing == Existing::Kept && is_other(path, contents)? {
            let text = "it exists and has other contents: choose another name, or replace it with --force";
            return Err(failed(path)(io::Error::new(io::ErrorKind::AlreadyExists, text)));
        }
    }
    if !converted.files.is_empty() {
        create_directory(&directory).map_err(failed(&directory))?;
    }
    files.iter().try_for_each(|(path, contents)| replace(path, contents).map_err(failed(path)))
}

/// Writes these files to a directory, creating it if it isn't there.
pub(super) fn add_files(directory: &Path, files: &[GeneratedFile]) -> Result<(), WriteError> {
    if files.is_empty() {
        return Ok(());
    }
    create_directory(directory).map_err(failed(directory))?;
    files.iter().try_for_each(|file| {
        let path = directory.join(&file.name);
        replace(&path, &file.contents).map_err(failed(&path))
    })
}

/// Removes all files of a directory but these.
pub(super) fn remove_others(directory: &Path, files: &[GeneratedFile]) -> Result<(), WriteError> {
    if !directory.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(directory).map_err(failed(directory))?.flatten() {
        let is_known = files.iter().any(|file| entry.file_name().to_str() == Some(&*file.name));
        if !is_known && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            fs::remove_file(entry.path()).map_err(failed(&entry.path()))?;
        }
    }
    Ok(())
}

fn failed(path: &Path) -> impl Fn(io::Error) -> WriteError {
    move |source| WriteError::File { path: path.to_owned(), source }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(ending);
    PathBuf::from(name)
}

/// Whether there is a file with other contents.
fn is_other(path: &Path, contents: &str) -> Result<bool, WriteError> {
    match fs::read(path) {
        Ok(before) => Ok(before != contents.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(path)(error)),
    }
}

fn create_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a new file and renames it over the old one, unless that has the same contents.
fn replace(path: &Path, contents: &str) -> io::Result<()> {
    let is_private = fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 == 0);
    if is_private && fs::read(path).is_ok_and(|before| before == contents.as_bytes()) {
        return Ok(());
    }
    let new = with_ending(path, &format!(".{}.new", std::process::id()));
    // One of a killed process with the same id.
    let _removed = fs::remove_file(&new);
    let written = write_new(&new, contents).and_then(|()| fs::rename(&new, path));
    written.inspect_err(|_| {
        // The first error is returned, so an error of the cleanup is ignored.
        let _removed = fs::remove_file(&new);
    })
}

fn write_new(path: &Path, contents: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(contents.as_bytes())?;
    file.sync_all()
}
