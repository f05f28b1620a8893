//! The rules of a policy, found by whom they are for and by their topics.
//!
//! Each rule is in one table: that of the user, client or group that it names, or everyone's. A table of more than a few rules
//! has a tree of their patterns, in which `%u` and `%c` stand for any level. So what is found is more than what
//! speaks, and each rule found is asked; the first in the policy's order decides, whatever table it is in.

use super::{Action, Asker, Rule, User};
use crate::tree::{NodeId, Tree, Vacant};
use bytestring::ByteString;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Up to so many rules are asked one after the other sooner than a tree is.
const FEW: usize = 6;
/// What one question may visit in a tree before all rules of its table are asked instead.
const VISITS_MAX: usize = 1_024;
/// Everyone's table.
const EVERYONE: u32 = 0;
/// Keys the trees' hashes: their patterns are the operator's own, so nobody can prepare them.
const SEED: u64 = 0x616c_7468_696e_6721;

/// Tables by number, for one principal.
pub(crate) type Tables = SmallVec<[u32; 4]>;

#[derive(Debug)]
pub(crate) struct Index {
    tables: Vec<Table>,
    users: BTreeMap<ByteString, u32>,
    clients: BTreeMap<ByteString, u32>,
    groups: BTreeMap<ByteString, u32>,
    /// Memory for what a tree finds, used again.
    found: RefCell<Vec<NodeId>>,
}

/// Rules by their places in the policy, in order.
#[derive(Debug, Default)]
struct Table {
    places: Vec<u32>,
    tree: Option<Box<Tree<Places>>>,
    /// Those that are not in the tree.
    loose: Vec<u32>,
}

/// Rules with the same pattern, in order.
#[derive(Debug, Default)]
struct Places(SmallVec<[u32; 2]>);

impl Vacant for Places {
    fn is_vacant(&self) -> bool {
        self.0.is_empty()
    }
}

impl Index {
    pub fn new(rules: &[Rule]) -> Self {
        let mut index = Self {
            tables: vec![Table::default()],
            users: BTreeMap::new(),
            clients: BTreeMap::new(),
            groups: BTreeMap::new(),
            found: RefCell::default(),
        };
        for (place, rule) in rules.iter().enumerate() {
            let table = index.table_for(rule);
            index.tables[table as usize].places.push(place as u32);
        }
        for table in &mut index.tables {
            table.grow_tree(rules);
        }
        index
    }

    /// The table of a rule, made when there is none. The name says most, so it goes first.
    fn table_for(&mut self, rule: &Rule) -> u32 {
        let next = self.tables.len() as u32;
        let who = &rule.who;
        let table = match (&who.user, &who.client, &who.group) {
            (User::Named(name), ..) => *self.users.entry(name.clone()).or_insert(next),
            (_, Some(client), _) => *self.clients.entry(client.clone()).or_insert(next),
            (_, _, Some(group)) => *self.groups.entry(group.clone()).or_insert(next),
            _ => EVERYONE,
        };
        if table == next {
            self.tables.push(Table::default());
        }
        table
    }

    /// The tables with all the rules that may be for them.
    pub fn tables_of(&self, asker: &Asker<'_>) -> Tables {
        let principal = asker.principal;
        let mut tables = Tables::new();
        tables.push(EVERYONE);
        tables.extend(principal.name().and_then(|name| self.users.get(name)).copied());
        tables.extend(self.clients.get(&principal.client).copied());
        if asker.may_be_in_more_groups() {
            tables.extend(self.groups.values().copied());
        } else if !self.groups.is_empty() {
            let groups = principal.identity.groups.iter().chain(asker.groups);
            tables.extend(groups.filter_map(|group| self.groups.get(group)).copied());
        }
        tables
    }

    /// The first of all rules in these tables that speaks.
    pub fn first<'a>(
        &self,
        rules: &'a [Rule],
        tables: &Tables,
        asker: &Asker<'_>,
        action: Action<'_>,
    ) -> Option<&'a Rule> {
        let mut first = u32::MAX;
        for table in tables {
            let table = &self.tables[*table as usize];
            let is_searched = table.tree.as_ref().is_some_and(|tree| {
                let mut found = self.found.borrow_mut();
                found.clear();
                let searched = match action {
                    Action::Publish { topic, .. } | Action::Configure(topic) | Action::Receive(topic) => {
                        tree.matching(topic, VISITS_MAX, &mut found)
                    }
                    Action::Subscribe(filter) => tree.overlapping(filter.pattern(), VISITS_MAX, &mut found),
                };
                let is_exact = !matches!(action, Action::Subscribe(_));
                for node in found.iter() {
                    first = first_of(&tree.value(*node).0, rules, first, |rule| {
                        rule.concerns(asker, action)
                            && (is_exact && rule.pattern.is_fixed() || rule.has_topics_of(asker, action))
                    });
                }
                searched.is_ok()
            });
            let asked = if is_searched { &table.loose } else { &table.places };
            first = first_of(asked, rules, first, |rule| rule.speaks_of(asker, action));
        }
        rules.get(first as usize)
    }
}

impl Table {
    fn grow_tree(&mut self, rules: &[Rule]) {
        if self.places.len() <= FEW {
            return;
        }
        let mut tree = Tree::<Places>::new(SEED);
        for place in &self.places {
            match rules[*place as usize].pattern.for_anybody() {
                Some(pattern) => {
                    let node = tree.insert(&pattern);
                    tree.value_mut(node).0.push(*place);
                }
                None => self.loose.push(*place),
            }
        }
        self.tree = Some(Box::new(tree));
    }
}

/// The first of these places, in order, whose rule speaks, if it is before `first`; else `first`.
fn first_of(places: &[u32], rules: &[Rule], first: u32, speaks: impl Fn(&Rule) -> bool) -> u32 {
    let before = places.iter().copied().take_while(|place| *place < first);
    before.into_iter().find(|place| speaks(&rules[*place as usize])).unwrap_or(first)
}
