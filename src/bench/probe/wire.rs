//! The loopback's limit: one connection, a thread at each end.

use rustix::thread::CpuSet;
use std::fs::File;
use std::io::{Error, Read, Result, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Of one `write`, `sendfile` and `read`: large enough that neither the calls nor waking the other end count: with 256 KiB
/// 3.7 GB/s were copied, with this 5.4 (by looking again instead of sleeping no more).
const PIECE_BYTES: usize = 1 << 20;

/// The first two CPUs that this process may use, if there are two.
pub(super) fn two_cpus() -> Option<[usize; 2]> {
    let set = rustix::thread::sched_getaffinity(None).ok()?;
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu));
    Some([allowed.next()?, allowed.next()?])
}

/// Bytes a second, sent with `write`.
pub(super) fn copied(time: Duration, cpus: Option<[usize; 2]>) -> Result<f64> {
    let piece = vec![0x5a; PIECE_BYTES];
    transfer(time, cpus, |stream| {
        stream.write_all(&piece)?;
        Ok(())
    })
}

/// Bytes a second, sent with `sendfile`; `file` is in the page cache.
pub(super) fn sent_file(file: &File, time: Duration, cpus: Option<[usize; 2]>) -> Result<f64> {
    let bytes = file.metadata()?.len();
    let mut position = 0;
    transfer(time, cpus, |stream| {
        let sent = rustix::fs::sendfile(stream, file, Some(&mut position), PIECE_BYTES)?;
        if sent == 0 && position < bytes {
            return Err(Error::other("sendfile sent nothing"));
        }
        position %= bytes;
        Ok(())
    })
}

/// Sends for `time` and counts what is received; the time until the last byte is there counts too.
fn transfer(
    time: Duration,
    cpus: Option<[usize; 2]>,
    mut send: impl FnMut(&mut TcpStream) -> Result<()> + Send,
) -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut outgoing = TcpStream::connect(listener.local_addr()?)?;
    let (incoming, _) = listener.accept()?;
    spare_pacing(&outgoing);
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || -> Result<()> {
            pin(cpus.map(|[sender, _]| sender));
            let begun = Instant::now();
            while begun.elapsed() < time {
                send(&mut outgoing)?;
            }
            Ok(())
        });
        let receiver = scope.spawn(move || -> Result<f64> {
            pin(cpus.map(|[_, receiver]| receiver));
            receive(incoming)
        });
        let panicked = |_| Error::other("a thread panicked");
        // A sender that fails closes its end, so the receiver ends too.
        sender.join().map_err(panicked)??;
        receiver.join().map_err(panicked)?
    })
}

/// Where the machine's default is BBR, its pacing is the limit and not the machine: 1.7 GB/s were found where the broker
/// sends 7.4. Reno is in every kernel and open to everybody.
fn spare_pacing(stream: &TcpStream) {
    let _ = rustix::net::sockopt::set_tcp_congestion(stream, "reno");
}

fn receive(mut stream: TcpStream) -> Result<f64> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut bytes = 0u64;
    let begun = Instant::now();
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok(bytes as f64 / begun.elapsed().as_secs_f64()),
            received => bytes += received as u64,
        }
    }
}

/// Of the calling thread. One that cannot be pinned measures all the same.
fn pin(cpu: Option<usize>) {
    if let Some(cpu) = cpu {
        let mut set = CpuSet::new();
        set.set(cpu);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
}
