//! Import circles between the files of a crate.
//!
//! A file names another if a path in it leads to an item that the other defines. Re-exports are followed to the definition, so a `mod.rs` that
//! only declares and re-exports is transparent: it is neither the beginning nor the end of an edge.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::tokens::{Token, paths, tokens, without_tests};

/// A crate: its modules as they are reached from its root.
#[derive(Debug, Default)]
struct Crate {
    /// By path from the root, with the modules that stand inside another's file.
    modules: BTreeMap<Vec<String>, Module>,
}

#[derive(Debug, Default)]
struct Module {
    file: String,
    imports: Vec<Import>,
    /// What it names outside its imports.
    paths: Vec<(usize, Vec<String>)>,
    /// All words outside its imports.
    words: BTreeSet<String>,
}

/// One name that a `use` brings in.
#[derive(Debug)]
struct Import {
    line: usize,
    path: Vec<String>,
    /// `*` for all that the path has.
    name: String,
    is_public: bool,
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
enum Target<'a> {
    /// To a module itself.
    Module,
    /// To an item that this file defines.
    Item(&'a str),
    /// Out of the crate.
    Foreign,
    /// Nowhere that this check can see.
    Unknown,
}

/// A circle's files, each with the line and the path by which it names the next.
type Circle = Vec<(String, usize, String)>;

/// Which file names which, by its first path that does so.
type Edges = BTreeMap<String, BTreeMap<String, (usize, String)>>;

/// The circles of the crate with this root, one for each strongly connected set of files, and the paths that could not be resolved.
pub(crate) fn circles(root: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut checked = Crate::default();
    checked.add_file(root, Vec::new(), read);
    let (edges, unknown) = checked.edges();
    let circles = knots(&edges).into_iter().map(|circle| describe(&circle));
    unknown.into_iter().map(|place| format!("{place}: cannot be resolved to its definition")).chain(circles).collect()
}

fn describe(circle: &Circle) -> String {
    let names = circle.iter().map(|(file, line, path)| format!("{file}:{line} names {path}"));
    format!("circle: {}", names.collect::<Vec<_>>().join(", "))
}

impl Crate {
    /// Adds the file of a module, and those of the modules that it declares.
    fn add_file(&mut self, file: &str, module: Vec<String>, read: &dyn Fn(&str) -> Option<String>) {
        let source = read(file).unwrap_or_else(|| panic!("{file} is declared, and not there"));
        let tokens = without_visibility(without_tests(tokens(&source)));
        let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
        let is_root_of_folder = module.is_empty() || name == "mod.rs";
        let folder = if is_root_of_folder { folder.to_owned() } else { file.trim_end_matches(".rs").to_owned() };
        let mut declared = Vec::new();
        self.add_module(file, module.clone(), &tokens, &mut declared);
        for name in declared {
            let candidates = [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")];
            let found = candidates.iter().find(|candidate| read(candidate).is_some());
            let found = found.unwrap_or_else(|| panic!("{file} declares {name}, which has no file"));
            self.add_file(found, [module.as_slice(), &[name]].concat(), read);
        }
    }

    /// Adds a module that stands in a file; `declared` gets the modules that have files of their own.
    fn add_module(&mut self, file: &str, path: Vec<String>, tokens: &[(usize, Token)], declared: &mut Vec<String>) {
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        let mut rest = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at..] {
                // Not `impl Trait + use<'a>`.
                [(_, Token::Word(word)), (_, next), ..] if word == "use" && *next != Token::Sign('<') => {
                    let is_public = at > 0 && tokens[at - 1].1 == Token::Word("pub".to_owned());
                    let end = at + tokens[at..].iter().position(|(_, token)| *token == Token::Sign(';')).unwrap_or(0);
                    let mut leaves = Vec::new();
                    import(&tokens[at + 1..end], &[], &mut leaves);
                    let leaves = leaves.into_iter();
                    module.imports.extend(leaves.map(|(line, path, name)| Import { line, path, name, is_public }));
                    at = end;
                }
                [(_, Token::Word(word)), (_, Token::Word(name)), (_, Token::Sign(';')), ..] if word == "mod" => {
                    declared.push(name.clone());
                    at += 2;
                }
                [(_, Token::Word(word)), (_, Token::Word(name)), (_, Token::Sign('{')), ..] if word == "mod" => {
                    let end = at + 3 + closing_brace(&tokens[at + 3..]);
                    let mut inner = Vec::new();
                    self.add_module(
                        file,
                        [path.as_slice(), std::slice::from_ref(name)].concat(),
                        &tokens[at + 3..end],
                        &mut inner,
                    );
                    assert!(inner.is_empty(), "{file}: a module inside another's file declares files");
                    at = end;
                }
                _ => rest.push(tokens[at].clone()),
            }
            at += 1;
        }
        module.paths = paths(&rest);
        module.words = rest.into_iter().filter_map(|(_, token)| word(token)).collect();
        module.words.remove("pub");
        self.modules.insert(path, module);
    }

