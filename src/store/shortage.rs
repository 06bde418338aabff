use std::io;

use rustix::io::Errno;

/// A resource of the operating system that ran out. The store waits until it is available again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// The disk is full, or a quota of it is used up.
    Space,
    /// The process or the machine has no file descriptor left.
    Files,
    /// The machine has no memory left.
    Memory,
}

impl Shortage {
    /// The shortage that caused an error of the operating system; `None` if the error has another cause.
    pub fn of(error: &io::Error) -> Option<Self> {
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Some(Self::Space);
        }
        if error.kind() == io::ErrorKind::OutOfMemory {
            return Some(Self::Memory);
        }
        match Errno::from_io_error(error)? {
            Errno::MFILE | Errno::NFILE => Some(Self::Files),
            Errno::NOMEM => Some(Self::Memory),
            _ => None,
        }
    }

    /// What is wrong, as the start of a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Space => "the disk is full",
            Self::Files => "the store has no file descriptor left",
            Self::Memory => "the store has no memory left",
        }
    }

    /// That it is over, as the start of a sentence.
    pub const fn end_sentence(self) -> &'static str {
        match self {
            Self::Space => "the disk has free space again",
            Self::Files => "the store has file descriptors again",
            Self::Memory => "the store has memory again",
        }
    }

    /// The number that stands for it in an atomic variable; 0 stands for none.
    pub(super) const fn to_code(this: Option<Self>) -> u8 {
        match this {
            None => 0,
            Some(Self::Space) => 1,
            Some(Self::Files) => 2,
            Some(Self::Memory) => 3,
        }
    }

    pub(super) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Space),
            2 => Some(Self::Files),
            3 => Some(Self::Memory),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_pass_by_themselves_are_told_from_those_of_a_broken_disk() {
        let shortage = |errno: Errno| Shortage::of(&io::Error::from_raw_os_error(errno.raw_os_error()));
        assert_eq!([Errno::NOSPC, Errno::DQUOT].map(shortage), [Some(Shortage::Space); 2]);
        assert_eq!([Errno::MFILE, Errno::NFILE].map(shortage), [Some(Shortage::Files); 2]);
        assert_eq!(shortage(Errno::NOMEM), Some(Shortage::Memory));
        assert_eq!([Errno::IO, Errno::ROFS, Errno::NOENT].map(shortage), [None; 3]);
        for code in 0..4 {
            assert_eq!(Shortage::to_code(Shortage::from_code(code)), code);
        }
    }
}
