//! A breadth-first traversal of a graph whose edge list is larger than RAM.
//!
//! ```text
//! cargo run --release -p outcore-library --example graph -- --edges 4M --budget 16M
//! ```

mod common;

use allocator_api2::vec::Vec as PagedVec;
use common::{Peak, Random, arguments, heap};
use outcore::Heap;

/// From, to.
type Edge = (u32, u32);

const UNSEEN: u32 = u32::MAX;

/// Random edges, of which each node has the same number on average, and a path through the
/// first hundred nodes, so that some are far away.
fn edges(heap: &Heap, nodes: u64, count: u64) -> PagedVec<Edge, Heap> {
    const PATH: u64 = 100;
    let mut random = Random(2);
    let mut edges = PagedVec::with_capacity_in(2 * count as usize, heap.clone());
    for number in 0..count {
        let (one, other) = if number < PATH.min(nodes - 1) {
            (number, number + 1)
        } else {
            (PATH.min(nodes - 1) + random.below(nodes - PATH.min(nodes - 1)), random.below(nodes))
        };
        // Nobody but its neighbours leads into the path.
        let other = if number >= PATH && other < PATH { PATH.min(nodes - 1) } else { other };
        edges.push((one as u32, other as u32));
        edges.push((other as u32, one as u32));
    }
    edges
}

fn main() {
    let [edge_count, nodes, budget] =
        arguments([("edges", 2 << 20), ("nodes", 200 << 10), ("budget", 8 << 20)]);
    let nodes = nodes.clamp(2, 1 << 31);
    let heap = heap(budget);
    let mut peak = Peak::default();

    let mut edges = edges(&heap, nodes, edge_count);
    peak.look(&heap);
    edges.sort_unstable();
    // Where each node's edges begin.
    let mut starts: PagedVec<u32, Heap> = PagedVec::with_capacity_in(nodes as usize + 1, heap.clone());
    let mut next = 0;
    for node in 0..=nodes {
        while edges.get(next).is_some_and(|edge| u64::from(edge.0) < node) {
            next += 1;
        }
        starts.push(next as u32);
    }

    let mut distances: PagedVec<u32, Heap> = PagedVec::with_capacity_in(nodes as usize, heap.clone());
    distances.resize(nodes as usize, UNSEEN);
    let mut frontier: PagedVec<u32, Heap> = PagedVec::new_in(heap.clone());
    frontier.push(0);
    distances[0] = 0;
    let (mut level, mut reached) = (0, 1u64);
    while !frontier.is_empty() {
        level += 1;
        let mut found: PagedVec<u32, Heap> = PagedVec::new_in(heap.clone());
        for node in frontier.iter().map(|node| *node as usize) {
            for (_, neighbour) in &edges[starts[node] as usize..starts[node + 1] as usize] {
                let distance = &mut distances[*neighbour as usize];
                if *distance == UNSEEN {
                    *distance = level;
                    found.push(*neighbour);
                }
            }
        }
        // In order of their edges, so that these are read in order.
        found.sort_unstable();
        reached += found.len() as u64;
        frontier = found;
    }
    peak.report(&heap);
    println!("{reached} of {nodes} nodes are reached, the farthest over {} edges", level - 1);

    // These hold of the right distances, and of no others.
    let mut closer = vec![false; nodes as usize];
    for (from, to) in &edges {
        let (one, other) = (distances[*from as usize], distances[*to as usize]);
        assert_eq!(one == UNSEEN, other == UNSEEN, "{from} and {to} are neighbours");
        assert!(one == UNSEEN || one.abs_diff(other) <= 1, "{from} and {to} are neighbours");
        closer[*from as usize] |= one != UNSEEN && other + 1 == one;
    }
    for (node, distance) in distances.iter().enumerate() {
        assert_eq!(*distance == 0, node == 0);
        assert!([0, UNSEEN].contains(distance) || closer[node], "nothing leads to {node}");
    }
    assert_eq!(distances.iter().filter(|distance| **distance != UNSEEN).count() as u64, reached);
    println!("every distance is right");
}
