//! Calls Chancery as a service would: signs, checks the signature, makes a JWT, streams, and reads why a call was denied.
//!
//! Usage: `CHANCERY_DEV=DIR cargo run [KEY]`, or `CHANCERY_ENDPOINT`, `CHANCERY_CA`, `CHANCERY_CERT` and `CHANCERY_KEY` in
//! place of `CHANCERY_DEV`. KEY is the name of a P-256 key, `keyRings/dev/keys/example` where not given.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use chancery_client::{
    Client, ClientError, ConnectOptions, EcdsaEncoding, JwtRequest, KeyRef, PublicKeyFormat, RefusalKind, SignItem,
};
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::DecodePublicKey as _;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let key: KeyRef = std::env::args().nth(1).unwrap_or("keyRings/dev/keys/example".to_owned()).parse()?;
    // One for the life of your service: it is cheap to clone, connects again by itself, and follows renewed certificates.
    let client = Client::connect(from_environment()?).await?;
    sign(&client, &key).await?;
    sign_jwt(&client, &key).await?;
    stream(&client, &key).await?;
    be_denied(&client).await
}

/// Where the service is, and as whom to call.
fn from_environment() -> Result<ConnectOptions> {
    let variable = |name: &str| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let Ok(folder) = variable("CHANCERY_DEV") else {
        let [endpoint, ca, cert, key] =
            ["ENDPOINT", "CA", "CERT", "KEY"].map(|name| variable(&format!("CHANCERY_{name}")));
        return Ok(ConnectOptions::new(endpoint?, ca?, cert?, key?));
    };
    let dev: serde_json::Value = serde_json::from_slice(&std::fs::read(Path::new(&folder).join("dev.json"))?)?;
    let text = |pointer: &str| dev.pointer(pointer).and_then(|value| value.as_str()).ok_or("dev.json is not whole");
    Ok(ConnectOptions::new(text("/endpoint")?, text("/ca")?, text("/caller/cert")?, text("/caller/key")?))
}

async fn sign(client: &Client, key: &KeyRef) -> Result<()> {
    let message = b"pay 5 to Ada";
    // The client has compared the checksums (CRC-32C) of what was sent and of what came.
    let signed = client.sign(key, message, EcdsaEncoding::Der).await?;
    // The version that signed: after a rotation the key's name means another one.
    let public = verifying_key(client, signed.version.clone().into()).await?;
    public.verify(message, &Signature::from_der(&signed.signature)?)?;
    println!("signed and verified with {}, record {}", signed.version, signed.record_index);
    Ok(())
}

/// A service that trusts nobody pins this, rather than asking; see `Client::verify_locally`.
async fn verifying_key(client: &Client, version: KeyRef) -> Result<VerifyingKey> {
    let public = client.public_key(version, PublicKeyFormat::Pem).await?;
    Ok(VerifyingKey::from_public_key_pem(std::str::from_utf8(&public.data)?)?)
}

async fn sign_jwt(client: &Client, key: &KeyRef) -> Result<()> {
    let claims = serde_json::json!({"iss": "https://billing.example", "sub": "ada", "aud": "https://ledger.example"});
    let request = JwtRequest::new(claims.to_string()).lifetime(Duration::from_secs(300));
    let jwt = client.sign_jwt(key, request).await?;
    // What any JOSE library does with the keys of /.well-known/jwks.json; the receiver must check `aud` and `exp` too.
    let (signed, signature) = jwt.token.rsplit_once('.').ok_or("not a compact JWS")?;
    let signature = Signature::from_slice(&Base64UrlUnpadded::decode_vec(signature)?)?;
    verifying_key(client, jwt.version.clone().into()).await?.verify(signed.as_bytes(), &signature)?;
    println!("JWT verified, key id {}", jwt.key_id);
    Ok(())
}

async fn stream(client: &Client, key: &KeyRef) -> Result<()> {
    let (sender, mut answers) = client.stream_sign().await?;
    let message = |number: usize| format!("pay {number} to Ada").into_bytes();
    let key = key.clone();
    let sending = tokio::spawn(async move {
        for number in 0..5 {
            // Waits while the service is behind.
            sender.send(number.to_string(), SignItem::new(&key, message(number))).await?;
        }
        Ok::<_, ClientError>(()) // dropping the sender ends the stream
    });
    let mut count = 0;
    // Answers come as they are ready, in any order. One that failed does not end the stream.
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        let signed = answer.result?;
        let public = verifying_key(client, signed.version.into()).await?;
        public.verify(&message(answer.correlation_id.parse()?), &Signature::from_der(&signed.signature)?)?;
        count += 1;
    }
    sending.await??;
    if count != 5 {
        return Err(format!("not answered: {:?}", answers.unanswered()).into());
    }
    println!("streamed {count} signatures");
    Ok(())
}

async fn be_denied(client: &Client) -> Result<()> {
    match client.sign("keyRings/dev/keys/not-mine", "pay 5 to Eve", EcdsaEncoding::Der).await {
        Err(ClientError::Refused(refusal)) if refusal.kind() == RefusalKind::Denied => {
            println!("denied as it should be: {refusal}");
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(_) => Err("the call was not denied".into()),
    }
}
