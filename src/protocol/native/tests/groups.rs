//! Requests about consumer groups, and their replies.

use super::*;
use crate::base::group::{
    Committed, Generation, GroupDescription, GroupListing, GroupState, Identity, MemberDescription,
};
use crate::base::limits::GROUP_NAME_BYTES_MAX;

fn asks() -> [(&'static str, GroupAsk); 5] {
    let group = || "readers".to_owned();
    let offsets = vec![(key(0), Offset(7)), (key(9), Offset(1 << 40))];
    [
        ("list_groups", GroupAsk::List { after: None }),
        (
            "list_groups_after",
            GroupAsk::List {
                after: Some(group()),
            },
        ),
        (
            "describe_group",
            GroupAsk::Describe {
                group: group(),
                first: 512,
            },
        ),
        (
            "commit_offsets",
            GroupAsk::Commit {
                group: group(),
                offsets,
            },
        ),
        ("delete_group", GroupAsk::Delete { group: group() }),
    ]
}

fn listing(group: &str) -> GroupListing {
    GroupListing {
        group: group.to_owned(),
        protocol_type: "consumer".to_owned(),
        state: GroupState::CompletingRebalance,
    }
}

fn described(members: usize) -> GroupDescription {
    let member = |no: usize| MemberDescription {
        identity: Identity {
            member: format!("client-{no}"),
            instance: no.is_multiple_of(2).then(|| "i".repeat(5_000)),
        },
        client: "c".repeat(no),
        host: "/127.0.0.1".to_owned(),
        metadata: bytes::Bytes::new(),
        assignment: bytes::Bytes::new(),
    };
    GroupDescription {
        listing: listing("readers"),
        generation: Generation(3),
        protocol: "range".to_owned(),
        members: (0..members).map(member).collect(),
    }
}

fn offsets(count: u32) -> Vec<(PartitionKey, Committed)> {
    let offset = |no| {
        let committed = Committed {
            offset: Offset(u64::from(no)),
            leader_epoch: 0,
            metadata: "not told".to_owned(),
            at: TimestampMs(-1),
        };
        (key(no), committed)
    };
    (0..count).map(offset).collect()
}

pub(super) fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let mut w = RequestWriter::new();
    let mut one = |ask: &GroupAsk| frame(|o| w.group(11, ask, o).expect("within limits"));
    asks().iter().map(|(name, ask)| (*name, one(ask))).collect()
}

pub(super) fn replies() -> Vec<(&'static str, Vec<u8>)> {
    let mut w = ReplyWriter::new();
    let listed = [listing("readers"), listing("writers")];
    vec![
        ("groups_listed", frame(|o| w.groups_listed(12, &listed, o))),
        (
            "group_described",
            frame(|o| w.group_described(13, &described(1), 0, &offsets(2), o)),
        ),
        ("offsets_committed", frame(|o| w.offsets_committed(14, o))),
        ("group_deleted", frame(|o| w.group_deleted(15, o))),
    ]
}

fn told(bytes: &[u8]) -> GroupTold {
    match reply(bytes) {
        Reply::Group(told) => told,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_broker_reads_what_a_tool_asks() {
    for ((name, ask), (_, bytes)) in asks().into_iter().zip(requests()) {
        let Request::Group(read) = request(&bytes) else {
            panic!("{name}");
        };
        assert_eq!(read, ask, "{name}");
    }
}

#[test]
fn a_tool_reads_what_the_broker_told() {
    let all = replies();
    let listed = GroupTold::Listed(vec![listing("readers"), listing("writers")], false);
    assert_eq!(told(&all[0].1), listed);
    let GroupTold::Described(page) = told(&all[1].1) else {
        panic!()
    };
    assert_eq!((page.member_count, page.offset_count), (1, 2));
    assert_eq!(page.group.listing, listing("readers"));
    assert_eq!(page.group.generation, Generation(3));
    let instance = page.group.members[0].identity.instance.as_deref();
    assert_eq!(instance, Some("i".repeat(512).as_str()), "it is cut");
    let at = TimestampMs(-1);
    assert_eq!(
        page.offsets,
        [(key(0), Offset(0), at), (key(1), Offset(1), at)]
    );
    assert_eq!(told(&all[2].1), GroupTold::Committed);
    assert_eq!(told(&all[3].1), GroupTold::Deleted);
    let asked = asks().map(|(_, ask)| ask);
    for (at, ask) in [
        (0, &asked[0]),
        (1, &asked[2]),
        (2, &asked[3]),
        (3, &asked[4]),
    ] {
        for (other, (_, bytes)) in all.iter().enumerate() {
            assert_eq!(ask.fits(&told(bytes)), at == other);
        }
    }
}

#[test]
fn pages_add_up_whatever_the_names_and_texts_are_like() {
    let mut writer = ReplyWriter::new();
    let name = |no: usize| format!("{no:04}{}", "n".repeat(GROUP_NAME_BYTES_MAX - 4));
    let groups: Vec<_> = (0..500).map(|no| listing(&name(no))).collect();
    let mut seen = 0;
    while seen < groups.len() {
        let out = frame(|o| writer.groups_listed(1, &groups[seen..], o));
        let GroupTold::Listed(page, more) = told(&out) else {
            panic!()
        };
        assert!(!page.is_empty() && page == groups[seen..seen + page.len()]);
        seen += page.len();
        assert_eq!(more, seen < groups.len());
    }
    let (group, offsets) = (described(2_000), offsets(1_300));
    let mut seen = 0;
    for expected in [512, 512, 276, 0] {
        let out = frame(|o| writer.group_described(1, &group, seen, &offsets, o));
        let GroupTold::Described(page) = told(&out) else {
            panic!()
        };
        assert_eq!((page.first, page.offsets.len()), (seen, expected));
        assert_eq!((page.member_count, page.offset_count), (2_000, 1_300));
        assert!(page.group.members.len() > 10);
        seen += expected as u32;
    }
}

#[test]
fn what_no_group_has_is_refused() {
    let mut w = RequestWriter::new();
    let mut refusal = |ask: GroupAsk| {
        let bytes = frame(|o| w.group(1, &ask, o).expect("a writer does not know"));
        let frame = take(&bytes);
        Request::decode(frame.header, frame.body).expect_err("refused")
    };
    let long = "g".repeat(GROUP_NAME_BYTES_MAX + 1);
    assert_eq!(
        refusal(GroupAsk::Delete { group: long }).code(),
        ErrorCode::LimitExceeded
    );
    let negative = GroupAsk::Commit {
        group: "g".to_owned(),
        offsets: vec![(key(0), Offset(1 << 63))],
    };
    assert_eq!(refusal(negative).code(), ErrorCode::Malformed);
    let none = GroupAsk::Commit {
        group: "g".to_owned(),
        offsets: Vec::new(),
    };
    assert!(
        RequestWriter::new()
            .group(1, &none, &mut Vec::new())
            .is_err()
    );
}
