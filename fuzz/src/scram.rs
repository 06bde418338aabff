use std::path::Path;

use bytes::Bytes;
use oncemq::auth::{Authenticator, Exchange, Request, Verdict};
use oncemq::codec::ClientId;
use oncemq::config::{ClientIdRule, Provider, ProviderKind, Security};
use oncemq::timestamp::{Timestamp, WallTime};

thread_local! {
    static AUTHENTICATOR: Authenticator = authenticator();
}

/// Any messages are judged without a panic: the first line of the input, and the rest, in which `%` stands for the nonce of the challenge. None is
/// accepted, because the nonce is random and the input can't have a proof for it.
pub(crate) fn scram(input: &[u8]) {
    let (first, last) = input.split_at(input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len()));
    for method in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let Some((challenge, exchange)) = challenge(&request(method, first, None)) else { continue };
        let text = std::str::from_utf8(&challenge).expect("the challenge is text");
        let nonce = text.strip_prefix("r=").and_then(|text| text.split(',').next()).expect("a nonce");
        let answer: Vec<u8> = last
            .iter()
            .skip(1)
            .flat_map(|byte| match byte {
                b'%' => nonce.as_bytes().to_vec(),
                byte => vec![*byte],
            })
            .collect();
        match judged(&request(method, &answer, Some(exchange))) {
            Verdict::Refuse(refusal) => assert!(refusal.reason_code.is_error()),
            other @ (Verdict::Accept(_) | Verdict::Continue { .. }) => panic!("{other:?}"),
        }
    }
}

fn challenge(request: &Request) -> Option<(Bytes, Exchange)> {
    match judged(request) {
        Verdict::Continue { authentication_data, exchange } => {
            Some((authentication_data.expect("a challenge"), exchange))
        }
        Verdict::Refuse(refusal) => {
            assert!(refusal.reason_code.is_error());
            None
        }
        Verdict::Accept(decision) => panic!("{decision:?}"),
    }
}

fn judged(request: &Request) -> Verdict {
    AUTHENTICATOR.with(|authenticator| authenticator.authenticate(request).0)
}

fn request(method: &'static str, data: &[u8], exchange: Option<Exchange>) -> Request {
    Request {
        client_id: ClientId::from("c"),
        user_name: None,
        password: None,
        method: Some(method.into()),
        data: Some(Bytes::copy_from_slice(data)),
        exchange,
        address: None,
        is_local: false,
        certificate_identity: None,
        listener: "tcp".into(),
        client_ids: ClientIdRule::Any,
        at: Timestamp(1),
        wall: WallTime(1_700_000_000_000),
    }
}

fn authenticator() -> Authenticator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = [path.join("scram.users"), path.join("fuzz/scram.users")].into_iter().find(|path| path.exists());
    let provider = Provider { file: path, ..Provider::new(ProviderKind::Scram) };
    Authenticator::new(&Security::default(), &[provider], &[]).expect("credentials")
}
