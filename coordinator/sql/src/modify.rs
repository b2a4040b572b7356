//! `DELETE` and `UPDATE`.

use sqlparser::ast;

use crate::name::{Ident, ObjectName};

/// `[WITH ..] DELETE FROM table [PARTITION (..)] [USING relations] [WHERE condition]`
#[derive(Clone, Debug, PartialEq)]
pub struct Delete {
    /// The table whose rows go.
    pub table: ObjectName,
    /// Partitions whose rows may go, or empty for all.
    pub partitions: Vec<Ident>,
    /// Common table expressions, which `using` and `filter` may name.
    pub with: Option<Box<ast::With>>,
    /// Relations that the table is joined with, by `filter`.
    pub using: Vec<ast::TableWithJoins>,
    /// Which rows go.
    pub filter: Option<ast::Expr>,
}

/// `[WITH ..] UPDATE table SET column = value, .. [FROM relations] [WHERE condition]`
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The table whose rows change.
    pub table: ObjectName,
    /// At least one.
    pub assignments: Vec<Assignment>,
    /// Common table expressions, which values, `from` and `filter` may name.
    pub with: Option<Box<ast::With>>,
    /// Relations that the table is joined with, by `filter`.
    pub from: Vec<ast::TableWithJoins>,
    /// Which rows change.
    pub filter: Option<ast::Expr>,
}

/// `column = value`
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The column.
    pub column: Ident,
    /// Its new value, over the row as it was. The word `DEFAULT` is an unquoted identifier expression.
    pub value: ast::Expr,
}
