//! What the client must know of a text before it sends it.

use tarn_sql::Statement;

/// The statements of a text, without their semicolons. Empty ones are left out.
pub fn split(text: &str) -> Vec<String> {
    tarn_sql::split(text).into_iter().map(|s| s.trim().to_owned()).collect()
}

/// Whether what somebody types ends in a whole statement, or has none.
pub fn is_complete(text: &str) -> bool {
    tarn_sql::split(tarn_sql::split_complete(text).rest).is_empty()
}

/// Whether a statement returns rows, rather than change what there is. One that is malformed counts as one that does.
pub fn returns_rows(sql: &str) -> bool {
    use Statement as S;
    match tarn_sql::parse_one(sql) {
        Err(_) => true,
        Ok(statement) => !matches!(
            statement,
            S::Insert(_)
                | S::Delete(_)
                | S::Update(_)
                | S::CreateDatabase { .. }
                | S::DropDatabase { .. }
                | S::RenameDatabase { .. }
                | S::CreateTable(_)
                | S::CreateTableLike { .. }
                | S::CreateTableAsSelect(_)
                | S::DropTable { .. }
                | S::TruncateTable { .. }
                | S::RenameTable { .. }
                | S::AddPartitions { .. }
                | S::DropPartitions(_)
                | S::ReplacePartitions(_)
                | S::SetProperties { .. }
                | S::RenamePartition { .. }
                | S::AlterTable { .. }
                | S::SwapTables { .. }
                | S::CancelAlterTable { .. }
                | S::CreateView(_)
                | S::DropView { .. }
                | S::Use { .. }
                | S::Set(_)
                | S::Kill { .. }
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_return_rows_and_changes_do_not() {
        assert!(returns_rows("-- why\n select 1"));
        assert!(returns_rows("show tables"));
        assert!(returns_rows("selec 1"));
        assert!(!returns_rows("insert into t select 1"));
        assert!(!returns_rows("delete from t where true"));
        assert!(!returns_rows("with a as (select 1) update t set b = 1 where true"));
        assert!(!returns_rows("create database d"));
    }

    #[test]
    fn a_statement_is_complete_with_its_semicolon_outside_quotes() {
        assert!(is_complete("select 1;"));
        assert!(is_complete("select 1; -- one"));
        assert!(!is_complete("select 1"));
        assert!(!is_complete("select ';"));
        assert!(is_complete("  "));
    }

    #[test]
    fn empty_statements_are_left_out() {
        assert_eq!(split("select 1;; -- end\n; select 2"), ["select 1", "select 2"]);
    }
}
