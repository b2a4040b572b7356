//! `GetSqlInfo`: every item that Flight SQL defines, because the JDBC driver asks for all of them.

use std::collections::HashMap;
use std::sync::LazyLock;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{
    CommandGetSqlInfo, SqlInfo, SqlNullOrdering, SqlOuterJoinsSupportLevel, SqlSupportedCaseSensitivity,
    SqlSupportedGroupBy, SqlSupportedResultSetConcurrency, SqlSupportedResultSetType, SqlSupportedSubqueries,
    SqlSupportedTransaction, SqlSupportedUnions, SqlSupportsConvert, SqlTransactionIsolationLevel, SupportedSqlGrammar,
};

use super::super::error::Error;

/// The version of the columnar format that results are sent in.
const ARROW_FORMAT: &str = "1.5";
/// The longest name of a column, table or database, in bytes.
const MAX_NAME: i64 = 1023;

static INFO: LazyLock<SqlInfoData> = LazyLock::new(|| {
    let mut builder = SqlInfoDataBuilder::new();
    server(&mut builder);
    syntax(&mut builder);
    support(&mut builder);
    limits(&mut builder);
    cursors(&mut builder);
    builder.build().expect("the items are constant")
});

pub(crate) fn schema() -> Schema {
    SqlInfoDataBuilder::schema().clone()
}

pub(crate) fn batch(command: CommandGetSqlInfo) -> Result<RecordBatch, Error> {
    Ok(command.into_builder(&INFO).build()?)
}

fn server(b: &mut SqlInfoDataBuilder) {
    b.append(SqlInfo::FlightSqlServerName, "Tarn");
    b.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    b.append(SqlInfo::FlightSqlServerArrowVersion, ARROW_FORMAT);
    b.append(SqlInfo::FlightSqlServerReadOnly, false);
    b.append(SqlInfo::FlightSqlServerSql, true);
    b.append(SqlInfo::FlightSqlServerSubstrait, false);
    b.append(SqlInfo::FlightSqlServerSubstraitMinVersion, "");
    b.append(SqlInfo::FlightSqlServerSubstraitMaxVersion, "");
    b.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    b.append(SqlInfo::FlightSqlServerCancel, true);
    b.append(SqlInfo::FlightSqlServerBulkIngestion, true);
    b.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    b.append(SqlInfo::FlightSqlServerStatementTimeout, 0i32);
    b.append(SqlInfo::FlightSqlServerTransactionTimeout, 0i32);
}

fn syntax(b: &mut SqlInfoDataBuilder) {
    b.append(SqlInfo::SqlDdlCatalog, false);
    b.append(SqlInfo::SqlDdlSchema, true);
    b.append(SqlInfo::SqlDdlTable, true);
    b.append(SqlInfo::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32);
    b.append(SqlInfo::SqlIdentifierQuoteChar, "`");
    b.append(SqlInfo::SqlQuotedIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32);
    b.append(SqlInfo::SqlAllTablesAreSelectable, true);
    b.append(SqlInfo::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedLow as i32);
    b.append(SqlInfo::SqlKeywords, KEYWORDS);
    b.append(SqlInfo::SqlNumericFunctions, NUMERIC_FUNCTIONS);
    b.append(SqlInfo::SqlStringFunctions, STRING_FUNCTIONS);
    b.append(SqlInfo::SqlSystemFunctions, SYSTEM_FUNCTIONS);
    b.append(SqlInfo::SqlDatetimeFunctions, DATETIME_FUNCTIONS);
    b.append(SqlInfo::SqlSearchStringEscape, "\\");
    b.append(SqlInfo::SqlExtraNameCharacters, "");
    b.append(SqlInfo::SqlSchemaTerm, "database");
    b.append(SqlInfo::SqlProcedureTerm, "procedure");
    b.append(SqlInfo::SqlCatalogTerm, "catalog");
    b.append(SqlInfo::SqlCatalogAtStart, true);
}

