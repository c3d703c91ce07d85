package controller

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/projection"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	fieldOwner     = "oauth-operator"
)

// tokenSecret is the Secret that projects a credential, or why there can be none. header names the connected account;
// annotations are the operator's own.
func tokenSecret(account *v1alpha1.ConnectedAccount, held seal.Credential, header string, annotations map[string]string) (*corev1.Secret, *lifecycle.Finding) {
	layout, finding := secretLayout(account)
	if finding != nil {
		return nil, finding
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: account.Namespace, Name: lifecycle.TokenSecretName(account),
			Labels:          map[string]string{v1alpha1.LabelAccount: string(account.UID), labelManagedBy: fieldOwner},
			Annotations:     annotations,
			OwnerReferences: []metav1.OwnerReference{ownerReference(account)},
		},
		Type: corev1.SecretType(cmp.Or(account.Spec.Secret.Type, v1alpha1.SecretTypeOpaque)),
		Data: layout.Content(projection.Source{
			AccessToken: held.AccessToken, ExpirationTime: held.ExpirationTime, Scopes: held.Scopes,
			OnBehalfOf: account.Spec.OnBehalfOf, OnBehalfOfHeader: header,
		}),
	}
	for key, value := range held.Captured {
		if _, taken := secret.Data[key]; !taken {
			secret.Data[key] = []byte(value)
		}
	}
	for key, value := range account.Spec.Secret.Labels {
		secret.Labels[key] = string(value)
	}
	for key, value := range account.Spec.Secret.Annotations {
		secret.Annotations[key] = string(value)
	}
	return secret, nil
}

// secretLayout is how the account's Secret is made, or why it cannot be.
func secretLayout(account *v1alpha1.ConnectedAccount) (*projection.Layout, *lifecycle.Finding) {
	layout, fault := projection.New(account.Spec.Secret)
	if fault != nil {
		return nil, &lifecycle.Finding{Condition: v1alpha1.ConditionPublished, Reason: fault.Reason, Message: fault.Message}
	}
	return layout, nil
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

// place is what decides whether a Secret can be written at all: its name and type.
func place(secret *corev1.Secret) string { return secret.Name + "/" + string(secret.Type) }

// seenSecret stands, in this process's memory, for a Secret that was seen to hold what it should: the version that was
// seen, and a hash of what was wanted.
func seenSecret(resourceVersion string, wanted *corev1.Secret) string {
	return resourceVersion + "/" + wantedHash(wanted)
}

// wasSeen reports whether a Secret of this version is known to hold what is wanted. An earlier version than the one that was
// seen is the cache's, which is behind: whatever came after that one, it has yet to tell of.
func wasSeen(seen, resourceVersion string, wanted *corev1.Secret) bool {
	version, hash, found := strings.Cut(seen, "/")
	return found && (version == resourceVersion || isBefore(resourceVersion, version)) && hash == wantedHash(wanted)
}

func wantedHash(wanted *corev1.Secret) string {
	content := sha256.New()
	for _, part := range []any{wanted.Name, wanted.Type, wanted.Data, wanted.Labels, wanted.Annotations} {
		encoded, _ := json.Marshal(part) //nolint:errchkjson // maps of strings always encode, with their keys sorted
		_, _ = content.Write(encoded)
	}
	return hex.EncodeToString(content.Sum(nil))
}
