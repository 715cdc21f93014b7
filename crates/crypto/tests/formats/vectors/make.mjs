// Makes new vectors: keys by OpenSSL, OpenSSH lines by ssh-keygen, JWKs and thumbprints by Node. Run it in this folder.
//
// Only the public halves are written. The P-256 key is drawn until its x begins with a zero byte.
import { execFileSync } from "node:child_process";
import { createHash, createPublicKey, generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const rsa = () => generateKeyPairSync("rsa", { modulusLength: 2048 }).publicKey;
const ec = (namedCurve) => () => generateKeyPairSync("ec", { namedCurve }).publicKey;

/** ssh-keygen converts no Ed25519 keys, so it makes this one: the last 32 bytes of its line are the point. */
function ed25519() {
  const folder = mkdtempSync(join(tmpdir(), "vectors-"));
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", join(folder, "key")]);
  const line = readFileSync(join(folder, "key.pub"), "utf8").trim();
  rmSync(folder, { recursive: true });
  writeFileSync("ed25519.pub", line + "\n");
  const x = Buffer.from(line.split(" ")[1], "base64").subarray(-32).toString("base64url");
  return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
}

const keys = [
  { name: "rsa_pkcs1_2048_sha256", alg: "RS256", make: rsa, convert: true },
  { name: "ecdsa_p256_sha256", alg: "ES256", make: ec("P-256"), convert: true, zero: true },
  { name: "ecdsa_p384_sha384", alg: "ES384", make: ec("P-384"), convert: true },
  { name: "ecdsa_p521_sha512", alg: "ES512", make: ec("P-521"), convert: true },
  { name: "ecdsa_secp256k1_sha256", alg: "ES256K", make: ec("secp256k1"), convert: false },
  { name: "ed25519", alg: "EdDSA", make: ed25519, convert: false },
];

/** An object's JSON, its members sorted by name. */
const sorted = (members) => JSON.stringify(members, Object.keys(members).sort());

for (const { name, alg, make, convert, zero } of keys) {
  let key = make();
  while (zero && Buffer.from(key.export({ format: "jwk" }).x, "base64url")[0] !== 0) key = make();
  writeFileSync(`${name}.pem`, key.export({ type: "spki", format: "pem" }));

  // What Node exports are the members that RFC 7638 takes the thumbprint over.
  const members = key.export({ format: "jwk" });
  const kid = createHash("sha256").update(sorted(members)).digest("base64url");
  writeFileSync(`${name}.jwk.json`, sorted({ ...members, alg, kid, use: "sig" }) + "\n");

  if (convert) {
    writeFileSync(`${name}.pub`, execFileSync("ssh-keygen", ["-i", "-m", "PKCS8", "-f", `${name}.pem`]));
  }
}
