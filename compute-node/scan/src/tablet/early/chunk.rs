//! Chunks of a segment as they are decoded, before they become Arrow arrays.

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field};
use vortex::array::arrays::dict::DictArraySlotsExt;
use vortex::array::arrays::scalar_fn::ScalarFnArrayExt;
use vortex::array::arrays::{DecimalArray, Dict, PrimitiveArray, ScalarFn, Struct};
use vortex::array::{ArrayRef, ExecutionCtx};
use vortex::arrow::ArrowSessionExt;
use vortex::dtype::{DType, DecimalType, PType};
use vortex::error::VortexResult;
use vortex::mask::{AllOr, Mask};
use vortex::scalar_fn::fns::pack::Pack;

use super::groups::{Argument, Key, Keyed};
use super::numbers::{Groups, Numbers};

/// Groups of one chunk. With more of them, its rows are better aggregated one by one.
const MOST_GROUPS: usize = 1 << 14;

/// The columns of a chunk; `None` if it is no plain struct.
pub(super) fn columns(chunk: &ArrayRef) -> Option<Vec<ArrayRef>> {
    if let Ok(fields) = chunk.clone().try_downcast::<Struct>() {
        return (!fields.dtype().is_nullable()).then(|| fields.into_data_parts().fields);
    }
    let function = chunk.as_opt::<ScalarFn>()?;
    function.scalar_fn().as_opt::<Pack>()?;
    Some(function.children())
}

/// A column to aggregate. `None` if it has no numbers that can be.
pub(super) fn argument(column: ArrayRef, ctx: &mut ExecutionCtx) -> VortexResult<Option<Argument>> {
    let rows = column.len();
    let (numbers, valid) = match column.dtype() {
        DType::Primitive(ptype, _) if ptype.is_signed_int() => {
            let array = column.execute::<PrimitiveArray>(ctx)?;
            let valid = array.as_ref().validity()?.execute_mask(rows, ctx)?;
            (primitive(&array), valid)
        }
        DType::Decimal(..) => {
            let array = column.execute::<DecimalArray>(ctx)?;
            let valid = array.as_ref().validity()?.execute_mask(rows, ctx)?;
            (decimal(&array), valid)
        }
        _ => return Ok(None),
    };
    Ok(numbers.map(|numbers| match kept(&valid) {
        None => Argument { numbers, kept: None },
        Some(kept) => Argument { numbers: numbers.at(&kept), kept: Some(kept) },
    }))
}

/// The set rows of a mask; `None` if all are.
fn kept(mask: &Mask) -> Option<Vec<usize>> {
    match mask.bit_buffer() {
        AllOr::All => None,
        AllOr::None => Some(Vec::new()),
        AllOr::Some(bits) => Some(bits.set_indices().collect()),
    }
}

fn primitive(array: &PrimitiveArray) -> Option<Numbers> {
    Some(match array.ptype() {
        PType::I8 => Numbers::I8(array.to_buffer()),
        PType::I16 => Numbers::I16(array.to_buffer()),
        PType::I32 => Numbers::I32(array.to_buffer()),
        PType::I64 => Numbers::I64(array.to_buffer()),
        _ => return None,
    })
}

fn decimal(array: &DecimalArray) -> Option<Numbers> {
    Some(match array.values_type() {
        DecimalType::I8 => Numbers::I8(array.buffer()),
        DecimalType::I16 => Numbers::I16(array.buffer()),
        DecimalType::I32 => Numbers::I32(array.buffer()),
        DecimalType::I64 => Numbers::I64(array.buffer()),
        DecimalType::I128 => Numbers::I128(array.buffer()),
        DecimalType::I256 => return None,
    })
}

