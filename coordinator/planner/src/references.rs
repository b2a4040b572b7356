//! What a query refers to that is not in the catalog: files and parameters.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::ResolvedTableReference;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, GroupByWithModifier, Ident, ObjectName, ObjectNamePart, Query, Select, TableFactor, Value,
    VisitMut, VisitorMut,
};
use tarn_sql::files_properties;

use crate::error::{Error, Result};

/// The schema that `FILES()` of a query stand in, as `file_1`, `file_2`, ..
pub(crate) const FILES_SCHEMA: &str = "files";

/// Properties of one `FILES()`.
pub(crate) type FilesProperties = Vec<(String, String)>;

/// Writes `GROUP BY .. WITH ROLLUP` as the standard does. The engine overlooks what stands after `WITH`.
fn grouped(group_by: &mut GroupByExpr) -> Result<()> {
    let GroupByExpr::Expressions(exprs, modifiers) = group_by else { return Ok(()) };
    let sets = |exprs: &mut Vec<Expr>| std::mem::take(exprs).into_iter().map(|e| vec![e]).collect();
    match modifiers.as_slice() {
        [] => return Ok(()),
        [GroupByWithModifier::Rollup] => *exprs = vec![Expr::Rollup(sets(exprs))],
        [GroupByWithModifier::Cube] => *exprs = vec![Expr::Cube(sets(exprs))],
        [other, ..] => return Err(not_yet(format!("GROUP BY {other}"))),
    }
    modifiers.clear();
    Ok(())
}

fn not_yet(what: String) -> Error {
    Error::Engine(DataFusionError::NotImplemented(format!("{what} is not available yet")))
}

/// Also refuses or rewrites what the engine would overlook.
///
/// Replaces each `FILES(..)` by the table `files.file_N` and returns their properties in order of N, counted from
/// 1.
pub(crate) fn replace_files(query: &mut Query) -> Result<Vec<FilesProperties>> {
    struct Files {
        found: Vec<FilesProperties>,
    }
    impl VisitorMut for Files {
        type Break = Error;

        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
            match grouped(&mut select.group_by) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        }

        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
            if let TableFactor::Table { sample: Some(_), name, .. } = factor {
                return ControlFlow::Break(not_yet(format!("TABLESAMPLE of `{name}`")));
            }
            match files_properties(factor) {
                None => ControlFlow::Continue(()),
                Some(Err(error)) => ControlFlow::Break(error.into()),
                Some(Ok(properties)) => {
                    if let TableFactor::Table { name, args, .. } = factor {
                        let table = format!("file_{}", self.found.len() + 1);
                        *args = None;
                        let part = |text: &str| ObjectNamePart::Identifier(Ident::with_quote('`', text));
                        *name = ObjectName(vec![part(FILES_SCHEMA), part(&table)]);
                    }
                    self.found.push(properties);
                    ControlFlow::Continue(())
                }
            }
        }
    }
    let mut files = Files { found: Vec::new() };
    match query.visit(&mut files) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(files.found),
    }
}

/// Takes out calls of table functions, which the catalog does not know, so that what remains names its relations.
pub(crate) fn without_functions(query: &mut Query) {
    struct Functions;
    impl VisitorMut for Functions {
        type Break = ();

        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
            if let TableFactor::Table { args: Some(_), .. } = factor {
                *factor = TableFactor::TableFunction { expr: Expr::value(Value::Null), alias: None };
            }
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Functions);
}

/// Names each `?` by its place among them: `$1`, `$2`, ..
pub(crate) fn number_parameters(query: &mut Query) {
    struct Places(Vec<(u64, u64)>);
    impl VisitorMut for Places {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Value(value) = expr
                && matches!(&value.value, Value::Placeholder(text) if text == "?")
            {
                self.0.push((value.span.start.line, value.span.start.column));
            }
            ControlFlow::Continue(())
        }
    }
    struct Numbers(Vec<(u64, u64)>);
    impl VisitorMut for Numbers {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Value(value) = expr
                && let Value::Placeholder(text) = &mut value.value
                && text == "?"
                && let Ok(index) = self.0.binary_search(&(value.span.start.line, value.span.start.column))
            {
                *text = format!("${}", index + 1);
            }
            ControlFlow::Continue(())
        }
    }
    let mut places = Places(Vec::new());
    let _ = query.visit(&mut places);
    places.0.sort_unstable();
    let _ = query.visit(&mut Numbers(places.0));
}

/// Writes names as the catalog spells them. Column names mean the column of any case, as in MySQL; names of tables keep
/// their case. What is left unquoted is the query's own (aliases, common table expressions) and is folded to lower case
/// by the planner.
pub(crate) fn spell(query: &mut Query, relations: &[(ResolvedTableReference, SchemaRef)]) {
    let mut own = OwnNames::default();
    let _ = query.visit(&mut own);
    let mut columns: HashMap<String, Option<&str>> = HashMap::new();
    for name in relations.iter().flat_map(|(_, schema)| schema.fields().iter().map(|f| f.name())) {
        let entry = columns.entry(name.to_lowercase()).or_insert(Some(name));
        if *entry != Some(name) {
            *entry = None;
        }
    }
    let tables: HashSet<&str> = relations.iter().map(|(r, _)| r.table.as_ref()).collect();
    let mut speller = Speller { own: own.0, columns, tables, function: false };
    let _ = query.visit(&mut speller);
}

/// Names of common table expressions, in lower case.
#[derive(Default)]
struct OwnNames(HashSet<String>);

impl VisitorMut for OwnNames {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.0.extend(tables.map(|table| table.alias.name.value.to_lowercase()));
        ControlFlow::Continue(())
    }
}

struct Speller<'a> {
    own: HashSet<String>,
    /// The spelling by lower case; `None` where two tables spell a name differently.
    columns: HashMap<String, Option<&'a str>>,
    tables: HashSet<&'a str>,
    /// Whether the relation visited next is a table function, whose name is of any case.
    function: bool,
}

impl Speller<'_> {
    fn column(&self, ident: &mut Ident) {
        if let Some(Some(spelling)) = self.columns.get(&ident.value.to_lowercase())
            && (*spelling != ident.value.to_lowercase() || ident.quote_style.is_some())
        {
            (*spelling).clone_into(&mut ident.value);
            ident.quote_style = Some('`');
        }
    }
}

impl VisitorMut for Speller<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.function = matches!(factor, TableFactor::Table { args: Some(_), .. });
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
        if std::mem::take(&mut self.function) {
            return ControlFlow::Continue(());
        }
        let own = match name.0.as_slice() {
            [ObjectNamePart::Identifier(only)] => {
                only.quote_style.is_none() && self.own.contains(&only.value.to_lowercase())
            }
            _ => false,
        };
        if !own {
            for part in &mut name.0 {
                if let ObjectNamePart::Identifier(ident) = part {
                    ident.quote_style = Some('`');
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.column(ident),
            Expr::CompoundIdentifier(parts) => {
                if let Some((last, qualifiers)) = parts.split_last_mut() {
                    self.column(last);
                    for qualifier in qualifiers {
                        if self.tables.contains(qualifier.value.as_str()) {
                            qualifier.quote_style = Some('`');
                        }
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
