//! Physical memory: bytes in frames.

use pager::FrameNo;

/// The bytes of every frame. A frame that was never filled takes no host memory.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    frames: Vec<Vec<u8>>,
    page_size: usize,
}

impl Memory {
    pub(crate) fn new(frames: usize, page_size: usize) -> Self {
        let mut memory = Self { frames: vec![Vec::new(); frames], page_size };
        memory.fill(FrameNo(0), 0);
        memory
    }

    pub(crate) fn bytes(&self, frame: FrameNo) -> &[u8] {
        &self.frames[frame.0 as usize]
    }

    pub(crate) fn bytes_mut(&mut self, frame: FrameNo) -> &mut [u8] {
        let bytes = &mut self.frames[frame.0 as usize];
        if bytes.is_empty() {
            bytes.resize(self.page_size, 0);
        }
        bytes
    }

    pub(crate) fn fill(&mut self, frame: FrameNo, byte: u8) {
        self.bytes_mut(frame).fill(byte);
    }
}
