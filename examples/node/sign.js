// Calls Chancery as a service would: signs, checks the signature, makes a JWT, streams, and reads why a call was denied.
//
// Usage: CHANCERY_DEV=DIR node sign.js [KEY]
import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { createRemoteJWKSet, customFetch, jwtVerify } from 'jose';
import { Agent, fetch } from 'undici';

import { fromEnvironment } from './connection.js';
import { crc32c } from './crc32c.js';
import { errorInfo } from './errors.js';

const PROTO = fileURLToPath(new URL('../../proto', import.meta.url));
const { chancery } = grpc.loadPackageDefinition(
  loadSync('chancery/v1/signing_service.proto', {
    includeDirs: [PROTO],
    enums: String, // by name
    longs: String, // 64 bits do not fit into a number
    defaults: true,
    oneofs: true,
  }),
);

// Told to the service, which stops working on what nobody waits for.
const deadline = () => ({ deadline: Date.now() + 10_000 });

const signRequest = (name, message) => ({ name, input: { message, crc32c: crc32c(message) } });

/** Checks that an answer is whole, and its signature by Node's own library. */
async function check(signing, signed, message) {
  assert(signed.verifiedInputCrc32c && crc32c(signed.signature) === signed.signatureCrc32c, 'damaged; call again');
  // The version that signed: after a rotation the key's name means another one.
  const answer = await signing.getPublicKey({ name: signed.name }, deadline());
  assert.equal(crc32c(answer.data), answer.dataCrc32c, 'damaged; call again');
  assert(verify('sha256', message, createPublicKey(answer.data), signed.signature), `${signed.name}: not valid`);
}

async function sign(signing, key) {
  const message = Buffer.from('pay 5 to Ada');
  const signed = await signing.sign(signRequest(key, message), deadline());
  await check(signing, signed, message);
  console.log(`signed and verified with ${signed.name}, record ${signed.recordIndex}`);
}

async function signJwt(signing, key, { endpoint, ...tls }) {
  const claims = { iss: 'https://billing.example', sub: 'ada', aud: 'https://ledger.example' };
  const request = { name: key, claims: JSON.stringify(claims), lifetime: { seconds: 300 } };
  const { token } = await signing.signJwt(request, deadline());

  // What the receiver of the token does, with one key set for its life: jose caches it and follows rotations.
  const dispatcher = new Agent({ connect: tls });
  const address = new URL(`/.well-known/jwks.json?${new URLSearchParams({ name: key })}`, endpoint);
  const keys = createRemoteJWKSet(address, { [customFetch]: (url, options) => fetch(url, { ...options, dispatcher }) });
  const { payload } = await jwtVerify(token, keys, {
    algorithms: ['ES256'],
    issuer: 'https://billing.example',
    audience: 'https://ledger.example',
    requiredClaims: ['exp', 'iat', 'sub'],
  });
  await dispatcher.close();
  console.log(`JWT of ${payload.sub} verified through JWKS`);
}

async function stream(signing, key) {
  const messages = new Map(Array.from({ length: 5 }, (_, n) => [`invoice-${n}`, Buffer.from(`pay ${n} to Ada`)]));
  const calls = signing.streamSign(deadline());
  for (const [correlationId, message] of messages) {
    calls.write({ correlationId, request: signRequest(key, message) });
  }
  calls.end();
  // Answers come as they are ready, in any order. One that failed does not end the stream.
  for await (const { correlationId, error, response } of calls) {
    assert(!error, `${correlationId}: ${error?.message}`);
    await check(signing, response, messages.get(correlationId));
    messages.delete(correlationId);
  }
  assert.equal(messages.size, 0, `not answered: ${[...messages.keys()]}`);
  console.log('streamed 5 signatures');
}

async function beDenied(signing) {
  await assert.rejects(
    signing.sign(signRequest('keyRings/dev/keys/not-mine', Buffer.from('pay 5 to Eve')), deadline()),
    (error) => {
      const info = errorInfo(error);
      // Decide by the reason, which is stable; the message is for people.
      assert.deepEqual([error.code, info?.domain, info?.reason], [grpc.status.PERMISSION_DENIED, 'chancery', 'ACCESS_DENIED']);
      console.log(`denied as it should be: ${grpc.status[error.code]}, ${info.reason}`);
      return true;
    },
  );
}

const key = process.argv[2] ?? 'keyRings/dev/keys/example';
const connection = fromEnvironment();
// One client for the life of your service: calls share its connection.
const credentials = grpc.credentials.createSsl(connection.ca, connection.key, connection.cert);
const client = new chancery.v1.SigningService(connection.endpoint.replace('https://', ''), credentials);
const signing = {
  sign: promisify(client.sign).bind(client),
  signJwt: promisify(client.signJwt).bind(client),
  getPublicKey: promisify(client.getPublicKey).bind(client),
  streamSign: client.streamSign.bind(client),
};
try {
  await sign(signing, key);
  await signJwt(signing, key, connection);
  await stream(signing, key);
  await beDenied(signing);
} finally {
  client.close();
}
