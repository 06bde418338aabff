//! `oncemq top`: the state of the broker and its busiest clients, live in the terminal.

mod frame;
mod screen;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Builder;
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::api::Api;
use super::error::CliError;
use super::output::line;
use super::target::TargetArguments;
use super::terminal::{DEFAULT_SIZE, size};
use frame::{Busiest, frame};
use screen::{Screen, keys};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq top                            q or Ctrl-C ends it
  oncemq top > state.txt                one picture, because the output is not a terminal")]
pub(crate) struct Top {
    #[command(flatten)]
    target: TargetArguments,
}

/// What a picture needs.
#[derive(Debug, Clone, Default)]
struct Figures {
    overview: Value,
    busiest: Busiest,
    /// When the clients were listed.
    listed: Option<Instant>,
}

impl Figures {
    /// Asks for the state, and for the clients if the last listing is old.
    fn update(mut self, api: &Api) -> Result<Self, CliError> {
        self.overview = api.get("/overview", &[])?;
        let age = self.listed.map(|listed| listed.elapsed());
        if age.is_none_or(|age| age >= LISTING_INTERVAL) {
            let (clients, is_partial) = api.first_pages("/clients", "clients", PAGES_MAX)?;
            self.busiest.update(&clients, is_partial, age.unwrap_or_default().as_secs_f64());
            self.listed = Some(Instant::now());
        }
        Ok(self)
    }
}

pub(super) fn run(Top { target }: Top) -> Result<(), CliError> {
    let api = Api::new(target)?;
    if !io::stdin().is_terminal() || size().is_none() {
        let figures = Figures::default().update(&api)?;
        let (columns, _) = DEFAULT_SIZE;
        return frame(&figures.overview, &figures.busiest, (columns, LINES_MAX)).iter().try_for_each(|text| line(text));
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(live(Arc::new(api)));
    // A request that is on its way is not waited for.
    runtime.shutdown_background();
    result
}

async fn live(api: Arc<Api>) -> Result<(), CliError> {
    // The first request fails before the terminal is changed.
    let mut figures = Arc::new(Figures::default().update(&api)?);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut ticks = interval(REFRESH_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut updating: Option<JoinHandle<Result<Figures, CliError>>> = None;
    let screen = Screen::open()?;
    let mut keys = keys()?;
    loop {
        let size = size().unwrap_or(DEFAULT_SIZE);
        screen.show(&frame(&figures.overview, &figures.busiest, size), size.1)?;
        select! {
            _ = ticks.tick(), if updating.is_none() => {
                let (api, figures) = (Arc::clone(&api), Arc::clone(&figures));
                // On a thread, so that keys are read meanwhile.
                updating = Some(spawn_blocking(move || Figures::clone(&figures).update(&api)));
            }
            updated = wait_for(&mut updating), if updating.is_some() => {
                updating = None;
                figures = Arc::new(updated?);
            }
            key = keys.recv() => if matches!(key, None | Some(b'q' | b'Q' | CTRL_C)) { return Ok(()) },
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
            _ = resized.recv() => {}
        }
    }
}

async fn wait_for(updating: &mut Option<JoinHandle<Result<Figures, CliError>>>) -> Result<Figures, CliError> {
    let cancelled = || CliError::NotDone("the request was cancelled".to_owned());
    updating.as_mut().ok_or_else(cancelled)?.await.map_err(|_| cancelled())?
}

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// A listing of 10,000 clients costs the broker some milliseconds.
const LISTING_INTERVAL: Duration = Duration::from_secs(5);
/// Pages of 1,000 clients.
const PAGES_MAX: usize = 10;
/// Lines of a single picture.
const LINES_MAX: usize = 40;
const CTRL_C: u8 = 3;
