//! What mosquitto checks when it has read everything.

use std::collections::BTreeSet;

use super::model::Model;
use super::{ConfError, Settings};

/// Whether mosquitto would start with the options as they are together.
pub(super) fn check(model: &Model) -> Result<(), ConfError> {
    bridges(model)?;
    prefix(&model.global)?;
    model.listeners.iter().try_for_each(|listener| {
        prefix(&listener.settings)?;
        certificates(&listener.settings)
    })
}

fn bridges(model: &Model) -> Result<(), ConfError> {
    let mut local_ids = BTreeSet::new();
    for bridge in &model.bridges {
        let missing = |what| ConfError::line(&bridge.at, format!("connection {}: {what}", bridge.name));
        if bridge.addresses.is_empty() {
            return Err(missing("it has no address"));
        }
        if bridge.topics.is_empty() {
            return Err(missing("it has no topic"));
        }
        if bridge.settings.text("local_clientid").is_some_and(|id| !local_ids.insert(id)) {
            refuse(&bridge.settings, "local_clientid", "another bridge has the same")?;
        }
    }
    Ok(())
}

fn prefix(settings: &Settings) -> Result<(), ConfError> {
    for option in ["auto_id_prefix", "listener_auto_id_prefix"] {
        if settings.text(option).is_some_and(|prefix| prefix.len() > PREFIX_MAX) {
            refuse(settings, option, "it is longer than 50 bytes")?;
        }
    }
    Ok(())
}

fn certificates(settings: &Settings) -> Result<(), ConfError> {
    if settings.number("enable_proxy_protocol") == Some(2) {
        refuse(settings, "certfile", "it can't be used with `enable_proxy_protocol 2`")?;
        if settings.flag("use_subject_as_username") == Some(true) {
            refuse(settings, "use_subject_as_username", "it can't be used with `enable_proxy_protocol 2`")?;
        }
    }
    if settings.has("certfile") != settings.has("keyfile") {
        refuse(settings, "certfile", "there is no keyfile")?;
        refuse(settings, "keyfile", "there is no certfile")?;
    }
    if !settings.has("certfile") {
        refuse(settings, "cafile", "there is no certfile")?;
        refuse(settings, "capath", "there is no certfile")?;
    }
    Ok(())
}

/// An error, if the option is set.
fn refuse(settings: &Settings, option: &str, text: &str) -> Result<(), ConfError> {
    match settings.at(option) {
        Some(at) => Err(ConfError::line(at, format!("{option}: {text}"))),
        None => Ok(()),
    }
}

/// The longest prefix of assigned Client Identifiers.
const PREFIX_MAX: usize = 50;
