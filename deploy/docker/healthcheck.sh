#!/bin/sh
# Whether the service in this container serves, asked at its public endpoint: by CHANCERY_ENDPOINT, CHANCERY_CA,
# CHANCERY_CERT and CHANCERY_KEY, or by CHANCERY_DEV, or else as the operator of the development service in CHANCERY_HOME.
set -eu

if [ -z "${CHANCERY_ENDPOINT:-}${CHANCERY_DEV:-}" ]; then
    export CHANCERY_DEV="${CHANCERY_HOME:-/var/lib/chancery}"
fi
exec chancery health --timeout 8
