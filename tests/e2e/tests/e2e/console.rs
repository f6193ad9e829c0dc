//! The console as a person without JavaScript uses it: links, forms, cookies.

use crate::Test;
use sluice_e2e::http::{Answer, Api};
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, wait_for};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "the admin console asks, approves and rejects by forms",
        admin_console,
    ),
    (
        "the consumer console shows and subscribes by forms",
        consumer_console,
    ),
    (
        "API documents and their viewers are served from the service itself",
        documents,
    ),
];

struct Browser {
    api: Api,
    cookie: String,
}

impl Browser {
    fn sign_in(api: &Api, token: &str) -> Outcome<Self> {
        let api = api.with_token("");
        let redirected = api.get("/ui/")?;
        ensure_eq!(redirected.status, 303, "a page asks to sign in");
        let page = api.get("/ui/login")?;
        ensure!(
            page.text.contains("name=\"token\""),
            "one field: {}",
            page.text
        );
        let answer = api.post_raw(
            "/ui/login",
            "application/x-www-form-urlencoded",
            format!("token={token}"),
        )?;
        let cookie = answer.header("set-cookie").unwrap_or_default();
        ensure!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
            "safe: {cookie}"
        );
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        Ok(Self { api, cookie })
    }

    fn page(&self, path: &str) -> Outcome<Answer> {
        let answer = Api::send(self.api.request("GET", path).header("cookie", &self.cookie))?;
        ensure_eq!(answer.status, 200, "{path}: {}", answer.text);
        ensure_eq!(
            answer.text.matches("<h1").count(),
            1,
            "{path} has one heading"
        );
        let policy = answer.header("content-security-policy").unwrap_or_default();
        ensure!(
            policy.starts_with("default-src 'none'"),
            "{path} is under a strict policy: {policy}"
        );
        Ok(answer)
    }

    fn submit(&self, path: &str, origin: &str, form: &str) -> Outcome<Answer> {
        let request = self
            .api
            .request("POST", path)
            .header("cookie", &self.cookie)
            .header("origin", origin)
            .header("content-type", "application/x-www-form-urlencoded");
        Api::send(request.body(form.to_owned()))
    }
}

fn admin_console(stack: &Stack) -> Outcome {
    let url = stack.fact("/admin_api/url");
    let requester = Browser::sign_in(&stack.admin("requester")?, stack.token("requester"))?;
    let form = "name=console.form&partitions=2&description=%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let foreign = requester.submit("/ui/request", "http://evil.example", form)?;
    ensure_eq!(foreign.status, 403, "a form of another site is refused");
    let asked = requester.submit("/ui/request", url, form)?;
    ensure!(
        matches!(asked.status, 200 | 303),
        "asked: {} {}",
        asked.status,
        asked.text
    );
    let wrong = requester.submit("/ui/request", url, "name=a+b&partitions=0")?;
    ensure!(
        wrong.text.contains("ASCII letters"),
        "the form says which rule: {}",
        wrong.text
    );
    let approver = Browser::sign_in(&stack.admin("approver")?, stack.token("approver"))?;
    let inbox = approver.page("/ui/requests")?;
    ensure!(inbox.text.contains("console.form"), "the inbox shows it");
    ensure!(
        !inbox.text.contains("<script>alert"),
        "and runs nothing of it"
    );
    let topic = stack
        .admin("viewer")?
        .get("/api/topics/by-name/console.form")?
        .expect(200)?;
    let requests = stack
        .admin("viewer")?
        .get("/api/requests?status=pending")?
        .expect(200)?;
    let request = requests
        .as_array()
        .and_then(|all| all.iter().find(|r| r["topic_id"] == topic["topic_id"]));
    let id = request.map(|r| r["request_id"].clone()).unwrap_or_default();
    let approved = approver.submit(&format!("/ui/requests/{id}/approve"), url, "version=1")?;
    ensure!(
        matches!(approved.status, 200 | 303),
        "approved: {} {}",
        approved.status,
        approved.text
    );
    stack.wait_status(topic["topic_id"].as_i64().unwrap_or_default(), "active")?;
    for path in [
        "/ui/",
        "/ui/topics",
        "/ui/requests",
        "/ui/requests?tab=mine",
        "/ui/request",
        "/ui/subscriptions",
        "/ui/producers",
        "/ui/notices",
        "/ui/audit",
    ] {
        approver.page(path)?;
    }
    approver.page(&format!("/ui/topics/{}", topic["topic_id"]))?;
    Ok(())
}

fn consumer_console(stack: &Stack) -> Outcome {
    stack.active_topic("console.catalogue")?;
    let url = stack.fact("/consumer_api/url");
    let browser = Browser::sign_in(&stack.consumer("consumer")?, stack.token("consumer"))?;
    wait_for("the active topic is listed", || {
        let listed = browser.page("/ui/")?.text.contains("console.catalogue");
        Ok(listed.then_some(()))
    })?;
    let done = browser.submit("/ui/subscribe", url, "topic_name=console.catalogue")?;
    ensure!(
        matches!(done.status, 200 | 303),
        "subscribed: {} {}",
        done.status,
        done.text
    );
    let mine = stack
        .admin("viewer")?
        .get("/api/subscriptions?user_id=consumer")?
        .expect(200)?;
    ensure!(
        mine.to_string().contains("console.catalogue"),
        "the mapping exists: {mine}"
    );
    let done = browser.submit("/ui/unsubscribe", url, "topic_name=console.catalogue")?;
    ensure!(
        matches!(done.status, 200 | 303),
        "unsubscribed: {} {}",
        done.status,
        done.text
    );
    browser.page("/ui/live")?;
    browser.page("/ui/consumers")?;
    Ok(())
}

fn documents(stack: &Stack) -> Outcome {
    for api in [stack.admin("")?, stack.consumer("")?] {
        let api = api.with_token("");
        let document = api.get("/openapi.json")?.expect(200)?;
        ensure!(
            document["paths"].as_object().is_some_and(|p| p.len() > 8),
            "the paths are described"
        );
        for path in ["/docs", "/redoc"] {
            let page = api.get(path)?;
            ensure_eq!(page.status, 200, "{path}");
            ensure!(
                !page.text.contains("https://"),
                "{path} loads nothing from elsewhere"
            );
            let sources: Vec<_> = page
                .text
                .split("src=\"")
                .skip(1)
                .filter_map(|s| s.split('"').next())
                .collect();
            for source in sources {
                ensure_eq!(api.get(source)?.status, 200, "{path} loads {source}");
            }
        }
    }
    Ok(())
}
