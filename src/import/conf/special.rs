//! Options that begin a listener, a bridge or a plugin, and those with several values.

use super::lines::Line;
use super::model::{Bridge, Direction, Plugin, Topic};
use super::options::PLUGIN_PREFIXES;
use super::read::{Builder, EMPTY, flag, needs_bridge, needs_listener, number, text};
use super::{ConfError, Settings, Value};
use crate::topic::TopicFilter;

/// Adds a line with such an option.
pub(super) fn add(builder: &mut Builder, line: &Line) -> Result<(), ConfError> {
    let words: Vec<&str> = line.rest.split(' ').filter(|word| !word.is_empty()).collect();
    let invalid = |text: String| ConfError::line(&line.at, format!("{}: {text}", line.word));
    match line.word.as_str() {
        "listener" => listener(builder, line, &words).map_err(invalid),
        "port" => port(builder, line, &words).map_err(invalid),
        "bind_address" => bind_address(builder, line).map_err(invalid),
        "include_dir" => {
            builder.model.done.push((line.at.clone(), "the files are read, and are parts of the result"));
            Ok(())
        }
        "per_listener_settings" => per_listener(builder, line, &words),
        "connection" => connection(builder, line, &words).map_err(invalid),
        "address" | "addresses" => addresses(builder, line, &words),
        "topic" => topic(builder, line),
        "restart_timeout" => restart_timeout(builder, line, &words),
        "persistent_client_expiration" => expiration(builder, line, &words).map_err(invalid),
        "log_dest" => log_dest(builder, line, &words).map_err(invalid),
        "log_type" => log_type(builder, line, &words).map_err(invalid),
        "auth_plugin" | "plugin" | "global_plugin" | "plugin_load" => plugin(builder, line, &words),
        "plugin_use" => plugin_use(builder, line),
        _ => plugin_option(builder, line, &words),
    }
}

fn listener(builder: &mut Builder, line: &Line, words: &[&str]) -> Result<(), String> {
    let port = number(words.first().ok_or(EMPTY)?)?;
    let port = u16::try_from(port).map_err(|_| format!("{port} is no port"))?;
    let address = words.get(1).filter(|word| !word.starts_with('#')).map(|word| (*word).to_owned());
    if port == 0 && address.is_none() {
        return Err("the port 0 needs the path of a Unix socket".to_owned());
    }
    let place = builder.begin(&line.at, &line.word, ((port > 0).then_some(port), address));
    builder.current.listener = Some(place);
    builder.model.listens = true;
    Ok(())
}

fn port(builder: &mut Builder, line: &Line, words: &[&str]) -> Result<(), String> {
    let port = number(words.first().ok_or(EMPTY)?)?;
    let port = u16::try_from(port).ok().filter(|port| *port > 0).ok_or_else(|| format!("{port} is no port"))?;
    let place = default_listener(builder, line, "port");
    if let Some(listener) = builder.model.listeners.get_mut(place) {
        listener.port = Some(port);
    }
    Ok(())
}

fn bind_address(builder: &mut Builder, line: &Line) -> Result<(), String> {
    let address = text(&line.rest)?;
    let place = default_listener(builder, line, "bind_address");
    let Some(listener) = builder.model.listeners.get_mut(place) else { return Ok(()) };
    match listener.address.replace(address) {
        Some(_) => Err("it is set twice".to_owned()),
        None => Ok(()),
    }
}

/// The default listener, which is the current one from this line on.
fn default_listener(builder: &mut Builder, line: &Line, option: &'static str) -> usize {
    builder.model.listens = true;
    let is_new = builder.default_listener.is_none();
    let place = builder.begin_default(&line.at, &line.word);
    builder.current.listener = Some(place);
    if let Some(listener) = builder.model.listeners.get_mut(place).filter(|_| !is_new) {
        listener.further.push((line.at.clone(), option));
        if listener.is_implied() {
            option.clone_into(&mut listener.begun_by);
        }
    }
    place
}

