//! The customer table.

use std::ops::Range;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::place::{Place, address};
use super::{Columns, Generator, batch_of, ints, schema_of, strings};
use crate::rng::SplitMix;
use crate::words::SEGMENTS;

/// Generates `customer`.
pub struct Customer {
    seed: u64,
}

impl Customer {
    /// The table of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    fn columns(&self, rows: Range<u64>) -> Columns {
        let keys = rows.clone().map(|row| row as i32 + 1).collect::<Vec<_>>();
        let drawn = rows.map(|row| {
            let mut random = SplitMix::at(self.seed, 0, row);
            let place = Place::draw(&mut random);
            let segment = SEGMENTS[random.below(SEGMENTS.len() as u64) as usize];
            let phone = place.phone(&mut random);
            (place, segment, phone, address(&mut random))
        });
        let drawn = drawn.collect::<Vec<_>>();
        vec![
            ("c_custkey", ints(keys.clone())),
            ("c_name", strings(keys.iter().map(|key| format!("Customer#{key:09}")))),
            ("c_address", strings(drawn.iter().map(|(_, _, _, address)| address.clone()))),
            ("c_city", strings(drawn.iter().map(|(place, ..)| place.city()))),
            ("c_nation", strings(drawn.iter().map(|(place, ..)| place.nation().to_owned()))),
            ("c_region", strings(drawn.iter().map(|(place, ..)| place.region().to_owned()))),
            ("c_phone", strings(drawn.iter().map(|(_, _, phone, _)| phone.clone()))),
            ("c_mktsegment", strings(drawn.iter().map(|(_, segment, ..)| (*segment).to_owned()))),
        ]
    }
}

impl Generator for Customer {
    fn schema(&self) -> SchemaRef {
        schema_of(&self.columns(0..0))
    }

    fn batch(&self, rows: Range<u64>) -> Result<RecordBatch> {
        batch_of(self.columns(rows))
    }
}
