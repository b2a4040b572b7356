//! Which row of which input each row of a compaction's output is.
//!
//! All rows of an input come in their order, so that it is enough to know, row by row, which input was next: runs of a
//! number of the input and a length, in chunks of [`CHUNK_ROWS`] output rows. Chunks lie in a file without a name; in memory are
//! their places and how many rows of each input come before them, so that a row is found by reading one chunk. That is some
//! bytes for each input in 65,536 rows, whatever the size of the tablet.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Result;
use crate::error::IoContext;

/// Output rows of a chunk.
const CHUNK_ROWS: u64 = 65_536;

/// A row of an input, counted without those that are not merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InputRow {
    /// The input.
    pub input: u32,
    /// Its row.
    pub row: u64,
}

/// The map of a finished merge.
#[derive(Debug)]
pub(crate) struct RowMap {
    file: File,
    chunks: Vec<Chunk>,
    /// Rows of each input.
    inputs: Vec<u64>,
}

#[derive(Debug)]
struct Chunk {
    offset: u64,
    bytes: u32,
    checksum: u32,
    /// Output rows before it.
    row: u64,
    /// Rows of each input before it.
    before: Box<[u64]>,
}

/// Makes a map while rows are merged.
#[derive(Debug)]
pub(crate) struct Builder {
    map: RowMap,
    encoded: Vec<u8>,
    run: Option<(u32, u64)>,
    /// Output rows, and those of the chunk.
    rows: u64,
    in_chunk: u64,
    end: u64,
    before: Box<[u64]>,
}

impl Builder {
    /// A map of a merge of `inputs` inputs, in a file at `path` that loses its name at once.
    pub(crate) fn new(path: &Path, inputs: usize) -> Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
        let file = file.doing("create", path)?;
        fs::remove_file(path).doing("remove", path)?;
        let map = RowMap { file, chunks: Vec::new(), inputs: vec![0; inputs] };
        let before = vec![0; inputs].into();
        Ok(Self { map, encoded: Vec::new(), run: None, rows: 0, in_chunk: 0, end: 0, before })
    }

    /// Adds output rows: the input that each of them comes from.
    pub(crate) fn push(&mut self, inputs: &[u32]) -> std::io::Result<()> {
        for input in inputs {
            match &mut self.run {
                Some((of, rows)) if of == input => *rows += 1,
                run => {
                    if let Some((of, rows)) = run.replace((*input, 1)) {
                        put_run(&mut self.encoded, of, rows);
                    }
                }
            }
            self.map.inputs[*input as usize] += 1;
            self.rows += 1;
            self.in_chunk += 1;
            if self.in_chunk == CHUNK_ROWS {
                self.end_chunk()?;
            }
        }
        Ok(())
    }

    fn end_chunk(&mut self) -> std::io::Result<()> {
        if let Some((of, rows)) = self.run.take() {
            put_run(&mut self.encoded, of, rows);
        }
        if self.in_chunk == 0 {
            return Ok(());
        }
        self.map.file.write_all_at(&self.encoded, self.end)?;
        let before = std::mem::replace(&mut self.before, self.map.inputs.clone().into());
        self.map.chunks.push(Chunk {
            offset: self.end,
            bytes: self.encoded.len() as u32,
            checksum: crc32c::crc32c(&self.encoded),
            row: self.rows - self.in_chunk,
            before,
        });
        self.end += self.encoded.len() as u64;
        self.encoded.clear();
        self.in_chunk = 0;
        Ok(())
    }

    /// The map.
    pub(crate) fn finish(mut self) -> std::io::Result<RowMap> {
        self.end_chunk()?;
        Ok(self.map)
    }
}

