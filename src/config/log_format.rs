//! The format of the log before the configuration is loaded, for the errors of loading it.

use std::ffi::OsString;
use std::fs;

use super::LogFormat;

/// The format that the command line, the environment or the file asks for, as far as they can be read. They may be wrong: this is how their
/// errors are written. Without an answer it is text.
pub fn early_log_format(arguments: impl Iterator<Item = OsString>) -> LogFormat {
    let variable = |name: &str| std::env::var_os(name)?.into_string().ok().filter(|value| !value.is_empty());
    let arguments: Vec<String> = arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    let file = || {
        let file = flag(&arguments, "--config").or_else(|| variable("ONCEMQ_CONFIG"))?;
        of_file(&fs::read_to_string(file).ok()?)
    };
    of_arguments(&arguments)
        .or_else(|| of_name(&variable("ONCEMQ_LOG_FORMAT")?))
        .or_else(file)
        .unwrap_or(LogFormat::Text)
}

fn of_arguments(arguments: &[String]) -> Option<LogFormat> {
    flag(arguments, "--log-format").and_then(|name| of_name(&name)).or_else(|| {
        let settings = arguments.iter().map(|argument| argument.strip_prefix("--set=").unwrap_or(argument));
        settings.filter_map(|setting| setting.strip_prefix("log.format=")).filter_map(of_name).next_back()
    })
}

/// The last value of a flag: `--flag value` or `--flag=value`.
fn flag(arguments: &[String], flag: &str) -> Option<String> {
    let apart = arguments.windows(2).filter_map(|pair| match pair {
        [name, value] if name == flag => Some(value.as_str()),
        _ => None,
    });
    let joined = arguments.iter().filter_map(|argument| argument.strip_prefix(flag)?.strip_prefix('='));
    joined.chain(apart).last().map(str::to_owned)
}

fn of_file(text: &str) -> Option<LogFormat> {
    match text.parse::<toml::Table>() {
        Ok(table) => of_name(table.get("log")?.get("format")?.as_str()?),
        Err(_) => of_lines(text),
    }
}

/// For a file that is no valid TOML.
fn of_lines(text: &str) -> Option<LogFormat> {
    let mut section = String::new();
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line.split(']').next().unwrap_or_default().trim_start_matches('[').trim().to_owned();
        } else if let Some((key, value)) = line.split_once('=') {
            let key = key.trim();
            let value = value.trim().trim_start_matches(['"', '\'']);
            let value = value.split(['"', '\'']).next().unwrap_or_default();
            if (section == "log" && key == "format") || (section.is_empty() && key == "log.format") {
                found = of_name(value).or(found);
            }
        }
    }
    found
}

fn of_name(name: &str) -> Option<LogFormat> {
    match name {
        "json" => Some(LogFormat::Json),
        "text" => Some(LogFormat::Text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_decides_in_all_its_spellings() {
        let of = |text: &str| of_arguments(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(of("oncemq --log-format json --nonsense"), Some(LogFormat::Json));
        assert_eq!(of("oncemq --log-format=json"), Some(LogFormat::Json));
        assert_eq!(of("oncemq --set log.format=json"), Some(LogFormat::Json));
        assert_eq!(of("oncemq --set=log.format=json"), Some(LogFormat::Json));
        assert_eq!(of("oncemq --log-format text --set log.format=json"), Some(LogFormat::Text));
        assert_eq!(of("oncemq --log-format xml"), None);
        assert_eq!(of("oncemq --log-format"), None);
    }

    #[test]
    fn a_file_with_errors_still_says_the_format() {
        assert_eq!(of_file("[limits]\nx = = 1\n[log]\nformat = \"json\" # for the collector\n"), Some(LogFormat::Json));
        assert_eq!(of_file("log.format='json'\n[log]\nx\n"), Some(LogFormat::Json));
        assert_eq!(of_file("log = { format = \"json\" }"), Some(LogFormat::Json));
        assert_eq!(of_file("[admin]\nformat = \"json\"\n"), None);
        assert_eq!(of_file("[ log ]\n#format = \"json\"\n"), None);
    }
}
