//! A candidate for integers that are near their neighbours: keys in order, times of events.
//!
//! Frame of reference and bit packing write every value with the bits of the span of a whole piece, some hundred thousand
//! rows. Pco writes differences to the value before, in a tenth of the bits if values are in order, but its values are
//! decoded one after the other, so that it is chosen only where bytes pay for the time (see docs/adr/0025).

use vortex::array::arrays::PrimitiveArray;
use vortex::array::{ArrayId, ArrayRef, Canonical, ExecutionCtx, IntoArray, VTable};
use vortex::encodings::pco::Pco;
use vortex::error::{VortexResult, vortex_err};
use vortex_compressor::CascadingCompressor;
use vortex_compressor::scheme::{
    CompressionEstimate, CompressorContext, DeferredEstimate, EstimateScore, EstimateVerdict, Scheme, SchemeExt,
};
use vortex_compressor::stats::ArrayAndStats;

/// The candidate.
pub(super) static PRICED_PCO: PricedPco = PricedPco;

/// Values that are decoded together, a zone: whoever needs one of them decodes all.
const PAGE_VALUES: usize = 8192;
/// Values that tell what all will take, in one piece, because differences are to neighbours.
const SAMPLE_VALUES: usize = 4096;
/// Bits of a value more than the sample promised, at which other encodings are tried too.
const SURPRISE: f64 = 2.0;
/// How differences can be written.
const LEVELS: [Level; 2] = [Level { pco: 0, price: 7.0 }, Level { pco: 8, price: 11.0 }];

/// The scheme of decimals, whose numbers are columns too.
const DECIMAL: &str = "vortex.decimal.byte_parts";

/// A way to write differences.
#[derive(Clone, Copy)]
struct Level {
    /// Pco's number for it. At 0 all take the same bits, at 8 frequent ones fewer.
    pco: usize,
    /// What decoding costs, in bits a value: 3 for each nanosecond by which it is slower than bit packing, measured as 2.2
    /// and 3.5, so that a core is as fast as a disk of 350 MB/s.
    price: f64,
}

/// Pco where it saves more bits than its price.
#[derive(Debug)]
pub(super) struct PricedPco;

impl Scheme for PricedPco {
    fn scheme_name(&self) -> &'static str {
        "tarn.int.pco"
    }

    fn matches(&self, canonical: &Canonical) -> bool {
        // Pco has no numbers of 8 bits.
        matches!(canonical, Canonical::Primitive(numbers) if numbers.ptype().is_int() && numbers.ptype().byte_width() > 1)
    }

    fn produced_encodings(&self) -> Vec<ArrayId> {
        vec![Pco.id()]
    }

    /// The values in another encoding.
    fn num_children(&self) -> usize {
        1
    }

    fn expected_compression_ratio(
        &self,
        data: &ArrayAndStats,
        context: CompressorContext,
        _: &mut ExecutionCtx,
    ) -> CompressionEstimate {
        if context.is_sample() || data.array_len() < 2 * SAMPLE_VALUES || !is_column(&context) {
            return CompressionEstimate::Verdict(EstimateVerdict::Skip);
        }
        CompressionEstimate::Deferred(DeferredEstimate::Callback(Box::new(|_, data, best, _, execution| {
            let width = width(data.array());
            let best = best.and_then(EstimateScore::finite_ratio);
            if best.is_some_and(|best| width / LEVELS[0].price <= best) {
                return Ok(EstimateVerdict::Skip);
            }
            let (level, bits) = sampled(data.array(), execution)?;
            Ok(EstimateVerdict::Ratio(width / (bits + level.price)))
        })))
    }

    fn compress(
        &self,
        compressor: &CascadingCompressor,
        data: &ArrayAndStats,
        context: CompressorContext,
        execution: &mut ExecutionCtx,
    ) -> VortexResult<ArrayRef> {
        let (level, expected) = sampled(data.array(), execution)?;
        let mut best = encoded(data.array(), level, execution)?;
        if bits(&best) <= expected + SURPRISE {
            return Ok(best);
        }
        // The sample did not tell what the others are like.
        let mut cost = bits(&best) + level.price;
        let other = compressor.compress_child(data.array(), &context, self.id(), 0, execution)?;
        let mut others = vec![(bits(&other), other)];
        for other in LEVELS.into_iter().filter(|other| other.pco != level.pco) {
            let array = encoded(data.array(), other, execution)?;
            others.push((bits(&array) + other.price, array));
        }
        for (other, array) in others {
            if other < cost {
                (cost, best) = (other, array);
            }
        }
        Ok(best)
    }
}

/// Whether these are the values of a column. What other encodings hold is searched by halves, as the ends of runs, or read
/// again for each slice, as the places where texts begin.
fn is_column(context: &CompressorContext) -> bool {
    match context.cascade_history() {
        [] => true,
        [(scheme, _)] => scheme.to_string() == DECIMAL,
        _ => false,
    }
}

/// The level that costs least for these values, and the bits of a value at it, by a sample.
fn sampled(values: &ArrayRef, execution: &mut ExecutionCtx) -> VortexResult<(Level, f64)> {
    let start = (values.len() - SAMPLE_VALUES.min(values.len())) / 2;
    let sample = values.slice(start..start + SAMPLE_VALUES.min(values.len()))?;
    let mut best: Option<(Level, f64)> = None;
    for level in LEVELS {
        let bits = bits(&encoded(&sample, level, execution)?);
        if best.is_none_or(|(other, least)| bits + level.price < least + other.price) {
            best = Some((level, bits));
        }
    }
    best.ok_or_else(|| vortex_err!("there is no level"))
}

fn encoded(values: &ArrayRef, level: Level, execution: &mut ExecutionCtx) -> VortexResult<ArrayRef> {
    let values = values.clone().execute::<PrimitiveArray>(execution)?;
    Ok(Pco::from_primitive(values.as_view(), level.pco, PAGE_VALUES, execution)?.into_array())
}

/// Bits of a value as numbers are in memory.
fn width(values: &ArrayRef) -> f64 {
    values.dtype().as_ptype().bit_width() as f64
}

/// Bits of a value as it is encoded.
fn bits(array: &ArrayRef) -> f64 {
    array.nbytes() as f64 * 8.0 / array.len() as f64
}
