//! Planted breaches: each must be found, at its line, by the rule that is meant; clean samples must pass. Without
//! these, a scanner that has gone blind would pass everything.

use crate::house::ROOMS;
use crate::rules::{check_map, check_sources};
use crate::source::Source;
use std::collections::BTreeSet;

const DOOR: &str =
    "//! log: a sample.\n//!\n//! May import: base, io.\n//! Must not know: topics.\n";

/// Findings in one file; rooms get a good door where the file is not one.
fn check(path: &str, text: &str) -> Vec<String> {
    let mut sources = vec![Source::scan(path, text)];
    if let Some((room, _)) = path.strip_prefix("src/").and_then(|p| p.split_once('/')) {
        let door = format!("src/{room}/mod.rs");
        if path != door {
            let text =
                format!("//! {room}: x.\n//! May import: nothing.\n//! Must not know: all.\n");
            sources.push(Source::scan(&door, &text));
        }
    }
    check_sources(&mut sources)
}

#[track_caller]
fn caught(path: &str, text: &str, line: usize, rule: &str) {
    let found = check(path, text);
    let place = format!("{path}:{line}: ");
    assert!(
        found
            .iter()
            .any(|f| f.starts_with(&place) && f.contains(rule)),
        "wanted {place}{rule}\nfound {found:#?}\nin {text}"
    );
}

#[track_caller]
fn clean(path: &str, text: &str) {
    let found = check(path, text);
    assert!(found.is_empty(), "{found:#?}\nin {text}");
}

#[test]
fn imports_outside_the_table_are_caught_however_they_are_written() {
    for (text, line) in [
        ("use crate::net::Connection;", 1),
        ("use crate::{base::Offset, net::Connection};", 1),
        (
            "use crate::{\n    base::{Offset, ids},\n    io::{self, Io},\n    shard::x,\n};",
            4,
        ),
        ("pub(crate) use crate::engine as e;", 1),
        ("fn f() { crate::catalog::decide(); }", 1),
        ("fn f() -> Vec<crate::net::X> { Vec::new() }", 1),
        ("type T = <crate::net::X as Clone>::Owned;", 1),
        ("use super::engine::Engine;", 1),
        ("use super::{engine, index};", 1),
        ("mod inner {\n    use super::super::super::net::X;\n}", 2),
        ("fn f() { super::net::start(); }", 1),
        (
            "#[cfg(test)]\nmod tests {\n    use crate::shard::Shard;\n}",
            3,
        ),
        ("macro_rules! m { () => { $crate::net::x() } }", 1),
    ] {
        let path = if text.contains("super::engine")
            || text.contains("super::{")
            || text.contains("super::net::start")
        {
            "src/log/mod.rs"
        } else {
            "src/log/file.rs"
        };
        let (text, line) = match path {
            "src/log/mod.rs" => (format!("{DOOR}{text}"), line + 4),
            _ => (text.to_string(), line),
        };
        caught(path, &text, line, "log may not import");
    }
    caught("src/log/file.rs", "use crate::*;", 1, "is no room");
    caught("src/log/file.rs", "use crate as house;", 1, "name the room");
    caught(
        "src/log/file.rs",
        "use super::super as house;",
        1,
        "name the room",
    );
    caught(
        "src/client/x.rs",
        "use crate::protocol::Wire;",
        1,
        "may not import",
    );
    caught(
        "src/client/x.rs",
        "use crate::protocol::kafka::Wire;",
        1,
        "may not import",
    );
    caught(
        "src/protocol/native/frame.rs",
        "use crate::protocol::kafka::X;",
        1,
        "sibling",
    );
    caught(
        "src/protocol/native/mod.rs",
        "use super::kafka::X;",
        1,
        "sibling",
    );
}

#[test]
fn imports_inside_the_table_pass() {
    clean(
        "src/log/file.rs",
        "use crate::{base::{Offset, ids}, io::{self, Io}};\nuse super::*;\nuse super::index::X;",
    );
    clean(
        "src/log/deep/file.rs",
        "use super::super::index::X; use self::y::Z; use crate::log::index;",
    );
    clean(
        "src/log/file.rs",
        "mod tests { use super::*; use super::super::index; }",
    );
    clean(
        "src/log/mod.rs",
        &format!("{DOOR}pub mod file;\npub use self::file::X; pub(in crate::log) fn f() {{}}"),
    );
    clean(
        "src/client/x.rs",
        "use crate::protocol::native::{Frame, frame};",
    );
    clean(
        "src/protocol/native/frame.rs",
        "use crate::protocol::native::x; use super::reply::Y;",
    );
    clean("src/cli/x.rs", "use crate::{net, shard, protocol::kafka};");
    clean(
        "src/log/file.rs",
        "fn f<'a>() -> impl Iterator<Item = u8> + use<'a> { g() }",
    );
}

