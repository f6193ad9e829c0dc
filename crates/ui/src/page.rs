//! The frame around every page: navigation, who is signed in, what is in trouble.

use askama::Template;
use sluice_model::access::{Actor, Role};
use sluice_model::problem::Problem;
use sluice_model::time::Timestamp;

/// Whose console it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Governance.
    Admin,
    /// Consumption.
    Consumer,
}

impl Service {
    /// The name in the top bar and in titles.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Admin => "Sluice governance",
            Self::Consumer => "Sluice consumers",
        }
    }

    pub(crate) const fn part(self) -> &'static str {
        match self {
            Self::Admin => "governance",
            Self::Consumer => "consumers",
        }
    }

    const fn nav(self) -> &'static [NavItem] {
        match self {
            Self::Admin => ADMIN_NAV,
            Self::Consumer => &[
                NavItem {
                    href: "/ui/",
                    icon: "list",
                    word: "Catalogue",
                },
                NavItem {
                    href: "/ui/live",
                    icon: "send",
                    word: "Live messages",
                },
                NavItem {
                    href: "/ui/consumers",
                    icon: "cog",
                    word: "Consumers",
                },
            ],
        }
    }
}

/// Where the console of governance leads.
const ADMIN_NAV: &[NavItem] = &[
    NavItem {
        href: "/ui/",
        icon: "home",
        word: "Overview",
    },
    NavItem {
        href: "/ui/requests",
        icon: "inbox",
        word: "Requests",
    },
    NavItem {
        href: "/ui/topics",
        icon: "list",
        word: "Topics",
    },
    NavItem {
        href: "/ui/subscriptions",
        icon: "link",
        word: "Subscriptions",
    },
    NavItem {
        href: "/ui/producers",
        icon: "send",
        word: "Producers",
    },
    NavItem {
        href: "/ui/drift",
        icon: "alert",
        word: "Drift",
    },
    NavItem {
        href: "/ui/policy",
        icon: "check",
        word: "Policy",
    },
    NavItem {
        href: "/ui/access",
        icon: "user",
        word: "Access",
    },
    NavItem {
        href: "/ui/audit",
        icon: "book",
        word: "Audit",
    },
    NavItem {
        href: "/ui/notices",
        icon: "bell",
        word: "Notices",
    },
];

#[derive(Clone, Copy, Debug)]
pub(crate) struct NavItem {
    pub(crate) href: &'static str,
    pub(crate) icon: &'static str,
    pub(crate) word: &'static str,
}

/// A dependency in trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Which.
    pub name: String,
    /// Why, in words.
    pub reason: String,
}

/// Who looks at a page, when, and what they have to know.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// Whose console it is.
    pub service: Service,
    /// The account and its roles.
    pub actor: Actor,
    /// Dependencies in trouble.
    pub troubles: Vec<Trouble>,
    /// Requests that wait for a decision, for the navigation.
    pub pending: i64,
    /// The instant that the page shows.
    pub now: Timestamp,
    /// What the form before this page did; see [`notice`].
    pub notice: Option<&'static str>,
}

impl Viewer {
    /// Whether the viewer's roles include one.
    pub fn may(&self, role: Role) -> bool {
        self.actor.may(role)
    }

    pub(crate) fn roles(&self) -> String {
        let roles: Vec<_> = self.actor.roles.iter().map(|role| role.as_str()).collect();
        roles.join(", ")
    }
}

/// The sentence for the word that a form's redirect carries in `?did=`. Only these can be shown, so
/// that a link cannot put words into our mouth.
pub fn notice(did: &str) -> Option<&'static str> {
    Some(match did {
        "request" => "The topic is asked for. Somebody with the role approver decides about it.",
        "approve" => "Approved.",
        "reject" => "Rejected; the requester sees the reason.",
        "withdraw" => "The request is withdrawn.",
        "edit" => "The request is edited; approvals begin anew.",
        "comment" => "The comment is written.",
        "many" => "All the ticked requests are decided.",
        "some" => {
            "Not all of the ticked requests could be decided; those that wait are still here."
        }
        "cancel" => "The approval is called off.",
        "deactivate" => "Deactivated: producers hold their records, consumers drain.",
        "reactivate" => "Reactivated.",
        "change" => "The change is asked for. Somebody with the role approver decides about it.",
        "adopt" => "Adopted: what Kafka has is approved now.",
        "restore" => "Kafka gets back what is approved.",
        "ignore" => "It may stay as it is.",
        "heed" => "It is shown again.",
        "delete" => "The deletion is asked for. Somebody with the role approver decides about it.",
        "protect" => "It is never deleted, until an admin takes the label away.",
        "unprotect" => "It can be deleted again.",
        "deletions_off" => "Nothing is deleted from Kafka any more, also what was approved.",
        "deletions_on" => "Deletions are carried out again.",
        "subscribe" => "Subscribed.",
        "unsubscribe" => "Unsubscribed.",
        "create" => "The consumer is created.",
        "start" => "The consumer starts.",
        "stop" => "The consumer is stopped.",
        "pause" => "The consumer is paused.",
        "resume" => "The consumer goes on.",
        "restart" => "The consumer starts again.",
        "remove" => "The consumer is deleted.",
        "policy" => "The version counts from now on.",
        "user" => "The user is saved.",
        "team" => "The team is saved.",
        "revoke" => "The token is revoked; it is refused from now on.",
        "password" => "Your password is changed; your other sessions have ended.",
        "signout" => "You are signed out.",
        _ => return None,
    })
}

