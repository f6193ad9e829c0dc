//! Topics, the caller's subscriptions, and what flows through them.

use super::frame::{show, viewer};
use super::{value, values};
use crate::access::Caller;
use crate::context::Context;
use actix_web::{HttpRequest, HttpResponse, web};
use sluice_admin_client::{Error, call};
use sluice_model::access::Role;
use sluice_model::problem::{Code, Problem};
use sluice_model::subscription::Subscription;
use sluice_service::http::body::FormFields;
use sluice_service::http::page::redirect;
use sluice_service::http::problem::Failure;
use sluice_ui::consumer::{self, Catalogue, Live};

/// Topics that one live page follows.
const FOLLOWED_MAX: usize = 100;

type Answer = Result<HttpResponse, Failure>;

/// What the admin API's answer means to the caller.
fn refused(error: Error) -> Failure {
    match error {
        Error::Problem(problem) => Failure(problem),
        other => Problem::new(Code::Unavailable, other.to_string())
            .retry_after(1)
            .into(),
    }
}

/// The caller's own subscriptions.
async fn mine(context: &Context, caller: &Caller) -> Result<Vec<Subscription>, Failure> {
    let account = caller.actor.account.as_str();
    let asked = context
        .admin
        .send(caller.token.expose(), call::subscriptions(Some(account)));
    asked.await.map_err(refused)
}

/// Names of the active topics.
pub(super) fn active(context: &Context) -> Vec<String> {
    context
        .catalogue
        .now()
        .active
        .iter()
        .map(|topic| topic.topic_name.clone())
        .collect()
}

/// `GET /ui/`
pub(super) async fn catalogue(
    request: HttpRequest,
    context: web::Data<Context>,
    caller: Caller,
) -> Answer {
    let q = value(&request, "q").unwrap_or_default();
    let snapshot = context.catalogue.now();
    let (mine, failed) = match mine(&context, &caller).await {
        Ok(mine) => (mine, None),
        Err(failure) => (Vec::new(), Some(failure.0.detail)),
    };
    let unknown = (!snapshot.known()).then(|| "it has not answered since the start".to_owned());
    let trouble = unknown.or(failed);
    let data = Catalogue {
        topics: &snapshot.active,
        mine: &mine,
        q: &q,
        trouble: trouble.as_deref(),
        governance: Some(&context.settings.admin_api.url),
    };
    let viewer = viewer(&request, &context, caller.actor);
    Ok(show(consumer::catalogue(&viewer, &data)))
}

fn topic_of(form: &FormFields) -> Result<&str, Problem> {
    form.get("topic_name")
        .ok_or_else(|| Problem::invalid("/topic_name", "is missing"))
}

/// `POST /ui/subscribe`
pub(super) async fn subscribe(
    context: web::Data<Context>,
    caller: Caller,
    form: FormFields,
) -> Answer {
    caller.need(Role::Consumer)?;
    let wish = call::subscribe(None, topic_of(&form)?);
    context
        .admin
        .send(caller.token.expose(), wish)
        .await
        .map_err(refused)?;
    Ok(redirect("/ui/?did=subscribe"))
}

/// `POST /ui/unsubscribe`
pub(super) async fn unsubscribe(
    context: web::Data<Context>,
    caller: Caller,
    form: FormFields,
) -> Answer {
    caller.need(Role::Consumer)?;
    let wish = call::unsubscribe(None, topic_of(&form)?);
    context
        .admin
        .send(caller.token.expose(), wish)
        .await
        .map_err(refused)?;
    Ok(redirect("/ui/?did=unsubscribe"))
}

/// `GET /ui/live`: the page; its script reads `/stream` under the same session.
pub(super) async fn live(
    request: HttpRequest,
    context: web::Data<Context>,
    caller: Caller,
) -> Answer {
    let lists: Vec<_> = values(&request, "topics").collect();
    let mut topics: Vec<_> = lists
        .iter()
        .flat_map(|list| sluice_ui::form::words(list))
        .collect();
    topics.truncate(FOLLOWED_MAX);
    let from = value(&request, "from").filter(|from| from == "earliest");
    let from = from.as_deref().unwrap_or("latest");
    let subscriptions = mine(&context, &caller).await.map_or(0, |mine| mine.len());
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if topics.is_empty() {
        query.append_pair("user_id", &caller.actor.account);
    } else {
        query.append_pair("topics", &topics.join(","));
    }
    query.append_pair("from", from);
    let stream = format!("/stream?{}", query.finish());
    let active = active(&context);
    let data = Live {
        active: &active,
        topics: &topics,
        from,
        stream: &stream,
        subscriptions,
    };
    let viewer = viewer(&request, &context, caller.actor);
    Ok(show(consumer::live(&viewer, &data)))
}
