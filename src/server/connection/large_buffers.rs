use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// The unused buffers of large packets of a thread. New memory of this size costs a page fault for every 4 KiB, more than the system calls that
/// fill it.
///
/// A buffer comes back when the last reference to its packet is dropped, on any thread. Its number and size are bounded, and
/// [`sweep`](Self::sweep) frees those that were not used for a second.
#[derive(Debug, Clone)]
pub(in crate::server) struct LargeBuffers(Arc<Mutex<Pool>>);

#[derive(Debug)]
struct Pool {
    /// The last one was returned last.
    spare: Vec<Spare>,
    /// The capacity of all spare buffers in bytes, and its limit.
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Spare {
    memory: Vec<u8>,
    /// Whether it was there at the last sweep.
    swept: bool,
}

impl LargeBuffers {
    /// A pool of at most this many bytes.
    pub(in crate::server) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Pool { spare: Vec::new(), bytes: 0, bytes_max })))
    }

    /// A buffer that begins with these bytes of a packet of `length` bytes. If none is spare, it gets a capacity of at most `capacity_max`.
    pub(super) fn begin(&self, bytes: &[u8], length: usize, capacity_max: usize) -> LargeBuffer {
        let memory = self.take(length);
        let mut memory = memory.unwrap_or_else(|| Vec::with_capacity(length.min(capacity_max).max(bytes.len())));
        memory.extend_from_slice(bytes);
        LargeBuffer { memory, pool: self.clone() }
    }

    /// An empty spare buffer for a packet of this length: it has at most a quarter more, because the packet may be stored.
    fn take(&self, length: usize) -> Option<Vec<u8>> {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = length..=length.saturating_add(length / 4);
        let place = pool.spare.iter().rposition(|spare| fits.contains(&spare.memory.capacity()))?;
        let Spare { mut memory, .. } = pool.spare.remove(place);
        pool.bytes -= memory.capacity();
        memory.clear();
        Some(memory)
    }

    fn put(&self, memory: Vec<u8>) {
        if memory.capacity() < SPARE_MIN {
            return;
        }
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = pool.bytes.saturating_add(memory.capacity());
        if bytes <= pool.bytes_max && pool.spare.len() < SPARE_MAX {
            pool.bytes = bytes;
            pool.spare.push(Spare { memory, swept: false });
        }
    }

    /// Frees the buffers that were not used since the last sweep.
    pub(in crate::server) fn sweep(&self) {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pool.spare.retain_mut(|spare| !std::mem::replace(&mut spare.swept, true));
        pool.bytes = pool.spare.iter().map(|spare| spare.memory.capacity()).sum();
    }

    /// Frees all spare buffers.
    pub(in crate::server) fn clear(&self) {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pool.spare = Vec::new();
        pool.bytes = 0;
    }
}

/// The buffer of one large packet.
#[derive(Debug)]
pub(in crate::server) struct LargeBuffer {
    memory: Vec<u8>,
    pool: LargeBuffers,
}

impl LargeBuffer {
    /// The bytes received so far, to append more.
    pub(super) const fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.memory
    }

    pub(super) const fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    /// Moves the bytes to a buffer for the whole packet of `length` bytes. If none is spare, it gets a capacity of at most `capacity_max`.
    pub(super) fn grow(&mut self, length: usize, capacity_max: usize) {
        match self.pool.take(length) {
            Some(mut memory) => {
                memory.extend_from_slice(&self.memory);
                self.pool.put(std::mem::replace(&mut self.memory, memory));
            }
            None => self.memory.reserve_exact(length.min(capacity_max).saturating_sub(self.memory.len())),
        }
    }

    /// Takes the bytes of the complete packet.
    pub(super) fn take(&mut self) -> Bytes {
        Bytes::from_owner(Self { memory: std::mem::take(&mut self.memory), pool: self.pool.clone() })
    }
}

impl AsRef<[u8]> for LargeBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl Drop for LargeBuffer {
    fn drop(&mut self) {
        self.pool.put(std::mem::take(&mut self.memory));
    }
}

/// Smaller buffers, in bytes, are freed instead: the allocator has them at hand.
const SPARE_MIN: usize = 64 * 1024;
/// Maximum number of spare buffers, which bounds the search.
const SPARE_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: usize = 100_000;

    fn spare(pool: &LargeBuffers) -> (usize, usize) {
        let pool = pool.0.lock().unwrap();
        assert_eq!(pool.bytes, pool.spare.iter().map(|spare| spare.memory.capacity()).sum::<usize>());
        (pool.spare.len(), pool.bytes)
    }

    fn packet(pool: &LargeBuffers, length: usize) -> Bytes {
        let mut buffer = pool.begin(b"begin", length, usize::MAX);
        assert_eq!(buffer.as_ref(), b"begin");
        buffer.bytes_mut().resize(length, b'x');
        buffer.take()
    }

    #[test]
    fn a_buffer_comes_back_with_the_last_reference_and_serves_a_packet_of_its_size() {
        let pool = LargeBuffers::new(1 << 20);
        let first = packet(&pool, LENGTH);
        let (address, part) = (first.as_ptr(), first.slice(10..20));
        drop(first);
        assert_eq!(spare(&pool), (0, 0));
        std::thread::spawn(move || drop(part)).join().unwrap();
        assert_eq!(spare(&pool), (1, LENGTH));
        for other in [LENGTH + 1, LENGTH * 4 / 5 - 1] {
            assert!(pool.take(other).is_none());
        }
        assert_eq!(packet(&pool, LENGTH).as_ptr(), address);
        assert_eq!(packet(&pool, LENGTH * 4 / 5).as_ptr(), address);
    }

    #[test]
    fn growth_prefers_a_spare_buffer_and_is_bounded_without_one() {
        let pool = LargeBuffers::new(1 << 20);
        let mut growing = pool.begin(&[1; 70_000], LENGTH, 80_000);
        assert_eq!(growing.capacity(), 80_000);
        growing.grow(LENGTH, 90_000);
        assert!((90_000..LENGTH).contains(&growing.capacity()), "{}", growing.capacity());
        drop(packet(&pool, LENGTH));
        growing.grow(LENGTH, 95_000);
        assert_eq!((growing.capacity(), growing.as_ref()), (LENGTH, &[1; 70_000][..]));
    }

    #[test]
    fn the_pool_is_bounded_and_unused_buffers_are_freed() {
        let pool = LargeBuffers::new(3 * LENGTH + 1);
        let packets = (0..5).map(|_| packet(&pool, LENGTH)).collect::<Vec<_>>();
        drop(packets);
        assert_eq!(spare(&pool), (3, 3 * LENGTH));
        pool.sweep();
        assert_eq!(spare(&pool).0, 3);
        drop(packet(&pool, LENGTH));
        pool.sweep();
        assert_eq!(spare(&pool).0, 1, "one was used since the last sweep");
        pool.sweep();
        assert_eq!(spare(&pool), (0, 0));
        drop(packet(&pool, SPARE_MIN - 1));
        assert_eq!(spare(&pool), (0, 0));
        drop(packet(&pool, LENGTH));
        pool.clear();
        assert_eq!(spare(&pool), (0, 0));
    }
}
