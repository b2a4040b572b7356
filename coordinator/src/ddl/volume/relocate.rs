//! `ALTER TABLE name SET ("storage_volume" = "v")`: the table's rows are copied into a hidden table that is there, whose
//! partitions then become the table's, in one step. Readers see the table as it was until then. A load that is committed
//! meanwhile is not in the copy: then the rows are copied again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tarn_catalog::{LOCATION, Locations, NO_VOLUME, Operation, Partitioning, STORAGE_VOLUME, Table};
use tarn_ingest::CatalogClient;
use tarn_ingest::catalog::ProposeError;
use tarn_proto::TableId;
use tarn_sql::{ObjectName, Property, Statement, quote_ident};
use tracing::{info, warn};

use super::super::from_query::hidden_name;
use super::super::replicas::StorageNodes;
use super::super::table::{partition_specs, propose, spec_like};
use crate::insert;
use crate::session::{Error, SessionContext};

/// Copies that are made before the statement gives up because of loads that come in between.
const ATTEMPTS: usize = 5;
/// How long the copy's load is waited for, once it is committed.
const VISIBLE_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Moves a table to a volume, or to the nodes' disks.
pub async fn relocate(context: &SessionContext, name: &ObjectName, property: &Property) -> Result<(), Error> {
    let table = context.table(name)?;
    let wanted = Some(property.value.trim()).filter(|v| !v.is_empty() && !v.eq_ignore_ascii_case(NO_VOLUME));
    let volume = match wanted {
        Some(wanted) => {
            let volume = context.catalog.volume_by_name(wanted);
            Some(volume.map_err(|source| Error::Catalog { source, at: property.at })?.id)
        }
        None => None,
    };
    if table.volume == volume {
        return Ok(());
    }
    if table.colocation.is_some() && volume.is_some() {
        let message = format!(
            "table `{}` is colocated, and tables on a storage volume cannot be: ALTER TABLE .. SET (\"colocate_with\" = \
             \"\") first",
            table.name
        );
        return Err(Error::at(property.at, message));
    }
    if !table.temporary.is_empty() {
        let partitions = table.temporary.values().map(|partition| partition.name.clone()).collect();
        let source = tarn_catalog::Error::TemporaryNotMoved { table: table.name.clone(), partitions };
        return Err(Error::Catalog { source, at: property.at });
    }
    if table.locations() != Locations::Every && volume.is_some() {
        let message = format!(
            "table `{}` is for some locations only, and a storage volume has none: ALTER TABLE .. SET (\"{LOCATION}\" = \"*\") \
             first",
            table.name
        );
        return Err(Error::at(property.at, message));
    }
    let mut attempts = 0;
    loop {
        attempts += 1;
        match copy(context, name, wanted).await {
            // Loaded meanwhile.
            Err(Error::Propose(refused)) if refused.kind.is_retryable() && attempts < ATTEMPTS => {
                info!(table = name.name(), reason = refused.message, "a table is copied to another volume again");
            }
            done => return done,
        }
    }
}

async fn copy(context: &SessionContext, name: &ObjectName, volume: Option<&str>) -> Result<(), Error> {
    let context = context.refreshed();
    let table = context.table(name)?;
    let mut spec = spec_like(&table, &hidden_name(&table.name, &uuid::Uuid::new_v4().to_string()));
    if table.partitioning != Partitioning::None {
        spec.partitions = partition_specs(&table);
    }
    spec.properties.insert(STORAGE_VOLUME.to_owned(), volume.unwrap_or(NO_VOLUME).to_owned());
    if volume.is_none() {
        spec.replication = StorageNodes::of(&context).await.default_replication();
    }
    let hidden = spec.name.clone();
    let made = propose(&context, table.database, spec, false, &[]).await?;
    let moved = fill(&context.refreshed(), &table, &hidden, made).await;
    if moved.is_err() {
        let (database, only) = (table.database, Some(made));
        let operation = Operation::DropTable { database, name: hidden, if_exists: true, only };
        if let Err(error) = context.propose(operation).await {
            warn!(table = table.name, %error, "the copy of a table that was not moved is dropped later");
        }
    }
    moved
}

/// Copies the rows of `table` as this context sees them, and lets the table have the copy's partitions.
async fn fill(context: &SessionContext, table: &Table, hidden: &str, made: TableId) -> Result<(), Error> {
    let gone = || Error::Unavailable(format!("table `{}` was dropped or renamed while it was moved", table.name));
    let database = context.catalog.database_by_id(table.database).map(|d| d.name.clone()).ok_or_else(gone)?;
    let seen = context.catalog.table_by_id(table.id).ok_or_else(gone)?;
    let versions: BTreeMap<_, _> = seen.partitions.values().map(|p| (p.id, p.committed_version)).collect();
    if seen.partitions.values().any(|p| p.rows > 0 || p.bytes > 0) {
        let database = quote_ident(&database);
        let columns: Vec<String> = seen.schema.columns.iter().map(|column| quote_ident(&column.name)).collect();
        let text = format!(
            "insert into {database}.{} select {} from {database}.{}",
            quote_ident(hidden),
            columns.join(", "),
            quote_ident(&seen.name)
        );
        let Statement::Insert(statement) = tarn_sql::parse_one(&text)? else {
            return Err(Error::Internal(format!("not an INSERT: {text}")));
        };
        let loaded = insert::load(context, &statement, None).await;
        loaded.map_err(|failed| ProposeError { kind: failed.error.kind, message: failed.error.message })?;
    }
    let deadline = Instant::now() + VISIBLE_WITHIN;
    loop {
        let catalog = context.shared.catalog.catalog();
        let copy = catalog.table_by_id(made).ok_or_else(gone)?;
        if copy.partitions.values().all(|p| p.visible_version == p.committed_version) {
            break;
        }
        if Instant::now() >= deadline {
            let message = format!("the copy of table `{}` does not become visible: see SHOW STORAGE NODES", table.name);
            return Err(Error::Unavailable(message));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    context.propose(Operation::TakePartitions { table: table.id, from: made, versions }).await?;
    Ok(())
}