    fn edges(&self) -> (Edges, Vec<String>) {
        let (mut edges, mut unknown) = (Edges::new(), Vec::new());
        for (path, module) in self.modules.iter().filter(|(_, module)| !module.is_transparent()) {
            let imports = module.imports.iter().filter(|import| {
                // What is only passed on is not needed here.
                !import.is_public || module.words.contains(&import.name)
            });
            let imports = imports.map(|import| (import.line, &import.path, import.name == "*"));
            let others = module.paths.iter().map(|(line, path)| (*line, path, false));
            for (line, named, is_glob) in imports.chain(others) {
                let target = match self.target(path, named, DEPTH_MAX) {
                    // All that it has: what it defines, at least.
                    Target::Module if is_glob => self.glob(path, named),
                    target @ (Target::Module | Target::Item(_) | Target::Foreign | Target::Unknown) => target,
                };
                match target {
                    Target::Item(file) if file != module.file => {
                        let places = edges.entry(module.file.clone()).or_default();
                        places.entry(file.to_owned()).or_insert_with(|| (line, named.join("::")));
                    }
                    Target::Item(_) | Target::Module | Target::Foreign => {}
                    Target::Unknown => unknown.push(format!("{}:{line}: {}", module.file, named.join("::"))),
                }
            }
        }
        (edges, unknown)
    }

    /// A module of which everything is named: it has to define what it has.
    fn glob(&self, from: &[String], named: &[String]) -> Target<'_> {
        let target = self.absolute(from, named, DEPTH_MAX).and_then(|path| self.modules.get(&path));
        match target {
            Some(module) if !module.is_transparent() => Target::Item(&module.file),
            _ => Target::Unknown,
        }
    }

    /// Where a path leads that is written in the module `from`.
    fn target(&self, from: &[String], path: &[String], depth: usize) -> Target<'_> {
        let Some(path) = self.absolute(from, path, depth) else { return Target::Foreign };
        let mut at = 0;
        while at < path.len() && self.modules.contains_key(&path[..=at]) {
            at += 1;
        }
        let (place, rest) = path.split_at(at);
        let Some(module) = self.modules.get(place) else { return Target::Unknown };
        let Some(name) = rest.first() else { return Target::Module };
        let passed_on = module.imports.iter().find(|import| import.name == *name);
        match passed_on {
            Some(import) if depth > 0 => {
                let path = [import.path.as_slice(), &rest[1..]].concat();
                self.target(place, &path, depth - 1)
            }
            // A circle of re-exports.
            Some(_) => Target::Unknown,
            None if module.is_transparent() => Target::Unknown,
            None => Target::Item(&module.file),
        }
    }

    /// The path from the root on; `None` if it leads out of the crate.
    fn absolute(&self, from: &[String], path: &[String], depth: usize) -> Option<Vec<String>> {
        let first = path.first()?;
        let ups = path.iter().take_while(|name| *name == "super").count();
        match first.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([from, &path[1..]].concat()),
            "super" => Some([&from[..from.len().saturating_sub(ups)], &path[ups..]].concat()),
            name => {
                let child = [from, &[name.to_owned()]].concat();
                if self.modules.contains_key(&child) {
                    return Some([from, path].concat());
                }
                let module = self.modules.get(from)?;
                let import = module.imports.iter().find(|import| import.name == *name && import.path[0] != *name)?;
                let path = [import.path.as_slice(), &path[1..]].concat();
                self.absolute(from, &path, depth.checked_sub(1)?)
            }
        }
    }
}

