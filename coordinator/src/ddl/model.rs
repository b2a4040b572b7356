//! Table models: what each asks of keys, columns, partitions, buckets and sort key. Pure.
//!
//! | | keys | value columns | partition and bucket columns | sort key |
//! |---|---|---|---|---|
//! | DUPLICATE | may repeat | as they are | any; buckets by hash or random | any |
//! | AGGREGATE | one row each | each with an aggregation | keys | the keys in any order |
//! | UNIQUE | one row each | the last wins | keys | the keys in any order |
//! | PRIMARY KEY | one row each, NOT NULL, no DECIMAL | the last wins | keys | any |

use tarn_proto::{Aggregation, ColumnId, DataType, TableModel};
use tarn_sql::{ColumnDef, CreateTable, DistributedBy, Ident, ModelKind, PartitionBy, PartitionExpr};

use super::columns::Columns;
use crate::session::Error;

/// Aggregations whose types do not exist yet, and those types.
const LATER: [(&str, &str); 3] = [("BITMAP_UNION", "BITMAP"), ("HLL_UNION", "HLL"), ("PERCENTILE_UNION", "PERCENTILE")];

/// A table's model and the key columns that its statement names.
#[derive(Debug)]
pub struct Keys {
    /// The model.
    pub model: TableModel,
    /// The key columns; `None` where a DUPLICATE table leaves them to the default.
    pub names: Option<Vec<Ident>>,
}

impl Keys {
    /// Whether a column is named as a key.
    pub fn contains(&self, name: &Ident) -> bool {
        self.names.iter().flatten().any(|key| same(key, name))
    }
}

fn same(a: &Ident, b: &Ident) -> bool {
    a.name.eq_ignore_ascii_case(&b.name)
}

/// The model as `CREATE TABLE` writes it.
pub const fn kind_of(model: TableModel) -> ModelKind {
    match model {
        TableModel::Duplicate => ModelKind::Duplicate,
        TableModel::Aggregate => ModelKind::Aggregate,
        TableModel::Unique => ModelKind::Unique,
        TableModel::PrimaryKey => ModelKind::PrimaryKey,
    }
}

/// The model and the names of the keys. A table without a key clause is an AGGREGATE table if a column has an aggregation,
/// and then every other column is a key.
pub fn lower(table: &CreateTable) -> Result<Keys, Error> {
    let marked: Vec<&Ident> = table.columns.iter().filter(|def| def.key).map(|def| &def.name).collect();
    let Some(clause) = &table.model else {
        if table.columns.iter().any(|def| def.aggregation.is_some()) {
            let keys: Vec<Ident> = table
                .columns
                .iter()
                .filter(|def| def.key || def.aggregation.is_none())
                .map(|def| def.name.clone())
                .collect();
            if keys.is_empty() {
                let name = table.name.ident();
                let message = format!(
                    "table `{}` has no key column: every column has an aggregation, leave out that of the keys",
                    name.name
                );
                return Err(Error::at(name.at, message));
            }
            return Ok(Keys { model: TableModel::Aggregate, names: Some(keys) });
        }
        let names = (!marked.is_empty()).then(|| marked.into_iter().cloned().collect());
        return Ok(Keys { model: TableModel::Duplicate, names });
    };
    for name in &clause.keys {
        if !table.columns.iter().any(|def| same(&def.name, name)) {
            return Err(Error::at(name.at, format!("column `{}` does not exist", name.name)));
        }
    }
    if let Some(extra) = marked.iter().find(|name| !clause.keys.iter().any(|key| same(key, name))) {
        let message = format!("column `{}` is marked KEY but is not among those of {}", extra.name, clause.kind);
        return Err(Error::at(extra.at, message));
    }
    let model = match clause.kind {
        ModelKind::Duplicate => TableModel::Duplicate,
        ModelKind::Aggregate => TableModel::Aggregate,
        ModelKind::Unique => TableModel::Unique,
        ModelKind::PrimaryKey => TableModel::PrimaryKey,
    };
    Ok(Keys { model, names: Some(clause.keys.clone()) })
}

/// What becomes of a column's values where keys are equal; `None` for keys and where the model does not merge them.
pub fn aggregation(def: &ColumnDef, model: TableModel, is_key: bool) -> Result<Option<Aggregation>, Error> {
    let column = &def.name;
    let Some(name) = &def.aggregation else {
        return match model {
            TableModel::Aggregate if !is_key => Err(Error::at(
                column.at,
                format!(
                    "column `{}` is no key column of the AGGREGATE KEY table and has no aggregation: write SUM, MIN, MAX, \
                     REPLACE or REPLACE_IF_NOT_NULL after its type, or name it in AGGREGATE KEY",
                    column.name
                ),
            )),
            TableModel::Unique if !is_key => Ok(Some(Aggregation::Replace)),
            _ => Ok(None),
        };
    };
    if is_key {
        let message = format!("key column `{}` cannot have an aggregation: leave {name} out", column.name);
        return Err(Error::at(column.at, message));
    }
    if model != TableModel::Aggregate {
        let message = format!(
            "column `{}` has the aggregation {name}, which is for AGGREGATE KEY tables: leave it out of a {} table",
            column.name,
            kind_of(model)
        );
        return Err(Error::at(column.at, message));
    }
    if let Some((_, data_type)) = LATER.iter().find(|(later, _)| later.eq_ignore_ascii_case(name)) {
        return Err(Error::not_yet(column.at, &format!("the aggregation {name} and its type {data_type} are")));
    }
    let Some(aggregation) = Aggregation::of_name(name) else {
        return Err(Error::at(column.at, format!("column `{}`: unknown aggregation {name}", column.name)));
    };
    let t = &def.data_type;
    let is_number = is_number(t);
    let (fits, wanted) = match aggregation {
        Aggregation::Sum => (is_number, "a number"),
        Aggregation::Min | Aggregation::Max => (
            is_number || matches!(t, DataType::Date | DataType::DateTime) || (t.is_text() && *t != DataType::Json),
            "a number, DATE, DATETIME or text",
        ),
        Aggregation::Replace | Aggregation::ReplaceIfNotNull => (true, ""),
    };
    if !fits {
        let message = format!("column `{}` is of type {t}: {name} takes {wanted}", column.name);
        return Err(Error::at(def.type_at, message));
    }
    Ok(Some(aggregation))
}

