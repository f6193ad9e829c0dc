//! Request bodies: bounded in size and time, of a known content type.

use super::problem::Failure;
use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use sluice_model::problem::{Code, Problem};
use std::time::Duration;

/// How large a body may be and how long it may take; put into the app's data.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Most bytes.
    pub max_bytes: usize,
    /// Time within which all of it must have arrived.
    pub timeout: Duration,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self {
            max_bytes: 1024 * 1024,
            timeout: Duration::from_secs(30),
        }
    }
}

impl From<&crate::config::HttpSettings> for BodyLimits {
    fn from(settings: &crate::config::HttpSettings) -> Self {
        let timeout = Duration::from_secs(settings.body_timeout_s);
        Self {
            max_bytes: settings.body_max_bytes,
            timeout,
        }
    }
}

/// A JSON body as bytes. It may be empty, and then needs no content type.
#[derive(Debug)]
pub struct JsonBytes(pub Bytes);

impl FromRequest for JsonBytes {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let limits = request
            .app_data::<web::Data<BodyLimits>>()
            .map(|limits| ***limits);
        let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
        let payload = payload.take();
        Box::pin(async move {
            let bytes = collect(payload, limits.unwrap_or_default()).await?;
            let content_type = content_type
                .as_ref()
                .map(|value| value.to_str().unwrap_or("?"));
            if !bytes.is_empty() && !content_type.is_some_and(is_json) {
                let got = content_type.unwrap_or("none");
                let detail = format!("send Content-Type: application/json, not {got}");
                return Err(Problem::new(Code::UnsupportedMediaType, detail).into());
            }
            Ok(Self(bytes))
        })
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence.to_ascii_lowercase().ends_with("+json")
}

/// The fields of an HTML form. A form of buttons alone may be empty, and then needs no content type.
#[derive(Debug)]
pub struct FormFields(pub Vec<(String, String)>);

impl FormFields {
    /// The first value of a field, without white space around it; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(field, _)| field == name);
        found
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// The fields as they were sent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromRequest for FormFields {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let limits = request
            .app_data::<web::Data<BodyLimits>>()
            .map(|limits| ***limits);
        let is_form = request.content_type() == "application/x-www-form-urlencoded";
        let payload = payload.take();
        Box::pin(async move {
            let bytes = collect(payload, limits.unwrap_or_default()).await?;
            if !bytes.is_empty() && !is_form {
                let detail = "send Content-Type: application/x-www-form-urlencoded";
                return Err(Problem::new(Code::UnsupportedMediaType, detail).into());
            }
            let unreadable = |_| Problem::new(Code::MalformedRequest, "the form cannot be read");
            let text =
                std::str::from_utf8(&bytes).map_err(|error| unreadable(error.to_string()))?;
            let fields = web::Query::<Vec<(String, String)>>::from_query(text);
            Ok(Self(
                fields
                    .map_err(|error| unreadable(error.to_string()))?
                    .into_inner(),
            ))
        })
    }
}

/// Reads a whole body.
///
/// # Errors
/// 413 when it is too long, 408 when it takes too long, 400 when it breaks off.
pub async fn collect(mut payload: Payload, limits: BodyLimits) -> Result<Bytes, Failure> {
    let read = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| {
                Problem::new(
                    Code::MalformedRequest,
                    format!("the body cannot be read: {error}"),
                )
            })?;
            if body.len() + chunk.len() > limits.max_bytes {
                let detail = format!("a body has at most {} bytes", limits.max_bytes);
                return Err(Problem::new(Code::TooLarge, detail));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    if let Ok(outcome) = tokio::time::timeout(limits.timeout, read).await {
        return outcome.map_err(Failure::from);
    }
    let detail = format!("the body did not arrive within {:?}", limits.timeout);
    Err(Problem::new(Code::RequestTimeout, detail).into())
}
