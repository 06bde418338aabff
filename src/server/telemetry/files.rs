use crate::config;
use crate::http_client::read_authorities;

/// What the files of the settings have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Files {
    /// Further headers of the requests.
    pub(super) headers: Vec<(String, String)>,
    /// The PEM text with the authorities that may certify the collector.
    pub(super) authorities: Option<Vec<u8>>,
}

impl Files {
    /// # Errors
    /// A file can't be read, or its headers can't be used: the text says why.
    pub(super) fn read(settings: &config::Telemetry) -> Result<Self, String> {
        let headers = settings.headers().map_err(|cause| format!("telemetry.headers_file {cause}"))?;
        let read = |path: &std::path::PathBuf| {
            read_authorities(path).map_err(|error| format!("telemetry.ca cannot be read: {}: {error}", path.display()))
        };
        Ok(Self { headers, authorities: settings.ca.as_ref().map(read).transpose()? })
    }
}
