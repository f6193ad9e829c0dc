//! Who uses a topic: consumer groups with their members and positions, and where its records begin and
//! end. Admin calls that rust-rdkafka does not wrap; each blocks its thread for at most the given time.

#![expect(
    unsafe_code,
    reason = "rust-rdkafka wraps neither the calls about groups nor ListOffsets"
)]

use super::admin::{CallError, Owned, c_string, call, text};
use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use std::collections::BTreeMap;
use std::ffi::c_char;
use std::time::Duration;

/// A consumer group as its coordinator describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub group: String,
    /// `stable`, `empty` and so on.
    pub state: String,
    /// For each member the topics of its partitions; a topic stands there once for each partition.
    pub members: Vec<Vec<String>>,
}

/// Where records of a partition are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    /// The first one that is still there.
    Earliest,
    /// Behind the last one.
    Latest,
    /// The one with the largest timestamp.
    MaxTimestamp,
}

/// The answer for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The offset; -1 when there is none.
    pub offset: i64,
    /// The timestamp in milliseconds; -1 when there is none.
    pub timestamp: i64,
}

/// The ids of all consumer groups.
///
/// # Errors
/// When no broker answers in time, or one says no.
pub fn group_ids<C: ClientContext>(
    client: &Client<C>,
    limit: Duration,
) -> Result<Vec<String>, CallError> {
    let op = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS;
    let event = call(client, op, limit, |options, queue| {
        // SAFETY: all pointers are valid for the call, which copies what it needs.
        unsafe { rd::rd_kafka_ListConsumerGroups(client.native_ptr(), options, queue) };
    })?;
    let mut ids = Vec::new();
    // SAFETY: the event is of this call's type; the array and what it points to live as long as the event.
    unsafe {
        let result = rd::rd_kafka_event_ListConsumerGroups_result(event.0);
        let mut count = 0;
        let found = rd::rd_kafka_ListConsumerGroups_result_valid(result, &raw mut count);
        for index in 0..count {
            ids.push(text(rd::rd_kafka_ConsumerGroupListing_group_id(
                *found.add(index),
            )));
        }
    }
    Ok(ids)
}

/// Describes groups; those that their coordinator does not describe are left out.
///
/// # Errors
/// When no broker answers in time, or one says no.
pub fn describe_groups<C: ClientContext>(
    client: &Client<C>,
    groups: &[String],
    limit: Duration,
) -> Result<Vec<Group>, CallError> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let names = groups
        .iter()
        .map(|group| c_string(group))
        .collect::<Result<Vec<_>, _>>()?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let op = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    let event = call(client, op, limit, |options, queue| {
        // SAFETY: all pointers are valid for the call, which copies what it needs.
        unsafe {
            rd::rd_kafka_DescribeConsumerGroups(
                client.native_ptr(),
                pointers.as_mut_ptr(),
                pointers.len(),
                options,
                queue,
            );
        }
    })?;
    let mut described = Vec::new();
    // SAFETY: the event is of this call's type; the array and what it points to live as long as the event.
    unsafe {
        let result = rd::rd_kafka_event_DescribeConsumerGroups_result(event.0);
        let mut count = 0;
        let found = rd::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        for index in 0..count {
            let group = *found.add(index);
            let error = rd::rd_kafka_ConsumerGroupDescription_error(group);
            if !error.is_null()
                && rd::rd_kafka_error_code(error)
                    != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                continue;
            }
            let state = rd::rd_kafka_ConsumerGroupDescription_state(group);
            let members = 0..rd::rd_kafka_ConsumerGroupDescription_member_count(group);
            described.push(Group {
                group: text(rd::rd_kafka_ConsumerGroupDescription_group_id(group)),
                state: text(rd::rd_kafka_consumer_group_state_name(state)).to_lowercase(),
                members: members.map(|member| assigned(group, member)).collect(),
            });
        }
    }
    Ok(described)
}

/// The topics of a member's partitions.
///
/// # Safety
/// `group` is a description that lives for the time of the call.
unsafe fn assigned(
    group: *const rd::rd_kafka_ConsumerGroupDescription_t,
    member: usize,
) -> Vec<String> {
    // SAFETY: the description and what it points to are valid by the contract of this function.
    unsafe {
        let member = rd::rd_kafka_ConsumerGroupDescription_member(group, member);
        let assignment = rd::rd_kafka_MemberDescription_assignment(member);
        if assignment.is_null() {
            return Vec::new();
        }
        let list = rd::rd_kafka_MemberAssignment_partitions(assignment);
        elements(list).map(|element| text(element.topic)).collect()
    }
}

