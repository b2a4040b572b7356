//! The key file of a segment: the encoded keys of its rows and of those that its load deletes, so that publishing and
//! rebuilding the index never decode columns. Little endian:
//!
//! - header: version byte 2, CRC32C of the segment file (4), number of rows (4), number of deleted keys (4), CRC32C of
//!   the header (4);
//! - blocks up to the end of the file: length (4), CRC32C of the entries (4), entries.
//!
//! Entries are sorted by key, each key once. An entry is the number of bytes that its key shares with the one before in
//! the block (1), the number of the others (1), those bytes, and a LEB128 number: 0 if the key is deleted, else one more
//! than the zigzag of `row - 1 - last`, `last` being the row of the last entry in the block that has one, at first -1. If
//! the key is as long as the one before and its row is `last + 1`, the entry is the number of shared bytes plus 128 and the
//! other bytes: two bytes a row in most segments that are sorted by their key. Version 1 has no such entries.

use std::io::Read;

use super::key::{Keys, MAX_KEY_BYTES};

const FORMAT: u8 = 2;
/// The oldest version that is read.
const OLDEST_FORMAT: u8 = 1;
/// Beside the number of shared bytes, which is less as no key is longer than 128 bytes or is there twice: the key is as
/// long as the one before, its row the next.
const FOLLOWS: u8 = 0x80;
const HEADER_BYTES: usize = 17;
/// Blocks end with the entry that reaches this size.
const BLOCK_BYTES: usize = 64 << 10;
/// The longest block: the last entry of one may be the longest there is.
const MAX_BLOCK_BYTES: usize = BLOCK_BYTES + 2 + MAX_KEY_BYTES + 10;
/// In place of a row number: the key is deleted.
pub(crate) const DELETED: u32 = u32::MAX;

/// Sorted keys, each with the row that has it or [`DELETED`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entries {
    /// The keys.
    pub keys: Keys,
    /// As many as keys.
    pub rows: Vec<u32>,
}

impl Entries {
    /// None.
    pub(crate) fn new() -> Self {
        Self { keys: Keys::new(), rows: Vec::new() }
    }
}

/// Writes a key file from entries in order of their keys.
pub(crate) struct Encoder {
    out: Vec<u8>,
    block: Vec<u8>,
    previous: Vec<u8>,
    last: i64,
    upserted: u32,
    deleted: u32,
}

impl Encoder {
    /// A file without entries.
    pub(crate) fn new() -> Self {
        Self { out: vec![0; HEADER_BYTES], block: Vec::new(), previous: Vec::new(), last: -1, upserted: 0, deleted: 0 }
    }

    /// Adds a key, greater than those before.
    pub(crate) fn push(&mut self, key: &[u8], row: u32) {
        let shared = key.iter().zip(&self.previous).take_while(|(a, b)| a == b).count();
        if key.len() == self.previous.len() && i64::from(row) == self.last + 1 && row != DELETED {
            self.upserted += 1;
            self.last += 1;
            self.block.push(shared as u8 | FOLLOWS);
            self.block.extend_from_slice(&key[shared..]);
        } else {
            self.block.extend_from_slice(&[shared as u8, (key.len() - shared) as u8]);
            self.block.extend_from_slice(&key[shared..]);
            self.push_row(row);
        }
        self.previous.clear();
        self.previous.extend_from_slice(key);
        if self.block.len() >= BLOCK_BYTES {
            self.end_block();
        }
    }

    fn push_row(&mut self, row: u32) {
        if row == DELETED {
            self.deleted += 1;
            self.block.push(0);
        } else {
            self.upserted += 1;
            let step = i64::from(row) - 1 - self.last;
            self.last = i64::from(row);
            put_number(&mut self.block, 1 + ((step << 1) ^ (step >> 63)) as u64);
        }
    }

    fn end_block(&mut self) {
        self.out.extend_from_slice(&(self.block.len() as u32).to_le_bytes());
        self.out.extend_from_slice(&crc32c::crc32c(&self.block).to_le_bytes());
        self.out.extend_from_slice(&self.block);
        self.block.clear();
        self.previous.clear();
        self.last = -1;
    }