fn per_listener(builder: &mut Builder, line: &Line, words: &[&str]) -> Result<(), ConfError> {
    let invalid = |text: &str| ConfError::line(&line.at, format!("per_listener_settings: {text}"));
    let is_on = flag(words.first().ok_or_else(|| invalid(EMPTY))?).map_err(|text| invalid(&text))?;
    builder.model.done.push((line.at.clone(), "users and rules are those of each listener, or of all, as it says"));
    if !is_on || builder.model.per_listener.is_some() {
        return Ok(());
    }
    if builder.has_security {
        return Err(invalid("it must stand before all options about users and rules"));
    }
    builder.model.per_listener = Some(line.at.clone());
    Ok(())
}

fn connection(builder: &mut Builder, line: &Line, words: &[&str]) -> Result<(), String> {
    let name = (*words.first().ok_or(EMPTY)?).to_owned();
    if builder.model.bridges.iter().any(|bridge| bridge.name == name) {
        return Err(format!("there is another bridge {name:?}"));
    }
    let (settings, topics, addresses) = (Settings::default(), Vec::new(), Vec::new());
    builder.current.bridge = Some(builder.model.bridges.len());
    let bridge = Bridge { at: line.at.clone(), name, addresses, addresses_at: None, settings, topics };
    builder.model.bridges.push(bridge);
    Ok(())
}

fn current_bridge<'a>(builder: &'a mut Builder, line: &Line) -> Result<&'a mut Bridge, ConfError> {
    let place = builder.current.bridge;
    let bridge = place.and_then(|place| builder.model.bridges.get_mut(place));
    bridge.ok_or_else(|| ConfError::line(&line.at, needs_bridge(&line.word)))
}

fn addresses(builder: &mut Builder, line: &Line, words: &[&str]) -> Result<(), ConfError> {
    let bridge = current_bridge(builder, line)?;
    let invalid = |text: String| ConfError::line(&line.at, format!("{}: {text}", line.word));
    if !bridge.addresses.is_empty() {
        return Err(invalid("it is set twice".to_owned()));
    }
    for word in words.iter().take_while(|word| !word.starts_with('#')) {
        // The part behind the last colon is the port.
        let (host, port) = match word.rsplit_once(':') {
            None => ((*word).to_owned(), DEFAULT_PORT),
            Some((host, port)) => {
                let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
                let port = digits.parse().ok().filter(|port| *port > 0);
                (host.to_owned(), port.ok_or_else(|| invalid(format!("{word:?} has no port behind the colon")))?)
            }
        };
        bridge.addresses.push((host, port));
    }
    if bridge.addresses.is_empty() {
        return Err(invalid(EMPTY.to_owned()));
    }
    bridge.addresses_at = Some(line.at.clone());
    Ok(())
}

/// `topic FILTER [[[out|in|both] QOS] LOCAL-PREFIX REMOTE-PREFIX]`.
fn topic(builder: &mut Builder, line: &Line) -> Result<(), ConfError> {
    let bridge = current_bridge(builder, line)?;
    let invalid = |text: String| ConfError::line(&line.at, format!("topic: {text}"));
    let rest = line.rest.trim_start_matches(' ');
    // A filter with spaces stands between quotation marks.
    let (filter, rest) = match rest.strip_prefix('"').filter(|rest| !rest.starts_with('"')) {
        Some(quoted) => quoted.split_once('"').ok_or_else(|| invalid("a quotation mark is missing".to_owned()))?,
        None => rest.split_once(' ').unwrap_or((rest, "")),
    };
    let filter = if filter == NOTHING { "" } else { filter };
    let mut words = rest.split(' ').filter(|word| !word.is_empty());
    let direction = match words.next().map(str::to_ascii_lowercase).as_deref() {
        None | Some("out") => Direction::Out,
        Some("in") => Direction::In,
        Some("both") => Direction::Both,
        Some(other) => return Err(invalid(format!("{other:?} is none of out, in, both"))),
    };
    let mut words = words.take_while(|word| !word.starts_with('#'));
    let qos = match words.next() {
        None => 0,
        Some(word) => {
            word.parse().ok().filter(|qos| *qos <= 2).ok_or_else(|| invalid(format!("{word:?} is no QoS")))?
        }
    };
    let mut prefix = || words.next().filter(|word| *word != NOTHING).unwrap_or_default().to_owned();
    let (local_prefix, remote_prefix) = (prefix(), prefix());
    if filter.is_empty() && (local_prefix.is_empty() || remote_prefix.is_empty()) {
        return Err(invalid("without a filter, there must be a local and a remote topic".to_owned()));
    }
    if [&local_prefix, &remote_prefix].iter().any(|prefix| prefix.contains(['+', '#'])) {
        return Err(invalid("a prefix has a wildcard".to_owned()));
    }
    let is_filter = |prefix: &str| TopicFilter::try_from(format!("{prefix}{filter}").as_str()).is_ok();
    if !is_filter(&local_prefix) || !is_filter(&remote_prefix) {
        return Err(invalid("with a prefix, it is no Topic Filter".to_owned()));
    }
    let at = line.at.clone();
    bridge.topics.push(Topic { at, filter: filter.to_owned(), direction, qos, local_prefix, remote_prefix });
    Ok(())
}

