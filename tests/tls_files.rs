//! Certificates, keys and revocation lists that are not what they should be: the real binary says what they are, with files of openssl.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]
#![expect(clippy::disallowed_methods, reason = "what is tested here is a process in real time")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

/// A directory with `ok.pem` and `ok.key` of the authority `ca.pem`.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("server", "subjectAltName = DNS:localhost\n");
        files.write("client", "extendedKeyUsage = clientAuth\n");
        files.write("authority", "basicConstraints = critical,CA:TRUE\nkeyUsage = keyCertSign,cRLSign\n");
        files.openssl("req -x509 -days 365 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -addext keyUsage=keyCertSign,cRLSign");
        files.issue("ok", "ca", "-extfile server");
        files
    }

    /// Creates `NAME.key` of P-256 and `NAME.pem`, signed by `authority`.
    fn issue(&self, name: &str, authority: &str, options: &str) {
        self.issue_with_key(name, "ec -pkeyopt ec_paramgen_curve:P-256", authority, options);
    }

    fn issue_with_key(&self, name: &str, key: &str, authority: &str, options: &str) {
        self.openssl(&format!("req -new -newkey {key} -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        self.openssl(&format!(
            "x509 -req -days 365 -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial -out {name}.pem {options}"
        ));
    }

    /// Writes `NAME.crl` of `authority`, which revokes a certificate.
    fn revoke(&self, name: &str, authority: &str, revoked: Option<&str>, options: &str) {
        self.write("ca.cnf", CA_CONFIG);
        self.write("index", "");
        self.write("number", "01\n");
        let ca = format!("ca -config ca.cnf -cert {authority}.pem -keyfile {authority}.key");
        if let Some(revoked) = revoked {
            self.openssl(&format!("{ca} -revoke {revoked}.pem"));
        }
        self.openssl(&format!("{ca} -gencrl -out {name}.crl {options}"));
    }

    #[track_caller]
    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ').filter(|word| !word.is_empty())).current_dir(&self.0);
        let output = command.output().unwrap();
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
        // As for keys, which others must not read.
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn join(&self, name: &str, parts: &[&str]) {
        self.write(name, parts.iter().flat_map(|part| self.read(part)).collect::<Vec<_>>());
    }

    fn config(&self, settings: &str) {
        let fixed = "[server]\ndurability = \"none\"\n[admin]\nenabled = false\n[[listeners]]\naddress = \"127.0.0.1:0\"\n\
                     transport = \"tls\"\n[listeners.tls]\n";
        self.write("oncemq.toml", format!("{fixed}{settings}"));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        command.env_clear().current_dir(&self.0).args(arguments).stdin(Stdio::null());
        command
    }

    fn check(&self, settings: &str) -> Output {
        self.config(settings);
        self.command(&["config", "check", "oncemq.toml"]).output().unwrap()
    }

    /// The error of `config check` for these two files, which must be that of a start too.
    #[track_caller]
    fn error(&self, settings: &str) -> String {
        let output = self.check(settings);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{settings}: {error}");
        let start = self.command(&["--config", "oncemq.toml"]).output().unwrap();
        assert_eq!(start.status.code(), Some(4), "{settings}");
        assert!(String::from_utf8(start.stderr).unwrap().contains(error.trim_start_matches("oncemq: ")), "{error}");
        error
    }

    #[track_caller]
    fn identity_error(&self, certificate: &str, key: &str) -> String {
        self.error(&identity(certificate, key))
    }

    /// What `config check` prints about files that can be used.
    #[track_caller]
    fn notes(&self, settings: &str) -> String {
        let output = self.check(settings);
        assert!(output.status.success(), "{settings}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn identity(certificate: &str, key: &str) -> String {
    format!("certificate = \"{certificate}\"\nkey = \"{key}\"\n")
}

fn clients(authority: &str, rest: &str) -> String {
    format!("{}client_certificate = \"required\"\nclient_ca = \"{authority}\"\n{rest}", identity("ok.pem", "ok.key"))
}

/// Asserts that the error names the file and has all words.
#[track_caller]
fn says(error: &str, file: &str, words: &[&str]) {
    assert!(error.contains(&format!("listener 127.0.0.1:0: {file}: ")), "{error}");
    for word in words {
        assert!(error.contains(word), "no `{word}` in: {error}");
    }
}

#[test]
fn the_kind_of_an_unusable_key_is_named_with_the_command_that_helps() {
    let files = Files::new();
    files.issue_with_key("rsa", "rsa:2048", "ca", "-extfile server");
    files.openssl("pkey -in rsa.key -aes256 -passout pass:x -out pkcs8.key");
    files.openssl("rsa -in rsa.key -aes256 -passout pass:x -traditional -out old.key");
    files.openssl("pkey -in ok.key -outform DER -out der.key");
    files.openssl("pkcs8 -topk8 -in ok.key -passout pass:x -outform DER -out encrypted-der.key");
    files.openssl("pkcs12 -export -in ok.pem -inkey ok.key -passout pass:x -out ok.p12");
    files.openssl("pkey -in ok.key -pubout -out public.key");
    files.openssl("ecparam -name prime256v1 -out parameters.key");
    files.write("empty.key", "");
    files.write("text.key", "my secret\n");
    for (key, words) in [
        ("pkcs8.key", &["encrypted with a password", "`openssl pkey -in pkcs8.key -out "][..]),
        ("old.key", &["encrypted with a password", "`openssl pkey -in old.key -out "]),
        ("der.key", &["private key in DER, not PEM", "`openssl pkey -inform DER -in der.key"]),
        ("encrypted-der.key", &["encrypted private key in DER", "`openssl pkey -inform DER"]),
        ("ok.p12", &["PKCS#12", "`openssl pkcs12 -in ok.p12 -nocerts -nodes"]),
        ("public.key", &["no private key", "a public key"]),
        ("parameters.key", &["name of a curve, but no private key", "openssl genpkey"]),
        ("ok.pem", &["no private key", "a certificate"]),
        ("empty.key", &["is empty"]),
        ("text.key", &["no private key in PEM", "-----BEGIN"]),
    ] {
        says(&files.identity_error("ok.pem", key), key, words);
    }
    says(&files.identity_error("ok.pem", "ca.key"), "ok.pem", &["do not match", "openssl pkey -in ca.key -pubout"]);
}

#[test]
fn the_algorithm_of_an_unsupported_key_is_named() {
    let files = Files::new();
    for (name, key, word) in [
        ("secp256k1", "ec -pkeyopt ec_paramgen_curve:secp256k1", "the curve secp256k1"),
        ("ed448", "ed448", "Ed448"),
        ("small", "rsa:1024", "RSA, is damaged or of an unsupported size"),
        #[cfg(not(feature = "aws-lc-rs"))]
        ("p521", "ec -pkeyopt ec_paramgen_curve:P-521", "the curve P-521"),
    ] {
        files.issue_with_key(name, key, "ca", "-extfile server");
        let error = files.identity_error(&format!("{name}.pem"), &format!("{name}.key"));
        says(&error, &format!("{name}.key"), &[word, "supported are RSA", "openssl genpkey"]);
    }
    files.issue_with_key("authority", "ec -pkeyopt ec_paramgen_curve:secp256k1", "ca", "-extfile authority");
    let ca = files.error(&clients("authority.pem", ""));
    says(&ca, "authority.pem", &["certificate 1 (line 1)", "the curve secp256k1", "not supported"]);
}

#[test]
fn every_supported_form_of_a_key_and_a_certificate_is_read() {
    let files = Files::new();
    files.openssl("ec -in ok.key -out sec1.key");
    files.openssl("ecparam -name prime256v1 -out parameters.key");
    files.join("both.key", &["parameters.key", "sec1.key"]);
    files.join("chain.pem", &["ok.pem", "ca.pem"]);
    files.join("all.pem", &["ok.key", "ok.pem"]);
    files.write("bom.pem", [b"\xEF\xBB\xBF".to_vec(), files.read("ok.pem")].concat());
    files.write("bom.key", [b"\xEF\xBB\xBF".to_vec(), files.read("ok.key")].concat());
    files.write("crlf.pem", String::from_utf8(files.read("ok.pem")).unwrap().replace('\n', "\r\n"));
    for (certificate, key) in [
        ("ok.pem", "sec1.key"),
        ("ok.pem", "both.key"),
        ("chain.pem", "ok.key"),
        ("all.pem", "all.pem"),
        ("bom.pem", "bom.key"),
        ("crlf.pem", "ok.key"),
    ] {
        assert_eq!(files.notes(&identity(certificate, key)), "oncemq.toml is valid\n");
    }
    files.write("bom-ca.pem", [b"\xEF\xBB\xBF".to_vec(), files.read("ca.pem")].concat());
    assert_eq!(files.notes(&clients("bom-ca.pem", "")), "oncemq.toml is valid\n");
}

#[test]
fn what_a_certificate_file_is_instead_is_named() {
    let files = Files::new();
    files.openssl("x509 -in ok.pem -outform DER -out ok.der");
    files.openssl("pkcs12 -export -in ok.pem -inkey ok.key -passout pass:x -out ok.p12");
    files.openssl("crl2pkcs7 -nocrl -certfile ok.pem -out ok.p7");
    files.openssl("x509 -in ok.pem -trustout -addtrust serverAuth -out trusted.pem");
    files.join("wrong.pem", &["ca.pem", "ok.pem"]);
    files.write("empty.pem", "\n");
    files.write("page.pem", "<!DOCTYPE html>\n<html>not found</html>\n");
    files.write("half.pem", &files.read("ok.pem")[..300]);
    files.write("half.der", &files.read("ok.der")[..300]);
    files.write("store.jks", b"\xFE\xED\xFE\xED\0\0\0\x02");
    files.write("utf16.pem", b"\xFF\xFE-\0-\0");
    for (certificate, words) in [
        ("ok.der", &["certificate in DER, not PEM", "`openssl x509 -inform DER -in ok.der"][..]),
        ("ok.p12", &["PKCS#12", "`openssl pkcs12 -in ok.p12 -nokeys"]),
        ("ok.p7", &["PKCS#7", "`openssl pkcs7 -print_certs -in ok.p7"]),
        ("trusted.pem", &["TRUSTED CERTIFICATE", "`openssl x509 -in trusted.pem"]),
        ("ok.csr", &["certificate request", "an authority must sign"]),
        ("ok.key", &["no certificate", "a private key"]),
        ("empty.pem", &["is empty"]),
        ("page.pem", &["HTML"]),
        ("half.pem", &["is cut off", "-----END CERTIFICATE-----"]),
        ("half.der", &["may be cut off"]),
        ("utf16.pem", &["UTF-16"]),
        ("store.jks", &["Java keystore", "keytool"]),
    ] {
        says(&files.identity_error(certificate, "ok.key"), certificate, words);
        says(&files.error(&clients(certificate, "")), certificate, &words[..1]);
    }
    says(&files.identity_error("wrong.pem", "ok.key"), "wrong.pem", &["wrong order", "certificate 2 (line"]);
}

#[test]
fn a_usable_but_questionable_certificate_is_noted() {
    let files = Files::new();
    files.issue("v1", "ca", "");
    files.issue("other", "ca", "-extfile server");
    let (mut expired, key) = (CertificateParams::new(["localhost".to_owned()]).unwrap(), KeyPair::generate().unwrap());
    (expired.not_before, expired.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 2, 1));
    files.write("expired.pem", expired.self_signed(&key).unwrap().pem());
    files.write("expired.key", key.serialize_pem());
    files.join("odd.pem", &["ok.pem", "other.pem"]);
    assert!(files.notes(&identity("v1.pem", "v1.key")).contains("v1.pem: is an X.509 v1 certificate"));
    let note = files.notes(&identity("odd.pem", "ok.key"));
    assert!(note.contains("odd.pem: is in the wrong order: certificate 2 (line"), "{note}");
    let note = files.notes(&identity("expired.pem", "expired.key"));
    assert!(note.contains("expired.pem: has expired at"), "{note}");
}

