package admission_test

import (
	"bytes"
	"errors"
	"io"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// smallestClient and smallestAccount are the least that is of use.
const (
	smallestClient = `
apiVersion: oauth-operator.dev/v1alpha1
kind: OAuthClient
metadata: {name: provider}
spec:
  endpoints: {token: "https://provider.example/oauth/token"}
  clientID: my-client
  authentication:
    method: ClientSecretPost
    clientSecretRef: {name: provider-client, key: client_secret}
  grants: [ClientCredentials]
`
	smallestAccount = `
apiVersion: oauth-operator.dev/v1alpha1
kind: ConnectedAccount
metadata: {name: acme}
spec:
  clientRef: {name: provider}
  grant: {type: ClientCredentials}
`
)

// changed is a manifest with a change merged into its spec, as RFC 7386 has it.
func changed(manifest, change string) *unstructured.Unstructured {
	GinkgoHelper()
	object := parse(manifest)
	spec, is := object.Object["spec"].(map[string]any)
	Expect(is).To(BeTrue(), "a manifest has a spec")
	patch := map[string]any{}
	Expect(yaml.UnmarshalStrict([]byte(change), &patch)).To(Succeed())
	merge(spec, patch)
	return object
}

func merge(into, change map[string]any) {
	for key, value := range change {
		from, isMap := value.(map[string]any)
		old, wasMap := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isMap && wasMap:
			merge(old, from)
		default:
			into[key] = value
		}
	}
}

func parse(manifest string) *unstructured.Unstructured {
	GinkgoHelper()
	object := &unstructured.Unstructured{}
	Expect(yaml.UnmarshalStrict([]byte(manifest), &object.Object)).To(Succeed())
	return object
}

func text(object *unstructured.Unstructured) string {
	GinkgoHelper()
	written, err := yaml.Marshal(object.Object)
	Expect(err).NotTo(HaveOccurred())
	return string(written)
}

// parseAll reads a stream of manifests.
func parseAll(stream []byte) []*unstructured.Unstructured {
	GinkgoHelper()
	var objects []*unstructured.Unstructured
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(stream), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		Expect(err).NotTo(HaveOccurred())
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}
