//! The `FILES(..)` table function: Parquet, CSV and JSON files on local disk and in S3, as one table.
//!
//! ```text
//!  properties ──► FilesOptions ──► resolve: list, sample, unite by name ──► FilesTable ──► TableProvider
//!                                                                                             │ scan
//!                       DataFusion's FileScanConfig ◄─────────────────────────────────────────┘
//!                         ├─ parquet   DataFusion's reader over our store; failed reads name the file
//!                         └─ text/     CSV and JSON readers that name file, row, column and value
//!
//!  options    properties, checked       location, glob   paths and patterns      store    credentials, retries
//!  list       patterns to files         infer, union     schema of the table
//! ```
//!
//! Each call has a store of its own, which is inside its plan and in no registry: two calls with different credentials
//! for one bucket never meet. Credentials appear in no plan text and in no error. A scan runs where it was planned; it
//! does not travel.

mod error;
mod glob;
mod infer;
mod list;
mod location;
mod options;
mod parquet;
mod provider;
mod store;
mod table;
mod text;
mod union;

pub use error::FilesError;
pub use options::{FilesOptions, Format};
pub use table::{FilesTable, resolve};
