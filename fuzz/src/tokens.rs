use std::path::Path;

use bytes::Bytes;
use oncemq::auth::{Authenticator, Request, Verdict};
use oncemq::codec::ClientId;
use oncemq::config::{Provider, ProviderKind, Security};
use oncemq::timestamp::{Timestamp, WallTime};

thread_local! {
    static AUTHENTICATOR: Authenticator = authenticator();
}

/// Any password is judged without a panic, and only a token that the issuer has signed is accepted.
pub(crate) fn tokens(input: &[u8]) {
    let request = Request {
        client_id: ClientId::from("c"),
        user_name: Some("u".into()),
        password: Some(Bytes::copy_from_slice(input)),
        method: None,
        data: None,
        exchange: None,
        address: None,
        is_local: false,
        certificate_identity: None,
        client_ids: Default::default(),
        listener: "tcp".into(),
        at: Timestamp(1),
        wall: WallTime(1_700_000_000_000),
    };
    match AUTHENTICATOR.with(|authenticator| authenticator.authenticate(&request).0) {
        Verdict::Accept(decision) => {
            assert_eq!(input, SIGNED);
            assert_eq!(decision.user.as_deref(), Some("device-7"));
        }
        Verdict::Refuse(refusal) => assert!(input != SIGNED && refusal.reason_code.is_error()),
        Verdict::Continue { .. } => panic!("a token is judged at once"),
    }
}

fn authenticator() -> Authenticator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = [path.join("issuer.pem"), path.join("fuzz/issuer.pem")].into_iter().find(|path| path.exists());
    let provider = Provider { public_key_file: path, ..Provider::new(ProviderKind::Jwt) };
    Authenticator::new(&Security::default(), &[provider], &[]).expect("a public key")
}

/// `{"sub": "device-7", "exp": 1700000100}`, signed with the private key of `issuer.pem`.
const SIGNED: &[u8] = include_bytes!("../seeds/tokens/es256");
