//! Applying commands: one file per group of operations, each with its checks and its changes.
//!
//! ```text
//!  cluster      InitializeCluster, RegisterNode, SetDraining, SetNodeLocation, RemoveNode, ForgetTablets
//!  database     CreateDatabase, DropDatabase, RenameDatabase
//!  table        CreateTable, DropTable, RenameTable, ReplaceTable, TruncateTable
//!  table_spec   what a table to be created must satisfy
//!  table_model  what its model asks of its schema, partitions and buckets
//!  increment    TakeIncrements
//!  partition    AddPartitions, DropPartitions, RenamePartition
//!  temporary    AddTemporaryPartitions, ReplacePartitions
//!  bounds       which partitions overlap
//!  tablets      registering tablets, and dropping them
//!  dealer       dealing tablets to storage nodes
//!  replica      AddReplicas, RemoveReplicas, ReplicasCaughtUp, ReplicasBehind, ForgetReplicas
//!  colocation   SetReplication, SetColocation, MoveBuckets
//!  view         CreateView, DropView
//!  transaction  BeginTransaction to MakeVisible, AbortTransaction, ExpireTransactions
//!  overwrite    PrepareOverwrite, and its part in the others
//!  lifetime     MaintainPartitions
//!  properties   SetTableProperties
//!  volume       CreateVolume, AlterVolume, DropVolume, SetDefaultVolume, MoveOwners, TakePartitions,
//!               ForgetPurged
//!  schema       AlterTable, SwapTables
//!  schema_job   StepSchemaJob, ReleaseSwapped
//! ```
//!
//! An operation works on a copy of the catalog, which is O(1), and the copy takes the catalog's place only if the
//! operation succeeds. So an operation may check and change in any order, and a refused one leaves nothing behind.

mod bounds;
mod cluster;
mod colocation;
mod database;
mod dealer;
mod increment;
mod lifetime;
mod overwrite;
mod partition;
mod properties;
mod replica;
mod schema;
mod schema_job;
mod table;
mod table_model;
mod table_spec;
mod tablets;
mod temporary;
mod transaction;
mod view;
mod volume;

use std::sync::Arc;

use tarn_proto::{DatabaseId, TableId};

pub use colocation::MAX_REPLICATION;

pub use properties::{RETENTION_CONDITION, set_property};
pub use schema::{Effect, index_refusal};
pub use volume::{NO_VOLUME, STORAGE_VOLUME};

use crate::command::{Command, Context, Operation, RequestId, Response};
use crate::{Catalog, Database, Error, Relation, Table};

/// How many responses are kept for commands that arrive again: minutes of commands under the heaviest load, and a
/// proposer gives up a retry long before. Part of the state machine's definition, equal on every coordinator.
pub const REMEMBERED_REQUESTS: usize = 4096;

/// An operation's answer, or why it is refused.
type Outcome = Result<Response, Error>;

impl Catalog {
    /// Applies a command. Equal catalogs, commands and contexts give equal catalogs and responses; it never panics. A
    /// command that was applied before is answered as then, and a refused one changes nothing.
    pub fn apply(&mut self, command: &Command, context: &Context) -> Response {
        if let Some(response) = self.requests.get(&command.request_id) {
            return response.clone();
        }
        let mut changed = self.clone();
        let response = match changed.operate(&command.operation, context.now_ms) {
            Ok(response) => {
                *self = changed;
                response
            }
            Err(error) => Response::Refused(error),
        };
        self.remember(command.request_id, response.clone());
        response
    }

    fn remember(&mut self, request: RequestId, response: Response) {
        self.requests.insert(request, response);
        self.request_order.push_back(request);
        while self.request_order.len() > REMEMBERED_REQUESTS {
            if let Some(oldest) = self.request_order.pop_front() {
                self.requests.remove(&oldest);
            }
        }
    }

