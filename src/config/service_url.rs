use std::net::{IpAddr, Ipv6Addr};

use axum::http::Uri;

/// Where a service is asked: `http://host:port/path` or `https://…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl {
    /// The URL.
    pub uri: Uri,
    /// Whether it is `https`.
    pub is_encrypted: bool,
    /// Whether the host is this machine, by its address or as `localhost`.
    pub is_local: bool,
}

impl ServiceUrl {
    /// The parts of a URL.
    ///
    /// # Errors
    /// It can't be used: the text is a predicate about it.
    pub fn of(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| SHAPE)?;
        let is_encrypted = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return Err(SHAPE),
        };
        let authority = uri.authority().ok_or(SHAPE)?;
        if authority.as_str().contains('@') {
            return Err(
                "must not have a user or a password: write them into headers_file, where nobody else reads them",
            );
        }
        let host = authority.host();
        if host.is_empty()
            || text.contains('#')
            || authority.port().is_none_or(|port| port.as_u16() == 0) && has_port(&uri)
        {
            return Err(SHAPE);
        }
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bracketed.is_some_and(|address| address.parse::<Ipv6Addr>().is_err()) {
            return Err(SHAPE);
        }
        let address = bracketed.unwrap_or(host);
        let is_loopback = address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
        Ok(Self { is_local: is_loopback || host.eq_ignore_ascii_case("localhost"), is_encrypted, uri })
    }
}

/// Whether the authority has a text after its last colon that should be a port.
fn has_port(uri: &Uri) -> bool {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    authority.rsplit(']').next().is_some_and(|rest| rest.contains(':'))
}

const SHAPE: &str = "must be like \"https://auth.example.com/mqtt\", without user and fragment";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_whether_it_is_encrypted_and_on_this_machine() {
        let of = |text| ServiceUrl::of(text).map(|url| (url.is_encrypted, url.is_local));
        assert_eq!(of("http://127.0.0.1:8080/auth?x=1"), Ok((false, true)));
        assert_eq!(of("http://[::1]:8080"), Ok((false, true)));
        assert_eq!(of("http://localhost/auth"), Ok((false, true)));
        assert_eq!(of("https://auth.example.com"), Ok((true, false)));
        assert_eq!(of("http://auth:8080/"), Ok((false, false)));
        assert_eq!(of("http://127.0.0.1.example.com/"), Ok((false, false)));
        for text in [
            "",
            "auth.example.com",
            "/auth",
            "ftp://a/b",
            "http://",
            "http://:80",
            "http://a:0/",
            "http://a:70000/",
            "http://a:b/",
            "http://[::g]/",
            "http://user:secret@a/",
            "https://a/b#c",
            "https://a/b c",
            "https://a/\r\nb",
        ] {
            assert!(ServiceUrl::of(text).is_err(), "{text:?}");
        }
    }
}
