//! The rules: passes over scanned sources that return what they find. A finding names its place and its rule.

use crate::house::{
    ALL, EMPTY_NAMES, FENCES, FILE_LINES_MAX, FUNCTION_LINES_MAX, Fence, GENERATED, MAIN_LINES_MAX,
    ROOMS, Room, SIBLINGS, Where,
};
use crate::source::{Kind, Path, Source};
use std::collections::BTreeSet;

/// `file:line: rule`.
pub(crate) fn finding(path: &str, line: usize, rule: impl std::fmt::Display) -> String {
    format!("{path}:{line}: {rule}")
}

/// Every rule that looks at one file or across files of `src` and `benches`.
pub(crate) fn check_sources(sources: &mut [Source]) -> Vec<String> {
    mark_test_files(sources);
    let mut found = Vec::new();
    for source in sources.iter() {
        found.extend(check_place(source));
        found.extend(check_imports(source));
        found.extend(FENCES.iter().flat_map(|fence| check_fence(source, fence)));
        found.extend(check_generated(source));
        found.extend(check_sizes(source));
    }
    found.extend(check_doors(sources));
    found
}

/// The fences that tests have to keep, too, over the sources of `tests`.
pub(crate) fn check_tests(sources: &mut [Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        source.mark_all_test();
        found.extend(FENCES.iter().flat_map(|fence| check_fence(source, fence)));
    }
    found
}

fn mark_test_files(sources: &mut [Source]) {
    let modules: Vec<Vec<String>> = sources.iter().flat_map(Source::test_modules).collect();
    for source in sources {
        let module = source.module();
        if modules.iter().any(|test| module.starts_with(test)) {
            source.mark_all_test();
        }
    }
}

fn room_of(path: &str) -> Option<&str> {
    let (room, _) = path.strip_prefix("src/")?.split_once('/')?;
    Some(room)
}

fn find_room(name: &str) -> Option<&'static Room> {
    ROOMS.iter().find(|room| room.name == name)
}

