use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oncemq::admin::SOCKET;
use oncemq::config::{self, LocationArguments};

use super::error::CliError;
use crate::admin_client::AdminClient;
use crate::tls_client::{TlsFiles, client_config};

/// Which broker a command is for.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which broker")]
pub(crate) struct TargetArguments {
    #[command(flatten)]
    location: LocationArguments,
    /// Ask the broker at this URL, such as https://broker:9883, instead of the one with the data directory
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "config"])]
    admin: Option<String>,
    /// File with the token for --admin
    #[arg(long, value_name = "FILE", requires = "admin")]
    token: Option<PathBuf>,
    /// Trust the authorities in this PEM file instead of those of the operating system
    #[arg(long, value_name = "FILE", requires = "admin")]
    cafile: Option<PathBuf>,
}

impl TargetArguments {
    /// The admin interface that the arguments name.
    pub(crate) fn client(self) -> Result<AdminClient, CliError> {
        let Self { location, admin, token, cafile } = self;
        let Some(url) = admin else {
            let data = config::load(&location.into())?.config.server.data;
            return Ok(AdminClient::unix(data.join(SOCKET)));
        };
        let wrong = || CliError::Usage(format!("--admin {url:?} is not http(s)://host[:port]"));
        let Authority { is_tls, host, port } = Authority::parse(&url).ok_or_else(wrong)?;
        let token = token.map(|path| read_token(&path)).transpose()?;
        if token.is_some() && !is_tls && !is_this_machine(&host) {
            return Err(CliError::Usage("a token is sent to another machine over https only".to_owned()));
        }
        if cafile.is_some() && !is_tls {
            return Err(CliError::Usage("--cafile needs an https URL".to_owned()));
        }
        let files = TlsFiles { authorities: cafile, ..TlsFiles::default() };
        let tls = is_tls.then(|| client_config(&files)).transpose()?;
        Ok(AdminClient::at(host, port, tls, token))
    }
}

impl TargetArguments {
    /// Like [`client`](Self::client); if there is no socket, because a broker that stores nothing may have no data directory, the configured address of
    /// the admin listener, which answers questions about its health to everyone.
    pub(crate) fn socket_or_listener(self) -> Result<AdminClient, CliError> {
        if self.admin.is_some() {
            return self.client();
        }
        let config = config::load(&self.location.into())?.config;
        let socket = config.server.data.join(SOCKET);
        Ok(if socket.exists() { AdminClient::unix(socket) } else { AdminClient::new(config.admin.address) })
    }
}

/// The parts of a URL that has no path.
#[derive(Debug, PartialEq, Eq)]
struct Authority {
    is_tls: bool,
    host: String,
    port: u16,
}

impl Authority {
    /// `http://host:port`, `https://host:port` or `host:port`.
    fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let is_tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (rest, PORT),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_name = |host: &str| !host.is_empty() && !host.contains(['/', ':', '[', ']', '@', '?', '#', ' ']);
        match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().ok().map(drop)?,
            None => is_name(host).then_some(())?,
        }
        Some(Self { is_tls, host: bare.unwrap_or(host).to_owned(), port })
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn read_token(path: &Path) -> Result<String, CliError> {
    let fail = |source| CliError::File { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(fail)?;
    let token = text.trim();
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let source = io::Error::new(io::ErrorKind::InvalidData, "contains no token");
        return Err(fail(source));
    }
    Ok(token.to_owned())
}

/// The default port of the admin listener.
const PORT: u16 = 9883;
const TOKEN_BYTES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_and_a_port() {
        let parse = |url| Authority::parse(url).map(|url| (url.is_tls, url.host, url.port));
        assert_eq!(parse("https://broker:1"), Some((true, "broker".to_owned(), 1)));
        assert_eq!(parse("http://broker/"), Some((false, "broker".to_owned(), 9883)));
        assert_eq!(parse("127.0.0.1:9883"), Some((false, "127.0.0.1".to_owned(), 9883)));
        assert_eq!(parse("https://[::1]"), Some((true, "::1".to_owned(), 9883)));
        assert_eq!(parse("[::1]:8"), Some((false, "::1".to_owned(), 8)));
        for url in
            ["", "ftp://x", "http://", "http://x:y", "http://x/y", "::1", "[x]:1", "http://a@b", "http://x:70000"]
        {
            assert_eq!(parse(url), None, "{url}");
        }
    }
}
