//! `packaging/`, and the commands and settings of the documents: what can be tried without a release build.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

/// Runs a command, and returns its standard output.
#[track_caller]
fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let stdout = String::from_utf8(stdout).unwrap();
    assert!(status.success(), "{command:?}\n{stdout}{}", String::from_utf8_lossy(&stderr));
    stdout
}

/// A script of `packaging/` that puts what it makes into a directory of the test.
fn script(name: &str, directory: &Path) -> Command {
    let mut command = Command::new(repository().join("packaging").join(name));
    command.env("CARGO_TARGET_DIR", directory).env("SOURCE_DATE_EPOCH", "1700000000").env("CARGO", env!("CARGO"));
    command
}

/// The file that a script names on the last line of its output.
fn made(output: &str) -> PathBuf {
    PathBuf::from(output.lines().last().unwrap())
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}

/// The blocks of a document in one language, each without its fences.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let begins = text.split(&fence).skip(1);
    begins.map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect()
}

/// A running process. Dropping it kills it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_scripts_are_valid() {
    let mut shell = 0;
    let folders = ["packaging", "packaging/debian", "configs/cluster", "tests/guide"];
    for path in folders.into_iter().flat_map(files) {
        let text = fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap();
        if first.contains("bash") || first == "#!/bin/sh" {
            shell += 1;
            succeed(Command::new(if first.contains("bash") { "bash" } else { "dash" }).arg("-n").arg(&path));
            // common.sh is checked with those who source it.
            if is_installed("shellcheck") && path.extension().is_none() {
                succeed(Command::new("shellcheck").arg("-x").arg(&path).current_dir(repository()));
            }
        } else if first.contains("python3") || path.extension().is_some_and(|extension| extension == "py") {
            let compile = "import sys; compile(open(sys.argv[1]).read(), sys.argv[1], 'exec')";
            succeed(Command::new("python3").args(["-c", compile]).arg(&path));
        }
        let is_program = first.starts_with("#!");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o111 != 0, is_program, "{}", path.display());
    }
    assert!(shell >= 7, "{shell}");
}

/// A root directory in which dpkg installs packages, without entering it.
struct Root {
    directory: TempDir,
}

impl Root {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "commands"] {
            fs::create_dir_all(directory.path().join(folder)).unwrap();
        }
        fs::write(directory.path().join("var/lib/dpkg/status"), "").unwrap();
        let root = Self { directory };
        // Commands of the maintainer scripts that would change this machine: they write down how they were called. The socket unit was
        // never enabled.
        let never = "case \"$*\" in *installed*oncemq.socket | *was-enabled*oncemq.socket) exit 1 ;; esac\n";
        for name in ["adduser", "chown", "deb-systemd-helper", "deb-systemd-invoke", "systemctl"] {
            let path = root.path("commands").join(name);
            let log = root.path("calls");
            fs::write(&path, format!("#!/bin/sh\necho \"${{0##*/}} $*\" >> {}\n{never}", log.display())).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        root
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs dpkg, as root or as if.
    #[track_caller]
    fn dpkg(&self, action: &str, what: &Path) {
        let is_root = succeed(Command::new("id").arg("-u")).trim() == "0";
        let mut command = Command::new(if is_root { "dpkg" } else { "fakeroot" });
        if !is_root {
            command.arg("dpkg");
        }
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.path("commands").display());
        command.arg(format!("--root={}", self.directory.path().display())).args([
            "--log=/dev/null",
            "--force-script-chrootless",
            "--force-depends",
            "--force-not-root",
        ]);
        succeed(command.arg(action).arg(what).env("PATH", path));
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap()
    }
}

