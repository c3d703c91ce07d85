package admission_test

import (
	"context"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

const (
	// tenant may do everything with the two kinds, status and finalizers included, and nothing with Secrets.
	tenant = "tenant"
	// secretReader may do what the tenant may, and read the one Secret named clientSecret.
	secretReader = "secret-reader"
	// restorer may write our statuses and update the keyring.
	restorer = "restorer"
	// viewer, editor and administrator have what our roles add to view, edit and admin.
	viewer        = "viewer"
	editor        = "editor"
	administrator = "administrator"

	// clientSecret is the Secret that the manifests of these tests name.
	clientSecret = "provider-client"
)

// createUsers gives the users of these tests their rights, in every namespace, and waits until they have them.
func createUsers(ctx context.Context) {
	GinkgoHelper()
	everything := rule(v1alpha1.Group, []string{"*"}, []string{"*"})
	readOne := rule("", []string{"secrets"}, []string{"get"})
	readOne.ResourceNames = []string{clientSecret}
	updateKeyring := rule("", []string{"secrets"}, []string{"update"})
	updateKeyring.ResourceNames = []string{keyringName}
	statuses := rule(v1alpha1.Group, []string{"connectedaccounts/status", "oauthclients/status"}, []string{"update", "patch"})

	grant(ctx, tenant, everything)
	grant(ctx, secretReader, everything, readOne)
	grant(ctx, restorer, statuses, updateKeyring)
	bindAggregated(ctx, viewer, "view")
	bindAggregated(ctx, editor, "view", "edit")
	bindAggregated(ctx, administrator, "view", "edit", "admin")

	awaitRight(ctx, tenant, v1alpha1.Group, "connectedaccounts", "update", "status", "")
	awaitRight(ctx, secretReader, "", "secrets", "get", "", clientSecret)
	awaitRight(ctx, restorer, "", "secrets", "update", "", keyringName)
	awaitRight(ctx, viewer, v1alpha1.Group, "oauthclients", "list", "", "")
	awaitRight(ctx, editor, v1alpha1.Group, "connectedaccounts", "create", "", "")
	awaitRight(ctx, administrator, v1alpha1.Group, "oauthclients", "create", "", "")
}

func rule(group string, resources, verbs []string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: verbs}
}

func grant(ctx context.Context, user string, rules ...rbacv1.PolicyRule) {
	GinkgoHelper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "admission-test-" + user}, Rules: rules}
	Expect(suite.admin.Create(ctx, role)).To(Succeed())
	bind(ctx, user, role.Name)
}

// bindAggregated binds a user to the roles that a cluster adds up to the given ones of its own, by their labels.
func bindAggregated(ctx context.Context, user string, roles ...string) {
	GinkgoHelper()
	for _, role := range roles {
		ours := &rbacv1.ClusterRoleList{}
		Expect(suite.admin.List(ctx, ours, client.MatchingLabels{"rbac.authorization.k8s.io/aggregate-to-" + role: "true"})).To(Succeed())
		ours.Items = slices.DeleteFunc(ours.Items, func(r rbacv1.ClusterRole) bool {
			return r.Labels["kubernetes.io/bootstrapping"] != ""
		})
		Expect(ours.Items).To(HaveLen(1), "one role of ours should add to %s", role)
		bind(ctx, user, ours.Items[0].Name)
	}
}

func bind(ctx context.Context, user, role string) {
	GinkgoHelper()
	Expect(suite.admin.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user + "-" + role},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	})).To(Succeed())
}

func awaitRight(ctx context.Context, user, group, resource, verb, subresource, name string) {
	GinkgoHelper()
	Eventually(func() bool {
		return may(ctx, user, authorizationv1.ResourceAttributes{
			Namespace: operatorNamespace, Group: group, Resource: resource, Verb: verb, Subresource: subresource, Name: name,
		})
	}).Should(BeTrue(), "%s should be allowed to %s %s %s", user, verb, resource, name)
}

// may asks the API server whether a user has a right.
func may(ctx context.Context, user string, attributes authorizationv1.ResourceAttributes) bool {
	GinkgoHelper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: &attributes}}
	Expect(suite.admin.Create(ctx, review)).To(Succeed())
	return review.Status.Allowed
}

// as is a client that acts as a user of these tests.
func as(user string) client.Client {
	GinkgoHelper()
	impersonating := rest.CopyConfig(suite.cluster.Admin)
	impersonating.Impersonate = rest.ImpersonationConfig{UserName: user}
	return newClient(impersonating)
}

func newClient(config *rest.Config) client.Client {
	GinkgoHelper()
	made, err := client.New(config, client.Options{Scheme: suite.admin.Scheme(), Mapper: suite.admin.RESTMapper()})
	Expect(err).NotTo(HaveOccurred())
	return client.WithFieldValidation(made, metav1.FieldValidationStrict)
}

// newNamespace creates a namespace for one spec.
func newNamespace(ctx context.Context) string {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "shop-"}}
	Expect(suite.admin.Create(ctx, namespace)).To(Succeed())
	return namespace.Name
}
