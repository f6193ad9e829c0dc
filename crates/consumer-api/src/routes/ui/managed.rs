//! Managed consumers.

use super::catalogue::active;
use super::frame::{show, viewer};
use super::value;
use crate::access::Caller;
use crate::app::change::{self, Verb};
use crate::app::spec;
use crate::clusters::GOVERNED;
use crate::context::Context;
use crate::routes::checked_id;
use crate::routes::consumers::outside;
use actix_web::{HttpRequest, HttpResponse, web};
use sluice_model::access::Role;
use sluice_model::consumer::{Consumer, ConsumerStatus};
use sluice_model::page::Page;
use sluice_model::problem::{Code, Problem};
use sluice_service::http::body::FormFields;
use sluice_service::http::page::{CONSOLE_CSP, html, redirect};
use sluice_service::http::problem::Failure;
use sluice_ui::consumer::{self, ConsumerPage, NewConsumer};
use sluice_ui::form::ConsumerForm;

/// Consumers on the page.
const CONSUMERS: u32 = 500;

type Answer = Result<HttpResponse, Failure>;

/// `GET /ui/consumers`
pub(super) async fn list(
    request: HttpRequest,
    context: web::Data<Context>,
    caller: Caller,
) -> Answer {
    let rows = context
        .store
        .consumers(Page {
            limit: CONSUMERS,
            before: None,
        })
        .await?;
    let seen = context.manager.present_all(&rows).await?;
    let seen: Vec<(Consumer, Option<ConsumerStatus>)> = seen
        .into_iter()
        .map(|(consumer, status)| (consumer, Some(status)))
        .collect();
    let viewer = viewer(&request, &context, caller.actor);
    Ok(show(consumer::consumers(&viewer, &seen)))
}

/// `GET /ui/consumers/{id}`
pub(super) async fn one(
    request: HttpRequest,
    context: web::Data<Context>,
    caller: Caller,
    id: web::Path<String>,
) -> Answer {
    let row = context.store.consumer(checked_id(&id)?).await?;
    let lag = context.lags.of(&context, &row).await;
    let seen = context
        .manager
        .present_all(std::slice::from_ref(&row))
        .await?;
    let Some((consumer, status)) = seen.into_iter().next() else {
        return Err(crate::store::consumers::not_found(&row.id));
    };
    let lag = lag.as_ref().map_err(String::as_str);
    let data = ConsumerPage {
        consumer: &consumer,
        status: &status,
        lag,
    };
    let viewer = viewer(&request, &context, caller.actor);
    Ok(show(consumer::consumer(&viewer, &data)))
}

/// `GET /ui/consumers/new`
pub(super) async fn new(
    request: HttpRequest,
    context: web::Data<Context>,
    caller: Caller,
) -> Answer {
    let topics = value(&request, "topics").unwrap_or_default();
    let form = ConsumerForm {
        topics,
        auto_start: true,
        ..ConsumerForm::default()
    };
    Ok(show(new_page(&request, &context, caller, &form, None)))
}

fn new_page(
    request: &HttpRequest,
    context: &Context,
    caller: Caller,
    form: &ConsumerForm,
    problem: Option<&Problem>,
) -> String {
    let named = context
        .settings
        .clusters
        .iter()
        .map(|cluster| cluster.name.clone());
    let clusters: Vec<_> = std::iter::once(GOVERNED.to_owned()).chain(named).collect();
    let topics = active(context);
    let data = NewConsumer {
        form,
        topics: &topics,
        clusters: &clusters,
        problem,
    };
    consumer::new_consumer(&viewer(request, context, caller.actor), &data)
}

/// `POST /ui/consumers/new`: on faults the form comes back with them at its fields.
pub(super) async fn create(
    request: HttpRequest,
    context: web::Data<Context>,
    caller: Caller,
    fields: FormFields,
) -> Answer {
    caller.need(Role::Consumer)?;
    let form = ConsumerForm::read(fields.iter());
    match store(&context, &caller, &form).await {
        Ok(id) => Ok(redirect(&format!("/ui/consumers/{id}?did=create"))),
        Err(failure) if matches!(failure.0.status, 400 | 403 | 404 | 409 | 422) => {
            let page = new_page(&request, &context, caller, &form, Some(&failure.0));
            Ok(html(failure.0.status, CONSOLE_CSP, page))
        }
        Err(failure) => Err(failure),
    }
}

async fn store(context: &Context, caller: &Caller, form: &ConsumerForm) -> Result<String, Failure> {
    let body = serde_json::to_vec(&form.spec())
        .map_err(|error| sluice_service::http::problem::internal(&error))?;
    let draft = spec::read(&body, None, &outside(context))?;
    let row = change::prepare(context, caller, draft).await?;
    Ok(change::create(context, caller, row, None).await?.id)
}

/// `POST /ui/consumers/{id}/{verb}`: start, stop, pause, resume, restart or delete.
pub(super) async fn tell(
    context: web::Data<Context>,
    caller: Caller,
    path: web::Path<(String, String)>,
    form: FormFields,
) -> Answer {
    caller.need(Role::Consumer)?;
    let (id, word) = path.into_inner();
    let row = context.store.consumer(checked_id(&id)?).await?;
    caller.need_owner(&row.owner)?;
    if word == "delete" {
        if form.get("confirm") != Some(row.consumer_group.as_str()) {
            let message = "is the consumer's group, typed to confirm its deletion";
            return Err(Problem::invalid("/confirm", message).into());
        }
        change::delete(&context, &caller, &row.id, None).await?;
        return Ok(redirect("/ui/consumers?did=remove"));
    }
    let unknown = || {
        Problem::new(
            Code::NotFound,
            format!("{word:?} is nothing to tell a consumer"),
        )
    };
    let verb = Verb::parse(&word).ok_or_else(unknown)?;
    change::control(&context, &caller, &row.id, verb, None).await?;
    Ok(redirect(&format!(
        "/ui/consumers/{id}?did={}",
        verb.as_str()
    )))
}