#[test]
fn the_debian_package_keeps_data_until_it_is_purged() {
    let work = tempfile::tempdir().unwrap();
    let build = |version: &str| {
        made(&succeed(script("deb", work.path()).args(["--binary", "/bin/true", "--version", version])))
    };
    let (first, second) = (build("0.2.0-1"), build("0.9.0-1"));
    assert_eq!(fs::read(&first).unwrap(), fs::read(build("0.2.0-1")).unwrap(), "the same input gives the same package");
    let listed = succeed(Command::new("dpkg-deb").arg("--contents").arg(&first));
    for unit in
        ["configs/oncemq.service", "configs/oncemq.socket"].iter().filter(|unit| repository().join(unit).exists())
    {
        assert!(listed.contains(&unit.replace("configs/", "./usr/lib/systemd/system/")), "{listed}");
    }

    let root = Root::new();
    root.dpkg("--install", &first);
    assert!(root.path("usr/bin/oncemq").exists());
    let data = fs::metadata(root.path("var/lib/oncemq")).unwrap();
    assert_eq!(data.mode() & 0o777, 0o700);
    let calls = root.calls();
    assert!(calls.contains("adduser --system --group"), "{calls}");
    assert!(calls.contains("chown oncemq:oncemq"), "{calls}");
    assert!(!calls.contains("systemctl") && !calls.contains("enable oncemq.socket"), "{calls}");
    assert!(calls.contains("update-state oncemq.socket"), "{calls}");
    let settings = root.path("etc/oncemq/oncemq.toml");
    let check = ["config", "check", settings.to_str().unwrap()];
    succeed(Command::new(env!("CARGO_BIN_EXE_oncemq")).env_clear().args(check));

    let changed = fs::read_to_string(&settings).unwrap() + "# changed by the administrator\n";
    fs::write(&settings, &changed).unwrap();
    fs::write(root.path("etc/oncemq/users"), "").unwrap();
    fs::write(root.path("var/lib/oncemq/message"), "acknowledged").unwrap();
    let kept = || {
        assert_eq!(fs::read_to_string(&settings).unwrap(), changed);
        assert!(root.path("var/lib/oncemq/message").exists());
    };
    root.dpkg("--install", &second);
    kept();
    root.dpkg("--remove", Path::new("oncemq"));
    kept();
    assert!(!root.path("usr/bin/oncemq").exists());
    root.dpkg("--install", &first);
    kept();
    root.dpkg("--purge", Path::new("oncemq"));
    let calls = root.calls();
    assert!(calls.contains("purge oncemq.service oncemq.socket"), "links to the units go: {calls}");
    assert!(!root.path("var/lib/oncemq").exists());
    assert!(!settings.exists());
    assert!(root.path("etc/oncemq/users").exists(), "files of the administrator stay");
}

#[test]
fn the_container_image_is_consistent_and_reproducible() {
    let work = tempfile::tempdir().unwrap();
    let build =
        || made(&succeed(script("image", work.path()).args(["--binary", "/bin/true", "x86_64-unknown-linux-gnu"])));
    let image = fs::read(build()).unwrap();
    let archive = build();
    assert!(image == fs::read(&archive).unwrap(), "the same input gives the same image");
    let layout = work.path().join("layout");
    fs::create_dir(&layout).unwrap();
    succeed(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&layout));
    // The digest of the content is the name of the file.
    let blob = |reference: &Value| {
        let name = reference.as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
        let path = layout.join("blobs/sha256").join(&name);
        let sum = succeed(Command::new("sha256sum").arg(&path));
        assert!(sum.starts_with(&name), "{sum}");
        path
    };
    let json = |path: &Path| serde_json::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap();
    let manifest = json(&blob(&json(&layout.join("index.json"))["manifests"][0]["digest"]));
    let config = json(&blob(&manifest["config"]["digest"]));
    let layer = blob(&manifest["layers"][0]["digest"]);
    assert_eq!(manifest["layers"][0]["size"], fs::metadata(&layer).unwrap().len());
    let unpacked = format!("gzip -dc {} | sha256sum", layer.display());
    let unpacked = succeed(Command::new("sh").args(["-c", &unpacked]));
    assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", unpacked.split(' ').next().unwrap()));
    assert_eq!(config["config"]["User"], "1883:1883");
    assert_eq!(config["config"]["Healthcheck"]["Test"][2], "health");
    let listed = succeed(Command::new("tar").args(["--numeric-owner", "-tvzf"]).arg(&layer));
    let has = |start: &str, end: &str| listed.lines().any(|line| line.starts_with(start) && line.ends_with(end));
    assert!(has("drwx------ 1883/1883 ", " ./var/lib/oncemq/"), "{listed}");
    assert!(has("-rwxr-xr-x 0/0 ", " ./usr/bin/oncemq"), "{listed}");
    assert_eq!(listed.lines().filter(|line| line.contains("1883/1883")).count(), 1, "{listed}");
}

