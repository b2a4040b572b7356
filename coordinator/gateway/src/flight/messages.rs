//! Messages of `Flight.proto` that the flight library does not generate: session options and the end of a session.

use std::collections::HashMap;

/// A session option's value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SessionOptionValue {
    /// Nothing resets the option.
    #[prost(oneof = "OptionValue", tags = "1, 2, 3, 4, 5")]
    pub option_value: Option<OptionValue>,
}

/// The kinds of values.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum OptionValue {
    /// Text.
    #[prost(string, tag = "1")]
    String(String),
    /// True or false.
    #[prost(bool, tag = "2")]
    Bool(bool),
    /// An integer.
    #[prost(sfixed64, tag = "3")]
    Int64(i64),
    /// A number.
    #[prost(double, tag = "4")]
    Double(f64),
    /// Several texts.
    #[prost(message, tag = "5")]
    StringList(StringListValue),
}

/// Several texts.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StringListValue {
    /// The texts.
    #[prost(string, repeated, tag = "1")]
    pub values: Vec<String>,
}

/// Body of the action `SetSessionOptions`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SetSessionOptionsRequest {
    /// Values by name.
    #[prost(map = "string, message", tag = "1")]
    pub session_options: HashMap<String, SessionOptionValue>,
}

/// Why an option was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum OptionErrorValue {
    /// Not used.
    Unspecified = 0,
    /// There is no such option.
    InvalidName = 1,
    /// The option does not take this value.
    InvalidValue = 2,
    /// Something else.
    Error = 3,
}

/// Why an option was not set.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OptionError {
    /// The class of the error.
    #[prost(enumeration = "OptionErrorValue", tag = "1")]
    pub value: i32,
}

/// Answer to `SetSessionOptions`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SetSessionOptionsResult {
    /// Options that were not set.
    #[prost(map = "string, message", tag = "1")]
    pub errors: HashMap<String, OptionError>,
}

/// Answer to `GetSessionOptions`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetSessionOptionsResult {
    /// Values by name.
    #[prost(map = "string, message", tag = "1")]
    pub session_options: HashMap<String, SessionOptionValue>,
}

/// Answer to `CloseSession`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CloseSessionResult {
    /// 1 is closed.
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// [`CloseSessionResult::status`] of a closed session.
pub const SESSION_CLOSED: i32 = 1;

impl SessionOptionValue {
    /// The value as the text a `SET` statement takes; `None` resets.
    pub fn to_text(&self) -> Option<String> {
        Some(match self.option_value.as_ref()? {
            OptionValue::String(text) => text.clone(),
            OptionValue::Bool(value) => value.to_string(),
            OptionValue::Int64(value) => value.to_string(),
            OptionValue::Double(value) => value.to_string(),
            OptionValue::StringList(list) => list.values.join(","),
        })
    }
}

impl From<String> for SessionOptionValue {
    fn from(text: String) -> Self {
        Self { option_value: Some(OptionValue::String(text)) }
    }
}
