//! The rules of the simulator, each by a small program.

mod crash;
mod fault;
mod network;
mod replay;
mod run;

use crate::base::limits::BLOCK_BYTES;
use crate::io::sim::{SimBuffer, SimIo};
use crate::io::{Io, OpenMode};
use std::path::Path;
use std::rc::Rc;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// A buffer of `blocks` blocks full of `byte`.
fn filled(io: &SimIo, blocks: usize, byte: u8) -> Rc<SimBuffer> {
    let mut buffer = io.buffer(blocks * BLOCK_BYTES);
    buffer.as_mut().fill(byte);
    Rc::new(buffer)
}

/// A new file whose name is durable.
async fn durable_file(io: &SimIo, path: &str) -> <SimIo as Io>::File {
    let path = Path::new(path);
    let file = io.open(path, OpenMode::CreateNew).await.expect("new");
    let parent = path.parent().expect("absolute");
    io.sync_dir(parent).await.expect("no fault planned");
    file
}
