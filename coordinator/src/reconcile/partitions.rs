//! Partitions whose time has come or is over: made and dropped as their table's properties say.

use std::collections::BTreeSet;
use std::sync::Arc;

use tarn_catalog::command::PartitionSpec;
use tarn_catalog::{Bounds, Catalog, Operation, Partitioning, Relation, Table, Value};
use tarn_ingest::CatalogClient;
use tarn_planner::{Planner, QueryContext};
use tarn_proto::time::{DAY_MICROS, TimeUnit, civil_from_days, date_trunc, days_from_civil};
use tarn_proto::{ColumnId, DataType, PartitionId, TableId};
use tarn_sql::{Property, Statement, quote_ident};
use tracing::{info, warn};

use crate::ReplicatedCatalog;
use crate::ddl::lifetime::{Dynamic, Lifetime, RETENTION, lifetime, local};
use crate::session::Error;

/// What has to be done for one table. Doing it twice does nothing the second time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Partitions to make; they overlap none of the table's.
    pub add: Vec<PartitionSpec>,
    /// Partitions to drop.
    pub drop: Vec<PartitionId>,
    /// Buckets of those that are made; `None`: the table's.
    pub buckets: Option<u32>,
}

impl Step {
    fn is_empty(&self) -> bool {
        self.add.is_empty() && self.drop.is_empty()
    }
}

/// What a table's rule asks for at `now`, in microseconds since 1970 UTC. Pure.
pub fn step(table: &Table, now: i64) -> Step {
    match lifetime(&table.properties, &table.partitioning, &table.schema, &table.distribution) {
        Ok(Lifetime::Dynamic(rule)) => dynamic(table, &rule, local(now, &rule.zone).unwrap_or(now)),
        Ok(Lifetime::Latest { count, data_type }) => {
            Step { drop: beyond_latest(table, count, &value(now, &data_type)), ..Step::default() }
        }
        // What a condition leaves is for the planner to say: [`outside`]. The others were checked when they were set; what
        // is wrong all the same must not drop anything.
        Ok(Lifetime::Forever | Lifetime::Where(_)) | Err(_) => Step::default(),
    }
}

/// `now` is the wall clock of the rule's time zone.
fn dynamic(table: &Table, rule: &Dynamic, now: i64) -> Step {
    let at = |units: i64| value(start_of(rule, now, units), &rule.data_type);
    let mut drop = Vec::new();
    if let Some(start) = rule.start {
        let kept_from = at(start);
        let over = |bounds: &Bounds| match bounds {
            Bounds::Range { upper: Some(upper), .. } => upper.first().is_some_and(|upper| *upper <= kept_from),
            _ => false,
        };
        drop.extend(table.partitions.values().filter(|p| over(&p.bounds)).map(|p| p.id));
    }
    let mut add: Vec<PartitionSpec> = Vec::new();
    let mut names: BTreeSet<String> =
        table.partitions.values().chain(table.temporary.values()).map(|p| p.name.to_ascii_lowercase()).collect();
    for units in -rule.history..=rule.end {
        let bounds = Bounds::Range { lower: Some(vec![at(units)]), upper: Some(vec![at(units + 1)]) };
        if table.partitions.values().any(|p| p.bounds.overlaps(&bounds)) {
            continue;
        }
        let name = format!("{}{}", rule.prefix, name(rule, start_of(rule, now, units)));
        let mut free = (0u32..).map(|n| if n == 0 { name.clone() } else { format!("{name}_{n}") });
        if let Some(name) = free.find(|name| names.insert(name.to_ascii_lowercase())) {
            add.push(PartitionSpec { name, bounds });
        }
    }
    Step { add, drop, buckets: rule.buckets }
}

