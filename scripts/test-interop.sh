#!/bin/sh
# Lets verifiers that know nothing of Chancery verify its tokens, with key sets that they fetch over mutual TLS: PyJWT in
# Python, jose in Node. Lets Kingfisher find API keys by the rule of deploy/scanners, and Go's packages for transparency logs
# verify an export of the log. Needs python3 with venv, node and npm, go, and their package indexes; a toolchain that is not
# there is skipped, and said so. Everything that is installed stays under target/interop.
set -eu
cd "$(dirname "$0")/.."

./softhsm/install.sh
# CHANCERY_BIN names a binary that is there already, as in .ci/run.
chancery=${CHANCERY_BIN:-}
if [ -z "$chancery" ]; then
    cargo build --locked --bin chancery
    chancery=${CARGO_TARGET_DIR:-target}/debug/chancery
fi
dir=$(mktemp -d)
log=$dir/dev.log
"$chancery" dev --dir "$dir/dev" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 >"$log" 2>&1 &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT
waited=0
until [ -s "$dir/dev/dev.json" ]; do
    if ! kill -0 "$pid" 2>/dev/null || [ "$waited" -ge 600 ]; then
        echo "chancery dev did not come up; it said:" >&2
        cat "$log" >&2
        exit 1
    fi
    sleep 0.1
    waited=$((waited + 1))
done
export CHANCERY_DEV="$dir/dev"

# Each key before and after a rotation: the old token's key must still be found.
tokens=$dir/tokens
claims='{"iss":"https://issuer.example","sub":"ada","aud":["https://api.example","https://more.example"]}'
for pair in RS256=RSA_PKCS1_2048_SHA256 RS512=RSA_PKCS1_4096_SHA512 PS256=RSA_PSS_2048_SHA256 PS512=RSA_PSS_4096_SHA512 \
    ES256=ECDSA_P256_SHA256 ES384=ECDSA_P384_SHA384 ES512=ECDSA_P521_SHA512 ES256K=ECDSA_SECP256K1_SHA256 EdDSA=ED25519; do
    jose=${pair%%=*}
    key=dev/jwt-$(echo "$jose" | tr '[:upper:]' '[:lower:]')
    "$chancery" keys create "$key" --algorithm "${pair#*=}" >/dev/null
    for rotated in no yes; do
        [ "$rotated" = no ] || "$chancery" keys rotate "$key" >/dev/null
        token=$("$chancery" jwt sign "$key" --claims "$claims" --lifetime 1h --type at+jwt 2>/dev/null)
        echo "$jose keyRings/dev/keys/${key#dev/} $token" >>"$tokens"
    done
done

if command -v python3 >/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null; then
    venv=target/interop/python
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/interop/python/requirements.txt
    "$venv/bin/python" tests/interop/python/verify_jwt.py "$dir/dev/dev.json" "$tokens"

    # Two API keys as they are issued, and each with another last character, which no checksum bears out.
    mkdir "$dir/leaked"
    for n in 1 2; do
        "$chancery" api-keys issue caller --lifetime 1h --read-only --key-file "$dir/leaked/key$n" 2>/dev/null
        last=x
        case $(cat "$dir/leaked/key$n") in *x) last=y ;; esac
        sed "s/.\$/$last/" "$dir/leaked/key$n" >"$dir/leaked/damaged$n"
    done
    "$venv/bin/python" tests/interop/python/find_api_keys.py "$venv/bin/kingfisher" deploy/scanners/kingfisher.yml "$dir/leaked"
else
    echo "skipped: PyJWT and Kingfisher, because python3 with venv is not here"
fi

if command -v node >/dev/null && command -v npm >/dev/null; then
    node=target/interop/node
    mkdir -p "$node"
    cp tests/interop/node/package.json tests/interop/node/package-lock.json tests/interop/node/verify_jwt.mjs "$node"
    npm ci --prefix "$node" --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
    node "$node/verify_jwt.mjs" "$dir/dev/dev.json" "$tokens"
else
    echo "skipped: jose, because node with npm is not here"
fi

# The log, exported twice, so that there are two checkpoints.
if command -v go >/dev/null; then
    "$chancery" audit export "$dir/log" --database "$dir/dev/chancery.db" >/dev/null
    "$chancery" keys create dev/later --algorithm ED25519 >/dev/null
    waited=0
    until [ -d "$dir/log/checkpoints" ]; do
        if [ "$waited" -ge 60 ]; then
            echo "no second checkpoint was signed within a minute" >&2
            exit 1
        fi
        sleep 1
        waited=$((waited + 1))
        "$chancery" audit export "$dir/log" --database "$dir/dev/chancery.db" >/dev/null
    done
    mkdir -p target/interop/go
    (cd tests/interop/go && go build -o ../../../target/interop/go/verify_log .)
    target/interop/go/verify_log "$dir/log" "$(cat "$dir/log/log-keys")"
else
    echo "skipped: the log, because go is not here"
fi