const fn is_number(t: &DataType) -> bool {
    matches!(
        t,
        DataType::TinyInt
            | DataType::SmallInt
            | DataType::Int
            | DataType::BigInt
            | DataType::LargeInt
            | DataType::Float
            | DataType::Double
            | DataType::Decimal(..)
    )
}

/// Whether a column takes NULL.
pub fn nullable(def: &ColumnDef, model: TableModel, is_key: bool) -> Result<bool, Error> {
    match (def.nullable, model == TableModel::PrimaryKey && is_key) {
        (Some(true), true) => {
            let message =
                format!("primary key column `{}` cannot be NULL: write NOT NULL, or leave NULL out", def.name.name);
            Err(Error::at(def.name.at, message))
        }
        (_, true) => Ok(false),
        (declared, false) => Ok(declared.unwrap_or(true)),
    }
}

/// Checks the types of the keys beyond what every key column must satisfy.
pub fn check_key_types(keys: &Keys, columns: &Columns) -> Result<(), Error> {
    if keys.model != TableModel::PrimaryKey {
        return Ok(());
    }
    for name in keys.names.iter().flatten() {
        let column = columns.get(name)?;
        if matches!(column.data_type, DataType::Decimal(..)) {
            let (name_of, t) = (&column.name, &column.data_type);
            let message = format!("column `{name_of}` is of type {t}, which cannot be a primary key column");
            return Err(Error::at(name.at, message));
        }
    }
    Ok(())
}

/// Checks what the other clauses name against the keys, in models where a key stands once.
pub fn check_clauses(table: &CreateTable, keys: &Keys, columns: &Columns) -> Result<(), Error> {
    if keys.model == TableModel::Duplicate {
        return Ok(());
    }
    let kind = kind_of(keys.model);
    let needs_key = |name: &Ident, what: &str| {
        if keys.contains(name) {
            return Ok(());
        }
        let message = format!(
            "{what} column `{}` is no key column: rows of one key in a {kind} table must lie together",
            name.name
        );
        Err(Error::at(name.at, message))
    };
    if let Some(by) = &table.partition {
        partition_columns(by)
            .into_iter()
            // Other words in expressions, like `floor`, are no columns.
            .filter(|name| columns.get(name).is_ok())
            .try_for_each(|name| needs_key(name, "partition"))?;
    }
    match &table.distribution {
        Some(DistributedBy::Random { at, .. }) => {
            let names: Vec<String> = keys.names.iter().flatten().map(Ident::to_string).collect();
            let message = format!(
                "DISTRIBUTED BY RANDOM is for DUPLICATE KEY tables: write DISTRIBUTED BY HASH ({})",
                names.join(", ")
            );
            return Err(Error::at(*at, message));
        }
        Some(DistributedBy::Hash { columns: names, .. }) => {
            names.iter().try_for_each(|name| columns.get(name).and_then(|_| needs_key(name, "bucket")))?;
        }
        None => {}
    }
    if !keys.model.merges_on_read() || table.order_by.is_empty() {
        return Ok(());
    }
    let wanted = format!("ORDER BY of a {kind} table names its key columns, each once, in any order");
    if let Some(value) = table.order_by.iter().find(|name| !keys.contains(name)) {
        return Err(Error::at(value.at, format!("sort key column `{}` is no key column: {wanted}", value.name)));
    }
    let missing = keys.names.iter().flatten().find(|key| !table.order_by.iter().any(|name| same(name, key)));
    match missing {
        Some(key) => {
            Err(Error::at(table.order_by[0].at, format!("the sort key leaves out key column `{}`: {wanted}", key.name)))
        }
        None => Ok(()),
    }
}

/// Buckets of a table that does not say: by its keys where a key stands once, else by no rule.
pub fn default_bucket_columns(model: TableModel, keys: &[ColumnId]) -> Vec<ColumnId> {
    match model {
        TableModel::Duplicate => Vec::new(),
        TableModel::Aggregate | TableModel::Unique | TableModel::PrimaryKey => keys.to_vec(),
    }
}

fn partition_columns(by: &PartitionBy) -> Vec<&Ident> {
    fn of_expression<'a>(expr: &'a PartitionExpr, found: &mut Vec<&'a Ident>) {
        match expr {
            PartitionExpr::Column(name) => found.push(name),
            PartitionExpr::Function { args, .. } => args.iter().for_each(|arg| of_expression(arg, found)),
            PartitionExpr::Literal(_) | PartitionExpr::Interval { .. } => {}
        }
    }
    match by {
        PartitionBy::Range { columns, .. } | PartitionBy::List { columns, .. } => columns.iter().collect(),
        PartitionBy::Expressions(exprs) => {
            let mut found = Vec::new();
            exprs.iter().for_each(|expr| of_expression(expr, &mut found));
            found
        }
    }
}
