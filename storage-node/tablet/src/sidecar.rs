//! The sidecar of a segment: what must be known before its bytes can be trusted and searched.
//!
//! Version byte 1; length of the segment file (8), its CRC32C (4), number of blocks (4), CRC32C of each block (4 each),
//! length of the short-key index (4), the index (see `tarn_proto::short_key`), CRC32C of all this (4). Little endian.

use bytes::Bytes;

use crate::checksum::{BLOCK_BYTES, FileChecksums};
use crate::framed::{self, Content};
use crate::record::SegmentRecord;

const FORMAT: u8 = 1;

/// A sidecar's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sidecar {
    /// Of the segment file.
    pub checksums: FileChecksums,
    /// Encoded short-key index.
    pub short_key_index: Bytes,
}

impl Sidecar {
    /// Whether it belongs to the segment file that a record is about.
    pub(crate) const fn is_of(&self, record: &SegmentRecord) -> bool {
        self.checksums.bytes == record.bytes && self.checksums.file == record.checksum
    }

    /// The file's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let sums = &self.checksums;
        let mut out = framed::begin(FORMAT);
        out.extend_from_slice(&sums.bytes.to_le_bytes());
        out.extend_from_slice(&sums.file.to_le_bytes());
        out.extend_from_slice(&(sums.blocks.len() as u32).to_le_bytes());
        for block in &sums.blocks {
            out.extend_from_slice(&block.to_le_bytes());
        }
        out.extend_from_slice(&(self.short_key_index.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.short_key_index);
        framed::end(out)
    }

    /// Reads a file's bytes; the error tells what is wrong with them.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut content = Content::of(bytes, FORMAT)?;
        let bytes = u64::from_le_bytes(content.take()?);
        let file = u32::from_le_bytes(content.take()?);
        let count = u32::from_le_bytes(content.take()?);
        if u64::from(count) != bytes.div_ceil(BLOCK_BYTES) {
            return Err(format!("it has checksums of {count} blocks for {bytes} bytes"));
        }
        let blocks = (0..count).map(|_| content.take().map(u32::from_le_bytes)).collect::<Result<Vec<_>, _>>()?;
        let length = u32::from_le_bytes(content.take()?) as usize;
        let index = content.slice(length)?;
        content.end()?;
        Ok(Self { checksums: FileChecksums { bytes, file, blocks }, short_key_index: Bytes::copy_from_slice(index) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Sidecar {
        Sidecar {
            checksums: FileChecksums { bytes: BLOCK_BYTES + 1, file: 0x0403_0201, blocks: vec![5, 6] },
            short_key_index: Bytes::from_static(b"index"),
        }
    }

    #[test]
    fn frozen_bytes() {
        let mut expected = [
            &[1u8][..],
            &[1, 0, 1, 0, 0, 0, 0, 0],
            &[1, 2, 3, 4],
            &[2, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0],
            b"\x05\0\0\0index",
        ]
        .concat();
        expected.extend_from_slice(&crc32c::crc32c(&expected).to_le_bytes());
        assert_eq!(example().encode(), expected);
        assert_eq!(Sidecar::decode(&expected), Ok(example()));
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let bytes = example().encode();
        for i in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[i] ^= 0x10;
            assert!(Sidecar::decode(&flipped).is_err(), "byte {i}");
            assert!(Sidecar::decode(&bytes[..i]).is_err(), "length {i}");
        }
    }
}
