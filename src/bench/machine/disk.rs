//! The disk under a directory: its mount says the file system, its device number leads through sysfs to the whole disk,
//! below partitions and through device mappers that stand on one disk.

use super::{Fact, Roots, UNKNOWN, chosen, gibibytes, line_or_unknown, unknown};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Layers of device mappers (encryption, volumes, a RAID of one) that are followed before giving up.
const LAYERS_MAX: usize = 8;

/// What lies under a directory.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub struct Disk {
    /// Type of the file system: `ext4`.
    pub filesystem: String,
    /// How it is mounted: `rw,relatime`, and the file system's own options.
    pub mount_options: String,
    /// The whole disk: `nvme0n1`. Where several carry it (a RAID), the device that joins them.
    pub device: String,
    /// What the disk calls itself.
    pub device_model: String,
    /// Capacity of the disk; 0: unknown.
    pub device_bytes: u64,
    /// Whether the kernel takes it for a spinning one: `yes`, `no`. Guests often inherit a wrong `yes`.
    pub rotational: String,
    /// The scheduler in front of it: `none`, `mq-deadline`.
    pub scheduler: String,
    /// `write back`: what is written survives a loss of power only after a flush. `write through`: at once.
    pub write_cache: String,
    /// Requests that its queue holds.
    pub queue_requests: String,
}

impl Disk {
    pub(super) fn facts(&self) -> Vec<Fact> {
        let fact = |label, text: String| Fact { label, text };
        let kind = match self.rotational.as_str() {
            "yes" => ", rotational",
            "no" => ", not rotational",
            _ => "",
        };
        let model = match self.device_model.as_str() {
            UNKNOWN => "",
            model => &format!(" ({model})"),
        };
        let size = gibibytes(self.device_bytes);
        let queue = format!("{}, {} requests", self.scheduler, self.queue_requests);
        vec![
            fact(
                "file system",
                format!("{} ({})", self.filesystem, self.mount_options),
            ),
            fact("disk", format!("{}{model}, {size}{kind}", self.device)),
            fact("disk write cache", self.write_cache.clone()),
            fact("disk queue", queue),
        ]
    }
}

/// One line of /proc/self/mountinfo, as far as it matters.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Mount {
    device: String,
    place: PathBuf,
    options: String,
    filesystem: String,
    source: String,
}

pub(super) fn look(roots: &Roots, dir: &Path) -> Disk {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mounts = roots.proc("self/mountinfo").unwrap_or_default();
    let mount = mount_of(&mounts, &dir);
    let block = mount.as_ref().and_then(|mount| block_device(roots, mount));
    let disk = block.map(|block| whole_disk(&block));
    let read = |name: &str| {
        let disk = disk.as_ref()?;
        std::fs::read_to_string(disk.join(name)).ok()
    };
    let sectors = read("size").and_then(|text| text.trim().parse::<u64>().ok());
    Disk {
        filesystem: mount
            .as_ref()
            .map_or_else(unknown, |mount| mount.filesystem.clone()),
        mount_options: mount.map_or_else(unknown, |mount| mount.options),
        device: disk
            .as_deref()
            .and_then(Path::file_name)
            .map_or_else(unknown, |name| name.to_string_lossy().into_owned()),
        device_model: line_or_unknown(read("device/model")),
        // Sysfs counts in sectors of 512 bytes, whatever the disk's own are.
        device_bytes: sectors
            .and_then(|count| count.checked_mul(512))
            .unwrap_or(0),
        rotational: match read("queue/rotational").as_deref().map(str::trim) {
            Some("0") => "no".to_owned(),
            Some("1") => "yes".to_owned(),
            _ => unknown(),
        },
        scheduler: read("queue/scheduler").map_or_else(unknown, |text| chosen(&text)),
        write_cache: line_or_unknown(read("queue/write_cache")),
        queue_requests: line_or_unknown(read("queue/nr_requests")),
    }
}

