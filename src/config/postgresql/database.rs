use std::net::IpAddr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

/// A database of a PostgreSQL server, and the role that reads it: `postgresql://ROLE@HOST:PORT/DATABASE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Where its server is.
    pub place: Place,
    /// The role.
    pub role: String,
    /// The name of the database.
    pub name: String,
}

/// The place of a database server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A name or an IP address, and a port.
    Host(String, u16),
    /// The Unix socket.
    Socket(PathBuf),
}

impl Database {
    /// Reads a URL. A host that begins with `/` or `%2F` is the folder of a Unix socket.
    ///
    /// # Errors
    /// It is no such URL: the text is a predicate about it. It never contains a part of the URL, which may have a password.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        const SHAPE: &str = "must be like \"postgresql://role@db.example.com:5432/database\", or \"postgresql://role@%2Frun%2Fpostgresql/database\" for a Unix socket";
        let rest = url.strip_prefix("postgresql://").or_else(|| url.strip_prefix("postgres://")).ok_or(SHAPE)?;
        if rest.contains(['?', '#']) {
            return Err("can't have parameters: the settings of the provider say the rest");
        }
        let (authority, name) = rest.split_once('/').ok_or(SHAPE)?;
        let (role, address) = authority.rsplit_once('@').ok_or(SHAPE)?;
        if role.contains(':') {
            return Err("can't have a password: it belongs into the file of password_file");
        }
        if address.contains(',') {
            return Err("can't have several hosts");
        }
        let (role, name) = (decoded(role).ok_or(SHAPE)?, decoded(name).ok_or(SHAPE)?);
        Ok(Self { place: Place::parse(address).ok_or(SHAPE)?, role, name })
    }

    /// Whether connections to its server are encrypted. `tls` is what the settings say, and `has_ca` whether they name authorities.
    pub fn is_encrypted(&self, tls: Option<bool>, has_ca: bool) -> bool {
        match &self.place {
            Place::Socket(_) => false,
            Place::Host(..) => tls.unwrap_or(has_ca || !self.is_local()),
        }
    }

    /// Whether its server is certainly on this machine.
    pub fn is_local(&self) -> bool {
        match &self.place {
            Place::Socket(_) => true,
            Place::Host(host, _) => {
                host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
            }
        }
    }
}

impl Place {
    fn parse(address: &str) -> Option<Self> {
        let (host, port) = if let Some(rest) = address.strip_prefix('[') {
            let (host, port) = rest.split_once(']')?;
            let _v6: std::net::Ipv6Addr = host.parse().ok()?;
            (host.to_owned(), port.strip_prefix(':').filter(|_| !port.is_empty()).or(port.is_empty().then_some(""))?)
        } else {
            let (host, port) = address.split_once(':').unwrap_or((address, ""));
            (decoded(host)?, port)
        };
        let port = if port.is_empty() { PORT } else { port.parse().ok().filter(|port| *port > 0)? };
        Some(match host.strip_prefix('/') {
            Some(_) => Self::Socket(PathBuf::from(host).join(format!(".s.PGSQL.{port}"))),
            None => Self::Host(host, port),
        })
    }
}

/// The text without percent-encoding; `None`: it is empty, or no name.
fn decoded(text: &str) -> Option<String> {
    let text = percent_decode_str(text).decode_utf8().ok()?;
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.into_owned())
}

const PORT: u16 = 5_432;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_role_place_and_database() {
        for (url, place, local) in [
            ("postgresql://mqtt@db.example.com/iot", Place::Host("db.example.com".to_owned(), 5_432), false),
            ("postgres://mqtt@10.0.0.1:5433/iot", Place::Host("10.0.0.1".to_owned(), 5_433), false),
            ("postgresql://mqtt@127.0.0.1:1/iot", Place::Host("127.0.0.1".to_owned(), 1), true),
            ("postgresql://mqtt@localhost/iot", Place::Host("localhost".to_owned(), 5_432), true),
            ("postgresql://mqtt@[::1]:6/iot", Place::Host("::1".to_owned(), 6), true),
            ("postgresql://mqtt@[2001:db8::1]/iot", Place::Host("2001:db8::1".to_owned(), 5_432), false),
            ("postgresql://mqtt@%2Frun%2Fpg/iot", Place::Socket("/run/pg/.s.PGSQL.5432".into()), true),
            ("postgresql://mqtt@%2frun%2fpg:99/iot", Place::Socket("/run/pg/.s.PGSQL.99".into()), true),
        ] {
            let database = Database::parse(url).unwrap();
            assert_eq!(database.is_local(), local, "{url}");
            let is_socket = matches!(place, Place::Socket(_));
            assert_eq!(database.is_encrypted(None, false), !local, "{url}");
            assert_eq!(database.is_encrypted(None, true), !is_socket, "{url}");
            assert_eq!(database.is_encrypted(Some(true), false), !is_socket, "{url}");
            assert!(!database.is_encrypted(Some(false), false), "{url}");
            assert_eq!(database, Database { place, role: "mqtt".to_owned(), name: "iot".to_owned() }, "{url}");
        }
        let encoded = Database::parse("postgresql://a%40b@h/c%2Fd").unwrap();
        assert_eq!((&*encoded.role, &*encoded.name), ("a@b", "c/d"));
    }

    #[test]
    fn what_is_no_such_url_is_refused_without_repeating_it() {
        for (url, cause) in [
            ("mysql://a@b/c", "must be like"),
            ("postgresql://b/c", "must be like"),
            ("postgresql://a@b", "must be like"),
            ("postgresql://a@b/", "must be like"),
            ("postgresql://@b/c", "must be like"),
            ("postgresql://a@/c", "must be like"),
            ("postgresql://a@b:0/c", "must be like"),
            ("postgresql://a@b:x/c", "must be like"),
            ("postgresql://a@[::1/c", "must be like"),
            ("postgresql://a@[::1]5/c", "must be like"),
            ("postgresql://a@[b]/c", "must be like"),
            ("postgresql://a@b/c%00", "must be like"),
            ("postgresql://a:geheim@b/c", "password_file"),
            ("postgresql://a@b,c/d", "several hosts"),
            ("postgresql://a@b/c?sslmode=disable", "parameters"),
        ] {
            let problem = Database::parse(url).unwrap_err();
            assert!(problem.contains(cause) && !problem.contains("geheim"), "{url}: {problem}");
        }
    }
}
