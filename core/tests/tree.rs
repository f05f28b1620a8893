//! The tree against the naive matcher and a plain map; its bounds on memory, depth and work.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use althing_core::topic::TopicLimits;
use althing_core::tree::{NodeId, TooManyVisits, Tree, Vacant};
use althing_core::{Filter, Topic};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What subscriptions will keep in a node: a small number.
#[derive(Default)]
struct Slot(u32);

impl Vacant for Slot {
    fn is_vacant(&self) -> bool {
        self.0 == 0
    }
}

const DEEP: TopicLimits = TopicLimits { length_bytes_max: 65_535, levels_max: 65_536 };
const UNBOUNDED: usize = usize::MAX;

fn topic(name: &str) -> Topic {
    Topic::new(name.into(), &DEEP).unwrap()
}

fn filter(text: &str) -> Filter {
    Filter::new(text.into(), &DEEP).unwrap()
}

fn tree_of<'a>(paths: impl IntoIterator<Item = &'a str>) -> Tree<Slot> {
    let mut tree = Tree::<Slot>::new(7);
    for path in paths {
        let node = tree.insert(path);
        tree.value_mut(node).0 = 1;
    }
    tree
}

/// The paths of the nodes; fails when one was found twice.
fn paths(tree: &Tree<Slot>, found: &[NodeId]) -> BTreeSet<String> {
    let paths: BTreeSet<String> = found.iter().map(|&node| tree.path(node)).collect();
    assert_eq!(paths.len(), found.len(), "a node was found twice");
    paths
}

fn matching(tree: &Tree<Slot>, name: &str) -> BTreeSet<String> {
    let mut found = Vec::new();
    tree.matching(&topic(name), UNBOUNDED, &mut found).unwrap();
    paths(tree, &found)
}

fn select(tree: &Tree<Slot>, pattern: &str) -> BTreeSet<String> {
    let mut found = Vec::new();
    tree.select(pattern, UNBOUNDED, &mut found).unwrap();
    paths(tree, &found)
}

fn set(paths: &[&str]) -> BTreeSet<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

#[test]
fn wildcards_match_as_the_specification_says() {
    let tree = tree_of(["sport/#", "sport/+", "sport", "#", "+", "+/+", "/+", "/", "$SYS/#", "$SYS/+", "sport/a/b"]);
    assert_eq!(matching(&tree, "sport"), set(&["sport/#", "sport", "#", "+"]));
    assert_eq!(matching(&tree, "sport/"), set(&["sport/#", "sport/+", "#", "+/+"]));
    assert_eq!(matching(&tree, "sport/a/b"), set(&["sport/#", "sport/a/b", "#"]));
    assert_eq!(matching(&tree, "/finance"), set(&["#", "+/+", "/+"]));
    assert_eq!(matching(&tree, "/"), set(&["#", "+/+", "/+", "/"]));
    assert_eq!(matching(&tree, "$SYS"), set(&["$SYS/#"]));
    assert_eq!(matching(&tree, "$SYS/a"), set(&["$SYS/#", "$SYS/+"]));
}

#[test]
fn patterns_select_as_the_specification_says() {
    let tree = tree_of(["sport", "sport/", "sport/a", "sport/a/b", "/", "$SYS/a", "$SYS"]);
    assert_eq!(select(&tree, "#"), set(&["sport", "sport/", "sport/a", "sport/a/b", "/"]));
    assert_eq!(select(&tree, "sport/#"), set(&["sport", "sport/", "sport/a", "sport/a/b"]));
    assert_eq!(select(&tree, "sport/+"), set(&["sport/", "sport/a"]));
    assert_eq!(select(&tree, "+"), set(&["sport"]));
    assert_eq!(select(&tree, "+/a"), set(&["sport/a"]));
    assert_eq!(select(&tree, "$SYS/#"), set(&["$SYS", "$SYS/a"]));
    assert_eq!(select(&tree, "$SYS/+"), set(&["$SYS/a"]));
    assert_eq!(select(&tree, "sport/a/b"), set(&["sport/a/b"]));
    assert_eq!(select(&tree, "sport/a/b/c"), set(&[]));
}

#[test]
fn nodes_without_a_value_are_never_found() {
    let tree = tree_of(["a/b/c", "a/+/c/d"]);
    assert_eq!(matching(&tree, "a/b"), set(&[]));
    assert_eq!(select(&tree, "a/#"), set(&["a/b/c", "a/+/c/d"]));
    assert_eq!(tree.len(), 6);
}

