//! What a group looks like from outside.

use crate::base::group::{GroupDescription, GroupListing, MemberDescription};
use crate::group::state::Group;

impl Group {
    pub(super) fn listing(&self, name: &str) -> GroupListing {
        GroupListing {
            group: name.to_owned(),
            protocol_type: self.protocol_type.clone(),
            state: self.state(),
        }
    }

    pub(super) fn describe(&self, name: &str) -> GroupDescription {
        let members = self.members_by_age().into_iter();
        GroupDescription {
            listing: self.listing(name),
            generation: self.generation,
            protocol: self.protocol.clone(),
            members: members
                .map(|(id, member)| MemberDescription {
                    identity: member.identity(id),
                    client: member.client.clone(),
                    host: member.host.clone(),
                    metadata: member.metadata(&self.protocol),
                    assignment: member.assignment.clone(),
                })
                .collect(),
        }
    }
}
