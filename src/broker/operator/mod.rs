//! What an operator asks and does about topics: who is subscribed, who would get a message, retained messages, publishing, and why something was
//! refused or dropped.
//!
//! A [`TopicQuery`](query::TopicQuery) is answered like any other query: see [`broker::query`](crate::broker::query). Its cost is bounded too. A
//! change is answered when it is stable.

pub(super) mod answer;
pub(super) mod budget;
pub(super) mod drops;
pub(super) mod explain;
pub(super) mod lost;
pub(super) mod outcomes;
pub(super) mod publish;
pub(super) mod query;
pub(super) mod refusals;
pub(super) mod retained;
pub(super) mod ring;
pub(super) mod state;