#[test]
fn the_bill_of_materials_has_what_is_in_the_binary() {
    let work = tempfile::tempdir().unwrap();
    let text = succeed(&mut script("sbom", work.path()));
    assert_eq!(text, succeed(&mut script("sbom", work.path())));
    let bill: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(bill["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));
    let components = bill["components"].as_array().unwrap();
    let find = |name: &str| components.iter().find(|component| component["name"] == name);
    let tokio = find("tokio").unwrap();
    assert_eq!(tokio["licenses"][0]["expression"], "MIT");
    assert_eq!(tokio["hashes"][0]["content"].as_str().unwrap().len(), 64);
    assert_eq!(find("uplot").unwrap()["licenses"][0]["expression"], "MIT", "a library of the page");
    assert!(find("proptest").is_none() && find("tempfile").is_none(), "crates of the tests are not in it");
}

#[test]
fn the_manifests_of_kubernetes_are_valid() {
    let image = format!("image: oncemq:{}\n", env!("CARGO_PKG_VERSION"));
    assert!(read("packaging/kubernetes/statefulset.yaml").contains(&image), "{image}");
    // The configuration in the ConfigMap, without its indentation.
    let map = read("packaging/kubernetes/configmap.yaml");
    let (_, settings) = map.split_once("oncemq.toml: |\n").unwrap();
    let settings: Vec<&str> = settings.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
    let tls = |line: &&str| line.starts_with("#[") || (line.starts_with('#') && line.contains(" = "));
    check_settings(&settings.join("\n"));
    let with_tls: Vec<&str> = settings.iter().map(|line| if tls(line) { &line[1..] } else { line }).collect();
    check_settings(&with_tls.join("\n"));
    if is_installed("kubernetes-validate") {
        let manifests = files("packaging/kubernetes").into_iter().filter(|path| !path.ends_with("kustomization.yaml"));
        succeed(Command::new("kubernetes-validate").arg("--strict").args(manifests));
    }
}

/// Checks settings with files in the place of those that they name.
#[track_caller]
fn check_settings(settings: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = authority.self_signed(&signing_key).unwrap();
    for folder in ["", "secrets", "users", "tls"] {
        fs::create_dir_all(path(folder)).unwrap();
        for certificate in ["server.crt", "tls.crt", "plant.example.com.crt"] {
            fs::write(path(folder).join(certificate), cert.pem()).unwrap();
        }
        for certificate in ["ca.crt", "auth-ca.pem", "nats-ca.pem", "telemetry-ca.pem"] {
            fs::write(path(folder).join(certificate), authority.pem()).unwrap();
        }
        for key in ["server.key", "tls.key", "plant.example.com.key"] {
            fs::write(path(folder).join(key), signing_key.serialize_pem()).unwrap();
        }
    }
    fs::write(path("acl.conf"), blocks(&read("docs/CONFIGURATION.md"), "text").concat()).unwrap();
    fs::write(path("issuer.pem"), signing_key.public_key_pem()).unwrap();
    fs::write(path("secret"), "0123456789abcdef0123456789abcdef").unwrap();
    fs::write(path("alarms-secret"), "0123456789abcdef\n").unwrap();
    fs::write(path("cloud-password"), "secret\n").unwrap();
    fs::write(path("nats-password"), "secret\n").unwrap();
    for headers in ["auth-headers", "telemetry-headers", "alarms-headers"] {
        fs::write(path(headers), "Authorization: Bearer secret\n").unwrap();
    }
    // In the manifests, "users" is a folder with a file of this name; in the documents there is a password of the probe.
    for file in ["users/users", "secrets/users", "probe-password", "internal-users", "internal-acl.conf"].map(path) {
        fs::write(file, "").unwrap();
    }
    let root = directory.path().display();
    let settings = settings.replace("\"/etc/oncemq/users\"", "\"/etc/oncemq/users/users\"");
    let settings =
        settings.replace("/etc/oncemq/", &format!("{root}/")).replace("/var/lib/oncemq", &format!("{root}/data"));
    let file = path("oncemq.toml");
    fs::write(&file, settings).unwrap();
    succeed(Command::new(env!("CARGO_BIN_EXE_oncemq")).env_clear().args(["config", "check"]).arg(file));
}

#[test]
fn the_settings_in_the_documents_are_valid() {
    let guide = blocks(&read("docs/CONFIGURATION.md"), "toml");
    assert!(guide.len() > 20, "{}", guide.len());
    guide.iter().for_each(|settings| check_settings(settings));
    check_settings(&read("configs/docker.toml"));
    let topics = blocks(&read("docs/TOPICS.md"), "toml");
    assert!(!topics.is_empty());
    topics.iter().for_each(|settings| check_settings(settings));
    let providers = blocks(&read("docs/AUTHENTICATION.md"), "toml");
    assert!(providers.len() > 2, "{}", providers.len());
    blocks(&read("docs/SINKS.md"), "toml").iter().for_each(|settings| check_settings(settings));
    providers.iter().for_each(|settings| check_settings(settings));
}

/// The commands of the README in its first section with TLS, as they are but for the port.
#[test]
fn the_first_five_minutes_of_the_readme_work() {
    let readme = read("README.md");
    let (_, section) = readme.split_once("## From nothing to TLS with users\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let port = wire::free_port().to_string();
    let commands: Vec<String> = blocks(section, "sh").iter().map(|block| block.replace("8883", &port)).collect();
    let [_, set_up, start, subscribe, publish] = &commands[..] else { panic!("{commands:?}") };

    let directory = tempfile::tempdir().unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_oncemq")).parent().unwrap().display().to_string();
    let path = std::env::var_os("PATH").unwrap().into_string().unwrap();
    let shell = |script: &str| {
        let mut command = Command::new("bash");
        command.args(["-euc", script]).current_dir(directory.path()).stdin(Stdio::null());
        command.env("PATH", format!("{bin}:{path}")).env("ONCEMQ_ADMIN_ENABLED", "false");
        command
    };
    succeed(&mut shell(set_up));
    let broker = shell(&format!("exec {start}")).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut broker = Running(broker);
    let mut lines = BufReader::new(broker.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(&port)), "the broker prints its addresses");

    // -d shows when it has subscribed, stdbuf lets every line come at once, and -W ends it if no message comes.
    let subscribe = format!("exec stdbuf -oL {} -d -C 1 -W 60", subscribe.trim());
    let mut subscriber = Running(shell(&subscribe).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(subscriber.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("Subscribed")), "{subscribe}");
    succeed(&mut shell(publish));
    assert!(lines.any(|line| line == "pumps/7 running"));
    let refused = publish.replace("battery staple", "wrong");
    assert!(!shell(&refused).stderr(Stdio::null()).status().unwrap().success());
}

/// What docs/CLUSTER.md and the files that it names say, as far as it can be checked without three machines. `tests/guide/trial` goes through all of it.
#[test]
fn the_files_of_a_cluster_are_valid() {
    let guide = read("docs/CLUSTER.md");
    let nats = read("configs/cluster/nats.conf");
    let (about, lines) = nats.split_at(nats.find("\nserver_name").unwrap() + 1);
    assert!(about.starts_with('#') && guide.contains(lines), "docs/CLUSTER.md shows another nats.conf");
    let settings = blocks(&guide, "toml");
    assert_eq!(settings.len(), 1);
    check_settings(&settings.concat());

    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let script = repository().join("configs/cluster/certificates");
    let servers = ["a=10.0.0.1", "b=fd00::2", "c=nats-c.example.com"];
    succeed(Command::new(&script).arg(path("secrets")).args(servers));
    let first = fs::read(path("secrets/a/server.pem")).unwrap();
    succeed(Command::new(&script).arg(path("secrets")).args(servers).arg("d=10.0.0.4"));
    assert_eq!(fs::read(path("secrets/a/server.pem")).unwrap(), first, "what exists is kept");
    assert_eq!(fs::metadata(path("secrets/d/server.key")).unwrap().permissions().mode() & 0o077, 0);
    for (name, address) in [("a", "IP Address:10.0.0.1"), ("b", "IP Address:FD00:"), ("c", "DNS:nats-c.example.com")] {
        let certificate = path("secrets").join(name).join("server.pem");
        let verified = ["verify", "-purpose", "sslclient", "-CAfile"];
        succeed(Command::new("openssl").args(verified).arg(path("secrets/ca.pem")).arg(&certificate));
        let text = succeed(Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(&certificate));
        assert!(text.contains(address), "{text}");
    }
    if let Some(server) = nats_servers::program() {
        let own = path("secrets/a").display().to_string();
        fs::write(path("secrets/a/nats.conf"), nats.replace("/etc/nats", &own).replace("/var/lib/nats", &own)).unwrap();
        succeed(Command::new(server).arg("-t").arg("-c").arg(path("secrets/a/nats.conf")));
    }
    let unit = read("configs/cluster/nats-server.service").replace("/usr/local/bin/nats-server", "/bin/true");
    fs::write(path("nats-server.service"), unit).unwrap();
    if is_installed("systemd-analyze") {
        let output = Command::new("systemd-analyze").arg("verify").arg(path("nats-server.service")).output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !complaints.contains("nats-server.service:"), "{complaints}");
    }
    if is_installed("haproxy") {
        let (_, lines) = guide.split_once("```\ndefaults\n").unwrap();
        let lines = format!("defaults\n{}", lines.split_once("```").unwrap().0);
        fs::write(path("haproxy.cfg"), lines).unwrap();
        succeed(Command::new("haproxy").arg("-c").arg("-f").arg(path("haproxy.cfg")));
    }
    if is_installed("docker-compose") {
        let file = repository().join("configs/cluster/docker-compose.yml");
        succeed(Command::new("docker-compose").arg("--file").arg(file).args(["config", "--quiet"]));
    }
}

#[test]
#[ignore = "needs root, namespaces, haproxy and mosquitto-clients, and takes some minutes"]
fn the_guide_to_a_cluster_can_be_followed() {
    let server = nats_servers::program().unwrap();
    let mut trial = Command::new(repository().join("tests/guide/trial"));
    println!("{}", succeed(trial.env("ONCEMQ", env!("CARGO_BIN_EXE_oncemq")).env("NATS_SERVER", server)));
}

#[test]
fn the_changelog_has_a_section_for_this_version() {
    let section = format!("\n## [{}] - ", env!("CARGO_PKG_VERSION"));
    assert!(read("CHANGELOG.md").contains(&section), "{section}");
}

#[test]
fn a_release_needs_a_version_with_a_section_in_the_changelog() {
    let release = |version: &str| {
        let mut command = script("release", &repository().join("target"));
        let output = command.arg(version).stdin(Stdio::null()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(release("1.0").contains("usage"), "three numbers");
    let text = release("9999.0.0");
    assert!(text.contains("no section") || text.contains("has changes"), "{text}");
}
