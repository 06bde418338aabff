use crate::context::Context;

/// A Shared Subscription whose name no other case uses.
pub(super) fn share(cx: &Context, filter: &str) -> String {
    format!("$share/{}/{filter}", cx.client_id("group"))
}
