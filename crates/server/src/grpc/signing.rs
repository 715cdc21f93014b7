//! SigningService.

use super::Office;
use crate::convert::mac::{
    Checking, Making, mac_sign_request, mac_sign_response, mac_verify_request, mac_verify_response, random_request,
    random_response,
};
use crate::convert::signing::{
    Batch, Checked, Verification, batch_sign_request, batch_sign_result, get_public_key_request, public_key,
    sign_request, sign_response, verify_request, verify_response,
};
use crate::errors;
use chancery_api::v1;
use chancery_api::v1::signing_service_server::SigningService;
use tonic::{Request, Response, Status, async_trait};

pub(crate) struct Signing(pub(crate) Office);

#[async_trait]
impl SigningService for Signing {
    async fn sign(&self, request: Request<v1::SignRequest>) -> Result<Response<v1::SignResponse>, Status> {
        let Office { core, metrics } = &self.0;
        let handler = |from, message| async move {
            let Checked { request, input_checked } = sign_request(message)?;
            let answer = core.sign(&from, request).await?;
            metrics.signed(&answer);
            Ok(sign_response(answer, input_checked))
        };
        self.0.handle(request, handler).await
    }

    async fn batch_sign(
        &self,
        request: Request<v1::BatchSignRequest>,
    ) -> Result<Response<v1::BatchSignResponse>, Status> {
        let Office { core, metrics } = &self.0;
        let handler = |from, message| async move {
            let Batch { requests, input_checked } = batch_sign_request(message)?;
            let answers = core.batch_sign(&from, requests).await?;
            for answer in &answers {
                match answer {
                    Ok(answer) => metrics.signed(answer),
                    // An item's refusal does not pass where a call's does.
                    Err(error) => {
                        errors::log(error);
                        metrics.refused(&errors::refusal(error));
                    }
                }
            }
            let results = answers.into_iter().zip(input_checked);
            Ok(v1::BatchSignResponse {
                results: results.map(|(answer, input_checked)| batch_sign_result(answer, input_checked)).collect(),
            })
        };
        self.0.handle(request, handler).await
    }

    async fn verify(&self, request: Request<v1::VerifyRequest>) -> Result<Response<v1::VerifyResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let Verification { request, input_checked, signature_checked } = verify_request(message)?;
            let answer = core.verify(&from, request).await?;
            Ok(verify_response(&answer, input_checked, signature_checked))
        };
        self.0.handle(request, handler).await
    }

    async fn get_public_key(
        &self,
        request: Request<v1::GetPublicKeyRequest>,
    ) -> Result<Response<v1::PublicKey>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (name, format) = get_public_key_request(message)?;
            public_key(&*core.get_public_key(&from, name).await?, format)
        };
        self.0.handle(request, handler).await
    }

    type StreamSignStream = tokio_stream::wrappers::ReceiverStream<Result<v1::StreamSignResponse, Status>>;

    async fn stream_sign(
        &self,
        _request: Request<tonic::Streaming<v1::StreamSignRequest>>,
    ) -> Result<Response<Self::StreamSignStream>, Status> {
        Err(Status::unimplemented("StreamSign"))
    }

    async fn batch_verify(
        &self,
        _request: Request<v1::BatchVerifyRequest>,
    ) -> Result<Response<v1::BatchVerifyResponse>, Status> {
        Err(Status::unimplemented("BatchVerify"))
    }

    async fn sign_jwt(&self, _request: Request<v1::SignJwtRequest>) -> Result<Response<v1::SignJwtResponse>, Status> {
        Err(Status::unimplemented("SignJwt"))
    }

    async fn mac_sign(&self, request: Request<v1::MacSignRequest>) -> Result<Response<v1::MacSignResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let Making { request, message_checked } = mac_sign_request(message)?;
            let answer = core.mac_sign(&from, request).await?;
            Ok(mac_sign_response(answer, message_checked))
        };
        self.0.handle(request, handler).await
    }

    async fn mac_verify(
        &self,
        request: Request<v1::MacVerifyRequest>,
    ) -> Result<Response<v1::MacVerifyResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let Checking { request, message_checked, mac_checked } = mac_verify_request(message)?;
            let answer = core.mac_verify(&from, request).await?;
            Ok(mac_verify_response(&answer, message_checked, mac_checked))
        };
        self.0.handle(request, handler).await
    }

    async fn generate_random_bytes(
        &self,
        request: Request<v1::GenerateRandomBytesRequest>,
    ) -> Result<Response<v1::GenerateRandomBytesResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let (ring, length) = random_request(message)?;
            Ok(random_response(core.generate_random_bytes(&from, &ring, length).await?))
        };
        self.0.handle(request, handler).await
    }
}