/// What every page has beside its content.
#[derive(Debug)]
pub(crate) struct Shell<'a> {
    pub(crate) title: String,
    pub(crate) at: &'static str,
    pub(crate) service: Service,
    pub(crate) viewer: Option<&'a Viewer>,
}

impl<'a> Shell<'a> {
    /// The frame of a page of somebody who is signed in; `at` is the entry of the navigation.
    pub(crate) fn new(viewer: &'a Viewer, at: &'static str, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            at,
            service: viewer.service,
            viewer: Some(viewer),
        }
    }

    /// The frame of a page of somebody who is not signed in.
    pub(crate) fn bare(service: Service, title: &str) -> Self {
        Self {
            title: title.to_owned(),
            at: "",
            service,
            viewer: None,
        }
    }

    pub(crate) fn nav(&self) -> &'static [NavItem] {
        self.service.nav()
    }
}

/// Renders a template. Ours write strings and numbers into a string, which cannot fail; should a
/// formatter ever do, the reader sees that the page is not whole.
pub(crate) fn render(template: &impl Template) -> String {
    template
        .render()
        .unwrap_or_else(|error| format!("This page cannot be shown: {error}"))
}

/// What the page at `/ui/login` shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Login<'a> {
    /// Where to go afterwards, checked by [`local_path`].
    pub next: &'a str,
    /// Why the last try did not work.
    pub problem: Option<&'a str>,
    /// What happened before.
    pub notice: Option<&'static str>,
    /// Whether an account with its password signs in, too.
    pub password: bool,
    /// The identity provider's name, if one signs in, too.
    pub provider: Option<&'a str>,
}

#[derive(Debug, Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    shell: Shell<'a>,
    login: Login<'a>,
}

/// The page at `/ui/login`.
pub fn login(service: Service, login: &Login<'_>) -> String {
    let login = Login {
        next: local_path(login.next),
        ..*login
    };
    render(&LoginPage {
        shell: Shell::bare(service, "Sign in"),
        login,
    })
}

#[derive(Debug, Template)]
#[template(path = "signed_in.html")]
struct SignedIn<'a> {
    shell: Shell<'a>,
    next: &'a str,
}

/// The page after a sign-in elsewhere, which leads on by itself.
pub fn signed_in(service: Service, next: &str) -> String {
    render(&SignedIn {
        shell: Shell::bare(service, "Signed in"),
        next: local_path(next),
    })
}

/// The path, if it is one of our own pages; else the first page. Keeps a link to the login from
/// leading elsewhere.
pub fn local_path(next: &str) -> &str {
    let ours = next.starts_with("/ui/")
        && !next.contains(['\\', '\r', '\n'])
        && !next.contains("//")
        && !next.starts_with("/ui/login")
        && !next.starts_with("/ui/logout");
    if ours { next } else { "/ui/" }
}

#[derive(Debug, Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    shell: Shell<'a>,
    problem: &'a Problem,
    back: &'a str,
    way_out: &'static str,
}

/// An error as a page: what, why and the way out. `back` is a page of ours.
pub fn problem(service: Service, viewer: Option<&Viewer>, problem: &Problem, back: &str) -> String {
    let shell = Shell {
        title: problem.title.clone(),
        at: "",
        service,
        viewer,
    };
    let way_out = way_out(problem.status);
    render(&ProblemPage {
        shell,
        problem,
        back: local_path(back),
        way_out,
    })
}

/// What to do about an error, by its status.
const fn way_out(status: u16) -> &'static str {
    match status {
        401 => "Sign in with a token that is valid.",
        403 => "Ask somebody who has the role, or sign in with another token.",
        404 => "Go back, or look for it in the list.",
        408 | 429 | 503 => "Wait a moment and try again.",
        409 => "Look at its current state before you decide again.",
        412 => "Somebody was faster. Look at what it is now, then decide again.",
        400 | 422 => "Go back, correct it and send it again.",
        _ => "Try again; if it stays, the service's log has the cause under the request id.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_are_a_way_back() {
        for (next, way) in [
            ("/ui/topics?status=active", "/ui/topics?status=active"),
            ("https://evil.example/ui/", "/ui/"),
            ("//evil.example", "/ui/"),
            ("/ui//evil.example", "/ui/"),
            ("/ui/\\evil", "/ui/"),
            ("/api/topics", "/ui/"),
            ("/ui/login?next=/ui/login", "/ui/"),
            ("", "/ui/"),
        ] {
            assert_eq!(local_path(next), way, "{next}");
        }
    }

    #[test]
    fn a_notice_is_one_of_ours_or_none() {
        assert_eq!(notice("approve"), Some("Approved."));
        assert_eq!(notice("<b>call this number</b>"), None);
    }
}
