//! SQL functions that StarRocks users expect and DataFusion lacks, or has for fewer years.
//!
//! ```text
//!  time        pure calendar arithmetic, shared with partitioning by expression
//!  date_trunc  date_trunc(unit, dt)
//!  time_slice  time_slice(dt, INTERVAL n unit [, 'floor' | 'ceil'])
//!  date        date_add, date_sub, datediff, year, month, day, hour, ...
//!  str_to_date str_to_date(text, format)
//!  text        concat
//!  version     version(), current_version()
//! ```

mod arguments;
mod date;
mod date_trunc;
mod str_to_date;
mod text;
pub mod time;
mod time_slice;
mod version;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::ScalarUDF;

/// All functions of this crate.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    let mut functions = date::functions();
    functions.push(ScalarUDF::from(date_trunc::DateTrunc::default()));
    functions.push(ScalarUDF::from(time_slice::TimeSlice::default()));
    functions.push(ScalarUDF::from(str_to_date::StrToDate::default()));
    functions.extend(text::functions());
    functions.extend(version::functions());
    functions.into_iter().map(Arc::new).collect()
}

/// Adds the functions to a session. They replace functions of DataFusion that have the same name.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in all() {
        registry.register_udf(function)?;
    }
    Ok(())
}
