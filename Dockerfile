# The operator's image: one static binary, no shell, not root.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api/ api/
COPY cmd/ cmd/
COPY internal/ internal/
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /oauth-operator ./cmd/oauth-operator

FROM gcr.io/distroless/static:nonroot
COPY --from=build /oauth-operator /oauth-operator
USER 65532:65532
ENTRYPOINT ["/oauth-operator"]
