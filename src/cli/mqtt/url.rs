use super::error::MqttError;

/// What `-L` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) is_tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) topic: String,
}

impl Url {
    /// `mqtt(s)://[user[:password]@]host[:port]/topic`, in which nothing is percent-encoded, as for mosquitto's clients.
    pub(super) fn parse(text: &str) -> Result<Self, MqttError> {
        let wrong = || MqttError::Usage(format!("-L {text:?} is not mqtt(s)://[user[:password]@]host[:port]/topic"));
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let is_tls = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            _ => return Err(wrong()),
        };
        let (authority, topic) = rest.split_once('/').filter(|(_, topic)| !topic.is_empty()).ok_or_else(wrong)?;
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
            Some(Ok((user, password))) => (Some(user.to_owned()), Some(password.to_owned())),
            Some(Err(user)) => (Some(user.to_owned()), None),
            None => (None, None),
        };
        let (host, port) = host_and_port(place).ok_or_else(wrong)?;
        Ok(Self { is_tls, user, password, host, port, topic: topic.to_owned() })
    }
}

/// `host`, `host:port`, `[::1]` or `[::1]:port`.
fn host_and_port(place: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            (host, port)
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = port.map(str::parse).transpose().ok()?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_host_user_and_topic() {
        let url = Url::parse("mqtts://al:p@ss@[::1]:8884/a/b").unwrap();
        let (user, password) = (url.user.as_deref(), url.password.as_deref());
        assert_eq!((user, password, &*url.host, url.port), (Some("al"), Some("p@ss"), "::1", Some(8884)));
        assert!(url.is_tls && url.topic == "a/b");
        let url = Url::parse("mqtt://broker//t").unwrap();
        assert_eq!((&*url.host, url.port, url.user, &*url.topic), ("broker", None, None, "/t"));
        for text in ["", "broker/t", "http://h/t", "mqtt://h", "mqtt://h/", "mqtt:///t", "mqtt://h:x/t", "mqtt://[h/t"]
        {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