impl Module {
    /// Whether it only declares and re-exports.
    fn is_transparent(&self) -> bool {
        self.words.is_empty()
    }
}

/// The longest chain of re-exports that is followed.
const DEPTH_MAX: usize = 16;

/// Reads what stands between `use` and its semicolon, or one part of a group: path and name of each leaf.
fn import(tokens: &[(usize, Token)], stem: &[String], leaves: &mut Vec<(usize, Vec<String>, String)>) {
    let line = tokens.first().map_or(0, |(line, _)| *line);
    let mut path = stem.to_vec();
    let mut alias = None;
    for (at, (_, token)) in tokens.iter().enumerate() {
        match token {
            Token::Sign('{') => return parts(&tokens[at + 1..]).for_each(|part| import(part, &path, leaves)),
            Token::Sign('*') => return leaves.push((line, path, "*".to_owned())),
            Token::Word(word) if word == "as" => {
                alias = tokens.get(at + 1).and_then(|(_, token)| word_of(token));
                break;
            }
            Token::Word(word) if word == "self" && !path.is_empty() => {}
            Token::Word(word) => path.push(word.clone()),
            Token::PathSeparator | Token::Sign(_) => {}
        }
    }
    if let Some(name) = alias.or_else(|| path.last().cloned()) {
        leaves.push((line, path, name));
    }
}

/// The parts of a group, of which the opening brace was read.
fn parts(tokens: &[(usize, Token)]) -> impl Iterator<Item = &[(usize, Token)]> {
    let end = closing_brace(tokens);
    let mut depth = 0_usize;
    tokens[..end].split(move |(_, token)| {
        match token {
            Token::Sign('{') => depth += 1,
            Token::Sign('}') => depth -= 1,
            Token::Word(_) | Token::PathSeparator | Token::Sign(_) => {}
        }
        depth == 0 && *token == Token::Sign(',')
    })
}

/// Where the brace closes that was open before the first token.
fn closing_brace(tokens: &[(usize, Token)]) -> usize {
    let mut depth = 1_usize;
    let closes = tokens.iter().position(|(_, token)| {
        match token {
            Token::Sign('{') => depth += 1,
            Token::Sign('}') => depth -= 1,
            Token::Word(_) | Token::PathSeparator | Token::Sign(_) => {}
        }
        depth == 0
    });
    closes.unwrap_or(tokens.len())
}

/// Leaves out the parentheses of `pub(in crate::session)`, which name no item.
fn without_visibility(tokens: Vec<(usize, Token)>) -> Vec<(usize, Token)> {
    let mut kept: Vec<(usize, Token)> = Vec::new();
    let mut depth = 0_usize;
    for (line, token) in tokens {
        let follows_pub = kept.last().is_some_and(|(_, last)| *last == Token::Word("pub".to_owned()));
        match token {
            Token::Sign('(') if depth > 0 || follows_pub => depth += 1,
            Token::Sign(')') if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            token @ (Token::Word(_) | Token::PathSeparator | Token::Sign(_)) => kept.push((line, token)),
        }
    }
    kept
}

