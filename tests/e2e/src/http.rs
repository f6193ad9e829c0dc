//! HTTP with a token, answers as JSON.

use crate::Outcome;
use reqwest::blocking::{Client, RequestBuilder, Response};
use serde_json::Value;
use std::time::Duration;

/// Longer than any wait that the services promise.
const TIMEOUT: Duration = Duration::from_secs(40);

/// A service, as one account sees it.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    token: String,
    client: Client,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub text: String,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// One header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The JSON body, if the status is the expected one.
    ///
    /// # Errors
    /// With the whole answer otherwise.
    pub fn expect(&self, status: u16) -> Outcome<Value> {
        if self.status == status {
            return Ok(self.json());
        }
        Err(format!("expected {status}, got {}: {}", self.status, self.text).into())
    }

    /// The problem's code, if the status is the expected one and the body a problem.
    ///
    /// # Errors
    /// With the whole answer otherwise.
    pub fn problem(&self, status: u16) -> Outcome<Value> {
        let body = self.expect(status)?;
        let kind = self.header("content-type").unwrap_or_default();
        let whole = ["type", "title", "status", "detail", "code", "request_id"];
        let missing: Vec<_> = whole
            .into_iter()
            .filter(|name| body[name].is_null())
            .collect();
        if kind != "application/problem+json" || !missing.is_empty() {
            return Err(format!(
                "no whole problem ({kind}, without {missing:?}): {}",
                self.text
            )
            .into());
        }
        Ok(body)
    }
}

impl Api {
    /// A service at a base URL, for the holder of a token.
    ///
    /// # Errors
    /// When the client cannot be set up.
    pub fn new(base: &str, token: &str) -> Outcome<Self> {
        sluice_service::tls::install_crypto();
        let client = Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            base: base.to_owned(),
            token: token.to_owned(),
            client,
        })
    }

    /// The same service for another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    /// A request that the caller finishes.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = method.parse().unwrap_or(reqwest::Method::GET);
        let request = self.client.request(method, format!("{}{path}", self.base));
        if self.token.is_empty() {
            request
        } else {
            request.bearer_auth(&self.token)
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When nothing answers.
    pub fn send(request: RequestBuilder) -> Outcome<Answer> {
        let answer: Response = request.send()?;
        let headers = answer.headers().iter().map(|(name, value)| {
            (
                name.as_str().to_owned(),
                value.to_str().unwrap_or_default().to_owned(),
            )
        });
        let headers = headers.collect();
        Ok(Answer {
            status: answer.status().as_u16(),
            headers,
            text: answer.text()?,
        })
    }

    /// GET.
    ///
    /// # Errors
    /// When nothing answers.
    pub fn get(&self, path: &str) -> Outcome<Answer> {
        Self::send(self.request("GET", path))
    }

    /// POST without a body.
    ///
    /// # Errors
    /// When nothing answers.
    pub fn post_empty(&self, path: &str) -> Outcome<Answer> {
        Self::send(self.request("POST", path))
    }

    /// A JSON body with any method.
    ///
    /// # Errors
    /// When nothing answers.
    pub fn json(&self, method: &str, path: &str, body: &Value) -> Outcome<Answer> {
        Self::send(self.request(method, path).json(body))
    }

    /// POST with a JSON body.
    ///
    /// # Errors
    /// When nothing answers.
    pub fn post(&self, path: &str, body: &Value) -> Outcome<Answer> {
        self.json("POST", path, body)
    }

    /// POST with a raw body of a content type.
    ///
    /// # Errors
    /// When nothing answers.
    pub fn post_raw(
        &self,
        path: &str,
        content_type: &str,
        body: impl Into<Vec<u8>>,
    ) -> Outcome<Answer> {
        let request = self
            .request("POST", path)
            .header("content-type", content_type);
        Self::send(request.body(body.into()))
    }
}
