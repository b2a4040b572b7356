//! Look-ups, O(log n) each unless they list. They read one catalog; a query keeps the one it began with.

use std::sync::Arc;

use tarn_proto::{DatabaseId, TableId, TabletId, TxnId};

use crate::{Catalog, Database, Error, Node, Relation, Role, Table, Tablet, TabletOwner, Transaction};

impl Catalog {
    /// The database with this name.
    pub fn database(&self, name: &str) -> Result<&Arc<Database>, Error> {
        let id = self.database_names.get(name);
        id.and_then(|id| self.databases.get(id)).ok_or_else(|| Error::UnknownDatabase(name.to_owned()))
    }

    /// The database with this id.
    pub fn database_by_id(&self, id: DatabaseId) -> Option<&Arc<Database>> {
        self.databases.get(&id)
    }

    /// All databases in order of their names.
    pub fn databases(&self) -> impl Iterator<Item = &Arc<Database>> {
        self.database_names.values().filter_map(|id| self.databases.get(id))
    }

    /// The table or view with this name.
    pub fn relation(&self, database: DatabaseId, name: &str) -> Option<&Relation> {
        self.relations.get(self.relation_names.get(&(database, Arc::from(name)))?)
    }

    /// All tables and views of a database in order of their names.
    pub fn relations(&self, database: DatabaseId) -> impl Iterator<Item = &Relation> {
        let first: (DatabaseId, Arc<str>) = (database, Arc::from(""));
        let names = self.relation_names.range(first..).take_while(move |((of, _), _)| *of == database);
        names.filter_map(|(_, id)| self.relations.get(id))
    }

    /// The table with this name. Fails with [`Error::UnknownTable`] or [`Error::IsView`].
    pub fn table(&self, database: DatabaseId, name: &str) -> Result<Arc<Table>, Error> {
        match self.relation(database, name) {
            Some(Relation::Table(table)) => Ok(table.clone()),
            Some(Relation::View(_)) => Err(Error::IsView(name.to_owned())),
            None => Err(Error::UnknownTable(name.to_owned())),
        }
    }

    /// The table with this id, unless it has been dropped.
    pub fn table_by_id(&self, id: TableId) -> Option<&Arc<Table>> {
        match self.relations.get(&id) {
            Some(Relation::Table(table)) => Some(table),
            Some(Relation::View(_)) | None => None,
        }
    }

    /// A tablet and where it belongs, or did before a change of the table's columns replaced it, unless it has been dropped.
    pub fn tablet(&self, id: TabletId) -> Option<(TabletOwner, &Tablet)> {
        let owner = *self.tablets.get(&id)?;
        let table = self.table_by_id(owner.table)?;
        let bucket = owner.bucket as usize;
        if let Some(tablet) = table.partition_by_id(owner.partition)?.tablets.get(bucket).filter(|t| t.id == id) {
            return Some((owner, tablet));
        }
        let replaced = table.swapped.as_ref()?.partitions.get(&owner.partition)?.get(bucket)?;
        (replaced.id == id).then_some((owner, replaced))
    }

    /// The transaction with this id, until it has expired.
    pub fn transaction(&self, id: TxnId) -> Option<&Arc<Transaction>> {
        self.transactions.get(&id)
    }

    /// The last transaction with this label, until it has expired.
    pub fn transaction_by_label(&self, database: DatabaseId, label: &str) -> Option<&Arc<Transaction>> {
        self.transactions.get(self.labels.get(&(database, Arc::from(label)))?)
    }

    /// Transactions that are committed and wait to become visible, in commit order.
    pub fn committed_transactions(&self) -> impl Iterator<Item = &Arc<Transaction>> {
        self.committed.iter().filter_map(|id| self.transactions.get(id))
    }

    /// Registered nodes of a role, in order of their ids.
    pub fn nodes_of(&self, role: Role) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values().filter(move |node| node.role == role)
    }

    /// Registered storage nodes, in order of their ids.
    pub fn storage_nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes_of(Role::Storage)
    }

    /// Registered compute nodes, in order of their ids.
    pub fn compute_nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes_of(Role::Compute)
    }
}
