//! Answers: what a handler says, apart from how hyper sends it.

use super::Failure;
use http_body_util::{Either, Full};
use hyper::Response;
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{self, HeaderName, HeaderValue};
use serde::Serialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// The body of an answer: whole, or in parts as they come.
pub(super) type AnswerBody = Either<Full<Bytes>, Parts>;

/// A body that is sent part by part.
#[derive(Debug)]
pub(super) struct Parts(mpsc::Receiver<Bytes>);

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    parts: Option<Parts>,
}

impl Answer {
    /// JSON.
    pub(super) fn json(status: u16, body: &impl Serialize) -> Self {
        Self::of(
            status,
            "application/json",
            serde_json::to_vec(body).unwrap_or_default(),
        )
    }

    /// Prometheus text.
    pub(super) fn text(status: u16, body: String) -> Self {
        Self::of(
            status,
            "text/plain; version=0.0.4; charset=utf-8",
            body.into_bytes(),
        )
    }

    /// Any bytes.
    pub(super) fn of(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type,
            headers: Vec::new(),
            body,
            parts: None,
        }
    }

    /// An answer that is sent part by part.
    pub(super) fn stream(
        status: u16,
        content_type: &'static str,
        parts: mpsc::Receiver<Bytes>,
    ) -> Self {
        Self {
            parts: Some(Parts(parts)),
            ..Self::of(status, content_type, Vec::new())
        }
    }

    /// Its status.
    #[cfg(test)]
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// Its body.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The answer on the wire.
    pub(super) fn respond(self, request_id: &str) -> Response<AnswerBody> {
        let body = match self.parts {
            None => Either::Left(Full::new(Bytes::from(self.body))),
            Some(parts) => Either::Right(parts),
        };
        let mut response = Response::new(body);
        *response.status_mut() =
            hyper::StatusCode::from_u16(self.status).unwrap_or(hyper::StatusCode::OK);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.content_type),
        );
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert(HeaderName::from_static("x-request-id"), id);
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// A failure as an answer.
pub(super) fn problem(failure: Failure, request_id: &str) -> Response<AnswerBody> {
    let Failure {
        mut problem,
        records,
        error_code,
        allow,
    } = failure;
    problem.request_id = Some(request_id.to_owned());
    let status = problem.status;
    let retry = problem.retry_after_s;
    let mut body = serde_json::to_value(problem).unwrap_or_default();
    if let Some(members) = body.as_object_mut() {
        if let Some(records) = records {
            members.insert("records".to_owned(), records);
        }
        if let Some(error_code) = error_code {
            // Where clients of Confluent's API look.
            let message = members.get("detail").cloned().unwrap_or_default();
            members.insert("message".to_owned(), message);
            members.insert("error_code".to_owned(), error_code.into());
        }
    }
    let bytes = serde_json::to_vec(&body).unwrap_or_default();
    let mut answer = Answer::of(status, "application/problem+json", bytes);
    if let Some(seconds) = retry {
        answer = answer.with("retry-after", seconds.to_string());
    }
    if status == 401 {
        answer = answer.with("www-authenticate", "Bearer realm=\"sluice\"".to_owned());
    }
    if let Some(allow) = allow {
        answer = answer.with("allow", allow.to_owned());
    }
    if matches!(status, 408 | 413) {
        // What is left of the body is not read.
        answer = answer.with("connection", "close".to_owned());
    }
    answer.respond(request_id)
}
