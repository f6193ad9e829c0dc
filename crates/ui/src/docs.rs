//! The two viewers of `/openapi.json`. Serve them under `sluice_service::http::page::DOCS_CSP`.

use crate::page::render;
use askama::Template;

#[derive(Debug, Template)]
#[template(path = "docs.html")]
struct Docs<'a> {
    title: &'a str,
    sheets: &'static [&'static str],
    scripts: &'static [&'static str],
}

/// The page at `/docs`: Swagger UI, to try the API out.
pub fn swagger(title: &str) -> String {
    render(&Docs {
        title,
        sheets: &[
            "/ui/assets/docs.css",
            "/ui/assets/vendor/swagger-ui-5.35.0/swagger-ui.css",
        ],
        scripts: &[
            "/ui/assets/vendor/swagger-ui-5.35.0/swagger-ui-bundle.js",
            "/ui/assets/docs-swagger.js",
        ],
    })
}

/// The page at `/redoc`: Redoc, to read.
pub fn redoc(title: &str) -> String {
    render(&Docs {
        title,
        sheets: &["/ui/assets/docs.css"],
        scripts: &[
            "/ui/assets/vendor/redoc-2.5.4/redoc.standalone.js",
            "/ui/assets/docs-redoc.js",
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_viewers_load_is_compiled_in() {
        for page in [swagger("A & <b>"), redoc("A & <b>")] {
            assert!(!page.contains("<b>"), "{page}");
            for part in page.split("\"/ui/assets/").skip(1) {
                let path = part.split('"').next().unwrap();
                assert!(crate::asset(path).is_some(), "{path}");
            }
        }
    }
}
