//! What is decided about an answer, without a server.

use super::*;

fn failures() -> Failures {
    Failures { backend: "the server".into() }
}

fn ordered(found: &[(Option<usize>, char)], n_texts: usize) -> Result<String, String> {
    let order = in_order(found.to_vec(), n_texts, &failures());
    order.map(String::from_iter).map_err(|error| error.to_string())
}

#[test]
fn results_come_into_the_order_of_the_texts() {
    assert_eq!(ordered(&[(Some(1), 'b'), (Some(0), 'a')], 2).unwrap(), "ab");
    assert_eq!(ordered(&[(None, 'a'), (None, 'b')], 2).unwrap(), "ab");
    assert_eq!(ordered(&[], 0).unwrap(), "");
}

#[test]
fn results_that_fit_no_text_are_garbled() {
    for (found, said) in [
        (&[(Some(0), 'a')][..], "1 results for 2 texts"),
        (&[(Some(0), 'a'), (Some(0), 'b')], "two results with `index` 0"),
        (&[(Some(0), 'a'), (Some(2), 'b')], "a result with `index` 2, though there were 2 texts"),
        (&[(Some(0), 'a'), (None, 'b')], "a result without `index` among those with one"),
    ] {
        assert_eq!(ordered(found, 2).unwrap_err(), format!("the server gave a garbled answer: {said}"));
    }
}

#[test]
fn a_refusal_says_whether_it_is_about_the_size() {
    let is_about_size = |message: &str| is_too_large(&failures().rejected(message));
    for message in [
        "413 Payload Too Large",
        "413 Payload Too Large: batch size 64 > maximum allowed batch size 32",
        "422 Unprocessable Entity: batch size 64 > maximum allowed batch size 32",
        "400 Bad Request: Requested 400000 tokens, max 300000 tokens per request",
        "400 Bad Request: input is too long",
    ] {
        assert!(is_about_size(message), "{message}");
    }
    for message in ["400 Bad Request: no such model", "401 Unauthorized: batch", "404 Not Found"] {
        assert!(!is_about_size(message), "{message}");
    }
    assert!(!is_too_large(&failures().unavailable("413 Payload Too Large")));
}
