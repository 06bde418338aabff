//! The command line.

use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    arguments: oncemq::config::Arguments,
}

fn main() -> anyhow::Result<std::process::ExitCode> {
    let loaded = oncemq::config::load(&Cli::parse().arguments)?;
    let _log = oncemq::server::init_logging(&loaded.config.log)?;
    Ok(match oncemq::server::run(loaded.config) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            std::process::ExitCode::from(error.exit_code())
        }
    })
}
