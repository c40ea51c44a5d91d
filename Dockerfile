# One image for each program: docker build --target api .     (or updater, hostsync)
FROM debian:trixie-slim AS build
WORKDIR /src
COPY scripts/setup scripts/
RUN scripts/setup build image && rm -rf /var/lib/apt/lists/*
COPY . .
RUN make -s -j"$(nproc)" CFLAGS=-O2 all && strip build/silodns-* && \
	for program in api updater hostsync; do scripts/image-root build/silodns-$program /image/$program || exit; done

FROM scratch AS hostsync
LABEL org.opencontainers.image.title="silodns hosts keeper" org.opencontainers.image.licenses="MIT"
COPY --from=build /image/hostsync /
# A hosts file belongs to root. No capability is needed beside that.
USER 0:0
ENV SILODNS_STATE_DIR=/state
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/usr/bin/silodns-hostsync", "--check"]
ENTRYPOINT ["/usr/bin/silodns-hostsync"]

FROM scratch AS updater
LABEL org.opencontainers.image.title="silodns updater" org.opencontainers.image.licenses="MIT"
COPY --from=build /image/updater /
USER 10001:10001
# The source command: wants a shell, which this image does not have: build one FROM an image that has what the command needs.
ENV SILODNS_STATE_DIR=/state
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/usr/bin/silodns-updater", "--check"]
ENTRYPOINT ["/usr/bin/silodns-updater"]

FROM scratch AS api
LABEL org.opencontainers.image.title="silodns hub" org.opencontainers.image.licenses="MIT"
COPY --from=build /image/api /
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s CMD ["/usr/bin/silodns-api", "check"]
ENTRYPOINT ["/usr/bin/silodns-api"]