fn word(token: Token) -> Option<String> {
    match token {
        Token::Word(word) => Some(word),
        Token::PathSeparator | Token::Sign(_) => None,
    }
}

fn word_of(token: &Token) -> Option<String> {
    word(token.clone())
}

/// A shortest circle of each set of files that all lead to each other.
fn knots(edges: &Edges) -> Vec<Circle> {
    let mut circles = Vec::new();
    let mut known = BTreeSet::new();
    for file in edges.keys() {
        if known.contains(file) {
            continue;
        }
        if let Some(circle) = shortest_circle(edges, file) {
            let from_here = reachable(edges, file);
            known.extend(from_here.into_iter().filter(|other| reachable(edges, other).contains(file)));
            circles.push(circle);
        }
    }
    circles
}

fn reachable(edges: &Edges, file: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut waiting = vec![file.to_owned()];
    while let Some(file) = waiting.pop() {
        let next = edges.get(&file).into_iter().flat_map(BTreeMap::keys);
        waiting.extend(next.filter(|next| reached.insert((*next).clone())).cloned());
    }
    reached
}

fn shortest_circle(edges: &Edges, start: &str) -> Option<Circle> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(file) = waiting.pop_front() {
        for next in edges.get(file).into_iter().flat_map(BTreeMap::keys) {
            if came_from.contains_key(next.as_str()) {
                continue;
            }
            came_from.insert(next, file);
            if next == start {
                let mut files = vec![start];
                while files.len() == 1 || files[files.len() - 1] != start {
                    files.push(came_from[files[files.len() - 1]]);
                }
                files.reverse();
                let steps = files.windows(2).map(|pair| {
                    let (line, path) = &edges[pair[0]][pair[1]];
                    (pair[0].to_owned(), *line, path.clone())
                });
                return Some(steps.collect());
            }
            waiting.push_back(next);
        }
    }
    None
}

/// The circles of a crate whose files are given.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    circles(files[0].0, &|name| files.iter().find(|(file, _)| *file == name).map(|(_, source)| (*source).to_owned()))
}

#[test]
fn two_files_that_name_each_other_are_a_circle() {
    let lib = ("src/lib.rs", "pub mod m;");
    let module = ("src/m/mod.rs", "mod a;\nmod b;\npub use a::A;\npub use b::B;\n");
    let a = ("src/m/a.rs", "\nuse super::b::B;\npub struct A(B);");
    let b = ("src/m/b.rs", "pub struct B;\nfn f() { super::a::f() }");
    assert_eq!(found(&[lib, module, a, b]), ["circle: src/m/a.rs:2 names super::b::B, src/m/b.rs:2 names super::a::f"]);
    assert_eq!(found(&[lib, module, a, ("src/m/b.rs", "pub struct B;")]), [""; 0]);
}

#[test]
fn re_exports_are_followed_to_the_definition() {
    let lib = ("src/lib.rs", "pub mod m;");
    let module = ("src/m/mod.rs", "mod a;\nmod b;\nmod c;\npub use a::A;\npub use self::b::{B, C as D};");
    let a = ("src/m/a.rs", "use super::{B, D};\npub struct A(B, D);");
    let c = ("src/m/c.rs", "use crate::m::A;\npub struct C(A);");
    let circle = ["circle: src/m/a.rs:1 names super::D, src/m/c.rs:1 names crate::m::A"];
    assert_eq!(found(&[lib, module, a, ("src/m/b.rs", "pub use super::c::C;\npub struct B;"), c]), circle);
    let own = ("src/m/b.rs", "pub struct B;\npub struct C;");
    assert_eq!(found(&[lib, module, a, own, c]), [""; 0]);
}

