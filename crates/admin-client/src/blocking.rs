//! The transport for threads that may block.

use crate::Error;
use crate::call::{Call, Method};
use crate::client::{CONNECT_TIMEOUT, check_base};
use reqwest::blocking::Response;
use std::io::Write;

/// The blocking transport.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    http: reqwest::blocking::Client,
}

impl Client {
    /// A client of the admin API at a base URL such as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// When the URL or the TLS set-up is no good.
    pub fn new(base: &str) -> Result<Self, Error> {
        let base = check_base(base)?;
        let http = reqwest::blocking::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .build()?;
        Ok(Self { base, http })
    }

    /// Sends a call with a token; an empty one sends none, for what anybody may read.
    ///
    /// # Errors
    /// When the admin API says no or does not answer in the call's time.
    pub fn send<T>(&self, token: &str, call: Call<T>) -> Result<T, Error> {
        let answer = self.ask(token, &call)?;
        let status = answer.status().as_u16();
        let body = answer.bytes()?;
        call.finish(status, &body)
    }

    /// Sends a call and writes the body of its answer as it comes, however long it is.
    ///
    /// # Errors
    /// When the admin API says no or does not answer whole in the call's time, or when writing fails.
    pub fn copy<T>(&self, token: &str, call: Call<T>, to: &mut dyn Write) -> Result<(), Error> {
        let mut answer = self.ask(token, &call)?;
        let status = answer.status().as_u16();
        if !answer.status().is_success() {
            let body = answer.bytes()?;
            return call.finish(status, &body).map(drop);
        }
        let copied = std::io::copy(&mut answer, to);
        copied
            .map(drop)
            .map_err(|error| Error::Unexpected(error.to_string()))
    }

    fn ask<T>(&self, token: &str, call: &Call<T>) -> Result<Response, Error> {
        let url = format!("{}{}", self.base, call.path);
        let mut request = match call.method {
            Method::Get => self.http.get(url),
            Method::Post => self.http.post(url),
            Method::Put => self.http.put(url),
            Method::Patch => self.http.patch(url),
            Method::Delete => self.http.delete(url),
        };
        request = request.query(&call.query).timeout(call.timeout);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        Ok(request.send()?)
    }
}
