//! Changes of one client below `/clients`: its connection ends, its Session is forgotten or gets another owner.

use std::time::Duration;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::bans::SECONDS_MAX;
use super::clients::{ask_owner, missing};
use super::failure::{ErrorJson, Failure};
use super::parameters::{Body, Parameters};
use super::state::ApiState;
use super::table::Routes;
use crate::admin::caller::Caller;
use crate::broker::{
    ANONYMOUS, Answer, ForgetOutcome, Gift, GiftOutcome, Kick, KickOutcome, Owner, Query, VerifiedUser,
};
use crate::codec::{ClientId, PacketType, ReasonCode};

pub(super) fn operator_routes() -> Routes {
    Routes::new().add(__path_disconnect, disconnect)
}

pub(super) fn admin_routes() -> Routes {
    Routes::new().add(__path_forget, forget).add(__path_give, give)
}

/// Ends the connection of a client with DISCONNECT, which 3.1.1 does not have. Its Will is published, as its client did not announce the end;
/// its Session stays. With `ban`, its verified user is banned for a time, or else its address, before the client can connect again.
#[utoipa::path(
    delete, path = "/clients/{client_id}/connection",
    params(
        ("client_id" = String, Path, description = "The Client Identifier, percent-encoded"),
        ("reason_code" = Option<String>, Query, description = "The Reason Code of DISCONNECT, such as 0x97 or 151; by default 0x98, Administrative action"),
        ("ban" = Option<u32>, Query, description = "Seconds, 1 to 31,536,000"),
    ),
    responses(
        (status = 204, description = "Its connection has ended"),
        (status = 404, description = "There is no such Session", body = ErrorJson),
        (status = 409, description = "The client is not connected, or it can't be banned", body = ErrorJson),
    )
)]
async fn disconnect(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(client_id): Path<String>,
    parameters: Parameters,
) -> Result<StatusCode, Failure> {
    let reason_code = parameters.text("reason_code").map(reason_code).transpose()?;
    let ban = parameters.number("ban", 1..=SECONDS_MAX)?;
    let kick = Kick {
        client_id: ClientId(client_id.into()),
        reason_code: reason_code.unwrap_or(ReasonCode::AdministrativeAction),
        ban: ban.map(Duration::from_secs),
    };
    let code = kick.reason_code.number();
    let what = match ban {
        Some(seconds) => format!("disconnect with 0x{code:02X} and ban for {seconds} s"),
        None => format!("disconnect with 0x{code:02X}"),
    };
    let client_id = kick.client_id.clone();
    let outcome = kick_at_owner(&state, kick).await;
    state.audit.record(&caller, &what, client_id.as_str(), &outcome);
    outcome.map(|()| StatusCode::NO_CONTENT)
}

async fn kick_at_owner(state: &ApiState, kick: Kick) -> Result<(), Failure> {
    let client_id = kick.client_id.clone();
    let Answer::Kick(outcome) = ask_owner(state, &client_id, Query::Kick(Box::new(kick))).await? else {
        return Err(Failure::unexpected_answer());
    };
    match outcome {
        KickOutcome::Kicked(_) => Ok(()),
        KickOutcome::NotConnected => Err(Failure::conflict("the client is not connected")),
        KickOutcome::NotBannable => {
            Err(Failure::conflict("the client has neither a verified user nor an address to ban; it stays connected"))
        }
        KickOutcome::NotBanned => Err(Failure::conflict("the client is disconnected, but the list of bans is full")),
        KickOutcome::NotHere => Err(missing(state, &client_id)),
    }
}

/// Reads a Reason Code that a Server may send to end a connection. Not 0x00: it means that the Will is not published, and only the client can
/// say that.
fn reason_code(text: &str) -> Result<ReasonCode, Failure> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u8::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let code = number.ok().and_then(ReasonCode::new);
    let code = code.filter(|code| code.is_error() && code.is_valid_in(PacketType::Disconnect));
    code.ok_or_else(|| Failure::bad_request("reason_code must be one of DISCONNECT from 0x80 on, such as 0x98"))
}

/// Forgets a Session: it ends as if its Session Expiry Interval had passed, with its subscriptions and its queue, and its Will is published. A
/// connection ends first, with 0x98. The response follows when that is durable.
#[utoipa::path(
    delete, path = "/clients/{client_id}",
    params(("client_id" = String, Path, description = "The Client Identifier, percent-encoded")),
    responses(
        (status = 204, description = "The Session is gone, and that is durable"),
        (status = 404, description = "There is no such Session", body = ErrorJson),
    )
)]
async fn forget(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(client_id): Path<String>,
) -> Result<StatusCode, Failure> {
    let client_id = ClientId(client_id.into());
    let outcome = forget_at_owner(&state, &client_id).await;
    state.audit.record(&caller, "forget the session", client_id.as_str(), &outcome);
    outcome.map(|()| StatusCode::NO_CONTENT)
}

