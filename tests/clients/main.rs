//! The real binary, driven by clients as they are in the world: mosquitto's, paho's, and a raw one for what those can't do.
//!
//! Each test starts a broker of its own on free ports with its own data directory, so that all run at once. With
//! `ONCEMQ_TEST_PEER=mosquitto` the same tests run against that broker instead: a test that fails there too is suspect itself.
//! What only ours promises is left out then.

#[cfg(test)]
mod broker;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod deadline;
#[cfg(test)]
mod exchange;
#[cfg(test)]
mod flow_control;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod mosquitto;
#[cfg(test)]
mod movement;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod python;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod security;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod transports;
