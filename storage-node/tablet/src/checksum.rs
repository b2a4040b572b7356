//! Checksums of segment files: CRC32C (hardware instruction where there is one) of every 64 KiB block and of the file.

use std::fs::File;
use std::future::{Future, ready};
use std::io::{self, Write};
use std::ops::Range;

use vortex::io::{IoBuf, VortexWrite};

/// The unit of verification.
pub(crate) const BLOCK_BYTES: u64 = 64 << 10;

/// Bytes collected before they are checksummed and written: a multiple of the block.
const BUFFER_BYTES: usize = 16 * BLOCK_BYTES as usize;

/// What is known of a written file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileChecksums {
    /// Length of the file.
    pub bytes: u64,
    /// CRC32C of the file.
    pub file: u32,
    /// CRC32C of each block; the last may be shorter.
    pub blocks: Vec<u32>,
}

impl FileChecksums {
    /// Bytes of a block in the file.
    pub(crate) fn block(&self, number: usize) -> Range<u64> {
        let start = number as u64 * BLOCK_BYTES;
        start..(start + BLOCK_BYTES).min(self.bytes)
    }
}

/// A file being written, checksummed on the way. Writes block the calling thread.
pub(crate) struct ChecksumFile {
    file: File,
    buffer: Vec<u8>,
    sums: FileChecksums,
    failure: Option<io::Error>,
}

impl ChecksumFile {
    /// Wraps an empty file.
    pub(crate) fn new(file: File) -> Self {
        Self { file, buffer: Vec::with_capacity(BUFFER_BYTES), sums: FileChecksums::default(), failure: None }
    }

    /// The first failed write, which the format's own error does not tell from others.
    pub(crate) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BUFFER_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BUFFER_BYTES {
                self.drain()?;
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> io::Result<()> {
        for block in self.buffer.chunks(BLOCK_BYTES as usize) {
            self.sums.blocks.push(crc32c::crc32c(block));
            self.sums.file = crc32c::crc32c_append(self.sums.file, block);
        }
        self.sums.bytes += self.buffer.len() as u64;
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left and makes the file durable.
    pub(crate) fn finish(mut self) -> io::Result<FileChecksums> {
        self.drain()?;
        self.file.sync_all()?;
        Ok(self.sums)
    }
}

impl VortexWrite for ChecksumFile {
    fn write_all<B: IoBuf>(&mut self, buffer: B) -> impl Future<Output = io::Result<B>> + Send {
        ready(match self.append(buffer.as_slice()) {
            Ok(()) => Ok(buffer),
            Err(error) => {
                let told = io::Error::new(error.kind(), error.to_string());
                self.failure.get_or_insert(error);
                Err(told)
            }
        })
    }

    fn flush(&mut self) -> impl Future<Output = io::Result<()>> + Send {
        ready(Ok(()))
    }

    fn shutdown(&mut self) -> impl Future<Output = io::Result<()>> + Send {
        ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_cover_every_byte_whatever_the_pieces() {
        let data: Vec<u8> = (0..BUFFER_BYTES as u32 * 2 + 70_001).map(|i| (i * 7 + i / 251) as u8).collect();
        for piece in [1 << 20, 65_536, 999_983] {
            let path = tempfile::NamedTempFile::new().unwrap();
            let mut file = ChecksumFile::new(path.reopen().unwrap());
            for bytes in data.chunks(piece) {
                file.append(bytes).unwrap();
            }
            let sums = file.finish().unwrap();
            assert_eq!(std::fs::read(path.path()).unwrap(), data);
            assert_eq!((sums.bytes, sums.file), (data.len() as u64, crc32c::crc32c(&data)));
            for (number, sum) in sums.blocks.iter().enumerate() {
                let block = sums.block(number);
                assert_eq!(*sum, crc32c::crc32c(&data[block.start as usize..block.end as usize]));
            }
            assert_eq!(sums.block(sums.blocks.len() - 1).end, sums.bytes);
        }
    }
}
