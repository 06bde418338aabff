use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::super::store::options::store_directory;
use super::terms::CELLS_DIRECTORY;

/// Why a data directory is not of a broker with this number of cells.
#[derive(Debug, thiserror::Error)]
pub enum CellsError {
    /// It has a log for all clients.
    #[error(
        "{0} has the log of a broker without cells, and cluster.cells is {1}: divide it with \"oncemq store split --cells {1}\", use another data directory (server.data), or cluster.cells = 1"
    )]
    OneLog(PathBuf, u16),
    /// It has logs of cells.
    #[error(
        "{0} has the logs of {1} cells, and cluster.cells is {2}: the number of cells of a cluster cannot be changed"
    )]
    OtherNumber(PathBuf, u16, u16),
    /// It cannot be read or written.
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
}

/// Whether the data directory is of a broker with this number of cells; 1: without cells. The first start with cells writes the number to it.
///
/// # Errors
/// It is of a broker with another number.
pub fn claim_cells(data: &Path, cells: u16) -> Result<(), CellsError> {
    match cells_of(data) {
        Ok(Some(found)) if found == cells => return Ok(()),
        Ok(Some(found)) => return Err(CellsError::OtherNumber(data.to_owned(), found, cells)),
        Ok(None) if cells == 1 => return Ok(()),
        Ok(None) => {}
        // Whatever is wrong with the data directory, the store says it.
        Err(CellsError::Io(_, error)) if cells == 1 && error.kind() != io::ErrorKind::InvalidData => return Ok(()),
        Err(error) => return Err(error),
    }
    let log = store_directory(data);
    match fs::read_dir(&log).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return Err(CellsError::OneLog(log, cells)),
        Ok(false) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(CellsError::Io(log, error)),
    }
    let directory = data.join(CELLS_DIRECTORY);
    write_number(&directory, cells).map_err(|error| CellsError::Io(directory, error))
}

/// The number of cells that a data directory has; `None`: it is not of a broker with cells.
pub(super) fn cells_of(data: &Path) -> Result<Option<u16>, CellsError> {
    let directory = data.join(CELLS_DIRECTORY);
    let failed = |error| CellsError::Io(directory.clone(), error);
    match fs::read_to_string(directory.join(NUMBER_FILE)) {
        Ok(text) => {
            let found = text.trim().parse();
            found.map(Some).map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Writes the number to the directory of the cells, as a whole or not at all.
pub(super) fn write_number(directory: &Path, cells: u16) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let file = directory.join(NUMBER_FILE);
    let unfinished = file.with_extension("new");
    let mut written = File::create(&unfinished)?;
    writeln!(written, "{cells}")?;
    written.sync_all()?;
    fs::rename(&unfinished, &file)?;
    File::open(directory)?.sync_all()
}

const NUMBER_FILE: &str = "number";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_belongs_to_one_number_of_cells() {
        let data = tempfile::tempdir().unwrap();
        claim_cells(data.path(), 1).unwrap();
        assert!(!data.path().join("cells").exists(), "nothing is written without cells");
        fs::create_dir(data.path().join("log")).unwrap();
        claim_cells(data.path(), 6).unwrap();
        claim_cells(data.path(), 6).unwrap();
        for other in [1, 5] {
            let error = claim_cells(data.path(), other).unwrap_err().to_string();
            assert!(error.contains("has the logs of 6 cells, and cluster.cells is"), "{error}");
        }
    }

    #[test]
    fn the_log_of_a_broker_without_cells_is_not_left_behind() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("log")).unwrap();
        fs::write(data.path().join("log/0000000001.log"), b"x").unwrap();
        claim_cells(data.path(), 1).unwrap();
        let error = claim_cells(data.path(), 6).unwrap_err().to_string();
        assert!(error.contains("has the log of a broker without cells"), "{error}");
        assert!(!data.path().join("cells").exists());
    }

    #[test]
    fn a_file_that_says_nothing_is_an_error() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("cells")).unwrap();
        fs::write(data.path().join("cells/number"), b"").unwrap();
        assert!(matches!(claim_cells(data.path(), 6), Err(CellsError::Io(..))));
        assert!(matches!(claim_cells(data.path(), 1), Err(CellsError::Io(..))));
    }
}
