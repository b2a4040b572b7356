//! `SHOW INDEX`.

use tarn_proto::IndexKind;
use tarn_sql::ObjectName;

use super::rows::Rows;
use crate::session::{Error, SessionContext};

pub const HEADER: &[&str] = &[
    "Table",
    "Non_unique",
    "Key_name",
    "Seq_in_index",
    "Column_name",
    "Collation",
    "Cardinality",
    "Sub_part",
    "Packed",
    "Null",
    "Index_type",
    "Comment",
];

pub fn indexes(context: &SessionContext, rows: &mut Rows, name: &ObjectName) -> Result<(), Error> {
    let table = context.table(name)?;
    let database = context.catalog.databases.get(&table.database).map_or("", |database| database.name.as_str());
    let shown = format!("{database}.{}", table.name);
    for index in table.schema.indexes.iter().filter(|index| index.kind == IndexKind::Bitmap) {
        let Some(position) = table.schema.index_of(index.column) else { continue };
        let column = &table.schema.columns[position].name;
        let nothing = String::new;
        rows.push([
            shown.clone(),
            nothing(),
            index.name.clone(),
            nothing(),
            column.clone(),
            nothing(),
            nothing(),
            nothing(),
            nothing(),
            nothing(),
            index.kind.name().to_owned(),
            index.comment.clone(),
        ]);
    }
    Ok(())
}
