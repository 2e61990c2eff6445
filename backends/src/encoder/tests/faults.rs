//! What becomes of every way in which a server can fail.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body as AxumBody;
use axum::response::Response as AxumResponse;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A server that reads a request, sends `bytes` as they are and closes; its address.
async fn raw_server(bytes: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 64 * 1024];
        let _n_read = socket.read(&mut request).await.unwrap();
        socket.write_all(bytes.as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
        while socket.read(&mut request).await.is_ok_and(|n_read| n_read > 0) {}
    });
    url
}

#[tokio::test]
async fn a_single_text_that_is_too_large_is_rejected_with_the_servers_words() {
    for client in CLIENTS {
        let n_requests = Arc::new(Mutex::new(0));
        let count = n_requests.clone();
        let url = server(move |_| {
            *count.lock().unwrap() += 1;
            (StatusCode::PAYLOAD_TOO_LARGE, r#"{"error":"a text is too long"}"#)
        })
        .await;
        let error = client.ask(settings(&url), &TEXTS).await.unwrap_err();
        let said =
            matches!(&error, Error::Rejected { message, .. } if message.ends_with(": a text is too long"));
        assert!(said, "{client:?}: {error:?}");
        assert_eq!(*n_requests.lock().unwrap(), 3, "5 texts, then 2, then 1");
    }
}

#[tokio::test]
async fn another_refusal_is_not_tried_again() {
    for client in CLIENTS {
        let url = server(|_| (StatusCode::UNAUTHORIZED, r#"{"error":{"message":"who are you?"}}"#)).await;
        let settings = EncoderSettings { api_key: Some("s3cret".into()), ..settings(&url) };
        let error = client.ask(settings, &TEXTS).await.unwrap_err().to_string();
        let host = url.trim_start_matches("http://");
        assert_eq!(
            error,
            format!("model `m` at {host} rejected the request: 401 Unauthorized: who are you?")
        );
    }
}

#[tokio::test]
async fn an_overloaded_server_is_left_alone_for_as_long_as_it_asks() {
    for client in CLIENTS {
        for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
            let url = server(move |_| (status, [("retry-after", "7")], r#"{"error":"Model is overloaded"}"#));
            let error = client.ask(settings(&url.await), &TEXTS).await.unwrap_err();
            assert!(
                matches!(&error, Error::Overloaded { retry_after: Some(after), message, .. }
                    if *after == Duration::from_secs(7) && message.ends_with("overloaded")),
                "{client:?}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time_has_timed_out() {
    for client in CLIENTS {
        let silent = Router::new().fallback(|| async { std::future::pending::<()>().await });
        let trickling = Router::new().fallback(|| async {
            let first = futures::stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"["))]);
            AxumBody::from_stream(futures::StreamExt::chain(first, futures::stream::pending()))
        });
        for router in [silent, trickling] {
            let url = serve(router).await;
            let settings = EncoderSettings { timeout: Duration::from_millis(30), ..settings(&url) };
            let error = client.ask(settings, &TEXTS).await.unwrap_err();
            assert!(
                matches!(&error, Error::TimedOut { message, .. } if message.contains("`timeout`")),
                "{client:?}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_failing_or_missing_server_is_unavailable() {
    for client in CLIENTS {
        let url = server(|_| StatusCode::INTERNAL_SERVER_ERROR).await;
        let error = client.ask(settings(&url), &TEXTS).await.unwrap_err();
        assert!(matches!(&error, Error::Unavailable { .. }), "{client:?}: {error:?}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = client.ask(settings(&url), &TEXTS).await.unwrap_err();
        assert!(
            matches!(&error, Error::Unreached { message, .. } if message.starts_with("cannot connect")),
            "{client:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_unavailable() {
    for client in CLIENTS {
        for bytes in [
            "",
            "HTTP/1.1 200 OK\r\ncontent-le",
            "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n[[0.1, 0.2",
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"data\": [",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n[[0",
        ] {
            // A body of the wrong shape that ends too early may be called either.
            let error = client.ask(settings(&raw_server(bytes).await), &["a"]).await.unwrap_err();
            let is_told =
                matches!(&error, Error::Unavailable { .. }) || matches!(&error, Error::Garbled { .. });
            assert!(is_told, "{client:?}: {bytes}: {error:?}");
        }
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    for client in CLIENTS {
        let url = server(|_| {
            let endless =
                futures::stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[b' '; 4096])));
            AxumResponse::builder().body(AxumBody::from_stream(endless)).unwrap()
        })
        .await;
        let settings = EncoderSettings { max_response_bytes: 50_000, ..settings(&url) };
        let error = client.ask(settings, &["a"]).await.unwrap_err();
        assert!(
            matches!(&error, Error::Garbled { message, .. } if message.contains("larger than 50000 bytes")),
            "{client:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_announces_a_gigabyte_is_not_read() {
    for client in CLIENTS {
        let url = raw_server("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n[").await;
        let error = client.ask(settings(&url), &["a"]).await.unwrap_err();
        assert!(
            matches!(&error, Error::Garbled { message, .. } if message.contains("larger")),
            "{client:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn an_error_with_a_status_of_success_is_told_as_what_it_is() {
    for client in CLIENTS {
        let url = server(|_| r#"{"error": "Model is overloaded", "error_type": "overloaded"}"#).await;
        let error = client.ask(settings(&url), &TEXTS).await.unwrap_err();
        assert!(
            matches!(&error, Error::Overloaded { message, .. } if message == "Model is overloaded"),
            "{client:?}: {error:?}"
        );
        let url = server(|_| r#"{"error": {"message": "no such model", "code": 404}}"#).await;
        let error = client.ask(settings(&url), &TEXTS).await.unwrap_err();
        assert!(
            matches!(&error, Error::Rejected { message, .. } if message == "no such model"),
            "{client:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn what_is_no_answer_is_garbled() {
    let (two_vectors, two_ranks) = (r#"{"index": 0, "embedding": [1.0]}"#, r#"{"index": 0, "score": 0.5}"#);
    let cases: Vec<(Client, Vec<String>)> = vec![
        (
            Client::OpenAi,
            vec![
                r#"{"data": []}"#.into(),
                format!(r#"{{"data": [{two_vectors}]}}"#),
                format!(r#"{{"data": [{two_vectors}, {two_vectors}]}}"#),
                r#"{"data": [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}]}"#.into(),
                r#"{"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 0.0]}]}"#.into(),
                r#"{"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": []}]}"#.into(),
                r#"{"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [0.0]}]}"#.into(),
                r#"{"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [null]}]}"#.into(),
                r#"{"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1e300]}]}"#.into(),
                r#"{"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": "AAA"}]}"#.into(),
                r#"{"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": "AAAA"}]}"#.into(),
            ],
        ),
        (
            Client::TeiEmbed,
            vec!["[[1.0]]".into(), "[[1.0], [2.0], [3.0]]".into(), "[[1.0], 2.0]".into(), "[[0], [1]]".into()],
        ),
        (
            Client::TeiRerank,
            vec![
                format!("[{two_ranks}]"),
                format!("[{two_ranks}, {two_ranks}]"),
                r#"[{"index": 0, "score": 0.5}, {"index": 7, "score": 0.5}]"#.into(),
                r#"[{"index": 0, "score": 0.5}, {"index": -1, "score": 0.5}]"#.into(),
                r#"[{"index": 0, "score": 0.5}, {"index": 1, "score": null}]"#.into(),
                r#"[{"index": 0, "score": 0.5}, {"index": 1, "score": NaN}]"#.into(),
                r#"[{"index": 0, "score": 0.5}, {"index": 1, "score": "high"}]"#.into(),
            ],
        ),
        (
            Client::Cohere,
            vec![
                r#"{"results": []}"#.into(),
                r#"{"results": [{"index": 0, "relevance_score": 0.5}]}"#.into(),
                r#"{"results": [{"index": 0, "relevance_score": 0.5}, {"index": 0, "relevance_score": 0.5}]}"#.into(),
                r#"{"results": [{"index": 0, "relevance_score": 0.5}, {"index": 2, "relevance_score": 0.5}]}"#.into(),
                r#"{"results": [{"index": 0, "relevance_score": 0.5}, {"index": 1, "score": 0.5}]}"#.into(),
            ],
        ),
    ];
    for (client, bodies) in cases {
        for body in bodies.into_iter().chain(["<html>hello</html>".into(), "{}".into(), "7".into()]) {
            let answer = body.clone();
            let url = server(move |_| answer.clone()).await;
            let error = client.ask(settings(&url), &["a", "bb"]).await.unwrap_err();
            assert!(matches!(&error, Error::Garbled { .. }), "{client:?}: {body}: {error:?}");
        }
    }
}

#[tokio::test]
async fn dropping_the_call_closes_the_connection() {
    for client in CLIENTS {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let call = tokio::spawn(async move { client.ask(settings(&url), &["a"]).await });
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 64 * 1024];
        assert!(socket.read(&mut request).await.unwrap() > 0, "the request is on its way");
        call.abort();
        // Ends at once with a close or a reset; were the call still waiting, this would wait for its minute.
        while socket.read(&mut request).await.is_ok_and(|n_read| n_read > 0) {}
    }
}

#[test]
fn an_address_that_is_none_is_refused() {
    let error = TeiEmbedder::new(EncoderSettings::new("localhost:8080")).unwrap_err();
    assert!(error.to_string().starts_with("`localhost:8080` is no address of a model server"), "{error}");
    assert!(CohereReranker::new(EncoderSettings::new("https://api.cohere.com/v2/rerank")).is_ok());
}
