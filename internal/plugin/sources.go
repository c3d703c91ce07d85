package plugin

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// reference is one key of a Secret that a client or an account names.
type reference struct {
	v1alpha1.SecretKeyReference
	namespace string
	// kind and owner are who names it, path is where in the spec, and use what is in it.
	kind, owner, path, use string
}

// importPath is where an account names the Secret of a refresh token.
const importPath = "importRefreshTokenRef"

// certificates is the use of what a client trusts.
const certificates = "CERTIFICATES"

// references are all that an account and its client name.
func references(account *v1alpha1.ConnectedAccount, owner *v1alpha1.OAuthClient) []reference {
	var all []reference
	add := func(ref v1alpha1.SecretKeyReference, namespace, kind, owner, path, use string) {
		if ref.Name != "" {
			all = append(all, reference{ref, namespace, kind, owner, path, use})
		}
	}
	if owner != nil {
		spec := owner.Spec
		add(spec.ClientIDRef, owner.Namespace, "oauthclient", owner.Name, "clientIDRef", "CLIENT_ID")
		add(spec.Authentication.ClientSecretRef, owner.Namespace, "oauthclient", owner.Name, "authentication.clientSecretRef", "CLIENT_SECRET")
		add(spec.TLS.CARef, owner.Namespace, "oauthclient", owner.Name, "tls.caRef", certificates)
	}
	add(account.Spec.ImportRefreshTokenRef, account.Namespace, "connectedaccount", account.Name, importPath, "REFRESH_TOKEN")
	add(account.Spec.Grant.APIKeyRef, account.Namespace, "connectedaccount", account.Name, "grant.apiKeyRef", "API_KEY")
	return all
}

// source is what is known of a Secret that is named. Of what is in it, no more is kept than what is wrong with it.
type source struct {
	reference
	// missing: there is none, and elsewhere are namespaces that have one of its name.
	missing   bool
	elsewhere []string
	// unread is why it could not be looked at; nil: it was.
	unread   error
	labelled bool
	// hosts are those that may receive what is in it, where it says so.
	limited    bool
	hosts      []string
	secretType corev1.SecretType
	keys       []string
	empty      bool // there is nothing under the key
	newline    bool // there is a newline at the end of it
}

// lookInto looks at a Secret with the user's rights.
func (c *cluster) lookInto(ctx context.Context, named reference) source {
	s := source{reference: named}
	held := &corev1.Secret{}
	err := c.get(ctx, keyOf(named.namespace, named.Name), held)
	if apierrors.IsNotFound(err) {
		s.missing, s.elsewhere = true, c.elsewhere(ctx, &metav1.PartialObjectMetadataList{}, "secrets", "", named.namespace, named.Name)
		return s
	}
	if s.unread = err; err != nil {
		return s
	}
	value := held.Data[named.Key]
	s.labelled, s.secretType = held.Labels[v1alpha1.LabelCredential] == "true", held.Type
	annotation, limited := held.Annotations[v1alpha1.AnnotationHosts]
	s.limited, s.hosts = limited, listedIn(annotation)
	s.keys = slices.Sorted(maps.Keys(held.Data))
	// Certificates are lines.
	s.empty, s.newline = len(value) == 0, named.use != certificates && bytes.HasSuffix(value, []byte("\n"))
	return s
}

// elsewhere are the other namespaces that have an object of that name, where the user may look into all of them; those first
// whose client is shared at all.
func (c *cluster) elsewhere(ctx context.Context, list client.ObjectList, resource, group, besides, name string) []string {
	const most = 5
	if allowed, err := c.allowed(ctx, right{verb: "list", group: group, resource: resource}); err != nil || !allowed {
		return nil
	}
	if metadata, is := list.(*metav1.PartialObjectMetadataList); is {
		metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	}
	if err := c.list(ctx, list, client.MatchingFields{"metadata.name": name}); err != nil {
		return nil
	}
	var namespaces, shared []string
	_ = meta.EachListItem(list, func(each runtime.Object) error {
		object, err := meta.Accessor(each)
		if err != nil || object.GetNamespace() == besides {
			return nil //nolint:nilerr // it is a hint, and there is more to say without it
		}
		if owner, is := each.(*v1alpha1.OAuthClient); is && len(owner.Spec.AllowedNamespaces) > 0 {
			shared = append(shared, object.GetNamespace())
		} else {
			namespaces = append(namespaces, object.GetNamespace())
		}
		return nil
	})
	namespaces = append(shared, namespaces...)
	return namespaces[:min(len(namespaces), most)]
}

// alike is a key of the Secret that was probably meant: it differs in case and separators alone.
func (s source) alike() string {
	fold := func(key string) string {
		return strings.ToLower(strings.NewReplacer("-", "", "_", "", ".", "").Replace(key))
	}
	for _, key := range s.keys {
		if key != s.Key && fold(key) == fold(s.Key) {
			return key
		}
	}
	return ""
}

// withholds: what is in it may not go to that endpoint. A refresh token goes nowhere unless its Secret says where.
func (s source) withholds(endpoint v1alpha1.Endpoint) bool {
	switch s.path {
	case "tls.caRef", "grant.apiKeyRef": // which go nowhere
		return false
	case importPath:
		return endpoint != "" && !receives(s.hosts, endpoint)
	}
	return endpoint != "" && s.limited && !receives(s.hosts, endpoint)
}

// forbidden: the user may not look at it.
func (s source) forbidden() bool { return errors.As(s.unread, new(*missingRightError)) }

func lastSeen(event eventsv1.Event) time.Time {
	switch {
	case event.Series != nil:
		return event.Series.LastObservedTime.Time
	case !event.EventTime.IsZero():
		return event.EventTime.Time
	default:
		return event.DeprecatedLastTimestamp.Time
	}
}
