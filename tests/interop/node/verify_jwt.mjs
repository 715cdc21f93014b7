// A verifier in another language: fetches key sets over mutual TLS and verifies tokens with jose, which knows nothing of
// Chancery. Exits with 1 at the first surprise.
//
// Usage: node verify_jwt.mjs DEV_JSON TOKENS
//
// TOKENS has a line for each token: JOSE algorithm, key, token.

import assert from "node:assert/strict";
import fs from "node:fs";
import https from "node:https";
import { createRemoteJWKSet, customFetch, decodeProtectedHeader, errors, jwtVerify } from "jose";

const [devPath, tokensPath] = process.argv.slice(2);
const dev = JSON.parse(fs.readFileSync(devPath, "utf8"));
const agent = new https.Agent({
  ca: fs.readFileSync(dev.ca),
  cert: fs.readFileSync(dev.caller.cert),
  key: fs.readFileSync(dev.caller.key),
  keepAlive: true,
});

let fetches = 0;

// Node's own fetch has no way to show a client certificate; its https module has.
function fetchWithCertificate(url, { headers, signal, method }) {
  fetches += 1;
  return new Promise((resolve, reject) => {
    const request = https.request(url, { agent, method, headers: Object.fromEntries(headers), signal }, (answer) => {
      const chunks = [];
      answer.on("data", (chunk) => chunks.push(chunk));
      answer.on("end", () => resolve(new Response(Buffer.concat(chunks), { status: answer.statusCode })));
      answer.on("error", reject);
    });
    request.on("error", reject);
    request.end();
  });
}

function keySet(name) {
  const url = new URL("/.well-known/jwks.json", dev.endpoint);
  url.searchParams.set("name", name);
  return createRemoteJWKSet(url, { [customFetch]: fetchWithCertificate });
}

// What WebCrypto in Node can verify; ES256K it cannot.
const known = ["RS256", "RS512", "PS256", "PS512", "ES256", "ES384", "ES512", "EdDSA"];
const lines = fs.readFileSync(tokensPath, "utf8").trim().split("\n").map((line) => line.split(" "));
const expected = { issuer: "https://issuer.example", audience: "https://api.example" };
const ofRing = keySet(dev.key_ring);
let verified = 0;
for (const [alg, key, token] of lines) {
  if (!known.includes(alg)) continue;
  for (const keys of [keySet(key), ofRing]) {
    const { payload, protectedHeader } = await jwtVerify(token, keys, { ...expected, algorithms: [alg], typ: "at+jwt" });
    assert.equal(payload.sub, "ada");
    assert.equal(payload.exp - payload.iat, 3600);
    assert.equal(protectedHeader.kid, decodeProtectedHeader(token).kid);
    await assert.rejects(jwtVerify(token, keys, { ...expected, audience: "https://other.example" }), errors.JWTClaimValidationFailed);
    const [header, , signature] = token.split(".");
    const forged = Buffer.from(JSON.stringify({ ...payload, sub: "eve" })).toString("base64url");
    await assert.rejects(jwtVerify([header, forged, signature].join("."), keys, expected), errors.JWSSignatureVerificationFailed);
  }
  verified += 1;
}
assert.ok(verified >= 2 * known.length, `${verified} tokens of ${known.length} algorithms, before and after a rotation`);
console.log(`jose ${JSON.parse(fs.readFileSync(new URL("package-lock.json", import.meta.url), "utf8")).packages["node_modules/jose"].version}: ${verified} tokens verified with ${fetches} key sets`);
agent.destroy();
