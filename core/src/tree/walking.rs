//! Walking a tree node by node: up to its root, and from one child to the next.

use super::{NONE, NodeId, ROOT, Tree, Vacant};

impl NodeId {
    /// The slot of the node, for those who name it outside.
    pub fn slot(self) -> u32 {
        self.0
    }
}

impl<T: Default + Vacant> Tree<T> {
    /// The node in a slot; `None` for the root, for free slots, and beyond the end.
    pub fn node(&self, slot: u32) -> Option<NodeId> {
        let node = self.nodes.get(slot as usize)?;
        (slot != ROOT && node.parent != slot).then_some(NodeId(slot))
    }

    /// The node above; `None` on the first level.
    pub fn parent(&self, id: NodeId) -> Option<NodeId> {
        let parent = self.live(id.0).parent;
        (parent != ROOT).then_some(NodeId(parent))
    }

    /// The last level of the path that leads to a node.
    pub fn level(&self, id: NodeId) -> &str {
        // Levels are whole slices of `&str`, cut at `/` alone.
        std::str::from_utf8(self.live(id.0).level.as_bytes()).unwrap_or_default()
    }

    /// The youngest of the nodes below `id`; without one, of those on the first level.
    pub fn first_child(&self, id: Option<NodeId>) -> Option<NodeId> {
        let child = self.live(id.map_or(ROOT, |id| id.0)).first_child;
        (child != NONE).then_some(NodeId(child))
    }

    /// The next older one of the same parent.
    pub fn next_sibling(&self, id: NodeId) -> Option<NodeId> {
        let next = self.live(id.0).next;
        (next != NONE).then_some(NodeId(next))
    }
}
