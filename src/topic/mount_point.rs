use std::fmt;
use std::sync::Arc;

use bytestring::ByteString;

use super::{BYTES_MAX, Filter, TopicFilter, TopicName};

/// A mount point: what the broker puts in front of the topics of a client, and takes away from those that it sends to it. So the client
/// has a part of all topics for itself, and knows nothing of the others.
///
/// It ends with `/`: the topics below `a/` are never below `ab/`. It has no wildcard, and doesn't begin with `$`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MountPoint(Arc<Text>);

/// In an allocation of its own, so that what few clients have takes one pointer in each client.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Text(Box<str>);

/// Why a text is not a mount point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMountPoint {
    /// The text doesn't end with `/`, or is empty.
    #[error("must end with /")]
    WithoutSlash,
    /// It begins with `$`: these topics are not for clients.
    #[error("must not begin with $")]
    Reserved,
    /// It has a character that is not allowed.
    #[error("must not contain +, # or control characters")]
    Character,
    /// It is longer than [`MOUNT_POINT_BYTES_MAX`].
    #[error("must be at most 1024 bytes")]
    TooLong,
}

/// Why there is no such topic below a mount point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unmountable {
    /// With the mount point, it is longer than 65,535 bytes. [MQTT-4.7.3-3]
    #[error("the topic is longer than 65,535 bytes with the mount point of the client")]
    TooLong,
    /// It begins with `$`.
    #[error("below a mount point there are no topics that begin with $")]
    Reserved,
}

/// The maximum length of a mount point in bytes.
pub const MOUNT_POINT_BYTES_MAX: usize = 1_024;

impl MountPoint {
    /// Checks a mount point.
    ///
    /// # Errors
    /// See [`InvalidMountPoint`].
    pub fn new(text: &str) -> Result<Self, InvalidMountPoint> {
        if !text.ends_with('/') {
            return Err(InvalidMountPoint::WithoutSlash);
        }
        if text.starts_with('$') {
            return Err(InvalidMountPoint::Reserved);
        }
        if text.contains(|character: char| matches!(character, '+' | '#') || character.is_control()) {
            return Err(InvalidMountPoint::Character);
        }
        if text.len() > MOUNT_POINT_BYTES_MAX {
            return Err(InvalidMountPoint::TooLong);
        }
        Ok(Self(Arc::new(Text(text.into()))))
    }

    /// The mount point as text, with the `/` at its end.
    pub fn as_str(&self) -> &str {
        &self.0.0
    }

    /// The topic that the client calls `topic`.
    ///
    /// # Errors
    /// See [`Unmountable`].
    pub fn topic(&self, topic: &TopicName) -> Result<TopicName, Unmountable> {
        self.text(unreserved(topic.as_str())?).map(TopicName)
    }

    /// The Topic Filter that the client calls `filter`. A Shared Subscription keeps its ShareName.
    ///
    /// # Errors
    /// See [`Unmountable`].
    pub fn filter(&self, filter: &Filter) -> Result<Filter, Unmountable> {
        let topic_filter = self.text(unreserved(filter.topic_filter.as_str())?).map(TopicFilter)?;
        Ok(Filter { topic_filter, ..filter.clone() })
    }

    /// The mount point followed by `text`, a Response Topic.
    ///
    /// # Errors
    /// [`Unmountable::TooLong`].
    pub fn text(&self, text: &str) -> Result<ByteString, Unmountable> {
        let length = self.as_str().len() + text.len();
        if length > BYTES_MAX {
            return Err(Unmountable::TooLong);
        }
        let mut mounted = String::with_capacity(length);
        mounted.push_str(self.as_str());
        mounted.push_str(text);
        Ok(ByteString::from(mounted))
    }

    /// What the client calls `topic`. `None`: the topic is not below the mount point, or the client has no name for it.
    pub fn below<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let below = topic.strip_prefix(self.as_str())?;
        (!below.is_empty() && !below.starts_with('$')).then_some(below)
    }

    /// Whether each topic that the filter matches has a name for the client.
    pub fn covers(&self, filter: &TopicFilter) -> MountCoverage {
        match filter.as_str().strip_prefix(self.as_str()) {
            None | Some("") => MountCoverage::None,
            // A wildcard also matches names that begin with `$`, and the empty name. [MQTT-4.7.1-2] says that `a/#` matches `a`.
            Some("/#") => MountCoverage::Part,
            Some(below) if below.starts_with(['+', '#']) => MountCoverage::Part,
            Some(below) if below.starts_with('$') => MountCoverage::None,
            Some(_) => MountCoverage::Whole,
        }
    }
}

/// How many of the topics that a filter matches have a name for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountCoverage {
    /// All.
    Whole,
    /// Perhaps not all.
    Part,
    /// None.
    None,
}

impl fmt::Display for MountPoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

