//! Flight SQL's commands: each is taken apart here and handed to the module that knows it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{DoPutError, FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, Command, CommandGetCatalogs,
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest, CommandStatementQuery,
    CommandStatementSubstraitPlan, CommandStatementUpdate, DoPutPreparedStatementResult, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{Action, CancelStatus, FlightDescriptor, FlightInfo, Ticket};
use futures::StreamExt;
use parking_lot::Mutex;
use prost::Message;
use tarn_catalog::Catalog;
use tonic::{Request, Response, Status};

use super::call::Call;
use super::error::Error;
use super::ingest::{self, refuse_transaction};
use super::metadata::{self, keys, objects, sql_info, types};
use super::results::{self, FlightDataStream};
use super::server::Shared;
use super::statements::PreparedStatement;
use super::{actions, query, upload, wire};

/// The commands over shared state.
#[derive(Clone)]
pub(crate) struct Commands(pub(crate) Arc<Shared>);

type Info = Result<Response<FlightInfo>, Status>;
type Rows = Result<Response<FlightDataStream>, Status>;

impl Commands {
    async fn catalog(&self) -> Result<Catalog, Error> {
        Ok(self.0.engine.catalog().await?)
    }

    /// The answer to a metadata command: the ticket is the command.
    fn described(&self, request: Request<FlightDescriptor>) -> Info {
        let descriptor = request.into_inner();
        let command = Any::decode(&*descriptor.cmd).ok().and_then(|any| Command::try_from(any).ok());
        let schema = command.as_ref().and_then(metadata::schema_of);
        let schema = schema.ok_or(Error::Unsupported("this command is not supported"))?;
        Ok(Response::new(metadata::info(descriptor, &schema)?))
    }
}

/// Tells the client what a statement did.
fn answer(call: &Call, applied: query::Applied) -> i64 {
    let count = applied.count();
    call.set_message(applied.into_message());
    count
}

fn rows(batch: Result<RecordBatch, Error>) -> Rows {
    Ok(Response::new(results::single(batch?)))
}

#[tonic::async_trait]
impl FlightSqlService for Commands {
    type FlightService = Self;

