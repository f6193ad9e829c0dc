//! What every operation of an OpenAPI document has in common: the credential, and the problems that any
//! request may be answered with. A handler's own annotation names only what is its own.

use sluice_model::problem::Problem;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::schema::{ComponentsBuilder, Ref};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, PartialSchema as _, ToSchema as _};

use super::problem::PROBLEM_JSON;

/// The name of the credential in the document.
const TOKEN: &str = "token";
/// The content type that a schema of an answer stands under unless it is told otherwise.
const JSON: &str = "application/json";

/// Statuses of every operation.
const ALWAYS: [(&str, &str); 3] = [
    ("400", "the request cannot be read"),
    ("500", "a fault of the service; its log has the cause"),
    ("503", "what is needed does not answer; try again"),
];
/// Statuses of operations that take a credential.
const WITH_CREDENTIAL: [(&str, &str); 2] = [
    ("401", "a valid credential is needed"),
    ("403", "the credential may not do that"),
];
/// The status of operations whose path has a variable part.
const WITH_PATH: [(&str, &str); 1] = [("404", "there is nothing with that name or id")];
/// The status of operations whose query, headers or body follow rules.
const WITH_RULES: [(&str, &str); 1] = [("422", "a rule is broken; errors has every fault")];
/// The status of operations that change something.
const CHANGING: [(&str, &str); 1] = [("409", "the current state does not allow it")];
/// The status of operations with an `If-Match`.
const CONDITIONAL: [(&str, &str); 1] = [("412", "it has changed since; changes has what")];
/// Statuses of operations with a body.
const WITH_BODY: [(&str, &str); 3] = [
    ("408", "the body did not arrive in time"),
    ("413", "the body is too large"),
    ("415", "the body has another content type"),
];

/// Completes a document: the bearer token, the problems and their content type.
#[derive(Debug)]
pub struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.take().unwrap_or_default();
        let mut schemas = vec![(Problem::name().into_owned(), Problem::schema())];
        Problem::schemas(&mut schemas);
        let mut components = ComponentsBuilder::from(components)
            .schemas_from_iter(schemas)
            .build();
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme(TOKEN, scheme);
        document.components = Some(components);
        let token = SecurityRequirement::new(TOKEN, Vec::<String>::new());
        document.security = Some(vec![token]);
        for item in document.paths.paths.values_mut() {
            complete(item);
        }
    }
}

fn complete(item: &mut PathItem) {
    let changing = [
        &mut item.post,
        &mut item.put,
        &mut item.patch,
        &mut item.delete,
    ];
    for operation in changing.into_iter().flatten() {
        add(operation, &CHANGING);
        add(operation, &WITH_RULES);
        complete_operation(operation);
    }
    for operation in [&mut item.get, &mut item.head].into_iter().flatten() {
        complete_operation(operation);
    }
}

fn complete_operation(operation: &mut Operation) {
    let parameters = operation.parameters.as_deref().unwrap_or_default();
    let parameters: Vec<_> = parameters
        .iter()
        .filter_map(|one| match one {
            RefOr::T(parameter) => Some(parameter),
            RefOr::Ref(_) => None,
        })
        .collect();
    let has = |place: &ParameterIn| parameters.iter().any(|one| one.parameter_in == *place);
    let in_path = has(&ParameterIn::Path);
    let ruled = has(&ParameterIn::Query) || has(&ParameterIn::Header);
    let conditional = parameters.iter().any(|one| one.name == "If-Match");
    let open = operation
        .security
        .as_ref()
        .is_some_and(|all| all.iter().any(|one| *one == SecurityRequirement::default()));
    let body = operation.request_body.is_some();
    add(operation, &ALWAYS);
    for (applies, statuses) in [
        (!open, &WITH_CREDENTIAL[..]),
        (in_path, &WITH_PATH),
        (ruled, &WITH_RULES),
        (conditional, &CONDITIONAL),
        (body, &WITH_BODY),
    ] {
        if applies {
            add(operation, statuses);
        }
    }
    for (status, response) in &mut operation.responses.responses {
        if let (true, RefOr::T(response)) = (is_problem(status), response) {
            retype(response);
        }
    }
}

fn is_problem(status: &str) -> bool {
    status.starts_with(['4', '5'])
}

/// Adds the statuses that are not there yet.
fn add(operation: &mut Operation, statuses: &[(&str, &str)]) {
    for (status, description) in statuses {
        let problem = || {
            let schema = Ref::from_schema_name(Problem::name());
            let content = Content::new(Some(schema));
            let response = ResponseBuilder::new().description(*description);
            RefOr::T(response.content(PROBLEM_JSON, content).build())
        };
        let responses = &mut operation.responses.responses;
        responses
            .entry((*status).to_owned())
            .or_insert_with(problem);
    }
}

/// Problems have a content type of their own.
fn retype(response: &mut Response) {
    if let Some(content) = response.content.swap_remove(JSON) {
        response.content.insert(PROBLEM_JSON.to_owned(), content);
    }
}
