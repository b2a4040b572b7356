//! Statements lowered, and shown again.

mod alter;
mod errors;
mod models;
mod partitions;
mod round_trip;

use std::sync::Arc;

use tarn_catalog::command::TableSpec;
use tarn_catalog::{Catalog, Command, Context, Operation, Response, Table};
use tarn_proto::{DatabaseId, NodeId};
use tarn_sql::{CreateTable, Statement, parse_one};

use super::create;
use super::replicas::StorageNodes;
use crate::session::Error;

fn parsed(sql: &str) -> CreateTable {
    match parse_one(sql) {
        Ok(Statement::CreateTable(create)) => *create,
        other => panic!("{sql}: {other:?}"),
    }
}

fn lowered(sql: &str) -> Result<TableSpec, Error> {
    create::lower(&parsed(sql), &StorageNodes { registered: 1, alive: vec![NodeId(1001)], ..StorageNodes::default() })
}

fn refused(sql: &str) -> String {
    lowered(sql).expect_err(sql).to_string()
}

/// The specification of the table that a statement creates.
pub fn spec_of(sql: &str) -> TableSpec {
    lowered(sql).expect(sql)
}

/// The table that a statement creates.
pub fn table_of(sql: &str) -> Arc<Table> {
    created(lowered(sql).expect(sql))
}

/// The table as the catalog holds it.
fn created(spec: TableSpec) -> Arc<Table> {
    let mut catalog = Catalog::default();
    let mut request_id = 0;
    let mut apply = |operation| {
        request_id += 1;
        catalog.apply(&Command { request_id, operation }, &Context { now_ms: 1 })
    };
    let Response::Database(database) = apply(Operation::CreateDatabase { name: "d".into(), if_not_exists: false })
    else {
        panic!("no database")
    };
    let Response::Node(node) = apply(Operation::RegisterNode {
        role: tarn_catalog::Role::Storage,
        address: "127.0.0.1:1".into(),
        node_id: None,
    }) else {
        panic!("no node")
    };
    let name = spec.name.clone();
    let response = apply(create_table(database, node, spec));
    assert!(matches!(response, Response::Table(_)), "{response:?}");
    catalog.table(database, &name).expect("it was created")
}

fn create_table(database: DatabaseId, node: NodeId, spec: TableSpec) -> Operation {
    Operation::CreateTable { database, table: Box::new(spec), if_not_exists: false, placement: vec![node].into() }
}
