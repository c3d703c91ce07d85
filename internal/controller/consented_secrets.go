package controller

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

const (
	// maxRefreshToken is the longest refresh token that is imported, in bytes.
	maxRefreshToken = 64 << 10
	// maxAPIKey is the longest API key that is published, in bytes.
	maxAPIKey = 16 << 10
)

// ConsentedSecrets reads Secrets whose owners let the operator read them, and no others.
type ConsentedSecrets struct {
	// Metadata reads from a cache that holds the metadata of the labelled Secrets, and nothing else.
	Metadata client.Reader
	// Live reads from the API server.
	Live client.Reader

	together together
}

// refusal is why a Secret is not used, as a finding; it is an error only on its way up.
type refusal struct{ finding lifecycle.Finding }

func (r *refusal) Error() string { return r.finding.Message }

func refuse(reason, format string, args ...any) error {
	return &refusal{lifecycle.Finding{Condition: v1alpha1.ConditionResolvedRefs, Reason: reason, Message: fmt.Sprintf(format, args...)}}
}

// clientMaterial is what a client's Secrets hold.
type clientMaterial struct {
	clientID     string
	clientSecret secret.Value
	rootCAs      []byte
}

// secretReferences are all Secrets that a client names.
func secretReferences(owner *v1alpha1.OAuthClient) []v1alpha1.SecretKeyReference {
	var all []v1alpha1.SecretKeyReference
	for _, ref := range []v1alpha1.SecretKeyReference{owner.Spec.ClientIDRef, owner.Spec.Authentication.ClientSecretRef, owner.Spec.TLS.CARef} {
		if ref.Name != "" {
			all = append(all, ref)
		}
	}
	return all
}

// material reads all that a client names. A *refusal tells what its owner must mend; any other error, that the API
// server could not be asked.
func (c *ConsentedSecrets) material(ctx context.Context, owner *v1alpha1.OAuthClient) (clientMaterial, error) {
	spec := owner.Spec
	endpoint := string(spec.Endpoints.Token)
	material := clientMaterial{clientID: spec.ClientID}
	read := func(ref v1alpha1.SecretKeyReference, check func([]byte) string) (string, error) {
		if ref.Name == "" {
			return "", nil
		}
		return c.read(ctx, owner.Namespace, ref, endpoint, check)
	}
	if spec.ClientID == "" {
		id, err := read(spec.ClientIDRef, clientIDFault)
		if err != nil {
			return clientMaterial{}, err
		}
		material.clientID = id
	}
	text, err := read(spec.Authentication.ClientSecretRef, clientSecretFault)
	if err != nil {
		return clientMaterial{}, err
	}
	material.clientSecret = secret.New(text)
	authorities, err := read(spec.TLS.CARef, certificateFault)
	if err != nil {
		return clientMaterial{}, err
	}
	if authorities != "" {
		material.rootCAs = []byte(authorities)
	}
	return material, nil
}

// read reads one key of a Secret.
func (c *ConsentedSecrets) read(ctx context.Context, namespace string, ref v1alpha1.SecretKeyReference, endpoint string, check func([]byte) string) (string, error) {
	_, text, err := c.readFrom(ctx, namespace, ref, endpoint, check)
	return text, err
}

// readFrom reads one key of a Secret, and returns the Secret as well. The label is looked for before the content is asked
// for, and again in what came.
func (c *ConsentedSecrets) readFrom(ctx context.Context, namespace string, ref v1alpha1.SecretKeyReference, endpoint string, check func([]byte) string) (*corev1.Secret, string, error) {
	return c.readIf(ctx, namespace, ref, func(live *corev1.Secret) error { return mayReceive(live, endpoint) }, check)
}

// readIf is readFrom, for a Secret that the condition, which is asked of what came, allows to be used.
func (c *ConsentedSecrets) readIf(ctx context.Context, namespace string, ref v1alpha1.SecretKeyReference, allows func(*corev1.Secret) error, check func([]byte) string) (*corev1.Secret, string, error) {
	key := types.NamespacedName{Namespace: namespace, Name: ref.Name}
	if err := c.consented(ctx, key); err != nil {
		return nil, "", err
	}
	live, err := c.together.get(ctx, c.Live, key)
	if apierrors.IsNotFound(err) {
		return nil, "", notFound(key)
	} else if err != nil {
		return nil, "", fmt.Errorf("read the Secret %s: %w", ref.Name, err)
	}
	if err := allows(live); err != nil {
		return nil, "", err
	}
	value, present := live.Data[ref.Key]
	if !present || len(value) == 0 {
		return nil, "", refuse(v1alpha1.ReasonSecretKeyMissing, "the Secret %s has nothing under the key %s: add it, or correct the reference", ref.Name, ref.Key)
	}
	if fault := check(value); fault != "" {
		return nil, "", refuse(v1alpha1.ReasonSecretKeyMissing, "the key %s of the Secret %s cannot be used: %s", ref.Key, ref.Name, fault)
	}
	return live, string(value), nil
}

