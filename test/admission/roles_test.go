package admission_test

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

const (
	operatorUser = "system:serviceaccount:" + operatorNamespace + ":" + operatorName
	consentUser  = "system:serviceaccount:" + operatorNamespace + ":" + consentName
)

// goldenRoles are all rights that an installation hands out, and to whom. Whoever adds a line here has thought about it.
const goldenRoles = `
ClusterRole oauth-operator
  connectedaccounts.oauth-operator.dev oauthclients.oauth-operator.dev: get list watch
  connectedaccounts.oauth-operator.dev: patch
  connectedaccounts/status.oauth-operator.dev oauthclients/status.oauth-operator.dev: update
  connectedaccounts/status.oauth-operator.dev: patch
  secrets: create delete get list update watch
  namespaces: get list watch
  events.events.k8s.io: create patch
ClusterRole oauth-operator-admin, added to admin
  oauthclients.oauth-operator.dev: create delete patch update
ClusterRole oauth-operator-consent
  connectedaccounts.oauth-operator.dev oauthclients.oauth-operator.dev: get
  connectedaccounts/status.oauth-operator.dev: patch
ClusterRole oauth-operator-edit, added to edit
  connectedaccounts.oauth-operator.dev: create delete patch update
ClusterRole oauth-operator-view, added to view
  connectedaccounts.oauth-operator.dev oauthclients.oauth-operator.dev: get list watch
Role oauth-operator-system/oauth-operator
  leases.coordination.k8s.io: create
  leases.coordination.k8s.io named oauth-operator: get update
  events: create patch
ClusterRoleBinding oauth-operator
  ClusterRole oauth-operator to ServiceAccount oauth-operator-system/oauth-operator
ClusterRoleBinding oauth-operator-consent
  ClusterRole oauth-operator-consent to ServiceAccount oauth-operator-system/oauth-operator-consent
RoleBinding oauth-operator-system/oauth-operator
  Role oauth-operator to ServiceAccount oauth-operator-system/oauth-operator
`

var _ = Describe("S44 the roles", func() {
	It("are these and no others", func() {
		Expect(cmp.Diff(strings.TrimSpace(goldenRoles), describeRoles(suite.rendered))).To(BeEmpty())
	})

	DescribeTable("give to each user, of our kinds,",
		func(ctx SpecContext, user string, want map[string]string) {
			got := map[string]string{}
			for _, resource := range []string{"oauthclients", "connectedaccounts"} {
				for _, subresource := range []string{"", "status", "finalizers"} {
					if verbs := allowedVerbs(ctx, user, resource, subresource); verbs != "" {
						got[strings.TrimSuffix(resource+"/"+subresource, "/")] = verbs
					}
				}
			}
			Expect(got).To(Equal(want))
		},
		Entry("what view has", viewer, map[string]string{
			"oauthclients":      "get list watch",
			"connectedaccounts": "get list watch",
		}),
		Entry("what edit has: no deletion by the dozen, no status, no finalizers", editor, map[string]string{
			"oauthclients":      "get list watch",
			"connectedaccounts": "get list watch create update patch delete",
		}),
		Entry("what admin has: no deletion by the dozen, no status, no finalizers", administrator, map[string]string{
			"oauthclients":      "get list watch create update patch delete",
			"connectedaccounts": "get list watch create update patch delete",
		}),
		Entry("what the operator has: it changes no spec", operatorUser, map[string]string{
			"oauthclients":             "get list watch",
			"oauthclients/status":      "update",
			"connectedaccounts":        "get list watch patch",
			"connectedaccounts/status": "update patch",
		}),
		Entry("what the consent pages have: they read what they are asked for, and list nothing", consentUser, map[string]string{
			"oauthclients":             "get",
			"connectedaccounts":        "get",
			"connectedaccounts/status": "patch",
		}),
	)

	DescribeTable("let the operator",
		func(ctx SpecContext, allowed bool, namespace, right string) {
			Expect(may(ctx, operatorUser, attributes(namespace, right))).To(Equal(allowed), right)
		},
		Entry("write Secrets, which the policies bound", true, "shop", "create secrets"),
		Entry("read namespaces, whose labels clients select by", true, "", "list namespaces"),
		Entry("tell of accounts in events", true, "shop", "create events.events.k8s.io"),
		Entry("create a lease at home", true, operatorNamespace, "create leases.coordination.k8s.io"),
		Entry("hold its lease", true, operatorNamespace, "update leases.coordination.k8s.io oauth-operator"),
		Entry("not hold another's lease", false, operatorNamespace, "update leases.coordination.k8s.io other"),
		Entry("not create a lease elsewhere", false, "kube-system", "create leases.coordination.k8s.io"),
		Entry("not write events of the older kind elsewhere", false, "shop", "create events"),
		Entry("not delete Secrets by the dozen", false, "shop", "deletecollection secrets"),
		Entry("not patch Secrets", false, "shop", "patch secrets"),
		Entry("not issue tokens", false, "shop", "create serviceaccounts/token"),
		Entry("not issue tokens for itself", false, operatorNamespace, "create serviceaccounts/token oauth-operator"),
		Entry("not read ServiceAccounts", false, "shop", "get serviceaccounts"),
		Entry("not act as a user", false, "", "impersonate users"),
		Entry("not act as a group", false, "", "impersonate groups"),
		Entry("not act as a ServiceAccount", false, "shop", "impersonate serviceaccounts"),
		Entry("not read pods", false, "shop", "get pods"),
		Entry("not read pods at home", false, operatorNamespace, "get pods"),
		Entry("not create pods", false, "shop", "create pods"),
		Entry("not run commands in pods", false, "shop", "create pods/exec"),
		Entry("not create deployments", false, operatorNamespace, "create deployments.apps"),
		Entry("not read a ConfigMap", false, "shop", "get configmaps"),
		Entry("not list ConfigMaps", false, "shop", "list configmaps"),
		Entry("not list ConfigMaps at home", false, operatorNamespace, "list configmaps"),
		Entry("not raise roles", false, "", "escalate clusterroles.rbac.authorization.k8s.io"),
		Entry("not bind roles", false, "", "bind clusterroles.rbac.authorization.k8s.io"),
		Entry("not raise roles of a namespace", false, "shop", "escalate roles.rbac.authorization.k8s.io"),
		Entry("not bind roles of a namespace", false, "shop", "bind roles.rbac.authorization.k8s.io"),
		Entry("not create role bindings", false, "shop", "create rolebindings.rbac.authorization.k8s.io"),
		Entry("not change the policies that bound it", false, "", "update validatingadmissionpolicies.admissionregistration.k8s.io"),
		Entry("not remove the bindings of the policies", false, "", "delete validatingadmissionpolicybindings.admissionregistration.k8s.io"),
		Entry("not change definitions", false, "", "update customresourcedefinitions.apiextensions.k8s.io"),
		Entry("not change namespaces", false, "", "update namespaces"),
		Entry("not read nodes", false, "", "get nodes"),
	)
})

