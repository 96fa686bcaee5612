//! Nodes that have been read, as many as are worth their memory.

use crate::node::Node;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Nodes that are kept: 4 MiB of them stand for half a GiB of pages.
const MOST: usize = 1024;

/// Nodes by their block.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    kept: Mutex<HashMap<u64, Arc<Node>>>,
}

impl Nodes {
    pub(crate) fn get(&self, block: u64) -> Option<Arc<Node>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&block).cloned()
    }

    /// Keeps it, in place of all others when there are too many: they are read again
    /// where they are needed, which costs one block each.
    pub(crate) fn keep(&self, block: u64, node: &Arc<Node>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(block, Arc::clone(node));
    }
}
