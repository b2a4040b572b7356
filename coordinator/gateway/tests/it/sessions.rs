//! Who a client is, and what lasts from call to call.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
use arrow_flight::{BasicAuth, FlightDescriptor, HandshakeRequest};
use prost::Message;
use tarn_gateway::Options;
use tarn_gateway::flight::messages::{
    CloseSessionResult, GetSessionOptionsResult, OptionErrorValue, OptionValue, SESSION_CLOSED, SessionOptionValue,
    SetSessionOptionsRequest, SetSessionOptionsResult,
};
use tonic::{Code, Request};

use crate::harness::{Harness, action, eventually, query, status};

fn descriptor(sql: &str) -> Request<FlightDescriptor> {
    let command = CommandStatementQuery { query: sql.to_owned(), transaction_id: None };
    Request::new(FlightDescriptor::new_cmd(command.as_any().encode_to_vec()))
}

#[tokio::test]
async fn a_handshake_gives_a_token_that_keeps_the_session() {
    let harness = Harness::start_with("secret", Options::default(), None).await;
    let mut client = harness.client().await;
    query(&mut client, "USE shop").await.unwrap();
    assert_eq!(query(&mut client, "SELECT DATABASE()").await.unwrap(), ["shop"]);
    assert_eq!(query(&mut harness.client().await, "SELECT DATABASE()").await.unwrap(), [""]);
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let harness = Harness::start_with("secret", Options::default(), None).await;
    let error = harness.stranger().await.handshake("root", "guess").await.unwrap_err().to_string();
    assert!(error.contains("access denied for user `root`"), "{error}");
    let (code, message) = status(query(&mut harness.stranger().await, "SELECT 1").await);
    assert_eq!(code, Code::Unauthenticated);
    assert!(message.starts_with("this server wants a user name and a password"), "{message}");
}

#[tokio::test]
async fn an_unknown_token_is_told_to_connect_again() {
    let harness = Harness::start().await;
    let mut client = harness.stranger().await;
    client.set_token("0123".to_owned());
    let (code, message) = status(query(&mut client, "SELECT 1").await);
    assert_eq!(code, Code::Unauthenticated);
    assert!(message.contains("connect again"), "{message}");
}

#[tokio::test]
async fn a_client_without_credentials_is_told_a_token_by_its_first_call() {
    let harness = Harness::start().await;
    let mut client = harness.stranger().await;
    let answer = client.inner_mut().get_flight_info(descriptor("USE shop")).await.unwrap();
    let token = answer.metadata().get("authorization").unwrap().to_str().unwrap().replace("Bearer ", "");
    client.set_token(token);
    assert_eq!(query(&mut client, "SELECT DATABASE()").await.unwrap(), ["shop"]);
}

#[tokio::test]
async fn a_refused_first_call_tells_the_token_too() {
    let harness = Harness::start().await;
    let mut client = harness.stranger().await;
    let refused = client.inner_mut().get_flight_info(descriptor("SELECT")).await.unwrap_err();
    assert!(refused.metadata().get("authorization").is_some());
    assert_eq!(refused.message(), "line 1, column 7: expected an expression");
}

#[tokio::test]
async fn basic_credentials_with_a_cookie_keep_the_session() {
    let harness = Harness::start_with("secret", Options::default(), None).await;
    let mut client = harness.stranger().await;
    let basic = "Basic cm9vdDpzZWNyZXQ=";
    let mut request = descriptor("USE shop");
    request.metadata_mut().insert("authorization", basic.parse().unwrap());
    let answer = client.inner_mut().get_flight_info(request).await.unwrap();
    let cookie = answer.metadata().get("set-cookie").unwrap().to_str().unwrap();
    assert!(cookie.starts_with("arrow_flight_session_id="), "{cookie}");
    client.set_header("authorization", basic);
    client.set_header("cookie", cookie.split(';').next().unwrap());
    assert_eq!(query(&mut client, "SELECT DATABASE()").await.unwrap(), ["shop"]);
}