/// The start of the unit that `now` lies in, `units` later.
fn start_of(rule: &Dynamic, now: i64, units: i64) -> i64 {
    match rule.unit {
        TimeUnit::Week => {
            let shift = (rule.first_of_week - 1) * DAY_MICROS;
            TimeUnit::Week.add(date_trunc(TimeUnit::Week, now - shift) + shift, units)
        }
        TimeUnit::Month => {
            let shift = (rule.first_of_month - 1) * DAY_MICROS;
            // Every month has the day, so that shifting back by it leads into the month that it belongs to.
            TimeUnit::Month.add(date_trunc(TimeUnit::Month, now - shift), units) + shift
        }
        unit => unit.add(date_trunc(unit, now), units),
    }
}

/// StarRocks' name for the partition that begins at `start`, without its prefix.
fn name(rule: &Dynamic, start: i64) -> String {
    let (days, hour) = (start.div_euclid(DAY_MICROS), start.rem_euclid(DAY_MICROS) / 3_600_000_000);
    let (year, month, day) = civil_from_days(days);
    match rule.unit {
        TimeUnit::Year => format!("{year:04}"),
        TimeUnit::Month => format!("{year:04}{month:02}"),
        TimeUnit::Week => {
            // Weeks from their first day; the first is the one with January 1st in it. 1970-01-01 was a Thursday.
            let first = days_from_civil(year, 1, 1);
            let week = (days - first + (first + 4 - rule.first_of_week).rem_euclid(7)) / 7 + 1;
            format!("{year:04}_{week:02}")
        }
        TimeUnit::Hour => format!("{year:04}{month:02}{day:02}{hour:02}"),
        _ => format!("{year:04}{month:02}{day:02}"),
    }
}

/// The partitions that began before the latest `count` of those that have begun. One without a lower bound has no time
/// of its own (it takes NULL, and whatever is older): it stays.
fn beyond_latest(table: &Table, count: usize, now: &Value) -> Vec<PartitionId> {
    let begun = |bounds: &Bounds| match bounds {
        Bounds::Range { lower: Some(lower), .. } => lower.first().filter(|lower| *lower <= now).cloned(),
        _ => None,
    };
    let mut begun: Vec<(Value, PartitionId)> =
        table.partitions.values().filter_map(|p| Some((begun(&p.bounds)?, p.id))).collect();
    begun.sort();
    let over = begun.len().saturating_sub(count);
    begun.into_iter().take(over).map(|(_, id)| id).collect()
}

/// What is left to do where only some partitions are retained. Pure.
fn outside(table: &Table, retained: &BTreeSet<PartitionId>) -> Step {
    Step { drop: table.partitions.keys().filter(|id| !retained.contains(id)).copied().collect(), ..Step::default() }
}

fn value(micros: i64, data_type: &DataType) -> Value {
    match data_type {
        DataType::Date => Value::Date(micros.div_euclid(DAY_MICROS) as i32),
        _ => Value::DateTime(micros),
    }
}

/// Follows the rules of all tables; conditions only if `conditions`, as they have to be planned.
pub async fn follow_all(client: &ReplicatedCatalog, planner: &Arc<Planner>, conditions: bool) {
    let now = unix_micros();
    let catalog = client.catalog();
    let tables = catalog.relations.values().filter_map(|relation| match relation {
        Relation::Table(table) => Some(table),
        Relation::View(_) => None,
    });
    for table in tables {
        let due = match table.properties.get(RETENTION) {
            Some(_) if !conditions => continue,
            Some(condition) => retained(planner, &catalog, table, condition).await.map(|kept| outside(table, &kept)),
            None => Ok(step(table, now)),
        };
        let done = match due {
            Ok(step) if step.is_empty() => continue,
            Ok(step) => apply(client, table, step).await,
            Err(message) => Err(Error::Invalid(message)),
        };
        if let Err(error) = done {
            warn!(table = table.name, %error, "partitions are made and dropped later");
        }
    }
}

/// Follows the rule of one table, which has just been given.
pub async fn follow(client: &ReplicatedCatalog, planner: &Arc<Planner>, table: TableId) -> Result<(), Error> {
    let catalog = client.catalog();
    let Some(table) = catalog.table_by_id(table) else { return Ok(()) };
    let step = match table.properties.get(RETENTION) {
        Some(condition) => {
            let retained = retained(planner, &catalog, table, condition).await.map_err(Error::Invalid)?;
            outside(table, &retained)
        }
        None => step(table, unix_micros()),
    };
    if step.is_empty() { Ok(()) } else { apply(client, table, step).await }
}

