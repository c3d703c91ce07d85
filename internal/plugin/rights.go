package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// right is something that RBAC allows, or does not.
type right struct {
	verb, group, resource, namespace, name string
}

// String says it as in: get secrets a-token in the namespace shop.
func (r right) String() string {
	what := r.resource
	if r.group != "" {
		what += "." + r.group
	}
	if r.name != "" {
		what += " " + r.name
	}
	switch {
	case r.everywhere():
		return r.verb + " " + what
	case r.namespace == "":
		return r.verb + " " + what + " in all namespaces"
	}
	return r.verb + " " + what + " in the namespace " + r.namespace
}

// everywhere: objects of that kind lie in no namespace.
func (r right) everywhere() bool {
	return slices.ContainsFunc(resources(), func(each resource) bool {
		return each.kind.Group == r.group && each.plural == r.resource && !each.namespaced
	})
}

// missingRightError is the error of a request that the user may not make.
type missingRightError struct {
	right right
	user  string
	err   error
}

// Error says which right it is, and how somebody else gives it.
func (m *missingRightError) Error() string {
	return fmt.Sprintf("you may not %s (you are %s): ask for %s", m.right, cmp.Or(m.user, "not known to the API server"), m.remedy())
}

func (m *missingRightError) Unwrap() error { return m.err }

// remedy names the role that has the right.
func (m *missingRightError) remedy() string {
	role := "that right"
	switch {
	case m.right.everywhere():
		return role + ", which a cluster role gives"
	case m.right.namespace == "":
		return role + ", which a cluster role gives, or name a namespace with -n"
	case m.right.group == "oauth-operator.dev" && (m.right.verb == "get" || m.right.verb == "list" || m.right.verb == "watch"):
		return "the role view in that namespace"
	case m.right.resource == "oauthclients" && m.right.group == "oauth-operator.dev":
		return "the role admin in that namespace"
	case m.right.group == "oauth-operator.dev", m.right.resource == "secrets":
		return "the role edit in that namespace"
	}
	return role
}

// right is what a request about an object needs.
func (c *cluster) right(verb string, object runtime.Object, key types.NamespacedName) right {
	kind, err := apiutil.GVKForObject(object, c.api.Scheme())
	if err != nil {
		return right{verb: verb, resource: "objects"}
	}
	kind.Kind = strings.TrimSuffix(kind.Kind, "List")
	for _, each := range resources() {
		if each.kind == kind {
			return right{verb: verb, group: kind.Group, resource: each.plural, namespace: key.Namespace, name: key.Name}
		}
	}
	return right{verb: verb, group: kind.Group, resource: strings.ToLower(kind.Kind), namespace: key.Namespace, name: key.Name}
}

// explain says of a request that was refused whether RBAC refuses it: a policy does so with the same reason, and its own
// words then say what to do.
func (c *cluster) explain(ctx context.Context, err error, verb string, object runtime.Object, key types.NamespacedName) error {
	switch {
	case err == nil:
		return nil
	case notInstalled(err):
		return &failure{ExitFailed, fmt.Errorf("the API server does not know oauth-operator's kinds: install the definitions (kubectl apply -k config/default)%w", hidden{err})}
	case !apierrors.IsForbidden(err):
		return err
	}
	needed := c.right(verb, object, key)
	if allowed, asked := c.allowed(ctx, needed); asked == nil && allowed {
		return &failure{ExitFailed, fmt.Errorf("the API server refuses it: %s%w", statusMessage(err), hidden{err})}
	}
	return &failure{ExitForbidden, &missingRightError{right: needed, user: c.whoAmI(ctx), err: err}}
}

// hidden is an error that is wrapped for what it is, and not for its words.
type hidden struct{ error }

func (hidden) Error() string   { return "" }
func (h hidden) Unwrap() error { return h.error }

func statusMessage(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return status.Status().Message
	}
	return err.Error()
}

// notInstalled: what the API server does not have is the kind, and not an object of it.
func notInstalled(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	return strings.Contains(status.Status().Message, "could not find the requested resource")
}

// allowed asks the API server whether the user has a right.
func (c *cluster) allowed(ctx context.Context, wanted right) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: wanted.verb, Group: wanted.group, Resource: wanted.resource, Namespace: wanted.namespace, Name: wanted.name,
		},
	}}
	bounded, cancel := c.bound(ctx)
	defer cancel()
	err := c.api.Create(bounded, review)
	return err == nil && review.Status.Allowed, err
}

// whoAmI is the user's name, or nothing where the API server does not say it.
func (c *cluster) whoAmI(ctx context.Context) string {
	review := &authenticationv1.SelfSubjectReview{}
	bounded, cancel := c.bound(ctx)
	defer cancel()
	if err := c.api.Create(bounded, review); err != nil {
		return ""
	}
	return clean(review.Status.UserInfo.Username)
}
