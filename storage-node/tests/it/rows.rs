//! Random tables and rows of them.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType as ArrowType, SchemaRef};
use proptest::prelude::*;
use tarn_proto::time::{FIRST_DAY, FIRST_MICROS, LAST_DAY, LAST_MICROS};
use tarn_proto::{Column, ColumnId, DataType, SchemaVersion, TableModel, TableSchema};

/// Numbers from a seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        // SplitMix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Mostly from few values, so that rows repeat, and sometimes from all.
    fn integer(&mut self, min: i128, max: i128) -> i128 {
        match self.below(8) {
            0 => min,
            1 => max,
            2 => min + (((u128::from(self.next()) << 64) | u128::from(self.next())) % (max - min) as u128) as i128,
            _ => (self.below(7) as i128 - 3).clamp(min, max),
        }
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = if self.below(4) == 0 { self.below(60) } else { self.below(5) };
        (0..length).map(|_| [0, b'a', b'b', 0xff, 0x7f][self.below(5) as usize]).collect()
    }

    fn text(&mut self) -> String {
        let length = if self.below(4) == 0 { self.below(40) } else { self.below(5) };
        (0..length).map(|_| ['\0', 'a', 'b', 'é', '\u{10ffff}'][self.below(5) as usize]).collect()
    }
}

fn collect<A: FromIterator<Option<T>> + Array + 'static, T>(nulls: &[bool], mut value: impl FnMut() -> T) -> ArrayRef {
    Arc::new(nulls.iter().map(|null| (!null).then(&mut value)).collect::<A>())
}

/// An array of a declared type.
pub fn array(data_type: &DataType, rows: usize, nullable: bool, random: &mut Random) -> ArrayRef {
    let nulls: Vec<bool> = (0..rows).map(|_| nullable && random.below(4) == 0).collect();
    let validity = || nullable.then(|| NullBuffer::from_iter(nulls.iter().map(|null| !null)));
    match data_type {
        DataType::Boolean => collect::<BooleanArray, _>(&nulls, || random.below(2) == 0),
        DataType::TinyInt => collect::<Int8Array, _>(&nulls, || random.integer(-128, 127) as i8),
        DataType::SmallInt => collect::<Int16Array, _>(&nulls, || random.integer(-32768, 32767) as i16),
        DataType::Int => collect::<Int32Array, _>(&nulls, || random.integer(i32::MIN.into(), i32::MAX.into()) as i32),
        DataType::BigInt => {
            collect::<Int64Array, _>(&nulls, || random.integer(i64::MIN.into(), i64::MAX.into()) as i64)
        }
        DataType::Float => collect::<Float32Array, _>(&nulls, || match random.below(6) {
            0 => f32::NAN,
            1 => -0.0,
            2 => f32::NEG_INFINITY,
            _ => random.below(9) as f32 / 4.0,
        }),
        DataType::Double => collect::<Float64Array, _>(&nulls, || match random.below(6) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => f64::from_bits(random.next() & !(0x7ff << 52)),
            _ => random.below(9) as f64 / 3.0,
        }),
        DataType::LargeInt | DataType::Decimal(..) => {
            let ArrowType::Decimal128(precision, scale) = data_type.to_arrow() else { unreachable!("a decimal") };
            let max = 10i128.pow(precision.into()) - 1;
            let array: Decimal128Array = nulls.iter().map(|null| (!null).then(|| random.integer(-max, max))).collect();
            Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
        }
        DataType::Char(_) | DataType::Varchar(_) | DataType::String | DataType::Json => {
            collect::<StringViewArray, _>(&nulls, || random.text())
        }
        DataType::Varbinary => collect::<BinaryViewArray, _>(&nulls, || random.bytes()),
        DataType::Date => {
            collect::<Date32Array, _>(&nulls, || random.integer(FIRST_DAY.into(), LAST_DAY.into()) as i32)
        }
        DataType::DateTime => collect::<TimestampMicrosecondArray, _>(&nulls, || match random.below(8) {
            0 => LAST_MICROS,
            _ => random.integer(FIRST_MICROS.into(), LAST_MICROS.into()) as i64,
        }),
        DataType::Array(item) => {
            let (offsets, items) = offsets(rows, random);
            let items = array(item, items, true, random);
            let ArrowType::List(field) = data_type.to_arrow() else { unreachable!("a list") };
            Arc::new(ListArray::new(field, offsets, items, validity()))
        }
        DataType::Map(key, value) => {
            let (offsets, entries) = offsets(rows, random);
            let ArrowType::Map(field, sorted) = data_type.to_arrow() else { unreachable!("a map") };
            let ArrowType::Struct(fields) = field.data_type().clone() else { unreachable!("entries") };
            let columns = vec![array(key, entries, false, random), array(value, entries, true, random)];
            let entries = StructArray::new(fields, columns, None);
            Arc::new(MapArray::new(field, offsets, entries, validity(), sorted))
        }
        DataType::Struct(members) => {
            let ArrowType::Struct(fields) = data_type.to_arrow() else { unreachable!("a struct") };
            let columns = members.iter().map(|(_, member)| array(member, rows, true, random)).collect();
            Arc::new(StructArray::new(fields, columns, validity()))
        }
    }
}

