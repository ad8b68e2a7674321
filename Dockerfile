# Both programs, each an image of its own:
#   docker build --target operator  --tag registry.example.org/fleetform/operator  .
#   docker build --target simulator --tag registry.example.org/fleetform/simulator .
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package fleetform-operator --package fleetform-simulator

FROM debian:bookworm-slim AS base
# Event sinks, AWS, a mail server and servers with releases of software have certificates that the world trusts.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# Numeric, so that Kubernetes can tell that it is not root.
USER 65532:65532

FROM base AS operator
COPY --from=build /src/target/release/fleetform /usr/local/bin/fleetform
ENTRYPOINT ["fleetform"]

FROM base AS simulator
COPY --from=build /src/target/release/fleetform-simulator /usr/local/bin/fleetform-simulator
ENTRYPOINT ["fleetform-simulator"]
