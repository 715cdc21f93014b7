//! SigningService.

use super::Office;
use super::answers::Answers;
use super::stream_sign::stream_sign;
use crate::convert::jwt::{sign_jwt_request, sign_jwt_response};
use crate::convert::mac::{
    Checking, Making, mac_sign_request, mac_sign_response, mac_verify_request, mac_verify_response, random_request,
    random_response,
};
use crate::convert::public_key::{get_public_key_request, public_key};
use crate::convert::signing::{
    Batch, Checked, Verification, batch_sign_request, batch_sign_result, batch_verify_request, batch_verify_result,
    sign_request, sign_response, verify_request, verify_response,
};
use crate::errors;
use chancery_api::v1;
use chancery_api::v1::signing_service_server::SigningService;
use chancery_core::{Error, SignAnswer, VerifyAnswer};
use chancery_fail_point::FailPoint;
use tonic::{Request, Response, Status, Streaming, async_trait};

pub(crate) struct Signing(pub(crate) Office);

#[async_trait]
impl SigningService for Signing {
    async fn sign(&self, request: Request<v1::SignRequest>) -> Result<Response<v1::SignResponse>, Status> {
        let Office { core, metrics, .. } = &self.0;
        let handler = |from, message| async move {
            let Checked { request, input_checked } = sign_request(message)?;
            let answer = core.sign(&from, request).await?;
            metrics.signed(&answer);
            FailPoint::AnswerReady.pass();
            Ok(sign_response(answer, input_checked))
        };
        self.0.handle(request, handler).await
    }

    async fn batch_sign(
        &self,
        request: Request<v1::BatchSignRequest>,
    ) -> Result<Response<v1::BatchSignResponse>, Status> {
        let Office { core, metrics, .. } = &self.0;
        let handler = |from, message| async move {
            let Batch { requests, checked } = batch_sign_request(message)?;
            let answers = core.batch_sign(&from, requests).await?;
            errors::log_items(answers.iter().filter_map(|answer| answer.as_ref().err()));
            let result = |(answer, checked)| {
                // An item's refusal does not pass where a call's does.
                let answer: Result<SignAnswer, Error> = answer;
                let answer = answer.inspect(|answer| metrics.signed(answer)).map_err(|error| self.0.word(&error));
                batch_sign_result(answer, checked)
            };
            FailPoint::AnswerReady.pass();
            Ok(v1::BatchSignResponse { results: answers.into_iter().zip(checked).map(result).collect() })
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

    type StreamSignStream = Answers<v1::StreamSignResponse>;

    async fn stream_sign(
        &self,
        request: Request<Streaming<v1::StreamSignRequest>>,
    ) -> Result<Response<Self::StreamSignStream>, Status> {
        let (_, mut extensions, messages) = request.into_parts();
        let opened = self.0.open(&mut extensions)?;
        let office = self.0.clone();
        let deadline = opened.deadline.whole;
        let work = |answers| stream_sign(office, opened, messages, answers);
        Ok(Response::new(Answers::of(&self.0, deadline, work)))
    }

    async fn batch_verify(
        &self,
        request: Request<v1::BatchVerifyRequest>,
    ) -> Result<Response<v1::BatchVerifyResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let Batch { requests, checked } = batch_verify_request(message)?;
            let answers = core.batch_verify(&from, requests).await?;
            errors::log_items(answers.iter().filter_map(|answer| answer.as_ref().err()));
            let result = |(answer, checked)| {
                let answer: Result<VerifyAnswer, Error> = answer;
                batch_verify_result(answer.map_err(|error| self.0.word(&error)), checked)
            };
            Ok(v1::BatchVerifyResponse { results: answers.into_iter().zip(checked).map(result).collect() })
        };
        self.0.handle(request, handler).await
    }

    async fn sign_jwt(&self, request: Request<v1::SignJwtRequest>) -> Result<Response<v1::SignJwtResponse>, Status> {
        let Office { core, metrics, .. } = &self.0;
        let handler = |from, message| async move {
            let answer = core.sign_jwt(&from, sign_jwt_request(message)?).await?;
            metrics.issued(&answer);
            Ok(sign_jwt_response(answer))
        };
        self.0.handle(request, handler).await
    }

    async fn mac_sign(&self, request: Request<v1::MacSignRequest>) -> Result<Response<v1::MacSignResponse>, Status> {
        let core = &self.0.core;
        let handler = |from, message| async move {
            let Making { request, message_checked } = mac_sign_request(message)?;
            let answer = core.mac_sign(&from, request).await?;
            FailPoint::AnswerReady.pass();
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
