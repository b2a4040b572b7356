//! Who calls: credentials out of a call's headers. Reads only; [`super::sessions`] decides.

use arrow_flight::BasicAuth;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use prost::Message;
use tonic::metadata::MetadataMap;

use super::error::Error;

/// The cookie that Flight clients keep for a session.
pub(crate) const SESSION_COOKIE: &str = "arrow_flight_session_id";
/// Where clients of the oldest handshake put the token.
const TOKEN_HEADER: &str = "auth-token-bin";

/// What an `authorization` header says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// Nothing.
    None,
    /// User name and password.
    Basic { user: String, password: String },
    /// A session's token.
    Bearer(String),
}

/// What a call carries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Presented {
    pub(crate) credentials: Credentials,
    /// The token in the session cookie.
    pub(crate) cookie: Option<String>,
}

/// Reads a call's headers.
pub(crate) fn presented(metadata: &MetadataMap) -> Result<Presented, Error> {
    let cookie = metadata.get_all("cookie").iter().filter_map(|v| v.to_str().ok()).find_map(session_cookie);
    let credentials = match metadata.get("authorization") {
        Some(value) => authorization(value.to_str().map_err(|_| header_error("it is not plain ASCII"))?)?,
        None => match metadata.get_bin(TOKEN_HEADER).and_then(|v| v.to_bytes().ok()) {
            Some(token) => Credentials::Bearer(String::from_utf8_lossy(&token).into_owned()),
            None => Credentials::None,
        },
    };
    Ok(Presented { credentials, cookie })
}

/// Reads the payload of the oldest handshake: a `BasicAuth` message.
pub(crate) fn handshake_payload(payload: &[u8]) -> Option<Credentials> {
    let auth = BasicAuth::decode(payload).ok().filter(|auth| !auth.username.is_empty())?;
    Some(Credentials::Basic { user: auth.username, password: auth.password })
}

const fn header_error(problem: &'static str) -> Error {
    Error::Header { header: "authorization", problem }
}

fn authorization(value: &str) -> Result<Credentials, Error> {
    let (scheme, rest) = value.trim().split_once(' ').ok_or(header_error("expected `Basic ...` or `Bearer ...`"))?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Credentials::Bearer(rest.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(header_error("the scheme is neither Basic nor Bearer"));
    }
    let bytes = BASE64_STANDARD
        .decode(rest)
        .or_else(|_| BASE64_STANDARD_NO_PAD.decode(rest))
        .map_err(|_| header_error("the Basic credentials are not base64"))?;
    let text = String::from_utf8(bytes).map_err(|_| header_error("the Basic credentials are not UTF-8"))?;
    let (user, password) = text.split_once(':').ok_or(header_error("the Basic credentials have no colon"))?;
    Ok(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
}

fn session_cookie(header: &str) -> Option<String> {
    header.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == SESSION_COOKIE).then(|| value.trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &'static str)]) -> Result<Presented, Error> {
        let mut metadata = MetadataMap::new();
        for (key, value) in pairs {
            metadata.append(*key, value.parse().unwrap());
        }
        presented(&metadata)
    }

    #[test]
    fn basic_credentials_may_hold_colons_and_lack_padding() {
        let expected = Credentials::Basic { user: "root".into(), password: "a:b".into() };
        assert_eq!(read(&[("authorization", "Basic cm9vdDphOmI=")]).unwrap().credentials, expected);
        assert_eq!(read(&[("authorization", "basic cm9vdDphOmI")]).unwrap().credentials, expected);
    }

    #[test]
    fn the_session_cookie_is_found_among_others() {
        let presented = read(&[("cookie", "a=1; arrow_flight_session_id=xyz; b=2")]).unwrap();
        assert_eq!(presented, Presented { credentials: Credentials::None, cookie: Some("xyz".into()) });
    }

    #[test]
    fn malformed_authorization_is_refused_and_not_ignored() {
        for value in ["Basic", "Digest abc", "Basic !!!", "Basic cm9vdA=="] {
            assert!(read(&[("authorization", value)]).is_err(), "{value}");
        }
    }

    #[test]
    fn a_handshake_payload_names_user_and_password() {
        let payload = BasicAuth { username: "root".into(), password: "secret".into() }.encode_to_vec();
        assert_eq!(
            handshake_payload(&payload),
            Some(Credentials::Basic { user: "root".into(), password: "secret".into() })
        );
        assert_eq!(handshake_payload(b""), None);
    }
}
