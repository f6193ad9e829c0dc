//! HTTP to the producer and the consumer API.

use crate::failure::{Exit, Failure, exit_of};
use reqwest::blocking::{Client, RequestBuilder, Response};
use serde_json::Value;
use sluice_model::problem::Problem;
use std::error::Error as _;
use std::time::Duration;

/// Time for the connection itself.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for an answer. Deleting a consumer may take 30 s.
const TIMEOUT: Duration = Duration::from_secs(45);

/// Pages of one listing.
const PAGES_MAX: usize = 1000;

/// The method of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// One of the services.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    name: &'static str,
    base: String,
    token: String,
    client: Client,
}

impl Service {
    pub(crate) fn new(name: &'static str, base: &str, token: &str) -> Result<Self, Failure> {
        let fits = url::Url::parse(base).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !fits {
            return Err(Failure::new(
                Exit::Usage,
                format!("{base:?} is no http:// or https:// URL"),
            ));
        }
        // Each request has its own limit; a stream has none.
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(None)
            .user_agent(concat!("sluice-cli/", env!("CARGO_PKG_VERSION")))
            .build();
        let client = client.map_err(|error| Failure::new(Exit::Failed, chain(&error)))?;
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self {
            name,
            base,
            token: token.to_owned(),
            client,
        })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.base);
        let request = match method {
            Method::Get => self.client.get(url),
            Method::Post => self.client.post(url),
            Method::Put => self.client.put(url),
            Method::Patch => self.client.patch(url),
            Method::Delete => self.client.delete(url),
        };
        if self.token.is_empty() {
            request
        } else {
            request.bearer_auth(&self.token)
        }
    }

    /// Asks for JSON; an answer without a body is null.
    pub(crate) fn json(&self, method: Method, path: &str) -> Result<Value, Failure> {
        self.finish(self.request(method, path).timeout(TIMEOUT))
    }

    /// A JSON body with any method.
    pub(crate) fn send_json(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Value, Failure> {
        self.finish(self.request(method, path).timeout(TIMEOUT).json(body))
    }

    /// Puts a JSON body in the place of a generation, and of no other.
    pub(crate) fn put_if(
        &self,
        path: &str,
        body: &Value,
        generation: i64,
    ) -> Result<Value, Failure> {
        let request = self.request(Method::Put, path).timeout(TIMEOUT);
        let request = request.header("If-Match", format!("\"{generation}\""));
        self.finish(request.json(body))
    }

    /// A whole listing: follows `Link: rel="next"` from page to page.
    pub(crate) fn pages(&self, path: &str) -> Result<Value, Failure> {
        let (mut rows, mut next) = (Vec::new(), Some(path.to_owned()));
        for _page in 0..PAGES_MAX {
            let Some(path) = next else {
                break;
            };
            let answer = self.accept(self.request(Method::Get, &path).timeout(TIMEOUT))?;
            next = answer
                .headers()
                .get("link")
                .and_then(|link| next_page(link.to_str().ok()?));
            let body = answer.bytes().map_err(|error| self.unreachable(&error))?;
            let page: Vec<Value> = serde_json::from_slice(&body).map_err(|error| {
                let message = format!("the {} answered no list: {error}", self.name);
                Failure::new(Exit::Failed, message)
            })?;
            rows.extend(page);
        }
        Ok(Value::from(rows))
    }

    /// Posts records. When all of them are refused the answer has an error's status, and still says for
    /// each record why.
    pub(crate) fn post_records(&self, body: Vec<u8>) -> Result<Value, Failure> {
        let request = self.request(Method::Post, "/records").timeout(TIMEOUT);
        let request = request
            .header("Content-Type", "application/x-ndjson")
            .body(body);
        let answer = request.send().map_err(|error| self.unreachable(&error))?;
        let status = answer.status().as_u16();
        let body = answer.bytes().map_err(|error| self.unreachable(&error))?;
        match serde_json::from_slice::<Value>(&body) {
            Ok(value) if value["records"].is_array() => Ok(value),
            _ => Err(self.refusal(status, &body)),
        }
    }

    fn finish(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let answer = self.accept(request)?;
        let body = answer.bytes().map_err(|error| self.unreachable(&error))?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("the {} answered no JSON: {error}", self.name),
            )
        })
    }

    /// Opens a stream of events, which goes on after `last_id` if there is one.
    pub(crate) fn stream(
        &self,
        path: &str,
        query: &[(&str, String)],
        last_id: Option<&str>,
    ) -> Result<Response, Failure> {
        let mut request = self.request(Method::Get, path).query(query);
        request = request.header("Accept", "text/event-stream");
        if let Some(id) = last_id {
            request = request.header("Last-Event-ID", id);
        }
        self.accept(request)
    }

    fn accept(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let answer = request.send().map_err(|error| self.unreachable(&error))?;
        let status = answer.status().as_u16();
        if answer.status().is_success() {
            return Ok(answer);
        }
        let body = answer.bytes().map_err(|error| self.unreachable(&error))?;
        Err(self.refusal(status, &body))
    }

    fn refusal(&self, status: u16, body: &[u8]) -> Failure {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => Failure::problem(&problem),
            Err(_) => Failure::new(
                exit_of(status),
                format!("the {} answered {status}", self.name),
            ),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let exit = if error.is_timeout() && !error.is_connect() {
            Exit::Timeout
        } else {
            Exit::Unreachable
        };
        let flag = if self.name == "producer" {
            "producer"
        } else {
            "consumer"
        };
        Failure::new(
            exit,
            format!("the {} does not answer: {}", self.name, chain(error)),
        )
        .hint(format!(
            "is it running, and is --{flag}-url (SLUICE_{}_URL) right?",
            flag.to_uppercase()
        ))
    }
}

/// The path of the next page, from a `Link` header.
fn next_page(link: &str) -> Option<String> {
    let (path, rel) = link.strip_prefix('<')?.split_once('>')?;
    // Another server's address would get our token.
    (rel.contains("rel=\"next\"") && path.starts_with('/')).then(|| path.to_owned())
}

/// reqwest's own text is "error sending request"; the reason is at the end of its chain.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_on_the_same_server() {
        let link = "</consumers/?cursor=5>; rel=\"next\"";
        assert_eq!(next_page(link), Some("/consumers/?cursor=5".to_owned()));
        assert_eq!(next_page("<http://elsewhere/>; rel=\"next\""), None);
        assert_eq!(next_page("</a>; rel=\"prev\""), None);
    }
}
