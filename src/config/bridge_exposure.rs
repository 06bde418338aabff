//! What a bridge shows to others by mistake, perhaps.

use std::net::IpAddr;

use super::exposure::{READ, WRITE, open_to_others};
use super::{BridgeAddress, Config, Problem};

impl Config {
    /// What bridges show to others; empty if there is nothing to say.
    pub(super) fn bridge_exposures(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        for (index, bridge) in self.bridges.iter().enumerate() {
            let files = [
                ("password_file", &bridge.password_file, READ | WRITE),
                ("key", &bridge.key, READ | WRITE),
                ("ca", &bridge.ca, WRITE),
            ];
            for (setting, path, permissions) in files {
                let key = format!("bridges[{index}].{setting}");
                found.extend(path.as_deref().and_then(|path| open_to_others(&key, path, permissions)));
            }
            let is_open = |address: &BridgeAddress| !address.transport.is_encrypted() && !is_local(&address.host);
            if bridge.password_file.is_some() && bridge.parsed_addresses().iter().any(is_open) {
                let text = "has one without TLS: the password crosses the network in plain text, for everybody on the way to read";
                found.push(Problem::new(&format!("bridges[{index}].addresses"), text));
            }
            if bridge.insecure_no_hostname {
                let text =
                    "is true: whoever has a certificate of the same authority can pretend to be the other broker";
                found.push(Problem::new(&format!("bridges[{index}].insecure_no_hostname"), text));
            }
        }
        found
    }
}

fn is_local(host: &str) -> bool {
    let is_loopback = host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    is_loopback || host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Bridge;

    #[test]
    fn a_password_in_plain_text_and_a_name_that_is_not_checked_are_told() {
        let keys = |addresses: &[&str], insecure_no_hostname| {
            let bridge = Bridge {
                addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
                password_file: Some("/does/not/exist".into()),
                insecure_no_hostname,
                ..Bridge::default()
            };
            let config = Config { bridges: vec![bridge], ..Config::default() };
            config.bridge_exposures().into_iter().map(|problem| problem.key).collect::<Vec<_>>()
        };
        assert_eq!(keys(&["mqtts://a", "wss://b", "mqtt://127.0.0.1", "ws://localhost"], false), [""; 0]);
        assert_eq!(keys(&["mqtts://a", "mqtt://b"], false), ["bridges[0].addresses"]);
        assert_eq!(keys(&["mqtts://a"], true), ["bridges[0].insecure_no_hostname"]);
    }
}
