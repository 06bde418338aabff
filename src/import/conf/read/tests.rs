use std::fs;

use proptest::prelude::*;

use super::super::model::Direction;
use super::*;

fn model(text: &str) -> Result<Model, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mosquitto.conf");
    fs::write(&path, text).unwrap();
    read(&path).map_err(|error| error.to_string().replace(&*path.to_string_lossy(), "FILE"))
}

#[test]
fn options_belong_to_what_was_begun_before_them() {
    let text = "max_keepalive 60\nlistener 1883\nmax_connections 5\nlistener 0 /run/m.sock\nmax_connections -1\n\
                connection c\naddress a:1884 [::1]:1885 b # none\ntopic # both 2 l/ r/\ntopic \"a b/c\" IN 1\n\
                topic \"\" out 0 x y\n";
    let model = model(text).unwrap();
    assert_eq!(model.global.number("max_keepalive"), Some(60));
    let listeners: Vec<_> =
        model.listeners.iter().map(|listener| (listener.port, listener.address.as_deref())).collect();
    assert_eq!(listeners, [(Some(1883), None), (None, Some("/run/m.sock"))]);
    assert_eq!(model.listeners[0].settings.number("max_connections"), Some(5));
    let bridge = &model.bridges[0];
    let expected = [("a".to_owned(), 1884), ("[::1]".to_owned(), 1885), ("b".to_owned(), 1883)];
    assert_eq!(bridge.addresses, expected);
    let topics: Vec<_> = bridge.topics.iter().map(|topic| (&*topic.filter, topic.direction, topic.qos)).collect();
    assert_eq!(topics, [("#", Direction::Both, 2), ("a b/c", Direction::In, 1), ("", Direction::Out, 0)]);
    assert_eq!((&*bridge.topics[0].local_prefix, &*bridge.topics[0].remote_prefix), ("l/", "r/"));
}

#[test]
fn an_option_without_a_listener_makes_the_default_one() {
    let model = model("max_connections 5\nlistener 1884\n").unwrap();
    assert!(model.listens && model.listeners[0].is_implied());
    assert_eq!(model.listeners[0].port, Some(1883));
    let model = self::model("max_connections 5\n").unwrap();
    assert!(!model.listens);
    let model = self::model("protocol mqtt\nlistener 1883\n").unwrap();
    assert_eq!((model.listeners.len(), model.listeners[0].is_implied()), (1, false), "the default says nothing");
    let model = self::model("protocol websockets\nlistener 1884\n").unwrap();
    assert_eq!(model.listeners.len(), 2);
    let model = self::model("port 1885\nbind_address ::1\nmax_connections 5\n").unwrap();
    assert_eq!((model.listeners[0].port, model.listeners[0].address.as_deref()), (Some(1885), Some("::1")));
    assert_eq!(model.listeners.len(), 1);
}

#[test]
fn users_and_rules_are_of_each_listener_or_of_all() {
    let of_all = model("listener 1\npassword_file a\nallow_anonymous true\n").unwrap();
    assert_eq!(of_all.global.text("password_file"), Some("a"));
    let of_each = model("per_listener_settings true\nlistener 1\npassword_file a\nlistener 2\nplugin p\n").unwrap();
    assert_eq!(of_each.listeners[0].settings.text("password_file"), Some("a"));
    assert_eq!((of_each.plugins[0].is_global, &*of_each.plugins[0].listeners), (false, &[1][..]));
}

