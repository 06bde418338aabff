use std::collections::HashMap;
use std::collections::hash_map;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::endpoint::Endpoint;
use crate::auth::Source;
use crate::broker::MemoryLevel;
use crate::config::Limits;
use crate::server::bans::{Bans, Subject};
use crate::server::clock::Clock;
use crate::server::memory::MemoryBudget;
use crate::server::status::AdmissionCounts;

/// Counts connections and enforces their limits.
#[derive(Debug)]
pub(in crate::server) struct Admission {
    connections_max: AtomicUsize,
    connections_per_address_max: AtomicUsize,
    connections_per_second_max: AtomicU32,
    connections: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    accepted: AtomicU64,
    refused: [AtomicU64; 5],
    /// Addresses that are refused; `None`: none is.
    bans: Option<(Arc<Bans>, Clock)>,
    memory: Option<Arc<MemoryBudget>>,
    accept_errors: AtomicU64,
}

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub(in crate::server) struct Permit {
    admission: Arc<Admission>,
    endpoint: Arc<Endpoint>,
    address: Option<IpAddr>,
    counted: Counted,
}

/// Against which limits a connection counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    No,
    /// Those of the broker.
    ByBroker,
    /// Also that of its listener.
    ByBoth,
}

/// The limit that refused a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::server) enum Refused {
    /// `limits.connections_max`.
    #[error("limits.connections_max is reached")]
    Total = 0,
    /// The listener's own `connections_max`.
    #[error("the listener's connections_max is reached")]
    Listener = 1,
    /// `limits.connections_per_address_max`.
    #[error("limits.connections_per_address_max is reached for this address")]
    Address = 2,
    /// The address is banned.
    #[error("the address is banned")]
    Banned = 3,
    /// `limits.memory_max`.
    #[error("limits.memory_max is nearly reached")]
    Memory = 4,
}

impl Admission {
    pub(in crate::server) fn new(limits: &Limits) -> Self {
        Self {
            connections_max: AtomicUsize::new(limits.connections_max),
            connections_per_address_max: AtomicUsize::new(limits.connections_per_address_max),
            connections_per_second_max: AtomicU32::new(limits.connections_per_second_max.get()),
            connections: AtomicUsize::new(0),
            by_address: Mutex::default(),
            accepted: AtomicU64::new(0),
            refused: [const { AtomicU64::new(0) }; 5],
            bans: None,
            memory: None,
            accept_errors: AtomicU64::new(0),
        }
    }

    /// Changes the limits for connections from now on. None that is open ends.
    pub(in crate::server) fn set_limits(&self, limits: &Limits) {
        self.connections_max.store(limits.connections_max, Ordering::Relaxed);
        self.connections_per_address_max.store(limits.connections_per_address_max, Ordering::Relaxed);
        self.connections_per_second_max.store(limits.connections_per_second_max.get(), Ordering::Relaxed);
    }

    /// `limits.connections_per_second_max`.
    pub(in crate::server) fn connections_per_second_max(&self) -> NonZeroU32 {
        NonZeroU32::new(self.connections_per_second_max.load(Ordering::Relaxed)).unwrap_or(NonZeroU32::MIN)
    }

    /// Refuses banned addresses.
    pub(in crate::server) fn with_bans(self, bans: Arc<Bans>, clock: Clock) -> Self {
        Self { bans: Some((bans, clock)), ..self }
    }

    fn is_banned(&self, address: SocketAddr) -> bool {
        let subject = Subject::Address(Source::of(Some(address.ip())));
        let is_banned = |bans: &Bans, clock: &Clock| bans.find(&subject, clock.read().now).is_some();
        self.bans.as_ref().is_some_and(|(bans, clock)| is_banned(bans, clock) && !bans.is_own(Some(address)))
    }

    /// Refuses connections when the memory is critically short.
    pub(in crate::server) fn within(self, memory: Arc<MemoryBudget>) -> Self {
        Self { memory: Some(memory), ..self }
    }

