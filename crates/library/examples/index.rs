#![expect(unsafe_code, reason = "makes a boxed string of boxed bytes")]
//! An inverted index of a text that is larger than RAM, and queries of it.
//!
//! ```text
//! cargo run --release -p outcore-library --example index -- --documents 50K --budget 16M
//! ```

mod common;

use allocator_api2::boxed::Box as PagedBox;
use allocator_api2::vec::Vec as PagedVec;
use common::{Peak, Random, arguments, heap, mixed};
use hashbrown::HashMap;
use outcore::Heap;

/// Different words of the language.
const WORDS: u64 = 20_000;
/// Words of a document.
const LENGTH: u64 = 100;
const QUERIES: u64 = 200;

/// Of a document: few words are frequent, most are rare.
fn words(document: u64) -> impl Iterator<Item = u64> {
    let mut random = Random(mixed(document));
    (0..LENGTH).map(move |_| {
        let part = random.below(1 << 20) as f64 / (1u64 << 20) as f64;
        (WORDS as f64).powf(part) as u64
    })
}

fn spelled(word: u64) -> String {
    format!("{:x}", mixed(word) >> 20)
}

struct Index {
    /// The number of each word.
    numbers: HashMap<PagedBox<str, Heap>, u32, hashbrown::DefaultHashBuilder, Heap>,
    /// Where the documents of each word begin in `documents`.
    starts: PagedVec<u32, Heap>,
    documents: PagedVec<u32, Heap>,
}

impl Index {
    /// Of a text with a document in each line.
    fn new(heap: &Heap, text: &[u8], peak: &mut Peak) -> Self {
        let mut numbers = HashMap::new_in(heap.clone());
        let mut pairs: PagedVec<(u32, u32), Heap> = PagedVec::new_in(heap.clone());
        for (document, line) in text.split(|byte| *byte == b'\n').enumerate() {
            for word in line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()) {
                let word = core::str::from_utf8(word).expect("the text is ASCII");
                let number = match numbers.get(word) {
                    Some(number) => *number,
                    None => {
                        let number = numbers.len() as u32;
                        numbers.insert(boxed(heap, word), number);
                        number
                    }
                };
                pairs.push((number, document as u32));
            }
        }
        peak.look(heap);
        pairs.sort_unstable();
        pairs.dedup();
        let mut starts = PagedVec::with_capacity_in(numbers.len() + 1, heap.clone());
        let mut documents = PagedVec::with_capacity_in(pairs.len(), heap.clone());
        for (number, document) in &pairs {
            while starts.len() <= *number as usize {
                starts.push(documents.len() as u32);
            }
            documents.push(*document);
        }
        starts.push(documents.len() as u32);
        peak.look(heap);
        Self { numbers, starts, documents }
    }

    /// The documents that have a word, in order.
    fn documents(&self, word: &str) -> &[u32] {
        let Some(number) = self.numbers.get(word) else { return &[] };
        let number = *number as usize;
        &self.documents[self.starts[number] as usize..self.starts[number + 1] as usize]
    }

    /// Those that have both.
    fn both(&self, one: &str, other: &str) -> Vec<u32> {
        let others = self.documents(other);
        let has = |document: &&u32| others.binary_search(document).is_ok();
        self.documents(one).iter().filter(has).copied().collect()
    }
}

fn boxed(heap: &Heap, text: &str) -> PagedBox<str, Heap> {
    let mut bytes: PagedVec<u8, Heap> = PagedVec::with_capacity_in(text.len(), heap.clone());
    bytes.extend_from_slice(text.as_bytes());
    let (bytes, heap) = PagedBox::into_raw_with_allocator(bytes.into_boxed_slice());
    // SAFETY: the bytes are those of a string, in a box of this heap.
    unsafe { PagedBox::from_raw_in(bytes as *mut str, heap) }
}

fn main() {
    let [documents, budget] = arguments([("documents", 20 << 10), ("budget", 8 << 20)]);
    let heap = heap(budget);
    let mut peak = Peak::default();
    let mut text: PagedVec<u8, Heap> = PagedVec::new_in(heap.clone());
    for document in 0..documents {
        for word in words(document) {
            text.extend_from_slice(spelled(word).as_bytes());
            text.push(b' ');
        }
        text.push(b'\n');
    }
    let index = Index::new(&heap, &text, &mut peak);
    let postings = index.documents.len();
    let mut random = Random(4);
    let queries: Vec<[u64; 2]> =
        (0..QUERIES).map(|_| [1 + random.below(50), 1 + random.below(WORDS / 20)]).collect();
    let answers: Vec<Vec<u32>> =
        queries.iter().map(|[one, other]| index.both(&spelled(*one), &spelled(*other))).collect();
    peak.report(&heap);

    // The same without an index.
    let mut expected = vec![Vec::new(); queries.len()];
    for document in 0..documents {
        let mut has = vec![false; WORDS as usize + 1];
        words(document).for_each(|word| has[word as usize] = true);
        for (found, [one, other]) in expected.iter_mut().zip(&queries) {
            if has[*one as usize] && has[*other as usize] {
                found.push(document as u32);
            }
        }
    }
    assert_eq!(answers, expected);
    let hits: usize = answers.iter().map(Vec::len).sum();
    println!(
        "{postings} places of {} words; {QUERIES} queries find {hits} documents, as a search of the text does",
        index.numbers.len()
    );
}