#[test]
fn a_pruned_branch_is_freed_up_to_the_first_ancestor_in_use() {
    let mut tree = tree_of(["a", "a/b/c/d", "a/b/+/#"]);
    assert_eq!(tree.len(), 6);
    let leaf = tree.find("a/b/c/d").unwrap();
    tree.prune(leaf);
    assert_eq!(tree.len(), 6, "a value is not freed");
    tree.value_mut(leaf).0 = 0;
    tree.prune(leaf);
    assert_eq!(tree.len(), 4);
    assert_eq!(tree.find("a/b/c"), None);
    let wildcard = tree.find("a/b/+/#").unwrap();
    tree.value_mut(wildcard).0 = 0;
    tree.prune(wildcard);
    assert_eq!(tree.len(), 1);
    assert_eq!(matching(&tree, "a/b/c/d"), set(&[]));
    assert_eq!(matching(&tree, "a"), set(&["a"]));
}

#[test]
fn freed_slots_are_used_again() {
    let mut tree = Tree::<Slot>::new(1);
    let mut bytes = 0;
    for round in 0..50 {
        let nodes: Vec<NodeId> =
            (0..1_000).map(|i| tree.insert(&format!("round/{round}/{i}/a level that is long"))).collect();
        nodes.into_iter().for_each(|node| tree.prune(node));
        assert!(tree.is_empty());
        if round == 0 {
            bytes = tree.heap_bytes();
        }
        assert_eq!(tree.heap_bytes(), bytes);
    }
}

#[test]
fn a_leaf_costs_less_than_110_bytes() {
    let mut tree = Tree::<Slot>::new(1);
    for i in 0..100_000 {
        let filter = match i % 5 {
            0 => format!("bench/{}/device{i}/+", i % 100),
            1 => format!("bench/{}/device{i}/#", i % 100),
            _ => format!("bench/{}/device{i}", i % 100),
        };
        let node = tree.insert(&filter);
        tree.value_mut(node).0 = 1;
    }
    // Two of five have a node for `device…` and one for the wildcard: 140,000 nodes.
    let bytes = tree.heap_bytes() / 100_000;
    assert!(bytes <= 110, "{bytes} bytes a filter");
}

#[test]
fn deep_paths_need_no_stack() {
    // A stack of 64 KiB: a call a level would not fit for 128 levels of some hundred bytes, and
    // certainly not for the 32,768 that the length of a topic allows.
    let run = || {
        for levels in [128, 32_768] {
            let name = vec!["a"; levels].join("/");
            let mut tree = tree_of([name.as_str(), &vec!["+"; levels].join("/"), "a/#"]);
            assert_eq!(matching(&tree, &name).len(), 3);
            assert_eq!(select(&tree, "#").len(), 3);
            assert_eq!(select(&tree, &name), BTreeSet::from([name.clone()]));
            let node = tree.find(&name).unwrap();
            tree.value_mut(node).0 = 0;
            tree.prune(node);
            assert_eq!(tree.len(), levels + 2);
        }
    };
    std::thread::Builder::new().stack_size(64 << 10).spawn(run).unwrap().join().unwrap();
}

/// All patterns of `levels` levels that are each `a` or `+`: one name matches them all.
fn slow_tree(levels: u32) -> Tree<Slot> {
    let mut tree = Tree::<Slot>::new(1);
    for bits in 0..1_u32 << levels {
        let path: Vec<&str> = (0..levels).map(|level| if bits >> level & 1 == 1 { "+" } else { "a" }).collect();
        let node = tree.insert(&path.join("/"));
        tree.value_mut(node).0 = 1;
    }
    tree
}

#[test]
fn a_tree_built_to_be_slow_hits_the_bound() {
    let tree = slow_tree(12);
    let name = topic(&["a"; 12].join("/"));
    let mut found = vec![tree.find("a").unwrap()];
    assert_eq!(tree.matching(&name, 1_000, &mut found), Err(TooManyVisits));
    assert_eq!(found.len(), 1, "what was there stays, nothing is added");
    let nodes = tree.len() + 1;
    assert_eq!(tree.matching(&name, nodes - 1, &mut found), Err(TooManyVisits));
    assert_eq!(tree.matching(&name, nodes, &mut found), Ok(nodes));
    assert_eq!(found.len(), 1 + (1 << 12));

    let names = tree_of(["a/a", "a/b", "a/c", "b"]);
    let mut found = Vec::new();
    assert_eq!(names.select("#", 5, &mut found), Err(TooManyVisits));
    assert!(found.is_empty());
    assert_eq!(names.select("#", 6, &mut found), Ok(6));
    assert_eq!(names.select("a/a", 3, &mut found), Ok(3));
}

