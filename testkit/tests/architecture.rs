//! The rules of `ARCHITECTURE.md` as a failing test: which room may know which, where no IO, clock or
//! chance may be, and how long a file may get. Each rule is a function on names and text; at the end a
//! fixture shows for each one that it can fail.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What a room may depend on. A prefix that ends in `/` stands for every room below it.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("protocols/", &["core"]),
    ("store", &["core"]),
    ("net", &["core"]),
    ("cluster", &["core", "store"]),
    ("client", &["core", "protocols/", "store", "net"]),
    ("bench", &["core", "protocols/", "net"]),
    ("web", &["core", "protocols/", "net"]),
    ("server", &["core", "protocols/", "store", "net", "web", "cluster", "client", "bench"]),
    ("cli", &["core", "protocols/", "store", "net", "web", "cluster", "client", "bench", "server"]),
    ("testkit", &["core", "protocols/", "store"]),
];

/// Rooms that are pure functions of their arguments: time, entropy, bytes and disks are handed in.
const PURE: &[&str] = &["core", "protocols/", "store"];

/// The places in the store that touch a disk: its files, and copies of its directory.
const DISK: &[&str] = &["store/src/files.rs", "store/src/tools/copying.rs"];

/// What a pure room never names, and why.
const IMPURE: &[(&str, &str)] = &[
    ("tokio", "the driver owns the event loop"),
    ("mio", "the driver owns the event loop"),
    ("socket2", "sockets are the transport's"),
    ("TcpStream", "sockets are the transport's"),
    ("TcpListener", "sockets are the transport's"),
    ("UdpSocket", "sockets are the transport's"),
    ("UnixStream", "sockets are the transport's"),
    ("UnixListener", "sockets are the transport's"),
    ("UnixDatagram", "sockets are the transport's"),
    ("ToSocketAddrs", "it asks a name server"),
    ("std::fs", "files are behind the store's Disk"),
    ("std::env", "configuration is an argument"),
    ("std::process", "only the binary ends a process"),
    ("std::thread", "a shard is driven by its owner"),
    ("thread_local", "no global state"),
    ("static mut", "no global state"),
    ("println", "what is worth saying is an effect"),
    ("eprintln", "what is worth saying is an effect"),
    ("Instant", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("rand", "entropy is an argument"),
    ("getrandom", "entropy is an argument"),
    ("RandomState", "one seed gives one trace; hash with a fixed state"),
    ("collections::HashMap", "its order is random; use hashbrown with a fixed state"),
    ("collections::HashSet", "its order is random; use hashbrown with a fixed state"),
];

/// A longer file says why in its head.
const LINES_MAX: usize = 800;
const LONGER_BECAUSE: &str = "// Longer than 800 lines because";
const HEAD_LINES: usize = 30;

#[test]
fn rooms_depend_only_on_the_floors_below() {
    report(forbidden_arrows(&packages()));
}

#[test]
fn pure_rooms_know_no_io_clock_or_chance() {
    let mut broken = impure_dependencies(&packages());
    for file in sources().iter().filter(|file| file.is_pure_code()) {
        broken.extend(impure_words(&file.path, &file.text));
    }
    report(broken);
}

#[test]
fn pure_rooms_forbid_unsafe_code() {
    let sources = sources();
    let roots: Vec<_> = sources.iter().filter(|file| within(PURE, file.room()) && file.is_crate_root()).collect();
    assert!(roots.len() >= 3, "found the crate roots of {} pure rooms only", roots.len());
    report(roots.iter().flat_map(|file| unsafe_allowed(&file.path, &file.text)).collect());
}

#[test]
fn pure_rooms_say_why_they_may_panic() {
    report(
        sources()
            .iter()
            .filter(|file| file.is_pure_code())
            .flat_map(|file| unexplained_panics(&file.path, &file.text))
            .collect(),
    );
}

#[test]
fn files_are_short_or_say_why() {
    report(sources().iter().flat_map(|file| too_long(&file.path, &file.text)).collect());
}

fn report(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

// The rules.

fn forbidden_arrows(packages: &[Package]) -> Vec<String> {
    let mut broken = Vec::new();
    for package in packages {
        let Some((_, allowed)) = ARROWS.iter().find(|(room, _)| within(&[room], &package.room)) else {
            broken.push(format!("{}: a room that the architecture does not know", package.room));
            continue;
        };
        for Dependency { on, development } in &package.dependencies {
            let Some(target) = packages.iter().find(|other| other.name == *on) else { continue };
            let test_worlds = *development && target.room == "testkit";
            if !within(allowed, &target.room) && !test_worlds {
                broken.push(format!("{} → {}: a forbidden arrow", package.room, target.room));
            }
        }
    }
    broken
}

fn impure_dependencies(packages: &[Package]) -> Vec<String> {
    let mut broken = Vec::new();
    for package in packages.iter().filter(|package| within(PURE, &package.room)) {
        for dependency in package.dependencies.iter().filter(|dependency| !dependency.development) {
            if let Some((name, why)) = IMPURE.iter().find(|(name, _)| *name == dependency.on) {
                broken.push(format!("{} depends on {name}: {why}", package.room));
            }
        }
    }
    broken
}

fn impure_words(path: &str, source: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for (number, line) in without_tests(&code_of(source)).lines().enumerate() {
        for (word, why) in IMPURE {
            if has_word(line, word) || has_grouped_import(line, word) {
                broken.push(format!("{path}:{}: {word}: {why}", number + 1));
            }
        }
    }
    broken
}

fn unsafe_allowed(path: &str, source: &str) -> Vec<String> {
    if code_of(source).contains("#![forbid(unsafe_code)]") {
        return Vec::new();
    }
    vec![format!("{path}: no #![forbid(unsafe_code)]")]
}

fn unexplained_panics(path: &str, source: &str) -> Vec<String> {
    let code = without_tests(&code_of(source));
    let (code, written): (Vec<_>, Vec<_>) = (code.lines().collect(), source.lines().collect());
    let mut broken = Vec::new();
    for (number, line) in code.iter().enumerate() {
        let panics = line.contains(".unwrap()") || line.contains(".expect(") && !is_a_sentence(written[number]);
        if panics && !has_reason(&code, &written, number) {
            broken.push(format!("{path}:{}: unwrap or expect that does not say why it holds", number + 1));
        }
    }
    broken
}

fn too_long(path: &str, source: &str) -> Vec<String> {
    let lines = without_tests(&code_of(source)).trim_end().lines().count();
    let reason = source.lines().take(HEAD_LINES).any(|line| line.trim_start().starts_with(LONGER_BECAUSE));
    if lines <= LINES_MAX || reason {
        return Vec::new();
    }
    vec![format!("{path}: {lines} lines; split it, or say in its head: {LONGER_BECAUSE} …")]
}

// What the rules read.

struct Package {
    name: String,
    room: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    on: String,
    development: bool,
}

/// A Rust file, its path relative to the root, with `/`.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn room(&self) -> &str {
        let levels = if self.path.starts_with("protocols/") { 2 } else { 1 };
        self.path.match_indices('/').nth(levels - 1).map_or(&self.path, |(end, _)| &self.path[..end])
    }

    fn is_crate_root(&self) -> bool {
        self.path.ends_with("src/lib.rs")
    }

    fn is_pure_code(&self) -> bool {
        let in_src = self.path[self.room().len()..].starts_with("/src/");
        // `#[cfg(test)] mod tests;` in a file of its own.
        let tests = self.path.ends_with("/tests.rs");
        within(PURE, self.room()) && in_src && !tests && !DISK.contains(&&self.path[..])
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let root = text(&metadata["workspace_root"]) + "/";
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages
        .iter()
        .map(|package| Package {
            name: text(&package["name"]),
            room: text(&package["manifest_path"])
                .trim_start_matches(&root)
                .trim_end_matches("/Cargo.toml")
                .replace('\\', "/"),
            dependencies: package["dependencies"]
                .as_array()
                .expect("a list of dependencies")
                .iter()
                .map(|dependency| Dependency {
                    on: text(&dependency["name"]),
                    development: dependency["kind"] == "dev",
                })
                .collect(),
        })
        .collect()
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path: PathBuf = entry.expect("a readable entry").path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let relative = path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
                files.push(Source { path: relative, text: fs::read_to_string(&path).expect("UTF-8") });
            }
        }
    }
    assert!(files.len() > 10, "found {} sources only", files.len());
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn within(rooms: &[&str], room: &str) -> bool {
    rooms.iter().any(|allowed| if allowed.ends_with('/') { room.starts_with(allowed) } else { room == *allowed })
}

