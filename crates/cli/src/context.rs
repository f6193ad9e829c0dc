//! Where the services are, and with which token they are asked.

use crate::args::Global;
use crate::failure::{Exit, Failure};
use crate::http::Service;
use crate::output::Output;
use serde_json::Value;
use sluice_admin_client::blocking::Client;
use sluice_admin_client::call::Call;
use std::fs;
use std::io::Write;
use std::path::Path;

/// Everything that a command needs to do its work.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    admin: Client,
    token: String,
    pub(crate) producer: Service,
    pub(crate) consumer: Service,
    pub(crate) output: Output,
}

impl Context {
    /// Reads flags, the stack's file and the environment. `account` may do the command: its token is
    /// taken from the stack when the flags name no other.
    pub(crate) fn new(global: &Global, account: &str) -> Result<Self, Failure> {
        let stack = global.stack.as_deref().map(read_stack).transpose()?;
        let found = Found::new(
            global,
            stack.as_ref(),
            |name| std::env::var(name).ok(),
            account,
        )?;
        Ok(Self {
            admin: Client::new(&found.admin)?,
            producer: Service::new("producer", &found.producer, &found.token)?,
            consumer: Service::new("consumer API", &found.consumer, &found.token)?,
            token: found.token,
            output: Output::new(global.output),
        })
    }

    /// Asks the admin API.
    pub(crate) fn admin<T>(&self, call: Call<T>) -> Result<T, Failure> {
        Ok(self.admin.send(&self.token, call)?)
    }
}

impl Context {
    /// Asks the admin API for something long, which is written as it comes.
    pub(crate) fn admin_to<T>(&self, call: Call<T>, to: &mut dyn Write) -> Result<(), Failure> {
        Ok(self.admin.copy(&self.token, call, to)?)
    }
}

/// Addresses and token after all layers: flags, then the stack, then the environment, then defaults.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    admin: String,
    producer: String,
    consumer: String,
    token: String,
}

impl Found {
    fn new(
        global: &Global,
        stack: Option<&Value>,
        env: impl Fn(&str) -> Option<String>,
        account: &str,
    ) -> Result<Self, Failure> {
        let url = |flag: &Option<String>, pointer: &str, variable: &str, default: &str| {
            let from_stack = || stack.and_then(|stack| stack.pointer(pointer)?.as_str());
            let given = flag.clone().or_else(|| from_stack().map(str::to_owned));
            let given = given.or_else(|| env(variable).filter(|url| !url.is_empty()));
            given.unwrap_or_else(|| default.to_owned())
        };
        Ok(Self {
            admin: url(
                &global.admin_url,
                "/admin_api/url",
                "SLUICE_ADMIN_URL",
                "http://127.0.0.1:8080",
            ),
            producer: url(
                &global.producer_url,
                "/producer/http",
                "SLUICE_PRODUCER_URL",
                "http://127.0.0.1:8081",
            ),
            consumer: url(
                &global.consumer_url,
                "/consumer_api/url",
                "SLUICE_CONSUMER_URL",
                "http://127.0.0.1:8082",
            ),
            token: token(global, stack, env, account)?,
        })
    }
}

fn token(
    global: &Global,
    stack: Option<&Value>,
    env: impl Fn(&str) -> Option<String>,
    account: &str,
) -> Result<String, Failure> {
    if let Some(path) = &global.token_file {
        let text = fs::read_to_string(path).map_err(|e| {
            Failure::new(Exit::Usage, format!("--token-file {}: {e}", path.display()))
        })?;
        return Ok(text.trim().to_owned());
    }
    if let Some(stack) = stack {
        let account = global.account.as_deref().unwrap_or(account);
        let tokens = &stack["tokens"];
        return tokens[account].as_str().map(str::to_owned).ok_or_else(|| {
            let known: Vec<_> = tokens
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str())
                .collect();
            Failure::new(Exit::Usage, format!("the stack has no account {account:?}"))
                .hint(format!("it has {}", known.join(", ")))
        });
    }
    if global.account.is_some() {
        return Err(Failure::new(Exit::Usage, "--account needs --stack"));
    }
    // Without one, what anybody may read still works.
    Ok(env("SLUICE_TOKEN").unwrap_or_default().trim().to_owned())
}

fn read_stack(dir: &Path) -> Result<Value, Failure> {
    let path = if dir.is_dir() {
        dir.join("stack.json")
    } else {
        dir.to_path_buf()
    };
    let usage = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Usage, format!("--stack {}: {error}", path.display()))
            .hint("scripts/stack up --dir DIR makes it")
    };
    let text = fs::read_to_string(&path).map_err(|error| usage(&error))?;
    serde_json::from_str(&text).map_err(|error| usage(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stack() -> Value {
        json!({
            "admin_api": {"url": "http://a:1"}, "producer": {"http": "http://p:1"},
            "consumer_api": {"url": "http://c:1"}, "tokens": {"approver": "t1", "viewer": "t2"},
        })
    }

    #[test]
    fn flags_come_before_the_stack_before_the_environment_before_defaults() {
        let env = |name: &str| Some(format!("http://env/{name}"));
        let global = Global {
            admin_url: Some("http://flag".into()),
            ..Global::default()
        };
        let found = Found::new(&global, Some(&stack()), env, "approver").unwrap();
        assert_eq!(
            (found.admin.as_str(), found.producer.as_str()),
            ("http://flag", "http://p:1")
        );
        assert_eq!(found.token, "t1");
        let found = Found::new(&Global::default(), None, env, "approver").unwrap();
        assert_eq!(found.consumer, "http://env/SLUICE_CONSUMER_URL");
        let found = Found::new(&Global::default(), None, |_| None, "approver").unwrap();
        assert_eq!(
            (found.consumer.as_str(), found.token.as_str()),
            ("http://127.0.0.1:8082", "")
        );
    }

    #[test]
    fn an_account_that_the_stack_lacks_is_a_usage_error_that_names_the_others() {
        let global = Global {
            account: Some("nobody".into()),
            ..Global::default()
        };
        let failure = Found::new(&global, Some(&stack()), |_| None, "approver").unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(
            failure.text().contains("approver, viewer"),
            "{}",
            failure.text()
        );
    }
}
