//! Request bodies: bounded in bytes, in time and by the memory budget.

use super::Http;
use crate::budget::Charge;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::{Request, header};
use sluice_model::problem::{Code, Problem};

/// Seconds after which a client may try again when memory is short.
const RETRY_S: u32 = 1;
/// Memory that a record takes beside its bytes, at most, for each byte of a body.
const OVERHEAD: usize = 2;

/// Reads a body; its memory is reserved before it is read.
pub(super) async fn read(
    http: &Http,
    request: Request<Incoming>,
) -> Result<(Bytes, Charge), Box<Problem>> {
    if let Some(encoding) = request.headers().get(header::CONTENT_ENCODING)
        && encoding.as_bytes() != b"identity"
    {
        let detail = "bodies are taken without Content-Encoding only";
        return Err(Box::new(Problem::new(Code::UnsupportedMediaType, detail)));
    }
    let body = request.into_body();
    let announced = body.size_hint().exact().map(|bytes| bytes as usize);
    if announced.is_some_and(|bytes| bytes > http.body_max) {
        return Err(too_large(http.body_max));
    }
    let room = announced.unwrap_or(http.body_max).saturating_mul(OVERHEAD);
    let room = room.min(http.inlet.budget.max());
    let Some(charge) = http.inlet.budget.try_reserve(room) else {
        metrics::counter!("producer_busy_answers_total").increment(1);
        let detail = "too much waits for Kafka already";
        return Err(Box::new(
            Problem::new(Code::Busy, detail).retry_after(RETRY_S),
        ));
    };
    let bytes = if let Ok(bytes) =
        tokio::time::timeout(http.body_timeout, collect(body, http.body_max)).await
    {
        bytes?
    } else {
        let detail = format!("the body did not arrive within {:?}", http.body_timeout);
        return Err(Box::new(Problem::new(Code::RequestTimeout, detail)));
    };
    Ok((bytes, charge))
}

async fn collect(mut body: Incoming, max: usize) -> Result<Bytes, Box<Problem>> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let detail = format!("the body cannot be read: {error}");
            Box::new(Problem::new(Code::MalformedRequest, detail))
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > max {
            return Err(too_large(max));
        }
        if bytes.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

fn too_large(max: usize) -> Box<Problem> {
    Box::new(Problem::new(
        Code::TooLarge,
        format!("a body has at most {max} bytes"),
    ))
}