    /// The file's bytes. `segment` is the CRC32C of the segment file.
    pub(crate) fn finish(mut self, segment: u32) -> Vec<u8> {
        if !self.block.is_empty() {
            self.end_block();
        }
        let header = &mut self.out[..HEADER_BYTES];
        header[0] = FORMAT;
        header[1..5].copy_from_slice(&segment.to_le_bytes());
        header[5..9].copy_from_slice(&self.upserted.to_le_bytes());
        header[9..13].copy_from_slice(&self.deleted.to_le_bytes());
        let sum = crc32c::crc32c(&header[..13]);
        header[13..].copy_from_slice(&sum.to_le_bytes());
        self.out
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads a key file block by block.
pub(crate) struct Reader<R> {
    source: R,
    rows: u32,
    upserted: u32,
    deleted: u32,
    block: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads the header of the file that belongs to a segment with `rows` rows whose file has this CRC32C. Errors tell
    /// what is wrong with the file.
    pub(crate) fn new(mut source: R, rows: u64, segment: u32) -> Result<Self, String> {
        let mut header = [0; HEADER_BYTES];
        source.read_exact(&mut header).map_err(|e| format!("it has no header: {e}"))?;
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if crc32c::crc32c(&header[..13]) != number(13) {
            return Err("the checksum of its header does not match".to_owned());
        }
        if !(OLDEST_FORMAT..=FORMAT).contains(&header[0]) {
            let version = header[0];
            return Err(format!("it has format version {version}, this build reads {OLDEST_FORMAT} to {FORMAT}"));
        }
        let upserted = number(5);
        if number(1) != segment || u64::from(upserted) != rows {
            return Err("it belongs to another segment file".to_owned());
        }
        Ok(Self { source, rows: upserted, upserted, deleted: number(9), block: Vec::new() })
    }

    /// Whether the file deletes keys beside those of its rows.
    pub(crate) const fn deletes(&self) -> bool {
        self.deleted > 0
    }

    /// Replaces `entries` by those of the next block; false if there is none.
    pub(crate) fn next(&mut self, entries: &mut Entries) -> Result<bool, String> {
        entries.keys.clear();
        entries.rows.clear();
        let mut head = [0; 8];
        match read_or_end(&mut self.source, &mut head)? {
            true => {}
            false if self.upserted == 0 && self.deleted == 0 => return Ok(false),
            false => {
                let missing = u64::from(self.upserted) + u64::from(self.deleted);
                return Err(format!("it is cut short: {missing} entries are missing"));
            }
        }
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if length > MAX_BLOCK_BYTES {
            return Err(format!("a block of it has {length} bytes"));
        }
        self.block.resize(length, 0);
        self.source.read_exact(&mut self.block).map_err(|e| format!("a block of it cannot be read: {e}"))?;
        if crc32c::crc32c(&self.block).to_le_bytes() != head[4..] {
            return Err("the checksum of a block does not match".to_owned());
        }
        decode_block(&self.block, self.rows, entries)?;
        let deleted = entries.rows.iter().filter(|row| **row == DELETED).count() as u32;
        let upserted = entries.rows.len() as u32 - deleted;
        if deleted > self.deleted || upserted > self.upserted {
            return Err("it has more entries than its header says".to_owned());
        }
        self.deleted -= deleted;
        self.upserted -= upserted;
        Ok(true)
    }
}

/// Fills `buffer`; false if the source ends before its first byte.
fn read_or_end(source: &mut impl Read, buffer: &mut [u8]) -> Result<bool, String> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err("it is cut short".to_owned()),
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(format!("it cannot be read: {e}")),
        }
    }
    Ok(true)
}

fn decode_block(mut rest: &[u8], rows: u32, entries: &mut Entries) -> Result<(), String> {
    let malformed = || "a block of it is malformed".to_owned();
    let mut last = -1i64;
    let mut length = 0;
    while let [head, tail @ ..] = rest {
        let shared = usize::from(head & !FOLLOWS);
        if head & FOLLOWS != 0 {
            if shared > length || length - shared > tail.len() || last + 1 >= i64::from(rows) {
                return Err(malformed());
            }
            let (suffix, tail) = tail.split_at(length - shared);
            entries.keys.push_shared(shared, suffix);
            last += 1;
            entries.rows.push(last as u32);
            rest = tail;
            continue;
        }
        let [others, tail @ ..] = tail else { return Err(malformed()) };
        let others = usize::from(*others);
        if shared > length || shared + others > MAX_KEY_BYTES || others > tail.len() {
            return Err(malformed());
        }
        let (suffix, tail) = tail.split_at(others);
        entries.keys.push_shared(shared, suffix);
        length = shared + others;
        let (number, tail) = take_number(tail).ok_or_else(malformed)?;
        rest = tail;
        if number == 0 {
            entries.rows.push(DELETED);
            continue;
        }
        let zigzag = number - 1;
        let step = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        let row = last.checked_add(1).and_then(|next| next.checked_add(step)).ok_or_else(malformed)?;
        if row < 0 || row >= i64::from(rows) {
            return Err(malformed());
        }
        entries.rows.push(row as u32);
        last = row;
    }
    Ok(())
}

