package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const (
	// user is not root. The Dockerfile, the manifests and the chart say the same.
	user         = "65532:65532"
	binary       = "oauth-operator"
	certificates = "etc/ssl/certs/ca-certificates.crt"
)

// labels are the image's.
func labels(o options) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "oauth-operator",
		"org.opencontainers.image.description": "Keeps OAuth 2.0 access tokens fresh, and writes them into Secrets",
		"org.opencontainers.image.source":      "https://github.com/oauth-operator/oauth-operator",
		"org.opencontainers.image.version":     o.version,
		"org.opencontainers.image.revision":    o.revision,
		"org.opencontainers.image.created":     o.created.Format(time.RFC3339),
	}
}

func emptyIndex() v1.ImageIndex {
	return mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
}

// buildIndex is the image for all architectures.
func buildIndex(o options) (v1.ImageIndex, error) {
	base, err := layerOf(o.created, baseFiles())
	if err != nil {
		return nil, err
	}
	index := emptyIndex()
	for _, architecture := range o.architectures {
		image, err := buildImage(o, architecture, base)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	return index, nil
}

func buildImage(o options, architecture string, base v1.Layer) (v1.Image, error) {
	content, err := os.ReadFile(filepath.Join(o.binaries, architecture, binary))
	if err != nil {
		return nil, fmt.Errorf("read the binary: %w", err)
	}
	program, err := layerOf(o.created, []file{{name: binary, mode: 0o755, content: content}})
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if image, err = mutate.AppendLayers(image, base, program); err != nil {
		return nil, fmt.Errorf("put the layers together: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", architecture, v1.Time{Time: o.created}
	for i := range config.History {
		config.History[i].Created = config.Created
	}
	config.Config = v1.Config{
		User: user, Entrypoint: []string{"/" + binary}, WorkingDir: "/", Labels: labels(o),
		Env: []string{"PATH=/", "SSL_CERT_FILE=/" + certificates},
	}
	return mutate.ConfigFile(image, config)
}

// file is one of a layer; a folder, if its name ends with a slash.
type file struct {
	name    string
	mode    fs.FileMode
	content []byte
}

// baseFiles are what a static binary may look for.
func baseFiles() []file {
	return []file{
		{name: "etc/", mode: 0o755},
		{name: "etc/passwd", mode: 0o644, content: []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n")},
		{name: "etc/group", mode: 0o644, content: []byte("root:x:0:\nnonroot:x:65532:\n")},
		{name: "etc/ssl/", mode: 0o755},
		{name: "etc/ssl/certs/", mode: 0o755},
		{name: certificates, mode: 0o644, content: roots()},
	}
}

// roots are those of Mozilla's program, as the Go project hands them out. Some are trusted only for certificates from before a
// day that is past; a file cannot say that, so these are left out.
func roots() []byte {
	var text bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			text.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return text.Bytes()
}

// layerOf packs files into a layer, all of one time, owned by root.
func layerOf(created time.Time, files []file) (v1.Layer, error) {
	var packed bytes.Buffer
	writer := tar.NewWriter(&packed)
	for _, file := range files {
		header := &tar.Header{Name: file.name, Mode: int64(file.mode), Size: int64(len(file.content)), ModTime: created, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if file.name[len(file.name)-1] == '/' {
			header.Typeflag = tar.TypeDir
		}
		if err := writer.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("pack %s: %w", file.name, err)
		}
		if _, err := writer.Write(file.content); err != nil {
			return nil, fmt.Errorf("pack %s: %w", file.name, err)
		}
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("pack a layer: %w", err)
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(packed.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}

// writeArchive packs the layout into one file, which container engines and registries' tools read.
func writeArchive(o options) (err error) {
	out, err := os.Create(o.archive())
	if err != nil {
		return err
	}
	writer := tar.NewWriter(out)
	err = filepath.WalkDir(o.layout(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(o.layout(), path)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: filepath.ToSlash(name), Mode: 0o644, Size: int64(len(content)), ModTime: o.created, Typeflag: tar.TypeReg}
		if err := writer.WriteHeader(header); err != nil {
			return err
		}
		_, err = writer.Write(content)
		return err
	})
	for _, end := range []func() error{writer.Close, out.Close} {
		if closing := end(); err == nil {
			err = closing
		}
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", o.archive(), err)
	}
	return nil
}
