# syntax=docker/dockerfile:1
# Chancery with SoftHSM2, for trying it out and, with `serve`, for real: see deploy/docker/README.md.
# Versions are pinned here and nowhere else; RUST_VERSION is the toolchain that .ci/run was last passed with.
ARG RUST_VERSION=1.95.0
ARG DEBIAN_RELEASE=bookworm
ARG DEBIAN_VERSION=12.11

FROM rust:${RUST_VERSION}-slim-${DEBIAN_RELEASE} AS build
WORKDIR /src
# What is left out is in .dockerignore.
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --bin chancery \
    && install -D target/release/chancery /out/chancery

FROM debian:${DEBIAN_VERSION}-slim
COPY softhsm/install.sh /usr/local/share/chancery/install-softhsm.sh
RUN /usr/local/share/chancery/install-softhsm.sh \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 chancery \
    && useradd --system --uid 10001 --gid chancery --home-dir /var/lib/chancery --shell /usr/sbin/nologin chancery \
    && install -d -m 700 -o chancery -g chancery /var/lib/chancery
COPY --from=build /out/chancery /usr/local/bin/chancery
COPY deploy/docker/entrypoint.sh deploy/docker/healthcheck.sh deploy/docker/first-key.sh /usr/local/share/chancery/

USER 10001:10001
WORKDIR /var/lib/chancery
VOLUME /var/lib/chancery
# gRPC over TLS; metrics and probes in plain HTTP.
EXPOSE 8443 9443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s --retries=3 \
    CMD ["/usr/local/share/chancery/healthcheck.sh"]
ENTRYPOINT ["/usr/local/share/chancery/entrypoint.sh"]
CMD ["dev"]
