//! The audit.

use super::{listing, page, query};
use crate::auth::Caller;
use crate::error::{AppError, Outcome};
use crate::state::State;
use crate::store;
use crate::store::audit::Filter;
use crate::store::audit_chain::{self, Part};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::try_join_all;
use futures_util::stream::{self, Stream};
use serde::Serialize;
use sluice_model::access::Role;
use sluice_model::audit::{AuditRow, Source, Verification};
use sluice_model::problem::{Code, Problem};
use sluice_model::time::Timestamp;
use sluice_service::http::problem::Failure;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The longest text that is searched for.
const TEXT_CHARS_MAX: usize = 200;
/// Exports at one time.
const EXPORTS_MAX: usize = 4;
/// Rows of an export that are in memory at one time.
const EXPORT_ROWS: u32 = 500;
/// Parts of the chain that are checked side by side.
const VERIFY_PARTS: i64 = 2;
/// Chains shorter than this are checked in one part.
const VERIFY_TOGETHER: i64 = 10_000;

static EXPORTS: Semaphore = Semaphore::const_new(EXPORTS_MAX);

/// The rows that a query asks for.
pub(crate) fn filter(request: &HttpRequest) -> Result<Filter, Problem> {
    let text = query(request, "q");
    if text
        .as_ref()
        .is_some_and(|text| text.chars().count() > TEXT_CHARS_MAX)
    {
        let message = format!("has at most {TEXT_CHARS_MAX} characters");
        return Err(Problem::invalid("q", message));
    }
    Ok(Filter {
        text,
        actor: query(request, "actor"),
        action: query(request, "action"),
        topic: query(request, "topic").or_else(|| query(request, "topic_name")),
        from: instant(request, "from")?,
        to: instant(request, "to")?,
    })
}

/// An instant, or a day, which means its beginning (UTC).
fn instant(request: &HttpRequest, name: &str) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = query(request, name) else {
        return Ok(None);
    };
    // A plus sign in a query is a space.
    let text = text.replace(' ', "+");
    let parsed =
        Timestamp::parse(&text).or_else(|_| Timestamp::parse(&format!("{text}T00:00:00Z")));
    let message = "is an instant such as 2026-01-31T12:00:00Z, or a day";
    parsed
        .map(Some)
        .map_err(|_| Problem::invalid(name, message))
}

/// Audit rows, newest first: those that have all of what is asked for.
///
/// # Errors
/// 401, 403, 422, 400 for a bad cursor.
#[utoipa::path(get, path = "/api/audit", tag = "audit",
    params(("q" = Option<String>, Query, description = "beginnings of words, all of which stand in the row"),
        ("actor" = Option<String>, Query), ("action" = Option<String>, Query),
        ("topic" = Option<String>, Query), ("topic_name" = Option<String>, Query, description = "the same as topic"),
        ("from" = Option<String>, Query, description = "not before this instant or day"),
        ("to" = Option<String>, Query, description = "before this instant or day"),
        ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<AuditRow>), (status = 422, body = Problem)))]
pub async fn list(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let (page, filter) = (page(&request)?, filter(&request)?);
    let rows = state
        .database
        .read(move |c| store::audit::list(c, &filter, page))
        .await?;
    Ok(listing(&request, page, &rows, |row| row.seq))
}

/// Recomputes the hash chain, and compares it with every head that was noted outside the database.
///
/// # Errors
/// 401, 403.
#[utoipa::path(get, path = "/api/audit/verify", tag = "audit",
    responses((status = 200, body = Verification)))]
