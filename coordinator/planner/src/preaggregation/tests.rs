use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::displayable;
use datafusion::prelude::{SessionConfig, SessionContext};
use tarn_proto::storage::StorePool;
use tarn_proto::{Aggregation, Column as TableColumn, ColumnId, DataType, SchemaVersion, TableModel, TableSchema};
use tarn_scan::{CacheConfig, Pruned, ScanContext, TabletScan, scan};

use super::*;

#[derive(Debug)]
struct Table(Arc<ScanContext>, TableSchema);

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        self.1.to_arrow()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let spec = TabletScan {
            table: "db.t".to_owned(),
            schema: self.1.clone(),
            volume: None,
            partitions: Vec::new(),
            projection: projection.cloned().unwrap_or_else(|| (0..self.1.columns.len()).collect()),
            filters: Vec::new(),
            limit,
            exact_rows: false,
            pruned: Pruned::default(),
            bitmap_max_filter_ratio: tarn_scan::BITMAP_MAX_FILTER_RATIO,
        };
        scan(self.0.clone(), spec)
    }
}

fn schema(model: TableModel) -> TableSchema {
    use tarn_proto::Aggregation::*;
    let columns = [
        ("k", DataType::Int, None),
        ("name", DataType::Varchar(20), None),
        ("day", DataType::Date, None),
        ("s", DataType::BigInt, Some(Sum)),
        ("i", DataType::Int, Some(Sum)),
        ("d", DataType::Decimal(10, 2), Some(Sum)),
        ("f", DataType::Float, Some(Sum)),
        ("mn", DataType::Int, Some(Min)),
        ("mx", DataType::DateTime, Some(Max)),
        ("r", DataType::BigInt, Some(Replace)),
        ("rn", DataType::BigInt, Some(ReplaceIfNotNull)),
        ("fx", DataType::Double, Some(Max)),
    ];
    let columns = columns.into_iter().zip(1..).map(|((name, data_type, aggregation), id)| TableColumn {
        id: ColumnId(id),
        name: name.to_owned(),
        data_type,
        nullable: true,
        aggregation: aggregation.filter(|_| model != TableModel::Duplicate).map(|a| match model {
            TableModel::Unique => Aggregation::Replace,
            _ => a,
        }),
        initial: None,
    });
    let keys = vec![ColumnId(1), ColumnId(2), ColumnId(3)];
    TableSchema {
        version: SchemaVersion(1),
        model,
        columns: columns.collect(),
        sort_key: keys.clone(),
        keys,
        indexes: Vec::new(),
    }
}

/// What each scan of the query says, in order of the plan.
async fn decisions(sql: &str) -> Vec<String> {
    let pool = StorePool::default();
    let scans = ScanContext::new(pool, CacheConfig { memory_bytes: 1 << 20, ..CacheConfig::default() }).await.unwrap();
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(SessionConfig::new().with_target_partitions(2))
        .with_physical_optimizer_rule(Arc::new(crate::give_way::GiveWay))
        .with_physical_optimizer_rule(Arc::new(Preaggregate))
        .build();
    let session = SessionContext::new_with_state(state);
    for (name, model) in [("t", TableModel::Aggregate), ("u", TableModel::Unique), ("dup", TableModel::Duplicate)] {
        session.register_table(name, Arc::new(Table(scans.clone(), schema(model)))).unwrap();
    }
    let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let text = displayable(plan.as_ref()).indent(false).to_string();
    text.lines().filter_map(|line| Some(line.split_once("PREAGGREGATION: ")?.1.to_owned())).collect()
}

#[tokio::test]
async fn the_tables_own_aggregates_turn_it_on() {
    for sql in [
        "select k, sum(s) from t group by k",
        "select k, name, day, sum(s), sum(i), sum(d), sum(f), min(mn), max(mx) from t group by k, name, day",
        "select sum(s) from t",
        "select min(mn), max(mx) from t",
        "select min(k), max(name) from t",
        "select distinct k from t",
        "select k from t group by k",
        "select count(distinct k) from t",
        "select count(distinct k), count(distinct name) from t",
        "select date_trunc('month', day), sum(s) from t group by 1",
        "select k, sum(s) from t where k > 5 and name like 'a%' group by k",
        "select k, sum(s) from t where k + 1 > 5 or length(name) = 3 group by k",
        "select k, sum(s) from t group by k having sum(s) > 10",
        "select k, sum(s) from t group by k order by 2 desc limit 3",
        "select sum(total) from (select k, sum(s) as total from t group by k)",
        "select sum(x) from (select s as x, k as y from t) where y = 3",
        "select sum(s) filter (where k = 3) from t",
        "select sum(case when k = 3 then s else 0 end), sum(case when name = 'a' then i end) from t",
        "select min(case when k = 3 then mn end) from t",
        "select k, name, sum(s) from t group by rollup (k, name)",
        "select k from u group by k",
        "select max(k) from u",
    ] {
        assert_eq!(decisions(sql).await, ["ON"], "{sql}");
    }
    assert_eq!(
        decisions("select k, sum(s) from dup group by k").await,
        Vec::<String>::new(),
        "nothing is merged there"
    );
    let union = "select sum(s) from t union all select max(mn) from t";
    assert_eq!(decisions(union).await, ["ON", "OFF. Reason: Aggregate Operator not match: MAX <--> MIN"]);
}

