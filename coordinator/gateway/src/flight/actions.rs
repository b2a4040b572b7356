//! Actions beside those of Flight SQL: cancelling, session options, closing a session.

use arrow_flight::sql::{Any, Command};
use arrow_flight::{Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo};
use prost::Message;
use tarn_proto::ErrorKind;

use super::call::Call;
use super::error::{Error, NO_TRANSACTIONS};
use super::messages::{
    CloseSessionResult, GetSessionOptionsResult, OptionError, OptionErrorValue, SESSION_CLOSED,
    SetSessionOptionsRequest, SetSessionOptionsResult,
};
use super::server::Shared;
use crate::engine::Session;

/// Every action the server answers, for `ListActions`.
pub(crate) fn list() -> Vec<ActionType> {
    [
        ("CreatePreparedStatement", "Prepares a statement: ActionCreatePreparedStatementRequest"),
        ("ClosePreparedStatement", "Closes a prepared statement: ActionClosePreparedStatementRequest"),
        ("CancelQuery", "Cancels a query: ActionCancelQueryRequest"),
        ("CancelFlightInfo", "Cancels a query: CancelFlightInfoRequest"),
        ("SetSessionOptions", "Sets catalog, schema and variables: SetSessionOptionsRequest"),
        ("GetSessionOptions", "Tells catalog, schema and variables: GetSessionOptionsRequest"),
        ("CloseSession", "Ends the session: CloseSessionRequest"),
    ]
    .map(|(name, description)| ActionType { r#type: name.to_owned(), description: description.to_owned() })
    .into()
}

/// Runs an action that Flight SQL does not define.
pub(crate) async fn run(shared: &Shared, call: &Call, action: &Action) -> Result<Vec<u8>, Error> {
    match action.r#type.as_str() {
        "CancelFlightInfo" => {
            let request = CancelFlightInfoRequest::decode(&*action.body).map_err(malformed)?;
            let info = request.info.ok_or_else(|| Error::Malformed("no flight to cancel".to_owned()))?;
            cancel(shared, call, &info).await?;
            Ok(CancelFlightInfoResult::new(CancelStatus::Cancelled).encode_to_vec())
        }
        "SetSessionOptions" => {
            let request = SetSessionOptionsRequest::decode(&*action.body).map_err(malformed)?;
            Ok(set_options(&*call.session.engine, request).await.encode_to_vec())
        }
        "GetSessionOptions" => {
            let options = call.session.engine.options();
            let session_options = options.into_iter().map(|(name, value)| (name, value.into())).collect();
            Ok(GetSessionOptionsResult { session_options }.encode_to_vec())
        }
        "CloseSession" => {
            shared.statements.close_session(&call.session);
            shared.sessions.close(&call.session);
            Ok(CloseSessionResult { status: SESSION_CLOSED }.encode_to_vec())
        }
        "BeginTransaction" | "EndTransaction" | "BeginSavepoint" | "EndSavepoint" => {
            Err(Error::Unsupported(NO_TRANSACTIONS))
        }
        _ => Err(Error::Unsupported("unknown action: ListActions tells those that there are")),
    }
}

/// Cancels the query that a `FlightInfo` belongs to: by its ticket, or by the `query_id` in its metadata, which may run on
/// another coordinator.
pub(crate) async fn cancel(shared: &Shared, call: &Call, info: &FlightInfo) -> Result<(), Error> {
    for ticket in info.endpoint.iter().filter_map(|e| e.ticket.as_ref()) {
        let command = Any::decode(&*ticket.ticket).ok().and_then(|any| Command::try_from(any).ok());
        if let Some(Command::TicketStatementQuery(ticket)) = command
            && shared.statements.cancel(&ticket.statement_handle, &call.session.user)
        {
            return Ok(());
        }
    }
    let metadata = serde_json::from_slice::<serde_json::Value>(&info.app_metadata).unwrap_or_default();
    match metadata.get("query_id").and_then(|id| id.as_str()) {
        Some(id) if shared.engine.cancel_query(id).await? => Ok(()),
        _ => Err(Error::UnknownTicket),
    }
}

async fn set_options(session: &dyn Session, request: SetSessionOptionsRequest) -> SetSessionOptionsResult {
    let mut result = SetSessionOptionsResult::default();
    // A catalog change may reset the schema, so it goes first.
    let mut options: Vec<_> = request.session_options.into_iter().collect();
    options.sort_by(|(a, _), (b, _)| (a != "catalog", a).cmp(&(b != "catalog", b)));
    for (name, value) in options {
        if let Err(e) = session.set_option(&name, value.to_text().as_deref()).await {
            tracing::debug!(option = name, error = %e, "session option refused");
            let value = match e.kind {
                ErrorKind::NotFound => OptionErrorValue::InvalidName,
                ErrorKind::Invalid => OptionErrorValue::InvalidValue,
                _ => OptionErrorValue::Error,
            };
            result.errors.insert(name, OptionError { value: value.into() });
        }
    }
    result
}

fn malformed(error: prost::DecodeError) -> Error {
    Error::Malformed(error.to_string())
}
