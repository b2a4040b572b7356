//! SQL functions that StarRocks users expect and DataFusion lacks, or has for fewer years.
//!
//! ```text
//!  time        pure calendar arithmetic, shared with partitioning by expression
//!  date_trunc  date_trunc(unit, dt)
//!  time_slice  time_slice(dt, INTERVAL n unit [, 'floor' | 'ceil'])
//!  date        date_add, date_sub, datediff, year, month, day, hour, ...
//!  date_format date_format(dt, format)
//!  str_to_date str_to_date(text, format)
//!  kept        casts and lists that the optimizer must leave as they are
//!  single_value the value of a subquery of one row
//!  substring   substr, left, right
//!  text        concat
//!  time_casts  what the planner makes of casts between text and times
//!  version     version(), current_version()
//! ```

mod arguments;
mod date;
mod date_format;
mod date_trunc;
mod kept;
mod single_value;
mod str_to_date;
mod substring;
mod text;
pub mod time;
mod time_casts;
mod time_slice;
mod version;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::ScalarUDF;

pub use kept::{AS_CAST, as_cast, is_in};
pub use single_value::single_value;
pub use substring::substr;
pub use tarn_proto::time::text::{datetime_of_digits, parse_datetime};
pub use time_casts::{datetime_to_text, text_to_date, text_to_datetime};

/// All functions of this crate.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    let mut functions = date::functions();
    functions.push(ScalarUDF::from(date_trunc::DateTrunc::default()));
    functions.push(ScalarUDF::from(time_slice::TimeSlice::default()));
    functions.push(ScalarUDF::from(str_to_date::StrToDate::default()));
    functions.push(ScalarUDF::from(date_format::DateFormat::default()));
    functions.extend(kept::functions());
    functions.extend(time_casts::functions());
    functions.extend(substring::functions());
    functions.extend(text::functions());
    functions.extend(version::functions());
    functions.into_iter().map(Arc::new).collect()
}

/// Adds the functions to a session. They replace functions of DataFusion that have the same name.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in all() {
        registry.register_udf(function)?;
    }
    registry.register_udaf(single_value())?;
    Ok(())
}