fn has_word(line: &str, word: &str) -> bool {
    let part_of_a_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(part_of_a_name) && !line[at + word.len()..].starts_with(part_of_a_name))
}

/// `use std::{fs, thread}` says `std::fs` too.
fn has_grouped_import(line: &str, word: &str) -> bool {
    let Some((parent, name)) = word.rsplit_once("::") else { return false };
    line.split_once(&format!("{parent}::{{")).is_some_and(|(_, group)| has_word(group, name))
}

/// Whether the message of an `expect` on this line says why it holds; a word or two only name the thing.
fn is_a_sentence(written: &str) -> bool {
    const WORDS: usize = 4;
    let message = written.split_once(".expect(\"").and_then(|(_, rest)| rest.split_once('"'));
    message.is_some_and(|(message, _)| message.split_whitespace().count() >= WORDS)
}

/// Whether a comment stands on the statement that line `number` belongs to, or right above it.
fn has_reason(code: &[&str], written: &[&str], number: usize) -> bool {
    let comment = |line: usize| written[line].len() > code[line].trim_end().len() && written[line].contains("//");
    let ends_statement = |line: &str| line.trim_end().ends_with([';', '{', '}']) || line.trim().is_empty();
    let mut line = number;
    loop {
        if comment(line) {
            return true;
        }
        if line == 0 || (ends_statement(code[line - 1]) && !comment(line - 1)) {
            return false;
        }
        // A comment after the statement before belongs to that statement.
        if !code[line - 1].trim().is_empty() && ends_statement(code[line - 1]) {
            return false;
        }
        line -= 1;
    }
}

