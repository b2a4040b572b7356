//! Source columns to the table's.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use tarn_catalog::{DefaultValue, Table};
use tarn_gateway::engine::{EngineError, Result};
use tarn_proto::{Column, ErrorKind, TableModel, TableSchema};
use tarn_sql::ast::{Expr, Query, SetExpr, Value};
use tarn_sql::{Insert, Position};

use crate::session::Error;

/// The word in `VALUES` that stands for a column's default.
const DEFAULT: &str = "DEFAULT";

/// Refuses what an `INSERT` can say but not do yet.
pub(super) fn check(insert: &Insert) -> Result<()> {
    if insert.overwrite {
        return Err(Error::not_yet(insert.table.at(), "INSERT OVERWRITE is").into());
    }
    if let Some(partition) = insert.partitions.first() {
        return Err(Error::not_yet(partition.at, "INSERT into chosen partitions is").into());
    }
    Ok(())
}

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
            let is_default = matches!(&*expr, Expr::Identifier(word)
                if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(DEFAULT));
            if is_default {
                let column = &table.schema.columns[*index];
                let value = default_of(table, column).ok_or_else(|| no_default(column, insert.table.at()))?;
                *expr = match value {
                    Some(text) => Expr::Value(Value::SingleQuotedString(text).into()),
                    None => Expr::Value(Value::Null.into()),
                };
            }
        }
    }
    Ok(query)
}

/// Positions in the table of the columns that an `INSERT` names, all of them if it names none.
fn targets(table: &Table, insert: &Insert) -> Result<Vec<usize>> {
    if insert.columns.is_empty() {
        return Ok((0..table.schema.columns.len()).collect());
    }
    let mut targets = Vec::new();
    for name in &insert.columns {
        let found = table.schema.columns.iter().position(|c| c.name.eq_ignore_ascii_case(&name.name));
        let index =
            found.ok_or_else(|| Error::at(name.at, format!("table `{}` has no column `{}`", table.name, name.name)))?;
        if targets.contains(&index) {
            return Err(Error::at(name.at, format!("column `{}` is named twice", name.name)).into());
        }
        targets.push(index);
    }
    Ok(targets)
}

fn arity(table: &Table, insert: &Insert, wanted: usize, given: usize) -> EngineError {
    let message = format!("INSERT into `{}` takes {wanted} columns, its source has {given}", table.name);
    Error::at(insert.table.at(), message).into()
}

fn no_default(column: &Column, at: Position) -> EngineError {
    let message = format!("column `{}` is NOT NULL and has no default: the load must give it a value", column.name);
    Error::at(at, message).into()
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
        None if column.nullable => Some(None),
        None => None,
    }
}

/// Where each column of the table comes from.
#[derive(Clone)]
pub(super) struct Columns(Arc<Mapping>);

struct Mapping {
    schema: TableSchema,
    sources: Vec<Source>,
}

enum Source {
    /// The source's column at this position.
    Column(usize),
    /// The same value in every row.
    Constant(ScalarValue),
}

impl Columns {
    /// For an `INSERT`: the source's columns are those that it names, in order.
    pub(super) fn by_position(table: &Table, insert: &Insert, source: &SchemaRef) -> Result<Self> {
        let targets = targets(table, insert)?;
        if targets.len() != source.fields().len() {
            return Err(arity(table, insert, targets.len(), source.fields().len()));
        }
        Self::new(table, insert.table.at(), |index, _| targets.iter().position(|t| *t == index))
    }

    /// For an ingest: the source's columns have the names of the table's, in any case and order.
    pub(super) fn by_name(table: &Table, source: &SchemaRef) -> Result<Self> {
        for field in source.fields() {
            if !table.schema.columns.iter().any(|c| c.name.eq_ignore_ascii_case(field.name())) {
                let message = format!("table `{}` has no column `{}`", table.name, field.name());
                return Err(EngineError { kind: ErrorKind::Invalid, message });
            }
        }
        Self::new(table, Position::default(), |_, column| {
            source.fields().iter().position(|f| f.name().eq_ignore_ascii_case(&column.name))
        })
    }

    fn new(table: &Table, at: Position, place: impl Fn(usize, &Column) -> Option<usize>) -> Result<Self> {
        debug_assert_eq!(table.schema.model, TableModel::Duplicate, "other models are refused when they are created");
        let sources = table.schema.columns.iter().enumerate().map(|(index, column)| {
            if let Some(position) = place(index, column) {
                return Ok(Source::Column(position));
            }
            match default_of(table, column) {
                Some(Some(text)) => Ok(Source::Constant(ScalarValue::Utf8View(Some(text)))),
                Some(None) => Ok(Source::Constant(ScalarValue::Null)),
                None => Err(no_default(column, at)),
            }
        });
        let sources = sources.collect::<Result<Vec<_>>>()?;
        Ok(Self(Arc::new(Mapping { schema: table.schema.clone(), sources })))
    }

    /// The table's columns.
    pub(super) fn schema(&self) -> &TableSchema {
        &self.0.schema
    }

    /// A batch with the table's columns in the types of the source.
    pub(super) fn arrange(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let internal = |message: String| EngineError { kind: ErrorKind::Internal, message };
        let mut fields = Vec::with_capacity(self.0.sources.len());
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.0.sources.len());
        for (column, source) in self.0.schema.columns.iter().zip(&self.0.sources) {
            let array = match source {
                Source::Column(index) => batch.column(*index).clone(),
                Source::Constant(value) => value.to_array_of_size(rows).map_err(|e| internal(e.to_string()))?,
            };
            fields.push(Field::new(&column.name, array.data_type().clone(), true));
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .map_err(|e| internal(e.to_string()))
    }
}
