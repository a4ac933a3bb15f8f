//! One segment: its file, its tail in memory, its index, and how its file is made, grown and closed.

use crate::base::limits::BLOCK_BYTES;
use crate::base::planted::{Bug, planted};
use crate::base::{Offset, PartitionKey};
use crate::io::{File, Io, Monotonic, OpenMode};
use crate::log::index::{self, BLOCK_ENTRIES, End, Index};
use crate::log::journal::files::write_whole;
use crate::log::scans::Scans;
use crate::log::tail::Tail;
use crate::log::{LogError, paths};
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The smallest and the largest step by which a segment's file grows.
const GROW_BYTES_MIN: u64 = 256 << 10;
const GROW_BYTES_MAX: u64 = 64 << 20;

/// See the module's words. Everything but the file's bytes is this core's alone.
pub(crate) struct Segment<I: Io> {
    pub(crate) key: PartitionKey,
    pub(crate) base: Offset,
    pub(crate) dir: PathBuf,
    /// Open for direct writes; `None` before it was made and after it was sealed and done.
    pub(crate) file: RefCell<Option<Rc<I::File>>>,
    pub(crate) source: RefCell<Option<I::Source>>,
    /// What its readers know of its file.
    pub(crate) scans: Scans,
    /// Bytes that the file has room for.
    pub(crate) allocated: Cell<u64>,
    pub(crate) growing: Cell<bool>,
    pub(crate) tail: RefCell<Tail<I>>,
    pub(crate) index: RefCell<Index>,
    /// Full index blocks that were handed to the disk.
    pub(crate) index_blocks: Cell<usize>,
    /// How many of its entries the disk has.
    index_entries: Cell<usize>,
    /// The index's file, once a block was full: opening it for each block costs as much as writing it.
    index_file: RefCell<Option<Rc<I::File>>>,
    /// Where the appended records end.
    pub(crate) end: Cell<End>,
    pub(crate) sealed: Cell<bool>,
    /// When the first record since this start was appended.
    pub(crate) first_append: Cell<Option<Monotonic>>,
    /// Direct writes have completed since the last sync of the file began.
    pub(crate) touched: Cell<bool>,
    /// Direct writes in flight.
    pub(crate) writes: Cell<usize>,
    /// It is sealed, written, and its file about to be closed.
    pub(crate) closing: Cell<bool>,
    /// It was, its index too: nothing will write to its files any more.
    pub(crate) is_at_rest: Cell<bool>,
}

impl<I: Io> Segment<I> {
    /// A segment without a file yet, whose first record will get offset `base`.
    pub(crate) fn new(key: PartitionKey, base: Offset, dir: &Path) -> Rc<Self> {
        let end = End {
            pos: 0,
            next_offset: base,
            max_timestamp: i64::MIN,
        };
        Self::with_state(key, base, dir, Tail::new(0), Index::default(), end)
    }

    /// A segment as recovery found it.
    pub(crate) fn with_state(
        key: PartitionKey,
        base: Offset,
        dir: &Path,
        tail: Tail<I>,
        index: Index,
        end: End,
    ) -> Rc<Self> {
        Rc::new(Self {
            key,
            base,
            dir: dir.to_path_buf(),
            file: RefCell::new(None),
            source: RefCell::new(None),
            scans: Scans::default(),
            allocated: Cell::new(0),
            growing: Cell::new(false),
            tail: RefCell::new(tail),
            index: RefCell::new(index),
            // What recovery walked over is not in the file: the first write puts all of it there.
            index_blocks: Cell::new(0),
            index_entries: Cell::new(0),
            index_file: RefCell::new(None),
            end: Cell::new(end),
            sealed: Cell::new(false),
            first_append: Cell::new(None),
            touched: Cell::new(false),
            writes: Cell::new(0),
            closing: Cell::new(false),
            is_at_rest: Cell::new(false),
        })
    }

    /// Whether a take now could be written: there is a file, with room for all that the tail holds.
    pub(crate) fn can_write(&self) -> bool {
        self.file.borrow().is_some() && self.tail.borrow().end() <= self.allocated.get()
    }

    /// How large the file should be made now, if it should grow: room for what is appended and as much again, `ahead_max`
    /// bytes of it at most.
    pub(crate) fn wanted_allocation(&self, ahead_max: u64) -> Option<u64> {
        let end = self.tail.borrow().end();
        let step = end.min(ahead_max).clamp(GROW_BYTES_MIN, GROW_BYTES_MAX);
        let wanted = (end + step).next_multiple_of(BLOCK_BYTES as u64);
        (end + step / 2 > self.allocated.get()).then_some(wanted)
    }

    /// The handle for reading through the page cache, opened when first needed.
    pub(crate) async fn source(&self, io: &I) -> std::io::Result<I::Source> {
        if let Some(source) = &*self.source.borrow() {
            return Ok(source.clone());
        }
        let source = io
            .open_source(&paths::segment(&self.dir, self.base))
            .await?;
        *self.source.borrow_mut() = Some(source.clone());
        Ok(source)
    }

