//! A hash join of two tables that are larger than RAM, by partitions.
//!
//! ```text
//! cargo run --release -p outcore-library --example join -- --rows 1M --budget 16M
//! ```

mod common;

use allocator_api2::vec::Vec as PagedVec;
use common::{Peak, Random, arguments, heap, mixed};
use hashbrown::HashMap;
use outcore::Heap;

/// A customer's number, and what is known of him.
type Customer = (u64, u64);
/// The customer's number, and the amount.
type Order = (u64, u64);

/// Parts of a table that are joined one after the other.
const PARTS: usize = 32;

type Table = PagedVec<(u64, u64), Heap>;

fn parts(heap: &Heap, rows: usize) -> Vec<Table> {
    let room = rows / PARTS + rows / PARTS / 8 + 16;
    (0..PARTS).map(|_| PagedVec::with_capacity_in(room, heap.clone())).collect()
}

fn split(heap: &Heap, table: Table) -> Vec<Table> {
    let mut parts = parts(heap, table.len());
    for row in &table {
        parts[(mixed(row.0) >> 59) as usize].push(*row);
    }
    parts
}

fn main() {
    let [rows, budget] = arguments([("rows", 400 << 10), ("budget", 6 << 20)]);
    let heap = heap(budget);
    let mut peak = Peak::default();

    // Customers have numbers that say nothing; every order is of one of them, or of nobody.
    let customer = |number: u64| mixed(number ^ 0x5bd1_e995);
    let mut random = Random(3);
    let mut customers: PagedVec<Customer, Heap> = PagedVec::with_capacity_in(rows as usize, heap.clone());
    customers.extend((0..rows).map(|number| (customer(number), number % 97)));
    let mut orders: PagedVec<Order, Heap> = PagedVec::with_capacity_in(3 * rows as usize, heap.clone());
    let (mut expected, mut matches) = ([0u64; 97], 0u64);
    for _ in 0..3 * rows {
        // One in eight is of nobody.
        let (number, amount) = (random.below(rows + rows / 7), random.below(1000));
        orders.push((customer(number), amount));
        if number < rows {
            expected[(number % 97) as usize] += amount;
            matches += 1;
        }
    }
    peak.look(&heap);

    let customers = split(&heap, customers);
    let orders = split(&heap, orders);
    peak.look(&heap);
    let (mut sums, mut joined) = ([0u64; 97], 0u64);
    for (customers, orders) in customers.into_iter().zip(orders) {
        let mut known = HashMap::with_capacity_in(customers.len(), heap.clone());
        known.extend(customers.iter().copied());
        for (number, amount) in &orders {
            if let Some(region) = known.get(number) {
                sums[*region as usize] += amount;
                joined += 1;
            }
        }
    }
    peak.report(&heap);
    assert_eq!((joined, sums), (matches, expected));
    println!("{joined} of {} orders are joined with {rows} customers, and their sums are right", 3 * rows);
}
