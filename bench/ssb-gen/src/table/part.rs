//! The part table.

use std::ops::Range;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::{Columns, Generator, batch_of, ints, schema_of, strings};
use crate::rng::SplitMix;
use crate::words::{COLORS, CONTAINERS, TYPES};

/// Generates `part`.
pub struct Part {
    seed: u64,
}

struct Drawn {
    name: String,
    color: &'static str,
    /// Manufacturer, category in it, brand in that.
    brand: (i32, i32, i32),
    kind: String,
    size: i32,
    container: String,
}

/// The retail price of a part in cents: TPC-H's formula.
pub fn price(part: i32) -> i32 {
    90_000 + (part / 10) % 20_001 + 100 * (part % 1_000)
}

fn pick(random: &mut SplitMix, words: &[&'static str]) -> &'static str {
    words[random.below(words.len() as u64) as usize]
}

impl Part {
    /// The table of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    fn draw(&self, row: u64) -> Drawn {
        let random = &mut SplitMix::at(self.seed, 0, row);
        let (color, other) = (pick(random, &COLORS), pick(random, &COLORS));
        Drawn {
            name: format!("{color} {other}"),
            color,
            brand: (random.between(1, 5), random.between(1, 5), random.between(1, 40)),
            kind: format!("{} {} {}", pick(random, &TYPES.0), pick(random, &TYPES.1), pick(random, &TYPES.2)),
            size: random.between(1, 50),
            container: format!("{} {}", pick(random, &CONTAINERS.0), pick(random, &CONTAINERS.1)),
        }
    }

    fn columns(&self, rows: Range<u64>) -> Columns {
        let keys = rows.clone().map(|row| row as i32 + 1).collect();
        let drawn = rows.map(|row| self.draw(row)).collect::<Vec<_>>();
        let text = |of: fn(&Drawn) -> String| strings(drawn.iter().map(of));
        vec![
            ("p_partkey", ints(keys)),
            ("p_name", text(|part| part.name.clone())),
            ("p_mfgr", text(|part| format!("MFGR#{}", part.brand.0))),
            ("p_category", text(|part| format!("MFGR#{}{}", part.brand.0, part.brand.1))),
            ("p_brand1", text(|part| format!("MFGR#{}{}{}", part.brand.0, part.brand.1, part.brand.2))),
            ("p_color", text(|part| part.color.to_owned())),
            ("p_type", text(|part| part.kind.clone())),
            ("p_size", ints(drawn.iter().map(|part| part.size).collect())),
            ("p_container", text(|part| part.container.clone())),
        ]
    }
}

impl Generator for Part {
    fn schema(&self) -> SchemaRef {
        schema_of(&self.columns(0..0))
    }

    fn batch(&self, rows: Range<u64>) -> Result<RecordBatch> {
        batch_of(self.columns(rows))
    }
}
