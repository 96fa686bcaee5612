//! A general heap for tests.

mod mapping;

pub(crate) use mapping::Mapping;

/// A heap that lives as long as the test's process: threads share it.
pub(crate) fn heap(source: Mapping) -> (&'static heap::Heap<&'static Mapping>, &'static Mapping) {
    let source: &'static Mapping = Box::leak(Box::new(source));
    (Box::leak(Box::new(heap::Heap::new(source))), source)
}
