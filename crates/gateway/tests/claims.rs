//! What a client claims in the gateway's name does not reach the app, in either protocol.

#[path = "support/h2.rs"]
mod h2_support;
mod support;

use h2_support::{H2, whole};
use http::Request;
use support::{Ark, Backend};

/// Names that an app could take for the gateway's own.
const CLAIMS: [&str; 9] = [
    "X_Forwarded_For",
    "X-Forwarded_For",
    "x_forwarded-proto",
    "X_Forwarded_Proto",
    "X_FORWARDED_HOST",
    "X_Ark_Timeout_Ms",
    "X-Ark-Mirror",
    "X_Ark_Mirror",
    "X-Forwarded-Proto",
];

#[tokio::test]
async fn what_is_the_gateways_to_say_is_not_the_clients() {
    let backend = Backend::echo("ok").await;
    let (ark, _) = Ark::with(&[&backend]).await;
    let mut over_h1 = ark.client().await;
    let mut over_h2 = H2::connect(ark.http).await;
    for claim in CLAIMS {
        let fields = format!("{claim}: claimed\r\nX_Other_Field: kept");
        over_h1.say(&format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n\r\n")).await;
        assert_eq!(over_h1.answer().await.status, 200, "{claim}");
        let request = Request::get("http://a.test/")
            .header(claim.to_ascii_lowercase(), "claimed")
            .header("x_other_field", "kept");
        let (response, _) = over_h2.begin(request.body(()).unwrap(), true).await;
        assert_eq!(whole(response).await.unwrap().status, 200, "{claim}");
    }
    let heads = backend.heads.lock().unwrap();
    assert_eq!(heads.len(), 2 * CLAIMS.len());
    for head in heads.iter() {
        assert!(!head.contains("claimed"), "{head}");
        let said = head.to_ascii_lowercase();
        assert!(said.contains("x_other_field: kept\r\n"), "{head}");
        assert!(said.contains("x-forwarded-for: 127.0.0.1\r\n"), "{head}");
        assert!(said.contains("x-forwarded-proto: http\r\n"), "{head}");
    }
}
