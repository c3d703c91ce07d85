# The operator's image: one static binary, no shell, not root. `make image` builds the same without a container engine.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH
ARG VERSION=dev
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api/ api/
COPY cmd/ cmd/
COPY internal/ internal/
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags="-s -w -X main.version=$VERSION" -o /oauth-operator ./cmd/oauth-operator

FROM gcr.io/distroless/static:nonroot
ARG VERSION=dev
LABEL org.opencontainers.image.title="oauth-operator" \
      org.opencontainers.image.description="Keeps OAuth 2.0 access tokens fresh, and writes them into Secrets" \
      org.opencontainers.image.source="https://github.com/oauth-operator/oauth-operator" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /oauth-operator /oauth-operator
USER 65532:65532
ENTRYPOINT ["/oauth-operator"]
