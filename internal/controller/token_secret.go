package controller

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// Keys of a token Secret. It never holds a refresh token or a client secret.
const (
	keyAccessToken   = "access_token"
	keyTokenType     = "token_type"
	keyExpiresAt     = "expires_at"
	keyScope         = "scope"
	keyAuthorization = "authorization"
	keyHeaders       = "headers"
	keyOnBehalfOf    = "on_behalf_of"

	labelManagedBy = "app.kubernetes.io/managed-by"
	fieldOwner     = "oauth-operator"
)

// tokenSecret is the Secret that projects a credential: the token by itself, and ready for use as a header. header names the
// connected account; annotations are the operator's own.
func tokenSecret(account *v1alpha1.ConnectedAccount, held seal.Credential, header string, annotations map[string]string) *corev1.Secret {
	token := held.AccessToken.Reveal()
	authorization := "Bearer " + token
	data := map[string][]byte{
		keyAccessToken:   []byte(token),
		keyTokenType:     []byte("Bearer"),
		keyAuthorization: []byte(authorization),
	}
	headers := "Authorization: " + authorization + "\n"
	if account.Spec.OnBehalfOf != "" {
		data[keyOnBehalfOf] = []byte(account.Spec.OnBehalfOf)
		headers += header + ": " + account.Spec.OnBehalfOf + "\n"
	}
	data[keyHeaders] = []byte(headers)
	if len(held.Scopes) > 0 {
		data[keyScope] = []byte(strings.Join(held.Scopes, " "))
	}
	if !held.ExpirationTime.IsZero() {
		data[keyExpiresAt] = []byte(held.ExpirationTime.UTC().Format(time.RFC3339))
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: account.Namespace, Name: lifecycle.TokenSecretName(account),
			Labels:          map[string]string{v1alpha1.LabelAccount: string(account.UID), labelManagedBy: fieldOwner},
			Annotations:     annotations,
			OwnerReferences: []metav1.OwnerReference{ownerReference(account)},
		},
		Type: corev1.SecretTypeOpaque,
		Data: data,
	}
	for key, value := range account.Spec.Secret.Labels {
		secret.Labels[key] = string(value)
	}
	for key, value := range account.Spec.Secret.Annotations {
		secret.Annotations[key] = string(value)
	}
	return secret
}

// witness tells which result a Secret holds, with a MAC so that nobody else can say so.
func witness(keyring *seal.Keyring, subject seal.Subject, rotation int64) string {
	number := strconv.FormatInt(rotation, 10)
	if keyring == nil {
		return number
	}
	return number + "." + keyring.Fingerprint("rotation", subject.ClusterID, subject.Namespace, subject.Name, subject.UID, number)
}

// witnessed is the rotation that the Secret bears witness of; 0: none that can be believed.
func witnessed(keyring *seal.Keyring, subject seal.Subject, secret metav1.Object) int64 {
	if keyring == nil {
		return 0
	}
	text := secret.GetAnnotations()[v1alpha1.AnnotationRotation]
	number, _, _ := strings.Cut(text, ".")
	rotation, err := strconv.ParseInt(number, 10, 64)
	if err != nil || witness(keyring, subject, rotation) != text {
		return 0
	}
	return rotation
}

// holds reports whether the Secret is what it should be. Labels and annotations of others on it are theirs.
func holds(live, wanted *corev1.Secret) bool {
	return live.Type == wanted.Type && (live.Immutable == nil || !*live.Immutable) &&
		apiequality.Semantic.DeepEqual(live.Data, wanted.Data) &&
		apiequality.Semantic.DeepEqual(live.Labels, merged(live, wanted).Labels) &&
		apiequality.Semantic.DeepEqual(live.Annotations, merged(live, wanted).Annotations)
}

// merged is the live Secret with our content: its data is ours alone; of its labels and annotations, those that we set
// and those that we had set before and do not want any more.
func merged(live, wanted *corev1.Secret) *corev1.Secret {
	updated := live.DeepCopy()
	updated.Data = maps.Clone(wanted.Data)
	updated.Labels = mergedMap(live.Labels, wanted.Labels, ownedKeys(live, "f:labels"))
	updated.Annotations = mergedMap(live.Annotations, wanted.Annotations, ownedKeys(live, "f:annotations"))
	return updated
}

func mergedMap(live, wanted map[string]string, owned []string) map[string]string {
	all := maps.Clone(live)
	if all == nil {
		all = map[string]string{}
	}
	for _, key := range owned {
		delete(all, key)
	}
	maps.Copy(all, wanted)
	return all
}

// ownedKeys are the labels or annotations of the Secret that the operator was the last to write, as the API server
// recorded it.
func ownedKeys(live *corev1.Secret, field string) []string {
	var keys []string
	for _, entry := range live.ManagedFields {
		if entry.Manager != fieldOwner || entry.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Metadata map[string]map[string]json.RawMessage `json:"f:metadata"`
		}
		if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		for key := range fields.Metadata[field] {
			if name, isField := strings.CutPrefix(key, "f:"); isField {
				keys = append(keys, name)
			}
		}
	}
	return keys
}

// seenSecret stands, in this process's memory, for a Secret that was seen to hold what it should: the version that was
// seen, and a hash of what was wanted.
func seenSecret(resourceVersion string, wanted *corev1.Secret) string {
	content := sha256.New()
	for _, part := range []any{wanted.Name, wanted.Data, wanted.Labels, wanted.Annotations} {
		encoded, _ := json.Marshal(part) //nolint:errchkjson // maps of strings always encode, with their keys sorted
		_, _ = content.Write(encoded)
	}
	return fmt.Sprintf("%s/%x", resourceVersion, content.Sum(nil))
}
