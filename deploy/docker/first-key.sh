#!/bin/sh
# Makes the key dev/hello of a development service, unless it is there, signs with it once, and says what to try.
# Can be run again at any time.
set -eu

export CHANCERY_DEV="${CHANCERY_DEV:-${CHANCERY_HOME:-/var/lib/chancery}}"
key=dev/hello

if ! chancery keys show "$key" >/dev/null 2>&1; then
    chancery keys create "$key" --algorithm ECDSA_P256_SHA256
fi
date | chancery sign "$key"
cat <<'END'

Chancery signs. Try:

  date | docker compose exec -T chancery chancery sign dev/hello
  docker compose exec chancery chancery audit list

and look at the call: http://localhost:16686 (traces), http://localhost:3000 (dashboard).
END
