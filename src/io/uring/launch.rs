//! Launching the cores: one thread and one executor each, all of them or none.
//!
//! ```text
//!  run_cores ── thread per core: build the executor ──"up" / error──> wait for all ──"go"──> main(Uring, mailbox)
//!                                                                        └─ one failed: nobody starts
//!  a panic: note it, stop this core, raise the alarm ──> every other core drops its main and its tasks, and ends
//! ```

use super::alarm::{Alarm, Rouser};
use super::core::{Core, panic_text};
use super::mailbox::{Ends, mesh};
use super::{Uring, UringMailbox};
use crate::base::CoreId;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};
use rustix::io_uring::io_uring_params;
use rustix::process::Resource;
use rustix::thread::MembarrierCommand;
use std::future::{Future, poll_fn};
use std::io::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

/// Threads of a core that may block. They read cold pages and change names: several keep one slow removal from holding up
/// the readers.
const BLOCKING_THREADS: usize = 4;
/// Entries of each of a core's submission queues. So many not for what is submitted at once, but because the kernel sizes
/// the hash table of a ring's polls by it (16 buckets at 256, 256 from 4,096 on), and glommio cancels two polls at each
/// sleep: with 10,000 idle connections in 16 buckets, finding them took 130 us each. Costs 1 MiB a ring.
const RING_ENTRIES: usize = 4096;
/// How long runnable tasks may keep completions waiting, unless bytes arrive for a reader that waits: that ends their
/// turn at once. Shorter makes the missed wake-up that `core` tells of more frequent.
const PREEMPT_AFTER: Duration = Duration::from_millis(10);

/// How the cores are launched.
#[derive(Clone, Debug)]
pub struct Options {
    /// For each core the CPU to pin it to; `None`: the scheduler decides. At least one.
    pub cpus: Vec<Option<usize>>,
    /// Memory for direct I/O that each core sets aside and, where the memlock limit permits, registers with its rings.
    /// Buffers beyond it come from the allocator.
    pub memory_bytes: usize,
    /// Messages in flight from one core to another, rounded up to a power of two, before the sender waits.
    pub mailbox_messages: usize,
    /// The threads are called this and the number of the core. Linux shows 15 bytes.
    pub name: String,
    /// How long an idle core looks for work before it sleeps. Trades the CPU for latency; for pinned cores only.
    pub spin: Option<Duration>,
}

impl Default for Options {
    /// One core, not pinned.
    fn default() -> Self {
        Self {
            cpus: vec![None],
            memory_bytes: 64 << 20,
            mailbox_messages: 1024,
            name: "millrace".to_owned(),
            spin: None,
        }
    }
}

/// Runs `main` once on every core and blocks until all have ended; their results, by core. What a core spawned ends
/// when its `main` does. If a core cannot be launched, none runs; if one panics, all end. Both are errors that name
/// the core and the cause.
pub fn run_cores<M, T, F, Fut>(options: Options, main: F) -> Result<Vec<T>>
where
    M: Send + 'static,
    T: Send + 'static,
    F: Fn(Uring, UringMailbox<M>) -> Fut + Send + Clone + 'static,
    Fut: Future<Output = T>,
{
    let cores = options.cpus.len();
    if cores == 0 || cores > usize::from(u16::MAX) {
        return Err(Error::other("between 1 and 65535 cores"));
    }
    prepare_process();
    let alarm = Arc::new(Alarm::new(cores));
    let mut threads = Vec::with_capacity(cores);
    let (up, ups) = sync_channel(cores);
    for (index, ends) in mesh::<M>(cores, options.mailbox_messages)
        .into_iter()
        .enumerate()
    {
        let (go, start) = sync_channel(1);
        let (up, alarm, main) = (up.clone(), Arc::clone(&alarm), main.clone());
        let launch = Launch::new(&options, index);
        let thread = std::thread::Builder::new()
            .name(format!("{}-{index}", options.name))
            .spawn(move || launch.run(up, start, alarm, ends, main))?;
        threads.push((go, thread));
    }
    drop(up);
    let _rouser = Rouser::start(&options.name, &alarm)?;
    let all_up = ups.iter().filter(|is_up| *is_up).count() == cores;
    let threads: Vec<JoinHandle<End<T>>> = threads
        .into_iter()
        .map(|(go, thread)| {
            // Without a word, dropping `go` tells the thread to give up. A core that is up waits for it.
            let _ = all_up.then(|| go.send(()));
            thread
        })
        .collect();
    collect(threads)
}

/// How a core ended.
enum End<T> {
    Returned(T),
    Failed(Error),
    /// Because another one failed.
    Dismissed,
}

/// Joins them all. The first failure counts, in the order of the cores.
fn collect<T>(threads: Vec<JoinHandle<End<T>>>) -> Result<Vec<T>> {
    let ends: Vec<End<T>> = threads
        .into_iter()
        .map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| End::Failed(Error::other(panic_text(&*panic))))
        })
        .collect();
    let mut results = Vec::with_capacity(ends.len());
    let mut dismissed = None;
    for (core, end) in ends.into_iter().enumerate() {
        match end {
            End::Returned(result) => results.push(result),
            End::Failed(cause) => {
                return Err(Error::new(cause.kind(), format!("core {core}: {cause}")));
            }
            End::Dismissed => dismissed = Some(core),
        }
    }
    match dismissed {
        None => Ok(results),
        Some(core) => Err(Error::other(format!("core {core} was dismissed"))),
    }
}

