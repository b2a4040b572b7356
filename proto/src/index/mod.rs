//! Index files of segments: what is known of a column's values beside the rows, to leave rows out before any page is read.
//!
//! A file holds one index of one column of one segment and never changes. It can be read in parts: its directory stands at
//! the end, and every part that the directory names has a checksum of its own. Losing a file costs time, never an answer.
//!
//! ```text
//!  parts ..  | directory | length of the directory (4) | CRC32C of directory, length, kind and format (4)
//!            | kind (1) | format (1) | "TRNX"
//! ```
//!
//! Integers are little endian. [`bitmap`] and [`bloom`] tell what the parts and the directories are, [`value`] how values
//! are written.

pub mod bitmap;
pub mod bloom;
mod envelope;
pub mod value;

pub use envelope::{FIRST_READ_BYTES, Tail};
pub use value::Class;

/// Bytes that are no index this build can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Written by a build with another format version.
    #[error("the index file has format version {0}, this build reads {FORMAT}: upgrade this node")]
    Version(u8),
    /// Of another kind than its name says.
    #[error("the index file is of another kind")]
    Kind,
    /// Cut short, changed or inconsistent.
    #[error("the index file is damaged: {0}")]
    Damaged(&'static str),
}

const FORMAT: u8 = 1;

/// Reads integers from the front of bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(Error::Damaged("it is cut short"))?;
    *rest = tail;
    Ok(*head)
}

fn take_bytes<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Error> {
    let (head, tail) = rest.split_at_checked(length).ok_or(Error::Damaged("it is cut short"))?;
    *rest = tail;
    Ok(head)
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, Error> {
    take(rest).map(u32::from_le_bytes)
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, Error> {
    take(rest).map(u64::from_le_bytes)
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it begins.
    pub offset: u64,
    /// Its length.
    pub length: u32,
    /// CRC32C of it.
    pub checksum: u32,
}

impl Place {
    /// Where it is.
    pub fn range(&self) -> std::ops::Range<u64> {
        self.offset..self.offset + u64::from(self.length)
    }

    /// Appends a part.
    fn append(out: &mut Vec<u8>, part: &[u8]) -> Self {
        let offset = out.len() as u64;
        out.extend_from_slice(part);
        Self { offset, length: part.len() as u32, checksum: crc32c::crc32c(part) }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.checksum.to_le_bytes());
    }

    /// Reads a place that must be before `end`.
    fn decode(rest: &mut &[u8], end: u64) -> Result<Self, Error> {
        let place = Self { offset: take_u64(rest)?, length: take_u32(rest)?, checksum: take_u32(rest)? };
        match place.offset.checked_add(u64::from(place.length)) {
            Some(to) if to <= end => Ok(place),
            _ => Err(Error::Damaged("a part lies outside of it")),
        }
    }

    /// Checks that `bytes` are the part.
    fn check(&self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() != self.length as usize || crc32c::crc32c(bytes) != self.checksum {
            return Err(Error::Damaged("a part does not match its checksum"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
