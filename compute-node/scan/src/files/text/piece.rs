//! A stream of batches from one piece of a file.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::{Buf, Bytes};
use datafusion::error::{DataFusionError, Result};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;

use super::super::error::FilesError;
use super::super::options::Format;
use super::super::store::Access;
use super::csv::{CsvDecoder, header_names, strip_mark};
use super::json::JsonDecoder;
use super::json_text::JsonText;
use super::{Fault, FaultKind, TextOptions, input};

/// What to read.
#[derive(Clone)]
pub(super) struct Piece {
    pub access: Arc<Access>,
    pub options: Arc<TextOptions>,
    pub file: ObjectMeta,
    /// Lines that begin in this range of bytes; `None` for all.
    pub range: Option<(u64, u64)>,
    /// All columns of the table.
    pub table: SchemaRef,
    /// Positions of the columns to return.
    pub projection: Vec<usize>,
    pub batch_size: usize,
}

/// Rows that are counted at once when the number of a row is looked for.
const COUNT_BATCH: usize = 8192;

impl Piece {
    /// The rows of the piece.
    pub async fn open(self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let reader = Reader::open(self).await?;
        let stream = futures::stream::try_unfold(reader, |mut reader| async move {
            Ok(reader.next().await?.map(|batch| (batch, reader)))
        });
        Ok(stream.boxed())
    }

    fn start(&self) -> u64 {
        self.range.map_or(0, |(start, _)| start)
    }

    /// Rows of the file before this piece. Only errors ask, so that it may read all of them. (Boxed: a reader counts with
    /// a reader.)
    fn rows_before(&self) -> Pin<Box<dyn Future<Output = u64> + Send + '_>> {
        Box::pin(async move {
            let before = Self {
                range: Some((0, self.start())),
                projection: Vec::new(),
                batch_size: COUNT_BATCH,
                ..self.clone()
            };
            let mut rows = 0;
            if self.start() > 0
                && let Ok(mut reader) = Reader::open(before).await
            {
                while let Ok(Some(batch)) = reader.next().await {
                    rows += batch.num_rows() as u64;
                }
            }
            rows
        })
    }

    fn name(&self) -> String {
        self.access.display(&self.file.location)
    }

    async fn failed(&self, fault: Fault) -> DataFusionError {
        let (path, row) = (self.name(), self.rows_before().await + fault.row);
        let error = match fault.kind {
            FaultKind::Row(reason) => FilesError::Row { path, row, reason },
            FaultKind::Value { column, value, expected } => FilesError::Value {
                path,
                row,
                column,
                value,
                expected,
                remedy: "types are guessed from the first rows; \"auto_detect_types\" = \"false\" reads strings",
            },
        };
        error.into()
    }
}

enum Records {
    Csv(Box<CsvDecoder>),
    Json(Box<JsonDecoder>),
}

struct Reader {
    piece: Piece,
    input: BoxStream<'static, Result<Bytes>>,
    buffer: Bytes,
    ended: bool,
    records: Records,
    /// Lines to skip, and the one that is being skipped.
    skip: u32,
    header: Vec<u8>,
    /// Whether nothing of the file's text was seen.
    fresh: bool,
    array: Option<JsonText>,
}

impl Reader {
    async fn open(piece: Piece) -> Result<Self> {
        let terminator = piece.options.terminator();
        let input = input::open(&piece.access, &piece.file, piece.range.map(|(start, end)| start..end), terminator)
            .await
            .map_err(|error| piece.access.name_error(&piece.file.location, error))?;
        let records = match piece.options.format {
            Format::Csv => {
                let csv = CsvDecoder::new(&piece.options, &piece.table, &piece.projection, piece.batch_size)?;
                Records::Csv(Box::new(csv))
            }
            _ => {
                let json = JsonDecoder::new(Arc::new(piece.table.project(&piece.projection)?), piece.batch_size)?;
                Records::Json(Box::new(json))
            }
        };
        let fresh = piece.start() == 0;
        let skip = if fresh && piece.options.format == Format::Csv { piece.options.csv.skip_header } else { 0 };
        Ok(Self {
            input,
            buffer: Bytes::new(),
            ended: false,
            records,
            skip,
            header: Vec::new(),
            fresh,
            array: None,
            piece,
        })
    }

