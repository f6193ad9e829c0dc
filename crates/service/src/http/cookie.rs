//! Console sessions: an opaque random id in an HttpOnly, SameSite=Strict cookie; the token that the
//! user typed stays in the memory of the service and ends with it.

use crate::secret::{Secret, hash};
use actix_web::HttpRequest;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a session lasts without use, unless [`Sessions::lasting`] says otherwise.
const IDLE_MAX: Duration = Duration::from_secs(2 * 3600);
/// How long a session lasts in any case, unless [`Sessions::lasting`] says otherwise.
const AGE_MAX: Duration = Duration::from_secs(12 * 3600);
/// Sessions at one time; the longest idle one makes room.
const SESSIONS_MAX: usize = 10_000;

/// The sessions of one service.
#[derive(Clone, Debug)]
pub struct Sessions {
    name: &'static str,
    secure: bool,
    idle_max: Duration,
    age_max: Duration,
    inner: Arc<Mutex<HashMap<[u8; 32], Session>>>,
}

#[derive(Debug)]
struct Session {
    token: Secret,
    started: Instant,
    used: Instant,
}

impl Sessions {
    /// Sessions under a cookie name; `secure` when the service speaks TLS.
    pub fn new(name: &'static str, secure: bool) -> Self {
        Self {
            name,
            secure,
            idle_max: IDLE_MAX,
            age_max: AGE_MAX,
            inner: Arc::default(),
        }
    }

    /// Sessions that last this long without use, and that long in any case.
    pub fn lasting(mut self, idle_max: Duration, age_max: Duration) -> Self {
        self.idle_max = idle_max;
        self.age_max = age_max;
        self
    }

    fn lives(&self, session: &Session) -> bool {
        session.used.elapsed() < self.idle_max && session.started.elapsed() < self.age_max
    }

    /// Starts a session for a token that was verified.
    pub fn start(&self, token: &str) -> Cookie<'static> {
        let id = format!(
            "{}{}",
            uuid::Uuid::new_v4().simple(),
            uuid::Uuid::new_v4().simple()
        );
        let mut sessions = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| self.lives(session));
        if sessions.len() >= SESSIONS_MAX {
            let oldest = sessions
                .iter()
                .min_by_key(|(_, s)| s.used)
                .map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                sessions.remove(&oldest);
            }
        }
        let session = Session {
            token: Secret::new(token.to_owned()),
            started: Instant::now(),
            used: Instant::now(),
        };
        sessions.insert(hash(&id), session);
        self.cookie(id)
    }

    /// The token of the session that a request belongs to.
    pub fn token(&self, request: &HttpRequest) -> Option<Secret> {
        let id = request.cookie(self.name)?;
        let mut sessions = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions.get_mut(&hash(id.value()))?;
        if !self.lives(session) {
            return None;
        }
        session.used = Instant::now();
        Some(session.token.clone())
    }

    /// Ends the session of a request; the cookie that the answer sets removes it in the browser.
    pub fn end(&self, request: &HttpRequest) -> Cookie<'static> {
        if let Some(id) = request.cookie(self.name) {
            let mut sessions = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.remove(&hash(id.value()));
        }
        let mut cookie = self.cookie(String::new());
        cookie.make_removal();
        cookie
    }

    fn cookie(&self, value: String) -> Cookie<'static> {
        Cookie::build(self.name, value)
            .path("/")
            .http_only(true)
            .same_site(SameSite::Strict)
            .secure(self.secure)
            .finish()
    }
}

/// Whether a form comes from our own pages: a browser always says where a form came from.
pub fn same_origin(request: &HttpRequest) -> bool {
    let headers = request.headers();
    if let Some(site) = headers.get("sec-fetch-site") {
        return matches!(site.to_str(), Ok("same-origin" | "none"));
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        // Not a browser: it sends no cookies by itself, so there is nothing to forge.
        return true;
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    matches!((origin, host), (Some((_, origin)), Some(host)) if origin == host)
}