fn unreserved(topic: &str) -> Result<&str, Unmountable> {
    if topic.starts_with('$') { Err(Unmountable::Reserved) } else { Ok(topic) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mount(text: &str) -> MountPoint {
        MountPoint::new(text).unwrap()
    }

    fn name(text: &str) -> TopicName {
        TopicName::try_from(text).unwrap()
    }

    fn filter(text: &str) -> Filter {
        Filter::try_from(text).unwrap()
    }

    #[test]
    fn a_mount_point_ends_with_a_slash_and_has_no_wildcards() {
        for text in ["a/", "/", "/a/", "a/b/", "a//b/", "ä/"] {
            assert_eq!(mount(text).as_str(), text);
        }
        for (text, error) in [
            ("", InvalidMountPoint::WithoutSlash),
            ("a", InvalidMountPoint::WithoutSlash),
            ("$SYS/", InvalidMountPoint::Reserved),
            ("$share/g/", InvalidMountPoint::Reserved),
            ("a/+/", InvalidMountPoint::Character),
            ("#/", InvalidMountPoint::Character),
            ("a\0/", InvalidMountPoint::Character),
            ("a\n/", InvalidMountPoint::Character),
        ] {
            assert_eq!(MountPoint::new(text), Err(error), "{text:?}");
        }
        let long = format!("{}/", "a".repeat(MOUNT_POINT_BYTES_MAX - 1));
        assert_eq!(mount(&long).as_str(), long);
        assert_eq!(MountPoint::new(&format!("a{long}")), Err(InvalidMountPoint::TooLong));
    }

    #[test]
    fn topics_and_filters_are_prefixed_and_shares_keep_their_name() {
        let mount = mount("a/");
        for (topic, full) in [("b", "a/b"), ("/", "a//"), ("/b", "a//b"), ("a/b", "a/a/b"), ("b/$x", "a/b/$x")] {
            assert_eq!(mount.topic(&name(topic)), Ok(name(full)));
            assert_eq!(mount.below(full), Some(topic));
            assert_eq!(mount.filter(&filter(topic)), Ok(filter(full)));
        }
        for (text, full) in [("#", "a/#"), ("+", "a/+"), ("/#", "a//#"), ("$share/g/#", "$share/g/a/#")] {
            assert_eq!(mount.filter(&filter(text)), Ok(filter(full)));
        }
        for text in ["$SYS/#", "$SYS/broker/uptime", "$x", "$", "$share", "$share/g/$SYS/#"] {
            assert_eq!(mount.filter(&filter(text)), Err(Unmountable::Reserved), "{text}");
        }
        assert_eq!(mount.topic(&name("$SYS/broker/connection/b/state")), Err(Unmountable::Reserved));
    }

    #[test]
    fn what_is_outside_or_has_no_name_is_not_below() {
        for topic in ["a", "a/", "ab/c", "b/a/c", "/a/b", "a/$SYS/x", "a/$x", "$SYS/broker/uptime"] {
            assert_eq!(mount("a/").below(topic), None, "{topic}");
        }
    }

    #[test]
    fn the_length_of_a_topic_counts_with_its_mount_point() {
        let mount = mount("a/");
        let longest = "x".repeat(BYTES_MAX - 2);
        assert_eq!(mount.topic(&name(&longest)).unwrap().as_str().len(), BYTES_MAX);
        let longer = format!("{longest}x");
        assert_eq!(mount.topic(&name(&longer)), Err(Unmountable::TooLong));
        assert_eq!(mount.filter(&filter(&longer)), Err(Unmountable::TooLong));
        assert_eq!(mount.text(&longer), Err(Unmountable::TooLong));
    }

    proptest! {
        /// What a filter of the client matches is what its mounted filter matches, of the topics that have a name for the client. If the mount
        /// point covers the filter, it matches no others.
        #[test]
        fn a_filter_matches_the_same_topics_with_the_mount_point_and_without(
            at in prop_oneof![Just("a/"), Just("/"), Just("a/b/"), Just("//")],
            wanted in "(\\$?[ab/]{0,3}|\\+)(/[ab]|/\\+|/){0,2}(/#)?|#",
            topic in "\\$?[ab/$]{1,6}",
        ) {
            let (mount, topic) = (mount(at), name(&topic));
            prop_assume!(TopicFilter::try_from(wanted.as_str()).is_ok());
            let wanted = TopicFilter::try_from(wanted.as_str()).unwrap();
            let full = mount.filter(&Filter::from(wanted.clone()));
            if let Ok(full) = &full {
                let covered = mount.covers(&full.topic_filter);
                let inside = mount.below(topic.as_str());
                let matches = full.topic_filter.matches(&topic);
                prop_assert!(!matches || inside.is_some() || covered == MountCoverage::Part, "{full} {topic}");
                prop_assert_ne!(covered, MountCoverage::None);
                if let Some(inside) = inside {
                    prop_assert_eq!(matches, wanted.matches(&name(inside)));
                }
            }
            match mount.topic(&topic) {
                Ok(mounted) => {
                    prop_assert_eq!(mount.below(mounted.as_str()), Some(topic.as_str()));
                    let matches = full.is_ok_and(|full| full.topic_filter.matches(&mounted));
                    prop_assert_eq!(matches, wanted.matches(&topic) && !wanted.as_str().starts_with('$'));
                }
                Err(error) => prop_assert_eq!(error, Unmountable::Reserved),
            }
        }

        #[test]
        fn topics_of_one_mount_point_are_not_below_another(a in "[ab]{1,2}", b in "[ab]{1,2}", topic in "[ab/]{1,5}") {
            prop_assume!(a != b);
            let (a, b) = (mount(&format!("{a}/")), mount(&format!("{b}/")));
            let full = a.topic(&name(&topic)).unwrap();
            prop_assert_eq!(b.below(full.as_str()), None);
        }
    }
}
