//! Rules that every page keeps.

use crate::page::{Login, Service, login, problem};
use sluice_model::problem::{Code, Problem, field};

/// A text that would show if it were not escaped.
pub(crate) const fn nasty() -> &'static str {
    "<script>alert(\"x\")</script>&'"
}

/// One title, one h1, no inline script or style, no foreign origin, nothing unescaped, and every
/// local file that it loads exists.
pub(crate) fn assert_page(page: &str) {
    assert_eq!(page.matches("<h1").count(), 1, "{page}");
    assert_eq!(page.matches("<title>").count(), 1);
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    assert!(!page.contains("<script>") && !page.contains("<style") && !page.contains(" style="));
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "{page}"
    );
    for handler in [" onclick", " onload", " onsubmit", "javascript:"] {
        assert!(!page.contains(handler), "{handler}");
    }
    for part in page.split("\"/ui/assets/").skip(1) {
        let path = part.split(['"', '#']).next().unwrap();
        assert!(crate::asset(path).is_some(), "{path}");
    }
    let sprite = crate::asset("icons.svg").unwrap();
    let sprite = String::from_utf8(sprite.bytes.into_owned()).unwrap();
    for part in page.split("icons.svg#").skip(1) {
        let icon = part.split('"').next().unwrap();
        assert!(sprite.contains(&format!("id=\"{icon}\"")), "{icon}");
    }
    labels(page);
    ids(page);
}

/// Every visible input has a label.
fn labels(page: &str) {
    for tag in ["<input id=\"", "<textarea id=\"", "<select id=\""] {
        for part in page.split(tag).skip(1) {
            let id = part.split('"').next().unwrap();
            let wrapped = part
                .split('>')
                .nth(1)
                .is_some_and(|rest| rest.starts_with("</label"));
            assert!(
                wrapped || page.contains(&format!("for=\"{id}\"")),
                "{id} has no label"
            );
        }
    }
}

/// No id stands twice.
fn ids(page: &str) {
    let mut seen = std::collections::HashSet::new();
    for part in page.split(" id=\"").skip(1) {
        let id = part.split('"').next().unwrap();
        assert!(seen.insert(id), "{id} twice");
    }
}

#[test]
fn login_and_problems_are_pages_too() {
    for service in [Service::Admin, Service::Consumer] {
        let page = login(
            service,
            &Login {
                next: "https://evil.example",
                problem: Some(nasty()),
                password: true,
                provider: Some(nasty()),
                ..Login::default()
            },
        );
        assert_page(&page);
        assert!(page.contains("name=\"next\" value=\"/ui/\""));
        assert!(page.contains("type=\"password\""));
        let mut trouble = Problem::from_errors(
            Code::Invalid,
            vec![field("/name", nasty()), field("", nasty())],
        );
        trouble.request_id = Some(nasty().to_owned());
        let viewer = crate::admin::tests::viewer(&[]);
        for viewer in [None, Some(&viewer)] {
            assert_page(&problem(service, viewer, &trouble, "/ui/topics"));
        }
    }
    let forbidden = Problem::new(Code::Forbidden, "no");
    let page = problem(Service::Admin, None, &forbidden, "/ui/topics?q=a");
    assert!(page.contains("/ui/login?next=%2Fui%2Ftopics%3Fq%3Da"));
}

#[test]
fn the_stylesheet_is_small_and_loads_nothing() {
    let sheet = crate::asset("console.css").unwrap();
    assert!(
        sheet.bytes.len() <= 25 * 1024,
        "{} bytes",
        sheet.bytes.len()
    );
    let text = String::from_utf8(sheet.bytes.into_owned()).unwrap();
    assert!(!text.contains("url(") && !text.contains("@import"));
}