    async fn get_flight_info_statement(
        &self,
        command: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Info {
        let call = Call::of(&request)?;
        refuse_transaction(command.transaction_id.as_deref())?;
        let prepared = call.session.engine.prepare(&command.query).await.map_err(Error::Engine)?;
        let statement = (&call.session, command.query.as_str(), &prepared);
        let info = query::flight_info(&self.0.statements, &call, request.into_inner(), statement, None).await?;
        Ok(Response::new(info))
    }

    async fn get_flight_info_prepared_statement(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Info {
        let call = Call::of(&request)?;
        let prepared = self.0.statements.prepared(&command.prepared_statement_handle, &call.session.user)?;
        let bound = prepared.bound.lock().clone();
        let statement = (&prepared.session, prepared.sql.as_str(), &prepared.prepared);
        let info = query::flight_info(&self.0.statements, &call, request.into_inner(), statement, bound).await?;
        Ok(Response::new(info))
    }

    async fn get_flight_info_catalogs(&self, _: CommandGetCatalogs, request: Request<FlightDescriptor>) -> Info {
        self.described(request)
    }

    async fn get_flight_info_schemas(&self, _: CommandGetDbSchemas, request: Request<FlightDescriptor>) -> Info {
        self.described(request)
    }

    async fn get_flight_info_tables(&self, _: CommandGetTables, request: Request<FlightDescriptor>) -> Info {
        self.described(request)
    }

    async fn get_flight_info_table_types(&self, _: CommandGetTableTypes, request: Request<FlightDescriptor>) -> Info {
        self.described(request)
    }

    async fn get_flight_info_sql_info(&self, _: CommandGetSqlInfo, request: Request<FlightDescriptor>) -> Info {
        self.described(request)
    }

    async fn get_flight_info_primary_keys(&self, _: CommandGetPrimaryKeys, request: Request<FlightDescriptor>) -> Info {
        self.described(request)
    }

    async fn get_flight_info_exported_keys(
        &self,
        _: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Info {
        self.described(request)
    }

    async fn get_flight_info_imported_keys(
        &self,
        _: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Info {
        self.described(request)
    }

    async fn get_flight_info_cross_reference(
        &self,
        _: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Info {
        self.described(request)
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        _: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Info {
        self.described(request)
    }

    async fn get_flight_info_substrait_plan(
        &self,
        _: CommandStatementSubstraitPlan,
        _: Request<FlightDescriptor>,
    ) -> Info {
        Err(Error::Unsupported("Substrait plans are not supported: send SQL").into())
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Request<Ticket>) -> Rows {
        let call = Call::of(&request)?;
        Ok(Response::new(query::redeem(&self.0.statements, &call, &ticket).await?))
    }

    async fn do_get_prepared_statement(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Rows {
        let call = Call::of(&request)?;
        let statement = self.0.statements.prepared(&command.prepared_statement_handle, &call.session.user)?;
        Ok(Response::new(query::run_prepared(&self.0.statements, &call, &statement).await?))
    }

    async fn do_get_catalogs(&self, command: CommandGetCatalogs, _: Request<Ticket>) -> Rows {
        rows(objects::catalogs(command))
    }

    async fn do_get_schemas(&self, command: CommandGetDbSchemas, _: Request<Ticket>) -> Rows {
        rows(objects::databases(command, &self.catalog().await?))
    }

    async fn do_get_tables(&self, command: CommandGetTables, request: Request<Ticket>) -> Rows {
        let call = Call::of(&request)?;
        rows(objects::tables(command, &self.catalog().await?, &*call.session.engine).await)
    }

    async fn do_get_table_types(&self, command: CommandGetTableTypes, _: Request<Ticket>) -> Rows {
        rows(objects::table_types(command))
    }

    async fn do_get_sql_info(&self, command: CommandGetSqlInfo, _: Request<Ticket>) -> Rows {
        rows(sql_info::batch(command))
    }

    async fn do_get_primary_keys(&self, command: CommandGetPrimaryKeys, _: Request<Ticket>) -> Rows {
        rows(keys::primary(&command, &self.catalog().await?))
    }

    async fn do_get_exported_keys(&self, _: CommandGetExportedKeys, _: Request<Ticket>) -> Rows {
        rows(Ok(keys::foreign()))
    }

    async fn do_get_imported_keys(&self, _: CommandGetImportedKeys, _: Request<Ticket>) -> Rows {
        rows(Ok(keys::foreign()))
    }

    async fn do_get_cross_reference(&self, _: CommandGetCrossReference, _: Request<Ticket>) -> Rows {
        rows(Ok(keys::foreign()))
    }

    async fn do_get_xdbc_type_info(&self, command: CommandGetXdbcTypeInfo, _: Request<Ticket>) -> Rows {
        rows(types::batch(command))
    }

    async fn do_put_statement_update(
        &self,
        command: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let call = Call::of(&request)?;
        refuse_transaction(command.transaction_id.as_deref())?;
        let _busy = call.session.busy();
        let applied = query::apply(&call.session, &command.query, None).await?;
        Ok(answer(&call, applied))
    }

    async fn do_put_prepared_statement_update(
        &self,
        command: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let call = Call::of(&request)?;
        let statement = self.0.statements.prepared(&command.prepared_statement_handle, &call.session.user)?;
        // Some drivers send parameters with the update, others bind them before it.
        let sent = upload::parameters(request.into_inner()).await?;
        let bound = sent.or_else(|| statement.bound.lock().clone());
        query::check_bound(&statement.prepared, bound.as_ref())?;
        let _busy = statement.session.busy();
        let applied = query::apply(&statement.session, &statement.sql, bound).await?;
        Ok(answer(&call, applied))
    }

    async fn do_put_prepared_statement_query(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let call = Call::of(&request)?;
        let handle = command.prepared_statement_handle;
        let statement = self.0.statements.prepared(&handle, &call.session.user)?;
        let bound = upload::parameters(request.into_inner()).await?;
        query::check_bound(&statement.prepared, bound.as_ref())?;
        *statement.bound.lock() = bound;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    async fn do_put_statement_ingest(
        &self,
        command: CommandStatementIngest,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let call = Call::of(&request)?;
        let ingest = ingest::request(command)?;
        let (schema, batches) = upload::rows(request.into_inner()).await?;
        let _busy = call.session.busy();
        let loaded = call.session.engine.ingest(ingest, schema, batches.boxed()).await.map_err(Error::Engine)?;
        Ok(i64::try_from(loaded).unwrap_or(i64::MAX))
    }

    async fn do_put_error_callback(
        &self,
        _: Request<PeekableFlightDataStream>,
        error: DoPutError,
    ) -> Result<Response<<Self as FlightService>::DoPutStream>, Status> {
        Err(Error::Malformed(error.to_string()).into())
    }

    async fn do_put_substrait_plan(
        &self,
        _: CommandStatementSubstraitPlan,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(Error::Unsupported("Substrait plans are not supported: send SQL").into())
    }

    async fn do_action_create_prepared_statement(
        &self,
        command: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let call = Call::of(&request)?;
        refuse_transaction(command.transaction_id.as_deref())?;
        let prepared = call.session.engine.prepare(&command.query).await.map_err(Error::Engine)?;
        let dataset_schema = wire::schema_bytes(&wire::result_schema(&prepared.schema))?;
        let parameter_schema = wire::schema_bytes(&wire::result_schema(&prepared.parameters))?;
        let prepared_statement_handle = self.0.statements.keep(PreparedStatement {
            session: Arc::clone(&call.session),
            sql: command.query,
            prepared,
            bound: Mutex::new(None),
        })?;
        Ok(ActionCreatePreparedStatementResult { prepared_statement_handle, dataset_schema, parameter_schema })
    }

    async fn do_action_close_prepared_statement(
        &self,
        command: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        let call = Call::of(&request)?;
        self.0.statements.close(&command.prepared_statement_handle, &call.session.user);
        Ok(())
    }

    async fn do_action_cancel_query(
        &self,
        command: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        let call = Call::of(&request)?;
        let info = FlightInfo::decode(command.info).map_err(|e| Error::Malformed(e.to_string()))?;
        actions::cancel(&self.0, &call, &info).await?;
        // The older message counts its results as the newer one does.
        Ok(ActionCancelQueryResult { result: CancelStatus::Cancelled as i32 })
    }

    /// The items are constant.
    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}
