//! A Flight SQL client for tests.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use tonic::transport::{Channel, Endpoint};

/// One session.
pub struct Client(FlightSqlServiceClient<Channel>);

impl Client {
    /// Connects as `root`.
    pub async fn connect(url: &str) -> Self {
        let channel = Endpoint::from_shared(url.replace("grpc://", "http://"))
            .expect("an address")
            .connect_timeout(Duration::from_secs(5))
            .connect()
            .await
            .expect("a server");
        let mut client = FlightSqlServiceClient::new(channel);
        client.handshake("root", "").await.expect("a session");
        Self(client)
    }

    /// Runs any statement: those without rows return no columns.
    pub async fn run(&mut self, sql: &str) -> Result<Vec<RecordBatch>, FlightError> {
        let mut statement = self.0.prepare(sql.to_owned(), None).await?;
        let info = statement.execute().await?;
        let mut batches = Vec::new();
        for ticket in info.endpoint.into_iter().filter_map(|e| e.ticket) {
            batches.extend(self.0.do_get(ticket).await?.try_collect::<Vec<_>>().await?);
        }
        statement.close().await?;
        Ok(batches)
    }
}
