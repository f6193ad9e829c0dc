//! The page of the policy, and what its form does: a version is tried, and then counts.

use super::frame::{Visitor, show, viewer};
use crate::auth::require;
use crate::routes::policy::{activate, judge_all, policy_of};
use crate::state::State;
use actix_web::{HttpRequest, HttpResponse, web};
use sluice_model::access::Role;
use sluice_model::policy::{Policy, Trial};
use sluice_model::problem::{Code, Problem};
use sluice_model::topic::REASON_CHARS_MAX;
use sluice_service::http::body::FormFields;
use sluice_service::http::page::{CONSOLE_CSP, html, redirect};
use sluice_service::http::problem::Failure;
use sluice_ui::admin::{self, PolicyForm, PolicyPage};

type Answer = Result<HttpResponse, Failure>;

/// `GET /ui/policy`
pub(super) async fn page(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
) -> Answer {
    let rules = state.rules();
    let form = PolicyForm::new(&rules.policy, rules.version);
    Ok(show(
        render(&request, &state, visitor, &form, None, None).await,
    ))
}

/// The page with a form as it was typed, and what came of it.
async fn render(
    request: &HttpRequest,
    state: &State,
    visitor: Visitor,
    form: &PolicyForm,
    trial: Option<&Trial>,
    problem: Option<&Problem>,
) -> String {
    let rules = state.rules();
    let viewer = viewer(request, state, visitor.0).await;
    let data = PolicyPage {
        policy: &rules.policy,
        version: rules.version,
        form,
        trial,
        problem,
    };
    admin::policy(&viewer, &data)
}

/// What can be corrected comes back on the page with what was typed; the rest is an error page.
async fn again(
    request: &HttpRequest,
    state: &State,
    visitor: Visitor,
    mut form: PolicyForm,
    failure: Failure,
) -> Answer {
    if !matches!(failure.0.status, 400 | 412 | 422) {
        return Err(failure);
    }
    if failure.0.is(Code::StaleVersion) {
        // The page shows the version that counts now: who sends the form again has seen it.
        form.version = state.rules().version.to_string();
    }
    let page = render(request, state, visitor, &form, None, Some(&failure.0)).await;
    Ok(html(failure.0.status, CONSOLE_CSP, page))
}

fn typed(form: &PolicyForm) -> Result<Policy, Failure> {
    let document = form.document().map_err(|problem| *problem)?;
    Ok(policy_of(document, "/policy")?)
}

/// `POST /ui/policy/try`
pub(super) async fn try_out(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    fields: FormFields,
) -> Answer {
    let form = PolicyForm::read(&fields.0);
    let asked = form.topic().map_err(|problem| Failure::from(*problem));
    let tried = match (typed(&form), asked) {
        (Ok(policy), Ok(asked)) => judge_all(&state, Some(policy), asked).await,
        (Err(failure), _) | (_, Err(failure)) => Err(failure),
    };
    match tried {
        Ok(trial) => Ok(show(
            render(&request, &state, visitor, &form, Some(&trial), None).await,
        )),
        Err(failure) => again(&request, &state, visitor, form, failure).await,
    }
}

/// `POST /ui/policy`: the version counts from now on.
pub(super) async fn write(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    fields: FormFields,
) -> Answer {
    require(&visitor.0, Role::Admin)?;
    let form = PolicyForm::read(&fields.0);
    match write_typed(&state, &visitor, &form).await {
        Ok(()) => Ok(redirect("/ui/policy?did=policy")),
        Err(failure) => again(&request, &state, visitor, form, failure).await,
    }
}

async fn write_typed(state: &State, visitor: &Visitor, form: &PolicyForm) -> Result<(), Failure> {
    let missing = || Problem::invalid("/version", "is the version of what the page showed");
    let if_match = form.version.parse().map_err(|_| missing())?;
    let policy = typed(form)?;
    if form.reason.is_empty() || form.reason.chars().count() > REASON_CHARS_MAX {
        let message =
            format!("has 1 to {REASON_CHARS_MAX} characters: the audit keeps why it was written");
        return Err(Problem::invalid("/reason", message).into());
    }
    let (actor, reason) = (visitor.0.clone(), Some(form.reason.clone()));
    activate(state, actor, Some(if_match), policy, reason).await?;
    Ok(())
}
