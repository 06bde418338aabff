//! From files to lines: comments, `include_dir`, line ends.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ConfError, Place};

/// A line with an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::import) struct Line {
    pub(in crate::import) at: Place,
    /// The first word.
    pub(in crate::import) word: String,
    /// What follows the space after it.
    pub(in crate::import) rest: String,
    /// Whether it is the first line of its file, or the first one after an `include_dir`: in each file mosquitto begins without a listener, a
    /// bridge and a plugin, and goes on with those of the main file after `include_dir`.
    pub(in crate::import) depth: Depth,
}

/// Which file a line is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::import) enum Depth {
    /// The main file.
    Main,
    /// A file of an `include_dir`, by its number from 0.
    Included(usize),
}

/// The lines of `path` and of the files that it includes, in the order in which mosquitto reads them.
pub(super) fn read(path: &Path) -> Result<Vec<Line>, ConfError> {
    let mut reader = Reader::default();
    reader.file(path, Depth::Main)?;
    Ok(reader.lines)
}

#[derive(Default)]
struct Reader {
    lines: Vec<Line>,
    included: usize,
    bytes: usize,
}

impl Reader {
    fn file(&mut self, path: &Path, depth: Depth) -> Result<(), ConfError> {
        let bytes = self.bytes_of(path).map_err(|source| ConfError::Unreadable { path: path.to_owned(), source })?;
        let file: Arc<Path> = Arc::from(path);
        for (index, raw) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let at = Place::new(&file, index + 1);
            let Some((word, rest)) = split(raw, &at)? else { continue };
            if word == INCLUDE_DIR {
                if depth != Depth::Main {
                    return Err(ConfError::line(&at, "include_dir is only valid in the main file"));
                }
                self.lines.push(Line { at: at.clone(), word: word.clone(), rest: rest.clone(), depth });
                self.directory(Path::new(rest.trim()), &at)?;
                continue;
            }
            if self.lines.len() >= LINES_MAX {
                return Err(ConfError::line(&at, format!("there are more than {LINES_MAX} lines with options")));
            }
            self.lines.push(Line { at, word, rest, depth });
        }
        Ok(())
    }

    /// The contents of a file that is a regular one, and not too large.
    fn bytes_of(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        let file = fs::File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(invalid("it is a directory"));
        }
        let room = BYTES_MAX.saturating_sub(self.bytes);
        let mut bytes = Vec::new();
        file.take(room as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > room {
            return Err(invalid("it is too large: the configuration may have 16 MiB"));
        }
        self.bytes += bytes.len();
        Ok(bytes)
    }

    fn directory(&mut self, directory: &Path, at: &Place) -> Result<(), ConfError> {
        if directory.as_os_str().is_empty() {
            return Err(ConfError::line(at, "include_dir has no value"));
        }
        let unreadable = |source: io::Error| {
            ConfError::line(at, format!("include_dir: cannot read {}: {source}", directory.display()))
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            let Some(name) = name.to_str() else { continue };
            // More than the ending, as in mosquitto.
            if name.len() > ENDING.len() && name.ends_with(ENDING) {
                names.push(name.to_owned());
            }
        }
        names.sort_by(|one, other| order(one).cmp(&order(other)));
        for name in names {
            let number = self.included;
            self.included += 1;
            let path: PathBuf = directory.join(name);
            self.file(&path, Depth::Included(number))?;
        }
        Ok(())
    }
}

/// The word and the rest of a line; `None`: it is empty or a comment.
fn split(raw: &[u8], at: &Place) -> Result<Option<(String, String)>, ConfError> {
    // A comment begins in the first column. It may be in any encoding.
    if raw.first() == Some(&b'#') {
        return Ok(None);
    }
    let text = str::from_utf8(raw).map_err(|_| ConfError::line(at, "the line is not UTF-8 text"))?;
    if text.contains('\0') {
        return Err(ConfError::line(at, "the line has a character U+0000"));
    }
    let text = text.trim_end_matches('\r').trim_start_matches(' ');
    if text.is_empty() {
        return Ok(None);
    }
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Ok(Some((word.to_owned(), rest.to_owned())))
}

/// Upper and lower case are the same at first; where they are not, upper case comes first.
fn order(name: &str) -> Vec<(u8, u8)> {
    name.bytes().map(|byte| (byte.to_ascii_uppercase(), byte)).collect()
}

/// Files of more lines are no configurations.
const LINES_MAX: usize = 20_000;
/// The same for bytes.
const BYTES_MAX: usize = 16 << 20;
/// The files of an `include_dir`.
const ENDING: &str = ".conf";
/// The option that includes files.
pub(super) const INCLUDE_DIR: &str = "include_dir";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(text: &[u8]) -> Result<Vec<(usize, String, String)>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mosquitto.conf");
        fs::write(&path, text).unwrap();
        let lines = read(&path).map_err(|error| error.to_string().replace(&*path.to_string_lossy(), "FILE"))?;
        Ok(lines.into_iter().map(|line| (line.at.line(), line.word, line.rest)).collect())
    }

    #[test]
    fn comments_are_in_the_first_column_and_line_ends_are_any() {
        let found = lines(b"# a\n\n  \r\nlistener 1883 ::1\r\n  allow_anonymous  true\n#\xff\nuser").unwrap();
        let expected = [(4, "listener", "1883 ::1"), (5, "allow_anonymous", " true"), (7, "user", "")];
        assert_eq!(found, expected.map(|(line, word, rest)| (line, word.to_owned(), rest.to_owned())));
        assert_eq!(lines(b" # a").unwrap(), [(1, "#".to_owned(), "a".to_owned())]);
        assert_eq!(lines(b"a\nuser \xff"), Err("FILE:2: the line is not UTF-8 text".to_owned()));
        assert!(lines(b"user a\0b").unwrap_err().contains("U+0000"));
    }

    #[test]
    fn the_files_of_a_directory_come_in_the_order_of_mosquitto() {
        let directory = tempfile::tempdir().unwrap();
        let conf_d = directory.path().join("conf.d");
        fs::create_dir(&conf_d).unwrap();
        for name in ["b.conf", "A.conf", "01.conf", "a.conf", "B.conf", "00.conf", ".conf", "x.txt"] {
            fs::write(conf_d.join(name), format!("user {name}\n")).unwrap();
        }
        let main = directory.path().join("main");
        fs::write(&main, format!("user first\ninclude_dir {}\nuser last", conf_d.display())).unwrap();
        let found = read(&main).unwrap();
        let names: Vec<_> = found.iter().filter(|line| line.word == "user").map(|line| &*line.rest).collect();
        assert_eq!(names, ["first", "00.conf", "01.conf", "A.conf", "a.conf", "B.conf", "b.conf", "last"]);
        assert_eq!(found.iter().filter(|line| line.depth == Depth::Main).count(), 3);
        fs::write(conf_d.join("c.conf"), "\ninclude_dir /tmp").unwrap();
        assert!(read(&main).unwrap_err().to_string().ends_with("c.conf:2: include_dir is only valid in the main file"));
        fs::write(&main, "include_dir /does/not/exist").unwrap();
        assert!(read(&main).unwrap_err().to_string().contains("main:1: include_dir: cannot read /does/not/exist"));
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(bytes: Vec<u8>) {
            let file: Arc<Path> = Arc::from(Path::new("a"));
            let _ = split(&bytes, &Place::new(&file, 1));
        }
    }
}