#[test]
fn what_mosquitto_refuses_is_refused_with_its_line() {
    for (text, expected) in [
        ("# nothing\n", "FILE: there is no option of mosquitto in it"),
        ("\nlisten 1883", "FILE:2: mosquitto has no option \"listen\""),
        (" # a", "FILE:1: mosquitto has no option \"#\": a comment begins in the first column"),
        (
            "listener\t1883",
            "FILE:1: mosquitto has no option \"listener\\t1883\": mosquitto separates by spaces, not by tabs",
        ),
        ("listener", "FILE:1: listener: it has no value"),
        ("listener 65536", "FILE:1: listener: 65536 is no port"),
        ("listener 0", "FILE:1: listener: the port 0 needs the path of a Unix socket"),
        ("allow_anonymous yes", "FILE:1: allow_anonymous: \"yes\" is neither true nor false"),
        ("max_keepalive 65536", "FILE:1: max_keepalive: 65536 is not from 0 to 65535"),
        ("max_keepalive 1x", "FILE:1: max_keepalive: \"1x\" is no number"),
        ("cafile a", "FILE:1: cafile: there is no `listener` before it"),
        ("listener 1\ncertfile a", "FILE:2: certfile: there is no keyfile"),
        ("listener 1\ncafile a", "FILE:2: cafile: there is no certfile"),
        ("cleansession true", "FILE:1: cleansession: there is no `connection` before it"),
        ("connection a\naddress b", "FILE:1: connection a: it has no topic"),
        ("connection a\ntopic #", "FILE:1: connection a: it has no address"),
        ("connection a\nconnection a", "FILE:2: connection: there is another bridge \"a\""),
        ("connection a\ntopic # sideways", "FILE:2: topic: \"sideways\" is none of out, in, both"),
        ("connection a\ntopic # out 3", "FILE:2: topic: \"3\" is no QoS"),
        ("pid_file a\npid_file b", "FILE:2: pid_file: it is set twice"),
        (
            "acl_file a\nper_listener_settings true",
            "FILE:2: per_listener_settings: it must stand before all options about users and rules",
        ),
        ("per_listener_settings true\nacl_file a", "FILE:2: acl_file: there is no `listener` before it"),
        ("plugin_opt_file a", "FILE:1: plugin_opt_file: there is no plugin before it"),
        (
            "log_dest elsewhere",
            "FILE:1: log_dest: \"elsewhere\" is none of none, syslog, stdout, stderr, topic, dlt, file, android",
        ),
        ("persistent_client_expiration 3", "FILE:1: persistent_client_expiration: \"3\" is no duration such as 14d"),
        ("protocol http", "FILE:1: protocol: \"http\" is none of mqtt, websockets, http_api"),
    ] {
        assert_eq!(model(text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn numbers_are_read_as_in_c() {
    for (word, expected) in [("10", 10), ("0x10", 16), ("010", 8), ("-1", -1), ("+2", 2), ("0", 0)] {
        assert_eq!(number(word), Ok(expected), "{word}");
    }
    for word in ["", "-", "0x", "08", "1 ", "--1", "0x-1", "1.5"] {
        assert!(number(word).is_err(), "{word}");
    }
}

#[test]
fn included_files_begin_anew() {
    let directory = tempfile::tempdir().unwrap();
    let conf_d = directory.path().join("conf.d");
    fs::create_dir(&conf_d).unwrap();
    fs::write(conf_d.join("a.conf"), "listener 2\nmax_qos 1\n").unwrap();
    fs::write(conf_d.join("b.conf"), "listener 3\nmax_qos 0\n").unwrap();
    let main = directory.path().join("main");
    fs::write(&main, format!("listener 1\ninclude_dir {}\nmax_connections 7\n", conf_d.display())).unwrap();
    let model = read(&main).unwrap();
    let found: Vec<_> =
        model.listeners.iter().map(|listener| (listener.port, listener.settings.number("max_qos"))).collect();
    assert_eq!(found, [(Some(1), None), (Some(2), Some(1)), (Some(3), Some(0))]);
    assert_eq!(model.listeners[0].settings.number("max_connections"), Some(7));
    fs::write(conf_d.join("b.conf"), "cafile x\n").unwrap();
    assert!(read(&main).unwrap_err().to_string().ends_with("b.conf:1: cafile: there is no `listener` before it"));
}

proptest! {
    #[test]
    fn no_text_causes_a_panic(words in prop::collection::vec("[ -~]{0,12}", 0..6), option in 0..super::super::options::OPTIONS.len()) {
        let name = super::super::options::OPTIONS[option].name;
        let _ = model(&format!("listener 1\nconnection c\nplugin p\n{name} {}\n", words.join(" ")));
    }
}