#[test]
fn a_check_says_what_ignored_dates_of_client_certificates_mean() {
    let files = Files::new();
    let note = files.notes(&clients("ca.pem", "client_certificate_dates = \"ignored\"\n"));
    assert!(note.contains("`listeners[0].tls.client_certificate_dates` is \"ignored\""), "{note}");
    assert!(note.contains("accepted for ever after they have expired; without crl"), "{note}");
    let output = files.check(&format!("{}client_certificate_dates = \"ignored\"\n", identity("ok.pem", "ok.key")));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("client_certificate_dates` has no effect"), "{error}");
    let output = files.check(&clients("ca.pem", "client_certificate_dates = \"never\"\n"));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("`checked` or `ignored`"), "{error}");
}

#[test]
fn a_revocation_list_of_which_nothing_or_half_was_understood_stops_the_start() {
    let files = Files::new();
    files.revoke("good", "ca", None, "");
    files.openssl("crl -in good.crl -outform DER -out der.crl");
    files.write("half.crl", &files.read("good.crl")[..200]);
    files.write("half-der.crl", &files.read("der.crl")[..200]);
    files.write("empty.crl", "");
    files.write("page.crl", "<html>404</html>\n");
    files.join("one-and-a-half.crl", &["good.crl", "half.crl"]);
    for (list, words) in [
        ("half.crl", &["is cut off"][..]),
        ("half-der.crl", &["may be cut off"]),
        ("empty.crl", &["is empty"]),
        ("page.crl", &["HTML"]),
        ("one-and-a-half.crl", &["is cut off"]),
        ("ok.pem", &["no certificate revocation list", "a certificate"]),
    ] {
        says(&files.error(&clients("ca.pem", &format!("crl = \"{list}\"\n"))), list, words);
    }
    for list in ["good.crl", "der.crl"] {
        assert_eq!(files.notes(&clients("ca.pem", &format!("crl = \"{list}\"\n"))), "oncemq.toml is valid\n");
    }
}