/// Whether a file lies in a place (a folder, or a file named without `.rs`).
fn lies_in(path: &str, place: &str) -> bool {
    path.strip_prefix(place)
        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn check_place(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(inner) = source.path.strip_prefix("src/") {
        match inner.split_once('/') {
            Some((room, _)) if find_room(room).is_none() => found.push(finding(
                &source.path,
                1,
                format!("room {room} is not in the table of the house"),
            )),
            None if !["lib.rs", "main.rs"].contains(&inner) => {
                found.push(finding(&source.path, 1, "a file outside of any room"));
            }
            _ => {}
        }
    }
    let named_empty = source
        .path
        .trim_end_matches(".rs")
        .split('/')
        .find(|word| EMPTY_NAMES.contains(word));
    if let Some(word) = named_empty {
        found.push(finding(
            &source.path,
            1,
            format!("the name {word} says nothing about what is inside"),
        ));
    }
    found
}

fn check_imports(source: &Source) -> Vec<String> {
    let Some(room) = room_of(&source.path).and_then(find_room) else {
        return Vec::new();
    };
    let module = source.module();
    source
        .paths()
        .iter()
        .filter(|path| path.words.first().is_some_and(|word| word == "crate"))
        .filter_map(|path| {
            let rule = import_rule(room, &module, &path.words[1..])?;
            Some(finding(&source.path, path.line, rule))
        })
        .collect()
}

/// What is wrong with the path `crate::target` in this room, if anything.
fn import_rule(room: &Room, module: &[String], target: &[String]) -> Option<String> {
    let Some(other) = target.first() else {
        return Some("the whole crate is named: name the room".to_string());
    };
    if other == room.name {
        let (Some(here), Some(there)) = (module.get(1), target.get(1)) else {
            return None;
        };
        let apart = SIBLINGS.contains(&room.name) && here != there && there != "*";
        return apart.then(|| format!("{other}/{here} may not know its sibling {other}/{there}"));
    }
    if find_room(other).is_none() {
        return Some(format!("crate::{other} is no room"));
    }
    let allowed = room.imports.iter().any(|entry| {
        *entry == ALL || {
            let parts: Vec<&str> = entry.split('/').collect();
            target.len() >= parts.len() && parts.iter().zip(target).all(|(a, b)| a == b)
        }
    });
    let wanted = target.join("::");
    (!allowed).then(|| format!("{} may not import crate::{wanted}", room.name))
}

fn check_fence(source: &Source, fence: &Fence) -> Vec<String> {
    let fenced = match fence.place {
        Where::OnlyIn(lists) => !lists
            .concat()
            .iter()
            .any(|place| lies_in(&source.path, place)),
        Where::NeverIn(places) => places.iter().any(|place| lies_in(&source.path, place)),
    };
    if !fenced {
        return Vec::new();
    }
    let words = source
        .tokens
        .iter()
        .filter(|token| token.kind == Kind::Word && fence.words.contains(&token.text.as_str()))
        .map(|token| (token.line, token.test, token.text.clone()));
    let paths = source.paths();
    let paths = paths
        .iter()
        .filter(|path| fence.paths.iter().any(|fenced| begins(path, fenced)))
        .map(|path| (path.line, path.test, path.words.join("::")));
    // A bench drives the rooms from outside, as a test does: it measures, prints and makes its own directories.
    let bench = source.path.starts_with("benches/");
    let lines: BTreeSet<(usize, String)> = words
        .chain(paths)
        .filter(|(_, test, _)| fence.tests_too || !(bench || *test))
        .map(|(line, _, what)| (line, what))
        .collect();
    lines
        .into_iter()
        .map(|(line, what)| finding(&source.path, line, format!("{} ({what})", fence.rule)))
        .collect()
}

fn begins(path: &Path, fenced: &str) -> bool {
    let mut words = path.words.iter();
    fenced
        .split("::")
        .all(|want| words.next().is_some_and(|word| word == want))
}

fn check_generated(source: &Source) -> Vec<String> {
    if GENERATED.contains(&source.path.as_str()) {
        return Vec::new();
    }
    if source.path.ends_with("/generated.rs") {
        return vec![finding(
            &source.path,
            1,
            "generated code that is not in the list",
        )];
    }
    let module = source.module();
    let reaches = |path: &Path| {
        let at = path.words.iter().position(|word| word == "generated")?;
        let home = path.words.get(1..at)?;
        let outside = path.words[0] == "crate" && !module.starts_with(home);
        outside.then_some(path.line)
    };
    source
        .paths()
        .iter()
        .filter_map(reaches)
        .map(|line| finding(&source.path, line, "generated code is named from outside"))
        .collect()
}

fn check_sizes(source: &Source) -> Vec<String> {
    if GENERATED.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for function in source.functions().iter().filter(|function| !function.test) {
        let lines = function.last - function.first + 1;
        if lines > FUNCTION_LINES_MAX {
            found.push(finding(
                &source.path,
                function.first,
                format!(
                    "fn {} has {lines} lines, the limit is {FUNCTION_LINES_MAX}",
                    function.name
                ),
            ));
        }
    }
    let lines = source.product_lines();
    let limit = if source.path == "src/main.rs" {
        MAIN_LINES_MAX
    } else {
        FILE_LINES_MAX
    };
    if lines > limit {
        found.push(finding(
            &source.path,
            limit + 1,
            format!("the file has {lines} lines besides tests, the limit is {limit}"),
        ));
    }
    found
}

/// Every room has a door that says what it may import and what it must not know; what the door says it may import is
/// in the table.
fn check_doors(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    let rooms: BTreeSet<&str> = sources
        .iter()
        .filter_map(|source| room_of(&source.path))
        .collect();
    for room in rooms {
        let door = format!("src/{room}/mod.rs");
        match sources.iter().find(|source| source.path == door) {
            None => found.push(finding(&door, 1, "a room without a door")),
            Some(source) => found.extend(check_door(room, source)),
        }
    }
    found
}

fn check_door(room: &str, source: &Source) -> Vec<String> {
    let comment: Vec<&str> = source
        .text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .collect();
    let comment = comment.join("\n");
    let mut found = Vec::new();
    if !comment.trim_start().starts_with(&format!("{room}: ")) {
        found.push(finding(
            &source.path,
            1,
            format!("the door does not open with `{room}: ` and what the room does"),
        ));
    }
    for part in ["May import", "Must not know"] {
        if !comment.contains(part) {
            found.push(finding(
                &source.path,
                1,
                format!("the door does not say {part:?}"),
            ));
        }
    }
    let Some(allowed) = find_room(room).map(|room| room.imports) else {
        return found;
    };
    for named in said_imports(&comment) {
        let known = allowed.iter().any(|entry| {
            *entry == ALL || *entry == named || entry.split('/').next() == Some(named)
        });
        if !known {
            found.push(finding(
                &source.path,
                1,
                format!("the door says that {room} may import {named}, the table does not"),
            ));
        }
    }
    found
}

/// The rooms named between "May import" and the next full stop.
fn said_imports(comment: &str) -> Vec<&'static str> {
    let Some((_, rest)) = comment.split_once("May import") else {
        return Vec::new();
    };
    let sentence = rest.split(['.', ';']).next().unwrap_or("");
    let words: BTreeSet<&str> = sentence
        .split(|c: char| !c.is_alphanumeric() && c != '-' && c != '_')
        .collect();
    let named = ROOMS.iter().filter(|room| words.contains(room.name));
    named.map(|room| room.name).collect()
}

/// The README's map, a table of `| \`room\` | ... | imports |` under "## The house", against the rooms that exist and
/// the table of imports.
pub(crate) fn check_map(readme: &str, rooms: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut mapped = BTreeSet::new();
    let section = readme
        .lines()
        .enumerate()
        .skip_while(|(_, line)| *line != "## The house")
        .skip(1)
        .take_while(|(_, line)| !line.starts_with("## "));
    for (at, line) in section {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some(name) = cells
            .get(1)
            .and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`'))
        else {
            continue;
        };
        mapped.insert(name.to_string());
        let said = cells.get(cells.len().saturating_sub(2)).unwrap_or(&"");
        let true_imports = find_room(name).map(|room| room.imports.join(", "));
        let wanted = match true_imports.as_deref() {
            Some("") => Some("nothing"),
            other => other,
        };
        if wanted != Some(*said) {
            found.push(finding(
                "README.md",
                at + 1,
                format!("the map says that {name} imports {said:?}, the table says {wanted:?}"),
            ));
        }
    }
    for room in rooms.symmetric_difference(&mapped) {
        found.push(finding(
            "README.md",
            1,
            format!("the map and src differ in the room {room}"),
        ));
    }
    found
}
