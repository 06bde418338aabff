//! Slows down and bans addresses and verified users whose logins are refused or whose connections are short.
//!
//! A ban names an address (an IPv4 address or the /64 of an IPv6 address) or a user that a provider has verified: never a Client Identifier or
//! a user name that is merely claimed, with which a client could ban another one. The address is the client's own, from the PROXY protocol
//! if the listener has it; Unix sockets and `bans.exempt` are never banned.
//!
//! The list is in memory and ends with the process: a ban is a remedy for minutes or hours. What is to stay belongs into the firewall or the
//! password file. A node of a cluster keeps it when its role changes; other nodes do not have it, unless clients are spread over cells: then all servers of a
//! process have one list, and the nodes tell each other its changes.

mod list;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

pub use list::{Ban, BanChange, BansFull, Subject};

use super::clock::{Clock, wall_time};
use crate::auth::Source;
use crate::config;
use crate::server::LogEvent;
use crate::server::log::{Whom, allows, log_line};
use crate::timestamp::Timestamp;
use list::{BanList, Merged};

/// The bans, and what the sources and users of the last two minutes have done.
#[derive(Debug)]
pub struct Bans {
    terms: ArcSwap<Terms>,
    common: Arc<Common>,
    /// The clock of this server and that of the front of its process, whose list it has, too.
    shared_by: Option<[Clock; 2]>,
    /// The addresses of the last two connections of the broker's own probe, with their ports.
    own: ArcSwap<[Option<SocketAddr>; 2]>,
}

/// What all servers of a process have in common. Its times are those of the front.
#[derive(Debug, Default)]
struct Common {
    state: Mutex<State>,
    delayed: AtomicU64,
    /// The number of the last change of the list.
    changed: watch::Sender<u64>,
}

/// The settings, which a reload replaces.
#[derive(Debug)]
struct Terms {
    settings: config::Bans,
    exempt: Vec<Source>,
}

impl Terms {
    fn new(settings: &config::Bans) -> Self {
        let exempt = settings.exempt.iter().map(|address| Source::of(Some(*address))).collect();
        Self { settings: settings.clone(), exempt }
    }
}

/// The bans of a broker, for the next one of the same process, whose clock is another one.
#[derive(Debug, Default)]
pub struct CarriedBans(Vec<(Subject, Duration, String)>);

#[derive(Debug, Default)]
struct State {
    list: BanList,
    refused: Scores,
    short: Scores,
}

impl Bans {
    /// No bans.
    pub fn new(settings: &config::Bans) -> Self {
        Self {
            terms: ArcSwap::from_pointee(Terms::new(settings)),
            common: Arc::default(),
            shared_by: None,
            own: ArcSwap::default(),
        }
    }

    /// Those of this server, for another one of its process. `clocks`: that of the other one, and of this one.
    pub(in crate::server) fn share(&self, settings: &config::Bans, clocks: [Clock; 2]) -> Self {
        Self { common: Arc::clone(&self.common), shared_by: Some(clocks), ..Self::new(settings) }
    }

    /// A time of this server, by the clock of the list.
    fn of_list(&self, time: Timestamp) -> Timestamp {
        self.shared_by.map_or(time, |[own, of_list]| own.convert(time, &of_list))
    }

    /// A ban in the list, by the clock of this server.
    fn of_server(&self, ban: &Ban) -> Ban {
        let until = self.shared_by.map_or(ban.until, |[own, of_list]| of_list.convert(ban.until, &own));
        Ban { until, reason: ban.reason.clone() }
    }

    /// The broker's own probe is about to connect from this address. Nothing counts against it, and no ban of the address concerns it. The one
    /// before is remembered, because its end may not have been counted yet.
    pub(in crate::server) fn add_own(&self, address: SocketAddr) {
        let [last, _] = **self.own.load();
        self.own.store(Arc::new([Some(address), last]));
    }

    /// Whether a connection from this address is the probe's.
    pub(in crate::server) fn is_own(&self, address: Option<SocketAddr>) -> bool {
        address.is_some() && self.own.load().contains(&address)
    }