async fn forget_at_owner(state: &ApiState, client_id: &ClientId) -> Result<(), Failure> {
    let Answer::Forget(outcome) = ask_owner(state, client_id, Query::Forget(client_id.clone())).await? else {
        return Err(Failure::unexpected_answer());
    };
    match outcome {
        ForgetOutcome::Forgotten => Ok(()),
        ForgetOutcome::NotHere => Err(missing(state, client_id)),
    }
}

/// The body of a request that gives a Session away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOwner)]
struct OwnerRequest {
    /// `null`: to anonymous clients. The field is required.
    #[serde(deserialize_with = "Option::deserialize")]
    user: Option<String>,
    /// The provider that must verify the user; `null`: whichever verifies the name first.
    #[serde(default)]
    provider: Option<String>,
}

impl OwnerRequest {
    /// `providers`: the names of those that verify users.
    fn owner(self, providers: &[String]) -> Result<Owner, Failure> {
        match (self.user, self.provider) {
            (Some(user), _) if user.is_empty() => Err(Failure::bad_request("the user must not be empty")),
            (Some(user), None) => Ok(Owner::named(user.into())),
            (Some(user), Some(provider)) if providers.contains(&provider) => {
                Ok(Owner::of(Some(VerifiedUser { provider: provider.into(), name: user.into() })))
            }
            (Some(_), Some(_)) => {
                let text = format!("there is no such provider: it must be one of {}", providers.join(", "));
                Err(Failure::bad_request(text))
            }
            (None, None) => Ok(Owner::Anonymous),
            (None, Some(provider)) if provider == ANONYMOUS => Ok(Owner::Anonymous),
            (None, Some(_)) => Err(Failure::bad_request("a provider needs a user")),
        }
    }
}

/// Gives a Session to another owner. The response follows when that is durable.
#[utoipa::path(
    put, path = "/clients/{client_id}/owner",
    params(("client_id" = String, Path, description = "The Client Identifier, percent-encoded")),
    request_body = OwnerRequest,
    responses(
        (status = 204, description = "It belongs to the new owner, and that is durable"),
        (status = 404, description = "There is no such Session", body = ErrorJson),
        (status = 409, description = "The Session ends with its connection", body = ErrorJson),
    )
)]
async fn give(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(client_id): Path<String>,
    Body(request): Body<OwnerRequest>,
) -> Result<StatusCode, Failure> {
    let in_force = state.reloader.in_force();
    let (client_id, owner) = (ClientId(client_id.into()), request.owner(&in_force.config.provider_names())?);
    let what = format!("give the session to {}", owner.user().map_or("anonymous clients", |user| &**user));
    let outcome = give_to(&state, &client_id, owner).await;
    state.audit.record(&caller, &what, client_id.as_str(), &outcome);
    outcome.map(|()| StatusCode::NO_CONTENT)
}

async fn give_to(state: &ApiState, client_id: &ClientId, owner: Owner) -> Result<(), Failure> {
    let gift = Box::new(Gift { client_id: client_id.clone(), owner, access: None });
    let Answer::Gift(outcome) = ask_owner(state, client_id, Query::Give(gift)).await? else {
        return Err(Failure::unexpected_answer());
    };
    match outcome {
        GiftOutcome::Given => Ok(()),
        GiftOutcome::NotDurable => {
            Err(Failure::conflict("the session ends with its connection: there is nothing to give"))
        }
        GiftOutcome::NotHere => Err(missing(state, client_id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_code_is_one_that_a_server_may_send_to_end_a_connection() {
        for (text, code) in [
            ("0x98", ReasonCode::AdministrativeAction),
            ("152", ReasonCode::AdministrativeAction),
            ("0x9d", ReasonCode::ServerMoved),
            ("0x8B", ReasonCode::ServerShuttingDown),
        ] {
            assert_eq!(reason_code(text), Ok(code));
        }
        // Reason Codes that only a client sends, those of other packets, and values that are no Reason Code.
        for text in ["0", "4", "0x04", "0x86", "0x8A", "0x91", "0x92", "0xA3", "0x198", "256", "-1", "", "x"] {
            assert!(reason_code(text).is_err(), "{text}");
        }
    }
}
