//! The command line: every command, its arguments and their defaults.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::sql::output::Format;

/// A real-time lakehouse database.
#[derive(Debug, Parser)]
#[command(name = "tarn", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs every role in one process.
    Dev(DevArgs),
    /// Runs a coordinator: clients, catalog, planning.
    Coordinator(CoordinatorArgs),
    /// Runs a storage node: tablets.
    StorageNode(StorageNodeArgs),
    /// Runs a compute node: query fragments.
    ComputeNode(ComputeNodeArgs),
    /// Runs SQL statements, or a shell.
    Sql(SqlArgs),
    /// Operates a cluster.
    Admin(AdminArgs),
    /// Checks configuration files.
    Config(ConfigArgs),
}

/// Arguments that every server takes.
#[derive(Debug, Default, Args, Serialize)]
pub struct ServerArgs {
    /// Configuration file (TOML). Environment variables TARN_* override it, and flags override those.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Where /metrics, /healthz and /readyz are served; `off` for nowhere.
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// What to log, e.g. `info` or `warn,tarn_raft=debug`.
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// How to log.
    #[arg(long, value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
    /// Any other setting; may be repeated. Nested settings as `a.b=value`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    #[serde(skip)]
    pub set: Vec<(String, String)>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Arguments of `tarn dev`.
#[derive(Debug, Default, Args, Serialize)]
pub struct DevArgs {
    /// Where data is kept.
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Where Flight SQL is served.
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flight: Option<String>,
    /// Shared by all servers.
    #[command(flatten)]
    #[serde(flatten)]
    pub server: ServerArgs,
}

/// Arguments of `tarn coordinator`.
#[derive(Debug, Default, Args, Serialize)]
pub struct CoordinatorArgs {
    /// Where the log and the catalog are kept.
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Where other nodes reach this one (gRPC).
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Where Flight SQL is served.
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flight: Option<String>,
    /// Shared by all servers.
    #[command(flatten)]
    #[serde(flatten)]
    pub server: ServerArgs,
}

/// Arguments of `tarn storage-node`.
#[derive(Debug, Default, Args, Serialize)]
pub struct StorageNodeArgs {
    /// Where tablets are kept.
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Where other nodes reach this one (gRPC).
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// The coordinators to register with.
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coordinators: Option<Vec<String>>,
    /// Shared by all servers.
    #[command(flatten)]
    #[serde(flatten)]
    pub server: ServerArgs,
}

/// Arguments of `tarn compute-node`.
#[derive(Debug, Default, Args, Serialize)]
pub struct ComputeNodeArgs {
    /// Where the block cache and spilled rows are kept.
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Where other nodes reach this one (gRPC).
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// The coordinators to register with.
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coordinators: Option<Vec<String>>,
    /// Shared by all servers.
    #[command(flatten)]
    #[serde(flatten)]
    pub server: ServerArgs,
}

/// Arguments of `tarn sql`.
#[derive(Debug, Args)]
pub struct SqlArgs {
    /// A coordinator: grpc://host:port, or grpc+tls://host:port.
    #[arg(long, env = "TARN_URL", default_value = "grpc://127.0.0.1:9408")]
    pub url: String,
    /// The user.
    #[arg(short, long, env = "TARN_USER", default_value = "root")]
    pub user: String,
    /// The password.
    #[arg(short, long, env = "TARN_PASSWORD", default_value = "", hide_env_values = true)]
    pub password: String,
    /// The database to start in.
    #[arg(short, long, value_name = "NAME")]
    pub database: Option<String>,
    /// Runs these statements instead of a shell; may be repeated.
    #[arg(short = 'e', long = "execute", value_name = "SQL")]
    pub execute: Vec<String>,
    /// Runs the statements of this file instead of a shell; `-` is the standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with = "execute")]
    pub file: Option<PathBuf>,
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Certificates (PEM) that a grpc+tls server is trusted by.
    #[arg(long, value_name = "FILE", env = "TARN_TLS_CA")]
    pub tls_ca: Option<PathBuf>,
}

/// Arguments of `tarn admin`.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// gRPC address of any coordinator.
    #[arg(long, value_name = "HOST:PORT", env = "TARN_COORDINATOR", default_value = "127.0.0.1:9010")]
    pub coordinator: String,
    /// What to do.
    #[command(subcommand)]
    pub command: AdminCommand,
}

/// What `tarn admin` does.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Shows coordinators and nodes.
    Status {
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Adds a coordinator that is running and waits until it has caught up.
    AddCoordinator {
        /// Its id.
        node_id: u64,
        /// Its gRPC address.
        address: String,
        /// As an observer: it follows and answers, but has no vote.
        #[arg(long)]
        observer: bool,
    },
    /// Takes a coordinator out of the cluster.
    RemoveCoordinator {
        /// Its id.
        node_id: u64,
    },
    /// Hands leadership to another voter.
    TransferLeadership {
        /// The next leader; any other voter when left out.
        #[arg(long, value_name = "NODE_ID", default_value_t = 0)]
        to: u64,
    },
    /// Stops giving new work to a node.
    Drain {
        /// Its id.
        node_id: u64,
    },
    /// Gives new work to a drained node again.
    Undrain {
        /// Its id.
        node_id: u64,
    },
    /// Forgets a node that is dead and holds no tablets.
    RemoveNode {
        /// Its id.
        node_id: u64,
    },
    /// Takes a snapshot of the catalog on the coordinator that is asked and purges its log.
    Snapshot,
    /// Looks into files of tablets, on this machine.
    Segment {
        /// What to do.
        #[command(subcommand)]
        command: SegmentCommand,
    },
}

/// What `tarn admin segment` does.
#[derive(Debug, Subcommand)]
pub enum SegmentCommand {
    /// Shows how a segment is laid out: columns with their encodings and bytes, zone maps, indexes, keys, deleted rows.
    Inspect {
        /// A segment file (*.vortex), or the directory of a tablet: DATA/tablets/ID.
        path: PathBuf,
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `tarn config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What `tarn config` does.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Checks a configuration file, and the TARN_* variables that would override it.
    Check {
        /// The file.
        file: PathBuf,
        /// The role it is for.
        #[arg(long, value_enum)]
        role: Role,
    },
}

/// A server role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Every role in one process.
    Dev,
    /// Clients, catalog, planning.
    Coordinator,
    /// Tablets.
    StorageNode,
    /// Query fragments.
    ComputeNode,
}

impl Role {
    /// Its name on the command line and in telemetry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Coordinator => "coordinator",
            Self::StorageNode => "storage-node",
            Self::ComputeNode => "compute-node",
        }
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(format!("`{text}` is not of the form key=value")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_setting_needs_an_equals_sign() {
        assert_eq!(key_value("a.b = 1"), Ok(("a.b".into(), "1".into())));
        assert!(key_value("a").is_err());
        assert!(key_value("=a").is_err());
    }
}
