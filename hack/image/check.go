package main

import (
	"archive/tar"
	"crypto/x509"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// leastRoots is far below what there are; a pool with fewer was not read.
const leastRoots = 100

// check reads what was written, from the file, and runs what can be run here.
func check(o options) error {
	folder, err := os.MkdirTemp("", "oauth-operator-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder) //nolint:errcheck // a temporary folder
	archive, err := os.Open(o.archive())
	if err != nil {
		return err
	}
	defer archive.Close() //nolint:errcheck // it was read
	if err := unpack(archive, filepath.Join(folder, "layout")); err != nil {
		return fmt.Errorf("unpack %s: %w", o.archive(), err)
	}
	images, err := imagesIn(filepath.Join(folder, "layout"), o.version)
	if err != nil {
		return err
	}
	if got, want := slices.Sorted(maps.Keys(images)), slices.Sorted(slices.Values(o.architectures)); !slices.Equal(got, want) {
		return fmt.Errorf("the image is for %v, and should be for %v", got, want)
	}
	for _, architecture := range slices.Sorted(maps.Keys(images)) {
		if err := checkImage(o, images[architecture], architecture, filepath.Join(folder, architecture)); err != nil {
			return fmt.Errorf("the image for %s: %w", architecture, err)
		}
	}
	fmt.Printf("image: %s and %s hold version %s for %s\n", o.archive(), o.layout(), o.version, strings.Join(o.architectures, ", "))
	return nil
}

// imagesIn are the images of a layout, by their architecture. Whatever is damaged is found.
func imagesIn(folder, tag string) (map[string]v1.Image, error) {
	outer, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return nil, fmt.Errorf("read the layout: %w", err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("read the layout: %w", err)
	}
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != tag {
		return nil, fmt.Errorf("the layout holds %d images, and should hold one with the tag %s", len(manifest.Manifests), tag)
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	if err := validate.Index(index); err != nil {
		return nil, fmt.Errorf("the index: %w", err)
	}
	inner, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	images := map[string]v1.Image{}
	for _, descriptor := range inner.Manifests {
		if descriptor.Platform == nil || descriptor.Platform.OS != "linux" {
			return nil, fmt.Errorf("the index does not say what %s is for", descriptor.Digest)
		}
		if images[descriptor.Platform.Architecture], err = index.Image(descriptor.Digest); err != nil {
			return nil, fmt.Errorf("read an image: %w", err)
		}
	}
	return images, nil
}

func checkImage(o options, image v1.Image, architecture, folder string) error {
	config, err := image.ConfigFile()
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	var wrong []error
	expect := func(is bool, format string, arguments ...any) {
		if !is {
			wrong = append(wrong, fmt.Errorf(format, arguments...))
		}
	}
	expect(config.Architecture == architecture && config.OS == "linux", "it says that it is for %s/%s", config.OS, config.Architecture)
	expect(config.Config.User == "65532:65532", "its user is %q", config.Config.User)
	expect(slices.Equal(config.Config.Entrypoint, []string{"/oauth-operator"}), "its entrypoint is %q", config.Config.Entrypoint)
	expect(len(config.Config.Cmd)+len(config.Config.ExposedPorts)+len(config.Config.Volumes) == 0, "it has more than an entrypoint: %+v", config.Config)
	expect(maps.Equal(config.Config.Labels, labels(o)), "its labels are %v", config.Config.Labels)
	content := mutate.Extract(image)
	defer content.Close() //nolint:errcheck // it was read
	if err := unpack(content, folder); err != nil {
		return fmt.Errorf("unpack it: %w", err)
	}
	wrong = append(wrong, checkFiles(o, architecture, folder))
	return errors.Join(wrong...)
}

// checkFiles looks at what is in an image.
func checkFiles(o options, architecture, folder string) error {
	var names []string
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, strings.TrimPrefix(path, folder+"/"))
		}
		return err
	})
	if err != nil {
		return err
	}
	if want := []string{"etc/group", "etc/passwd", "etc/ssl/certs/ca-certificates.crt", "oauth-operator"}; !slices.Equal(names, want) {
		return fmt.Errorf("it holds %v, and should hold %v", names, want)
	}
	trusted, err := os.ReadFile(filepath.Join(folder, "etc/ssl/certs/ca-certificates.crt"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(trusted) || strings.Count(string(trusted), "BEGIN CERTIFICATE") < leastRoots {
		return errors.New("it trusts hardly anybody")
	}
	return checkBinary(o, architecture, filepath.Join(folder, "oauth-operator"))
}

// checkBinary wants a static binary of the architecture, which says its version where it can be run.
func checkBinary(o options, architecture, path string) error {
	program, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("its binary: %w", err)
	}
	defer program.Close() //nolint:errcheck // it was read
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	if program.Machine != machines[architecture] {
		return fmt.Errorf("its binary is for %s", program.Machine)
	}
	if program.Section(".interp") != nil || program.Section(".dynamic") != nil {
		return errors.New("its binary needs libraries")
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != architecture {
		return nil
	}
	said, err := exec.Command(path, "--version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("its binary does not say its version: %w", err)
	}
	if string(said) != "oauth-operator "+o.version+"\n" {
		return fmt.Errorf("its binary says %q, and should be of version %s", said, o.version)
	}
	return nil
}

// unpack unpacks a tar file that this program has written.
func unpack(from io.Reader, into string) error {
	reader := tar.NewReader(from)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(header.Name) {
			return fmt.Errorf("%q leads elsewhere", header.Name)
		}
		path := filepath.Join(into, header.Name)
		if header.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(path, 0o700); err != nil {
				return err
			}
			continue
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, header.FileInfo().Mode().Perm()); err != nil {
			return err
		}
	}
}