fn restart_timeout(builder: &mut Builder, line: &Line, words: &[&str]) -> Result<(), ConfError> {
    let bridge = current_bridge(builder, line)?;
    let invalid = |text: &str| ConfError::line(&line.at, format!("restart_timeout: {text}"));
    // Seconds until the next attempt, at most, and after which time a connection counts as good.
    let seconds = words.iter().map_while(|word| word.parse::<i64>().ok()).collect::<Vec<_>>();
    let least = seconds.first().ok_or_else(|| invalid("it has no number"))?.clamp(&1, &3_600);
    if seconds.get(1).is_some_and(|most| most < least) {
        return Err(invalid("the second number is lower than the first"));
    }
    if seconds.get(2).is_some_and(|stable| *stable < 0) {
        return Err(invalid("the third number is negative"));
    }
    let most = seconds.get(1).unwrap_or(least).min(&7_200);
    let value = Value::Words([least, most].map(ToString::to_string).into());
    bridge.settings.insert("restart_timeout", value, &line.at);
    Ok(())
}

fn expiration(builder: &mut Builder, line: &Line, words: &[&str]) -> Result<(), String> {
    let word = words.first().ok_or(EMPTY)?;
    let invalid = || format!("{word:?} is no duration such as 14d");
    let unit = word.chars().last().ok_or_else(invalid)?;
    let seconds = match unit {
        's' => 1,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        'm' => 30 * 86_400,
        'y' => 365 * 86_400,
        _ => return Err(invalid()),
    };
    let digits: String = word.chars().take_while(char::is_ascii_digit).collect();
    let count = digits.parse::<i64>().ok().filter(|count| (1..=i64::from(i32::MAX)).contains(count));
    let value = Value::Number(count.ok_or_else(invalid)? * seconds);
    builder.model.global.insert("persistent_client_expiration", value, &line.at);
    Ok(())
}

fn log_dest(builder: &mut Builder, line: &Line, words: &[&str]) -> Result<(), String> {
    let word = *words.first().ok_or(EMPTY)?;
    let known = ["none", "syslog", "stdout", "stderr", "topic", "dlt", "file", "android"];
    if !known.contains(&word) {
        return Err(format!("{word:?} is none of {}", known.join(", ")));
    }
    if word == "file" && words.len() < 2 {
        return Err("the file has no name".to_owned());
    }
    if word == "file"
        && builder.model.global.words("log_dest").is_some_and(|words| words.iter().any(|known| known == "file"))
    {
        return Err("there is another file".to_owned());
    }
    add_word(&mut builder.model.global, "log_dest", word, line);
    Ok(())
}

fn log_type(builder: &mut Builder, line: &Line, words: &[&str]) -> Result<(), String> {
    let word = *words.first().ok_or(EMPTY)?;
    let known = [
        "none",
        "information",
        "notice",
        "warning",
        "error",
        "debug",
        "subscribe",
        "unsubscribe",
        "internal",
        "websockets",
        "all",
    ];
    if !known.contains(&word) {
        return Err(format!("{word:?} is none of {}", known.join(", ")));
    }
    add_word(&mut builder.model.global, "log_type", word, line);
    Ok(())
}

