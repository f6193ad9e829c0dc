//! The console as a person sees it: Debian's chromium, driven through chromedriver, against a real
//! stack. Pictures of what it saw are left in `.sluice/browser`.

use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use sluice_e2e::stack::{Stack, root};
use sluice_e2e::{Outcome, SOON, ensure, wait_for};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use tokio::runtime::{Builder, Runtime};

/// Chromedriver; ended when dropped.
struct Driver {
    child: Child,
    url: String,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Driver {
    /// Starts chromedriver on a port that it chooses.
    fn start() -> Outcome<Self> {
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("chromedriver has no output")?;
        let mut lines = BufReader::new(output).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let rest = line.split("started successfully on port ").nth(1)?;
            rest.trim_end_matches('.').parse::<u16>().ok()
        });
        // It goes on writing; somebody has to read.
        std::thread::Builder::new()
            .name("chromedriver".into())
            .spawn(move || lines.count())?;
        let port = port.ok_or("chromedriver did not say its port")?;
        Ok(Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        })
    }

    fn browser(&self, profile: &str, dark: bool) -> Outcome<Browser> {
        let scheme = if dark { "0" } else { "1" };
        let arguments = json!([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1440,900",
            format!("--user-data-dir={profile}"),
            format!("--blink-settings=preferredColorScheme={scheme}"),
        ]);
        let mut capabilities = Capabilities::new();
        capabilities.insert("goog:chromeOptions".into(), json!({"args": arguments}));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let client = runtime.block_on(builder.capabilities(capabilities).connect(&self.url))?;
        Ok(Browser { runtime, client })
    }
}

/// A browser, one action after the other.
struct Browser {
    runtime: Runtime,
    client: Client,
}

impl Browser {
    fn open(&self, url: &str) -> Outcome {
        Ok(self.runtime.block_on(self.client.goto(url))?)
    }

    fn click(&self, css: &str) -> Outcome {
        let click = async { self.client.find(Locator::Css(css)).await?.click().await };
        Ok(self.runtime.block_on(click)?)
    }

    fn text(&self) -> Outcome<String> {
        Ok(self.runtime.block_on(self.client.source())?)
    }

    fn run(&self, script: &str) -> Outcome<Value> {
        Ok(self
            .runtime
            .block_on(self.client.execute(script, Vec::new()))?)
    }

    fn sign_in(&self, url: &str, token: &str) -> Outcome {
        self.open(&format!("{url}/ui/"))?;
        let type_in = async {
            self.client
                .find(Locator::Css("input[name=token]"))
                .await?
                .send_keys(token)
                .await
        };
        self.runtime.block_on(type_in)?;
        self.click("form button")?;
        let signed_in = self
            .client
            .wait()
            .at_most(SOON)
            .for_element(Locator::Css("nav"));
        self.runtime.block_on(async { signed_in.await.map(drop) })?;
        Ok(())
    }

    fn picture(&self, name: &str) -> Outcome {
        let dir = root().join(".sluice/browser");
        std::fs::create_dir_all(&dir)?;
        let png = self.runtime.block_on(self.client.screenshot())?;
        std::fs::write(dir.join(format!("{name}.png")), png)?;
        let wide = "return document.documentElement.scrollWidth > window.innerWidth";
        ensure!(self.run(wide)? == json!(false), "{name} scrolls sideways");
        Ok(())
    }
}

fn approval(stack: &Stack, browser: &Browser) -> Outcome {
    stack.request(&json!({"name": "browser.orders", "description": "<b>bold</b>"}))?;
    let url = stack.fact("/admin_api/url");
    browser.sign_in(url, stack.token("approver"))?;
    browser.picture("overview")?;
    browser.open(&format!("{url}/ui/requests"))?;
    browser.picture("inbox")?;
    let source = browser.text()?;
    ensure!(
        source.contains("browser.orders"),
        "the inbox shows the request"
    );
    ensure!(
        !source.contains("<b>bold</b>"),
        "and shows its text as text"
    );
    browser.click("form[action$='/approve'] button")?;
    let row = stack
        .admin("viewer")?
        .get("/api/topics/by-name/browser.orders")?
        .expect(200)?;
    stack.wait_status(row["topic_id"].as_i64().unwrap_or_default(), "active")?;
    browser.open(&format!("{url}/ui/topics"))?;
    browser.picture("topics")
}

fn live_tail(stack: &Stack, browser: &Browser) -> Outcome {
    let url = stack.fact("/consumer_api/url");
    browser.sign_in(url, stack.token("consumer"))?;
    browser.picture("catalogue")?;
    browser.open(&format!("{url}/ui/live?topics=browser.orders"))?;
    let producer = stack.producer("producer")?;
    let hostile = json!({"id": 9_007_199_254_740_993_i64, "html": "<img src=x onerror=alert(1)>"});
    // Records are sent until one shows: the page connects in its own time.
    wait_for("the page shows a record as it was sent", || {
        producer.post("/topics/browser.orders", &hostile)?;
        Ok(browser.text()?.contains("9007199254740993").then_some(()))
    })?;
    ensure!(
        browser.run("return document.querySelectorAll('img[onerror]').length")? == json!(0),
        "a payload is never markup"
    );
    browser.picture("live")?;
    browser.open(&format!("{url}/ui/consumers"))?;
    browser.picture("consumers")
}

fn dark_and_narrow(stack: &Stack, browser: &Browser) -> Outcome {
    let url = stack.fact("/admin_api/url");
    browser.sign_in(url, stack.token("admin"))?;
    browser.picture("overview-dark")?;
    browser
        .runtime
        .block_on(browser.client.set_window_size(390, 844))?;
    browser.open(&format!("{url}/ui/topics"))?;
    browser.picture("topics-phone-dark")
}

fn run() -> Outcome {
    let stack = Stack::up("browser", &[])?;
    let driver = Driver::start()?;
    for (dark, stories) in [
        (false, &[approval, live_tail][..]),
        (
            true,
            &[dark_and_narrow as fn(&Stack, &Browser) -> Outcome][..],
        ),
    ] {
        let profile = tempfile::tempdir()?;
        let browser = driver.browser(&profile.path().display().to_string(), dark)?;
        let outcome = stories.iter().try_for_each(|story| story(&stack, &browser));
        browser.runtime.block_on(browser.client.clone().close())?;
        outcome?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = Command::new("chromedriver")
        .arg("--version")
        .output()
        .is_err();
    let trial = Trial::test("a person approves a topic and watches it live", || {
        run().map_err(Failed::from)
    });
    libtest_mimic::run(&arguments, vec![trial.with_ignored_flag(missing)]).exit_code()
}
