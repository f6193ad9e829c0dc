use super::*;
use crate::admin::tests::{NOW, sample_evidence, sample_policy, sample_request, viewer};
use crate::tests::assert_page;

fn page(tab: Tab, requests: &[Request]) -> String {
    let (evidence, around) = (sample_evidence(), BTreeMap::new());
    let data = Inbox {
        tab,
        requests,
        producers: &[],
        evidence: &evidence,
        policy: &sample_policy(),
        around: &around,
        next: Some("b 4"),
    };
    let page = inbox(&viewer(&[Role::Approver]), &data);
    assert_page(&page);
    page
}

#[test]
fn one_s_own_requests_show_what_became_of_them_and_why() {
    let rejected = Request {
        status: RequestStatus::Rejected,
        decided_by: Some("eva".to_owned()),
        decided_at: Some(NOW),
        decision_reason: Some("ask for fewer partitions".to_owned()),
        ..sample_request(Kind::Create, "ana")
    };
    let waiting = Request {
        request_id: 5,
        ..sample_request(Kind::Delete, "ana")
    };
    let page = page(Tab::Mine, &[rejected, waiting]);
    assert!(page.contains("<b>Rejected:</b> ask for fewer partitions"));
    assert_eq!(page.matches("decided by <b>eva</b>").count(), 1);
    assert!(page.contains("/ui/requests/5/withdraw") && !page.contains("/ui/requests/4/withdraw"));
    assert!(page.contains("tab=mine&#38;cursor=b%204"), "{page}");
    assert!(page.contains("href=\"/ui/requests?tab=mine\" aria-current=\"page\""));
    assert!(!page.contains("/approve"), "one decides in the inbox");
}

#[test]
fn a_deletion_is_approved_beside_its_evidence_and_with_the_name_typed_when_it_is_in_use() {
    let request = [Request {
        topic_name: "orders".to_owned(),
        ..sample_request(Kind::Delete, "sam")
    }];
    let page = page(Tab::Pending, &request);
    let approve = page.split("/ui/requests/4/approve").nth(1).unwrap();
    let form = approve.split("</form>").next().unwrap();
    assert!(
        form.contains("type <code>orders</code>") && form.contains("name=\"confirm\" required")
    );
    for found in [
        "Last write (UTC)",
        "Consumer groups",
        "In use:",
        "Approve the deletion",
    ] {
        assert!(page.contains(found), "{found}");
    }
}