    /// Makes the file: temporary name, room, sync, rename, sync the directory.
    pub(crate) async fn create_file(&self, io: &I) -> Result<(), LogError> {
        let path = paths::segment(&self.dir, self.base);
        let temporary = path.with_extension("tmp");
        let made = io.open(&temporary, OpenMode::CreateNew).await;
        let file = match made {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                io.remove_file(&temporary)
                    .await
                    .map_err(LogError::io("remove", &temporary))?;
                io.open(&temporary, OpenMode::CreateNew).await
            }
            other => other,
        };
        let file = file.map_err(LogError::io("create", &temporary))?;
        let bytes = GROW_BYTES_MIN;
        file.allocate(bytes)
            .await
            .map_err(LogError::io("allocate", &temporary))?;
        file.sync().await.map_err(LogError::sync(&temporary))?;
        io.rename(&temporary, &path)
            .await
            .map_err(LogError::io("rename", &temporary))?;
        if !planted(Bug::ForgetDirSync) {
            io.sync_dir(&self.dir)
                .await
                .map_err(LogError::sync(&self.dir))?;
        }
        self.allocated.set(bytes);
        *self.file.borrow_mut() = Some(Rc::new(file));
        Ok(())
    }

    /// Opens the file of a recovered segment for further appends.
    pub(crate) async fn open_file(&self, io: &I) -> Result<(), LogError> {
        let path = paths::segment(&self.dir, self.base);
        let file = io
            .open(&path, OpenMode::Existing)
            .await
            .map_err(LogError::io("open", &path))?;
        let mut bytes = file.size().await.map_err(LogError::io("stat", &path))?;
        // Room for more is made when the first append asks for it: a start should not pay for idle partitions.
        let needed = self
            .tail
            .borrow()
            .end()
            .next_multiple_of(BLOCK_BYTES as u64);
        if bytes < needed {
            let allocated = file.allocate(needed).await;
            allocated.map_err(LogError::io("allocate", &path))?;
            bytes = needed;
        }
        self.allocated.set(bytes);
        *self.file.borrow_mut() = Some(Rc::new(file));
        Ok(())
    }

    /// The segment is sealed and all of it written: gives back unused room, makes it durable, closes it.
    pub(crate) async fn close_file(&self) -> Result<(), LogError> {
        let path = paths::segment(&self.dir, self.base);
        let Some(file) = self.file.borrow().as_ref().map(Rc::clone) else {
            return Ok(());
        };
        let bytes = self.end.get().pos.next_multiple_of(BLOCK_BYTES as u64);
        file.set_len(bytes)
            .await
            .map_err(LogError::io("truncate", &path))?;
        if !planted(Bug::ForgetSealSync) {
            file.sync().await.map_err(LogError::sync(&path))?;
        }
        // Only now: the sync loop takes a segment without a file for one that is durable.
        self.file.borrow_mut().take();
        if let Ok(file) = Rc::try_unwrap(file) {
            file.close().await;
        }
        Ok(())
    }

    /// Writes the index blocks that have become full, and with `last` the one after them as it is now. The index is
    /// derived, so an error costs the next start a walk, nothing else.
    pub(crate) async fn write_index(&self, io: &I, last: LastBlock) -> std::io::Result<()> {
        let full = self.index.borrow().entries().len() / BLOCK_ENTRIES;
        let first = self.index_blocks.replace(full);
        let end = full + usize::from(last != LastBlock::Left);
        if first == end {
            return Ok(());
        }
        self.index_entries.set(self.index.borrow().entries().len());
        let file = self.open_index(io).await?;
        for number in first..end {
            let mut block = io.buffer(BLOCK_BYTES);
            let sealed = last == LastBlock::Sealed && number + 1 == end;
            self.encode_index_block(number, sealed, block.as_mut());
            write_whole::<I>(&file, block, (number * BLOCK_BYTES) as u64).await?;
        }
        if last == LastBlock::Left && !self.sealed.get() {
            // There will be more. (Of a sealed segment the last block may be written meanwhile, and nobody would close
            // the file that is kept here.)
            *self.index_file.borrow_mut() = Some(file);
        } else if let Ok(file) = Rc::try_unwrap(file) {
            file.close().await;
        }
        Ok(())
    }

    /// How many of its index entries the disk does not have.
    pub(crate) fn index_entries_behind(&self) -> usize {
        let entries = self.index.borrow().entries().len();
        entries.saturating_sub(self.index_entries.get())
    }

    async fn open_index(&self, io: &I) -> std::io::Result<Rc<I::File>> {
        if let Some(file) = self.index_file.borrow_mut().take() {
            return Ok(file);
        }
        let path = paths::index(&self.dir, self.base);
        let opened = match io.open(&path, OpenMode::Existing).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                io.open(&path, OpenMode::CreateNew).await
            }
            other => other,
        };
        opened.map(Rc::new)
    }

    fn encode_index_block(&self, number: usize, sealed: bool, out: &mut [u8]) {
        let index = self.index.borrow();
        let entries = index.entries();
        let from = number * BLOCK_ENTRIES;
        let until = entries.len().min(from + BLOCK_ENTRIES);
        let entries = &entries[from..until];
        index::encode_block(
            self.key,
            self.base,
            number,
            entries,
            self.end.get(),
            sealed,
            out,
        );
    }
}

/// What becomes of an index block that is not full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LastBlock {
    /// It is not written.
    Left,
    /// It is written as it is, to be written again when it has more.
    Written,
    /// It is the segment's last.
    Sealed,
}

/// Reads all of an index file; empty if there is none.
pub(crate) async fn read_index_file<I: Io>(
    io: &I,
    dir: &Path,
    base: Offset,
) -> std::io::Result<Vec<u8>> {
    match io.open_source(&paths::index(dir, base)).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(source) => read_all(io, &source).await,
    }
}

async fn read_all<I: Io>(io: &I, source: &I::Source) -> std::io::Result<Vec<u8>> {
    const STEP: usize = 256 << 10;
    let mut all = Vec::new();
    loop {
        let more = io.read_source(source, all.len() as u64, STEP).await?;
        let done = more.len() < STEP;
        all.extend_from_slice(&more);
        if done {
            return Ok(all);
        }
    }
}

/// Zeroed memory of `bytes`.
pub(crate) fn zeroed<I: Io>(io: &I, bytes: usize) -> I::Buffer {
    let mut buffer = io.buffer(bytes);
    buffer.as_mut().fill(0);
    buffer
}