fn take_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0u64;
    for (i, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], rows: u64, segment: u32) -> Result<Vec<(Vec<u8>, u32)>, String> {
        let mut reader = Reader::new(bytes, rows, segment)?;
        let (mut block, mut all) = (Entries::new(), Vec::new());
        while reader.next(&mut block)? {
            assert_eq!(block.keys.len(), block.rows.len());
            all.extend((0..block.rows.len()).map(|i| (block.keys.get(i).to_vec(), block.rows[i])));
        }
        Ok(all)
    }

    fn file(entries: &[(Vec<u8>, u32)], segment: u32) -> Vec<u8> {
        let mut encoder = Encoder::new();
        entries.iter().for_each(|(key, row)| encoder.push(key, *row));
        encoder.finish(segment)
    }

    /// A file of one block.
    fn frozen(header: &[u8], block: &[u8]) -> Vec<u8> {
        let mut bytes = header.to_vec();
        bytes.extend_from_slice(&crc32c::crc32c(header).to_le_bytes());
        bytes.extend_from_slice(&(block.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(block).to_le_bytes());
        bytes.extend_from_slice(block);
        bytes
    }

    #[test]
    fn frozen_bytes() {
        let keys = ["aa", "ab", "abc", "b", "c"].map(|key| key.as_bytes().to_vec());
        let entries: Vec<_> = keys.into_iter().zip([0, DELETED, 3, 1, 2]).collect();
        let expected = frozen(
            b"\x02\x04\x03\x02\x01\x04\0\0\0\x01\0\0\0",
            b"\x00\x02aa\x01\x01\x01b\x00\x02\x01c\x05\x00\x01b\x06\x80c",
        );
        assert_eq!(file(&entries, 0x0102_0304), expected);
        assert_eq!(read(&expected, 4, 0x0102_0304).unwrap(), entries);
        assert!(read(&expected, 4, 7).unwrap_err().contains("another segment"));
        assert!(read(&expected, 2, 0x0102_0304).unwrap_err().contains("another segment"));
        let first = frozen(
            b"\x01\x04\x03\x02\x01\x04\0\0\0\x01\0\0\0",
            b"\x00\x02aa\x01\x01\x01b\x00\x02\x01c\x05\x00\x01b\x06\x00\x01c\x01",
        );
        assert_eq!(read(&first, 4, 0x0102_0304).unwrap(), entries);
        let newer = frozen(b"\x03\x04\x03\x02\x01\x00\0\0\0\x00\0\0\0", b"");
        assert!(read(&newer, 0, 0x0102_0304).unwrap_err().contains("version 3, this build reads 1 to 2"));
        let mut number = Vec::new();
        put_number(&mut number, 300);
        assert_eq!(number, [0xac, 2]);
    }

    #[test]
    fn many_keys_take_many_blocks_and_few_bytes_in_order() {
        let entries: Vec<(Vec<u8>, u32)> = (0..100_000u32).map(|i| (i.to_be_bytes().to_vec(), i)).collect();
        let bytes = file(&entries, 1);
        assert!(bytes.len() > 3 * BLOCK_BYTES && bytes.len() < 21 * entries.len() / 10, "{}", bytes.len());
        assert_eq!(read(&bytes, 100_000, 1).unwrap(), entries);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let bytes = file(&[(b"k1".to_vec(), 1), (b"k2".to_vec(), 0), (b"k3".to_vec(), DELETED)], 5);
        for i in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[i] ^= 0x10;
            assert!(read(&flipped, 2, 5).is_err(), "byte {i}");
            assert!(read(&bytes[..i], 2, 5).is_err(), "length {i}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            keys in prop::collection::btree_map(prop::collection::vec(0u8..3, 0..6), any::<bool>(), 0..200),
            seed in any::<u32>(),
        ) {
            let rows = keys.values().filter(|deleted| !**deleted).count() as u32;
            let mut numbers: Vec<u32> = (0..rows).collect();
            numbers.sort_by_key(|n| n.wrapping_mul(2_654_435_761) ^ seed);
            let mut numbers = numbers.into_iter();
            let entries: Vec<(Vec<u8>, u32)> = keys
                .into_iter()
                .map(|(key, deleted)| (key, if deleted { DELETED } else { numbers.next().unwrap() }))
                .collect();
            prop_assert_eq!(read(&file(&entries, 3), u64::from(rows), 3).unwrap(), entries);
        }

        #[test]
        fn any_block_is_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60), small in prop::collection::vec(0u8..5, 0..60)) {
            for bytes in [&bytes, &small] {
                let mut entries = Entries::new();
                if decode_block(bytes, 9, &mut entries).is_ok() {
                    prop_assert!(entries.rows.iter().all(|row| *row < 9 || *row == DELETED));
                }
                // The same behind a valid header and checksum.
                let mut file = file(&[], 1);
                file.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                file.extend_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
                file.extend_from_slice(bytes);
                let read = read(&file, 0, 1);
                prop_assert!(read.is_err() || bytes.is_empty());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let counted: BTreeMap<_, _> = read(&bytes, 0, 0).unwrap_or_default().into_iter().collect();
            prop_assert!(counted.is_empty());
        }
    }
}
