//! The commands of the real binary, as a user types them.

#![cfg(test)]

mod contract;
mod dead_letters;
mod doctor;
mod documents;
mod events;
mod import;
mod killed;
mod messages;
mod operate;
mod process;
mod publish;
mod rules;
mod subscribe;
mod tokens;
mod trace;
mod transports;
mod verify;
