// Command image packs the operator's binaries into an image for several architectures, as an OCI layout in a folder and as one
// file, without a container engine and without a registry; and it looks at such an image again. There is nothing in it but the
// binary, the certificates that web servers are trusted by, and the name of a user who is not root. The same commit gives the
// same bytes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// options say what to make of what.
type options struct {
	// binaries is the folder with <architecture>/oauth-operator.
	binaries string
	// out is the folder for layout/ and oauth-operator.tar.
	out string
	// version and revision are written into the labels; created is when the commit was made.
	version, revision string
	created           time.Time
	architectures     []string
}

func main() {
	parsed, err := parse(os.Args[1:])
	if err == nil {
		err = makeImage(parsed)
	}
	if err == nil {
		err = check(parsed)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func parse(arguments []string) (options, error) {
	var parsed options
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.StringVar(&parsed.binaries, "binaries", "", "the folder with <architecture>/oauth-operator")
	flags.StringVar(&parsed.out, "out", "", "the folder for the image")
	flags.StringVar(&parsed.version, "version", "", "the version, which is also the image's tag")
	flags.StringVar(&parsed.revision, "revision", "", "the commit")
	created := flags.Int64("created", 0, "when the commit was made, in seconds since 1970")
	architectures := flags.String("architectures", "amd64,arm64", "the architectures, separated by commas")
	if err := flags.Parse(arguments); err != nil {
		return options{}, err
	}
	parsed.created = time.Unix(*created, 0).UTC()
	parsed.architectures = strings.Split(*architectures, ",")
	if parsed.binaries == "" || parsed.out == "" || parsed.version == "" {
		return options{}, errors.New("--binaries, --out and --version are needed")
	}
	return parsed, nil
}

func (o options) layout() string { return filepath.Join(o.out, "layout") }

func (o options) archive() string { return filepath.Join(o.out, "oauth-operator.tar") }

// makeImage writes the layout and the file.
func makeImage(o options) error {
	index, err := buildIndex(o)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(o.layout()); err != nil {
		return err
	}
	path, err := layout.Write(o.layout(), emptyIndex())
	if err != nil {
		return fmt.Errorf("write the layout: %w", err)
	}
	err = path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": o.version,
		// What containerd calls the image when it is imported.
		"io.containerd.image.name": "docker.io/library/oauth-operator:" + o.version,
	}))
	if err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	return writeArchive(o)
}