#[test]
fn fenced_words_are_caught() {
    for (path, text, rule) in [
        ("src/log/x.rs", "use glommio::io::DmaFile;", "glommio"),
        (
            "src/io/sim/x.rs",
            "fn f() { glommio::executor(); }",
            "glommio",
        ),
        ("src/log/x.rs", "use ::glommio as g;", "glommio"),
        ("src/log/x.rs", "fn f() { unsafe { g() } }", "unsafe"),
        ("benches/x.rs", "unsafe fn f() {}", "unsafe"),
        (
            "src/log/x.rs",
            "use std::time::{Duration, Instant};",
            "clock",
        ),
        (
            "src/log/x.rs",
            "fn f() { std::time::SystemTime::now(); }",
            "clock",
        ),
        (
            "src/net/x.rs",
            "use std::{thread, time::Duration};",
            "thread",
        ),
        (
            "src/net/x.rs",
            "fn f() { ::std::thread::sleep(d); }",
            "thread",
        ),
        (
            "src/shard/x.rs",
            "thread_local! { static X: u8 = 1; }",
            "thread",
        ),
        ("src/ops2/x.rs", "use std::env;", "environment"),
        (
            "src/shard/x.rs",
            "fn f() { std::process::exit(1) }",
            "process",
        ),
        ("src/group/x.rs", "use std::hash::RandomState;", "chance"),
        ("src/group/x.rs", "fn f() { fastrand::u8(..); }", "chance"),
        ("src/log/x.rs", "use std::fs::File;", "file or a socket"),
        (
            "src/net/x.rs",
            "use std::net::{SocketAddr, TcpStream};",
            "file or a socket",
        ),
        (
            "src/net/x.rs",
            "use std::os::fd::AsRawFd;",
            "raw file descriptor",
        ),
        (
            "src/log/x.rs",
            "fn f() { rustix::fs::fsync(x); }",
            "system call",
        ),
        ("src/shard/x.rs", "use std::sync::{Arc, Mutex};", "lock"),
        (
            "src/shard/x.rs",
            "use std::sync::atomic::AtomicU64;",
            "atomic",
        ),
        ("src/net/x.rs", "fn f() { eprintln!(); }", "print"),
        ("src/partition/x.rs", "async fn f() {}", "async"),
        ("src/protocol/x.rs", "fn f() { x.await; }", "async"),
        ("src/base/x.rs", "use std::future::Future;", "async"),
    ] {
        caught(path, text, 1, rule);
    }
    caught(
        "src/log/x.rs",
        "#[cfg(test)]\nmod tests { use glommio::X; }",
        2,
        "glommio",
    );
}

#[test]
fn fenced_words_pass_where_they_belong_and_where_they_are_no_code() {
    clean(
        "src/io/uring/x.rs",
        "use glommio::X; fn f() { unsafe { g() } }",
    );
    clean("src/io/uring.rs", "use glommio::X;");
    clean(
        "src/cli/x.rs",
        "use std::{env, thread, time::Instant}; fn f() { println!(); }",
    );
    clean(
        "src/client/blocking/x.rs",
        "use std::net::TcpStream; use std::time::Instant;",
    );
    clean("src/client/blocking.rs", "use std::thread;");
    clean("src/net/x.rs", "async fn f() { g().await }");
    let hidden = r####"
// unsafe glommio Instant
/* unsafe /* glommio */ std::thread */
//! use crate::shard::X;
const A: &str = "unsafe \" glommio";
const B: &str = r#"unsafe " glommio"#;
const C: &[u8] = b"Instant";
const D: char = '"'; const E: u8 = b'\''; const F: char = '\u{7f}';
fn f<'unsafe_>(x: &'unsafe_ str) -> &'unsafe_ str { x }
const G: &str = "unsafe";
"####;
    clean("src/log/x.rs", hidden);
    clean(
        "src/partition/x.rs",
        "fn f() { g() }\n#[cfg(test)]\nmod tests {\n    use std::time::Instant;\n    async fn f() {}\n}",
    );
    clean(
        "src/partition/x.rs",
        "#[cfg(all(test, unix))]\nuse std::thread;\nfn f() {}",
    );
}

#[test]
fn test_code_ends_where_its_item_ends() {
    for before in [
        "#[cfg(test)]\nmod tests { fn f() { let x = ';'; } }",
        "#[cfg(test)]\n#[derive(Debug)]\nuse std::env;",
        "#[cfg(test)]\nconst X: [u8; 2] = [1, 2];",
        "struct S {\n    #[cfg(test)] x: u8,\n    y: u8 }",
        "#[test]\nfn f() { if a { b } }",
        "#[cfg(not(test))]\nmod x {}",
        "const Q: char = '\\'';\nconst R: char = '{';",
    ] {
        let line = before.lines().count() + 1;
        caught(
            "src/log/x.rs",
            &format!("{before}\nfn g() {{ std::thread::sleep(d) }}"),
            line,
            "thread",
        );
    }
}

