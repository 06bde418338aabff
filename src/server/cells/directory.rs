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
        "{0} has the log of a broker without cells, and cluster.cells is {1}: a log cannot be divided yet. Use another data directory (server.data), or cluster.cells = 1"
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
    let directory = data.join(CELLS_DIRECTORY);
    let failed = |error| CellsError::Io(directory.clone(), error);
    let file = directory.join(NUMBER_FILE);
    match fs::read_to_string(&file) {
        Ok(text) => {
            let found =
                text.trim().parse().map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?;
            return if found == cells { Ok(()) } else { Err(CellsError::OtherNumber(data.to_owned(), found, cells)) };
        }
        // Whatever is wrong with the data directory, the store says it.
        Err(_) if cells == 1 => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let log = store_directory(data);
    match fs::read_dir(&log).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return Err(CellsError::OneLog(log, cells)),
        Ok(false) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(CellsError::Io(log, error)),
    }
    write(&directory, &file, cells).map_err(failed)
}

/// Writes the number as a whole or not at all.
fn write(directory: &Path, file: &Path, cells: u16) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let unfinished = file.with_extension("new");
    let mut written = File::create(&unfinished)?;
    writeln!(written, "{cells}")?;
    written.sync_all()?;
    fs::rename(&unfinished, file)?;
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
