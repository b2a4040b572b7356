//! Source columns to the table's.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use tarn_catalog::{DefaultValue, Table};
use tarn_gateway::engine::{EngineError, Result};
use tarn_proto::schema::{OP, OP_DELETE};
use tarn_proto::storage::PartialUpdate;
use tarn_proto::{Column, ErrorKind, TableId, TableModel, TableSchema};
use tarn_sql::ast::{Expr, Query, SetExpr, Value};
use tarn_sql::{Ident, Insert, Position};

use super::filler::filler;
use crate::session::Error;

/// The word in `VALUES` that stands for a column's default.
const DEFAULT: &str = "DEFAULT";

/// The statement's source, with the defaults that its `VALUES` ask for.
pub(crate) fn source_query(table: &Table, insert: &Insert) -> Result<Query> {
    let mut query = insert.source.as_ref().clone();
    let SetExpr::Values(values) = query.body.as_mut() else { return Ok(query) };
    let targets = targets(table, insert)?;
    for row in &mut values.rows {
        if row.len() != targets.len() {
            return Err(arity(table, insert, targets.len(), row.len()));
        }
        for (expr, index) in row.iter_mut().zip(&targets) {
            if is_default(expr) {
                *expr = default_expr(table, &table.schema.columns[*index], insert.table.at())?;
            }
        }
    }
    Ok(query)
}

/// Positions in the table of the columns that an `INSERT` names, all of them if it names none.
pub(super) fn targets(table: &Table, insert: &Insert) -> Result<Vec<usize>> {
    if insert.columns.is_empty() {
        return Ok((0..table.schema.columns.len()).collect());
    }
    let mut targets = Vec::new();
    for name in &insert.columns {
        let found = table.schema.columns.iter().position(|c| c.name.eq_ignore_ascii_case(&name.name));
        let index = found.ok_or_else(|| no_column(table, name))?;
        if targets.contains(&index) {
            return Err(Error::at(name.at, format!("column `{}` is named twice", name.name)).into());
        }
        targets.push(index);
    }
    Ok(targets)
}

fn no_column(table: &Table, name: &Ident) -> Error {
    let hint = if name.name.eq_ignore_ascii_case(OP) { ": INSERT upserts, and DELETE deletes" } else { "" };
    Error::at(name.at, format!("table `{}` has no column `{}`{hint}", table.name, name.name))
}

fn arity(table: &Table, insert: &Insert, wanted: usize, given: usize) -> EngineError {
    let message = format!("INSERT into `{}` takes {wanted} columns, its source has {given}", table.name);
    Error::at(insert.table.at(), message).into()
}

fn no_default(column: &Column, at: Position) -> EngineError {
    let message = format!("column `{}` is NOT NULL and has no default: the load must give it a value", column.name);
    Error::at(at, message).into()
}

fn missing_key(table: &Table, column: &Column, at: Position) -> EngineError {
    let message = format!(
        "missing key column `{}`: a load that updates rows of PRIMARY KEY table `{}` has all key columns",
        column.name, table.name
    );
    Error::at(at, message).into()
}

/// The same value in every row, for a column that has to have one.
fn constant_filler(column: &Column) -> Result<Source> {
    let value = filler(column);
    value.map(Source::Constant).map_err(|e| EngineError { kind: ErrorKind::Internal, message: e.strip_backtrace() })
}

/// A column's default as an expression, for the word `DEFAULT` that stands at `at`.
pub(crate) fn default_expr(table: &Table, column: &Column, at: Position) -> Result<Expr> {
    Ok(match default_of(table, column).ok_or_else(|| no_default(column, at))? {
        Some(text) => Expr::Value(Value::SingleQuotedString(text).into()),
        None => Expr::Value(Value::Null.into()),
    })
}

/// Whether an expression is the word `DEFAULT`.
pub(crate) fn is_default(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(DEFAULT))
}

/// The default's text, `Some(None)` for NULL, `None` if the column must be given.
fn default_of(table: &Table, column: &Column) -> Option<Option<String>> {
    match table.columns.get(&column.id).and_then(|info| info.default.as_ref()) {
        Some(DefaultValue::Constant(text)) => Some(Some(text.clone())),
        Some(DefaultValue::CurrentTimestamp) => {
            let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64);
            ScalarValue::TimestampMicrosecond(Some(micros), None)
                .cast_to(&arrow::datatypes::DataType::Utf8)
                .ok()
                .and_then(|text| text.try_as_str().flatten().map(|text| Some(text.to_owned())))
        }
        // NULL takes the next number.
        Some(DefaultValue::AutoIncrement) => Some(None),
        None if column.nullable => Some(None),
        None => None,
    }
}

/// Where each column of the table comes from.
#[derive(Clone)]
pub(crate) struct Columns(Arc<Mapping>);

struct Mapping {
    schema: TableSchema,
    sources: Vec<Source>,
    /// Where [`OP`] comes from, if the rows have it.
    op: Option<Source>,
    /// The position of the AUTO_INCREMENT column.
    auto_increment: Option<usize>,
    table: TableId,
}