    /// Counts one more connection of a listener, or refuses it. [`Permit::of_address`] counts its address.
    pub(in crate::server) fn admit(self: &Arc<Self>, endpoint: &Arc<Endpoint>) -> Result<Permit, Refused> {
        let listener_max = endpoint.settings.connections_max.unwrap_or(usize::MAX);
        let mut permit = self.admit_passed(endpoint)?;
        if !count_up(&endpoint.state.connections, listener_max) {
            self.accepted.fetch_sub(1, Ordering::Relaxed);
            return Err(self.refuse(Refused::Listener));
        }
        permit.counted = Counted::ByBoth;
        Ok(permit)
    }

    /// Counts one more connection of a listener of another server in this process, which counts it for its listener.
    pub(in crate::server) fn admit_passed(self: &Arc<Self>, endpoint: &Arc<Endpoint>) -> Result<Permit, Refused> {
        self.count()?;
        let (admission, endpoint) = (Arc::clone(self), Arc::clone(endpoint));
        Ok(Permit { admission, endpoint, address: None, counted: Counted::ByBroker })
    }

    /// Counts one more connection of the broker.
    fn count(&self) -> Result<(), Refused> {
        if self.memory.as_ref().is_some_and(|memory| memory.level() == MemoryLevel::Critical) {
            return Err(self.refuse(Refused::Memory));
        }
        if !count_up(&self.connections, self.connections_max.load(Ordering::Relaxed)) {
            return Err(self.refuse(Refused::Total));
        }
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Admits a client of the broker's own, which counts against no limit.
    pub(in crate::server) fn admit_own(self: &Arc<Self>, endpoint: &Arc<Endpoint>) -> Permit {
        Permit { admission: Arc::clone(self), endpoint: Arc::clone(endpoint), address: None, counted: Counted::No }
    }

    /// Counts a call of accept(2) that failed.
    pub(super) fn accept_failed(&self) {
        self.accept_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts since the start.
    pub(in crate::server) fn counts(&self) -> AdmissionCounts {
        let [total, listener, address, banned, memory] =
            self.refused.each_ref().map(|count| count.load(Ordering::Relaxed));
        AdmissionCounts {
            accepted: self.accepted.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed) as u64,
            refused_total: total,
            refused_listener: listener,
            refused_address: address,
            refused_banned: banned,
            refused_memory: memory,
            accept_errors: self.accept_errors.load(Ordering::Relaxed),
            ..AdmissionCounts::default()
        }
    }

    fn refuse(&self, refused: Refused) -> Refused {
        let [total, listener, address, banned, memory] = &self.refused;
        let count = match refused {
            Refused::Total => total,
            Refused::Listener => listener,
            Refused::Address => address,
            Refused::Banned => banned,
            Refused::Memory => memory,
        };
        count.fetch_add(1, Ordering::Relaxed);
        refused
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Whether the listener of the connection was removed.
    pub(in crate::server) fn is_void(&self) -> bool {
        self.endpoint.is_removed()
    }

    /// The listener of the connection.
    pub(in crate::server) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The permit of another server of this process, which counts the connection, from this address, in place of this one. The listener counts it all the
    /// time.
    ///
    /// # Errors
    /// The other server refuses it. Then neither server counts it.
    pub(in crate::server) fn moved(
        mut self,
        to: &Arc<Admission>,
        address: Option<SocketAddr>,
    ) -> Result<Self, Refused> {
        let mut moved = to.admit_passed(&self.endpoint)?;
        if let Some(address) = address {
            moved = moved.of_address(address)?;
        }
        if self.counted == Counted::ByBoth {
            (self.counted, moved.counted) = (Counted::ByBroker, Counted::ByBoth);
        }
        Ok(moved)
    }

    /// Counts the connection for its remote address, which comes from the socket or from the PROXY header. Refuses a banned one.
    pub(in crate::server) fn of_address(mut self, address: SocketAddr) -> Result<Self, Refused> {
        let admission = Arc::clone(&self.admission);
        if admission.is_banned(address) {
            return Err(admission.refuse(Refused::Banned));
        }
        let address = address.ip();
        let mut by_address = admission.by_address();
        let count = by_address.entry(address).or_insert(0);
        if *count >= admission.connections_per_address_max.load(Ordering::Relaxed) {
            if *count == 0 {
                by_address.remove(&address);
            }
            drop(by_address);
            return Err(admission.refuse(Refused::Address));
        }
        *count += 1;
        self.address = Some(address);
        Ok(self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.counted == Counted::No {
            return;
        }
        self.admission.connections.fetch_sub(1, Ordering::Relaxed);
        if self.counted == Counted::ByBoth {
            self.endpoint.state.connections.fetch_sub(1, Ordering::Relaxed);
        }
        let Some(address) = self.address else { return };
        if let hash_map::Entry::Occupied(mut count) = self.admission.by_address().entry(address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

fn count_up(count: &AtomicUsize, max: usize) -> bool {
    let more = |count: usize| (count < max).then_some(count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ListenAddress, Listener};

    fn endpoint(connections_max: Option<usize>, limits: &Limits) -> Arc<Endpoint> {
        let mut listener = Listener::new(ListenAddress::Ip("127.0.0.1:0".parse().unwrap()));
        listener.connections_max = connections_max;
        Arc::new(Endpoint::new(listener, limits).unwrap())
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 1))
    }

    #[test]
    fn connections_are_refused_while_memory_is_critically_short() {
        let limits = Limits::default();
        let (small, large) = (Arc::new(MemoryBudget::new(1)), Arc::new(MemoryBudget::new(u64::MAX)));
        assert_eq!(small.measure(), MemoryLevel::Critical);
        let admission = Arc::new(Admission::new(&limits).within(small));
        assert_eq!(admission.admit(&endpoint(None, &limits)).unwrap_err(), Refused::Memory);
        assert_eq!((admission.counts().refused_memory, admission.counts().connections), (1, 0));
        assert!(Arc::new(Admission::new(&limits).within(large)).admit(&endpoint(None, &limits)).is_ok());
    }

    #[test]
    fn a_connection_that_is_moved_to_another_server_counts_there_and_once_for_its_listener() {
        let limits = Limits { connections_per_address_max: 1, ..Limits::default() };
        let [front, cell] = [(); 2].map(|()| Arc::new(Admission::new(&limits)));
        let listener = endpoint(Some(1), &limits);
        let connections = |admission: &Admission| admission.counts().connections;
        let open = || front.admit(&listener)?.of_address(address(1));
        let moved = open().unwrap().moved(&cell, Some(address(1))).unwrap();
        assert_eq!((connections(&front), connections(&cell)), (0, 1));
        assert_eq!(open().unwrap_err(), Refused::Listener);
        drop(moved);
        let first = open().unwrap().moved(&cell, Some(address(1))).unwrap();
        let other = endpoint(None, &limits);
        let second = front.admit(&other).unwrap();
        assert_eq!(second.moved(&cell, Some(address(1))).unwrap_err(), Refused::Address);
        drop(first);
        assert_eq!([connections(&front), connections(&cell)], [0, 0]);
        assert_eq!([&listener, &other].map(|endpoint| endpoint.state.connections.load(Ordering::Relaxed)), [0, 0]);
    }

    #[test]
    fn each_limit_refuses_connections_beyond_it_until_one_ends() {
        let limits = Limits { connections_max: 3, connections_per_address_max: 1, ..Limits::default() };
        let admission = Arc::new(Admission::new(&limits));
        let small = endpoint(Some(1), &limits);
        let large = endpoint(None, &limits);

        let first = admission.admit(&small).unwrap().of_address(address(1)).unwrap();
        assert_eq!(admission.admit(&small).unwrap_err(), Refused::Listener);
        assert_eq!(admission.admit(&large).unwrap().of_address(address(1)).unwrap_err(), Refused::Address);
        let second = admission.admit(&large).unwrap().of_address(address(2)).unwrap();
        let third = admission.admit(&large).unwrap();
        assert_eq!(admission.admit(&large).unwrap_err(), Refused::Total);
        assert_eq!(admission.counts().connections, 3);

        drop(first);
        let again = admission.admit(&small).unwrap().of_address(address(1)).unwrap();
        drop((again, second, third));
        let counts = admission.counts();
        assert_eq!(counts.connections, 0);
        assert_eq!([counts.refused_total, counts.refused_listener, counts.refused_address], [1, 1, 1]);
        assert!(admission.by_address().is_empty());
    }
}
