//! A conformance page: lists of what specifications demand, checked against the tests that they name.
//!
//! A list is a text file, a statement a line: `number | whom it binds | what it says, in our words | the tests that fail when it is
//! violated`, or `- ` and the reason why there is none. The page is written when its test runs with `ALTHING_WRITE=1`; otherwise
//! it must be what it would be then.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// A page and what it is made of. Paths are relative to the root of the repository.
#[derive(Debug)]
pub struct Page {
    /// Where it is.
    pub path: &'static str,
    /// Its first lines, down to the table of sums.
    pub head: &'static str,
    /// What a list is of: the head of a column.
    pub subject: &'static str,
    /// The lists, in their order.
    pub lists: &'static [List],
    /// Files, and folders with all that is below them, in which the tests are.
    pub sources: &'static [&'static str],
}

/// All statements of one document.
#[derive(Debug)]
pub struct List {
    /// In the table of sums.
    pub name: &'static str,
    /// Of its chapter.
    pub title: &'static str,
    /// What stands before each number.
    pub prefix: &'static str,
    /// The list itself.
    pub text: &'static str,
}

/// One line of a list.
struct Statement<'a> {
    number: &'a str,
    binds: &'a str,
    text: &'a str,
    shown_by: ShownBy<'a>,
}

enum ShownBy<'a> {
    Tests(Vec<&'a str>),
    Nothing(&'a str),
}

/// The files in which a test of this name is.
type Tests = BTreeMap<String, Vec<PathBuf>>;

impl Page {
    /// Panics where a statement has neither a test nor a reason, or names a test that does not exist once.
    /// Answers all tests that are named.
    pub fn check(&self) -> BTreeSet<&'static str> {
        let tests = self.tests();
        let mut named = BTreeSet::new();
        for list in self.lists {
            let mut numbers = BTreeSet::new();
            for Statement { number, binds, shown_by, .. } in list.statements() {
                let place = format!("{}, {number}", list.name);
                assert!(numbers.insert(number), "{place} stands twice");
                match shown_by {
                    ShownBy::Tests(names) => {
                        for name in names {
                            let files = tests.get(name).map_or(0, Vec::len);
                            assert_eq!(files, 1, "{place}: tests that are named {name}");
                            named.insert(name);
                        }
                    }
                    ShownBy::Nothing(reason) => {
                        assert!(!reason.is_empty(), "{place}: no test and no reason");
                        assert!(binds == "client" || !reason.starts_with("binds the client"), "{place}");
                    }
                }
            }
        }
        named
    }

    /// The names of all tests.
    pub fn names(&self) -> BTreeSet<String> {
        self.tests().into_keys().collect()
    }

    /// Writes the page, if it is to be written, and panics where it is not what the lists say.
    pub fn compare(&self) {
        let (page, path) = (self.page(), root().join(self.path));
        if std::env::var_os("ALTHING_WRITE").is_some() {
            fs::write(&path, &page).expect("the page is written");
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == page, "{} is stale: run this test with ALTHING_WRITE=1", self.path);
    }

    fn page(&self) -> String {
        let tests = self.tests();
        let mut page = String::from(self.head);
        let subject = self.subject;
        put(
            &mut page,
            format_args!("\n| {subject} | statements | with a test | bind the client only | others without a test |\n"),
        );
        page += "|---|---|---|---|---|\n";
        for list in self.lists {
            let statements = list.statements();
            let tested = statements.iter().filter(|one| matches!(one.shown_by, ShownBy::Tests(_))).count();
            let untested = statements.iter().filter(|one| matches!(one.shown_by, ShownBy::Nothing(_)));
            let client = untested.filter(|one| one.binds == "client").count();
            let (all, rest) = (statements.len(), statements.len() - tested - client);
            put(&mut page, format_args!("| {} | {all} | {tested} | {client} | {rest} |\n", list.name));
        }
        for list in self.lists {
            let List { title, prefix, .. } = list;
            put(
                &mut page,
                format_args!("\n## {title}\n\n| statement | binds | in our words | shown by |\n|---|---|---|---|\n"),
            );
            for Statement { number, binds, text, shown_by } in list.statements() {
                let shown_by = match shown_by {
                    ShownBy::Nothing(reason) => format!("*{reason}*"),
                    ShownBy::Tests(names) => {
                        let links: Vec<_> = names.into_iter().map(|name| self.link(name, &tests)).collect();
                        links.join("<br>")
                    }
                };
                put(&mut page, format_args!("| {prefix}{number} | {binds} | {text} | {shown_by} |\n"));
            }
        }
        page
    }

    /// From the page to the file of a test.
    fn link(&self, name: &str, tests: &Tests) -> String {
        let [file] = &tests[name][..] else { panic!("tests that are named {name}") };
        let up = "../".repeat(self.path.matches('/').count());
        format!("[`{name}`]({up}{})", file.strip_prefix(root()).expect("below the root").display())
    }

    fn tests(&self) -> Tests {
        let mut tests = Tests::new();
        for source in self.sources {
            collect(&root().join(source), &mut tests);
        }
        tests
    }
}

impl List {
    fn statements(&self) -> Vec<Statement<'static>> {
        let lines = self.text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines.map(statement).collect()
    }
}

fn statement(line: &'static str) -> Statement<'static> {
    let fields: Vec<_> = line.split(" | ").collect();
    let [number, binds, text, shown_by] = fields[..] else { panic!("not four fields: {line}") };
    assert!(matches!(binds, "server" | "client" | "both"), "whom does it bind? {line}");
    let shown_by = match shown_by.strip_prefix("- ") {
        Some(reason) => ShownBy::Nothing(reason),
        None => ShownBy::Tests(shown_by.split(' ').collect()),
    };
    Statement { number, binds, text, shown_by }
}

/// Notes the tests of a file, or of all files below a folder.
fn collect(path: &Path, tests: &mut Tests) {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("a folder of tests").map(|entry| entry.expect("an entry").path());
        return entries.for_each(|entry| collect(&entry, tests));
    }
    if path.extension().is_none_or(|extension| extension != "rs") {
        return;
    }
    let source = fs::read_to_string(path).expect("a file of tests");
    let mut is_test = false;
    for line in source.lines().map(str::trim_start) {
        if let Some(signature) = line.strip_prefix("fn ").filter(|_| is_test) {
            let name = signature.split('(').next().unwrap_or_default();
            tests.entry(name.to_owned()).or_default().push(path.to_owned());
        }
        is_test = line == "#[test]";
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the testkit is a folder of the repository")
}

fn put(page: &mut String, text: std::fmt::Arguments) {
    page.write_fmt(text).expect("a string takes everything");
}
