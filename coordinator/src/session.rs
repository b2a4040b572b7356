//! Sessions: what a client has set, and what its statements see.
//!
//! ```text
//!  state      ClientSession: current database, variables, the connection
//!  dispatch   each kind of statement to what does it: ddl, show, query, insert, modify
//!  context    SessionContext: everything one statement sees, pinned when it begins
//!  variables  known variables with their defaults and types
//!  set        USE and SET
//!  kill       KILL, on whichever coordinator
//!  supervise  ends rows at the deadline or when killed
//!  error      why a statement fails before it is planned
//! ```

mod context;
mod dispatch;
mod error;
mod kill;
mod set;
mod state;
mod supervise;
mod variables;

pub use context::{INFORMATION_SCHEMA, SessionContext, Shared, check_catalog};
pub use error::Error;
pub use kill::{kill, running_elsewhere};
pub use state::ClientSession;
pub use supervise::rows;
pub use variables::Variables;
