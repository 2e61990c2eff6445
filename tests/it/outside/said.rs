//! What is said of jobs afterwards: feedback, and the sums of what they used.

use reqwest::Method;
use serde_json::json;

use super::service::Service;

#[tokio::test]
async fn feedback_is_kept_with_its_job() {
    let service = Service::start("");
    let job = service.submit("larger", json!({ "n": 1 })).await;
    service.job(&job, "succeeded").await;
    let path = format!("/v1/jobs/{job}/feedback");
    let said = json!({ "score": 0.5, "comment": "nearly", "labels": { "by": "hand" } });
    let kept = service.post(&path, &said).await;
    assert!(kept["id"].as_str().unwrap().starts_with("fbk_"), "{kept}");
    let listed = service.get(&path).await;
    assert_eq!(listed["items"][0], kept);
    assert_eq!((&kept["score"], &kept["comment"]), (&json!(0.5), &json!("nearly")));
    for (wrong, pointer) in [(json!({ "score": 2 }), "/score"), (json!({}), "")] {
        let (status, problem) = service.ask(Method::POST, &path, Some(&wrong)).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!(pointer)), "{problem}");
    }
    let nowhere = service.ask(Method::POST, "/v1/jobs/job_0/feedback", Some(&said)).await;
    assert_eq!(nowhere.0, 404);
}

#[tokio::test]
async fn usage_counts_the_jobs_of_each_flow_and_day() {
    let service = Service::start("");
    for n in [1, 2] {
        let job = service.submit("larger", json!({ "n": n })).await;
        service.job(&job, "succeeded").await;
    }
    let failed = service.submit("few", json!({ "items": [1, 2] })).await;
    service.job(&failed, "failed").await;
    let by_flow = service.get("/v1/usage?group_by=flow").await;
    let of = |name: &str| {
        let items = by_flow["items"].as_array().unwrap();
        items.iter().find(|item| item["group"] == name).unwrap().clone()
    };
    assert_eq!((&of("larger")["jobs"], &of("larger")["succeeded"]), (&json!(2), &json!(2)), "{by_flow}");
    assert_eq!((&of("few")["jobs"], &of("few")["failed"]), (&json!(1), &json!(1)), "{by_flow}");
    assert_eq!(of("larger")["usage"]["model_calls"], 0);
    let all = service.get("/v1/usage").await;
    assert_eq!((&all["items"][0]["jobs"], all["items"].as_array().unwrap().len()), (&json!(3), 1), "{all}");
    let days = service.get("/v1/usage?group_by=day").await;
    let n: u64 = days["items"].as_array().unwrap().iter().map(|day| day["jobs"].as_u64().unwrap()).sum();
    assert_eq!(n, 3, "{days}");
    assert_eq!(service.ask(Method::GET, "/v1/usage?group_by=colour", None).await.0, 400);
}