fn support(b: &mut SqlInfoDataBuilder) {
    b.append(SqlInfo::SqlSupportsColumnAliasing, true);
    b.append(SqlInfo::SqlNullPlusNullIsNull, true);
    b.append(SqlInfo::SqlSupportsConvert, conversions());
    b.append(SqlInfo::SqlSupportsTableCorrelationNames, true);
    b.append(SqlInfo::SqlSupportsDifferentTableCorrelationNames, false);
    b.append(SqlInfo::SqlSupportsExpressionsInOrderBy, true);
    b.append(SqlInfo::SqlSupportsOrderByUnrelated, true);
    b.append(SqlInfo::SqlSupportedGroupBy, bit(SqlSupportedGroupBy::SqlGroupByBeyondSelect as i32));
    b.append(SqlInfo::SqlSupportsLikeEscapeClause, true);
    b.append(SqlInfo::SqlSupportsNonNullableColumns, true);
    b.append(
        SqlInfo::SqlSupportedGrammar,
        bit(SupportedSqlGrammar::SqlMinimumGrammar as i32) | bit(SupportedSqlGrammar::SqlCoreGrammar as i32),
    );
    // Entry level.
    b.append(SqlInfo::SqlAnsi92SupportedLevel, bit(0));
    b.append(SqlInfo::SqlSupportsIntegrityEnhancementFacility, false);
    b.append(SqlInfo::SqlOuterJoinsSupportLevel, bit(SqlOuterJoinsSupportLevel::SqlFullOuterJoins as i32));
    // Databases and catalogs are named in queries, not in procedure calls, index or privilege definitions.
    b.append(SqlInfo::SqlSchemasSupportedActions, 0i32);
    b.append(SqlInfo::SqlCatalogsSupportedActions, 0i32);
    b.append(SqlInfo::SqlSupportedPositionedCommands, 0i32);
    b.append(SqlInfo::SqlSelectForUpdateSupported, false);
    b.append(SqlInfo::SqlStoredProceduresSupported, false);
    let subqueries = [
        SqlSupportedSubqueries::SqlSubqueriesInComparisons,
        SqlSupportedSubqueries::SqlSubqueriesInExists,
        SqlSupportedSubqueries::SqlSubqueriesInIns,
    ];
    b.append(SqlInfo::SqlSupportedSubqueries, subqueries.into_iter().fold(0, |bits, s| bits | bit(s as i32)));
    b.append(SqlInfo::SqlCorrelatedSubqueriesSupported, true);
    let unions = bit(SqlSupportedUnions::SqlUnion as i32) | bit(SqlSupportedUnions::SqlUnionAll as i32);
    b.append(SqlInfo::SqlSupportedUnions, unions);
}

/// Zero means that no limit is known.
fn limits(b: &mut SqlInfoDataBuilder) {
    for unlimited in [
        SqlInfo::SqlMaxBinaryLiteralLength,
        SqlInfo::SqlMaxCharLiteralLength,
        SqlInfo::SqlMaxColumnsInGroupBy,
        SqlInfo::SqlMaxColumnsInIndex,
        SqlInfo::SqlMaxColumnsInOrderBy,
        SqlInfo::SqlMaxColumnsInSelect,
        SqlInfo::SqlMaxColumnsInTable,
        SqlInfo::SqlMaxConnections,
        SqlInfo::SqlMaxCursorNameLength,
        SqlInfo::SqlMaxIndexLength,
        SqlInfo::SqlMaxProcedureNameLength,
        SqlInfo::SqlMaxRowSize,
        SqlInfo::SqlMaxStatementLength,
        SqlInfo::SqlMaxStatements,
        SqlInfo::SqlMaxTablesInSelect,
        SqlInfo::SqlMaxUsernameLength,
    ] {
        b.append(unlimited, 0i64);
    }
    for name in [
        SqlInfo::SqlMaxColumnNameLength,
        SqlInfo::SqlDbSchemaNameLength,
        SqlInfo::SqlMaxCatalogNameLength,
        SqlInfo::SqlMaxTableNameLength,
    ] {
        b.append(name, MAX_NAME);
    }
    b.append(SqlInfo::SqlMaxRowSizeIncludesBlobs, true);
}

fn cursors(b: &mut SqlInfoDataBuilder) {
    let none = SqlTransactionIsolationLevel::SqlTransactionNone as i32;
    // JDBC reads this one as int64, and the next two as bits.
    b.append(SqlInfo::SqlDefaultTransactionIsolation, i64::from(none));
    b.append(SqlInfo::SqlTransactionsSupported, false);
    b.append(SqlInfo::SqlSupportedTransactionsIsolationLevels, bit(none));
    b.append(SqlInfo::SqlDataDefinitionCausesTransactionCommit, true);
    b.append(SqlInfo::SqlDataDefinitionsInTransactionsIgnored, false);
    let forward = SqlSupportedResultSetType::SqlResultSetTypeForwardOnly as i32;
    b.append(SqlInfo::SqlSupportedResultSetTypes, bit(forward));
    b.append(SqlInfo::SqlSupportedConcurrenciesForResultSetUnspecified, 0i32);
    let read_only = SqlSupportedResultSetConcurrency::SqlResultSetConcurrencyReadOnly as i32;
    b.append(SqlInfo::SqlSupportedConcurrenciesForResultSetForwardOnly, bit(read_only));
    b.append(SqlInfo::SqlSupportedConcurrenciesForResultSetScrollSensitive, 0i32);
    b.append(SqlInfo::SqlSupportedConcurrenciesForResultSetScrollInsensitive, 0i32);
    b.append(SqlInfo::SqlBatchUpdatesSupported, true);
    b.append(SqlInfo::SqlSavepointsSupported, false);
    b.append(SqlInfo::SqlNamedParametersSupported, false);
    b.append(SqlInfo::SqlLocatorsUpdateCopy, false);
    b.append(SqlInfo::SqlStoredFunctionsUsingCallSyntaxSupported, false);
}