#[tokio::test]
async fn anything_else_leaves_it_off_with_its_reason() {
    for (sql, reason) in [
        ("select * from t", "None aggregate function"),
        ("select k, s from t where k = 1", "None aggregate function"),
        ("select k, s from t order by s limit 3", "None aggregate function"),
        ("select k, sum(s) over (partition by k) from t", "None aggregate function"),
        ("select sum(s) from (select s from t limit 10)", "None aggregate function"),
        ("select sum(s) from (select s from t order by s limit 10)", "None aggregate function"),
        ("select sum(s) from (select s from t union all select s from dup)", "None aggregate function"),
        ("select k, sum(s) from t where s > 3 group by k", "Predicates include the value column"),
        ("select k, sum(s) from t where s + 1 > 3 group by k", "Predicates include the value column"),
        ("select sum(s) filter (where mn = 3) from t", "Predicates include the value column"),
        ("select k, sum(s) from t where random() < 0.5 group by k", "Expressions aren't deterministic"),
        ("select mn, sum(s) from t group by mn", "Group columns isn't Key column"),
        ("select k + mn, sum(s) from t group by 1", "Group columns isn't Key column"),
        ("select count(distinct s) from t", "Group columns isn't Key column"),
        ("select distinct r from u", "Group columns isn't Key column"),
        ("select count(*) from t", "Aggregate function has more than one parameter"),
        ("select k, count(*), sum(s) from t group by k", "Aggregate function has more than one parameter"),
        ("select count(k) from t", "The key column don't support aggregate function: COUNT"),
        ("select sum(k) from t", "The key column don't support aggregate function: SUM"),
        ("select count(s) from t", "Aggregate Operator not match: COUNT <--> SUM"),
        ("select max(s) from t", "Aggregate Operator not match: MAX <--> SUM"),
        ("select min(mx) from t", "Aggregate Operator not match: MIN <--> MAX"),
        ("select avg(d) from t", "Aggregate Operator not match: AVG <--> SUM"),
        ("select sum(r) from t", "Aggregate Operator not match: SUM <--> REPLACE"),
        ("select max(rn) from t", "Aggregate Operator not match: MAX <--> REPLACE_IF_NOT_NULL"),
        ("select sum(s) from u", "Aggregate Operator not match: SUM <--> REPLACE"),
        ("select sum(distinct s), sum(distinct i) from t", "Aggregate Operator not match: MULTI_DISTINCT_SUM <--> SUM"),
        (
            "select sum(s * 2) from t",
            "The parameter of aggregate function isn't value column or CAST/CASE-WHEN expression",
        ),
        (
            "select sum(s + mn) from t",
            "The parameter of aggregate function isn't value column or CAST/CASE-WHEN expression",
        ),
        (
            "select sum(cast(d as int)) from t",
            "The parameter of aggregate function isn't value column or CAST/CASE-WHEN expression",
        ),
        (
            "select sum(cast(f as bigint)) from t",
            "The parameter of aggregate function isn't value column or CAST/CASE-WHEN expression",
        ),
        ("select min(cast(mn as varchar)) from t", "The parameter of aggregate function isn't numeric type"),
        ("select sum(case when mn = 3 then s else 0 end) from t", "The column of aggregate function isn't key"),
        ("select sum(case when k = 3 then s else 1 end) from t", "The result of ELSE isn't value column"),
        ("select sum(case when k = 3 then 1 else s end) from t", "The result of THEN isn't value column"),
        ("select sum(case when k = 3 then s else mn end) from t", "Aggregate Operator not match: SUM <--> MIN"),
        ("select max(fx) from t", "MAX of a FLOAT or DOUBLE column may see NaN"),
        ("select count(case when k = 3 then 0 end) from t", UNKNOWN),
        ("select count(case when k = 3 then 0 end) from u", UNKNOWN),
        ("select sum(s), count(case k when 3 then 0 end) from t", UNKNOWN),
        ("select count(case when k = 3 then false end) from t", UNKNOWN),
        ("select array_agg(case when k = 3 then 0 end) from t", UNKNOWN),
        ("select covar_pop(s, i) from t", "Aggregate function has more than one parameter"),
        ("select t.k, sum(t.s) from t join dup on t.k = dup.k group by t.k", "Has can not pre-aggregation Join"),
        ("select sum(s) from t where k in (select k from dup)", "Has can not pre-aggregation Join"),
        ("select sum(t.s) from t, dup", "Has can not pre-aggregation Join"),
        ("select sum(t.s) from t join dup on t.k = dup.k and t.s < dup.s", "Has can not pre-aggregation Join"),
        ("select sum(t.s) from t full join dup on t.k = dup.k", "Has can not pre-aggregation Join"),
    ] {
        assert_eq!(decisions(sql).await, [format!("OFF. Reason: {reason}")], "{sql}");
    }
}
