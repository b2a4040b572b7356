//! The catalog snapshot of a query as DataFusion's catalogs.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::information_schema::{INFORMATION_SCHEMA, InformationSchemaProvider};
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::TableType;
use tarn_catalog::{Database, Relation};

use crate::planner::{CATALOG, Planning};
use crate::references::FILES_SCHEMA;
use crate::tablets::TabletTable;

/// All that a query can name.
#[derive(Clone)]
pub(crate) struct Relations {
    pub(crate) planning: Arc<Planning>,
    /// `FILES()` of the query, by the name that stands for them.
    pub(crate) files: HashMap<String, Arc<dyn TableProvider>>,
    /// Whether views that cannot be read are left out, as in `information_schema`, instead of failing who looks at all.
    pub(crate) lenient: bool,
}

impl fmt::Debug for Relations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relations").finish_non_exhaustive()
    }
}

impl CatalogProviderList for Relations {
    fn register_catalog(&self, _name: String, _catalog: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.clone()) as _)
    }
}

impl CatalogProvider for Relations {
    fn schema_names(&self) -> Vec<String> {
        self.planning.context.catalog.databases().map(|d| d.name.clone()).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name == FILES_SCHEMA && !self.files.is_empty() {
            return Some(Arc::new(Files(self.files.clone())));
        }
        if name == INFORMATION_SCHEMA {
            return Some(Arc::new(InformationSchemaProvider::new(Arc::new(Self { lenient: true, ..self.clone() }))));
        }
        let database = self.planning.context.catalog.database(name).ok()?.clone();
        Some(Arc::new(Schema { planning: self.planning.clone(), database, lenient: self.lenient }))
    }
}

/// One database.
struct Schema {
    planning: Arc<Planning>,
    database: Arc<Database>,
    lenient: bool,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").field("database", &self.database.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for Schema {
    fn table_names(&self) -> Vec<String> {
        self.planning.context.catalog.relations(self.database.id).map(|r| r.name().to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        match self.planning.context.catalog.relation(self.database.id, name) {
            None => Ok(None),
            Some(Relation::Table(table)) => {
                let name = format!("{}.{}", self.database.name, table.name);
                Ok(Some(Arc::new(TabletTable::new(self.planning.clone(), table.clone(), name))))
            }
            Some(Relation::View(view)) => {
                match self.planning.clone().view(self.database.name.clone(), view.clone()).await {
                    Ok(view) => Ok(Some(Arc::new(view))),
                    Err(_) if self.lenient => Ok(None),
                    Err(error) => Err(DataFusionError::External(Box::new(error))),
                }
            }
        }
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>, DataFusionError> {
        Ok(self.planning.context.catalog.relation(self.database.id, name).map(|relation| match relation {
            Relation::Table(_) => TableType::Base,
            Relation::View(_) => TableType::View,
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.planning.context.catalog.relation(self.database.id, name).is_some()
    }
}

/// The files of a query.
#[derive(Debug)]
struct Files(HashMap<String, Arc<dyn TableProvider>>);

#[async_trait]
impl SchemaProvider for Files {
    fn table_names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        Ok(self.0.get(name).cloned())
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}