const fn bit(position: i32) -> i32 {
    1 << position
}

/// `CAST` converts among all scalar types.
fn conversions() -> HashMap<i32, Vec<i32>> {
    use SqlSupportsConvert as C;
    let types = [
        C::SqlConvertBigint,
        C::SqlConvertBit,
        C::SqlConvertChar,
        C::SqlConvertDate,
        C::SqlConvertDecimal,
        C::SqlConvertFloat,
        C::SqlConvertInteger,
        C::SqlConvertNumeric,
        C::SqlConvertReal,
        C::SqlConvertSmallint,
        C::SqlConvertTimestamp,
        C::SqlConvertTinyint,
        C::SqlConvertVarchar,
    ]
    .map(|t| t as i32);
    types.into_iter().map(|from| (from, types.to_vec())).collect()
}

/// Words with a meaning here that SQL:2003 does not reserve.
const KEYWORDS: &[&str] = &[
    "AGGREGATE",
    "ANALYZE",
    "ASYNC",
    "BITMAP",
    "BUCKETS",
    "CATALOG",
    "COMPUTE",
    "COORDINATORS",
    "DATABASES",
    "DATETIME",
    "DESC",
    "DISTRIBUTED",
    "DUPLICATE",
    "EVERY",
    "EXPLAIN",
    "FILES",
    "HASH",
    "HLL",
    "IF",
    "JSON",
    "KEY",
    "KILL",
    "LABEL",
    "LARGEINT",
    "LESS",
    "LIMIT",
    "MATERIALIZED",
    "NODES",
    "OFFSET",
    "PARTITIONS",
    "PROCESSLIST",
    "PROPERTIES",
    "QUALIFY",
    "RANDOM",
    "RENAME",
    "REPLACE",
    "SHOW",
    "STORAGE",
    "STRING",
    "TABLES",
    "TABLETS",
    "THAN",
    "TINYINT",
    "TRUNCATE",
    "USE",
    "VARBINARY",
    "VARIABLES",
    "VIEW",
];

const NUMERIC_FUNCTIONS: &[&str] = &[
    "ABS", "ACOS", "ASIN", "ATAN", "ATAN2", "CEIL", "COS", "COT", "DEGREES", "EXP", "FLOOR", "GREATEST", "LEAST", "LN",
    "LOG", "LOG10", "LOG2", "PI", "POWER", "RADIANS", "RANDOM", "ROUND", "SIGN", "SIN", "SQRT", "TAN", "TRUNC",
];

const STRING_FUNCTIONS: &[&str] = &[
    "ASCII",
    "BIT_LENGTH",
    "BTRIM",
    "CHAR_LENGTH",
    "CHR",
    "CONCAT",
    "CONCAT_WS",
    "ENDS_WITH",
    "INITCAP",
    "INSTR",
    "LEFT",
    "LENGTH",
    "LOWER",
    "LPAD",
    "LTRIM",
    "MD5",
    "OCTET_LENGTH",
    "POSITION",
    "REGEXP_LIKE",
    "REGEXP_REPLACE",
    "REPEAT",
    "REPLACE",
    "REVERSE",
    "RIGHT",
    "RPAD",
    "RTRIM",
    "SHA256",
    "SPLIT_PART",
    "STARTS_WITH",
    "STRPOS",
    "SUBSTR",
    "SUBSTRING",
    "TRANSLATE",
    "TRIM",
    "UPPER",
];

const SYSTEM_FUNCTIONS: &[&str] = &["COALESCE", "IFNULL", "NULLIF", "NVL", "VERSION"];

const DATETIME_FUNCTIONS: &[&str] = &[
    "CURRENT_DATE",
    "CURRENT_TIMESTAMP",
    "DATE_BIN",
    "DATE_PART",
    "DATE_TRUNC",
    "EXTRACT",
    "FROM_UNIXTIME",
    "NOW",
    "TO_CHAR",
    "TO_DATE",
    "TO_TIMESTAMP",
    "TO_UNIXTIME",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_defined_item_is_answered() {
        let all = batch(CommandGetSqlInfo { info: vec![] }).unwrap();
        let defined = (0..=576).filter(|id| SqlInfo::try_from(*id).is_ok()).count();
        assert_eq!(all.num_rows(), defined);
        let some = batch(CommandGetSqlInfo { info: vec![8, 9, 999_999] }).unwrap();
        assert_eq!(some.num_rows(), 2);
        assert_eq!(some.schema().as_ref(), &schema());
    }
}
