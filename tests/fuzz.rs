//! The fuzz targets of `fuzz/`, called with their seeds and with mutations of these, without libFuzzer.
//!
//! The mutations are the same in every run. `ONCEMQ_FUZZ_SECONDS=60 cargo test --test fuzz` calls each target with other ones for as long;
//! `fuzz/README.md` says how libFuzzer does that better.

#![cfg(test)]

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, dead_code, reason = "it is a library for libFuzzer, which calls `run`")]
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use targets::{TARGETS, Target};

/// The seeds of a target, and the inputs that once found a fault.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Calls the target, and shows the input if it panics.
fn call(target: &Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        println!("the input of {}, as bytes in hexadecimal:", target.name);
        println!("{}", input.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        resume_unwind(panic);
    }
}

/// A generator of numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }
}

/// A seed after a few changes: bytes replaced, removed, inserted or repeated, or a part of another seed.
fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    const INTERESTING: [u8; 10] = [0, 1, 0x7F, 0x80, 0xFF, 0xFE, b'\n', b'"', b'/', b'#'];
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        let place = random.below(input.len() + 1);
        let end = (place + 1 + random.below(8)).min(input.len());
        match random.below(8) {
            0 | 1 if place < input.len() => input[place] ^= 1 << random.below(8),
            2 if place < input.len() => input[place] = u8::try_from(random.below(256)).unwrap(),
            3 if place < input.len() => input[place] = INTERESTING[random.below(INTERESTING.len())],
            4 if place < input.len() => drop(input.drain(place..end)),
            5 => input.insert(place, INTERESTING[random.below(INTERESTING.len())]),
            6 if place < input.len() => {
                let part = input[place..end].to_vec();
                input.splice(place..place, part);
            }
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                input.truncate(place);
                input.extend_from_slice(&other[from..]);
            }
        }
        input.truncate(LENGTH_MAX);
    }
    input
}

/// Calls one target with its seeds and with mutated ones.
#[expect(clippy::disallowed_methods, reason = "how long it runs is said on the command line, in real time")]
fn fuzz(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seeds = seeds(name);
    seeds.iter().for_each(|seed| call(target, seed));
    match std::env::var("ONCEMQ_FUZZ_SECONDS").map(|seconds| Duration::from_secs(seconds.parse().unwrap())) {
        Err(_) => {
            let mut random = Random(1);
            (0..target.runs).for_each(|_| call(target, &mutated(&mut random, &seeds)));
        }
        Ok(duration) => {
            let start = Instant::now();
            let mut random = Random(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into());
            let mut runs = 0_u64;
            while start.elapsed() < duration {
                call(target, &mutated(&mut random, &seeds));
                runs += 1;
            }
            println!("{name}: {runs} runs");
        }
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            fuzz(stringify!($name));
        })*

        #[test]
        fn every_target_has_a_test_seeds_and_a_binary() {
            let tested = [$(stringify!($name)),*];
            assert!(TARGETS.iter().map(|target| target.name).eq(tested));
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
            let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
            for name in tested {
                assert!(!seeds(name).is_empty());
                let text = fs::read_to_string(root.join("fuzz_targets").join(name).with_extension("rs")).unwrap();
                assert!(text.contains(&format!("oncemq_fuzz::run({name:?}, input)")), "{text}");
                assert!(manifest.contains(&format!("name = {name:?}\n")), "{name}");
            }
        }
    };
}

targets! {
    acl admin batch config decode dynsec encode mosquitto_conf mosquitto_db opening passwords proxy recovery scram shard sink store_fetch stream tls_files tokens tunnel user_properties websocket
}

const LENGTH_MAX: usize = 4_096;