// refreshToken reads the refresh token that an account is to import, and the Secret that it is in. Where it may go must be
// written on it: it stands for a person's consent.
func (c *ConsentedSecrets) refreshToken(ctx context.Context, account *v1alpha1.ConnectedAccount, owner *v1alpha1.OAuthClient) (secret.Value, *corev1.Secret, error) {
	endpoint := string(owner.Spec.Endpoints.Token)
	source, text, err := c.readFrom(ctx, account.Namespace, account.Spec.ImportRefreshTokenRef, endpoint, refreshTokenFault)
	if err != nil {
		return secret.Value{}, nil, err
	}
	if _, limited := source.Annotations[v1alpha1.AnnotationHosts]; !limited {
		return secret.Value{}, nil, refuse(v1alpha1.ReasonSecretNotConsented,
			"the Secret %s does not say which hosts may receive its refresh token. If %s may: kubectl annotate --overwrite secret -n %s %s %s=%s",
			source.Name, endpoint, source.Namespace, source.Name, v1alpha1.AnnotationHosts, hostOf(endpoint))
	}
	return secret.New(text), source, nil
}

// apiKey reads the API key that an account publishes. Which hosts may receive it is not for the operator to see to: it sends
// it to none.
func (c *ConsentedSecrets) apiKey(ctx context.Context, account *v1alpha1.ConnectedAccount) (secret.Value, error) {
	_, text, err := c.readIf(ctx, account.Namespace, account.Spec.Grant.APIKeyRef, mayRead, apiKeyFault)
	return secret.New(text), err
}

// consented looks for the label without asking for the content.
func (c *ConsentedSecrets) consented(ctx context.Context, key types.NamespacedName) error {
	metadata := newSecretMetadata()
	err := c.Metadata.Get(ctx, key, metadata)
	if err == nil {
		return nil // the cache holds labelled Secrets only
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("read the metadata of the Secret %s: %w", key.Name, err)
	}
	if err := c.Live.Get(ctx, key, metadata); apierrors.IsNotFound(err) {
		return notFound(key)
	} else if err != nil {
		return fmt.Errorf("read the metadata of the Secret %s: %w", key.Name, err)
	}
	if metadata.Labels[v1alpha1.LabelCredential] == "true" {
		return nil // labelled a moment ago
	}
	return notLabelled(key)
}

func notFound(key types.NamespacedName) error {
	return refuse(v1alpha1.ReasonSecretNotFound, "there is no Secret %s in this namespace: create it, with the label %s: \"true\"", key.Name, v1alpha1.LabelCredential)
}

func notLabelled(key types.NamespacedName) error {
	return refuse(v1alpha1.ReasonSecretNotConsented, "the operator may not read the Secret %s. If it is meant for it: kubectl label secret -n %s %s %s=true",
		key.Name, key.Namespace, key.Name, v1alpha1.LabelCredential)
}

// mayRead checks the label and the type of a Secret that was read.
func mayRead(live *corev1.Secret) error {
	if live.Labels[v1alpha1.LabelCredential] != "true" {
		return notLabelled(client.ObjectKeyFromObject(live))
	}
	switch live.Type {
	case corev1.SecretTypeOpaque, corev1.SecretTypeTLS, corev1.SecretTypeBasicAuth, "":
		return nil
	default:
		return refuse(v1alpha1.ReasonSecretNotConsented, "the Secret %s is of type %s, which the operator does not read, labelled or not: use one of type Opaque", live.Name, live.Type)
	}
}

