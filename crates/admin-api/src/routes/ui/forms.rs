//! What forms do: the use cases of the JSON routes, then on to the next page.

use super::frame::{Visitor, viewer};
use super::pages::subscriptions_page;
use crate::app::{
    Context, Decision, change, decide, delete, request_topic as ask, subscribe as follow,
};
use crate::auth::require;
use crate::routes::command::{self, Reply};
use crate::routes::decisions::verb;
use crate::routes::deletion::refresh_evidence;
use crate::routes::id;
use crate::state::State;
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use serde_json::json;
use sluice_model::access::{Actor, Role};
use sluice_model::drift::{DriftKey, DriftKind};
use sluice_model::lifecycle::Event;
use sluice_model::problem::{Code, Problem};
use sluice_model::subscription::SubscriptionKey;
use sluice_model::topic::{LABEL_CHARS_MAX, REASON_CHARS_MAX};
use sluice_service::http::body::FormFields;
use sluice_service::http::page::{CONSOLE_CSP, html, redirect};
use sluice_service::http::problem::Failure;
use sluice_ui::admin;
use sluice_ui::form::{TopicForm, topic_change};

type Answer = Result<HttpResponse, Failure>;

/// What the fields of a decision say; a form of ours always names the version that it showed.
pub(super) fn decision(form: &FormFields) -> Result<Decision, Problem> {
    let reason = form.get("reason").map(str::to_owned);
    if reason
        .as_ref()
        .is_some_and(|reason| reason.chars().count() > REASON_CHARS_MAX)
    {
        let message = format!("has at most {REASON_CHARS_MAX} characters");
        return Err(Problem::invalid("/reason", message));
    }
    let version = form.get("version").and_then(|version| version.parse().ok());
    let missing = || Problem::invalid("/version", "is the version of what the page showed");
    Ok(Decision {
        reason,
        if_match: Some(version.ok_or_else(missing)?),
        changes: None,
        confirm: form.get("confirm").map(str::to_owned),
    })
}

/// `POST /ui/topics/{id}/{verb}`
pub(super) async fn decide_topic(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    let (word, event) = verb_of(&request, &visitor.0)?;
    let topic_id = id(&request)?;
    let decision = decision(&form)?;
    let work = move |connection: &Connection, context: &Context| {
        Reply::new(
            200,
            &decide::decide(connection, context, topic_id, event, &decision)?,
        )
    };
    command::run(&state, &request, visitor.0, b"", work).await?;
    Ok(redirect(&format!("/ui/topics/{topic_id}?did={word}")))
}

/// `POST /ui/requests/{id}/{verb}`
pub(super) async fn decide_request(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    let (word, event) = verb_of(&request, &visitor.0)?;
    if !matches!(event, Event::Approve | Event::Reject | Event::Withdraw) {
        return Err(no_verb(&word).into());
    }
    let request_id = id(&request)?;
    let decision = decision(&form)?;
    if event == Event::Approve {
        refresh_evidence(&state, request_id).await?;
    }
    let work = move |connection: &Connection, context: &Context| {
        Reply::new(
            200,
            &decide::decide_request(connection, context, request_id, event, &decision)?,
        )
    };
    command::run(&state, &request, visitor.0, b"", work).await?;
    Ok(redirect(&format!("/ui/requests?did={word}")))
}

fn verb_of(request: &HttpRequest, actor: &Actor) -> Result<(String, Event), Problem> {
    let word = request.match_info().get("verb").unwrap_or_default();
    let (event, role) = verb(word).ok_or_else(|| no_verb(word))?;
    require(actor, role)?;
    Ok((word.to_owned(), event))
}

fn no_verb(word: &str) -> Problem {
    Problem::new(Code::NotFound, format!("{word:?} is no decision"))
}

/// `POST /ui/topics/{id}/delete`: the name has to be typed.
pub(super) async fn request_delete(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    require(&visitor.0, Role::Producer)?;
    let topic_id = id(&request)?;
    let decision = decision(&form)?;
    let confirmed = form.get("confirm").unwrap_or_default().to_owned();
    let work = move |connection: &Connection, context: &Context| {
        let topic = store::topics::by_id(connection, topic_id)?;
        if topic.is_some_and(|topic| topic.topic_name != confirmed) {
            let message = "is the topic's name, typed to confirm its deletion";
            return Err(Problem::invalid("/confirm", message).into());
        }
        Reply::new(
            202,
            &delete::request_delete(connection, context, topic_id, &decision)?,
        )
    };
    command::run(&state, &request, visitor.0, b"", work).await?;
    Ok(redirect(&format!("/ui/topics/{topic_id}?did=delete")))
}

