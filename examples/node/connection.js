// How to reach the service, and as whom.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Takes the folder of a running `chancery dev` from CHANCERY_DEV, or else CHANCERY_ENDPOINT, CHANCERY_CA, CHANCERY_CERT and
 * CHANCERY_KEY.
 * @returns {{endpoint: string, ca: Buffer, cert: Buffer, key: Buffer}}
 */
export function fromEnvironment({ env } = process) {
  let endpoint = env.CHANCERY_ENDPOINT;
  let files = { ca: env.CHANCERY_CA, cert: env.CHANCERY_CERT, key: env.CHANCERY_KEY };
  if (env.CHANCERY_DEV) {
    const dev = JSON.parse(readFileSync(join(env.CHANCERY_DEV, 'dev.json'), 'utf8'));
    endpoint = dev.endpoint;
    files = { ca: dev.ca, ...dev.caller };
  }
  if (!endpoint || !files.ca || !files.cert || !files.key) {
    throw new Error('set CHANCERY_DEV, or CHANCERY_ENDPOINT, CHANCERY_CA, CHANCERY_CERT and CHANCERY_KEY');
  }
  return { endpoint, ca: readFileSync(files.ca), cert: readFileSync(files.cert), key: readFileSync(files.key) };
}
