//! What a token of the provider says, once it is known to be the provider's.

use super::Oidc;
use crate::app::sessions::Vouched;
use crate::auth::directory::{Tokens, Verified};
use crate::settings::oidc::OidcSettings;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};
use sluice_model::access::{Actor, Role};
use sluice_model::problem::{Code, Problem};
use sluice_model::time::Timestamp;
use sluice_model::user::check_name;
use sluice_service::http::problem::Failure;

/// How far the provider's clock may be off ours, in seconds.
const LEEWAY_S: u64 = 30;
/// The longest token that is read.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Where a bearer of the provider comes from, in the words of tokens.
pub const SOURCE: &str = "oidc";

type Claims = Map<String, Value>;

fn refused(why: &str) -> Problem {
    Problem::new(Code::Unauthenticated, why)
}

/// Whether a bearer has the form of a JWT; tokens of ours have not.
pub fn is_jwt(token: &str) -> bool {
    token.len() <= TOKEN_BYTES_MAX && token.starts_with("eyJ") && token.matches('.').count() == 2
}

/// The claims of a token that one of the keys has signed, for this audience, by this issuer, and not over.
///
/// # Errors
/// 401 that says which of it does not hold.
pub fn read(
    settings: &OidcSettings,
    keys: &JwkSet,
    token: &str,
    audience: &str,
) -> Result<Claims, Problem> {
    let header =
        decode_header(token).map_err(|_| refused("the token is no JWT of a known kind"))?;
    if !settings.algorithms.contains(&header.alg) {
        return Err(refused(
            "the token is signed with an algorithm that is not allowed",
        ));
    }
    let key = key(keys, header.kid.as_deref())
        .ok_or_else(|| refused("the token is signed with a key that the provider does not have"))?;
    let decoding = DecodingKey::from_jwk(key).map_err(|_| refused("the key cannot be used"))?;
    let mut validation = Validation::new(header.alg);
    validation.leeway = LEEWAY_S;
    validation.validate_nbf = true;
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[
        settings.issuer.as_str(),
        settings.issuer.trim_end_matches('/'),
    ]);
    validation.set_audience(&[audience]);
    let token = decode::<Claims>(token, &decoding, &validation);
    token.map(|token| token.claims).map_err(|error| {
        use jsonwebtoken::errors::ErrorKind as Kind;
        refused(match error.kind() {
            Kind::ExpiredSignature => "the token has expired",
            Kind::ImmatureSignature => "the token does not count yet",
            Kind::InvalidAudience => "the token is for somebody else",
            Kind::InvalidIssuer => "the token is of another issuer",
            Kind::MissingRequiredClaim(_) => "the token does not say enough",
            _ => "the token is not the provider's",
        })
    })
}

/// The key of an id; without an id the only one there is. Shared secrets never count.
fn key<'a>(keys: &'a JwkSet, id: Option<&str>) -> Option<&'a Jwk> {
    let public = |key: &&Jwk| {
        let signs = !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption));
        signs && !matches!(key.algorithm, AlgorithmParameters::OctetKey(_))
    };
    let mut fitting = keys
        .keys
        .iter()
        .filter(public)
        .filter(|key| id.is_none() || key.common.key_id.as_deref() == id);
    let first = fitting.next()?;
    (id.is_some() || fitting.next().is_none()).then_some(first)
}

/// The values of a claim: a text, or an array of texts; dots lead into objects.
fn values<'a>(claims: &'a Claims, path: &str) -> Vec<&'a str> {
    if path.is_empty() {
        return Vec::new();
    }
    let whole = claims.get(path);
    let found = whole.or_else(|| {
        let mut steps = path.split('.');
        let first = claims.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(step))
    });
    match found {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Who the claims are about, and what they give.
///
/// # Errors
/// 401 when they name no account that can be one, 403 when they give no role.
pub fn vouched(settings: &OidcSettings, claims: &Claims) -> Result<Vouched, Problem> {
    let account = values(claims, &settings.account_claim);
    let subject = claims.get("sub").and_then(Value::as_str);
    let (Some(account), Some(subject)) = (account.first(), subject) else {
        return Err(refused("the token names no account"));
    };
    check_name(account).map_err(|why| refused(&format!("the account of the token {why}")))?;
    let mut roles: Vec<Role> = settings.default_roles.clone();
    for value in values(claims, &settings.roles_claim) {
        roles.extend(settings.roles.get(value).into_iter().flatten());
    }
    roles.sort();
    roles.dedup();
    if roles.is_empty() {
        let detail = format!("{account} has no role here: oidc.roles gives none to its groups");
        return Err(Problem::new(Code::Forbidden, detail));
    }
    let teams = values(claims, &settings.teams_claim).into_iter();
    let teams = teams.map(|value| settings.teams.get(value).map_or(value, String::as_str));
    let name = claims.get("name").and_then(Value::as_str);
    Ok(Vouched {
        account: (*account).to_owned(),
        subject: format!("{} {subject}", settings.issuer),
        display_name: name.map(|name| name.chars().take(200).collect()),
        roles,
        teams: teams.map(str::to_owned).collect(),
    })
}

impl Oidc {
    /// Makes sure that the keys are known which a bearer needs.
    ///
    /// # Errors
    /// 401 when it is no JWT, 503 when the provider was never known and does not answer.
    pub async fn prepare(&self, token: &str) -> Result<(), Failure> {
        let header = decode_header(token).map_err(|_| refused("the token is no JWT"))?;
        self.provider(header.kid.as_deref()).await.map(drop)
    }

    /// Who a bearer is, by the keys that are known.
    ///
    /// # Errors
    /// 401 when it is not the provider's, is for somebody else or over; 403 when its account is
    /// disabled, somebody else's or has no role.
    pub fn verify(&self, tokens: &Tokens, token: &str) -> Result<Verified, Problem> {
        let known = self.known();
        let known = known.ok_or_else(|| refused("the identity provider is not known yet"))?;
        let audience = self.settings.bearer_audience();
        let claims = read(&self.settings, &known.keys, token, audience)?;
        let who = vouched(&self.settings, &claims)?;
        if let Some(user) = tokens.user(&who.account) {
            if user.disabled {
                return Err(refused("the account is disabled"));
            }
            if user.subject.as_deref() != Some(who.subject.as_str()) {
                return Err(refused(
                    "the account of the token belongs to another user here",
                ));
            }
        }
        let mut teams = tokens.teams(&who.account);
        let claimed = tokens.existing_teams(who.teams);
        teams.extend(claimed);
        teams.sort();
        teams.dedup();
        let seconds = claims
            .get("exp")
            .and_then(Value::as_f64)
            .unwrap_or_default();
        Ok(Verified {
            actor: Actor {
                account: who.account,
                roles: who.roles,
                scopes: Vec::new(),
                teams,
                expires_at: Some(Timestamp::from_millis((seconds * 1000.0) as i64)),
            },
            token_id: None,
            source: SOURCE.to_owned(),
        })
    }
}
