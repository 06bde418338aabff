//! The name of a stream in its own directory, by which it is found again if the log has lost its definition.

use std::io;

use super::super::disk::Disk;
use super::super::format::u32_at;
use super::format::versioned;

/// Makes stable that a stream has this name. Does nothing if the file says so already.
pub(in crate::store) fn write_name(disk: &dyn Disk, stream: u32, name: &str) -> io::Result<()> {
    if read_name(disk, stream)?.as_deref() == Some(name) {
        return Ok(());
    }
    let file = disk.create(NEW_NAME)?;
    let bytes = encode_name(stream, name);
    file.write_at(0, &bytes).and_then(|()| file.sync()).and_then(|()| disk.rename(NEW_NAME, NAME))?;
    disk.sync_names()
}

/// The name of a stream; `None`: it has none, or the file is damaged.
pub(in crate::store) fn read_name(disk: &dyn Disk, stream: u32) -> io::Result<Option<String>> {
    let file = match disk.open(NAME) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = vec![0; FILE_BYTES_MAX];
    let filled = file.read_at(0, &mut bytes).unwrap_or(0);
    bytes.truncate(filled);
    Ok(decode_name(stream, &bytes))
}

fn encode_name(stream: u32, name: &str) -> Vec<u8> {
    let mut bytes = versioned(MAGIC);
    bytes.extend_from_slice(&stream.to_le_bytes());
    bytes.extend_from_slice(name.as_bytes());
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The name in the bytes of the file; `None`: they are damaged, or those of another stream.
pub(in crate::store) fn decode_name(stream: u32, bytes: &[u8]) -> Option<String> {
    let (covered, crc) = bytes.split_last_chunk::<4>()?;
    let name = std::str::from_utf8(covered.get(VERSIONED_BYTES + 4..)?).ok()?;
    (u32_at(crc, 0)? == crc32c::crc32c(covered) && encode_name(stream, name) == bytes).then(|| name.to_owned())
}

/// The file, and its name under construction.
pub(in crate::store) const NAME: &str = "name";
pub(super) const NEW_NAME: &str = "name.new";

const MAGIC: &[u8; 8] = b"OnceSn\r\n";
const VERSIONED_BYTES: usize = 16;
/// No name is nearly as long.
const FILE_BYTES_MAX: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sim::SimDisk;

    #[test]
    fn a_name_is_read_as_it_was_written_and_any_changed_bit_is_detected() {
        let disk = SimDisk::new(1);
        assert_eq!(read_name(&disk, 7).unwrap(), None);
        for name in ["orders", "other"] {
            write_name(&disk, 7, name).unwrap();
            let steps = disk.steps();
            write_name(&disk, 7, name).unwrap();
            assert_eq!((read_name(&disk, 7).unwrap().as_deref(), disk.steps()), (Some(name), steps));
            assert_eq!(read_name(&disk, 8).unwrap(), None, "that of another stream");
        }
        let bytes = encode_name(7, "orders");
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_name(7, &changed), None, "bit {bit}");
        }
        assert!((0..bytes.len()).all(|length| decode_name(7, &bytes[..length]).is_none()));
    }
}
