#!/bin/sh
# What a container runs.
#
#   (nothing), dev      A development service in $CHANCERY_HOME: a SoftHSM token, certificates, a configuration and a database
#                       are made there where they are missing, and kept.
#   anything else       The command line: serve --config /etc/chancery/chancery.toml, health, config check ...
#
#   CHANCERY_HOME           the folder (default: /var/lib/chancery)
#   CHANCERY_LISTEN         where callers connect (default: 0.0.0.0:8443)
#   CHANCERY_ADMIN_LISTEN   where metrics and probes are served (default: 0.0.0.0:9443)
#   CHANCERY_OTLP_ENDPOINT  an OpenTelemetry collector, http://host:port (default: as configured; none in a new folder)
set -eu

if [ "$#" -gt 0 ] && [ "$1" != dev ]; then
    exec chancery "$@"
fi

home=${CHANCERY_HOME:-/var/lib/chancery}
listen=${CHANCERY_LISTEN:-0.0.0.0:8443}
admin=${CHANCERY_ADMIN_LISTEN:-0.0.0.0:9443}
config=$home/chancery.toml

# CHANCERY_DEV is for those who call the service, and the folder may not be there yet.
unset CHANCERY_DEV
chancery dev --dir "$home" --listen "$listen" --admin-listen "$admin" --prepare

otlp=${CHANCERY_OTLP_ENDPOINT:-}
if [ -n "$otlp" ]; then
    case $otlp in
        *[!A-Za-z0-9:/._-]*)
            echo "CHANCERY_OTLP_ENDPOINT is $otlp; write http://host:port" >&2
            exit 2
            ;;
    esac
    # In place of the line that is there, or as the first of its section; into a file beside it, renamed when it is whole.
    awk -v line="otlp_endpoint = \"$otlp\"" '
        /^otlp_endpoint[ \t]*=/ { next }
        { print }
        /^\[telemetry\]/ { print line }
    ' "$config" > "$config.new"
    mv "$config.new" "$config"
fi
chancery config check "$config"

# No shell stays between the engine's signals and the service.
exec chancery dev --dir "$home" --listen "$listen" --admin-listen "$admin"
