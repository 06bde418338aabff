use std::io::{self, Read, Write};
use std::thread;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// The terminal, with a screen of its own and without echo. Dropping it restores the terminal.
pub(super) struct Screen {
    before: Termios,
}

impl Screen {
    /// Takes the terminal over.
    pub(super) fn open() -> io::Result<Self> {
        let input = io::stdin();
        let before = tcgetattr(&input)?;
        let mut raw = before.clone();
        // Keys arrive one by one. Signals of keys stay: Ctrl-C ends, Ctrl-Z is refused, because nothing would restore the terminal.
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        raw.special_codes[SpecialCodeIndex::VSUSP] = 0;
        tcsetattr(&input, OptionalActions::Now, &raw)?;
        let screen = Self { before };
        write("\x1b[?1049h\x1b[?25l\x1b[2J")?;
        Ok(screen)
    }

    /// Shows lines from the top, and clears the other rows.
    pub(super) fn show(&self, lines: &[String], rows: usize) -> io::Result<()> {
        let mut text = "\x1b[H".to_owned();
        let empty = String::new();
        for (index, line) in lines.iter().chain(std::iter::repeat(&empty)).take(rows).enumerate() {
            // Each line is cleared before it is written: after the last column, that would remove its last character. After the last line no
            // new one begins: the terminal would scroll.
            text.push_str(if index == 0 { "\x1b[K" } else { "\r\n\x1b[K" });
            text.push_str(line);
        }
        write(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // What fails here can't be reported: the terminal is gone.
        let _ = write("\x1b[?25h\x1b[?1049l");
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// The keys that are pressed, read on a thread of its own, which ends with the process.
pub(super) fn keys() -> io::Result<mpsc::Receiver<u8>> {
    let (sender, keys) = mpsc::channel(KEYS_MAX);
    let read = move || {
        for key in io::stdin().lock().bytes().map_while(Result::ok) {
            if sender.blocking_send(key).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name("keys".to_owned()).spawn(read)?;
    Ok(keys)
}

/// Keys that wait.
const KEYS_MAX: usize = 16;
