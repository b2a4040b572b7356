//! Tests of the whole dialect: each statement, each error, every query of the benchmarks, and round trips.

mod alterations;
mod cluster;
mod expressions;
mod modify;
mod queries;
mod refused;
mod round_trip;
mod soup;
mod statements;
mod tables;

use crate::{CreateTable, Ident, ObjectName, Statement, parse_one};

/// The one statement of a text that is well formed.
fn ok(sql: &str) -> Statement {
    parse_one(sql).unwrap_or_else(|e| panic!("{sql}: {e}"))
}

/// The error of a text that is not.
fn err(sql: &str) -> String {
    match parse_one(sql) {
        Ok(statement) => panic!("{sql}: {statement:?}"),
        Err(error) => error.to_string(),
    }
}

fn table(sql: &str) -> CreateTable {
    match ok(sql) {
        Statement::CreateTable(table) => *table,
        other => panic!("{other:?}"),
    }
}

fn name(dotted: &str) -> ObjectName {
    ObjectName { parts: dotted.split('.').map(Ident::new).collect() }
}

fn ids(names: &[&str]) -> Vec<Ident> {
    names.iter().map(|n| Ident::new(*n)).collect()
}