/// Adds a word to those of an option that may stand several times. `none` and `all` end what was before.
fn add_word(settings: &mut Settings, option: &'static str, word: &str, line: &Line) {
    let before = settings.words(option).filter(|_| !matches!(word, "none" | "all")).unwrap_or_default();
    let words = before.iter().filter(|before| *before != "none").cloned().chain([word.to_owned()]).collect();
    settings.insert(option, Value::Words(words), &line.at);
}

fn plugin(builder: &mut Builder, line: &Line, words: &[&str]) -> Result<(), ConfError> {
    let invalid = |text: &str| ConfError::line(&line.at, format!("{}: {text}", line.word));
    let (name, path) = match line.word.as_str() {
        "plugin_load" => {
            let name = *words.first().ok_or_else(|| invalid(EMPTY))?;
            let path = line.rest.trim_start_matches(' ').strip_prefix(name).unwrap_or_default();
            (Some(name.to_owned()), path)
        }
        _ => (None, line.rest.as_str()),
    };
    let path = path.trim().to_owned();
    if path.is_empty() {
        return Err(invalid("the path of the plugin is missing"));
    }
    if name.is_some() && builder.model.plugins.iter().any(|plugin| plugin.name == name) {
        return Err(invalid("there is another plugin of this name"));
    }
    let (is_global, listeners) = match line.word.as_str() {
        "plugin_load" => (false, Vec::new()),
        "global_plugin" => (true, Vec::new()),
        _ if builder.model.per_listener.is_none() => (true, Vec::new()),
        word => {
            let place = builder.current.listener.ok_or_else(|| ConfError::line(&line.at, needs_listener(word)))?;
            (false, vec![place])
        }
    };
    builder.has_security = true;
    builder.current.plugin = Some(builder.model.plugins.len());
    let (at, begun_by, options) = (line.at.clone(), line.word.clone(), Vec::new());
    builder.model.plugins.push(Plugin { at, begun_by, name, path, options, is_global, listeners });
    Ok(())
}

fn plugin_use(builder: &mut Builder, line: &Line) -> Result<(), ConfError> {
    let invalid = |text: &str| ConfError::line(&line.at, format!("plugin_use: {text}"));
    let name = text(&line.rest).map_err(|text| invalid(&text))?;
    let listener = builder.current.listener.filter(|place| Some(*place) != builder.default_listener);
    let listener = listener.ok_or_else(|| ConfError::line(&line.at, needs_listener("plugin_use")))?;
    let place = builder.model.plugins.iter().position(|plugin| plugin.name.as_deref() == Some(&name));
    let place = place.ok_or_else(|| invalid("there is no plugin_load of this name before it"))?;
    builder.current.plugin = Some(place);
    if let Some(plugin) = builder.model.plugins.get_mut(place) {
        plugin.listeners.push(listener);
    }
    builder.model.done.push((line.at.clone(), "the plugin counts for this listener: see plugin_load"));
    Ok(())
}

fn plugin_option(builder: &mut Builder, line: &Line, words: &[&str]) -> Result<(), ConfError> {
    let word = line.word.as_str();
    let invalid = |text: &str| ConfError::line(&line.at, format!("{word}: {text}"));
    let place = builder.current.plugin;
    let plugin = place.and_then(|place| builder.model.plugins.get_mut(place));
    let plugin = plugin.ok_or_else(|| invalid("there is no plugin before it"))?;
    if word == "auth_plugin_deny_special_chars" {
        flag(words.first().ok_or_else(|| invalid(EMPTY))?).map_err(|text| invalid(&text))?;
        builder.model.done.push((line.at.clone(), "see the plugin"));
        return Ok(());
    }
    let key = PLUGIN_PREFIXES.iter().find_map(|prefix| word.strip_prefix(prefix)).unwrap_or_default();
    let value = line.rest.trim_start_matches([' ', '\t']);
    if key.len() < 3 || value.is_empty() {
        return Err(invalid(if value.is_empty() { EMPTY } else { "the name is too short" }));
    }
    plugin.options.push((key.to_owned(), value.to_owned(), line.at.clone()));
    Ok(())
}

/// How nothing is written.
const NOTHING: &str = "\"\"";
/// mosquitto's.
const DEFAULT_PORT: u16 = 1883;
