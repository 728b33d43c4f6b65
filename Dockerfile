# SPDX-License-Identifier: Apache-2.0
# rac-proxy with its runtime layer, in an image that holds the program, the libraries it links, and certificates: no shell, no package
# manager, no root. `packaging/image` makes the same image without docker and without pulling anything.
#
#   docker build -t rac-proxy .
#   docker run --network host -v rac:/var/lib/rac-proxy rac-proxy
#   docker run -p 9090:9090 -v rac:/var/lib/rac-proxy rac-proxy --listen :9090 --open
FROM debian:bookworm-slim AS build
WORKDIR /src
COPY . .
RUN ./run.sh --build-only
RUN packaging/image --root build /image

FROM scratch
COPY --from=build /image/ /
USER 65532:65532
VOLUME /var/lib/rac-proxy
EXPOSE 9090
ENTRYPOINT ["/usr/bin/rac-proxy", "--config", "/etc/rac-proxy/config.yaml"]
