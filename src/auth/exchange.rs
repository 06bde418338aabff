use std::fmt;

/// What a provider has to remember of an enhanced authentication until the client's next AUTH. The caller that got it in a
/// [`Continue`](super::Verdict::Continue) passes it back with that AUTH, once, and drops it if the client begins anew or disconnects.
///
/// It has at most a few KiB, because the client's part of it is bounded.
#[derive(Clone, PartialEq, Eq)]
pub struct Exchange(Box<ScramExchange>);

/// A SCRAM exchange after the challenge.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ScramExchange {
    /// The user that the client claims to be.
    pub(super) user: String,
    /// The header of the client's first message: `n,,` or `y,,`, perhaps with the user as the authorization identity.
    pub(super) header: String,
    /// The nonces of the client and of the broker.
    pub(super) nonce: String,
    /// The two messages until here, as both sides sign them: without the header, and with a comma after each.
    pub(super) messages: String,
}

impl Exchange {
    pub(super) fn scram(exchange: ScramExchange) -> Self {
        Self(Box::new(exchange))
    }

    pub(super) const fn as_scram(&self) -> &ScramExchange {
        &self.0
    }

    /// Its size, in bytes.
    pub(super) fn weight(&self) -> usize {
        let ScramExchange { user, header, nonce, messages } = &*self.0;
        size_of::<ScramExchange>() + user.len() + header.len() + nonce.len() + messages.len()
    }
}

/// With a proof, the messages would allow to try passwords.
impl fmt::Debug for Exchange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Exchange").finish_non_exhaustive()
    }
}
