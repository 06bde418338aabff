//! Handles PUBLISH: admission, deduplication, fan-out, and dead letters.

pub(super) mod accept;
pub(super) mod accepted;
pub(super) mod admission;
pub(super) mod blocked;
pub(super) mod dead_letter;
pub(super) mod deduplicate;
pub(super) mod deduplication;
pub(super) mod delivery;
pub(super) mod fan_out;
pub(super) mod group;
pub(super) mod ingress;
pub(super) mod pending_dead_letters;
pub(super) mod permit_home;
mod permit_requests;
pub(super) mod plan;
pub(super) mod publisher;
pub(super) mod queue_room;
pub(super) mod refusal;
pub(super) mod refuse;
pub(super) mod resolved;
pub(super) mod route_cache;
pub(super) mod sampled_message;
pub(super) mod sampler;
pub(super) mod sampling;
pub(super) mod sys;
pub(super) mod trace_context;
pub(super) mod waiting_publishers;
