//! The protocol engine of one shard: connections, Sessions, publishing, retained messages, takeover, expiry and `$SYS`. It does no I/O.

mod action;
mod announce;
mod auto_subscribe;
mod batch;
mod cells;
mod client_events;
mod client_filter;
mod client_history;
mod client_ids;
mod connection;
mod counters;
mod delayed;
mod detail;
mod directory;
mod event;
mod filter_refusal;
mod filter_request;
mod history;
mod ids;
mod inspect;
mod journey;
mod lifecycle;
mod limit_table;
mod listener_terms;
mod load;
mod memory;
mod memory_level;
mod mount;
mod operator;
mod owner;
mod persistence;
mod publish;
mod query;
mod queue_view;
mod receipts;
mod redelivery;
mod report;
mod report_detail;
mod retained;
mod rewriting;
mod sessions;
mod settings;
mod shard;
mod streams;
mod subscribe;
mod sys_topics;
mod timers;
mod user_limits;

#[cfg(test)]
mod tests;

pub use action::Action;
pub use cells::{CellLink, CellTerms, LinkPeer, LinkRole};
pub use client_ids::ClientIds;
pub use connection::last_end::DisconnectKind;
pub use counters::{Counters, DropReason};
pub use delayed::batch::{DelayedBatch, ReadFailure};
pub use delayed::quota::DelayedLimits;
pub use detail::{ClientPattern, Detail, DetailLevel};
pub use directory::batch::ShardBatch;
pub use directory::message::ShardMessage;
pub use directory::state::{ProcessFigures, Shared};
pub use event::{
    AuthenticationOutcome, AuthenticationRequest, AuthenticationStep, Event, Farewell, Peer, Revocation, StoreRoom,
};
pub use history::EventKind;
pub use ids::ConnectionId;
pub use journey::query::{
    AcceptedView, HolderView, HoldersPart, HoldersRequest, JourneyPart, JourneyRequest, JourneyStep, PublisherView,
    QueuePlace, RECEIVERS_ASKED_MAX, StableView, StepView,
};
pub use journey::tail_query::{ACCEPTED_ASKED_MAX, TailPart, TailPlace, TailRequest};
pub use listener_terms::ListenerTerms;
pub use memory_level::MemoryLevel;
pub use operator::outcomes::{Outcome, OutcomeKind, Outcomes};
pub use operator::query::{
    DeletionProgress, DeletionRequest, DropView, ExplainRequest, ExplainedAction, Explanation, Listed, LogPage,
    LogRequest, OperatorMessage, Publication, ReceiverView, ReceiversRequest, RefusalView, RefusedAction,
    RetainedRequest, Standing, SubscriberView, SubscriptionsRequest, TopicAnswer, TopicQuery, Unpublished,
};
pub use owner::{ANONYMOUS, AnonymousSessions, Owner, User, VerifiedUser};
pub use persistence::bridge_mark::StoredMark;
pub use persistence::cache::{CopyPlace, MessageCache};
pub use persistence::clock::StoredAnchor;
pub use persistence::dead_letter::{DeadLetter, DeadLetterInfo};
pub use persistence::delay::Delay;
pub use persistence::delayed_message::RecoveredDelayed;
pub use persistence::durability::{Durability, DurabilityRule};
pub use persistence::encode::RecordBytes;
pub use persistence::fetch::{Fetch, Fetched, StoredRecord};
pub use persistence::grant::RecordParts;
pub use persistence::receipt::{CopyChange, CopyOutcome, CopyState, Originator, ReceiptChange, ReceiptState};
pub use persistence::record::{
    Addressed, Deduplicated, InsteadOf, ObsoleteRetained, Record, RetainedChange, WillState,
};
pub use persistence::record_key::RecordKey;
pub use persistence::recovery::receipts::RecoveredReceipt;
pub use persistence::recovery::{Orphan, Recovered, RecoveredSession, Recovery};
pub use persistence::split::{CellContents, Split, SplitError, Terms as SplitTerms};
pub use persistence::stream_definition::{StreamBounds, StreamDefinition};
pub use persistence::stream_group::{GroupPosition, StreamGroup};
pub use persistence::version_1::upgrade_record;
pub use publish::sampled_message::SampledMessage;
pub use publish::sys::is_reserved;
pub use publish::trace_context::TraceContext;
pub use query::{
    Answer, ClientFilter, ClientView, ConnectionView, EventView, ForgetOutcome, Gift, GiftOutcome, Kick, KickOutcome,
    KickedClient, LastDisconnect, MessageView, PAGE_MAX, PREVIEW_BYTES_MAX, Page, PageRequest, QUEUED_MAX, Query,
    QueryId, QueueRequest, QueuedView, StreamProgress, SubscriptionView,
};
pub use receipts::registry::ReceiptLimits;
pub use redelivery::kept::DeadLetterLimits;
pub use redelivery::query::{DeadLetterAnswer, DeadLetterFailure, DeadLetterQuery};
pub use redelivery::rules::{Backoff, RedeliveryRule, RedeliveryRules};
pub use report::{
    ClientLabel, FilterAnswer, LostConnection, LostMessages, OwnerChange, PublishedMessage, Report, SessionChange,
    WillOutcome,
};
pub use retained::source::CurrentRights;
pub use settings::{AutoSubscription, QueueOverflow, Settings};
pub use shard::Shard;
pub use streams::groups::dispatch::GroupDispatch;
pub use streams::groups::query::{GroupAnswer, GroupQuery, GroupView};
pub use streams::key::StreamKey;
pub use streams::number::StreamNumber;
pub use streams::offset::InvalidOffset;
pub use streams::position::{StreamPlace, StreamPosition};
pub use streams::read::{
    ReadMessages, StoredStreamMessage, StreamChunk, StreamCursorId, StreamReadError, StreamRequest,
};
pub use streams::start::StreamStart;
pub use streams::table::{Stream, StreamTable, TopicStreams, TrimmedOffset};
pub use user_limits::{UserLimit, UserLimits};

pub use crate::session::{QueueHead, QueuedState, RestoredMessage, Ticket};
