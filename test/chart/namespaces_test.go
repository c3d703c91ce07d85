package chart_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/person"
	"github.com/oauth-operator/oauth-operator/test/stage"
	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

// elsewhere is a namespace that the values do not name.
const elsewhere = "elsewhere"

// outsiders are a client that may be used from everywhere and an account of the namespace elsewhere, and an account of the shop
// that names that client.
const outsiders = `
apiVersion: oauth-operator.dev/v1alpha1
kind: OAuthClient
metadata: {name: provider, namespace: elsewhere}
spec:
  endpoints: {token: "https://provider.example/oauth/token"}
  clientID: my-client
  authentication: {method: ClientSecretPost, clientSecretRef: {name: provider-client, key: client_secret}}
  grants: [ClientCredentials]
  allowedNamespaces: [{from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: shop}}, grants: [ClientCredentials]}]
---
apiVersion: oauth-operator.dev/v1alpha1
kind: ConnectedAccount
metadata: {name: outside, namespace: elsewhere}
spec: {clientRef: {name: provider}, grant: {type: ClientCredentials}}
---
apiVersion: oauth-operator.dev/v1alpha1
kind: ConnectedAccount
metadata: {name: borrowed, namespace: shop}
spec: {clientRef: {name: provider, namespace: elsewhere}, grant: {type: ClientCredentials}}
`