/// `POST /ui/topics/{id}/change`
pub(super) async fn request_change(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    require(&visitor.0, Role::Producer)?;
    let topic_id = id(&request)?;
    let if_match = decision(&form)?.if_match;
    let asked = topic_change(form.iter()).map_err(|problem| *problem)?;
    let work = move |connection: &Connection, context: &Context| {
        let filed = change::request_change(connection, context, topic_id, if_match, &asked)?;
        Reply::new(202, &filed)
    };
    command::run(&state, &request, visitor.0, b"", work).await?;
    Ok(redirect(&format!("/ui/topics/{topic_id}?did=change")))
}

/// `POST /ui/request`: on faults the form comes back with them at its fields.
pub(super) async fn request_topic(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    require(&visitor.0, Role::Producer)?;
    let actor = visitor.0.clone();
    let form = TopicForm::read(form.iter());
    let problem = match form.topic() {
        Err(problem) => problem,
        Ok(asked) => {
            let work = move |connection: &Connection, context: &Context| {
                Reply::new(201, &ask::request_topic(connection, context, &asked)?)
            };
            match command::run(&state, &request, visitor.0, b"", work).await {
                Ok(reply) => {
                    let topic_id = reply.body["topic_id"].as_i64().unwrap_or_default();
                    return Ok(redirect(&format!("/ui/topics/{topic_id}?did=request")));
                }
                Err(failure) => correctable(failure)?,
            }
        }
    };
    let viewer = viewer(&request, &state, actor).await;
    let page = admin::request(&viewer, &form, &state.rules().policy, Some(&problem));
    Ok(html(problem.status, CONSOLE_CSP, page))
}

/// What the user can correct in the form goes back there; the rest is an error page.
fn correctable(failure: Failure) -> Result<Box<Problem>, Failure> {
    match failure.0.status {
        400 | 404 | 409 | 422 => Ok(failure.0),
        _ => Err(failure),
    }
}

/// The mapping that a form is about; without a user it is the visitor's own.
fn key(form: &FormFields) -> Result<SubscriptionKey, Problem> {
    let user_id = form.get("user_id").map(str::to_owned);
    if user_id
        .as_ref()
        .is_some_and(|user| user.chars().count() > LABEL_CHARS_MAX)
    {
        let message = format!("has at most {LABEL_CHARS_MAX} characters");
        return Err(Problem::invalid("/user_id", message));
    }
    let topic_name = form.get("topic_name").map(str::to_owned);
    let missing = || Problem::invalid("/topic_name", "is missing");
    Ok(SubscriptionKey {
        user_id,
        topic_name: topic_name.ok_or_else(missing)?,
    })
}

/// `POST /ui/subscriptions`
pub(super) async fn subscribe(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    require(&visitor.0, Role::Consumer)?;
    let again = visitor.clone();
    let outcome = match key(&form) {
        Err(problem) => Err(problem.into()),
        Ok(key) => {
            let work = move |connection: &Connection, context: &Context| {
                Reply::new(201, &follow::subscribe(connection, context, &key)?)
            };
            command::run(&state, &request, visitor.0, b"", work).await
        }
    };
    let Err(failure) = outcome else {
        return Ok(redirect("/ui/subscriptions?did=subscribe"));
    };
    let problem = correctable(failure)?;
    let name = form.get("topic_name").unwrap_or_default();
    let page = subscriptions_page(&request, &state, again, name, Some(&problem)).await?;
    Ok(html(problem.status, CONSOLE_CSP, page))
}

/// `POST /ui/subscriptions/remove`
pub(super) async fn unsubscribe(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    require(&visitor.0, Role::Consumer)?;
    let key = key(&form)?;
    let work = move |connection: &Connection, context: &Context| {
        follow::unsubscribe(connection, context, &key)?;
        Reply::new(200, &json!({}))
    };
    command::run(&state, &request, visitor.0, b"", work).await?;
    Ok(redirect("/ui/subscriptions?did=unsubscribe"))
}

/// `POST /ui/drift/{verb}`
pub(super) async fn drift(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    require(&visitor.0, Role::Approver)?;
    let remedy = crate::routes::drift::verb(&request)?;
    let text = |name: &str| form.get(name).unwrap_or_default().to_owned();
    let unknown = || Problem::invalid("/kind", "is no kind of drift");
    let of = DriftKey {
        topic_name: text("topic_name"),
        kind: DriftKind::parse(&text("kind")).ok_or_else(unknown)?,
        key: Some(text("key")).filter(|key| !key.is_empty()),
    };
    crate::routes::drift::act(&state, visitor.0, remedy, of, None).await?;
    Ok(redirect(&format!("/ui/drift?did={}", remedy.as_str())))
}
