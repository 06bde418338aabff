# syntax=docker/dockerfile:1

ARG RUST_VERSION=1.95
ARG DEBIAN=bookworm

FROM rust:${RUST_VERSION}-slim-${DEBIAN} AS build
WORKDIR /build
COPY . .
# The caches persist between builds, so a change of the source recompiles only the broker.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --package oncemq --bin oncemq --features otlp && \
    install -D target/release/oncemq /out/oncemq

FROM debian:${DEBIAN}-slim
RUN groupadd --system --gid 1883 oncemq && \
    useradd --system --uid 1883 --gid oncemq --no-create-home --home-dir /var/lib/oncemq --shell /usr/sbin/nologin oncemq && \
    install --directory --owner=oncemq --group=oncemq --mode=0700 /var/lib/oncemq
COPY --from=build /out/oncemq /usr/local/bin/oncemq
COPY configs/docker.toml /etc/oncemq/oncemq.toml

USER 1883:1883
WORKDIR /var/lib/oncemq
VOLUME /var/lib/oncemq
# MQTT, MQTT over TLS (if configured), MQTT over WebSocket, metrics and health
EXPOSE 1883 8883 8083 9883

# Asks the admin listener of the configuration whether clients can connect.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["oncemq", "health"]

# `docker stop` sends SIGTERM: the broker disconnects its clients within server.drain_timeout, 8 seconds by default.
ENV ONCEMQ_CONFIG=/etc/oncemq/oncemq.toml
ENTRYPOINT ["oncemq"]