    /// The next batch.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if self.buffer.is_empty() && !self.ended {
                self.fill().await?;
                continue;
            }
            match self.step() {
                Ok(Step::Batch(batch)) => return Ok(Some(batch)),
                Ok(Step::More) => {}
                Ok(Step::Done) => return Ok(None),
                Err(fault) => return Err(self.piece.failed(fault).await),
            }
        }
    }

    fn step(&mut self) -> Result<Step, Fault> {
        let used = self.records.decode(&self.buffer)?;
        self.buffer.advance(used);
        let exhausted = self.buffer.is_empty() && self.ended;
        if !self.records.is_full() && !exhausted {
            return Ok(Step::More);
        }
        Ok(match self.records.flush()? {
            Some(batch) => Step::Batch(batch),
            None if exhausted => Step::Done,
            None => Step::More,
        })
    }

    /// Gets more text: into the buffer, or the end.
    async fn fill(&mut self) -> Result<()> {
        let name = |error| self.piece.access.name_error(&self.piece.file.location, error);
        let Some(mut text) = self.input.try_next().await.map_err(name)? else {
            self.ended = true;
            return Ok(());
        };
        if self.fresh && !text.is_empty() {
            let mark = text.len() - strip_mark(&text).len();
            text.advance(mark);
            match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
                Some(b'[') if self.piece.options.format == Format::Json => self.begin_array()?,
                None if self.piece.options.format == Format::Json => return Ok(()),
                _ => {}
            }
            self.fresh = false;
        }
        while self.skip > 0 && !text.is_empty() {
            self.skip_line(&mut text)?;
        }
        self.buffer = match &mut self.array {
            Some(array) => {
                let mut lines = Vec::new();
                array.feed(&text, &mut lines);
                lines.into()
            }
            None => text,
        };
        Ok(())
    }

    /// Takes one line, or what is there of it.
    fn skip_line(&mut self, text: &mut Bytes) -> Result<()> {
        let terminator = self.piece.options.terminator();
        let Some(end) = text.iter().position(|byte| *byte == terminator) else {
            self.header.extend_from_slice(text);
            text.clear();
            return Ok(());
        };
        self.header.extend_from_slice(&text[..end]);
        text.advance(end + 1);
        self.skip -= 1;
        if self.skip == 0 && self.piece.options.csv.header {
            let found = header_names(&self.piece.options, &self.header);
            let expected = self.piece.table.fields().iter().map(|field| field.name());
            if !found.iter().eq(expected.take(found.len())) {
                let reason =
                    format!("its header is [{}], that of the first file another; read it by itself", found.join(", "));
                let (path, format) = (self.piece.name(), Format::Csv);
                return Err(FilesError::Malformed { path, format, reason }.into());
            }
        }
        self.header.clear();
        Ok(())
    }

    /// An array is read by one piece, the whole file.
    fn begin_array(&mut self) -> Result<()> {
        if self.piece.range.is_some_and(|(_, end)| end < self.piece.file.size) {
            let reason = "an array, while other files have one object per line; read it in a call by itself".to_owned();
            let (path, format) = (self.piece.name(), Format::Json);
            return Err(FilesError::Malformed { path, format, reason }.into());
        }
        self.array = Some(JsonText::default());
        Ok(())
    }
}

enum Step {
    Batch(RecordBatch),
    More,
    Done,
}

impl Records {
    fn decode(&mut self, text: &[u8]) -> Result<usize, Fault> {
        match self {
            Self::Csv(csv) => csv.decode(text),
            Self::Json(json) => json.decode(text),
        }
    }

    fn is_full(&self) -> bool {
        match self {
            Self::Csv(csv) => csv.is_full(),
            Self::Json(json) => json.is_full(),
        }
    }

    fn flush(&mut self) -> Result<Option<RecordBatch>, Fault> {
        match self {
            Self::Csv(csv) => csv.flush(),
            Self::Json(json) => json.flush(),
        }
    }
}