#[test]
fn a_test_module_in_a_file_of_its_own_is_test_code() {
    let door = format!("{DOOR}#[cfg(test)]\nmod model;\nmod real;\n");
    let text = "use std::time::Instant;";
    let mut sources = vec![
        Source::scan("src/log/mod.rs", &door),
        Source::scan("src/log/model.rs", text),
        Source::scan("src/log/real.rs", text),
    ];
    let found = check_sources(&mut sources);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("src/log/real.rs:1: a clock"),
        "{found:?}"
    );
}

#[test]
fn long_functions_and_files_are_caught_and_those_at_the_limit_pass() {
    let function = |lines: usize| {
        format!(
            "fn f<T>(x: [u8; 2])\nwhere\n    T: A,\n{{\n{}}}\n",
            "    x();\n".repeat(lines - 5)
        )
    };
    clean("src/log/x.rs", &function(70));
    caught(
        "src/log/x.rs",
        &format!("\n{}", function(71)),
        2,
        "fn f has 71 lines",
    );
    caught(
        "src/log/x.rs",
        &format!("impl X {{\n{}}}", function(71)),
        2,
        "fn f has 71 lines",
    );
    clean(
        "src/log/x.rs",
        &format!("#[cfg(test)]\nmod tests {{\n{}}}", function(71)),
    );
    clean("src/log/x.rs", &"// x\n".repeat(600));
    caught("src/log/x.rs", &"// x\n".repeat(601), 601, "601 lines");
    clean(
        "src/log/x.rs",
        &format!(
            "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
            "// x\n".repeat(599),
            "\n".repeat(300)
        ),
    );
    clean("src/protocol/native/generated.rs", &function(700));
    caught("src/log/generated.rs", "", 1, "not in the list");
    caught(
        "src/net/x.rs",
        "use crate::protocol::native::generated::T;",
        1,
        "from outside",
    );
    clean(
        "src/protocol/native/reply.rs",
        "use super::generated::T; use crate::protocol::native::generated;",
    );
    caught("src/main.rs", &"// x\n".repeat(151), 151, "151 lines");
}

#[test]
fn doors_and_places_are_held_to_their_form() {
    clean("src/log/mod.rs", DOOR);
    for (missing, rule) in [
        ("May import", "May import"),
        ("Must not know", "Must not know"),
        ("log: ", "open with"),
    ] {
        caught("src/log/mod.rs", &DOOR.replace(missing, "x"), 1, rule);
    }
    caught(
        "src/log/mod.rs",
        &DOOR.replace("base, io", "base, io, shard"),
        1,
        "may import shard",
    );
    caught("src/log/mod.rs", &format!("\n{DOOR}"), 1, "open with");
    caught(
        "src/attic/mod.rs",
        "//! attic: x.\n//! May import: x. Must not know: y.",
        1,
        "not in the table",
    );
    caught("src/stray.rs", "", 1, "outside of any room");
    caught("src/log/utils.rs", "", 1, "says nothing");
    let mut alone = vec![Source::scan("src/log/x.rs", "")];
    assert_eq!(
        check_sources(&mut alone),
        ["src/log/mod.rs:1: a room without a door"]
    );
}

#[test]
fn the_map_is_held_against_rooms_and_table() {
    let rooms: BTreeSet<String> = ["base", "log"].map(str::to_string).into();
    let good = "# x\n## The house\n| room | does | imports |\n|---|---|---|\n| `base` | nouns | nothing |\n| `log` | a log | base, io |\n## Next\n| `x` | y | z |";
    assert!(
        check_map(good, &rooms).is_empty(),
        "{:?}",
        check_map(good, &rooms)
    );
    for (from, to) in [
        ("base, io", "base"),
        ("| `log` | a log | base, io |\n", ""),
        ("`log`", "`logs`"),
        ("## The house", "## A house"),
    ] {
        assert!(
            !check_map(&good.replace(from, to), &rooms).is_empty(),
            "{from} -> {to}"
        );
    }
}

#[test]
fn the_table_runs_one_way() {
    for (at, room) in ROOMS.iter().enumerate() {
        for import in room.imports.iter().filter(|import| **import != "all") {
            let name = import.split('/').next();
            assert!(
                ROOMS[..at].iter().any(|above| Some(above.name) == name),
                "{} imports {import}, which does not stand above it",
                room.name
            );
        }
    }
}

#[test]
fn an_unsafe_block_in_a_test_is_caught_and_the_allocator_is_not() {
    let text = "#[test]\nfn t() { unsafe { f() } }\n";
    let check =
        |path: &str| crate::rules::check_tests(&mut [crate::source::Source::scan(path, text)]);
    assert_eq!(check("tests/kill.rs").len(), 1);
    assert!(check("tests/allocation.rs").is_empty());
}