/// Checks the condition of a table whose properties are to be as they are in `table`.
pub async fn check(
    planner: &Arc<Planner>,
    catalog: &Catalog,
    table: &Arc<Table>,
    declared: &[Property],
) -> Result<(), Error> {
    let Some(condition) = table.properties.get(RETENTION) else { return Ok(()) };
    let checked = retained(planner, catalog, table, condition).await;
    checked.map(|_| ()).map_err(|message| {
        let place = declared.iter().find(|property| property.name.trim().eq_ignore_ascii_case(RETENTION));
        Error::at(place.map(|property| property.at).unwrap_or_default(), message)
    })
}

/// The partitions that may hold a row for which the condition is true, or what is wrong with it. It is asked as a query
/// over the table, of which only the plan is made.
async fn retained(
    planner: &Arc<Planner>,
    catalog: &Catalog,
    table: &Arc<Table>,
    condition: &str,
) -> Result<BTreeSet<PartitionId>, String> {
    let wrong =
        |why: String| format!("`{RETENTION}` is no condition over the partition columns of `{}`: {why}", table.name);
    let database = catalog.database_by_id(table.database).map(|d| d.name.clone()).unwrap_or_default();
    let sql = format!("SELECT 1 FROM {}.{} WHERE ({condition})", quote_ident(&database), quote_ident(&table.name));
    let query = match tarn_sql::parse_one(&sql) {
        Ok(Statement::Query(query)) => query,
        Ok(_) => return Err(wrong("it is another statement".to_owned())),
        Err(error) => return Err(wrong(error.message)),
    };
    let context = QueryContext {
        catalog: catalog.clone(),
        database: Some(database),
        query_id: uuid::Uuid::new_v4().to_string(),
        memory_limit: None,
        time_zone: "UTC".to_owned(),
        distributed: false,
        scan_bytes_per_task: 0,
        bitmap_max_filter_ratio: tarn_scan::BITMAP_MAX_FILTER_RATIO,
        collect_metrics: false,
        only_file: None,
        without: Vec::new(),
        silent: BTreeSet::new(),
    };
    let planned = async { planner.plan(&query, context, None).await?.reach(table) };
    let reach = planned.await.map_err(|error| wrong(tarn_proto::error::chain(&error)))?;
    let reach = reach.ok_or_else(|| wrong("it is true for no row, or reads another table".to_owned()))?;
    let columns = partition_columns(table);
    match reach.columns.iter().find(|name| !columns.contains(name)) {
        Some(other) => Err(wrong(format!("column `{other}` is no partition column"))),
        None => Ok(reach.partitions),
    }
}

/// The names of the columns that choose a row's partition.
fn partition_columns(table: &Table) -> Vec<&String> {
    let ids: Vec<ColumnId> = match &table.partitioning {
        Partitioning::None => Vec::new(),
        Partitioning::Range(columns) | Partitioning::List(columns) => columns.clone(),
        Partitioning::Expression(expressions) => expressions.iter().map(|e| e.column()).collect(),
    };
    ids.iter().filter_map(|id| table.schema.index_of(*id)).map(|index| &table.schema.columns[index].name).collect()
}

async fn apply(client: &ReplicatedCatalog, table: &Table, step: Step) -> Result<(), Error> {
    info!(table = table.name, made = step.add.len(), dropped = step.drop.len(), "partitions follow the time");
    let Step { add, drop, buckets } = step;
    // Drops by themselves: they need no storage node, and no room for what is made.
    for (add, drop) in [(Vec::new(), drop), (add, Vec::new())] {
        if add.is_empty() && drop.is_empty() {
            continue;
        }
        let (table, properties, placement) = (table.id, table.properties.clone(), client.placement());
        client.propose(Operation::MaintainPartitions { table, add, drop, buckets, placement, properties }).await?;
    }
    Ok(())
}

fn unix_micros() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
