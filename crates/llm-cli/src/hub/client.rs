//! Requests for a file: its description and its bytes.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use ureq::config::RedirectAuthHeaders;
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LOCATION, RANGE};
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

/// A connection on which nothing arrives for this long is given up.
const SILENCE: Duration = Duration::from_secs(60);
/// Most redirects within the hub that are followed.
const MAX_HOPS: usize = 5;

const COMMIT: &str = "x-repo-commit";
/// Tag and size of a file that is stored elsewhere, where the hub redirects to.
const LINKED_ETAG: &str = "x-linked-etag";
const LINKED_SIZE: &str = "x-linked-size";

/// Sends requests on behalf of one user.
pub struct Client {
    agent: Agent,
    token: Option<String>,
}

/// What the hub says about a file before it sends it.
#[derive(Debug, PartialEq, Eq)]
pub struct Description {
    /// The commit that the revision refers to.
    pub commit: String,
    /// The file's entity tag; its checksum, if the hub has one.
    pub etag: String,
    pub size_bytes: u64,
}

impl Client {
    /// A client that sends this token, but only to the hub and not to hosts that the hub redirects to.
    pub fn new(token: Option<String>) -> Self {
        let agent = Agent::config_builder()
            .user_agent(concat!("llm/", env!("CARGO_PKG_VERSION")))
            // A range of a compressed body would not be a range of the file.
            .accept_encoding("identity")
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            // Uses the system's certificate authorities, because mirrors of the hub may have a certificate of their own.
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .build()
            .into();
        Client { agent, token }
    }

    /// Whether there is a token.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Requests the bytes of a file, starting at `first_byte`.
    pub fn get_from(&self, url: &str, first_byte: u64) -> Result<Response<Body>, ureq::Error> {
        self.get(url).header(RANGE, format!("bytes={first_byte}-")).call()
    }

    /// Asks for the description of a file.
    ///
    /// # Errors
    ///
    /// A [`ureq::Error`] if the request fails; another error if the answer is not that of a hub.
    pub fn describe(&self, url: &str) -> Result<Description> {
        let hub = url;
        let mut url = url.to_owned();
        for _ in 0..MAX_HOPS {
            let request = self.get_within(hub, &url).header(RANGE, "bytes=0-0");
            let response =
                request.config().max_redirects(0).max_redirects_will_error(false).build().call()?;
            let place = text(response.headers(), LOCATION.as_str()).map(|place| absolute(&url, place));
            match place {
                // Follows redirects for repositories and files that were renamed, and from mirrors to the hub. Any other redirect
                // leads to the bytes themselves, and the hub's own answer already describes them.
                Some(place) if is_same_host(hub, &place) || text(response.headers(), COMMIT).is_none() => {
                    url = place;
                }
                _ => return self.description(hub, &url, &response),
            }
        }
        bail!("it redirects more than {MAX_HOPS} times")
    }

    fn description(&self, hub: &str, url: &str, response: &Response<Body>) -> Result<Description> {
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
                whole_size(&self.get_within(hub, url).header(RANGE, "bytes=0-0").call()?)
            }
            None => whole_size(response),
        };
        let size_bytes = size_bytes.context("the answer does not tell the size of the file")?;
        Ok(Description { commit: commit.to_owned(), etag: etag.to_owned(), size_bytes })
    }

    /// A request that sends the token if the host is still the hub's.
    fn get_within(&self, hub: &str, url: &str) -> RequestBuilder<WithoutBody> {
        if is_same_host(hub, url) { self.get(url) } else { self.agent.get(url) }
    }

    /// A request that sends the token.
    pub fn get(&self, url: &str) -> RequestBuilder<WithoutBody> {
        let request = self.agent.get(url);
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }
}

/// Whether `to` is on the same host as `from`, and no less secure.
fn is_same_host(from: &str, to: &str) -> bool {
    let (from, to) = (Origin::of(from), Origin::of(to));
    from.host.eq_ignore_ascii_case(to.host)
        && (from.port == to.port && from.is_encrypted == to.is_encrypted
            || !from.is_encrypted && to.is_encrypted && from.port.is_none() && to.port.is_none())
}

/// The host of an address, and how it is reached.
#[derive(Debug, PartialEq, Eq)]
struct Origin<'u> {
    is_encrypted: bool,
    host: &'u str,
    /// `None` means the scheme's default port.
    port: Option<&'u str>,
}

impl<'u> Origin<'u> {
    fn of(url: &'u str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let is_encrypted = scheme.eq_ignore_ascii_case("https");
        let authority = authority(rest);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let default = if is_encrypted { "443" } else { "80" };
        Origin { is_encrypted, host, port: port.filter(|port| *port != default) }
    }
}

/// Host and port at the beginning of what follows a scheme.
fn authority(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// The address that a redirect from `url` names.
fn absolute(url: &str, place: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let authority = authority(rest);
    if has_scheme(place) {
        place.to_owned()
    } else if place.starts_with("//") {
        format!("{scheme}:{place}")
    } else if place.starts_with('/') {
        format!("{scheme}://{authority}{place}")
    } else {
        let path = rest[authority.len()..].split(['?', '#']).next().unwrap_or_default();
        let kept =
            if place.starts_with('?') { path } else { path.rsplit_once('/').map_or("", |(kept, _)| kept) };
        let separator = if place.starts_with('?') { "" } else { "/" };
        format!("{scheme}://{authority}{kept}{separator}{place}")
    }
}

/// Whether an address begins with a scheme; a scheme inside a parameter does not count.
fn has_scheme(place: &str) -> bool {
    place.split_once("://").is_some_and(|(scheme, _)| !scheme.contains(['/', '?', '#']))
}

/// The position in the file of the first byte of an answer.
pub fn first_byte(response: &Response<Body>) -> Option<u64> {
    match text(response.headers(), CONTENT_RANGE.as_str()) {
        Some(range) => range.strip_prefix("bytes ")?.split('-').next()?.parse().ok(),
        None => Some(0),
    }
}

/// The size of the whole file, if a range of it was requested.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_apart() {
        for (from, to, same) in [
            ("https://hub/a", "https://hub/b/c", true),
            ("https://hub/a", "https://HUB:443", true),
            ("http://hub/a", "https://hub/a", true),
            ("http://hub:80/a", "http://hub?x", true),
            ("https://hub/a", "http://hub/a", false),
            ("https://hub/a", "https://hub:8443/a", false),
            ("https://hub/a", "https://hub.evil/a", false),
            ("https://hub/a", "https://evil/hub", false),
            ("https://hub/a", "https://hub@evil/a", false),
            ("http://[::1]:80/a", "http://[::1]/a", true),
        ] {
            assert_eq!(is_same_host(from, to), same, "{from} {to}");
        }
    }

    #[test]
    fn redirects_are_addresses_or_parts_of_one() {
        for (place, address) in [
            ("/x/y", "https://hub/x/y"),
            ("//cdn/x", "https://cdn/x"),
            ("http://other/x", "http://other/x"),
            ("c", "https://hub/a/c"),
            ("/x?from=https://other/y", "https://hub/x?from=https://other/y"),
            ("/x/http://other/y", "https://hub/x/http://other/y"),
            ("//cdn/x#http://other", "https://cdn/x#http://other"),
            ("c?from=http://other", "https://hub/a/c?from=http://other"),
            ("?from=http://other", "https://hub/a/b?from=http://other"),
        ] {
            assert_eq!(absolute("https://hub/a/b?q=1/2", place), address);
        }
        assert_eq!(absolute("https://hub", "c"), "https://hub/c");
    }
}