/// The elements of a list of partitions.
///
/// # Safety
/// `list` is null or valid for as long as the elements are used.
unsafe fn elements<'a>(
    list: *const rd::rd_kafka_topic_partition_list_t,
) -> impl Iterator<Item = &'a rd::rd_kafka_topic_partition_t> {
    // SAFETY: not null, and valid by the contract of this function.
    let list = unsafe { list.as_ref() };
    let count = list.map_or(0, |list| usize::try_from(list.cnt).unwrap_or(0));
    (0..count).filter_map(move |index| {
        // SAFETY: the list has `cnt` elements, and lives by the contract of this function.
        list.map(|list| unsafe { &*list.elems.add(index) })
    })
}

/// What a group has committed, by topic and partition.
///
/// # Errors
/// When no broker answers in time, or one says no.
pub fn committed<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    limit: Duration,
) -> Result<BTreeMap<(String, i32), i64>, CallError> {
    let name = c_string(group)?;
    // SAFETY: the name is a valid C string; no list means all partitions.
    let wanted =
        unsafe { rd::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), std::ptr::null()) };
    let wanted = Owned(wanted, rd::rd_kafka_ListConsumerGroupOffsets_destroy);
    let op = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
    let event = call(client, op, limit, |options, queue| {
        let mut all = [wanted.0];
        // SAFETY: all pointers are valid for the call, which copies what it needs.
        unsafe {
            rd::rd_kafka_ListConsumerGroupOffsets(
                client.native_ptr(),
                all.as_mut_ptr(),
                all.len(),
                options,
                queue,
            );
        }
    })?;
    let mut offsets = BTreeMap::new();
    // SAFETY: the event is of this call's type; the array and what it points to live as long as the event.
    unsafe {
        let result = rd::rd_kafka_event_ListConsumerGroupOffsets_result(event.0);
        let mut count = 0;
        let found = rd::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
        for index in 0..count {
            let list = rd::rd_kafka_group_result_partitions(*found.add(index));
            for element in elements(list).filter(|element| element.offset >= 0) {
                offsets.insert((text(element.topic), element.partition), element.offset);
            }
        }
    }
    Ok(offsets)
}

/// Where records of partitions are, by partition; those that do not answer are left out.
///
/// # Errors
/// When no broker answers in time, or one says no.
pub fn places<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partitions: i32,
    spec: Spec,
    limit: Duration,
) -> Result<BTreeMap<i32, Place>, CallError> {
    use rd::rd_kafka_OffsetSpec_t as Which;
    let name = c_string(topic)?;
    let which = match spec {
        Spec::Earliest => Which::RD_KAFKA_OFFSET_SPEC_EARLIEST,
        Spec::Latest => Which::RD_KAFKA_OFFSET_SPEC_LATEST,
        Spec::MaxTimestamp => Which::RD_KAFKA_OFFSET_SPEC_MAX_TIMESTAMP,
    };
    // SAFETY: a list of our own, freed by its owner.
    let list = Owned(
        unsafe { rd::rd_kafka_topic_partition_list_new(partitions.max(1)) },
        rd::rd_kafka_topic_partition_list_destroy,
    );
    for partition in 0..partitions {
        // SAFETY: the list is valid, and the name is copied; the element lives in the list.
        unsafe {
            let element = rd::rd_kafka_topic_partition_list_add(list.0, name.as_ptr(), partition);
            (*element).offset = i64::from(which as i32);
        }
    }
    let op = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
    let event = call(client, op, limit, |options, queue| {
        // SAFETY: all pointers are valid for the call, which copies what it needs.
        unsafe { rd::rd_kafka_ListOffsets(client.native_ptr(), list.0, options, queue) };
    })?;
    let mut places = BTreeMap::new();
    // SAFETY: the event is of this call's type; the array and what it points to live as long as the event.
    unsafe {
        let result = rd::rd_kafka_event_ListOffsets_result(event.0);
        let mut count = 0;
        let found = rd::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        for index in 0..count {
            let info = *found.add(index);
            let Some(place) = rd::rd_kafka_ListOffsetsResultInfo_topic_partition(info).as_ref()
            else {
                continue;
            };
            if place.err == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                let timestamp = rd::rd_kafka_ListOffsetsResultInfo_timestamp(info);
                let offset = place.offset;
                places.insert(place.partition, Place { offset, timestamp });
            }
        }
    }
    Ok(places)
}
