//! The supplier table.

use std::ops::Range;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::place::{Place, address};
use super::{Columns, Generator, batch_of, ints, schema_of, strings};
use crate::rng::SplitMix;

/// Generates `supplier`.
pub struct Supplier {
    seed: u64,
}

impl Supplier {
    /// The table of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    fn columns(&self, rows: Range<u64>) -> Columns {
        let keys = rows.clone().map(|row| row as i32 + 1).collect::<Vec<_>>();
        let drawn = rows.map(|row| {
            let mut random = SplitMix::at(self.seed, 0, row);
            let place = Place::draw(&mut random);
            let phone = place.phone(&mut random);
            (place, phone, address(&mut random))
        });
        let drawn = drawn.collect::<Vec<_>>();
        vec![
            ("s_suppkey", ints(keys.clone())),
            ("s_name", strings(keys.iter().map(|key| format!("Supplier#{key:09}")))),
            ("s_address", strings(drawn.iter().map(|(_, _, address)| address.clone()))),
            ("s_city", strings(drawn.iter().map(|(place, ..)| place.city()))),
            ("s_nation", strings(drawn.iter().map(|(place, ..)| place.nation().to_owned()))),
            ("s_region", strings(drawn.iter().map(|(place, ..)| place.region().to_owned()))),
            ("s_phone", strings(drawn.iter().map(|(_, phone, _)| phone.clone()))),
        ]
    }
}

impl Generator for Supplier {
    fn schema(&self) -> SchemaRef {
        schema_of(&self.columns(0..0))
    }

    fn batch(&self, rows: Range<u64>) -> Result<RecordBatch> {
        batch_of(self.columns(rows))
    }
}
