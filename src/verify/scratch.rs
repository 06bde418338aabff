//! The directory in which everything happens. It is new, its name can't be guessed, and it is removed in the end.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::trouble::Trouble;
use crate::disk::{room, unpredictable_name};
use crate::output::size;

/// A directory that is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes it in the first of `parents` in which that is possible.
    pub(super) fn create(parents: &[PathBuf]) -> Result<Self, Trouble> {
        let mut first = None;
        for parent in parents {
            let created = unpredictable_name("oncemq-verify").and_then(|name| {
                let path = parent.canonicalize()?.join(name);
                DirBuilder::new().mode(0o700).create(&path)?;
                Ok(Self { path })
            });
            match created {
                Ok(scratch) => return scratch.with_room(),
                Err(source) => {
                    first.get_or_insert(Trouble::Directory { path: parent.clone(), source });
                }
            }
        }
        Err(first.unwrap_or_else(|| io::Error::from(io::ErrorKind::NotFound).into()))
    }

    fn with_room(self) -> Result<Self, Trouble> {
        let free = room(&self.path).map_err(|error| self.trouble(error))?.bytes;
        if free < ROOM_BYTES_MIN {
            let (free, needed) = (size_of(free), size_of(ROOM_BYTES_MIN));
            return Err(Trouble::NoRoom { path: self.parent(), free, needed });
        }
        Ok(self)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn parent(&self) -> PathBuf {
        self.path.parent().unwrap_or(&self.path).to_owned()
    }

    fn trouble(&self, source: io::Error) -> Trouble {
        Trouble::Directory { path: self.parent(), source }
    }

    /// An error if the disk is nearly full, or if the directory has more than [`BYTES_MAX`]: no result is worth a disk.
    pub(super) fn check(&self) -> Result<(), Trouble> {
        let free = room(&self.path).map_err(|error| self.trouble(error))?.bytes;
        let used = bytes_below(&self.path, DEPTH_MAX);
        if free < ROOM_BYTES_LEFT || used > BYTES_MAX {
            let needed = format!("{} more; they used {}", size_of(ROOM_BYTES_LEFT), size_of(used));
            return Err(Trouble::NoRoom { path: self.parent(), free: size_of(free), needed });
        }
        Ok(())
    }

    /// Removes a directory of a broker that has ended.
    pub(super) fn clear(&self, name: &str) -> Result<(), Trouble> {
        let path = self.path.join(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.trouble(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // There is nobody to tell, and nothing else to try.
        let _removed = fs::remove_dir_all(&self.path);
    }
}

/// Where to make the directory so that it is on the disk of `data`: beside it, or in it if it is a mounted file system or nobody may write
/// beside it.
pub(super) fn places(data: &Path) -> Vec<PathBuf> {
    let beside = match data.canonicalize() {
        Ok(data) => data.parent().map(Path::to_owned),
        Err(_) => {
            data.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent }.to_owned())
        }
    };
    let device = |path: &Path| path.metadata().ok().map(|metadata| metadata.dev());
    let is_mounted =
        device(data).is_some_and(|own| beside.as_deref().and_then(device).is_some_and(|other| own != other));
    let within = data.is_dir().then(|| data.to_owned());
    if is_mounted { within.into_iter().collect() } else { beside.into_iter().chain(within).collect() }
}

/// The blocks of all files below a directory.
fn bytes_below(path: &Path, depth: usize) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() && depth > 0 => bytes_below(&entry.path(), depth - 1),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    bytes.sum()
}

#[expect(clippy::cast_precision_loss, reason = "a size for people")]
fn size_of(bytes: u64) -> String {
    size(bytes as f64)
}

/// What the checks use at most.
pub(super) const BYTES_MAX: u64 = 128 << 20;
/// What must be free before.
const ROOM_BYTES_MIN: u64 = 96 << 20;
/// What must stay free.
const ROOM_BYTES_LEFT: u64 = 8 << 20;
const DEPTH_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_new_private_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        assert!(matches!(Scratch::create(std::slice::from_ref(&missing)), Err(Trouble::Directory { .. })));
        let scratch = Scratch::create(&[missing, directory.path().to_owned()]).unwrap();
        assert_eq!(scratch.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        fs::create_dir(scratch.path().join("data")).unwrap();
        fs::write(scratch.path().join("data/file"), vec![1; 100_000]).unwrap();
        assert!(bytes_below(scratch.path(), DEPTH_MAX) >= 100_000);
        scratch.check().unwrap();
        scratch.clear("data").unwrap();
        scratch.clear("data").unwrap();
        drop(scratch);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn it_is_beside_the_data_directory() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let parent = directory.path().canonicalize().unwrap();
        assert_eq!(places(&data), [directory.path()]);
        fs::create_dir(&data).unwrap();
        assert_eq!(places(&data), [parent, data]);
        assert_eq!(places(Path::new("./oncemq-data-that-is-missing")), [Path::new(".")]);
        assert_eq!(places(Path::new("missing")), [Path::new(".")]);
    }
}
