//! Bytes from disks and wires that are not what was written: they are refused, or read as something else that is whole; they
//! never end the process. Files of indexes are tried in `index::tests`.

use proptest::prelude::*;
use prost::Message;

use crate::short_key::ShortKeyIndex;
use crate::storage::{CatchUp, Conversion, LoadSpec};
use crate::{
    Aggregation, Column, ColumnId, DataType, Index, IndexKind, SchemaVersion, TableModel, TableSchema, encoding, wire,
};

fn schema() -> TableSchema {
    let column = |id: u32, data_type, aggregation| Column {
        id: ColumnId(id),
        name: format!("c{id}"),
        data_type,
        nullable: id > 1,
        aggregation,
        initial: (id > 1).then(|| "7".to_owned()),
    };
    let map = DataType::Map(Box::new(DataType::Varchar(9)), Box::new(DataType::Array(Box::new(DataType::Int))));
    let structure = DataType::Struct(vec![("a".into(), DataType::Decimal(20, 3)), ("b `x".into(), DataType::Date)]);
    TableSchema {
        version: SchemaVersion(3),
        model: TableModel::Aggregate,
        columns: vec![
            column(1, DataType::BigInt, None),
            column(2, map, Some(Aggregation::Replace)),
            column(3, structure, Some(Aggregation::ReplaceIfNotNull)),
        ],
        keys: vec![ColumnId(1)],
        sort_key: vec![ColumnId(1)],
        indexes: vec![Index { name: "i".into(), column: ColumnId(1), kind: IndexKind::Bitmap, comment: String::new() }],
    }
}

/// What becomes of valid bytes: some are changed, some added or taken away.
#[derive(Clone, Debug)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Repeat(prop::sample::Index, prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let index = any::<prop::sample::Index>;
    let one = prop_oneof![
        6 => (index(), any::<u8>()).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        1 => index().prop_map(Damage::Cut),
        1 => (index(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => (index(), index()).prop_map(|(from, to)| Damage::Repeat(from, to)),
    ];
    prop::collection::vec(one, 0..6)
}

fn damaged(mut bytes: Vec<u8>, damage: &[Damage]) -> Vec<u8> {
    for change in damage {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match change {
            Damage::Flip(at, bits) => bytes[at.index(length)] ^= bits,
            Damage::Cut(at) => bytes.truncate(at.index(length)),
            Damage::Insert(at, more) => drop(bytes.splice(at.index(length)..at.index(length), more.iter().copied())),
            Damage::Repeat(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                bytes.extend_from_within(from.min(to)..from.max(to));
            }
        }
    }
    bytes
}

/// Decodes bytes as everything that is read, and goes on with what is whole as its reader would.
fn read(bytes: &[u8]) {
    if let Ok(schema) = wire::TableSchema::decode(bytes)
        && let Ok(schema) = TableSchema::try_from(schema)
    {
        let _ = (schema.to_arrow(), crate::short_key::ShortKey::of(&schema));
        assert_eq!(TableSchema::try_from(wire::TableSchema::from(&schema)).ok(), Some(schema));
    }
    if let Ok(schema) = encoding::decode::<TableSchema>("schema", 1, bytes) {
        let _ = schema.to_arrow();
    }
    if let Ok(index) = ShortKeyIndex::decode(bytes) {
        assert!(index.entries().all(|(_, row)| row < index.rows()));
        let _ = index.row_range(Some(b"\x01"), Some(b"\xff"));
    }
    if let Ok(behind) = wire::ReplicaBehind::decode(bytes) {
        let _ = CatchUp::try_from(behind);
    }
    if let Ok(request) = wire::ConvertRequest::decode(bytes) {
        let _ = Conversion::try_from(request);
    }
    let _ = (wire::Manifest::decode(bytes), wire::WriteStream::decode(bytes), wire::CompactionReport::decode(bytes));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes);
        read(&[&[1], &bytes[..]].concat());
    }

    #[test]
    fn damaged_schemas_are_read_or_refused(damage in damage()) {
        read(&damaged(wire::TableSchema::from(&schema()).encode_to_vec(), &damage));
        read(&damaged(encoding::encode(1, &schema()), &damage));
    }

    #[test]
    fn damaged_requests_are_read_or_refused(damage in damage()) {
        let behind = wire::ReplicaBehind { tablet_id: 3, schema: Some((&schema()).into()), version: 4, ..Default::default() };
        read(&damaged(behind.encode_to_vec(), &damage));
        let spec = LoadSpec::rows(schema());
        let stream = wire::WriteStream { txn_id: 1, load_id: "a".into(), schema: Some((&spec.schema).into()), ..Default::default() };
        read(&damaged(stream.encode_to_vec(), &damage));
    }

    #[test]
    fn damaged_short_key_indexes_are_read_or_refused(
        rows in 0u64..5,
        entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..36), 0..5),
        damage in damage(),
    ) {
        let mut bytes = vec![1, 1, 1, 0, 0, 0, 1, 0, 0, 0];
        bytes.extend_from_slice(&rows.to_le_bytes());
        bytes.extend_from_slice(&(entries.len() as u32).to_le_bytes());
        for entry in &entries {
            bytes.push(entry.len() as u8);
            bytes.extend_from_slice(entry);
        }
        prop_assert_eq!(ShortKeyIndex::decode(&bytes).is_ok(), rows == entries.len() as u64);
        read(&damaged(bytes, &damage));
    }
}