// mayReceive checks the label, the type and the hosts of a Secret that was read.
func mayReceive(live *corev1.Secret, endpoint string) error {
	if err := mayRead(live); err != nil {
		return err
	}
	hosts, limited := live.Annotations[v1alpha1.AnnotationHosts]
	if !limited {
		return nil
	}
	allowed := strings.FieldsFunc(hosts, func(c rune) bool { return c == ',' || c == ' ' })
	if !oauth.HostsAllowed(endpoint, allowed) {
		return refuse(v1alpha1.ReasonSecretNotConsented, "the annotation %s of the Secret %s does not name the host of %s. If that host may receive it: kubectl annotate --overwrite secret -n %s %s %s=%s",
			v1alpha1.AnnotationHosts, live.Name, endpoint, live.Namespace, live.Name, v1alpha1.AnnotationHosts, strings.Join(append(allowed, hostOf(endpoint)), ","))
	}
	return nil
}

func hostOf(endpoint string) string {
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	return parsed.Host
}

// version stands for a Secret's present content; "" where there is none that may be read.
func (c *ConsentedSecrets) version(ctx context.Context, namespace, name string) (string, error) {
	metadata := newSecretMetadata()
	if err := c.Metadata.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, metadata); apierrors.IsNotFound(err) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("read the metadata of the Secret %s: %w", name, err)
	}
	return string(metadata.UID) + "@" + metadata.ResourceVersion, nil
}

// textFault finds what commonly goes wrong when a text is put into a Secret.
func textFault(value []byte, what string) string {
	text := string(value)
	switch {
	case strings.TrimRight(text, "\r\n") != text:
		return "it ends with a newline, which would be sent as part of the " + what + ": write it without one (printf instead of echo)"
	case strings.TrimSpace(text) != text:
		return "it begins or ends with white space: write it without"
	case strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }):
		return "it contains characters that a " + what + " cannot have (RFC 6749 appendix A: printable ASCII only)"
	}
	return ""
}

func refreshTokenFault(value []byte) string {
	if fault := textFault(value, "refresh token"); fault != "" {
		return fault
	}
	if strings.Contains(string(value), " ") {
		return "it contains a space, which no refresh token has that can be sent: write the token alone"
	}
	if len(value) > maxRefreshToken {
		return "it is longer than 64 KiB, which no refresh token is"
	}
	return ""
}

func apiKeyFault(value []byte) string {
	if fault := textFault(value, "key"); fault != "" {
		return fault
	}
	if strings.Contains(string(value), " ") {
		return "it has a space in it, which no token in a header can have (RFC 6750 section 2.1): write the key alone"
	}
	if len(value) > maxAPIKey {
		return "it is longer than 16 KiB, which no API key is"
	}
	return ""
}

func clientIDFault(value []byte) string     { return textFault(value, "client id") }
func clientSecretFault(value []byte) string { return textFault(value, "client secret") }

func certificateFault(value []byte) string {
	// Whoever makes the connection judges: what it refuses later would hold every account of the client up.
	if _, err := oauth.NewClient(oauth.Options{RootCAs: value, Clock: clock.RealClock{}}); err != nil {
		return err.Error() + "; it must hold PEM certificates and nothing else"
	}
	return ""
}

// endpointFault finds an endpoint that could never be called, which the schema cannot see.
func endpointFault(endpoint string, egress oauth.Egress) *lifecycle.Finding {
	finding := func(message string) *lifecycle.Finding {
		return &lifecycle.Finding{Condition: v1alpha1.ConditionAccepted, Reason: v1alpha1.ReasonInvalidEndpoint, Message: message}
	}
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return finding("spec.endpoints.token is not a URL")
	}
	if parsed.Scheme != "https" && !egress.AllowLoopback {
		return finding("spec.endpoints.token must begin with https://")
	}
	if address, err := netip.ParseAddr(strings.Trim(parsed.Hostname(), "[]")); err == nil {
		if err := egress.Check(netip.AddrPortFrom(address, portOf(parsed))); err != nil {
			return finding("spec.endpoints.token cannot be called: " + err.Error())
		}
	}
	return nil
}

func portOf(parsed *url.URL) uint16 {
	if port, err := netip.ParseAddrPort("0.0.0.0:" + parsed.Port()); err == nil {
		return port.Port()
	}
	return 443
}

// asFinding splits what its owner must mend from what the API server could not tell.
func asFinding(err error) (*lifecycle.Finding, error) {
	var refused *refusal
	if errors.As(err, &refused) {
		return &refused.finding, nil
	}
	return nil, err
}
