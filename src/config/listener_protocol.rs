//! What a listener says about the protocol: versions of MQTT, and what is announced to its clients.

use super::listeners::Listener;
use super::mqtt::{UNFIT, is_unfit};

impl Listener {
    /// Checks the settings about the protocol.
    pub(super) fn protocol_problems(&self, problem: &mut impl FnMut(&str, &str)) {
        if self.protocol_versions.as_ref().is_some_and(Vec::is_empty) {
            problem("protocol_versions", "must have at least one version");
        }
        if let Some(prefix) = &self.assigned_client_id_prefix {
            if is_unfit(prefix) {
                problem("assigned_client_id_prefix", UNFIT);
            }
            if !self.allow_empty_client_id {
                problem("assigned_client_id_prefix", "has no effect: allow_empty_client_id is false");
            }
        }
        let keep_alive = self.keep_alive_max.map(|duration| duration.as_secs_f64());
        if keep_alive.is_some_and(|seconds| !(1.0..=f64::from(u16::MAX)).contains(&seconds)) {
            problem("keep_alive_max", "must be from \"1s\" to 65535 seconds");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{AcceptedVersion, Config, Listener, MaximumQos};
    use crate::codec::Qos;

    fn problems(change: impl FnOnce(&mut Listener)) -> Vec<String> {
        let mut listener = Listener::new("127.0.0.1:1".parse().unwrap());
        change(&mut listener);
        let config = Config { listeners: vec![listener], ..Config::default() };
        config.problems().into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn versions_are_named_as_the_standards_are() {
        let listener = |versions: &str| {
            toml::from_str::<Listener>(&format!("address = \":1\"\nprotocol_versions = {versions}"))
                .map(|listener| listener.protocol_versions.unwrap())
        };
        let all = [AcceptedVersion::V3_1, AcceptedVersion::V3_1_1, AcceptedVersion::V5];
        assert_eq!(listener(r#"["3.1", "3.1.1", "5.0"]"#).unwrap(), all);
        let error = listener(r#"["5"]"#).unwrap_err().to_string();
        assert!(error.contains("5.0"), "{error}");
        assert_eq!(
            problems(|listener| listener.protocol_versions = Some(Vec::new())),
            ["listeners[0].protocol_versions"]
        );
    }

    #[test]
    fn a_maximum_qos_is_a_number_and_survives_a_round_trip() {
        let listener: Listener = toml::from_str("address = \":1\"\nmaximum_qos = 1").unwrap();
        assert_eq!(listener.maximum_qos, Some(MaximumQos(Qos::AtLeastOnce)));
        let text = toml::to_string(&listener).unwrap();
        assert!(text.contains("maximum_qos = 1\n"), "{text}");
        assert!(toml::from_str::<Listener>("address = \":1\"\nmaximum_qos = 3").is_err());
    }

    #[test]
    fn what_clients_could_not_use_is_a_problem() {
        let seconds =
            |seconds: u64| move |listener: &mut Listener| listener.keep_alive_max = Some(Duration::from_secs(seconds));
        for (value, expected) in [
            (0, &["listeners[0].keep_alive_max"][..]),
            (1, &[]),
            (65_535, &[]),
            (65_536, &["listeners[0].keep_alive_max"]),
        ] {
            assert_eq!(problems(seconds(value)), expected, "{value}");
        }
        let prefix = |text: &str| {
            let text = Some(text.to_owned());
            problems(move |listener| listener.assigned_client_id_prefix = text)
        };
        assert_eq!(prefix("office-"), [""; 0]);
        for text in ["a+", "#", &"a".repeat(257)] {
            assert_eq!(prefix(text), ["listeners[0].assigned_client_id_prefix"]);
        }
        let without_effect = problems(|listener| {
            listener.assigned_client_id_prefix = Some("a".to_owned());
            listener.allow_empty_client_id = false;
        });
        assert_eq!(without_effect, ["listeners[0].assigned_client_id_prefix"]);
    }
}
