//! Which addresses requests may go to: checked with the addresses that a connection is made to, for each connection.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use axum::http::Uri;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tower_service::Service;

use crate::private_address::is_private;

/// Which addresses requests may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All.
    Anywhere,
    /// Those of public machines.
    Public,
}

/// A host has no address that requests may go to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address {0} is not that of a public machine, and allow_private_addresses is not set")]
pub(super) struct NotPublic(IpAddr);

impl Reach {
    /// Checks a host that is an address: it is not resolved.
    pub(super) fn check_literal(self, uri: &Uri) -> Result<(), NotPublic> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        host.parse().map_or(Ok(()), |address| self.check(address))
    }

    fn check(self, address: IpAddr) -> Result<(), NotPublic> {
        match self {
            Self::Public if is_private(address) => Err(NotPublic(address)),
            Self::Public | Self::Anywhere => Ok(()),
        }
    }
}

/// Resolves names, and leaves out the addresses that requests may not go to. The connection is made to the addresses that were checked, so that
/// a name that changes its address between two look-ups does not pass.
#[derive(Clone)]
pub(crate) struct Resolver {
    reach: Reach,
    /// A look-up has a thread until the operating system answers, also if its request was cancelled.
    threads: Arc<Semaphore>,
}

impl Resolver {
    /// With as many look-ups at the same time as the runtime has threads for them.
    pub(crate) fn new(reach: Reach) -> Self {
        Self::with_threads(reach, Semaphore::MAX_PERMITS)
    }

    /// A resolver that makes at most this number of look-ups at the same time.
    pub(crate) fn with_threads(reach: Reach, threads: usize) -> Self {
        Self { reach, threads: Arc::new(Semaphore::new(threads)) }
    }

    pub(super) const fn reach(&self) -> Reach {
        self.reach
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Resolver").field("reach", &self.reach).finish_non_exhaustive()
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { reach, threads } = self.clone();
        async move {
            let permit = threads.acquire_owned().await.map_err(io::Error::other)?;
            let found = spawn_blocking(move || {
                let _until_it_ends = permit;
                (name.as_str(), 0).to_socket_addrs()
            });
            Ok(permitted(reach, found.await.map_err(io::Error::other)??)?.into_iter())
        }
        .boxed()
    }
}

/// The addresses that requests may go to; an error if there are others only.
fn permitted(reach: Reach, addresses: impl Iterator<Item = SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let (mut permitted, mut refused) = (Vec::new(), None);
    for address in addresses {
        match reach.check(address.ip()) {
            Ok(()) => permitted.push(address),
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if permitted.is_empty() => Err(io::Error::new(io::ErrorKind::PermissionDenied, error)),
        Some(_) | None => Ok(permitted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn addresses_that_are_not_public_are_left_out() {
        let all = addresses(&["10.0.0.1:0", "1.1.1.1:0", "[::1]:0", "[2606:4700::1]:0"]);
        let public = addresses(&["1.1.1.1:0", "[2606:4700::1]:0"]);
        assert_eq!(permitted(Reach::Public, all.iter().copied()).unwrap(), public);
        assert_eq!(permitted(Reach::Anywhere, all.iter().copied()).unwrap(), all);
        let error = permitted(Reach::Public, addresses(&["127.0.0.1:0"]).into_iter()).unwrap_err();
        assert!(error.to_string().contains("127.0.0.1 is not that of a public machine"), "{error}");
        assert_eq!(permitted(Reach::Public, std::iter::empty()).unwrap(), []);
    }

    #[test]
    fn a_host_that_is_an_address_is_checked_without_being_resolved() {
        let check = |url: &str| Reach::Public.check_literal(&url.parse().unwrap());
        for private in
            ["http://127.0.0.1/", "http://[::1]:80/", "https://169.254.169.254/latest", "http://[::ffff:10.0.0.1]/"]
        {
            assert!(check(private).is_err(), "{private}");
            assert_eq!(Reach::Anywhere.check_literal(&private.parse().unwrap()), Ok(()), "{private}");
        }
        for other in ["https://1.1.1.1/", "https://example.org/", "https://localhost/"] {
            assert_eq!(check(other), Ok(()), "{other}");
        }
    }

    #[tokio::test]
    async fn a_look_up_waits_for_a_thread() {
        let mut resolver = Resolver::with_threads(Reach::Anywhere, 1);
        let held = Arc::clone(&resolver.threads).acquire_owned().await.unwrap();
        let mut waiting = resolver.call("localhost".parse().unwrap());
        assert!((&mut waiting).now_or_never().is_none());
        drop(held);
        assert!(waiting.await.unwrap().next().is_some());
        assert_eq!(resolver.threads.available_permits(), 1);
    }

    #[tokio::test]
    async fn names_of_this_machine_are_resolved_and_refused_in_every_notation() {
        for host in ["localhost", "127.1", "2130706433", "0x7f.0.0.1"] {
            let found = Resolver::new(Reach::Public).call(host.parse().unwrap()).await;
            assert!(found.is_err(), "{host}: {found:?}");
        }
    }
}
