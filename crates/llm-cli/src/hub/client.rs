//! Requests for one file: what it is, and its bytes.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use ureq::config::RedirectAuthHeaders;
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LOCATION, RANGE};
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

/// A connection on which nothing comes for so long is given up.
const SILENCE: Duration = Duration::from_secs(60);
/// Redirects within the hub that are followed.
const MAX_HOPS: usize = 5;

const COMMIT: &str = "x-repo-commit";
/// Tag and size of a file that lies elsewhere, where the hub redirects to.
const LINKED_ETAG: &str = "x-linked-etag";
const LINKED_SIZE: &str = "x-linked-size";

/// Asks on behalf of one user.
pub struct Client {
    agent: Agent,
    token: Option<String>,
}

/// What the hub says of a file before it sends it.
#[derive(Debug, PartialEq, Eq)]
pub struct Description {
    /// The commit that the revision stands for.
    pub commit: String,
    /// The file's entity tag; its checksum, if the hub has one.
    pub etag: String,
    pub size_bytes: u64,
}

impl Client {
    /// A client that shows this token, to the hub alone and not to where the hub redirects.
    pub fn new(token: Option<String>) -> Self {
        let agent = Agent::config_builder()
            .user_agent(concat!("llm/", env!("CARGO_PKG_VERSION")))
            // A range of a compressed body is no range of the file.
            .accept_encoding("identity")
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            // The system's authorities, since mirrors of the hub may have a certificate of their own.
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .build()
            .into();
        Client { agent, token }
    }

    /// Whether there is a token to show.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Requests the bytes of a file from one on.
    pub fn get_from(&self, url: &str, first_byte: u64) -> Result<Response<Body>, ureq::Error> {
        self.get(url).header(RANGE, format!("bytes={first_byte}-")).call()
    }

    /// Asks what a file is.
    ///
    /// # Errors
    ///
    /// A [`ureq::Error`] when the request fails; another error when the answer is not one of a hub.
    pub fn describe(&self, url: &str) -> Result<Description> {
        let origin = url.match_indices('/').nth(2).map_or(url, |(end, _)| &url[..end]);
        let mut url = url.to_owned();
        for _ in 0..MAX_HOPS {
            let request = self.get(&url).header(RANGE, "bytes=0-0");
            let response =
                request.config().max_redirects(0).max_redirects_will_error(false).build().call()?;
            // The names of repositories and files that moved are paths; anything else is where the bytes are, of which
            // the hub says itself what they are.
            match text(response.headers(), LOCATION.as_str()) {
                Some(place) if place.starts_with('/') && !place.starts_with("//") => {
                    url = format!("{origin}{place}");
                }
                _ => return self.description(&url, &response),
            }
        }
        bail!("it redirects more than {MAX_HOPS} times")
    }

    fn description(&self, url: &str, response: &Response<Body>) -> Result<Description> {
        let headers = response.headers();
        let commit = text(headers, COMMIT).with_context(|| format!("there is no header {COMMIT}"))?;
        let etag = text(headers, LINKED_ETAG).or_else(|| text(headers, ETAG.as_str()));
        let etag = etag.with_context(|| format!("there is neither a header {LINKED_ETAG} nor {ETAG}"))?;
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        for name in [commit, etag] {
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
                bail!("{name:?} is neither a commit nor an entity tag");
            }
        }
        let size_bytes = match text(headers, LINKED_SIZE) {
            Some(size) => size.parse().ok(),
            None if response.status().is_redirection() => {
                whole_size(&self.get(url).header(RANGE, "bytes=0-0").call()?)
            }
            None => whole_size(response),
        };
        let size_bytes = size_bytes.context("the answer does not tell the size of the file")?;
        Ok(Description { commit: commit.to_owned(), etag: etag.to_owned(), size_bytes })
    }

    /// A request that shows the token.
    pub fn get(&self, url: &str) -> RequestBuilder<WithoutBody> {
        let request = self.agent.get(url);
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }
}

/// Where in the file the body of an answer begins.
pub fn first_byte(response: &Response<Body>) -> Option<u64> {
    match text(response.headers(), CONTENT_RANGE.as_str()) {
        Some(range) => range.strip_prefix("bytes ")?.split('-').next()?.parse().ok(),
        None => Some(0),
    }
}

/// The size of the file of which a range was asked.
fn whole_size(response: &Response<Body>) -> Option<u64> {
    let headers = response.headers();
    match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            text(headers, CONTENT_RANGE.as_str())?.rsplit('/').next()?.parse().ok()
        }
        _ => text(headers, CONTENT_LENGTH.as_str())?.parse().ok(),
    }
}

fn text<'r>(headers: &'r HeaderMap, name: &str) -> Option<&'r str> {
    headers.get(name)?.to_str().ok()
}
