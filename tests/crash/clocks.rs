//! Wall clocks that brokers see: `tests/c/clock.c`. A server of NATS cannot have another one than the kernel's, because it asks without the C library.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The clocks of the machines.
#[derive(Debug)]
pub(crate) struct Clocks {
    directory: PathBuf,
}

impl Clocks {
    pub(crate) fn new(directory: &Path, machines: usize) -> Self {
        let clocks = Self { directory: directory.to_owned() };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c/clock.c");
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(clocks.library()).arg(source);
        assert!(command.status().unwrap().success(), "cc: `bash tests/run` installs it");
        for machine in 0..machines {
            File::create(clocks.control(machine)).unwrap();
            clocks.set(machine, 0);
        }
        clocks
    }

    /// Lets a program see the clock of a machine.
    pub(crate) fn show(&self, machine: usize, command: &mut Command) {
        command.env("LD_PRELOAD", self.library()).env("CLOCK_CONTROL", self.control(machine));
    }

    /// Sets how many hours it is ahead of the right time, from one instant to the next.
    pub(crate) fn set(&self, machine: usize, hours: i64) {
        let control = File::options().write(true).open(self.control(machine)).unwrap();
        let is_synchronized = i64::from(hours == 0);
        let bytes = [(hours * 3_600_000).to_ne_bytes(), is_synchronized.to_ne_bytes()].concat();
        control.write_all_at(&bytes, 0).unwrap();
    }

    fn library(&self) -> PathBuf {
        self.directory.join("clock.so")
    }

    fn control(&self, machine: usize) -> PathBuf {
        self.directory.join(format!("clock{machine}"))
    }
}
