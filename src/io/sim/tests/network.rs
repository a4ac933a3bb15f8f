//! Connections: bytes in order, bounds that hold, ends that are told apart.

use super::{durable_file, filled};
use crate::base::limits::BLOCK_BYTES;
use crate::io::sim::{Sim, SimIo, SimReader, SimWriter};
use crate::io::{File, Io, Listener, Reader, Writer};
use std::cell::Cell;
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Runs `serve` on the accepted end and `call` on the other, to the end of both.
fn talk<S, C>(
    sim: &Sim,
    serve: impl FnOnce(SimIo, SimReader, SimWriter) -> S + 'static,
    call: impl FnOnce(SimIo, SimReader, SimWriter) -> C + 'static,
) where
    S: Future<Output = ()> + 'static,
    C: Future<Output = ()> + 'static,
{
    let main = |io: SimIo| async move {
        let listener = io.listen(address(0)).await.expect("free");
        let to = listener.local_addr();
        let served = async {
            let (reader, writer, from) = listener.accept().await.expect("open");
            assert!(from.ip().is_loopback() && from.port() >= 40_000);
            serve(io.clone(), reader, writer).await;
        };
        let called = async {
            let (reader, writer) = io.connect(to).await.expect("listening");
            call(io.clone(), reader, writer).await;
        };
        futures_lite::future::zip(served, called).await;
    };
    sim.run(main).done();
}

async fn read_to_end(reader: &mut SimReader) -> (Vec<u8>, usize) {
    let (mut all, mut reads, mut buffer) = (Vec::new(), 0, vec![0; 4_000]);
    loop {
        let bytes = reader.read(&mut buffer).await.expect("not reset");
        if bytes == 0 {
            return (all, reads);
        }
        all.extend(&buffer[..bytes]);
        reads += 1;
    }
}

#[test]
fn bytes_arrive_whole_in_order_and_in_pieces_of_their_own() {
    let sent: Vec<u8> = (0..200_000u32).map(|i| (i / 7) as u8).collect();
    let expected = sent.clone();
    talk(
        &Sim::new(1),
        |_, mut reader, _writer| async move {
            let (all, reads) = read_to_end(&mut reader).await;
            assert_eq!(all, expected);
            assert!(reads > 55, "{reads} reads of up to 4000 bytes");
        },
        |_, _reader, mut writer| async move {
            let parts: Vec<&[u8]> = sent.chunks(33_333).collect();
            writer.write_vectored(&parts).await.expect("read");
        },
    );
}

#[test]
fn a_reader_that_stops_stops_its_writer() {
    let sim = Sim::new(2);
    sim.net().set_pipe_bytes(10_000);
    let sent = Rc::new(Cell::new(0));
    let seen = Rc::clone(&sent);
    talk(
        &sim,
        |io, mut reader, _writer| async move {
            io.sleep(1_000 * MS).await;
            assert_eq!(seen.get(), 10_000);
            let (all, _) = read_to_end(&mut reader).await;
            assert_eq!(all.len(), 50_000);
        },
        |_, _reader, mut writer| async move {
            for _ in 0..50 {
                writer.write_all(&[1; 1_000]).await.expect("read later");
                sent.set(sent.get() + 1_000);
            }
        },
    );
}

#[test]
fn shutdown_ends_the_own_read_and_the_peers() {
    talk(
        &Sim::new(3),
        |_, mut reader, mut writer| async move {
            let (all, _) = read_to_end(&mut reader).await;
            assert_eq!(all, b"bye");
            let error = writer.write_all(b"late").await.expect_err("peer is gone");
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        },
        |io, mut reader, mut writer| async move {
            let ended = Rc::new(Cell::new(false));
            let end = Rc::clone(&ended);
            io.spawn(async move {
                assert_eq!(reader.read(&mut [0; 8]).await.expect("ended"), 0);
                end.set(true);
            });
            writer.write_all(b"bye").await.expect("read");
            assert!(!ended.get());
            writer.shutdown();
            let error = writer.write_all(b"late").await.expect_err("shut down");
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            io.sleep(MS).await;
            assert!(ended.get());
        },
    );
}

