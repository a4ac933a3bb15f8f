//! What a group looks like from outside.

use crate::base::group::{GroupDescription, GroupListing, GroupState, MemberDescription};
use crate::group::state::Group;
use bytes::Bytes;

impl Group {
    pub(super) fn listing(&self, name: &str) -> GroupListing {
        GroupListing {
            group: name.to_owned(),
            protocol_type: self.protocol_type.clone(),
            state: self.state(),
        }
    }

    pub(super) fn describe(&self, name: &str) -> GroupDescription {
        let is_stable = self.state() == GroupState::Stable;
        let members = self.members_by_age().into_iter();
        GroupDescription {
            listing: self.listing(name),
            generation: self.generation,
            protocol: match is_stable {
                true => self.protocol.clone(),
                false => String::new(),
            },
            members: members
                .map(|(id, member)| MemberDescription {
                    identity: member.identity(id),
                    client: member.client.clone(),
                    host: member.host.clone(),
                    metadata: match is_stable {
                        true => member.metadata(&self.protocol),
                        false => Bytes::new(),
                    },
                    assignment: member.assignment.clone(),
                })
                .collect(),
        }
    }
}
