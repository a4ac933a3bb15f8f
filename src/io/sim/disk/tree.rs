//! The names: directories, files, and the changes of names that no directory sync has covered yet.
//!
//! Rules, chosen pessimistic where file systems differ:
//! - A change of a name is durable after a `sync_dir` of the directory that holds the name, begun after the change was
//!   complete. Syncing a file does not make its name durable, nor does syncing a directory make its own name durable.
//! - A rename inside one directory is one change: after a power cut either name is there, never both, never none.
//! - A rename from one directory to another is two changes; the old name never goes before the new one is there, but
//!   both may be there.
//! - Other unsynced changes are lost or kept each by itself, in any combination.

use crate::base::prng::Prng;
use crate::io::DirEntry;
use crate::io::sim::disk::file::{FileImage, Seq};
use crate::io::sim::disk::luck::Luck;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// Names a file or directory whatever its path. Never used twice.
pub(in crate::io::sim) type NodeId = u64;

const ROOT: NodeId = 0;

type Result<T> = std::result::Result<T, Errno>;
type Entries = BTreeMap<String, NodeId>;

#[derive(Clone, Debug)]
enum Node {
    File(FileImage),
    Dir { entries: Entries, durable: Entries },
}

/// A change of names in one directory that is not durable.
#[derive(Clone, Debug)]
struct Change {
    seq: Seq,
    dir: NodeId,
    names: Vec<(String, Option<NodeId>)>,
    /// The change that must be durable before this one.
    needs: Option<Seq>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<NodeId, Node>,
    next_node: NodeId,
    next_seq: Seq,
    unsynced: Vec<Change>,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, empty_dir())]),
            next_node: ROOT + 1,
            next_seq: 1,
            unsynced: Vec::new(),
        }
    }

    /// A number for a change that is complete now.
    pub(super) fn seq(&mut self) -> Seq {
        self.next_seq += 1;
        self.next_seq - 1
    }

    /// The newest change there is.
    pub(super) fn newest(&self) -> Seq {
        self.next_seq - 1
    }

    /// The file behind a handle.
    pub(super) fn file(&self, node: NodeId) -> Result<&FileImage> {
        match self.nodes.get(&node) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(Errno::BADF),
        }
    }

    /// The file behind a handle, to change it.
    pub(super) fn file_mut(&mut self, node: NodeId) -> Result<&mut FileImage> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(Errno::BADF),
        }
    }

    /// The file at `path`.
    pub(super) fn find_file(&self, path: &Path) -> Result<NodeId> {
        let node = self.find(path)?;
        match self.nodes.get(&node) {
            Some(Node::File(_)) => Ok(node),
            _ => Err(Errno::ISDIR),
        }
    }

    /// The directory at `path`.
    pub(super) fn find_dir(&self, path: &Path) -> Result<NodeId> {
        let node = self.find(path)?;
        self.entries(node).map(|_| node)
    }

    /// What a directory holds.
    pub(super) fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        let entries = self.entries(self.find(path)?)?;
        let entry = |(name, node): (&String, &NodeId)| DirEntry {
            name: name.clone(),
            is_dir: self.file(*node).is_err(),
            bytes: self.file(*node).map_or(0, FileImage::len),
        };
        Ok(entries.iter().map(entry).collect())
    }

    /// All files that have a name, by path.
    pub(super) fn files(&self) -> Vec<(PathBuf, NodeId)> {
        let (mut found, mut dirs) = (Vec::new(), vec![(PathBuf::from("/"), ROOT)]);
        while let Some((path, dir)) = dirs.pop() {
            for (name, node) in self.entries(dir).into_iter().flatten() {
                if self.file(*node).is_ok() {
                    found.push((path.join(name), *node));
                } else {
                    dirs.push((path.join(name), *node));
                }
            }
        }
        found.sort();
        found
    }

    /// The path of a file or directory, if a name leads to it.
    pub(super) fn path(&self, node: NodeId) -> Option<PathBuf> {
        let mut dirs = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, dir)) = dirs.pop() {
            if dir == node {
                return Some(path);
            }
            for (name, child) in self.entries(dir).into_iter().flatten() {
                dirs.push((path.join(name), *child));
            }
        }
        None
    }

    /// Makes an empty file.
    pub(super) fn create(&mut self, path: &Path) -> Result<NodeId> {
        self.make(path, Node::File(FileImage::default()))
    }

    /// Makes an empty directory.
    pub(super) fn make_dir(&mut self, path: &Path) -> Result<NodeId> {
        self.make(path, empty_dir())
    }

    /// Gives a file or directory a new name; a file there is replaced.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        let (from_dir, from_name) = self.place(from)?;
        let (to_dir, to_name) = self.place(to)?;
        let node = *self
            .entries(from_dir)?
            .get(&from_name)
            .ok_or(Errno::NOENT)?;
        if let Some(old) = self.entries(to_dir)?.get(&to_name) {
            match (self.file(node).is_ok(), self.file(*old).is_ok()) {
                _ if node == *old => return Ok(()),
                (true, false) => return Err(Errno::ISDIR),
                (false, true) => return Err(Errno::NOTDIR),
                (false, false) if !self.entries(*old)?.is_empty() => return Err(Errno::NOTEMPTY),
                _ => {}
            }
        }
        if self.file(node).is_err() && self.is_inside(to, node) {
            return Err(Errno::INVAL);
        }
        let (gone, new) = ((from_name, None), (to_name, Some(node)));
        if from_dir == to_dir {
            self.change(from_dir, vec![gone, new], None)?;
        } else {
            let first = self.change(to_dir, vec![new], None)?;
            self.change(from_dir, vec![gone], Some(first))?;
        }
        Ok(())
    }

    /// Takes a file's name away.
    pub(super) fn remove_file(&mut self, path: &Path) -> Result<()> {
        self.find_file(path)?;
        let (dir, name) = self.place(path)?;
        self.change(dir, vec![(name, None)], None).map(drop)
    }

    /// Takes an empty directory's name away.
    pub(super) fn remove_dir(&mut self, path: &Path) -> Result<()> {
        let node = self.find_dir(path)?;
        if !self.entries(node)?.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        let (dir, name) = self.place(path)?;
        self.change(dir, vec![(name, None)], None).map(drop)
    }

    /// Makes the changes in `dir` that were complete at `upto` durable.
    pub(super) fn sync_dir(&mut self, dir: NodeId, upto: Seq) {
        let mut due: BTreeSet<Seq> = BTreeSet::new();
        for change in &self.unsynced {
            if change.dir == dir && change.seq <= upto {
                due.insert(change.seq);
                due.extend(change.needs);
            }
        }
        self.settle(|change| due.contains(&change.seq), |_| false);
    }

    /// A directory sync that failed: the changes it covered never become durable by themselves.
    pub(super) fn forget_dir(&mut self, dir: NodeId, upto: Seq) {
        self.unsynced
            .retain(|change| change.dir != dir || change.seq > upto);
    }

    /// Leaves what a power cut leaves, in names and in bytes.
    pub(super) fn power_cut(&mut self, rng: &mut Prng) {
        let mut luck = Luck::draw(rng);
        let mut kept: BTreeSet<Seq> = BTreeSet::new();
        let pending: BTreeSet<Seq> = self.unsynced.iter().map(|change| change.seq).collect();
        for change in &self.unsynced {
            let barred = |seq: &Seq| pending.contains(seq) && !kept.contains(seq);
            if !change.needs.as_ref().is_some_and(barred) && luck.keeps(rng, change.seq) {
                kept.insert(change.seq);
            }
        }
        self.settle(|change| kept.contains(&change.seq), |_| true);
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => file.power_cut(rng),
                Node::Dir { entries, durable } => *entries = durable.clone(),
            }
        }
        self.sweep(|_| false);
    }

    /// Gives up nodes that no name, durable or not, leads to and that `is_open` denies.
    pub(super) fn sweep(&mut self, is_open: impl Fn(NodeId) -> bool) {
        let names = self.unsynced.iter().flat_map(|change| &change.names);
        let unsynced: Vec<NodeId> = names.filter_map(|(_, node)| *node).collect();
        let (mut live, mut to_visit) = (BTreeSet::new(), vec![ROOT]);
        to_visit.extend(unsynced);
        to_visit.extend(self.nodes.keys().filter(|node| is_open(**node)));
        while let Some(node) = to_visit.pop() {
            if !live.insert(node) {
                continue;
            }
            if let Some(Node::Dir { entries, durable }) = self.nodes.get(&node) {
                to_visit.extend(entries.values().chain(durable.values()));
            }
        }
        self.nodes.retain(|node, _| live.contains(node));
    }

    /// Space taken by files that have a name or are open.
    pub(super) fn used(&self, is_open: impl Fn(NodeId) -> bool) -> u64 {
        let mut named: BTreeSet<NodeId> = BTreeSet::new();
        for node in self.nodes.values() {
            if let Node::Dir { entries, .. } = node {
                named.extend(entries.values());
            }
        }
        let counts = |node: &NodeId| named.contains(node) || is_open(*node);
        let nodes = self.nodes.iter().filter(|(node, _)| counts(node));
        nodes
            .map(|(_, node)| match node {
                Node::File(file) => file.allocated(),
                Node::Dir { .. } => 0,
            })
            .sum()
    }

    fn entries(&self, dir: NodeId) -> Result<&Entries> {
        match self.nodes.get(&dir) {
            Some(Node::Dir { entries, .. }) => Ok(entries),
            Some(Node::File(_)) => Err(Errno::NOTDIR),
            None => Err(Errno::NOENT),
        }
    }

    fn find(&self, path: &Path) -> Result<NodeId> {
        names(path)?.iter().try_fold(ROOT, |dir, name| {
            self.entries(dir)?.get(*name).copied().ok_or(Errno::NOENT)
        })
    }

    /// The directory that holds `path`'s last name, and that name.
    fn place(&self, path: &Path) -> Result<(NodeId, String)> {
        let names = names(path)?;
        let (last, above) = names.split_last().ok_or(Errno::INVAL)?;
        let dir = self.find(&above.iter().collect::<PathBuf>())?;
        self.entries(dir).map(|_| (dir, (*last).to_owned()))
    }

    fn is_inside(&self, path: &Path, dir: NodeId) -> bool {
        let mut above = path.ancestors().skip(1);
        above.any(|above| self.find(above) == Ok(dir))
    }

    fn make(&mut self, path: &Path, node: Node) -> Result<NodeId> {
        let (dir, name) = self.place(path)?;
        if self.entries(dir)?.contains_key(&name) {
            return Err(Errno::EXIST);
        }
        let id = self.next_node;
        self.next_node += 1;
        self.nodes.insert(id, node);
        self.change(dir, vec![(name, Some(id))], None).map(|_| id)
    }

    /// Changes names where reads see them, and notes the change as unsynced.
    fn change(
        &mut self,
        dir: NodeId,
        names: Vec<(String, Option<NodeId>)>,
        needs: Option<Seq>,
    ) -> Result<Seq> {
        let Some(Node::Dir { entries, .. }) = self.nodes.get_mut(&dir) else {
            return Err(Errno::NOENT);
        };
        apply(entries, &names);
        let seq = self.seq();
        self.unsynced.push(Change {
            seq,
            dir,
            names,
            needs,
        });
        Ok(seq)
    }

    /// Applies the unsynced changes that `kept` names to the durable level, in order, and drops those and the ones
    /// that `lost` names.
    fn settle(&mut self, kept: impl Fn(&Change) -> bool, lost: impl Fn(&Change) -> bool) {
        for change in std::mem::take(&mut self.unsynced) {
            if kept(&change) {
                if let Some(Node::Dir { durable, .. }) = self.nodes.get_mut(&change.dir) {
                    apply(durable, &change.names);
                }
            } else if !lost(&change) {
                self.unsynced.push(change);
            }
        }
    }
}

