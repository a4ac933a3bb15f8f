//! ListGroups: the groups that a broker coordinates. A client that wants all asks each broker, and some keep what each says
//! (librdkafka), so none may tell of another's.

use crate::base::group::GroupListing;
use crate::protocol::kafka::wire::message;

/// The only type of group that there is.
const TYPE: &str = "classic";

message! {
    /// Which: of these states and types, or all.
    pub struct ListGroupsRequest {
        states_filter: Vec<String> [4],
        types_filter: Vec<String> [5],
    }
}

message! {
    /// The answer.
    pub struct ListGroupsResponse {
        throttle_time_ms: i32 [1],
        error_code: i16 [0],
        groups: Vec<ListedGroup> [0],
    }
}

message! {
    /// A group.
    pub struct ListedGroup {
        group_id: String [0],
        protocol_type: String [0],
        group_state: String [4],
        group_type: String [5],
    }
}

/// The groups that are asked for.
pub fn answer(request: &ListGroupsRequest, groups: Vec<GroupListing>) -> ListGroupsResponse {
    let wants = |filter: &[String], is: &str| {
        filter.is_empty() || filter.iter().any(|one| one.eq_ignore_ascii_case(is))
    };
    let wanted = groups.into_iter().filter(|group| {
        wants(&request.states_filter, group.state.name()) && wants(&request.types_filter, TYPE)
    });
    let listed = |group: GroupListing| ListedGroup {
        group_id: group.group,
        protocol_type: group.protocol_type,
        group_state: group.state.name().to_owned(),
        group_type: TYPE.to_owned(),
    };
    ListGroupsResponse {
        groups: wanted.map(listed).collect(),
        ..ListGroupsResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::group::GroupState;

    #[test]
    fn filters_leave_out_what_was_not_asked_for() {
        let groups = [GroupState::Empty, GroupState::Stable].map(|state| GroupListing {
            group: state.name().to_owned(),
            protocol_type: "consumer".to_owned(),
            state,
        });
        let count = |states: &[&str], types: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let request = ListGroupsRequest {
                states_filter: owned(states),
                types_filter: owned(types),
            };
            answer(&request, groups.to_vec()).groups.len()
        };
        assert_eq!(count(&[], &[]), 2);
        assert_eq!(count(&["stable"], &[]), 1);
        assert_eq!(count(&["Stable", "Empty"], &["Classic"]), 2);
        assert_eq!(count(&[], &["consumer"]), 0);
    }
}
