use crate::context::Context;

/// A Shared Subscription with a ShareName that no other case uses.
pub(super) fn share(cx: &Context, filter: &str) -> String {
    format!("$share/{}/{filter}", cx.client_id("group"))
}
