//! Patterns asked with a pattern.

use super::{NONE, NodeId, ROOT, TooManyVisits, Tree, Vacant, WHOLE};
use smallvec::SmallVec;

impl<T: Default + Vacant> Tree<T> {
    /// Finds the patterns with a value for which there may be a topic that they and `pattern` both match; perhaps a
    /// few others, and some twice. Returns how many nodes were visited.
    pub fn overlapping(
        &self,
        pattern: &str,
        visits_max: usize,
        found: &mut Vec<NodeId>,
    ) -> Result<usize, TooManyVisits> {
        let levels = self.levels(pattern);
        let found_before = found.len();
        let mut visits = 0;
        let mut stack: SmallVec<[(u32, u32); 16]> = SmallVec::new();
        stack.push((ROOT, 0));
        while let Some((index, depth)) = stack.pop() {
            if index == NONE {
                continue;
            }
            if visits == visits_max {
                found.truncate(found_before);
                return Err(TooManyVisits);
            }
            visits += 1;
            let node = self.live(index);
            if node.hash != NONE {
                self.push_if_occupied(node.hash, found);
            }
            let (is_end, children_depth) = match levels.get(depth as usize) {
                None => (true, (depth == WHOLE).then_some(WHOLE)),
                Some(&(b"#", _)) => (true, Some(WHOLE)),
                Some(&(b"+", _)) => (false, Some(depth + 1)),
                Some(&(level, hash)) => {
                    stack.push((node.plus, depth + 1));
                    stack.push((self.ordinary_child(index, level, hash), depth + 1));
                    (false, None)
                }
            };
            if is_end && index != ROOT {
                self.push_if_occupied(index, found);
            }
            if let Some(depth) = children_depth {
                let mut child = node.first_child;
                while child != NONE {
                    stack.push((child, depth));
                    child = self.live(child).next;
                }
            }
        }
        Ok(visits)
    }
}