#[test]
fn the_same_calls_give_the_same_order() {
    let order = || {
        let tree = slow_tree(6);
        let mut found = Vec::new();
        tree.matching(&topic("a/a/a/a/a/a"), UNBOUNDED, &mut found).unwrap();
        found
    };
    assert_eq!(order(), order());
}

#[test]
fn a_scan_in_turns_sees_every_lasting_value_once() {
    let mut tree = Tree::<Slot>::new(1);
    for i in 0..100 {
        let node = tree.insert(&format!("lasting/{i}"));
        tree.value_mut(node).0 = 1;
    }
    let mut seen = BTreeMap::new();
    let mut slot = 0;
    while slot < tree.slots() {
        for (node, _) in tree.scan(slot..slot + 7) {
            *seen.entry(tree.path(node)).or_insert(0) += 1;
        }
        slot += 7;
        // Between the turns others come and go.
        let node = tree.insert(&format!("passing/{}", slot % 3));
        tree.value_mut(node).0 ^= 1;
        tree.prune(node);
    }
    seen.retain(|path, _| path.starts_with("lasting/"));
    assert_eq!(seen.len(), 100);
    assert!(seen.values().all(|&times| times == 1));
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "", "$x", "fourteen bytes", "fifteen  bytes."])
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..6).prop_map(|levels| levels.join("/")).prop_filter("not empty", |n| !n.is_empty())
}

fn pattern() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => level(), 2 => Just("+")];
    (prop::collection::vec(level, 0..6), prop::bool::weighted(0.3))
        .prop_map(|(mut levels, rest)| {
            if rest {
                levels.push("#");
            }
            levels.join("/")
        })
        .prop_filter("not empty", |pattern| !pattern.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn matching_agrees_with_the_naive_matcher(
        patterns in prop::collection::btree_set(pattern(), 0..40),
        names in prop::collection::vec(name(), 1..10),
    ) {
        let tree = tree_of(patterns.iter().map(String::as_str));
        for name in names {
            let expected: BTreeSet<String> =
                patterns.iter().filter(|pattern| filter(pattern).matches(&topic(&name))).cloned().collect();
            prop_assert_eq!(matching(&tree, &name), expected, "{}", name);
        }
    }

    #[test]
    fn selecting_agrees_with_the_naive_matcher(
        names in prop::collection::btree_set(name(), 0..40),
        patterns in prop::collection::vec(pattern(), 1..10),
    ) {
        let tree = tree_of(names.iter().map(String::as_str));
        for pattern in patterns {
            let expected: BTreeSet<String> =
                names.iter().filter(|name| filter(&pattern).matches(&topic(name))).cloned().collect();
            prop_assert_eq!(select(&tree, &pattern), expected, "{}", pattern);
        }
    }

    #[test]
    fn inserting_and_pruning_agree_with_a_map(
        steps in prop::collection::vec((pattern(), 0..3_u32), 1..200),
    ) {
        let mut tree = Tree::<Slot>::new(3);
        let mut model = BTreeMap::new();
        for (path, value) in steps {
            let node = tree.insert(&path);
            prop_assert_eq!(tree.value(node).0, model.get(&path).copied().unwrap_or(0));
            tree.value_mut(node).0 = value;
            tree.prune(node);
            if value == 0 {
                model.remove(&path);
            } else {
                model.insert(path, value);
            }
            let stored: BTreeMap<String, u32> =
                tree.scan(0..tree.slots()).map(|(node, value)| (tree.path(node), value.0)).collect();
            prop_assert_eq!(&stored, &model);
        }
        // As many nodes as the paths have different beginnings: no branch is left empty.
        let branches: BTreeSet<&str> = model
            .keys()
            .flat_map(|path| path.match_indices('/').map(|(end, _)| &path[..end]).chain([path.as_str()]))
            .collect();
        prop_assert_eq!(tree.len(), branches.len());
        for (path, value) in &model {
            prop_assert_eq!(tree.find(path).map(|node| tree.value(node).0), Some(*value));
        }
    }
}