#[tokio::test]
async fn the_oldest_handshake_carries_the_name_in_its_payload() {
    let harness = Harness::start_with("secret", Options::default(), None).await;
    let mut client = harness.stranger().await.into_inner();
    let payload = BasicAuth { username: "root".into(), password: "secret".into() }.encode_to_vec().into();
    let hello = HandshakeRequest { protocol_version: 0, payload };
    let mut answer = client.handshake(futures::stream::iter([hello])).await.unwrap().into_inner();
    let token = answer.message().await.unwrap().unwrap().payload;
    let mut request = descriptor("SELECT 1");
    request.metadata_mut().insert_bin("auth-token-bin", tonic::metadata::BinaryMetadataValue::from_bytes(&token));
    client.get_flight_info(request).await.unwrap();
}

#[tokio::test]
async fn session_options_are_set_told_and_refused_by_name() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let set = SetSessionOptionsRequest {
        session_options: [
            ("schema", OptionValue::String("shop".to_owned())),
            ("query_timeout", OptionValue::Int64(7)),
            ("nonsense", OptionValue::Bool(true)),
        ]
        .map(|(name, value)| (name.to_owned(), SessionOptionValue { option_value: Some(value) }))
        .into(),
    };
    let result: SetSessionOptionsResult = action(&mut client, "SetSessionOptions", set.encode_to_vec()).await.unwrap();
    assert_eq!(result.errors.len(), 1);
    assert_eq!(result.errors["nonsense"].value(), OptionErrorValue::InvalidName);
    let told: GetSessionOptionsResult = action(&mut client, "GetSessionOptions", vec![]).await.unwrap();
    assert_eq!(told.session_options["query_timeout"].to_text().unwrap(), "7");
    assert_eq!(told.session_options["catalog"].to_text().unwrap(), "default_catalog");
    assert_eq!(query(&mut client, "SELECT DATABASE()").await.unwrap(), ["shop"]);
    let reset = SetSessionOptionsRequest {
        session_options: [("schema".to_owned(), SessionOptionValue { option_value: None })].into(),
    };
    let _: SetSessionOptionsResult = action(&mut client, "SetSessionOptions", reset.encode_to_vec()).await.unwrap();
    assert_eq!(query(&mut client, "SELECT DATABASE()").await.unwrap(), [""]);
}

#[tokio::test]
async fn a_closed_session_ends_with_its_statements() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let _statement = client.prepare("SELECT 1".to_owned(), None).await.unwrap();
    assert_eq!(harness.state().open_sessions.load(Ordering::SeqCst), 1);
    let closed: CloseSessionResult = action(&mut client, "CloseSession", vec![]).await.unwrap();
    assert_eq!(closed.status, SESSION_CLOSED);
    eventually("the session ends", || harness.state().open_sessions.load(Ordering::SeqCst) == 0).await;
    assert_eq!(status(query(&mut client, "SELECT 1").await).0, Code::Unauthenticated);
}

#[tokio::test]
async fn sessions_whose_token_never_came_back_end_first() {
    let harness = Harness::start_with("", Options { max_sessions: 3, max_statements: 10 }, None).await;
    let mut kept = harness.client().await;
    let mut stranger = harness.stranger().await;
    for _ in 0..10 {
        stranger.inner_mut().get_flight_info(descriptor("USE shop")).await.unwrap();
    }
    assert_eq!(harness.state().open_sessions.load(Ordering::SeqCst), 3);
    harness.server.expire(Instant::now() + Duration::from_secs(120));
    assert_eq!(harness.state().open_sessions.load(Ordering::SeqCst), 1);
    query(&mut kept, "SELECT 1").await.unwrap();
    harness.server.expire(Instant::now() + Duration::from_secs(9 * 60 * 60));
    assert_eq!(harness.state().open_sessions.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn too_many_sessions_are_refused() {
    let harness = Harness::start_with("", Options { max_sessions: 2, max_statements: 10 }, None).await;
    let _first = harness.client().await;
    let _second = harness.client().await;
    let (code, message) = status(query(&mut harness.stranger().await, "SELECT 1").await);
    assert_eq!(code, Code::ResourceExhausted);
    assert!(message.starts_with("2 sessions are open"), "{message}");
}
