//! Client sessions by token.
//!
//! A session is found by its bearer token or its cookie. A call without either opens one, and the response tells the
//! token: drivers keep it and send it from then on, so that `USE` and `SET` last. A driver that does not keep it gets a
//! session per call; such sessions are forgotten soon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use uuid::Uuid;

use super::auth::{Credentials, Presented, SESSION_COOKIE};
use super::error::Error;
use super::registry::{Registry, SPARED};
use crate::engine::{ClientInfo, Engine, Session};
use crate::metrics;

/// A session without calls and without running results ends after this: the MySQL world's `wait_timeout`.
const IDLE: Duration = Duration::from_secs(8 * 60 * 60);
/// A session whose token never came back ends after this: its client does not keep tokens.
const UNCLAIMED: Duration = Duration::from_secs(60);
/// Who a client is that does not say.
const ANONYMOUS: &str = "root";

/// A session and what the gateway knows of it.
pub(crate) struct ClientSession {
    pub(crate) engine: Arc<dyn Session>,
    pub(crate) user: String,
    token: String,
    claimed: AtomicBool,
    running: AtomicUsize,
}

/// Keeps a session from expiring while a result runs.
pub(crate) struct Busy(Arc<ClientSession>);

impl ClientSession {
    /// Counts a running result until the guard is dropped.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.running.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    fn time_to_live(&self) -> Option<Duration> {
        if self.running.load(Ordering::Relaxed) > 0 {
            None
        } else if self.claimed.load(Ordering::Relaxed) {
            Some(IDLE)
        } else {
            Some(UNCLAIMED)
        }
    }

    /// How long it must be idle to make room for another; `None` while a result runs.
    fn spared(&self) -> Option<Duration> {
        let is_idle = self.running.load(Ordering::Relaxed) == 0;
        is_idle.then_some(if self.claimed.load(Ordering::Relaxed) { SPARED } else { Duration::ZERO })
    }

    /// Tells the token to the client, as header and as cookie.
    pub(crate) fn announce(&self, metadata: &mut MetadataMap) {
        let bearer = AsciiMetadataValue::try_from(format!("Bearer {}", self.token));
        let cookie = AsciiMetadataValue::try_from(format!("{SESSION_COOKIE}={}; Path=/; HttpOnly", self.token));
        metadata.insert("authorization", bearer.expect("a token is hexadecimal"));
        metadata.append("set-cookie", cookie.expect("a token is hexadecimal"));
    }

    /// The secret that names the session.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A call let in.
pub(crate) struct Admitted {
    pub(crate) session: Arc<ClientSession>,
    /// The session was opened by this call: its token must be announced.
    pub(crate) opened: bool,
}

/// All sessions of this coordinator's Flight clients.
pub(crate) struct Sessions {
    engine: Arc<dyn Engine>,
    capacity: usize,
    by_token: Mutex<Registry<Arc<ClientSession>>>,
}

impl Sessions {
    pub(crate) fn new(engine: Arc<dyn Engine>, capacity: usize) -> Self {
        Self { engine, capacity, by_token: Mutex::new(Registry::new(capacity)) }
    }

    /// Finds the session of a call, or authenticates the client and opens one.
    pub(crate) async fn admit(&self, presented: Presented, address: String) -> Result<Admitted, Error> {
        let Presented { credentials, cookie } = presented;
        let cookie = cookie.and_then(|token| self.find(&token));
        let (user, password) = match credentials {
            Credentials::Bearer(token) => {
                let session = self.find(&token).ok_or(Error::SessionExpired)?;
                return Ok(Admitted { session, opened: false });
            }
            Credentials::Basic { user, password } => (user, password),
            Credentials::None => match cookie {
                Some(session) => return Ok(Admitted { session, opened: false }),
                None => (ANONYMOUS.to_owned(), String::new()),
            },
        };
        let anonymous = password.is_empty() && user == ANONYMOUS;
        self.engine.authenticate(&user, &password).await.map_err(|e| match e.kind {
            tarn_proto::ErrorKind::Denied if anonymous => Error::NoCredentials,
            _ => Error::Engine(e),
        })?;
        match cookie.filter(|session| session.user == user) {
            Some(session) => Ok(Admitted { session, opened: false }),
            None => Ok(Admitted { session: self.open(user, address, false).await?, opened: true }),
        }
    }

    /// Authenticates a handshake. Its session is the client's own from the beginning.
    pub(crate) async fn handshake(
        &self,
        credentials: Credentials,
        address: String,
    ) -> Result<Arc<ClientSession>, Error> {
        let (user, password) = match credentials {
            Credentials::Basic { user, password } => (user, password),
            Credentials::Bearer(token) => return self.find(&token).ok_or(Error::SessionExpired),
            Credentials::None => (ANONYMOUS.to_owned(), String::new()),
        };
        self.engine.authenticate(&user, &password).await?;
        self.open(user, address, true).await
    }

    /// Forgets a session. It ends when its last running result does.
    pub(crate) fn close(&self, session: &ClientSession) {
        let closed = self.by_token.lock().remove(&session.token);
        drop(closed);
        self.report();
    }

    /// Ends sessions that were not used for their time.
    pub(crate) fn expire(&self, now: Instant) {
        let expired = self.by_token.lock().expire(now, |s| s.time_to_live());
        if !expired.is_empty() {
            tracing::debug!(sessions = expired.len(), "idle sessions ended");
        }
        drop(expired);
        self.report();
    }

    fn find(&self, token: &str) -> Option<Arc<ClientSession>> {
        let session = self.by_token.lock().get(token, Instant::now()).cloned()?;
        session.claimed.store(true, Ordering::Relaxed);
        Some(session)
    }

    async fn open(&self, user: String, address: String, claimed: bool) -> Result<Arc<ClientSession>, Error> {
        self.make_room(Instant::now())?;
        let client = ClientInfo { user: user.clone(), address, protocol: "Flight SQL" };
        let session = Arc::new(ClientSession {
            engine: self.engine.open_session(client).await?,
            user,
            token: Uuid::new_v4().simple().to_string(),
            claimed: AtomicBool::new(claimed),
            running: AtomicUsize::new(0),
        });
        let inserted = self.by_token.lock().insert(session.token.clone(), Arc::clone(&session), Instant::now());
        inserted.map_err(|_| Error::TooManySessions(self.capacity))?;
        self.report();
        Ok(session)
    }

    /// Makes sure that one more session fits, at the expense of clients that do not keep their tokens, then of those that
    /// seem to be gone.
    fn make_room(&self, now: Instant) -> Result<(), Error> {
        if !self.by_token.lock().is_full() {
            return Ok(());
        }
        self.expire(now);
        let mut sessions = self.by_token.lock();
        let mut evicted = None;
        if sessions.is_full() {
            let unclaimed = |s: &Arc<ClientSession>| s.spared().filter(Duration::is_zero);
            evicted = sessions.evict(now, unclaimed).or_else(|| sessions.evict(now, |s| s.spared()));
        }
        let full = sessions.is_full();
        drop(sessions);
        drop(evicted);
        if full { Err(Error::TooManySessions(self.capacity)) } else { Ok(()) }
    }

    fn report(&self) {
        metrics::sessions(self.by_token.lock().len());
    }
}
