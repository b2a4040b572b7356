//! The `tarn` binary: parses arguments, starts roles, and turns failures into exit codes.
//!
//! ```text
//!  cli        arguments            config     file < TARN_* < flags
//!  roles      dev, coordinator, storage-node, compute-node
//!  telemetry  logs, traces, metrics             process   signals and shutdown
//!  sql        the SQL client and shell          admin     the operator's client
//! ```
//!
//! Exit codes: 0 done, 1 failed, 2 wrong arguments or configuration.

mod admin;
mod cli;
mod config;
mod process;
mod roles;
mod sql;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command, ConfigCommand};

/// Queries allocate and free much, on many threads, which glibc's allocator does slower, and it keeps more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code of wrong arguments or configuration, as clap's.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", tarn_proto::error::chain(error.as_ref()));
            match error.downcast_ref::<config::Error>() {
                Some(_) => ExitCode::from(USAGE),
                None => ExitCode::FAILURE,
            }
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Dev(args) => roles::dev(&args)?,
        Command::Coordinator(args) => roles::coordinator(&args)?,
        Command::StorageNode(args) => roles::storage_node(&args)?,
        Command::ComputeNode(args) => roles::compute_node(&args)?,
        Command::Sql(args) => return process::client_runtime()?.block_on(sql::run(args)),
        Command::Admin(args) => process::client_runtime()?.block_on(admin::run(args))?,
        Command::Config(args) => match args.command {
            ConfigCommand::Check { file, role } => {
                roles::check_config(&file, role)?;
                println!("{}: ok", file.display());
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}