// attributes reads a right written as "verb resource[/subresource][.group] [name]".
func attributes(namespace, right string) authorizationv1.ResourceAttributes {
	words := strings.Fields(right)
	resource, group, _ := strings.Cut(words[1], ".")
	resource, subresource, _ := strings.Cut(resource, "/")
	name := ""
	if len(words) > 2 {
		name = words[2]
	}
	return authorizationv1.ResourceAttributes{
		Namespace: namespace, Verb: words[0], Group: group, Resource: resource, Subresource: subresource, Name: name,
	}
}

// allowedVerbs are the verbs that a user has on a resource of ours.
func allowedVerbs(ctx context.Context, user, resource, subresource string) string {
	GinkgoHelper()
	verbs := []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}
	return strings.Join(slices.DeleteFunc(verbs, func(verb string) bool {
		return !may(ctx, user, authorizationv1.ResourceAttributes{
			Namespace: "shop", Group: v1alpha1.Group, Resource: resource, Subresource: subresource, Verb: verb,
		})
	}), " ")
}

// describeRoles writes the roles and bindings among manifests, sorted by name, one rule a line.
func describeRoles(manifests []byte) string {
	GinkgoHelper()
	var roles, bindings []string
	for _, object := range parseAll(manifests) {
		name := strings.TrimPrefix(object.GetNamespace()+"/"+object.GetName(), "/")
		switch object.GetKind() {
		case "Role", "ClusterRole":
			role := &rbacv1.ClusterRole{}
			Expect(runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, role, true)).To(Succeed())
			Expect(role.AggregationRule).To(BeNil())
			roles = append(roles, object.GetKind()+" "+name+describeAggregation(role.Labels)+describeRules(role.Rules))
		case "RoleBinding", "ClusterRoleBinding":
			binding := &rbacv1.ClusterRoleBinding{}
			Expect(runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, binding, true)).To(Succeed())
			bindings = append(bindings, object.GetKind()+" "+name+describeBinding(binding))
		}
	}
	slices.Sort(roles)
	slices.Sort(bindings)
	return strings.Join(append(roles, bindings...), "\n")
}

func describeAggregation(labels map[string]string) string {
	var added string
	for _, role := range []string{"view", "edit", "admin"} {
		if labels["rbac.authorization.k8s.io/aggregate-to-"+role] == "true" {
			added += ", added to " + role
		}
	}
	return added
}

func describeRules(rules []rbacv1.PolicyRule) string {
	GinkgoHelper()
	var lines []string
	for _, rule := range rules {
		Expect(rule.NonResourceURLs).To(BeEmpty())
		var resources []string
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				resources = append(resources, strings.TrimSuffix(resource+"."+group, "."))
			}
		}
		slices.Sort(resources)
		line := strings.Join(resources, " ")
		if len(rule.ResourceNames) > 0 {
			line += " named " + strings.Join(rule.ResourceNames, " ")
		}
		lines = append(lines, "\n  "+line+": "+strings.Join(slices.Sorted(slices.Values(rule.Verbs)), " "))
	}
	return strings.Join(lines, "")
}

func describeBinding(binding *rbacv1.ClusterRoleBinding) string {
	var lines []string
	for _, subject := range binding.Subjects {
		lines = append(lines, fmt.Sprintf("\n  %s %s to %s %s/%s", binding.RoleRef.Kind, binding.RoleRef.Name, subject.Kind, subject.Namespace, subject.Name))
	}
	return strings.Join(lines, "")
}