pub async fn verify(state: web::Data<State>, caller: Caller) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let (head, _) = state.database.read(store::audit::head).await?;
    let parts = if head < VERIFY_TOGETHER {
        1
    } else {
        VERIFY_PARTS
    };
    let length = head / parts + 1;
    let checks = (0..parts).map(|part| {
        let (from, to) = (part * length + 1, ((part + 1) * length).min(head));
        let heads = state.settings.database.audit_heads();
        let check = move |c: &rusqlite::Connection| audit_chain::verify(c, &heads, from, to);
        state.database.read::<Part, AppError>(check)
    });
    let mut parts = try_join_all(checks).await?;
    let heads = state.settings.database.audit_heads();
    let tail = state
        .database
        .read(move |c| -> Outcome<Part> {
            // Heads are noted after their rows, so rows that are newer than the noted head are no fault.
            let (head, _) = store::audit::head(c)?;
            audit_chain::verify_tail(&heads, head)
        })
        .await?;
    parts.push(tail);
    Ok(HttpResponse::Ok().json(audit_chain::verification(parts)))
}

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Ndjson,
    Csv,
}

/// The same rows as the search, oldest first and all of them, each with its hash: as lines of JSON or as CSV.
///
/// # Errors
/// 401, 403, 422, 429 while too many exports run.
#[utoipa::path(get, path = "/api/audit/export", tag = "audit",
    params(("format" = Option<String>, Query, description = "ndjson or csv"), ("q" = Option<String>, Query),
        ("actor" = Option<String>, Query), ("action" = Option<String>, Query), ("topic" = Option<String>, Query),
        ("from" = Option<String>, Query), ("to" = Option<String>, Query)),
    responses((status = 200, content((String = "application/x-ndjson"), (String = "text/csv"))),
        (status = 422, body = Problem), (status = 429, body = Problem)))]
pub async fn export(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    begin_export(&request, &state).await
}

/// Begins the answer of an export.
pub(crate) async fn begin_export(
    request: &HttpRequest,
    state: &State,
) -> Result<HttpResponse, Failure> {
    let filter = filter(request)?;
    let format = match query(request, "format").as_deref() {
        None | Some("ndjson") => Format::Ndjson,
        Some("csv") => Format::Csv,
        Some(_) => return Err(Problem::invalid("format", "is ndjson or csv").into()),
    };
    let Ok(seat) = EXPORTS.try_acquire() else {
        let detail = format!("{EXPORTS_MAX} exports run already");
        return Err(Problem::new(Code::Busy, detail).retry_after(5).into());
    };
    let (head, _) = state.database.read(store::audit::head).await?;
    let export = Export {
        state: state.clone(),
        filter,
        format,
        after: 0,
        before: head + 1,
        begun: false,
        _seat: seat,
    };
    let (content_type, name) = match format {
        Format::Ndjson => ("application/x-ndjson", "audit.ndjson"),
        Format::Csv => ("text/csv; charset=utf-8", "audit.csv"),
    };
    let disposition = format!("attachment; filename=\"{name}\"");
    Ok(HttpResponse::Ok()
        .content_type(content_type)
        .insert_header((header::CONTENT_DISPOSITION, disposition))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .streaming(exported(export)))
}

struct Export {
    state: State,
    filter: Filter,
    format: Format,
    after: i64,
    before: i64,
    begun: bool,
    _seat: SemaphorePermit<'static>,
}

/// Reads on only when the client has taken what came before. A failure cuts the answer off.
fn exported(export: Export) -> impl Stream<Item = Result<web::Bytes, Cut>> {
    stream::try_unfold(export, |mut export| async move {
        let (filter, span) = (export.filter.clone(), (export.after, export.before));
        let read =
            move |c: &rusqlite::Connection| store::audit::export(c, &filter, span, EXPORT_ROWS);
        let rows = export
            .state
            .database
            .read(read)
            .await
            .map_err(|error| cut(&error))?;
        let first = !std::mem::replace(&mut export.begun, true);
        let Some((last, _)) = rows.last() else {
            let header = (first && export.format == Format::Csv).then(|| csv(&[], true));
            let header = header.transpose().map_err(|error| cut(&error))?;
            export.after = export.before;
            return Ok(header.map(|header| (header.into(), export)));
        };
        export.after = last.seq;
        let written = match export.format {
            Format::Ndjson => ndjson(&rows).map_err(|error| cut(&error))?,
            Format::Csv => csv(&rows, first).map_err(|error| cut(&error))?,
        };
        Ok(Some((written.into(), export)))
    })
}