/// The groups of so many rows by some columns, given with their declared types. `None` if the values of one are not few.
pub(super) fn keyed(
    columns: Vec<(ArrayRef, DataType)>,
    rows: usize,
    ctx: &mut ExecutionCtx,
) -> VortexResult<Option<Keyed>> {
    let mut keyed = Keyed { groups: Groups { codes: None, count: 1 }, values: Vec::with_capacity(columns.len()) };
    for (column, data_type) in columns {
        let found = match &data_type {
            DataType::Utf8View => texts(column, ctx)?,
            _ => integers(column, ctx)?,
        };
        let Some((codes, values)) = found else { return Ok(None) };
        let count = keyed.groups.count * values.len();
        if count > MOST_GROUPS || codes.len() != rows {
            return Ok(None);
        }
        keyed.groups.codes = Some(match keyed.groups.codes.take() {
            None => codes,
            Some(before) => {
                let width = values.len() as u16;
                before.iter().zip(&codes).map(|(before, code)| before * width + code).collect()
            }
        });
        keyed.groups.count = count;
        keyed.values.push(values);
    }
    Ok(Some(keyed))
}

/// The positions of rows' values in a list.
type Coded = Option<(Vec<u16>, Vec<Key>)>;

/// Of a column that is one text, or is stored with a dictionary.
fn texts(column: ArrayRef, ctx: &mut ExecutionCtx) -> VortexResult<Coded> {
    if column.as_constant().is_some() && !column.is_empty() {
        let value = distinct(column.slice(0..1)?, ctx)?;
        return Ok(Some((vec![0; column.len()], value)));
    }
    let Ok(dictionary) = column.execute_until::<Dict>(ctx)?.try_downcast::<Dict>() else { return Ok(None) };
    if dictionary.values().len() >= MOST_GROUPS {
        return Ok(None);
    }
    let mut values = distinct(dictionary.values().clone(), ctx)?;
    let codes = dictionary.codes().clone().execute::<PrimitiveArray>(ctx)?;
    let valid = codes.as_ref().validity()?.execute_mask(codes.len(), ctx)?;
    let mut codes: Vec<u16> = match codes.ptype() {
        PType::U8 => codes.as_slice::<u8>().iter().map(|code| u16::from(*code)).collect(),
        PType::U16 => codes.as_slice::<u16>().to_vec(),
        PType::U32 => codes.as_slice::<u32>().iter().map(|code| *code as u16).collect(),
        _ => return Ok(None),
    };
    null(&mut codes, &mut values, &valid);
    Ok(Some((codes, values)))
}

/// Texts, as keys.
fn distinct(texts: ArrayRef, ctx: &mut ExecutionCtx) -> VortexResult<Vec<Key>> {
    let target = Field::new("", DataType::Utf8View, true);
    let session = ctx.session().clone();
    let texts = session.arrow().execute_arrow(texts, Some(&target), ctx)?;
    let key = |text: Option<&str>| text.map_or(Key::Null, |text| Key::Text(text.into()));
    Ok(texts.as_string_view().iter().map(key).collect())
}

/// Of a column whose values are close to each other.
fn integers(column: ArrayRef, ctx: &mut ExecutionCtx) -> VortexResult<Coded> {
    let array = column.execute::<PrimitiveArray>(ctx)?;
    let valid = array.as_ref().validity()?.execute_mask(array.len(), ctx)?;
    let coded = match array.ptype() {
        PType::I8 => near(array.as_slice::<i8>()),
        PType::I16 => near(array.as_slice::<i16>()),
        PType::I32 => near(array.as_slice::<i32>()),
        PType::I64 => near(array.as_slice::<i64>()),
        _ => None,
    };
    Ok(coded.map(|(mut codes, mut values)| {
        null(&mut codes, &mut values, &valid);
        (codes, values)
    }))
}

fn near<T: Copy + Ord + Into<i64>>(numbers: &[T]) -> Coded {
    let least: i64 = (*numbers.iter().min()?).into();
    let greatest: i64 = (*numbers.iter().max()?).into();
    let width = greatest.checked_sub(least).filter(|width| *width < MOST_GROUPS as i64)?;
    let codes = numbers.iter().map(|number| ((*number).into() - least) as u16).collect();
    Some((codes, (0..=width).map(|above| Key::Int(least + above)).collect()))
}

/// Gives the rows that are NULL a value of their own.
fn null(codes: &mut [u16], values: &mut Vec<Key>, valid: &Mask) {
    if valid.all_true() {
        return;
    }
    let code = values.len() as u16;
    values.push(Key::Null);
    for (row, of_row) in codes.iter_mut().enumerate() {
        if !valid.value(row) {
            *of_row = code;
        }
    }
}
