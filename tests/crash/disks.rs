//! File systems of the machines, each in a file of its own: they can lose power, and be full.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::namespaces::Namespaces;

/// A file system that a machine has mounted.
#[derive(Debug)]
pub(crate) struct Disk {
    machines: Rc<[Namespaces]>,
    machine: usize,
    image: String,
    mount: PathBuf,
}

impl Disk {
    /// Makes one for a machine.
    ///
    /// # Errors
    /// The system does not permit it.
    pub(crate) fn new(
        directory: &Path,
        name: &str,
        (machines, machine): (&Rc<[Namespaces]>, usize),
    ) -> Result<Self, String> {
        let mount = directory.join(format!("{name}{machine}"));
        let image = format!("{}.img", mount.display());
        let make = || {
            File::create(&image)?.set_len(BYTES)?;
            fs::create_dir(&mount)
        };
        make().map_err(|error: std::io::Error| error.to_string())?;
        let disk = Self { machines: Rc::clone(machines), machine, image, mount };
        // Nothing is reserved for root, who runs this.
        disk.run(&["mkfs.ext4", "-q", "-m", "0", &disk.image])?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where the machine has its files.
    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    /// Where the test sees them.
    pub(crate) fn seen(&self) -> PathBuf {
        self.machines[self.machine].seen(&self.mount)
    }

    fn run(&self, words: &[&str]) -> Result<(), String> {
        self.machines[self.machine].run(words)
    }

    fn mount(&self) -> Result<(), String> {
        self.run(&["mount", "-o", "loop", &self.image, &self.mount.to_string_lossy()])
    }

    /// Mounts it again after a loss of power. No process may use it.
    pub(crate) fn mount_again(&self) {
        for _ in 0..UNMOUNT_ATTEMPTS {
            if self.run(&["umount", &self.mount.to_string_lossy()]).is_ok() {
                self.mount().unwrap();
                // If others used it, it would be the old one, without power.
                File::create(self.seen().join(BALLAST)).unwrap();
                return self.make_room();
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("{} is in use", self.mount.display());
    }

    /// Leaves no room for others.
    pub(crate) fn fill(&self) {
        let file = File::create(self.seen().join(BALLAST)).unwrap();
        let mut end = 0;
        let mut step = statvfs(self.seen()).unwrap().f_bavail * BLOCK;
        while step >= BLOCK {
            match fallocate(&file, FallocateFlags::empty(), end, step) {
                Ok(()) => end += step,
                Err(_) => step = step / 2 / BLOCK * BLOCK,
            }
        }
    }

    /// Gives the room back.
    pub(crate) fn make_room(&self) {
        fs::remove_file(self.seen().join(BALLAST)).unwrap();
    }
}

/// What takes the power from file systems and processes: what the former have not written to their devices is gone.
///
/// It is made ready before, so that it happens in an instant, in the middle of whatever goes on.
#[derive(Debug)]
pub(crate) struct Switch(Child);

impl Switch {
    pub(crate) fn new<'a>(disks: impl Iterator<Item = &'a Disk>, processes: impl Iterator<Item = u32>) -> Self {
        let disks: Vec<String> = disks.map(|disk| disk.seen().display().to_string()).collect();
        let processes: Vec<String> = processes.map(|process| process.to_string()).collect();
        let mut command = Command::new("python3");
        command.args(["-c", SCRIPT, &disks.join(" "), &processes.join(" ")]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(child.stdout.as_mut().unwrap().read(&mut [0]).unwrap(), 1, "the power cannot be cut");
        Self(child)
    }

    pub(crate) fn throw(mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH, for all within microseconds; then SIGKILL.
const SCRIPT: &str = "
import fcntl, os, signal, struct, sys
disks, processes = (part.split() for part in sys.argv[1:])
files = [os.open(disk, os.O_RDONLY) for disk in disks]
print(end='.', flush=True)
if sys.stdin.readline():
    for file in files:
        fcntl.ioctl(file, 0x8004587D, struct.pack('I', 2))
    for process in processes:
        os.kill(int(process), signal.SIGKILL)
";
/// The size of a file system; its file has no more than was written to it.
const BYTES: u64 = 256 << 20;
const BLOCK: u64 = 4 << 10;
const BALLAST: &str = "ballast";
/// A process that was killed may need a moment.
const UNMOUNT_ATTEMPTS: u32 = 500;