/// The end of an export that cannot go on; the log says why.
#[derive(Debug, thiserror::Error)]
#[error("the export cannot go on")]
struct Cut;

fn cut(error: &dyn std::fmt::Display) -> Cut {
    tracing::error!(error = %error, "an export of the audit was cut off");
    Cut
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    row: &'a AuditRow,
    hash: &'a str,
}

fn ndjson(rows: &[(AuditRow, String)]) -> Result<Vec<u8>, serde_json::Error> {
    let mut written = Vec::new();
    for (row, hash) in rows {
        serde_json::to_writer(&mut written, &Line { row, hash })?;
        written.push(b'\n');
    }
    Ok(written)
}

const CSV_COLUMNS: [&str; 18] = [
    "seq",
    "at",
    "action",
    "kind",
    "topic_id",
    "topic_name",
    "requested_by",
    "actor",
    "on_behalf_of",
    "reason",
    "request_id",
    "interface",
    "address",
    "user_agent",
    "http_request_id",
    "before",
    "after",
    "hash",
];

fn csv(rows: &[(AuditRow, String)], header: bool) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if header {
        writer.write_record(CSV_COLUMNS)?;
    }
    let number = |n: Option<i64>| n.map(|n| n.to_string()).unwrap_or_default();
    for (row, hash) in rows {
        let nowhere = Source::default();
        let source = row.source.as_ref().unwrap_or(&nowhere);
        let json = |value: &Option<serde_json::Value>| {
            value.as_ref().map(ToString::to_string).unwrap_or_default()
        };
        writer.write_record([
            row.seq.to_string(),
            row.at.to_string(),
            row.action.clone(),
            text(row.kind.as_ref()),
            number(row.topic_id),
            text(row.topic_name.as_ref()),
            text(row.requested_by.as_ref()),
            text(Some(&row.actor)),
            text(row.on_behalf_of.as_ref()),
            text(row.reason.as_ref()),
            number(row.request_id),
            source.interface.clone(),
            text(source.address.as_ref()),
            text(source.user_agent.as_ref()),
            text(source.http_request_id.as_ref()),
            json(&row.before),
            json(&row.after),
            hash.clone(),
        ])?;
    }
    writer
        .into_inner()
        .map_err(|error| csv::Error::from(error.into_error()))
}

/// A text that people wrote. A spreadsheet takes one that begins like a formula for one, so it is quoted.
fn text(value: Option<&String>) -> String {
    let value = value.map(String::as_str).unwrap_or_default();
    if value.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        return format!("'{value}");
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_a_header_and_no_formulas() {
        let row = AuditRow {
            seq: 7,
            at: Timestamp::from_millis(0),
            action: "reject".to_owned(),
            kind: None,
            topic_id: None,
            topic_name: Some("orders".to_owned()),
            requested_by: None,
            actor: "ana".to_owned(),
            reason: Some("=HYPERLINK(\"http://x\", \"a,b\")".to_owned()),
            before: None,
            after: Some(serde_json::json!({"a": "b\n"})),
            request_id: Some(3),
            on_behalf_of: None,
            source: None,
        };
        let written = csv(&[(row, "abc".to_owned())], true).unwrap();
        let mut reader = csv::Reader::from_reader(written.as_slice());
        assert_eq!(reader.headers().unwrap(), &CSV_COLUMNS[..]);
        let record = reader.records().next().unwrap().unwrap();
        assert_eq!(&record[9], "'=HYPERLINK(\"http://x\", \"a,b\")");
        assert_eq!((&record[16], &record[17]), ("{\"a\":\"b\\n\"}", "abc"));
    }
}