    /// Applies other settings. Bans and counts stay.
    pub(in crate::server) fn set_settings(&self, settings: &config::Bans) {
        self.terms.store(Arc::new(Terms::new(settings)));
    }

    /// The ban of an address or user, if there is one.
    pub fn find(&self, subject: &Subject, now: Timestamp) -> Option<Ban> {
        self.state().list.find(subject, self.of_list(now)).map(|ban| self.of_server(ban))
    }

    /// All bans, addresses first.
    pub fn list(&self, now: Timestamp) -> Vec<(Subject, Ban)> {
        let mut state = self.state();
        let bans = state.list.bans(self.of_list(now));
        bans.map(|(subject, ban)| (subject.clone(), self.of_server(ban))).collect()
    }

    /// Sets a ban, or replaces it. When the list is full, bans that have ended make room; otherwise it is not set.
    pub fn add(&self, subject: Subject, ban: Ban, now: Timestamp) -> Result<(), BansFull> {
        let in_list = Ban { until: self.of_list(ban.until), reason: ban.reason.clone() };
        self.change(|list| list.add(subject.clone(), in_list, (self.of_list(now), wall_time())))?;
        log_added(&subject, (ban.until.since(now), &ban.reason), now);
        Ok(())
    }

    /// Takes over changes of the list of another node; `now` is a time of the server whose list it is.
    ///
    /// # Errors
    /// The list is full. The other changes are in it.
    pub fn merge(&self, changes: Vec<BanChange>, now: Timestamp) -> Result<(), BansFull> {
        let mut result = Ok(());
        for change in changes {
            let (subject, left, reason) = (change.subject.clone(), change.left, change.reason.clone());
            match self.change(|list| list.merge(change, now)) {
                Ok(Merged::Nothing) => {}
                Ok(Merged::Banned) => log_added(&subject, (left, &reason), now),
                Ok(Merged::Lifted) => log_lifted(&subject),
                Err(full) => result = Err(full),
            }
        }
        result
    }

    /// What has changed in the list behind the change with this number, as far as it is told at a time, and the number of the last change in that; `now` is a
    /// time of the server whose list it is.
    pub fn changes_since(&self, number: u64, now: Timestamp) -> (u64, Vec<BanChange>) {
        self.state().list.changes_since(number, now)
    }