// The operator and the pages, installed for two namespaces, do all that they do with the roles that the chart gives them there:
// nothing is refused to them, and they ask for nothing elsewhere.
func TestNamedNamespacesAreEnough(t *testing.T) {
	t.Parallel()
	played := playNamed(t)
	operator, err := played.StartOperator(t.Context(), stage.OperatorOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := played.StartConsent(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(played.Dir, "outsiders.yaml")
	write(t, outside, outsiders)
	if err := played.Cluster.Apply(t.Context(), outside); err != nil {
		t.Fatal(err)
	}
	samples, err := played.ApplySamples(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	consents, err := played.ApplyConsents(t.Context(), stage.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	connect(t, played, consents[0].Name)
	for _, sample := range append(samples, consents[0]) {
		eventually(t, "the token of "+sample.Name, func(ctx context.Context) error {
			secret, err := played.Secret(ctx, sample.Name)
			if err == nil && len(secret.Data["access_token"]) == 0 {
				err = errors.New("there is none yet")
			}
			return err
		})
	}
	useRights(t, played, consents[0].Name)
	statusIs(t, played, "shop", "borrowed", `{.status.conditions[?(@.type=="ClientReady")].reason}`, "ClientNotAvailable")
	if err := operator.Stop(); err != nil {
		t.Error(err)
	}
	statusIs(t, played, elsewhere, "outside", "{.status}", `{"observedGeneration":-1}`) // nobody has looked at it
	nothingRefused(t, played)
	everyRightIsUsed(t, played)
}

// useRights does what an account, its Secret and the keyring see in their lives, and the rest of the test does not: the Secret is
// edited, put right, and renamed; a key is added; and the account is deleted, once its grant was revoked.
func useRights(t *testing.T, played *stage.Stage, account string) {
	t.Helper()
	admin := func(namespace string, arguments ...string) string {
		said, err := played.Kubectl(t.Context(), filepath.Join(played.Cluster.Dir, "admin.kubeconfig"), append(arguments, "--namespace="+namespace)...)
		if err != nil {
			t.Fatal(err)
		}
		return said
	}
	admin("shop", "patch", "secret", account, "--type=merge", `--patch={"data":{"access_token":null}}`)
	eventually(t, "the token in its Secret", func(ctx context.Context) error {
		secret, err := played.Secret(ctx, account)
		if err == nil && len(secret.Data["access_token"]) == 0 {
			err = errors.New("it is missing")
		}
		return err
	})
	client := admin("shop", "get", "connectedaccount", account, "--output=jsonpath={.spec.clientRef.name}")
	endpoint := admin("shop", "get", "oauthclient", client, "--output=jsonpath={.spec.endpoints.token}")
	admin("shop", "patch", "oauthclient", client, "--type=merge", `--patch={"spec":{"endpoints":{"revocation":"`+strings.TrimSuffix(endpoint, "/token")+`/revoke"}}}`)
	admin("shop", "patch", "connectedaccount", account, "--type=merge", `--patch={"spec":{"secret":{"name":"renamed"},"deletionPolicy":"Revoke"}}`)
	eventually(t, "the Secret of the new name alone", func(ctx context.Context) error {
		_, missing := played.Secret(ctx, "renamed")
		if _, err := played.Secret(ctx, account); err == nil {
			missing = errors.New("the earlier one is there")
		}
		return missing
	})
	statusIs(t, played, "shop", account, "{.metadata.finalizers}", `["oauth-operator.dev/revoke"]`)
	admin("shop", "annotate", "connectedaccount", account, v1alpha1.AnnotationAllowDelete+"="+account)
	admin("shop", "delete", "connectedaccount", account, "--timeout=80s")

	keys := admin(home, "get", "secret", keyring, `--template={{index .data "sealing-keyset.json" | base64decode}}`)
	key := regexp.MustCompile(`"primaryKeyId": *(\d+)`).FindStringSubmatch(keys)
	if key == nil {
		t.Fatal("the keyring names no key")
	}
	admin(home, "annotate", "secret", keyring, v1alpha1.AnnotationRotateKey+"="+key[1])
	eventually(t, "a new key", func(ctx context.Context) error {
		said, err := played.Kubectl(ctx, filepath.Join(played.Cluster.Dir, "admin.kubeconfig"), "get", "events", "--namespace="+home,
			"--field-selector=involvedObject.name="+keyring, "--output=name")
		if err == nil && said == "" {
			err = errors.New("nothing is said of it")
		}
		return err
	})
}

// isSpared says of which rights the use cannot be had at will.
func isSpared(role, right string) bool {
	switch right {
	case "oauth-operator.dev connectedaccounts/status patch": // the operator serves the pages itself where --serve=all says so
		return role == operatorName
	case "events.k8s.io events patch", " events patch": // an event that happens again within minutes counts up
		return true
	case "oauth-operator.dev oauthclients get": // whoever may list may read
		return true
	}
	return false
}

// everyRightIsUsed compares what the roles allow, by kind and verb, with what was asked for.
func everyRightIsUsed(t *testing.T, played *stage.Stage) {
	t.Helper()
	events, err := cluster.ReadAudit(played.Cluster.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, event := range events {
		if name, ours := strings.CutPrefix(event.User, "system:serviceaccount:"+home+":"); ours {
			resource := strings.TrimSuffix(event.Resource+"/"+event.Subresource, "/")
			where := event.Namespace
			if resource == "namespaces" {
				where = "" // it counts as one of its own
			}
			used[name+": "+where+": "+event.Group+" "+resource+" "+event.Verb] = true
		}
	}
	all := parse(t, render(t, home, "--set=watchNamespaces={shop,billing},consent.url=https://consent.example"))
	looked := 0
	for key, where := range map[string]string{
		"Role shop/" + operatorName: "shop", "Role " + home + "/" + operatorName: home, "ClusterRole " + operatorName: "", "Role shop/" + consentName: "shop",
	} {
		role := into[rbacv1.ClusterRole](t, all, key)
		for _, rule := range role.Rules {
			for _, right := range rightsOf(rule) {
				looked++
				asked := role.Name + ": " + where + ": " + right
				// API servers from 1.34 on send the list as part of the watch.
				if !isSpared(role.Name, right) && !used[asked] && !used[strings.TrimSuffix(asked, "list")+"watch"] {
					t.Errorf("nobody has used what %s allows: %s", key, right)
				}
			}
		}
	}
	if looked < 25 {
		t.Errorf("there are only %d rights", looked)
	}
}

// rightsOf are the pairs of kind and verb that a rule allows.
func rightsOf(rule rbacv1.PolicyRule) []string {
	var rights []string
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				rights = append(rights, group+" "+resource+" "+verb)
			}
		}
	}
	return rights
}

// A namespace in which there is no role at the moment keeps the others from nothing, and is worked in once there is one.
func TestANamespaceWithoutItsRole(t *testing.T) {
	t.Parallel()
	played := playNamed(t)
	// Its first start makes the keyring, for which it has to know that no account holds anything that is sealed.
	first, err := played.StartOperator(t.Context(), stage.OperatorOptions{})
	if err == nil {
		err = first.Stop()
	}
	if err != nil {
		t.Fatal(err)
	}
	admin := filepath.Join(played.Cluster.Dir, "admin.kubeconfig")
	role, err := played.Kubectl(t.Context(), admin, "get", "rolebinding", operatorName, "--namespace=billing", "--output=yaml")
	if err == nil {
		_, err = played.Kubectl(t.Context(), admin, "delete", "rolebinding", operatorName, "--namespace=billing")
	}
	if err != nil {
		t.Fatal(err)
	}
	operator, err := played.StartOperator(t.Context(), stage.OperatorOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := played.ApplySamples(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a token in the shop", func(ctx context.Context) error {
		_, err := played.Secret(ctx, "smartbills")
		return err
	})
	account := filepath.Join(played.Dir, "billing.yaml")
	write(t, account, strings.ReplaceAll(outsiders, elsewhere, "billing"))
	again := filepath.Join(played.Dir, "role.yaml")
	write(t, again, role)
	if err := played.Cluster.Apply(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if _, err := played.Kubectl(t.Context(), admin, "create", "--filename="+again); err != nil {
		t.Fatal(err)
	}
	// A kubelet starts it again.
	if code, err := operator.Wait(time.Minute); err != nil || code == 0 {
		t.Fatalf("it ends with %d, %v: %s", code, err, operator.LastLines())
	}
	if _, err := played.StartOperator(t.Context(), stage.OperatorOptions{}); err != nil {
		t.Fatal(err)
	}
	statusIs(t, played, "billing", "outside", `{.status.conditions[?(@.type=="ClientReady")].reason}`, "ClientNotReady")
}

// A namespace that is deleted while the operator works there, and created again by whoever applies the chart anew, is worked in
// again by the same process, and the others notice nothing.
func TestANamespaceThatIsDeletedAndCreatedAgain(t *testing.T) {
	t.Parallel()
	played := playNamed(t)
	operator, err := played.StartOperator(t.Context(), stage.OperatorOptions{})
	if err != nil {
		t.Fatal(err)
	}
	admin := filepath.Join(played.Cluster.Dir, "admin.kubeconfig")
	role, err := played.Kubectl(t.Context(), admin, "get", "role,rolebinding", operatorName, "--namespace=billing", "--output=yaml")
	if err == nil {
		_, err = played.Kubectl(t.Context(), admin, "delete", "namespace", "billing", "--timeout=60s")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := played.ApplySamples(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a token in the shop", func(ctx context.Context) error {
		_, err := played.Secret(ctx, "smartbills")
		return err
	})
	again, account := filepath.Join(played.Dir, "role.yaml"), filepath.Join(played.Dir, "billing.yaml")
	write(t, again, role)
	write(t, account, strings.ReplaceAll(outsiders, elsewhere, "billing"))
	if _, err := played.Kubectl(t.Context(), admin, "create", "namespace", "billing"); err != nil {
		t.Fatal(err)
	}
	if _, err := played.Kubectl(t.Context(), admin, "create", "--filename="+again); err != nil {
		t.Fatal(err)
	}
	if err := played.Cluster.Apply(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	statusIs(t, played, "billing", "outside", `{.status.conditions[?(@.type=="ClientReady")].reason}`, "ClientNotReady")
	if operator.Ended() {
		t.Errorf("the process has ended: %s", operator.LastLines())
	}
}

// playNamed sets a stage up with what the chart renders for the namespaces shop and billing.
func playNamed(t *testing.T) *stage.Stage {
	t.Helper()
	manifests, namespaces := filepath.Join(t.TempDir(), "chart.yaml"), filepath.Join(t.TempDir(), "namespaces.yaml")
	write(t, manifests, render(t, home, "--set=watchNamespaces={shop,billing},settings.insecureAllowLoopback=true,consent.url=https://consent.example"))
	var list strings.Builder
	for _, name := range []string{"shop", "billing", elsewhere} {
		fmt.Fprintf(&list, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", name)
	}
	write(t, namespaces, list.String())
	return stagetest.Play(t, stage.Options{
		Manifests: []string{"../../config/manager/namespace.yaml", namespaces, manifests}, Consent: true,
	})
}

// connect has a customer follow the account's link.
func connect(t *testing.T, played *stage.Stage, account string) {
	t.Helper()
	link, err := played.Link(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	customer, err := person.New(person.Options{
		CAFiles: []string{played.Front.CAFile, played.Provider.CAFile}, Fields: map[string]string{"login": "customer"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer customer.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	page, err := customer.Follow(ctx, link)
	if err != nil || page.Heading != "Connected" {
		t.Fatalf("the customer ends at %q: %s: %v", page.Heading, page.Text, err)
	}
}

// statusIs waits until an account's status is so, as an administrator sees it.
func statusIs(t *testing.T, played *stage.Stage, namespace, account, path, want string) {
	t.Helper()
	eventually(t, "the status of "+account, func(ctx context.Context) error {
		got, err := played.Kubectl(ctx, filepath.Join(played.Cluster.Dir, "admin.kubeconfig"), "get", "connectedaccount", account,
			"--namespace="+namespace, "--output=jsonpath="+path)
		if err == nil && got != want {
			err = fmt.Errorf("it is %q", got)
		}
		return err
	})
}

// nothingRefused reads in the audit log what operator and pages have asked for.
func nothingRefused(t *testing.T, played *stage.Stage) {
	t.Helper()
	events, err := cluster.ReadAudit(played.Cluster.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	for _, event := range events {
		name, ours := strings.CutPrefix(event.User, "system:serviceaccount:"+home+":")
		if !ours {
			continue
		}
		asked[name]++
		switch {
		case event.Code == 403:
			t.Errorf("it was refused to %s: %s %s", name, event.Verb, event.RequestURI)
		case event.Namespace == elsewhere:
			t.Errorf("%s has asked for something in a namespace that is not its own: %s %s", name, event.Verb, event.RequestURI)
		// It asks for its own rights.
		case event.Namespace == "" && event.Resource != "" && event.Resource != "namespaces" && event.Resource != "selfsubjectaccessreviews":
			t.Errorf("%s has asked for something in all namespaces: %s %s", name, event.Verb, event.RequestURI)
		}
	}
	if asked[operatorName] < 50 || asked[consentName] < 3 {
		t.Errorf("hardly anything was asked for: %v", asked)
	}
}