/// What one core's thread needs to build its executor.
struct Launch {
    id: CoreId,
    builder: LocalExecutorBuilder,
}

impl Launch {
    fn new(options: &Options, index: usize) -> Self {
        let placement = options.cpus[index].map_or(Placement::Unbound, Placement::Fixed);
        let mut builder = LocalExecutorBuilder::new(placement)
            .name(&options.name)
            .io_memory(options.memory_bytes)
            .ring_depth(RING_ENTRIES)
            .preempt_timer(PREEMPT_AFTER)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS));
        if let Some(spin) = options.spin {
            builder = builder.spin_before_park(spin);
        }
        Self {
            id: CoreId(index as u16),
            builder,
        }
    }

    /// The life of a core's thread. It may wait for `start`: nothing runs on it yet.
    fn run<M, T, F, Fut>(
        self,
        up: SyncSender<bool>,
        start: Receiver<()>,
        alarm: Arc<Alarm>,
        ends: Ends<M>,
        main: F,
    ) -> End<T>
    where
        M: Send + 'static,
        F: Fn(Uring, UringMailbox<M>) -> Fut,
        Fut: Future<Output = T>,
    {
        let built = build(self.builder).and_then(|executor| Ok((executor, Core::new(self.id)?)));
        // Nobody listens only if the launching thread is gone.
        let _ = up.send(built.is_ok());
        let (executor, core) = match built {
            Ok(built) => built,
            Err(cause) => return End::Failed(cause),
        };
        drop(up);
        if start.recv().is_err() {
            return End::Dismissed;
        }
        let life = AssertUnwindSafe(|| executor.run(live(&core, &alarm, ends, main)));
        match catch_unwind(life) {
            Ok(end) => end,
            Err(panic) => {
                // Not one of our tasks: the executor itself gave up.
                alarm.raise();
                End::Failed(Error::other(panic_text(&*panic)))
            }
        }
    }
}

/// glommio panics where it finds the machine too strange (an old kernel, unreadable sysfs).
fn build(builder: LocalExecutorBuilder) -> Result<LocalExecutor> {
    catch_unwind(AssertUnwindSafe(|| builder.make()))
        .map_err(|panic| Error::other(panic_text(&*panic)))?
        .map_err(super::edge)
}

/// The root task of a core: connects the mailbox, runs `main`, cleans up after it.
async fn live<M, T, F, Fut>(core: &Rc<Core>, alarm: &Alarm, ends: Ends<M>, main: F) -> End<T>
where
    M: Send + 'static,
    F: Fn(Uring, UringMailbox<M>) -> Fut,
    Fut: Future<Output = T>,
{
    let index = usize::from(core.id().0);
    let io = Uring {
        core: Rc::clone(core),
    };
    core.start_pulse();
    let mut work = Some(Box::pin(async {
        let mailbox = UringMailbox::connect(&io, ends).await;
        main(io.clone(), mailbox).await
    }));
    // The waker of the root task stays the same for life.
    poll_fn(|context| {
        alarm.enlist(index, context.waker());
        Poll::Ready(())
    })
    .await;
    let end = poll_fn(|context| {
        let work = work.as_mut().expect("dropped only after this is ready");
        poll_main(core, alarm, context, |context| work.as_mut().poll(context))
    })
    .await;
    if matches!(end, End::Failed(_)) {
        alarm.raise();
    }
    let work = work.take();
    let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
    core.stop().await;
    // Only now: what is still in flight may have to be roused for.
    alarm.leave(index);
    end
}

/// One look at everything that can end a core.
fn poll_main<T>(
    core: &Core,
    alarm: &Alarm,
    context: &mut Context<'_>,
    main: impl FnOnce(&mut Context<'_>) -> Poll<T>,
) -> Poll<End<T>> {
    if let Some(text) = core.poll_failure(context) {
        return Poll::Ready(End::Failed(Error::other(text)));
    }
    if alarm.is_raised() {
        return Poll::Ready(End::Dismissed);
    }
    match catch_unwind(AssertUnwindSafe(|| main(context))) {
        Ok(Poll::Ready(result)) => Poll::Ready(End::Returned(result)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(End::Failed(Error::other(panic_text(&*panic)))),
    }
}

/// What concerns the whole process, before the first executor. Both are improvements: failing is no error.
fn prepare_process() {
    // glommio registers at the first timer, when many threads run: the kernel then stalls the core for 10 to 60 ms.
    let _ = rustix::thread::membarrier(MembarrierCommand::RegisterPrivateExpedited);
    let mut limit = rustix::process::getrlimit(Resource::Memlock);
    limit.current = limit.maximum;
    let _ = rustix::process::setrlimit(Resource::Memlock, limit);
}

/// Asks the kernel for a small ring and gives it back: an error tells that io_uring cannot be used, and why.
pub fn probe_ring() -> Result<()> {
    let mut params = io_uring_params::default();
    // SAFETY: the parameters ask for a ring of its own: no flag is set, so no descriptor in them is looked at.
    let ring = unsafe { rustix::io_uring::io_uring_setup(4, &mut params) };
    Ok(ring.map(drop)?)
}
