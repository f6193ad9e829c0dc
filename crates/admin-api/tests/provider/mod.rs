//! A small identity provider: discovery, keys, and codes for tokens, on a thread of its own.

#![expect(unreachable_pub, reason = "a test program uses it as its own")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// A key of the provider; it signs nothing but what these tests make.
pub struct Key {
    id: &'static str,
    pem: &'static str,
    x: &'static str,
    y: &'static str,
}

/// The key that the provider has from the start.
pub const FIRST: Key = Key {
    id: "first",
    pem: "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgPXx6G+13anWLbKda\np5YG69B9HequO71DIPxEC3y47CWhRANCAARCm4kd7X1Rm3Ssov/7+EGdGYM6oTDt\nfwStQZqzbnEGH0um/0n0XdIIQjFWnB3r5+aOhKz3D09g9OLydnYZSHwc\n-----END PRIVATE KEY-----",
    x: "QpuJHe19UZt0rKL_-_hBnRmDOqEw7X8ErUGas25xBh8",
    y: "S6b_SfRd0ghCMVacHevn5o6ErPcPT2D04vJ2dhlIfBw",
};
/// The key that it shows when it is told to.
pub const SECOND: Key = Key {
    id: "second",
    pem: "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgVPaBTwYSgsEYp/H6\n2Y/vO4LhP/4klAFz9dQtcFNYOsihRANCAAQJhxCTzYUVfsybm63RyrrndUazMA3/\n/7dS7tTWThOWcvkLG8obWDe6SA3IGoQ4kmEcdbGMzHq8dPEH3HGotnjd\n-----END PRIVATE KEY-----",
    x: "CYcQk82FFX7Mm5ut0cq653VGszAN__-3Uu7U1k4TlnI",
    y: "-QsbyhtYN7pIDcgahDiSYRx1sYzMerx08Qfccai2eN0",
};

/// A provider that answers until the test ends.
#[derive(Clone)]
pub struct Provider {
    pub issuer: String,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    keys: Vec<Value>,
    codes: HashMap<String, (String, Value)>,
    fetches: usize,
}

impl Provider {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let provider = Self {
            issuer,
            inner: Arc::default(),
        };
        provider.show(&[&FIRST]);
        let serving = provider.clone();
        let serve = move || {
            for stream in listener.incoming().flatten() {
                serving.answer(stream);
            }
        };
        let thread = std::thread::Builder::new().name("provider".into());
        thread.spawn(serve).unwrap();
        provider
    }

    /// Lets the provider have these keys.
    pub fn show(&self, keys: &[&Key]) {
        let public = |key: &&Key| json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": key.id, "x": key.x, "y": key.y});
        self.inner.lock().unwrap().keys = keys.iter().map(public).collect();
    }

    /// How often its keys were fetched.
    pub fn fetches(&self) -> usize {
        self.inner.lock().unwrap().fetches
    }

    /// Lets a code stand for claims, for whoever knows the verifier of a challenge.
    pub fn authorize(&self, code: &str, challenge: &str, claims: Value) {
        let grant = (challenge.to_owned(), claims);
        self.inner
            .lock()
            .unwrap()
            .codes
            .insert(code.to_owned(), grant);
    }

    pub fn sign(key: &Key, algorithm: Algorithm, claims: &Value) -> String {
        let mut header = Header::new(algorithm);
        header.kid = Some(key.id.to_owned());
        let key = EncodingKey::from_ec_pem(key.pem.as_bytes()).unwrap();
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }

    /// A token that takes the public key for a shared secret.
    pub fn sign_shared(key: &Key, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(key.id.to_owned());
        let secret = EncodingKey::from_secret(key.x.as_bytes());
        jsonwebtoken::encode(&header, claims, &secret).unwrap()
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line).unwrap();
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let (status, body) = self.serve(&path, &body);
        let text = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n"
        );
        let _gone = write!(stream, "{head}content-length: {}\r\n\r\n{text}", text.len());
    }

    fn serve(&self, path: &str, body: &[u8]) -> (u16, Value) {
        let mut inner = self.inner.lock().unwrap();
        let place = |path: &str| format!("{}{path}", self.issuer);
        match path {
            "/.well-known/openid-configuration" => (
                200,
                json!({"issuer": self.issuer, "authorization_endpoint": place("/authorize"),
                    "token_endpoint": place("/token"), "jwks_uri": place("/keys")}),
            ),
            "/keys" => {
                inner.fetches += 1;
                (200, json!({"keys": inner.keys}))
            }
            "/token" => {
                let form: HashMap<String, String> =
                    url::form_urlencoded::parse(body).into_owned().collect();
                let verifier = form.get("code_verifier").cloned().unwrap_or_default();
                let challenge = encode(&Sha256::digest(verifier.as_bytes()));
                match inner.codes.remove(&form["code"]) {
                    Some((asked, claims)) if asked == challenge => {
                        let token = Self::sign(&FIRST, Algorithm::ES256, &claims);
                        (200, json!({"id_token": token, "token_type": "Bearer"}))
                    }
                    _ => (400, json!({"error": "invalid_grant"})),
                }
            }
            _ => (404, json!({})),
        }
    }
}

pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since the epoch.
pub fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}
