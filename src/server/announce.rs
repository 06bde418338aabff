use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::{Config, ListenAddress, Listener, LogFormat, Problem, Transport};
use crate::server::LogEvent;
use crate::server::log::{json_line, log_line};

/// A listener and its bound address; a Unix socket has none.
pub(super) type Listening = (Listener, Option<SocketAddr>);

/// Whether the broker serves clients, or is a standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serves {
    Clients,
    Nobody,
}

/// Writes the addresses of the listeners, and two commands that exchange a message through one of them. As JSON, one line for each listener.
pub(super) fn announce(
    listeners: &[Listening],
    serves: Serves,
    format: LogFormat,
    output: &mut impl io::Write,
) -> io::Result<()> {
    let text = match format {
        LogFormat::Text => text(listeners, serves),
        LogFormat::Json => listeners.iter().map(|(listener, address)| json(listener, *address)).collect(),
    };
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// Warns of what is open to others, perhaps by mistake.
pub(super) fn log_exposures(config: &Config) {
    for Problem { key, text } in config.exposures() {
        log_line!(Exposed { setting = &*key, reason = &*text }, "`{key}` {text}");
    }
}

/// Warns of options of mosquitto that are not honoured, but for those of which it has warned before.
pub(super) fn log_notes(notes: &[String], before: &[String]) {
    for note in notes.iter().filter(|note| !before.contains(note)) {
        log_line!(OptionNotHonoured { reason = &**note }, "{note}");
    }
}

fn json(listener: &Listener, address: Option<SocketAddr>) -> String {
    let url = url(listener, address);
    let fields = [("listener", (*listener.label()).into()), ("url", url.as_str().into())];
    let mut line =
        json_line(LogEvent::Listening, &fields, &format!("OnceMQ {} listens at {url}", env!("CARGO_PKG_VERSION")));
    line.push('\n');
    line
}

fn text(listeners: &[Listening], serves: Serves) -> String {
    let mut text = format!("OnceMQ {} listens at\n", env!("CARGO_PKG_VERSION"));
    for (listener, address) in listeners {
        text.push_str(&format!("  {}\n", url(listener, *address)));
    }
    if serves == Serves::Nobody {
        text.push_str("It is a standby: another node of the cluster serves the clients.\n");
    } else if let Some(options) = listeners.iter().find_map(|(listener, address)| client_options(listener, *address)) {
        text.push_str("Try it:\n");
        text.push_str(&format!("  oncemq sub {options} -t 'hello' -v\n"));
        text.push_str(&format!("  oncemq pub {options} -t hello -m 'it works'\n"));
    }
    text
}

/// The address of a listener as a URL.
pub(super) fn url(listener: &Listener, address: Option<SocketAddr>) -> String {
    let authority = address.map_or_else(|| listener.address.to_string(), |address| address.to_string());
    let path = match listener.websocket_path.as_deref() {
        None => "/mqtt",
        Some("*") => "/",
        Some(path) => path,
    };
    match listener.transport {
        Transport::Tcp => format!("mqtt://{authority}"),
        Transport::Tls => format!("mqtts://{authority}"),
        Transport::Ws => format!("ws://{authority}{path}"),
        Transport::Wss => format!("wss://{authority}{path}"),
        Transport::Unix => authority,
        // As NanoMQ writes it.
        Transport::Quic => format!("mqtt-quic://{authority}"),
    }
}

/// The options with which `oncemq pub` and `oncemq sub` connect to the listener; `None` if they don't support its transport.
fn client_options(listener: &Listener, address: Option<SocketAddr>) -> Option<String> {
    match (&listener.address, listener.transport, address) {
        (ListenAddress::Unix(path), Transport::Unix, _) => Some(format!("--unix {}", path.display())),
        (_, Transport::Tcp, Some(address)) => Some(host_and_port(address, 1883)),
        (_, Transport::Tls, Some(address)) => Some(format!("{} --cafile CA.pem", host_and_port(address, 8883))),
        _ => None,
    }
}

fn host_and_port(address: SocketAddr, default_port: u16) -> String {
    let mut options = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => format!("-h {}", Ipv4Addr::LOCALHOST),
        SocketAddr::V4(v4) => format!("-h {}", v4.ip()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => format!("-h {}", Ipv6Addr::LOCALHOST),
        // The interface of a link-local address.
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("-h {}%{}", v6.ip(), v6.scope_id()),
        SocketAddr::V6(v6) => format!("-h {}", v6.ip()),
    };
    if address.port() != default_port {
        options.push_str(&format!(" -p {}", address.port()));
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(listeners: &[Listener]) -> String {
        announced_as(Serves::Clients, listeners)
    }

    fn announced_as(serves: Serves, listeners: &[Listener]) -> String {
        let listening = listeners.iter().map(|listener| {
            let ListenAddress::Ip(address) = listener.address else { return (listener.clone(), None) };
            (listener.clone(), Some(address))
        });
        let mut output = Vec::new();
        announce(&listening.collect::<Vec<_>>(), serves, LogFormat::Text, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    fn listener(address: &str) -> Listener {
        Listener::new(address.parse().unwrap())
    }

    #[test]
    fn the_commands_for_the_default_listener_have_no_port() {
        let text = announced(&[listener("127.0.0.1:1883"), listener("[::1]:1883")]);
        assert!(text.contains("mqtt://127.0.0.1:1883\n  mqtt://[::1]:1883\n"), "{text}");
        assert!(text.contains("oncemq sub -h 127.0.0.1 -t 'hello' -v\n"), "{text}");
        assert!(text.ends_with("oncemq pub -h 127.0.0.1 -t hello -m 'it works'\n"), "{text}");
    }

    #[test]
    fn an_unspecified_address_becomes_loopback_and_a_port_other_than_the_default_is_an_option() {
        let text = announced(&[listener("[::]:1884")]);
        assert!(text.contains("oncemq sub -h ::1 -p 1884 -t"), "{text}");
        let text = announced(&[listener("[fe80::1%3]:1883")]);
        assert!(text.contains("oncemq sub -h fe80::1%3 -t"), "{text}");
    }

    #[test]
    fn a_standby_gets_no_commands_that_it_would_refuse() {
        let text = announced_as(Serves::Nobody, &[listener("127.0.0.1:1883")]);
        assert!(text.contains("mqtt://127.0.0.1:1883\nIt is a standby") && !text.contains("oncemq sub"), "{text}");
    }

    #[test]
    fn a_websocket_listener_gets_no_commands() {
        let mut websocket = listener("127.0.0.1:8080");
        websocket.transport = Transport::Ws;
        assert!(!announced(&[websocket.clone()]).contains("mosquitto"));
        let text = announced(&[websocket, listener("unix:/run/oncemq.sock")]);
        assert!(text.contains("oncemq pub --unix /run/oncemq.sock -t"), "{text}");
    }
}
