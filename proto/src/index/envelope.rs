//! The end of an index file, which tells where the rest is.

use super::{Error, FORMAT, take, take_u32};
use crate::IndexKind;

/// Bytes to read at a file's end at first: they hold the directory of most files.
pub const FIRST_READ_BYTES: u64 = 16 << 10;

const MAGIC: [u8; 4] = *b"TRNX";
const TRAILER_BYTES: usize = 14;

/// What the end of a file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail<T> {
    /// The directory.
    Complete(T),
    /// The directory does not fit in what was read: so many bytes at the end are needed.
    Longer(u64),
}

const fn number(kind: IndexKind) -> u8 {
    match kind {
        IndexKind::Bitmap => 1,
        IndexKind::Bloom => 2,
    }
}

/// Ends a file, whose parts are in `out`, with its directory.
pub(super) fn seal(mut out: Vec<u8>, kind: IndexKind, directory: &[u8]) -> Vec<u8> {
    let (length, last) = ((directory.len() as u32).to_le_bytes(), [number(kind), FORMAT]);
    out.extend_from_slice(directory);
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum(directory, length, last).to_le_bytes());
    out.extend_from_slice(&last);
    out.extend_from_slice(&MAGIC);
    out
}

fn checksum(directory: &[u8], length: [u8; 4], last: [u8; 2]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(directory), &length), &last)
}

/// The directory in the last bytes of a file of `bytes` bytes, and where it begins in the file.
pub(super) fn open(tail: &[u8], bytes: u64, kind: IndexKind) -> Result<Tail<(&[u8], u64)>, Error> {
    let (before, trailer) =
        tail.split_last_chunk::<TRAILER_BYTES>().ok_or(Error::Damaged("it is too short to be one"))?;
    let mut rest = &trailer[..];
    let length = take::<4>(&mut rest)?;
    let expected = take_u32(&mut rest)?;
    let last = take::<2>(&mut rest)?;
    if rest != MAGIC {
        return Err(Error::Damaged("it does not end as one"));
    }
    if last[1] != FORMAT {
        return Err(Error::Version(last[1]));
    }
    let needed = u64::from(u32::from_le_bytes(length)) + TRAILER_BYTES as u64;
    let Some(start) = bytes.checked_sub(needed) else {
        return Err(Error::Damaged("its directory is longer than the file"));
    };
    let Some(at) = before.len().checked_sub(u32::from_le_bytes(length) as usize) else {
        return Ok(Tail::Longer(needed));
    };
    let directory = &before[at..];
    if checksum(directory, length, last) != expected {
        return Err(Error::Damaged("its directory does not match its checksum"));
    }
    if last[0] != number(kind) {
        return Err(Error::Kind);
    }
    Ok(Tail::Complete((directory, start)))
}
