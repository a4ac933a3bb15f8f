//! Goal: the house stays as it is drawn. Method: read every source of the project as text, walk the rules over it, and
//! fail with `file:line: rule` for each breach. `tidy/teeth.rs` plants breaches and demands that each is caught.

#[path = "tidy/house.rs"]
mod house;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/teeth.rs"]
mod teeth;

use source::Source;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads every `.rs` file below a folder of the project; none if the folder does not exist.
fn read_below(folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            read_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            let name = path.strip_prefix(top()).expect("it lies below the top");
            found.push(Source::scan(&name.to_string_lossy(), &text));
        }
    }
}

fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn sources_keep_the_rules_of_the_house() {
    let mut sources = Vec::new();
    read_below(&top().join("src"), &mut sources);
    assert!(sources.len() > 20, "src was not found");
    read_below(&top().join("benches"), &mut sources);
    assert_none(&rules::check_sources(&mut sources));
}

#[test]
fn tests_keep_the_rules_that_hold_for_them_too() {
    let mut sources = Vec::new();
    read_below(&top().join("tests"), &mut sources);
    assert!(sources.len() > 5, "tests were not found");
    assert_none(&rules::check_tests(&mut sources));
}

#[test]
fn the_readme_maps_the_rooms_that_exist() {
    let rooms: BTreeSet<String> = fs::read_dir(top().join("src"))
        .expect("src can be listed")
        .map(|entry| entry.expect("src can be listed"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let readme = fs::read_to_string(top().join("README.md")).expect("the README exists");
    assert_none(&rules::check_map(&readme, &rooms));
}

#[test]
fn nothing_lies_at_the_top_that_does_not_belong_there() {
    let strangers: Vec<String> = fs::read_dir(top())
        .expect("the top can be listed")
        .map(|entry| entry.expect("the top can be listed").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name != ".git" && name != "target")
        .filter(|name| !house::TOP_LEVEL.contains(&name.as_str()))
        .map(|name| rules::finding(&name, 1, "does not belong at the top of the project"))
        .collect();
    assert_none(&strangers);
}