impl RowMap {
    /// The output rows of these input rows, in any order; `each` gets their positions in `wanted` and the output rows. Rows that
    /// no input has are left out.
    pub(crate) fn find(&self, wanted: &[InputRow], mut each: impl FnMut(usize, u64)) -> std::io::Result<()> {
        let mut places: Vec<(usize, InputRow, usize)> = Vec::with_capacity(wanted.len());
        for (position, of) in wanted.iter().enumerate() {
            if self.inputs.get(of.input as usize).is_some_and(|rows| of.row < *rows) {
                let chunk = self.chunks.partition_point(|chunk| chunk.before[of.input as usize] <= of.row) - 1;
                places.push((chunk, *of, position));
            }
        }
        places.sort_unstable();
        let mut runs = Vec::new();
        for in_chunk in places.chunk_by(|a, b| a.0 == b.0) {
            let chunk = &self.chunks[in_chunk[0].0];
            self.read(chunk, &mut runs)?;
            // Where the wanted rows of each input begin.
            let mut next: Vec<usize> = vec![in_chunk.len(); self.inputs.len()];
            for (at, (_, of, _)) in in_chunk.iter().enumerate().rev() {
                next[of.input as usize] = at;
            }
            let mut rows = chunk.before.to_vec();
            let mut output = chunk.row;
            for (input, length) in &runs {
                let first = &mut rows[*input as usize];
                let at = &mut next[*input as usize];
                while let Some((_, of, position)) = in_chunk.get(*at)
                    && of.input == *input
                    && of.row < *first + length
                {
                    each(*position, output + of.row - *first);
                    *at += 1;
                }
                *first += length;
                output += length;
            }
        }
        Ok(())
    }

    /// How many output rows there are.
    #[cfg(test)]
    fn rows(&self) -> u64 {
        self.inputs.iter().sum()
    }

    fn read(&self, chunk: &Chunk, runs: &mut Vec<(u32, u64)>) -> std::io::Result<()> {
        let mut bytes = vec![0; chunk.bytes as usize];
        self.file.read_exact_at(&mut bytes, chunk.offset)?;
        let damaged = || std::io::Error::other("the row map of a compaction is damaged");
        if crc32c::crc32c(&bytes) != chunk.checksum {
            return Err(damaged());
        }
        runs.clear();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let input = take_number(&mut rest).ok_or_else(damaged)?;
            let length = take_number(&mut rest).ok_or_else(damaged)?;
            runs.push((input as u32, length));
        }
        Ok(())
    }
}

fn put_run(out: &mut Vec<u8>, input: u32, rows: u64) {
    for mut number in [u64::from(input), rows] {
        while number >= 0x80 {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(inputs: usize, sequence: &[u32], asked: impl Iterator<Item = usize>) {
        let folder = tempfile::tempdir().unwrap();
        let mut builder = Builder::new(&folder.path().join("map"), inputs).unwrap();
        for piece in sequence.chunks(1000) {
            builder.push(piece).unwrap();
        }
        let map = builder.finish().unwrap();
        assert_eq!(map.rows(), sequence.len() as u64);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
        let mut counts = vec![0; inputs];
        let mut rows: Vec<InputRow> = Vec::new();
        for input in sequence {
            rows.push(InputRow { input: *input, row: counts[*input as usize] });
            counts[*input as usize] += 1;
        }
        let expected: Vec<usize> = asked.filter(|row| *row < rows.len()).collect();
        let mut wanted: Vec<InputRow> = expected.iter().map(|row| rows[*row]).collect();
        // Nobody has these.
        wanted.extend((0..inputs).map(|input| InputRow { input: input as u32, row: counts[input] }));
        wanted.push(InputRow { input: inputs as u32, row: 0 });
        let mut found = vec![None; wanted.len()];
        map.find(&wanted, |position, row| assert_eq!(found[position].replace(row), None)).unwrap();
        for (found, expected) in
            found.iter().zip(expected.iter().map(|row| Some(*row as u64)).chain(std::iter::repeat(None)))
        {
            assert_eq!(*found, expected);
        }
    }

    #[test]
    fn long_runs_and_many_chunks() {
        let runs = [(0, 70_000), (1, 1), (0, 3), (1, 200_000), (2, 65_536), (0, 1)];
        let sequence: Vec<u32> = runs.iter().flat_map(|(input, rows)| std::iter::repeat_n(*input, *rows)).collect();
        let length = sequence.len();
        check(3, &sequence, (0..length).step_by(37).chain([length - 1, 65_535, 65_536, 70_000]));
        let alternating: Vec<u32> = (0..150_000).map(|i| i % 5).collect();
        check(5, &alternating, (0..150_000).rev().step_by(11));
        check(1, &[], [].into_iter());
    }

    proptest! {
        #[test]
        fn every_row_is_found(
            sequence in prop::collection::vec(0u32..4, 0..300),
            asked in prop::collection::btree_set(0usize..300, 0..60),
        ) {
            check(4, &sequence, asked.into_iter());
        }
    }
}