fn empty_dir() -> Node {
    Node::Dir {
        entries: Entries::new(),
        durable: Entries::new(),
    }
}

fn apply(entries: &mut Entries, names: &[(String, Option<NodeId>)]) {
    for (name, node) in names {
        match node {
            Some(node) => entries.insert(name.clone(), *node),
            None => entries.remove(name),
        };
    }
}

/// The names along `path`. Relative paths begin at the root: there is no working directory here.
fn names(path: &Path) -> Result<Vec<&str>> {
    let parts = path.components().filter_map(|part| match part {
        Component::RootDir | Component::CurDir => None,
        Component::Normal(name) => Some(name.to_str().ok_or(Errno::INVAL)),
        Component::ParentDir | Component::Prefix(_) => Some(Err(Errno::INVAL)),
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree_with(files: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for dir in ["/a", "/b"] {
            tree.make_dir(Path::new(dir)).expect("new");
        }
        for file in files {
            tree.create(Path::new(file)).expect("new");
        }
        for dir in ["/", "/a", "/b"] {
            let node = tree.find_dir(Path::new(dir)).expect("made");
            tree.sync_dir(node, tree.newest());
        }
        tree
    }

    fn files_after_cuts(tree: &Tree) -> BTreeSet<Vec<String>> {
        let cut = |seed| {
            let mut tree = tree.clone();
            tree.power_cut(&mut Prng::new(seed));
            let files = tree.files().into_iter();
            files.map(|(path, _)| path.display().to_string()).collect()
        };
        (0..200).map(cut).collect()
    }

    #[test]
    fn names_live_by_the_sync_of_their_directory() {
        let mut tree = tree_with(&["/a/x"]);
        tree.create(Path::new("/a/y")).expect("new");
        let states = files_after_cuts(&tree);
        assert_eq!(states.len(), 2, "{states:?}");
        let dir = tree.find_dir(Path::new("/a")).expect("made");
        tree.sync_dir(dir, tree.newest());
        tree.remove_file(Path::new("/a/x")).expect("there");
        let states = files_after_cuts(&tree);
        let expected = [vec!["/a/x", "/a/y"], vec!["/a/y"]];
        assert!(states.iter().eq(expected.iter()), "{states:?}");
    }

    #[test]
    fn a_rename_in_one_directory_is_atomic_and_across_never_loses() {
        let mut tree = tree_with(&["/a/x", "/a/y"]);
        tree.rename(Path::new("/a/x"), Path::new("/a/y"))
            .expect("ok");
        let states = files_after_cuts(&tree);
        assert!(
            states
                .iter()
                .eq([vec!["/a/x", "/a/y"], vec!["/a/y"]].iter())
        );
        let mut tree = tree_with(&["/a/x"]);
        tree.rename(Path::new("/a/x"), Path::new("/b/x"))
            .expect("ok");
        let states = files_after_cuts(&tree);
        let expected = [vec!["/a/x"], vec!["/a/x", "/b/x"], vec!["/b/x"]];
        assert!(states.iter().eq(expected.iter()), "{states:?}");
        let source = tree.find_dir(Path::new("/a")).expect("made");
        tree.sync_dir(source, tree.newest());
        assert!(files_after_cuts(&tree).iter().eq([vec!["/b/x"]].iter()));
    }

    #[test]
    fn a_directory_whose_own_name_is_lost_takes_its_content_along() {
        let mut tree = Tree::new();
        let dir = tree.make_dir(Path::new("/d")).expect("new");
        tree.create(Path::new("/d/f")).expect("new");
        tree.sync_dir(dir, tree.newest());
        let states = files_after_cuts(&tree);
        assert!(
            states.iter().eq([vec![], vec!["/d/f"]].iter()),
            "{states:?}"
        );
    }

    #[test]
    fn refusals_are_those_of_linux() {
        let mut tree = tree_with(&["/a/x"]);
        let path = Path::new;
        assert_eq!(tree.create(path("/a/x")), Err(Errno::EXIST));
        assert_eq!(tree.create(path("/c/x")), Err(Errno::NOENT));
        assert_eq!(tree.create(path("/a/x/y")), Err(Errno::NOTDIR));
        assert_eq!(tree.create(path("/a/../x")), Err(Errno::INVAL));
        assert_eq!(tree.remove_file(path("/a")), Err(Errno::ISDIR));
        assert_eq!(tree.remove_dir(path("/a")), Err(Errno::NOTEMPTY));
        assert_eq!(tree.remove_dir(path("/a/x")), Err(Errno::NOTDIR));
        assert_eq!(tree.rename(path("/a/z"), path("/a/y")), Err(Errno::NOENT));
        assert_eq!(tree.rename(path("/a/x"), path("/b")), Err(Errno::ISDIR));
        assert_eq!(tree.rename(path("/a"), path("/a/q")), Err(Errno::INVAL));
        assert_eq!(tree.find_file(path("/a")), Err(Errno::ISDIR));
    }
}