fn offsets(rows: usize, random: &mut Random) -> (OffsetBuffer<i32>, usize) {
    let lengths: Vec<usize> = (0..rows).map(|_| random.below(4) as usize).collect();
    let total = lengths.iter().sum();
    (OffsetBuffer::from_lengths(lengths), total)
}

/// Types that rows can be sorted by.
pub fn scalar_type() -> impl Strategy<Value = DataType> {
    prop_oneof![
        Just(DataType::Boolean),
        Just(DataType::TinyInt),
        Just(DataType::SmallInt),
        Just(DataType::Int),
        Just(DataType::BigInt),
        Just(DataType::LargeInt),
        Just(DataType::Float),
        Just(DataType::Double),
        (1u8..=38).prop_flat_map(|p| (Just(p), 0..=p)).prop_map(|(p, s)| DataType::Decimal(p, s)),
        Just(DataType::Varchar(65533)),
        Just(DataType::String),
        Just(DataType::Varbinary),
        Just(DataType::Date),
        Just(DataType::DateTime),
        Just(DataType::Json),
    ]
}

fn any_type() -> impl Strategy<Value = DataType> {
    scalar_type().prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|t| DataType::Array(Box::new(t))),
            (scalar_type(), inner.clone()).prop_map(|(k, v)| DataType::Map(Box::new(k), Box::new(v))),
            prop::collection::vec(inner, 1..3).prop_map(|m| DataType::Struct(
                m.into_iter().zip(["a", "b"]).map(|(t, n)| (n.to_owned(), t)).collect()
            )),
        ]
    })
}

/// A table whose last column, `arrival`, numbers its rows: sort keys first, then whatever.
pub fn table() -> impl Strategy<Value = TableSchema> {
    let keys = prop::collection::vec((scalar_type(), any::<bool>()), 0..3);
    let others = prop::collection::vec((any_type(), any::<bool>()), 0..4);
    (keys, others).prop_map(|(keys, others)| {
        let sort_key = (0..keys.len() as u32).map(|i| ColumnId(3 * i + 1)).collect();
        let types = keys.into_iter().chain(others).chain([(DataType::BigInt, false)]);
        let columns = types
            .zip(0..)
            .map(|((data_type, nullable), i)| Column {
                id: ColumnId(3 * i + 1),
                name: format!("column {i}"),
                data_type,
                nullable,
                aggregation: None,
                initial: None,
            })
            .collect();
        TableSchema {
            model: TableModel::Duplicate,
            keys: Vec::new(),
            version: SchemaVersion(1),
            columns,
            sort_key,
            indexes: Vec::new(),
        }
    })
}

/// `rows` rows of the table, numbered from `first`.
pub fn batch(schema: &TableSchema, first: i64, rows: usize, random: &mut Random) -> RecordBatch {
    let (_, columns) = schema.columns.split_last().unwrap();
    let mut arrays: Vec<ArrayRef> = columns.iter().map(|c| array(&c.data_type, rows, c.nullable, random)).collect();
    arrays.push(Arc::new(Int64Array::from_iter_values(first..first + rows as i64)));
    RecordBatch::try_new(arrow_schema(schema), arrays).unwrap()
}

pub fn arrow_schema(schema: &TableSchema) -> SchemaRef {
    schema.to_arrow()
}

/// The table `t (k int, s string, arrival bigint)`, sorted by `k`.
pub fn plain_table() -> TableSchema {
    let column = |id, name: &str, data_type, nullable| Column {
        id: ColumnId(id),
        name: name.into(),
        data_type,
        nullable,
        aggregation: None,
        initial: None,
    };
    TableSchema {
        model: TableModel::Duplicate,
        keys: Vec::new(),
        version: SchemaVersion(1),
        columns: vec![
            column(1, "k", DataType::Int, false),
            column(2, "s", DataType::String, true),
            column(3, "arrival", DataType::BigInt, false),
        ],
        sort_key: vec![ColumnId(1)],
        indexes: Vec::new(),
    }
}