impl Mapping {
    fn new(table: &Table, sources: Vec<Source>, op: Option<Source>) -> Self {
        let is_increment = |column: &Column| {
            let default = table.columns.get(&column.id).and_then(|info| info.default.as_ref());
            default == Some(&DefaultValue::AutoIncrement)
        };
        let auto_increment = table.schema.columns.iter().position(is_increment);
        Self { schema: table.schema.clone(), sources, op, auto_increment, table: table.id }
    }
}

enum Source {
    /// The source's column at this position.
    Column(usize),
    /// The same value in every row.
    Constant(ScalarValue),
}

impl Columns {
    /// For an `INSERT`: the source's columns are those that it names, in order. `partial`: the others keep their values
    /// in rows that are there.
    pub(super) fn by_position(table: &Table, insert: &Insert, source: &SchemaRef, partial: bool) -> Result<Self> {
        let targets = targets(table, insert)?;
        if targets.len() != source.fields().len() {
            return Err(arity(table, insert, targets.len(), source.fields().len()));
        }
        let place = |index: usize, _: &Column| targets.iter().position(|target| *target == index);
        Self::new(table, insert.table.at(), None, partial, place)
    }

    /// For an ingest: the source's columns have the names of the table's, in any case and order. Of a PRIMARY KEY table it
    /// may have [`OP`] beside them. `partial`: columns that it lacks keep their values in rows that are there.
    pub(super) fn by_name(table: &Table, source: &SchemaRef, partial: bool) -> Result<Self> {
        let place = |name: &str| source.fields().iter().position(|f| f.name().eq_ignore_ascii_case(name));
        let op = place(OP).filter(|_| table.schema.model == TableModel::PrimaryKey);
        for (position, field) in source.fields().iter().enumerate() {
            let is_there = table.schema.columns.iter().any(|c| c.name.eq_ignore_ascii_case(field.name()));
            if !is_there && op != Some(position) {
                let message = format!("table `{}` has no column `{}`", table.name, field.name());
                return Err(EngineError { kind: ErrorKind::Invalid, message });
            }
        }
        Self::new(table, Position::default(), op.map(Source::Column), partial, |_, column| place(&column.name))
    }

    /// For an `UPDATE`: the source's columns are those of the table that `update` has, in order. Nobody reads the others.
    pub(crate) fn of_updated(table: &Table, update: &PartialUpdate) -> Result<Self> {
        let mut given = 0..;
        let sources = table.schema.columns.iter().map(|column| match update.columns.contains(&column.id) {
            true => Ok(Source::Column(given.next().unwrap_or_default())),
            false => constant_filler(column),
        });
        let sources = sources.collect::<Result<_>>()?;
        Ok(Self(Arc::new(Mapping::new(table, sources, None))))
    }

    /// For a `DELETE`: the source's columns are the table's keys, in order.
    pub(crate) fn of_deleted(table: &Table) -> Result<Self> {
        let sources = table.schema.columns.iter().map(|column| {
            match table.schema.keys.iter().position(|key| *key == column.id) {
                Some(position) => Ok(Source::Column(position)),
                None => constant_filler(column),
            }
        });
        let sources = sources.collect::<Result<_>>()?;
        let op = Some(Source::Constant(ScalarValue::Int8(Some(OP_DELETE))));
        Ok(Self(Arc::new(Mapping::new(table, sources, op))))
    }

    fn new(
        table: &Table,
        at: Position,
        op: Option<Source>,
        partial: bool,
        place: impl Fn(usize, &Column) -> Option<usize>,
    ) -> Result<Self> {
        let sources = table.schema.columns.iter().enumerate().map(|(index, column)| {
            if let Some(position) = place(index, column) {
                return Ok(Source::Column(position));
            }
            match default_of(table, column) {
                Some(Some(text)) => Ok(Source::Constant(ScalarValue::Utf8View(Some(text)))),
                Some(None) => Ok(Source::Constant(ScalarValue::Null)),
                None if partial && table.schema.keys.contains(&column.id) => Err(missing_key(table, column, at)),
                // Of rows that are not there yet.
                None if partial => constant_filler(column),
                None => Err(no_default(column, at)),
            }
        });
        let sources = sources.collect::<Result<Vec<_>>>()?;
        Ok(Self(Arc::new(Mapping::new(table, sources, op))))
    }

    /// The table's columns.
    pub(super) fn schema(&self) -> &TableSchema {
        &self.0.schema
    }

    /// The table, and the position in it of the column whose missing values it gives.
    pub(super) fn auto_increment(&self) -> Option<(TableId, usize)> {
        self.0.auto_increment.map(|column| (self.0.table, column))
    }

    /// A batch with the table's columns, and [`OP`] if there is one, in the types of the source.
    pub(super) fn arrange(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let internal = |message: String| EngineError { kind: ErrorKind::Internal, message };
        let mut fields = Vec::with_capacity(self.0.sources.len());
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.0.sources.len());
        let named = self.0.schema.columns.iter().map(|c| c.name.as_str()).zip(&self.0.sources);
        for (name, source) in named.chain(self.0.op.iter().map(|op| (OP, op))) {
            let array = match source {
                Source::Column(index) => batch.column(*index).clone(),
                Source::Constant(value) => value.to_array_of_size(rows).map_err(|e| internal(e.to_string()))?,
            };
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .map_err(|e| internal(e.to_string()))
    }
}
