//! Request bodies: bounded in bytes, in time and by the memory budget.

use super::send::offload;
use super::{Http, gzip};
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
/// Bytes that are made ready for a body by its announced length alone.
const ROOM_FIRST_MAX: usize = 1024 * 1024;

/// Reads a body; its memory is reserved before it is read.
pub(super) async fn read(
    http: &Http,
    request: Request<Incoming>,
) -> Result<(Bytes, Charge), Box<Problem>> {
    let gzip = match request.headers().get(header::CONTENT_ENCODING) {
        None => false,
        Some(encoding) if encoding.as_bytes() == b"identity" => false,
        Some(encoding) if encoding.as_bytes().eq_ignore_ascii_case(b"gzip") => true,
        Some(_) => {
            let detail = "bodies are taken with Content-Encoding gzip or without one only";
            return Err(Box::new(Problem::new(Code::UnsupportedMediaType, detail)));
        }
    };
    let body = request.into_body();
    let announced = body.size_hint().exact().map(|bytes| bytes as usize);
    if announced.is_some_and(|bytes| bytes > http.body_max) {
        return Err(too_large(http.body_max));
    }
    let room = announced.unwrap_or(http.body_max).saturating_mul(OVERHEAD);
    let charge = reserve(http, room)?;
    let bytes = if let Ok(bytes) =
        tokio::time::timeout(http.body_timeout, collect(body, http.body_max)).await
    {
        bytes?
    } else {
        let detail = format!("the body did not arrive within {:?}", http.body_timeout);
        return Err(Box::new(Problem::new(Code::RequestTimeout, detail)));
    };
    if gzip {
        return unpack(http, bytes, charge).await;
    }
    Ok((bytes, charge))
}

fn reserve(http: &Http, room: usize) -> Result<Charge, Box<Problem>> {
    let room = room.min(http.inlet.budget.max());
    http.inlet.budget.try_reserve(room).ok_or_else(|| {
        metrics::counter!("producer_busy_answers_total").increment(1);
        let detail = "too much waits for Kafka already";
        Box::new(Problem::new(Code::Busy, detail).retry_after(RETRY_S))
    })
}

/// Unpacks a body; its length is believed first and checked afterwards.
async fn unpack(
    http: &Http,
    packed: Bytes,
    of_packed: Charge,
) -> Result<(Bytes, Charge), Box<Problem>> {
    let claimed = gzip::claimed_length(&packed);
    let max = http.body_max;
    if claimed > max {
        return Err(too_large(max));
    }
    let charge = reserve(http, claimed.saturating_mul(OVERHEAD))?;
    let unpacked = offload(packed.len(), move || gzip::unpack(&packed, max)).await??;
    drop(of_packed);
    if unpacked.len() <= claimed {
        return Ok((unpacked.into(), charge));
    }
    drop(charge);
    let charge = reserve(http, unpacked.len().saturating_mul(OVERHEAD))?;
    Ok((unpacked.into(), charge))
}

async fn collect(mut body: Incoming, max: usize) -> Result<Bytes, Box<Problem>> {
    let announced = body.size_hint().lower() as usize;
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
        if bytes.is_empty() {
            bytes.reserve(announced.min(ROOM_FIRST_MAX));
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