/// A running broker.
struct Broker {
    process: Child,
    address: String,
}

impl Broker {
    fn start(files: &Files) -> Self {
        let log = fs::File::create(files.path("log")).unwrap();
        let mut command = files.command(&["--config", "oncemq.toml"]);
        let mut process = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains("mqtts://")).unwrap();
        Self { process, address: line.trim().trim_start_matches("mqtts://").to_owned() }
    }

    /// Whether a handshake with this certificate succeeds.
    fn accepts(&self, files: &Files, chain: &str, key: &str) -> bool {
        // With TLS 1.2, the client learns within the handshake that its certificate is refused.
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-tls1_2",
            "-connect",
            &self.address,
            "-cert",
            chain,
            "-cert_chain",
            chain,
            "-key",
            key,
        ]);
        command.current_dir(&files.0).stdin(Stdio::null()).output().unwrap().status.success()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // SIGTERM: the broker writes the rest of its log before it ends.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let end = Instant::now() + Duration::from_secs(10);
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[track_caller]
fn wait_for_log(files: &Files, text: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    while !fs::read_to_string(files.path("log")).unwrap().contains(text) {
        assert!(Instant::now() < end, "no `{text}` in: {}", fs::read_to_string(files.path("log")).unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `leaf-1` and `leaf-2` of the authority `between`, which `ca` has signed; `leaf-2` is revoked in `between.crl`.
fn chains(files: &Files) {
    files.issue("between", "ca", "-extfile authority");
    for leaf in ["leaf-1", "leaf-2"] {
        files.issue(leaf, "between", "-extfile client");
        files.join(&format!("{leaf}.chain"), &[&format!("{leaf}.pem"), "between.pem"]);
    }
    files.revoke("between", "between", Some("leaf-2"), "");
}

/// Whether each of the two clients is accepted.
fn accepted(files: &Files, settings: &str) -> [bool; 2] {
    files.config(&clients("ca.pem", settings));
    let broker = Broker::start(files);
    ["leaf-1", "leaf-2"].map(|leaf| broker.accepts(files, &format!("{leaf}.chain"), &format!("{leaf}.key")))
}

#[test]
fn a_revocation_list_of_the_intermediate_alone_checks_the_leaf() {
    let files = Files::new();
    chains(&files);
    assert_eq!(accepted(&files, "crl = \"between.crl\"\n"), [true, false]);
    wait_for_log(&files, "the client's certificate is revoked");
    files.openssl("crl -in between.crl -outform DER -out between.der");
    assert_eq!(accepted(&files, "crl = \"between.der\"\n"), [true, false]);
    assert_eq!(accepted(&files, "crl = \"between.crl\"\ncrl_check = \"chain\"\n"), [false, false]);
    files.revoke("root", "ca", None, "");
    files.join("both.crl", &["between.crl", "root.crl"]);
    assert_eq!(accepted(&files, "crl = \"both.crl\"\ncrl_check = \"chain\"\n"), [true, false]);
    // A list that revokes the intermediate applies without `crl_check`.
    files.revoke("root", "ca", Some("between"), "");
    files.join("both.crl", &["between.crl", "root.crl"]);
    assert_eq!(accepted(&files, "crl = \"both.crl\"\n"), [false, false]);
    // Without a list of the leaf's authority, nobody knows whether it is revoked.
    files.revoke("root", "ca", None, "");
    assert_eq!(accepted(&files, "crl = \"root.crl\"\n"), [false, false]);
}

#[test]
fn an_expired_revocation_list_warns_and_by_setting_refuses() {
    let files = Files::new();
    chains(&files);
    let old = "-crl_lastupdate 20240101000000Z -crl_nextupdate 20240201000000Z";
    files.revoke("old", "between", Some("leaf-2"), old);
    assert_eq!(accepted(&files, "crl = \"old.crl\"\n"), [true, false]);
    wait_for_log(&files, "old.crl: the revocation list of `CN=between` has expired");
    assert_eq!(accepted(&files, "crl = \"old.crl\"\ncrl_expired = \"refuse\"\n"), [false, false]);
    wait_for_log(&files, "crl has expired, and crl_expired is \"refuse\"");
}

#[test]
fn a_reload_keeps_the_old_revocation_list_if_the_new_one_is_unusable() {
    let files = Files::new();
    chains(&files);
    files.config(&clients("ca.pem", "crl = \"between.crl\"\n"));
    let broker = Broker::start(&files);
    for content in [&b""[..], b"<html>404</html>", &files.read("between.crl")[..200]] {
        files.write("between.crl", content);
        files.write("log", "");
        let pid = broker.process.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
        wait_for_log(&files, "kept the previous certificates: between.crl: ");
        assert!(broker.accepts(&files, "leaf-1.chain", "leaf-1.key"));
        assert!(!broker.accepts(&files, "leaf-2.chain", "leaf-2.key"));
    }
}

#[test]
fn a_v1_server_certificate_is_served_and_a_v1_client_certificate_refused_in_plain_words() {
    let files = Files::new();
    files.issue("v1", "ca", "");
    files.issue("v3", "ca", "-extfile client");
    let verify = "client_certificate = \"required\"\nclient_ca = \"ca.pem\"\n";
    files.config(&format!("{}{verify}", identity("v1.pem", "v1.key")));
    let broker = Broker::start(&files);
    assert!(broker.accepts(&files, "v3.pem", "v3.key"));
    assert!(!broker.accepts(&files, "v1.pem", "v1.key"));
    wait_for_log(&files, "the client's certificate is X.509 v1");
    wait_for_log(&files, "extendedKeyUsage = clientAuth");
}

#[test]
fn a_file_of_authorities_with_certificates_of_others_is_noted_or_refused() {
    let files = Files::new();
    files.write("not-ca", "basicConstraints = CA:FALSE\n");
    files.write("no-sign", "basicConstraints = CA:TRUE\nkeyUsage = cRLSign\n");
    for (name, options, fault) in [
        ("v1", "", "it is X.509 v1 and not self-signed"),
        ("leaf", "-extfile client", "it has no basicConstraints with CA:TRUE"),
        ("not", "-extfile not-ca", "its basicConstraints have CA:FALSE"),
        ("lists", "-extfile no-sign", "its keyUsage lacks keyCertSign"),
    ] {
        files.issue(name, "ca", options);
        let of = format!("certificate 1 (line 1), of `CN={name}`, is not that of an authority: {fault}");
        let file = format!("{name}.pem");
        says(
            &files.error(&clients(&file, "")),
            &file,
            &["has no certificate of an authority", &of, "openssl req -x509"],
        );
        files.join("both.pem", &[&file, "ca.pem"]);
        let notes = files.notes(&clients("both.pem", ""));
        assert!(notes.contains(&format!("both.pem: {of}: what its key signs is refused")), "{notes}");
    }
    // What a device signs with its key is refused, with its certificate in the chain and without.
    files.issue("admin", "leaf", "-extfile client");
    files.join("admin.chain", &["admin.pem", "leaf.pem"]);
    files.join("both.pem", &["ca.pem", "leaf.pem"]);
    files.config(&clients("both.pem", ""));
    let broker = Broker::start(&files);
    wait_for_log(&files, "both.pem: certificate 2 (line ");
    assert!(broker.accepts(&files, "leaf.pem", "leaf.key"));
    assert!(!broker.accepts(&files, "admin.pem", "admin.key"));
    assert!(!broker.accepts(&files, "admin.chain", "admin.key"));
}

#[test]
fn authorities_of_tutorials_and_below_others_sign_client_certificates() {
    let files = Files::new();
    // Without extensions, a certificate is of X.509 version 1.
    files.openssl("req -new -newkey rsa:2048 -nodes -keyout root.key -out root.csr -subj /CN=root");
    files.openssl("x509 -req -days 365 -in root.csr -signkey root.key -out root.pem");
    files.write("plain", "basicConstraints = CA:TRUE\n");
    files.issue("below", "ca", "-extfile plain");
    for authority in ["root", "below"] {
        files.issue("client", authority, "-extfile client");
        files.config(&clients(&format!("{authority}.pem"), ""));
        assert!(Broker::start(&files).accepts(&files, "client.pem", "client.key"), "{authority}");
    }
}

const CA_CONFIG: &str = "[ca]\ndefault_ca = d\n[d]\ndatabase = index\ncrlnumber = number\ndefault_md = sha256\n\
                         default_crl_days = 30\ncrl_extensions = e\n[e]\nauthorityKeyIdentifier = keyid\n";
