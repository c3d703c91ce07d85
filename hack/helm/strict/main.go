// Command strict reads manifests from standard input and refuses those of HTTPRoute, ServiceMonitor and PrometheusRule that
// have a field which the kind does not know, or one of another form. The API server of the tests has no definitions for them,
// so that nobody else would notice. It must not judge anything but the form.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := check(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "strict:", err)
		os.Exit(1)
	}
}

// typeOf is what a manifest of a kind is read into; nil: somebody else looks at it.
func typeOf(version, kind string) any {
	switch version + " " + kind {
	case "gateway.networking.k8s.io/v1 HTTPRoute":
		return &gateway.HTTPRoute{}
	case "monitoring.coreos.com/v1 ServiceMonitor":
		return &monitoring.ServiceMonitor{}
	case "monitoring.coreos.com/v1 PrometheusRule":
		return &monitoring.PrometheusRule{}
	default:
		return nil
	}
}

// check reads all manifests, and says of which it has looked at.
func check(input io.Reader, output io.Writer) error {
	documents := utilyaml.NewYAMLReader(bufio.NewReader(input))
	for {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the manifests: %w", err)
		}
		var header struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Metadata   struct {
				Name string `json:"name"`
			} `json:"metadata"`
		}
		if err := yaml.Unmarshal(text, &header); err != nil {
			return fmt.Errorf("read a manifest: %w", err)
		}
		into := typeOf(header.APIVersion, header.Kind)
		if into == nil {
			continue
		}
		if err := yaml.UnmarshalStrict(text, into); err != nil {
			return fmt.Errorf("%s %s: %w", header.Kind, header.Metadata.Name, err)
		}
		if _, err := fmt.Fprintln(output, header.Kind, header.Metadata.Name); err != nil {
			return err
		}
	}
}