    /// The number of the last change of the list.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.common.changed.subscribe()
    }

    fn change<T>(&self, change: impl FnOnce(&mut BanList) -> T) -> T {
        let mut state = self.state();
        let outcome = change(&mut state.list);
        let number = state.list.number();
        self.common.changed.send_if_modified(|known| std::mem::replace(known, number) != number);
        outcome
    }

    /// The bans, with the time that is left of each.
    pub(in crate::server) fn carried(&self, now: Timestamp) -> CarriedBans {
        let bans = self.list(now).into_iter();
        CarriedBans(bans.map(|(subject, ban)| (subject, ban.until.since(now), ban.reason)).collect())
    }

    /// Takes over the bans of the broker before this one.
    pub(in crate::server) fn carry(&self, CarriedBans(bans): CarriedBans, now: Timestamp) {
        for (subject, left, reason) in bans {
            // As many were in a list before.
            let _ = self.change(|list| list.add(subject, Ban { until: now + left, reason }, (now, wall_time())));
        }
    }

    /// Ends a ban. Returns whether there was one. What the subject has done before is forgotten.
    pub fn remove(&self, subject: &Subject) -> bool {
        let was_banned = self.change(|list| list.lift(subject, wall_time()));
        let mut state = self.state();
        state.refused.forget(subject);
        state.short.forget(subject);
        drop(state);
        if was_banned {
            log_lifted(subject);
        }
        was_banned
    }

    /// The number of bans, and of logins that were delayed. What servers share is counted by the one whose list it is.
    pub fn counts(&self) -> (u64, u64) {
        if self.shared_by.is_some() {
            return (0, 0);
        }
        (self.state().list.len() as u64, self.common.delayed.load(Ordering::Relaxed))
    }

    /// Counts a login that is refused because of wrong credentials. Returns how long to keep the client waiting for the answer: 100 ms for the first in a
    /// minute, twice as long for each further one of the address, up to `bans.delay_max`.
    pub(in crate::server) fn refused(&self, source: Source, now: Timestamp) -> Duration {
        if self.is_exempt(source) {
            return Duration::ZERO;
        }
        let score = self.state().refused.count(&Subject::Address(source), self.of_list(now));
        let cause = "too many refused logins in a minute";
        self.ban_beyond(self.terms.load().settings.refused_logins_max, score, Subject::Address(source), (cause, now));
        let doublings = i32::try_from(score.saturating_sub(1)).unwrap_or(i32::MAX).min(DOUBLINGS_MAX);
        self.delay(REFUSED_DELAY.mul_f64(2_f64.powi(doublings)))
    }

    /// Counts a connection that ended after `lasted`, unless the broker ended it for a limit of its own.
    pub(in crate::server) fn ended(&self, source: Source, user: Option<&Arc<str>>, lasted: Duration, now: Timestamp) {
        if lasted >= SHORT || self.is_exempt(source) {
            return;
        }
        let cause = "too many short connections in a minute";
        for subject in [Some(Subject::Address(source)), user.cloned().map(Subject::User)].into_iter().flatten() {
            let score = self.state().short.count(&subject, self.of_list(now));
            self.ban_beyond(self.terms.load().settings.short_connections_max, score, subject, (cause, now));
        }
    }

    /// How long a CONNECT waits because the connections of its address, or of the user that it names, were short: a quarter of a second when
    /// they are beyond `bans.short_connections_free`, growing with their square up to `bans.delay_max`. The user need not be verified yet:
    /// who names another one delays only itself.
    pub(in crate::server) fn connect_delay(&self, source: Source, user: Option<&str>, now: Timestamp) -> Duration {
        let now = self.of_list(now);
        let state = self.state();
        if state.short.is_quiet(now) || self.is_exempt(source) {
            return Duration::ZERO;
        }
        let of_user = user.map_or(0, |user| state.short.score(&Subject::User(user.into()), now));
        let score = of_user.max(state.short.score(&Subject::Address(source), now));
        drop(state);
        let free = self.terms.load().settings.short_connections_free.get();
        if score <= free {
            return Duration::ZERO;
        }
        self.delay(SHORT_DELAY.mul_f64((f64::from(score) / f64::from(free)).powi(2).min(1_000.0)))
    }

    fn delay(&self, delay: Duration) -> Duration {
        let delay = delay.min(self.terms.load().settings.delay_max);
        self.common.delayed.fetch_add(u64::from(!delay.is_zero()), Ordering::Relaxed);
        delay
    }

    fn ban_beyond(&self, maximum: Option<NonZeroU32>, score: u32, subject: Subject, (cause, now): (&str, Timestamp)) {
        if maximum.is_none_or(|maximum| score <= maximum.get()) || self.find(&subject, now).is_some() {
            return;
        }
        let ban = Ban { until: now + self.terms.load().settings.ban_time, reason: cause.to_owned() };
        // A full list has 10,000 other subjects in it, and this one is delayed as before.
        let _ = self.add(subject, ban, now);
    }

    fn is_exempt(&self, source: Source) -> bool {
        source == Source::Local || self.terms.load().exempt.contains(&source)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.common.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log_added(subject: &Subject, (left, reason): (Duration, &str), now: Timestamp) {
    if allows(LogEvent::BanAdded, Whom::default(), now) {
        let (seconds, subject) = (left.as_secs(), subject.to_string());
        log_line!(
            BanAdded { subject = &*subject, seconds, reason },
            "banned for {seconds} s: {subject}: {reason}"
        );
    }
}

fn log_lifted(subject: &Subject) {
    let subject = subject.to_string();
    log_line!(BanRemoved { subject = &*subject }, "the ban was removed: {subject}");
}

/// How often something happened in the last minute, by subject: counts of this minute, and those of the one before in proportion.
///
/// Each minute has at most [`SUBJECTS_MAX`] subjects; further ones are not counted in it.
#[derive(Debug, Default)]
struct Scores {
    began: Timestamp,
    current: HashMap<Subject, u32>,
    before: HashMap<Subject, u32>,
}

impl Scores {
    /// Counts one, and returns the score.
    fn count(&mut self, subject: &Subject, now: Timestamp) -> u32 {
        let passed = now.since(self.began);
        if passed >= MINUTE {
            let current = std::mem::take(&mut self.current);
            self.before = if passed < 2 * MINUTE { current } else { HashMap::new() };
            self.began = if passed < 2 * MINUTE { self.began + MINUTE } else { now };
        }
        if let Some(count) = self.current.get_mut(subject) {
            *count = count.saturating_add(1);
        } else if self.current.len() < SUBJECTS_MAX {
            self.current.insert(subject.clone(), 1);
        }
        self.score(subject, now)
    }

    fn score(&self, subject: &Subject, now: Timestamp) -> u32 {
        let passed = now.since(self.began);
        let of = |counts: &HashMap<Subject, u32>| counts.get(subject).copied().unwrap_or_default();
        let part = |count: u32, passed: Duration| {
            let left = MINUTE.saturating_sub(passed).as_millis();
            u32::try_from(u128::from(count) * left / MINUTE.as_millis()).unwrap_or(u32::MAX)
        };
        if passed < MINUTE {
            of(&self.current).saturating_add(part(of(&self.before), passed))
        } else {
            part(of(&self.current), passed.saturating_sub(MINUTE))
        }
    }

    /// Whether every score is 0.
    fn is_quiet(&self, now: Timestamp) -> bool {
        (self.current.is_empty() && self.before.is_empty()) || now.since(self.began) >= 2 * MINUTE
    }

    fn forget(&mut self, subject: &Subject) {
        self.current.remove(subject);
        self.before.remove(subject);
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// A shorter connection is a short one.
const SHORT: Duration = Duration::from_secs(10);
/// The delay of the first refused login in a minute.
const REFUSED_DELAY: Duration = Duration::from_millis(100);
/// Beyond any `bans.delay_max`.
const DOUBLINGS_MAX: i32 = 10;
/// The delay of a CONNECT when as many short connections as `bans.short_connections_free` were counted.
const SHORT_DELAY: Duration = Duration::from_millis(250);
/// About 1 MB for each minute and kind.
const SUBJECTS_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::list::BANS_MAX;
    use super::*;

    fn source(last: u8) -> Source {
        Source::V4([192, 0, 2, last].into())
    }

    #[test]
    fn the_last_two_connections_of_the_probe_are_known() {
        let bans = Bans::new(&config::Bans::default());
        let address = |port: u16| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        for port in 1..4 {
            bans.add_own(address(port).unwrap());
        }
        assert_eq!([0, 1, 2, 3].map(|port| bans.is_own(address(port))), [false, false, true, true]);
        assert!(!Bans::new(&config::Bans::default()).is_own(None));
    }

    #[test]
    fn the_next_broker_of_the_process_has_what_is_left_of_each_ban_by_its_own_clock() {
        let (first, next) = (Bans::new(&config::Bans::default()), Bans::new(&config::Bans::default()));
        let ban = |until| Ban { until: at(until), reason: "because".to_owned() };
        first.add(Subject::Address(source(1)), ban(100), at(0)).unwrap();
        first.add(Subject::Address(source(2)), ban(20), at(0)).unwrap();
        next.carry(first.carried(at(30)), at(1_000));
        assert_eq!(next.list(at(1_000)), [(Subject::Address(source(1)), ban(1_070))]);
    }

    #[test]
    fn the_servers_of_a_process_have_one_list_each_by_its_own_clock() {
        let (front_clock, cell_clock) = (Clock::start(Timestamp(5_000)), Clock::start(Timestamp(9_000_000)));
        let settings = config::Bans { refused_logins_max: NonZeroU32::new(3), ..config::Bans::default() };
        let front = Bans::new(&settings);
        let cell = front.share(&settings, [cell_clock, front_clock]);
        let other = front.share(&settings, [Clock::start(Timestamp(77)), front_clock]);
        let now = || [&front_clock, &cell_clock].map(|clock| clock.read().now);
        let [of_front, of_cell] = now();
        let subject = Subject::Address(source(1));
        let until = of_cell + Duration::from_secs(100);
        cell.add(subject.clone(), Ban { until, reason: String::new() }, of_cell).unwrap();
        let found = front.find(&subject, of_front).unwrap();
        assert!((98..=101).contains(&found.until.since(of_front).as_secs()), "{found:?}");
        assert!(cell.find(&subject, of_cell).unwrap().until.0.abs_diff(until.0) < 10);
        assert!(cell.find(&subject, until + Duration::from_secs(1)).is_none());
        assert!(front.find(&subject, of_front).is_none());
        // What is refused in any cell counts for all.
        for bans in [&cell, &front, &other, &cell] {
            let now =
                if bans.shared_by.is_some_and(|[own, _]| own.read().now.0 > 8_000_000) { of_cell } else { of_front };
            bans.refused(source(2), now);
        }
        assert!(front.remove(&Subject::Address(source(2))));
        assert_eq!((front.counts().1, cell.counts()), (4, (0, 0)));
    }

    #[test]
    fn a_change_is_noticed_and_told_once() {
        let (one, other) = (Bans::new(&config::Bans::default()), Bans::new(&config::Bans::default()));
        let (mut changes, subject) = (one.watch(), Subject::Address(source(1)));
        one.add(subject.clone(), Ban { until: at(100), reason: "because".to_owned() }, at(0)).unwrap();
        assert!(changes.has_changed().unwrap());
        let (number, told) = one.changes_since(0, at(0));
        assert_eq!(*changes.borrow_and_update(), number);
        other.merge(told.clone(), at(1_000)).unwrap();
        assert_eq!(other.list(at(1_000))[0].1.until, at(1_100));
        let mut changes = other.watch();
        other.merge(told, at(1_000)).unwrap();
        assert!(other.find(&subject, at(1_000)).is_some() && !changes.has_changed().unwrap());
        assert!(other.remove(&subject) && changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert!(!other.remove(&subject) && !changes.has_changed().unwrap());
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(1_000_000 + seconds * 1_000)
    }

    fn bans(change: impl FnOnce(&mut config::Bans)) -> Bans {
        let mut settings = config::Bans::default();
        change(&mut settings);
        Bans::new(&settings)
    }

    fn is_banned(bans: &Bans, subject: Subject, now: Timestamp) -> bool {
        bans.find(&subject, now).is_some()
    }

    #[test]
    fn the_delay_of_refused_logins_grows_per_address_is_bounded_and_ends() {
        let bans = bans(|_| {});
        let delays: Vec<_> = (0..9).map(|_| bans.refused(source(1), at(0)).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
        assert_eq!(bans.refused(source(2), at(0)).as_millis(), 100);
        assert_eq!(bans.refused(source(1), at(200)).as_millis(), 100);
        assert!(!is_banned(&bans, Subject::Address(source(1)), at(0)), "off by default");
    }

    #[test]
    fn a_fleet_behind_one_address_is_not_delayed_and_a_flapping_one_for_a_bounded_time() {
        let bans = bans(|_| {});
        for _ in 0..32_768 {
            assert_eq!(bans.connect_delay(source(1), None, at(0)), Duration::ZERO);
            bans.ended(source(1), None, Duration::from_secs(1), at(0));
        }
        for _ in 0..10_000 {
            bans.ended(source(2), None, SHORT, at(0));
        }
        assert_eq!(bans.connect_delay(source(2), None, at(0)), Duration::ZERO, "its connections lasted");
        bans.ended(source(1), None, Duration::ZERO, at(0));
        assert_eq!(bans.connect_delay(source(1), None, at(0)).as_millis() / 10, 25);
        for _ in 0..200_000 {
            bans.ended(source(1), None, Duration::ZERO, at(0));
        }
        assert_eq!(bans.connect_delay(source(1), None, at(0)), Duration::from_secs(5));
        assert_eq!(bans.connect_delay(source(3), None, at(0)), Duration::ZERO);
        assert_eq!(bans.connect_delay(source(1), None, at(130)), Duration::ZERO);
    }

    #[test]
    fn the_short_connections_of_a_verified_user_count_from_any_address() {
        let bans = bans(|settings| settings.short_connections_max = NonZeroU32::new(5));
        let user: Arc<str> = "alice".into();
        for last in 0..6 {
            bans.ended(source(last), Some(&user), Duration::ZERO, at(0));
        }
        assert!(is_banned(&bans, Subject::User(user), at(0)));
        assert!(!is_banned(&bans, Subject::Address(source(1)), at(0)));
    }

    #[test]
    fn a_ban_by_setting_ends_by_itself_and_exempt_addresses_get_none() {
        let bans = bans(|settings| {
            settings.refused_logins_max = NonZeroU32::new(3);
            settings.exempt = vec!["192.0.2.9".parse().unwrap()];
        });
        for _ in 0..4 {
            assert!(!is_banned(&bans, Subject::Address(source(1)), at(0)));
            bans.refused(source(1), at(0));
            assert_eq!(bans.refused(source(9), at(0)), Duration::ZERO);
            assert_eq!(bans.refused(Source::Local, at(0)), Duration::ZERO);
        }
        assert_eq!(bans.list(at(0)).len(), 1);
        assert!(is_banned(&bans, Subject::Address(source(1)), at(599)));
        assert!(!is_banned(&bans, Subject::Address(source(1)), at(600)));
        assert_eq!(bans.counts().0, 0);
    }

    #[test]
    fn other_settings_apply_from_now_on_and_bans_stay() {
        let bans = bans(|settings| settings.refused_logins_max = NonZeroU32::new(3));
        (0..4).for_each(|_| _ = bans.refused(source(1), at(0)));
        assert!(is_banned(&bans, Subject::Address(source(1)), at(0)));
        bans.set_settings(&config::Bans { exempt: vec!["192.0.2.2".parse().unwrap()], ..config::Bans::default() });
        assert!(is_banned(&bans, Subject::Address(source(1)), at(0)));
        assert_eq!(bans.refused(source(2), at(0)), Duration::ZERO);
        (0..9).for_each(|_| _ = bans.refused(source(3), at(0)));
        assert!(!is_banned(&bans, Subject::Address(source(3)), at(0)));
    }

    #[test]
    fn a_removed_ban_starts_the_count_again() {
        let bans = bans(|settings| settings.refused_logins_max = NonZeroU32::new(3));
        (0..4).for_each(|_| _ = bans.refused(source(1), at(0)));
        let subject = Subject::Address(source(1));
        assert!(bans.remove(&subject) && !bans.remove(&subject));
        bans.refused(source(1), at(1));
        assert!(!is_banned(&bans, subject, at(1)));
    }

    #[test]
    fn the_list_and_the_counts_are_bounded() {
        let bans = bans(|_| {});
        let subject = |number: usize| Subject::User(format!("user-{number}").into());
        let ban = Ban { until: at(10), reason: String::new() };
        for number in 0..BANS_MAX {
            bans.add(subject(number), ban.clone(), at(0)).unwrap();
        }
        assert_eq!(bans.add(subject(BANS_MAX), ban.clone(), at(0)), Err(BansFull));
        bans.add(subject(1), ban.clone(), at(0)).unwrap();
        bans.add(subject(BANS_MAX), Ban { until: at(20), ..ban }, at(10)).unwrap();
        assert_eq!(bans.list(at(10)).len(), 1);
        let mut scores = Scores::default();
        for number in 0..SUBJECTS_MAX + 5 {
            scores.count(&subject(number), at(0));
        }
        assert_eq!(scores.current.len(), SUBJECTS_MAX);
    }
}
