//! Names of a query's result columns: as the text has them.
//!
//! DataFusion folds aliases to lower case, names expressions in its own words and refuses two columns of one name. So
//! before it plans, columns that would clash get names of their own, and what it planned is named by the text again.

use datafusion::arrow::datatypes::Schema;
use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, Select, SelectItem, SetExpr};

/// Stands between a column's name and its place, where it would clash with one before it. No name has it.
const MARK: char = '\u{1}';

/// What the text says about the result columns.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    items: Vec<Item>,
}

#[derive(Debug)]
enum Item {
    /// The alias, or the text of the expression.
    Named(String),
    /// A column, named as the catalog spells it.
    Column,
    /// `*`: any number of columns.
    Wildcard,
}

impl Labels {
    /// Reads the names from a query before anything in it is changed.
    pub(crate) fn of(query: &Query) -> Self {
        let items = first_select(&query.body).map(|select| select.projection.iter().map(Item::of).collect());
        Self { items: items.unwrap_or_default() }
    }

    /// Names for the columns that were planned.
    pub(crate) fn apply(&self, planned: &Schema) -> Vec<String> {
        let mut names: Vec<String> = planned.fields().iter().map(|f| unmarked(f.name()).to_owned()).collect();
        let is_wildcard = |item: &Item| matches!(item, Item::Wildcard);
        let head = self.items.iter().position(is_wildcard).unwrap_or(self.items.len());
        let tail = self.items.iter().rev().position(is_wildcard).unwrap_or(0);
        let fits = if head == self.items.len() { names.len() == head } else { names.len() >= head + tail };
        if fits {
            let (count, width) = (self.items.len(), names.len());
            let placed = (0..head).map(|i| (i, i)).chain((0..tail).map(|i| (count - tail + i, width - tail + i)));
            for (item, column) in placed {
                if let Item::Named(name) = &self.items[item] {
                    names[column].clone_from(name);
                }
            }
        }
        names
    }
}

impl Item {
    fn of(item: &SelectItem) -> Self {
        match item {
            SelectItem::UnnamedExpr(expr) if is_column(expr) => Self::Column,
            SelectItem::UnnamedExpr(expr) => Self::Named(expr.to_string()),
            SelectItem::ExprWithAlias { alias, .. } => Self::Named(alias.value.clone()),
            SelectItem::ExprWithAliases { .. } | SelectItem::QualifiedWildcard(..) | SelectItem::Wildcard(_) => {
                Self::Wildcard
            }
        }
    }
}

fn unmarked(name: &str) -> &str {
    name.split(MARK).next().unwrap_or(name)
}

/// The `SELECT` whose names the result has.
fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

/// Gives result columns that DataFusion would refuse, because one before has the same name, names of their own. Names
/// must be spelled as the catalog spells them.
pub(crate) fn separate(query: &mut Query) {
    separate_in(&mut query.body);
}

fn separate_in(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => separate_items(&mut select.projection),
        SetExpr::Query(query) => separate_in(&mut query.body),
        SetExpr::SetOperation { left, right, .. } => {
            separate_in(left);
            separate_in(right);
        }
        _ => {}
    }
}

fn separate_items(items: &mut [SelectItem]) {
    let wildcard = items.iter().any(|item| matches!(Item::of(item), Item::Wildcard));
    let mut seen: Vec<Name> = Vec::with_capacity(items.len());
    for (place, item) in items.iter_mut().enumerate() {
        let (name, expr, in_wildcard) = match &*item {
            SelectItem::UnnamedExpr(expr) => (Name::of(expr), expr, wildcard && is_column(expr)),
            SelectItem::ExprWithAlias { expr, alias } => (Name { qualifier: None, name: folded(alias) }, expr, false),
            _ => continue,
        };
        if in_wildcard || seen.iter().any(|other| other.clashes(&name)) {
            let alias = Ident::with_quote('`', format!("{}{MARK}{place}", name.name));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        } else {
            seen.push(name);
        }
    }
}

/// The name that DataFusion gives to an expression, as far as it tells expressions of one query apart.
struct Name {
    /// The table that a column is of, if the text says so.
    qualifier: Option<String>,
    name: String,
}

impl Name {
    fn of(expr: &Expr) -> Self {
        match plain(expr) {
            Expr::Identifier(ident) => Self { qualifier: None, name: folded(ident) },
            Expr::CompoundIdentifier(parts) => Self {
                qualifier: parts.len().checked_sub(2).map(|i| folded(&parts[i])),
                name: parts.last().map(folded).unwrap_or_default(),
            },
            // Integer division is planned as division, and parentheses leave no trace.
            other => {
                let text = other.to_string().to_lowercase().replace(" div ", " / ");
                Self { qualifier: None, name: text.replace(['(', ')'], "") }
            }
        }
    }

    fn clashes(&self, other: &Self) -> bool {
        self.name == other.name
            && (self.qualifier.is_none() || other.qualifier.is_none() || self.qualifier == other.qualifier)
    }
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

/// Without what adds nothing to a name.
fn plain(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => plain(inner),
        other => other,
    }
}

/// An identifier as DataFusion reads it.
fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::{DataType, Field};
    use tarn_sql::Statement;

    fn query(sql: &str) -> Query {
        let Ok(Statement::Query(query)) = tarn_sql::parse_one(sql) else { panic!("no query") };
        *query
    }

    fn named(sql: &str, planned: &[&str]) -> Vec<String> {
        let fields: Vec<Field> = planned.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
        Labels::of(&query(sql)).apply(&Schema::new(fields))
    }

    #[test]
    fn expressions_and_aliases_are_named_by_the_text_and_columns_by_the_catalog() {
        assert_eq!(
            named("select k, k as Alias, count( * ), K+1 from t", &["K", "alias", "count(*)", "t.K + Int64(1)"]),
            ["K", "Alias", "count(*)", "K + 1"]
        );
    }

    #[test]
    fn wildcards_take_what_the_other_columns_leave() {
        assert_eq!(named("select 1 as X, *, 2 as Y from t", &["x", "a", "b", "y"]), ["X", "a", "b", "Y"]);
        assert_eq!(named("select a.*, 1 as X, b.* from a, b", &["k", "x", "k"]), ["k", "x", "k"]);
    }

    #[test]
    fn only_columns_that_clash_get_another_name() {
        let separated = |sql: &str| {
            let mut query = query(sql);
            separate(&mut query);
            query.to_string().replace(MARK, ":")
        };
        assert_eq!(separated("select 1, 1"), "SELECT 1, 1 AS `1:1`");
        assert_eq!(separated("select a, t.a from t"), "SELECT a, t.a AS `a:1` FROM t");
        assert_eq!(separated("select a.k, b.k from a, b"), "SELECT a.k, b.k FROM a, b");
        assert_eq!(separated("select *, k from t"), "SELECT *, k AS `k:1` FROM t");
        assert_eq!(separated("select 1 as a, 2 as A"), "SELECT 1 AS a, 2 AS `a:1`");
        assert_eq!(
            separated("select a from t union select b, b from t"),
            "SELECT a FROM t UNION SELECT b, b AS `b:1` FROM t"
        );
    }
}