#[test]
fn a_module_with_code_of_its_own_is_not_transparent() {
    let lib = ("src/lib.rs", "pub mod m;");
    let a = ("src/m/a.rs", "use super::M;\npub struct A(M);");
    let passes_on = ("src/m/mod.rs", "mod a;\npub use a::A;\npub struct M;");
    assert_eq!(found(&[lib, passes_on, a]), [""; 0], "what it only passes on is no edge");
    let uses = ("src/m/mod.rs", "mod a;\npub use a::A;\npub struct M(Option<Box<A>>);");
    assert_eq!(found(&[lib, uses, a]).len(), 1);
    let names = ("src/m/mod.rs", "mod a;\npub struct M;\nfn f() { a::g() }");
    assert_eq!(found(&[lib, names, a]).len(), 1);
}

#[test]
fn paths_are_followed_wherever_they_stand() {
    let lib = ("src/lib.rs", "mod a;\nmod b;");
    let b = ("src/b.rs", "pub(in crate::a) fn f() {}\nfn g() -> impl Sized + use<> {}");
    let bodies =
        ["use crate::b::f;", "use crate::b; fn g() { b::f() }", "fn g() { use crate::b::f; f() }", "use super::b::*;"];
    for body in bodies {
        assert_eq!(found(&[lib, ("src/a.rs", body), b]), [""; 0], "{body}");
        let back = ("src/b.rs", "use crate::a::g;");
        let back_and_code = format!("{}\npub fn f() {{}}", back.1);
        assert_eq!(
            found(&[lib, ("src/a.rs", &format!("{body} fn g() {{}}")), ("src/b.rs", &back_and_code)]).len(),
            1,
            "{body}"
        );
    }
}

#[test]
fn modules_inside_a_file_belong_to_it() {
    let lib = ("src/lib.rs", "mod a;\nmod b;");
    let a = ("src/a.rs", "mod inner { use super::X; pub fn f() { crate::b::g() } }\nstruct X;");
    assert_eq!(found(&[lib, a, ("src/b.rs", "fn g() {}")]), [""; 0]);
    assert_eq!(found(&[lib, a, ("src/b.rs", "fn g() { super::a::inner::f() }")]).len(), 1);
}

#[test]
fn tests_do_not_count() {
    let lib = ("src/lib.rs", "pub mod m;");
    let module = ("src/m/mod.rs", "mod a;\nmod b;");
    let a = ("src/m/a.rs", "use super::b::B;\npub struct A(B);");
    let test = ("src/m/b.rs", "pub struct B;\n#[cfg(test)]\nmod tests { use super::super::a::A; }");
    assert_eq!(found(&[lib, module, a, test]), [""; 0]);
    let files = [lib, module, a, ("src/m/b.rs", "use super::a::A;\npub struct B(Box<A>);")];
    assert_eq!(found(&files).len(), 1);
}

#[test]
fn what_can_t_be_followed_is_told() {
    let lib = ("src/lib.rs", "mod a;\nmod m;");
    let module = ("src/m/mod.rs", "mod b;");
    let a = ("src/a.rs", "use crate::m::B;\nfn f(_: B) {}");
    let expected = ["src/a.rs:1: crate::m::B: cannot be resolved to its definition"];
    assert_eq!(found(&[lib, module, a, ("src/m/b.rs", "pub struct B;")]), expected);
}

#[test]
fn a_knot_is_told_once_by_a_shortest_circle() {
    let lib = ("src/lib.rs", "mod a;\nmod b;\nmod c;\nmod d;\nmod e;");
    let files = [
        lib,
        ("src/a.rs", "fn f() { crate::b::f() }"),
        ("src/b.rs", "fn f() { crate::c::f(); crate::a::f() }"),
        ("src/c.rs", "fn f() { crate::a::f() }"),
        ("src/d.rs", "fn f() { crate::e::f() }"),
        ("src/e.rs", "fn f() { crate::d::f() }"),
    ];
    let circles = found(&files);
    assert_eq!(circles.len(), 2);
    assert_eq!(circles[0], "circle: src/a.rs:1 names crate::b::f, src/b.rs:1 names crate::a::f");
}