/// The source with comments cut off and the contents of strings and characters left out; every line stays.
fn code_of(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(next) = rest.chars().next() {
        let skipped = skippable(rest, code.chars().next_back());
        let taken = skipped.unwrap_or(next.len_utf8());
        if skipped.is_some() {
            code.extend(rest[..taken].matches('\n'));
            // A placeholder, so that what stood around a literal does not grow together.
            if !rest.starts_with('/') {
                code.push('"');
            }
        } else {
            code.push(next);
        }
        rest = &rest[taken..];
    }
    code
}

/// The length of the comment, string or character literal that `rest` begins with.
fn skippable(rest: &str, before: Option<char>) -> Option<usize> {
    let in_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    if rest.starts_with('"') {
        return Some(quoted(rest, '"'));
    }
    if let Some(inside) = rest.strip_prefix('\'') {
        // 'a' and '\n' are characters, 'a without a closing quote is a lifetime.
        let escaped = inside.starts_with('\\');
        let closed = inside.chars().nth(1) == Some('\'');
        return (escaped || closed).then(|| quoted(rest, '\''));
    }
    let raw = rest.strip_prefix("br").or(rest.strip_prefix('r')).filter(|_| !in_name)?;
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    let body = raw[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(rest.len() - body.len() + body.find(&close).map_or(body.len(), |end| end + close.len()))
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Code (see `code_of`) without its `#[cfg(test)]` items; what follows them keeps its line number
/// only when the tests stand last, as they do here.
fn without_tests(code: &str) -> String {
    let Some((before, tests)) = code.split_once("#[cfg(test)]") else { return code.to_owned() };
    let (mut depth, mut end) = (0, tests.len());
    for (at, c) in tests.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && (c == '}' || c == ';') {
            end = at + 1;
            break;
        }
    }
    before.to_owned() + &without_tests(&tests[end..])
}

// That each rule can fail.

fn package(room: &str, dependencies: &[(&str, bool)]) -> Package {
    let name = format!("althing-{}", room.rsplit('/').next().unwrap_or(room));
    let dependencies =
        dependencies.iter().map(|&(on, development)| Dependency { on: on.to_owned(), development }).collect();
    Package { name, room: room.to_owned(), dependencies }
}

#[test]
fn an_arrow_upwards_or_sideways_fails() {
    let house = |core: &[(&str, bool)], mqtt: &[(&str, bool)], server: &[(&str, bool)]| {
        forbidden_arrows(&[
            package("core", core),
            package("protocols/mqtt", mqtt),
            package("protocols/coap", &[("althing-core", false)]),
            package("net", &[("althing-core", false)]),
            package("server", server),
            package("testkit", &[("althing-core", false), ("althing-mqtt", false)]),
        ])
    };
    let to = |on| (on, false);
    assert_eq!(house(&[to("bytes")], &[to("althing-core")], &[to("althing-mqtt")]), Vec::<String>::new());
    assert_eq!(house(&[to("althing-net")], &[], &[]), ["core → net: a forbidden arrow"]);
    assert_eq!(house(&[], &[to("althing-coap")], &[]), ["protocols/mqtt → protocols/coap: a forbidden arrow"]);
    assert_eq!(house(&[], &[to("althing-net")], &[]), ["protocols/mqtt → net: a forbidden arrow"]);
    assert_eq!(house(&[], &[("althing-testkit", true)], &[]), Vec::<String>::new());
    assert_eq!(house(&[], &[], &[to("althing-testkit")]), ["server → testkit: a forbidden arrow"]);
    assert_eq!(forbidden_arrows(&[package("attic", &[])]), ["attic: a room that the architecture does not know"]);
}

#[test]
fn an_event_loop_in_a_pure_room_fails() {
    let depends = |room| impure_dependencies(&[package(room, &[("tokio", false)])]);
    assert_eq!(depends("core"), ["core depends on tokio: the driver owns the event loop"]);
    assert_eq!(depends("protocols/mqtt").len(), 1);
    assert_eq!(depends("net"), Vec::<String>::new());
}

#[test]
fn io_a_clock_or_chance_fails() {
    let impure = |source| impure_words("core/src/a.rs", source);
    assert_eq!(impure("\nlet at = Instant::now();"), ["core/src/a.rs:2: Instant: time is an argument"]);
    for source in [
        "use std::fs;",
        "use std::{fmt, thread};",
        "let s = std::net::TcpStream::connect(a);",
        "tokio::spawn(f);",
        "let x = rand::random();",
        "use std::time::{Duration, SystemTime};",
        "use std::collections::{BTreeMap, HashMap};",
        "println!(\"{x}\");",
        "let quote = '\"'; let at = Instant::now(); // \"",
        "let text = r#\"a \" b\"#; let at = Instant::now();",
    ] {
        assert_eq!(impure(source).len(), 1, "{source}");
    }
    for source in [
        "use std::net::SocketAddr;",
        "// Instant::now is the caller's",
        "let brand = \"rand\";",
        "/* std::fs /* nested */ rand */ fn f<'a>(operand: &'a str) {}",
        "use std::collections::BTreeMap;",
        "fn f() {}\n#[cfg(test)]\nmod tests { use std::fs; fn g() { let c = '}'; println!(\"}\"); } }",
    ] {
        assert_eq!(impure(source), Vec::<String>::new(), "{source}");
    }
}

#[test]
fn a_crate_root_that_does_not_forbid_unsafe_code_fails() {
    assert_eq!(unsafe_allowed("core/src/lib.rs", "#![forbid(unsafe_code)]\nmod a;"), Vec::<String>::new());
    assert_eq!(unsafe_allowed("core/src/lib.rs", "// #![forbid(unsafe_code)]\nmod a;").len(), 1);
}

#[test]
fn a_panic_without_a_reason_fails() {
    let panics = |source| unexplained_panics("core/src/a.rs", source).len();
    assert_eq!(panics("fn f() {\n    a.unwrap();\n}"), 1);
    assert_eq!(panics("fn f() {\n    a\n        .b()\n        .expect(\"b\");\n}"), 1);
    assert_eq!(panics("// what f is\nfn f() {\n    a.unwrap();\n}"), 1);
    assert_eq!(panics("fn f() {\n    let b = 1; // one\n    a.unwrap();\n}"), 1);
    assert_eq!(panics("fn f() {\n    // `a` was filled above.\n    a.unwrap();\n}"), 0);
    assert_eq!(panics("fn f() {\n    // `a` was filled above.\n    a\n        .b()\n        .expect(\"b\");\n}"), 0);
    assert_eq!(panics("fn f() {\n    a.expect(\"filled in three lines above\");\n}"), 0);
    assert_eq!(panics("fn f() {\n    a.unwrap(); // `a` was filled above.\n}"), 0);
    assert_eq!(panics("fn f() {}\n#[cfg(test)]\nmod tests { fn g() { a.unwrap(); } }"), 0);
}

#[test]
fn a_file_too_long_without_a_reason_fails() {
    let lines = |count: usize| {
        (0..count).fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "const A{line}: u8 = 0;");
            text
        })
    };
    let length = |source: &str| too_long("core/src/a.rs", source).len();
    assert_eq!(length(&lines(LINES_MAX)), 0);
    assert_eq!(length(&lines(LINES_MAX + 1)), 1);
    assert_eq!(length(&format!("{LONGER_BECAUSE} it is a table.\n{}", lines(LINES_MAX))), 0);
    assert_eq!(length(&format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", lines(LINES_MAX), lines(500))), 0);
    assert_eq!(length(&format!("{}#[cfg(test)]\nmod tests {{\n}}\n{}", lines(500), lines(500))), 1);
}