/// The mount that `dir` lies on: the longest place above it; of several at one place the last, which covers the others.
fn mount_of(mountinfo: &str, dir: &Path) -> Option<Mount> {
    mountinfo
        .lines()
        .filter_map(parse_mount)
        .filter(|mount| dir.starts_with(&mount.place))
        .max_by_key(|mount| mount.place.components().count())
}

/// `36 35 98:0 / /mnt rw,noatime master:1 - ext4 /dev/root rw,errors=continue`: a number of optional fields, then a dash.
fn parse_mount(line: &str) -> Option<Mount> {
    let (fields, behind) = line.split_once(" - ")?;
    let mut fields = fields.split(' ');
    let device = fields.nth(2)?.to_owned();
    let place = PathBuf::from(unescape(fields.nth(1)?));
    let mount_options = fields.next()?;
    let mut behind = behind.split(' ');
    let filesystem = behind.next()?.to_owned();
    let source = unescape(behind.next()?);
    let options = match behind.next() {
        Some(own) if own != mount_options => format!("{mount_options}; {own}"),
        _ => mount_options.to_owned(),
    };
    Some(Mount {
        device,
        place,
        options,
        filesystem,
        source,
    })
}

/// The kernel writes space, tab, line end and backslash as a backslash and three octal digits.
fn unescape(text: &str) -> String {
    let pairs = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    pairs
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The directory of sysfs of the mount's device. File systems that span disks have a device number of their own, which
/// sysfs does not know: there the source's name leads.
fn block_device(roots: &Roots, mount: &Mount) -> Option<PathBuf> {
    let by_number = roots.sys.join("dev/block").join(&mount.device);
    by_number.canonicalize().ok().or_else(|| {
        let name = Path::new(mount.source.strip_prefix("/dev/")?).file_name()?;
        roots.sys.join("class/block").join(name).canonicalize().ok()
    })
}

/// From a partition to its disk, and from a device that stands on exactly one other to that one.
fn whole_disk(block: &Path) -> PathBuf {
    let mut here = block.to_owned();
    for _ in 0..LAYERS_MAX {
        let parent = here.parent().map(Path::to_owned);
        if here.join("partition").exists()
            && let Some(parent) = parent
        {
            here = parent;
            continue;
        }
        match only_entry(&here.join("slaves")).and_then(|below| below.canonicalize().ok()) {
            Some(below) => here = below,
            None => break,
        }
    }
    here
}

fn only_entry(dir: &Path) -> Option<PathBuf> {
    let mut entries = std::fs::read_dir(dir).ok()?;
    let only = entries.next()?.ok()?.path();
    entries.next().is_none().then_some(only)
}

#[cfg(test)]
mod tests {
    //! Goal: the disk is found through partitions and mappers, and facts that are not there are unknown. Method: a
    //! sysfs of our own in a temporary directory, with links as the kernel makes them.

    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir()
                .join(format!("millrace-machine-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).expect("the temporary directory is writable");
            Self(path.canonicalize().expect("it exists"))
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
            fs::write(path, text).expect("writable");
        }

        fn link(&self, path: &str, to: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
            symlink(self.0.join(to), path).expect("writable");
        }

        fn roots(&self) -> Roots {
            Roots {
                proc: self.0.join("proc"),
                sys: self.0.join("sys"),
            }
        }

        fn with_disk(&self, disk: &str) {
            for (name, text) in [
                ("size", "2097152\n"),
                ("queue/rotational", "0\n"),
                ("queue/scheduler", "[none] mq-deadline\n"),
                ("queue/write_cache", "write back\n"),
                ("queue/nr_requests", "1023\n"),
                ("device/model", "Fast One 9000   \n"),
            ] {
                self.write(&format!("{disk}/{name}"), text);
            }
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_partition_leads_to_its_disk() {
        let fake = Fake::new("partition");
        fake.write(
            "proc/self/mountinfo",
            "22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,discard\n\
             23 22 0:20 / /proc rw - proc proc rw\n",
        );
        let disk = "sys/devices/pci0/nvme/nvme0n1";
        fake.with_disk(disk);
        fake.write(&format!("{disk}/nvme0n1p2/partition"), "2\n");
        fake.link("sys/dev/block/259:2", &format!("{disk}/nvme0n1p2"));
        let found = look(&fake.roots(), Path::new("/nonexistent/data"));
        let expected = Disk {
            filesystem: "ext4".to_owned(),
            mount_options: "rw,relatime; rw,discard".to_owned(),
            device: "nvme0n1".to_owned(),
            device_model: "Fast One 9000".to_owned(),
            device_bytes: 1 << 30,
            rotational: "no".to_owned(),
            scheduler: "none".to_owned(),
            write_cache: "write back".to_owned(),
            queue_requests: "1023".to_owned(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn an_encrypted_volume_leads_through_the_mapper() {
        let fake = Fake::new("mapper");
        fake.write(
            "proc/self/mountinfo",
            "30 1 0:41 /@ / rw - btrfs /dev/mapper/dm-0 rw\n",
        );
        fake.with_disk("sys/devices/sda");
        fake.write("sys/devices/sda/sda1/partition", "1\n");
        fake.link(
            "sys/devices/virtual/dm-0/slaves/sda1",
            "sys/devices/sda/sda1",
        );
        fake.link("sys/class/block/dm-0", "sys/devices/virtual/dm-0");
        let found = look(&fake.roots(), Path::new("/nonexistent"));
        assert_eq!(
            (found.device.as_str(), found.filesystem.as_str()),
            ("sda", "btrfs")
        );
        assert_eq!(found.write_cache, "write back");
    }

    #[test]
    fn a_raid_stays_itself() {
        let fake = Fake::new("raid");
        fake.write("proc/self/mountinfo", "30 1 9:0 / / rw - xfs /dev/md0 rw\n");
        fake.with_disk("sys/devices/sda");
        fake.with_disk("sys/devices/sdb");
        fake.link("sys/devices/md0/slaves/sda", "sys/devices/sda");
        fake.link("sys/devices/md0/slaves/sdb", "sys/devices/sdb");
        fake.link("sys/dev/block/9:0", "sys/devices/md0");
        let found = look(&fake.roots(), Path::new("/nonexistent"));
        assert_eq!(found.device, "md0");
        assert_eq!(found.write_cache, UNKNOWN);
    }

    #[test]
    fn the_longest_place_wins_and_of_two_the_last() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /data rw - xfs /dev/b rw\n\
                      3 1 8:3 / /data rw - btrfs /dev/c rw\n4 1 8:4 / /database rw - ext3 /dev/d rw\n";
        let found = |dir: &str| mount_of(mounts, Path::new(dir)).map(|mount| mount.filesystem);
        assert_eq!(found("/data/topics").as_deref(), Some("btrfs"));
        assert_eq!(found("/database").as_deref(), Some("ext3"));
        assert_eq!(found("/dat").as_deref(), Some("ext4"));
        assert_eq!(found("relative"), None);
    }

    #[test]
    fn places_with_spaces_are_read() {
        let line = r"9 1 8:9 / /my\040disk rw - ext4 /dev/x rw";
        let mount = parse_mount(line).expect("whole");
        assert_eq!(mount.place, Path::new("/my disk"));
        assert_eq!(mount.options, "rw");
    }

    #[test]
    fn a_line_cut_anywhere_is_a_mount_or_none() {
        let line =
            "36 35 98:0 / /mnt rw,noatime master:1 shared:2 - ext4 /dev/root rw,errors=continue";
        let source = line.find(" /dev").expect("it is there") + 1;
        for cut in 0..line.len() {
            assert_eq!(parse_mount(&line[..cut]).is_some(), cut >= source, "{cut}");
        }
    }
}
