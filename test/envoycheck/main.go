// Command envoycheck reads a file of Envoy's as strictly as Envoy does before it starts: as the message that its API defines,
// without an unknown field, with every nested message of a known type, and within the bounds that the API writes down.
//
//	envoycheck bootstrap envoy.yaml
//	envoycheck discovery envoy.yaml
//
// A discovery file is what a path_config_source names. It is no Envoy: it opens no port, and it cannot know what Envoy finds
// out when it carries a configuration out. It must never accept what the messages do not define.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/generic/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "envoycheck:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: envoycheck bootstrap|discovery FILE")
	}
	var message proto.Message
	switch args[0] {
	case "bootstrap":
		message = &bootstrapv3.Bootstrap{}
	case "discovery":
		message = &discoveryv3.DiscoveryResponse{}
	default:
		return fmt.Errorf("there is no kind of file %q", args[0])
	}
	content, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	if err := read(args[1], content, message); err != nil {
		return err
	}
	return validate(message)
}

// read takes a file for what its name says: Envoy reads one as YAML only if it is called .yaml or .yml, and one without a
// known ending as JSON.
func read(name string, content []byte, into proto.Message) error {
	if strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
		var err error
		if content, err = yaml.YAMLToJSONStrict(content); err != nil {
			return err
		}
	}
	return protojson.Unmarshal(content, into)
}

// validate asks every message, in every Any too, whether it is within its bounds.
func validate(message proto.Message) error {
	var complaints []error
	err := protorange.Range(message.ProtoReflect(), func(at protopath.Values) error {
		reached, is := at.Index(-1).Value.Interface().(protoreflect.Message)
		if !is {
			return nil
		}
		if bounded, is := reached.Interface().(interface{ Validate() error }); is {
			if err := bounded.Validate(); err != nil {
				complaints = append(complaints, fmt.Errorf("%s: %w", at.Path, err))
			}
		}
		return nil
	})
	return errors.Join(append(complaints, err)...)
}