    fn operate(&mut self, operation: &Operation, now_ms: u64) -> Outcome {
        match operation {
            Operation::InitializeCluster { cluster_id } => Ok(self.initialize_cluster(cluster_id)),
            Operation::RegisterNode { role, address, node_id } => self.register_node(*role, address, *node_id, now_ms),
            Operation::SetDraining { node, draining } => self.set_draining(*node, *draining),
            Operation::SetNodeLocation { node, location } => self.set_node_location(*node, location.as_deref()),
            Operation::RemoveNode { node } => self.remove_node(*node),
            Operation::ForgetTablets { tablets } => Ok(self.forget_tablets(tablets)),
            Operation::AddReplicas { replicas } => self.add_replicas(replicas),
            Operation::RemoveReplicas { replicas } => self.remove_replicas(replicas),
            Operation::ReplicasCaughtUp { replicas } => self.replicas_caught_up(replicas),
            Operation::ReplicasBehind { replicas } => self.replicas_behind(replicas),
            Operation::ForgetReplicas { replicas } => Ok(self.forget_replicas(replicas)),
            Operation::CreateVolume { volume, if_not_exists } => self.create_volume(volume, *if_not_exists),
            Operation::AlterVolume { name, change } => self.alter_volume(name, change),
            Operation::DropVolume { name, if_exists } => self.drop_volume(name, *if_exists),
            Operation::SetDefaultVolume { name } => self.set_default_volume(name.as_deref()),
            Operation::MoveOwners { moves } => self.move_owners(moves),
            Operation::TakePartitions { table, from, versions } => self.take_partitions(*table, *from, versions),
            Operation::ForgetPurged { tablets } => Ok(self.forget_purged(tablets)),
            Operation::SetReplication { table, replication } => self.set_replication(*table, *replication),
            Operation::SetColocation { table, group, placement } => {
                self.set_colocation(*table, group.as_deref(), placement)
            }
            Operation::MoveBuckets { group, buckets } => self.move_buckets(*group, buckets),
            Operation::CreateDatabase { name, if_not_exists } => self.create_database(name, *if_not_exists, now_ms),
            Operation::DropDatabase { name, if_exists } => self.drop_database(name, *if_exists),
            Operation::RenameDatabase { name, new_name } => self.rename_database(name, new_name),
            Operation::CreateTable { database, table, if_not_exists, placement } => {
                self.create_table(*database, table, *if_not_exists, placement, now_ms)
            }
            Operation::DropTable { database, name, if_exists, only } => {
                self.drop_table(*database, name, *if_exists, *only)
            }
            Operation::RenameTable { database, name, new_name } => self.rename_table(*database, name, new_name),
            Operation::ReplaceTable { old, new, name } => self.replace_table(*old, *new, name),
            Operation::TruncateTable { table, partitions, placement } => {
                self.truncate_table(*table, partitions, placement, now_ms)
            }
            Operation::AddPartitions { table, partitions, fail_if_exists, placement } => {
                self.add_partitions(*table, partitions, *fail_if_exists, placement, now_ms)
            }
            Operation::DropPartitions { table, names, temporary, if_exists } => {
                self.drop_partitions(*table, names, *temporary, *if_exists)
            }
            Operation::RenamePartition { table, name, new_name } => self.rename_partition(*table, name, new_name),
            Operation::AddTemporaryPartitions { table, partitions, placement } => {
                self.add_temporary_partitions(*table, partitions, placement, now_ms)
            }
            Operation::ReplacePartitions { table, partitions, temporary, strict_range, temporary_names } => {
                self.replace_partitions(*table, partitions, temporary, *strict_range, *temporary_names)
            }
            Operation::MaintainPartitions { table, add, drop, buckets, placement, properties } => {
                self.check_properties(*table, properties)?;
                self.maintain_partitions(*table, add, drop, *buckets, placement, now_ms)
            }
            Operation::SetTableProperties { table, properties, before } => {
                self.check_properties(*table, before)?;
                self.set_table_properties(*table, properties)
            }
            Operation::AlterTable { table, schema_version, alterations, timeout_ms } => {
                self.alter_table(*table, *schema_version, alterations, *timeout_ms, now_ms)
            }
            Operation::StepSchemaJob { table, job, step } => self.step_schema_job(*table, *job, step, now_ms),
            Operation::ReleaseSwapped { table } => self.release_swapped(*table),
            Operation::TakeIncrements { table, count } => self.take_increments(*table, *count),
            Operation::SwapTables { one, other } => self.swap_tables(*one, *other),
            Operation::CreateView { .. } => self.create_view(operation),
            Operation::DropView { database, name, if_exists } => self.drop_view(*database, name, *if_exists),
            Operation::BeginTransaction { database, label, table, owner, timeout_ms } => {
                self.begin_transaction(*database, label, *table, owner, *timeout_ms, now_ms)
            }
            Operation::PrepareOverwrite { txn, table, whole, partitions, placement } => {
                self.prepare_overwrite(*txn, *table, *whole, partitions, placement, now_ms)
            }
            Operation::CommitTransaction { txn, writes } => self.commit_transaction(*txn, writes, now_ms),
            Operation::MakeVisible { txn, changed } => self.make_visible(*txn, changed, now_ms),
            Operation::AbortTransaction { txn, reason } => self.abort_transaction(*txn, reason, now_ms),
            Operation::ExpireTransactions { label_retention_ms, generated_retention_ms } => {
                Ok(self.expire_transactions(*label_retention_ms, *generated_retention_ms, now_ms))
            }
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn existing_database(&self, id: DatabaseId) -> Result<&Arc<Database>, Error> {
        self.databases.get(&id).ok_or_else(|| Error::UnknownDatabase(id.to_string()))
    }

    /// The table with this id, to be changed.
    fn table_mut(&mut self, id: TableId) -> Result<&mut Table, Error> {
        match self.relations.get_mut(&id) {
            Some(Relation::Table(table)) => Ok(Arc::make_mut(table)),
            Some(Relation::View(view)) => Err(Error::IsView(view.name.clone())),
            None => Err(Error::TableGone(id)),
        }
    }

    /// The table with this id, as it is.
    fn existing_table(&self, id: TableId) -> Result<Arc<Table>, Error> {
        match self.relations.get(&id) {
            Some(Relation::Table(table)) => Ok(table.clone()),
            Some(Relation::View(view)) => Err(Error::IsView(view.name.clone())),
            None => Err(Error::TableGone(id)),
        }
    }

    /// Refuses a name that a table or view has, and the empty name.
    fn check_relation_name_is_free(&self, database: DatabaseId, name: &str) -> Result<(), Error> {
        check_name("table or view", name)?;
        match self.relation(database, name) {
            Some(_) => Err(Error::RelationExists(name.to_owned())),
            None => Ok(()),
        }
    }

    fn insert_relation(&mut self, database: DatabaseId, relation: Relation) {
        self.relation_names.insert((database, Arc::from(relation.name())), relation.id());
        self.relations.insert(relation.id(), relation);
    }
}

fn check_name(what: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() { Err(Error::Invalid(format!("the name of a {what} is empty"))) } else { Ok(()) }
}
