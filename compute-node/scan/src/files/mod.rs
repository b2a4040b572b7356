//! The `FILES(..)` table function: Parquet, CSV and JSON files on local disk and in S3, as one table.
//!
//! ```text
//!  properties ──► FilesOptions ──► resolve: list, sample, unite by name ──► FilesTable ──► TableProvider
//!                                                                                             │ scan
//!                       FilesSource (DataSource) ◄────────────────────────────────────────────┘
//!                         ├─ parquet: DataFusion's reader, errors named after the file
//!                         └─ text/:   CSV and JSON readers that name file, row, column and value
//!
//!  options    properties, checked       location, glob   paths and patterns      store    credentials, retries
//!  list       patterns to files         infer, union     schema of the table     wire     scans on the wire
//! ```
//!
//! Each call has a store of its own, which travels inside its plan and is in no registry: two calls with different
//! credentials for one bucket never meet. Credentials appear in no plan text and in no error.

mod error;
mod glob;
mod infer;
mod list;
mod location;
mod options;
mod provider;
mod source;
mod store;
mod table;
mod text;
mod union;
mod wire;

pub use error::FilesError;
pub use options::{FilesOptions, Format};
pub use table::{FilesTable, resolve};
pub use wire::{decode, encode};

#[cfg(test)]
mod tests;