#[test]
fn one_half_dropped_is_no_end() {
    talk(
        &Sim::new(4),
        |io, mut reader, writer| async move {
            drop(writer);
            let bytes = reader.read(&mut [0; 8]).await.expect("still open");
            assert!(bytes > 0);
            io.sleep(5 * MS).await;
        },
        |io, reader, mut writer| async move {
            io.sleep(2 * MS).await;
            writer.write_all(b"x").await.expect("the reader lives");
            drop(reader);
        },
    );
}

#[test]
fn a_dropped_connection_is_an_error_on_both_sides() {
    let sim = Sim::new(5);
    let net = sim.net();
    talk(
        &sim,
        |_, mut reader, _writer| async move {
            let error = reader.read(&mut [0; 8]).await.expect_err("dropped");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        },
        move |io, mut reader, mut writer| async move {
            io.sleep(MS).await;
            let [only] = net.connections()[..] else {
                panic!("one connection, {:?}", net.connections());
            };
            assert_eq!(net.addresses(only).expect("live").1, address(20_000));
            assert!(net.drop_connection(only));
            let read = reader.read(&mut [0; 8]).await.expect_err("dropped");
            let write = writer.write_all(b"x").await.expect_err("dropped");
            let kinds = [read.kind(), write.kind()];
            assert_eq!(kinds, [ErrorKind::ConnectionReset; 2]);
        },
    );
    assert!(sim.net().connections().is_empty());
}

#[test]
fn a_stalled_connection_is_late_and_loses_nothing() {
    let sim = Sim::new(6);
    let net = sim.net();
    talk(
        &sim,
        |io, mut reader, _writer| async move {
            let start = io.now();
            let (all, _) = read_to_end(&mut reader).await;
            assert_eq!(all, b"late");
            assert!(io.now().since(start) >= 299 * MS);
        },
        move |_, _reader, mut writer| async move {
            assert!(net.stall(net.connections()[0], 300 * MS));
            writer.write_all(b"late").await.expect("room");
        },
    );
}

#[test]
fn a_port_is_taken_once_and_free_again() {
    let sim = Sim::new(7);
    let net = sim.net();
    let main = |io: SimIo| async move {
        let kind = |result: std::io::Result<_>| result.err().map(|e| e.kind());
        let listener = io.listen(address(9_000)).await.expect("free");
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 9_000));
        for taken in [address(9_000), everywhere] {
            let refused = io.listen(taken).await;
            assert_eq!(kind(refused.map(drop)), Some(ErrorKind::AddrInUse));
        }
        net.refuse(address(9_000));
        let refused = io.connect(address(9_000)).await;
        assert_eq!(kind(refused.map(drop)), Some(ErrorKind::ConnectionRefused));
        net.allow(address(9_000));
        let (mut reader, _writer) = io.connect(address(9_000)).await.expect("allowed");
        drop(listener);
        let reset = reader.read(&mut [0; 8]).await;
        assert_eq!(kind(reset.map(drop)), Some(ErrorKind::ConnectionReset));
        let refused = io.connect(address(9_000)).await;
        assert_eq!(kind(refused.map(drop)), Some(ErrorKind::ConnectionRefused));
        let _again = io.listen(everywhere).await.expect("free again");
        io.connect(address(9_000)).await.expect("on all interfaces");
        let one = io.listen(address(0)).await.expect("free");
        let two = io.listen(address(0)).await.expect("free");
        assert_ne!(one.local_addr(), two.local_addr());
    };
    sim.run(main).done();
}

#[test]
fn a_file_is_sent_from_the_disk() {
    talk(
        &Sim::new(8),
        |_, mut reader, _writer| async move {
            let (all, _) = read_to_end(&mut reader).await;
            assert_eq!(all, vec![5; 39 * BLOCK_BYTES + 10]);
        },
        |io, _reader, mut writer| async move {
            let file = durable_file(&io, "/f").await;
            file.write_at(filled(&io, 40, 5), 0).await.expect("space");
            let source = io.open_source(Path::new("/f")).await.expect("there");
            let bytes = 39 * BLOCK_BYTES as u64 + 10;
            writer.send_file(&source, 100, bytes).await.expect("there");
            let end = 40 * BLOCK_BYTES as u64;
            let error = writer.send_file(&source, end, 1).await;
            assert_eq!(
                error.expect_err("past the end").kind(),
                ErrorKind::UnexpectedEof
            );
        },
    );
}
