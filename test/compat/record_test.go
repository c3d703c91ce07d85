//go:build record

package compat_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/test/person"
	"github.com/oauth-operator/oauth-operator/test/stage"
)

// recordVariable names the version whose objects are to be recorded, once, when it is released:
//
//	RECORD_VERSION=v0.1.0 go test -tags record -run TestRecord ./test/compat
const recordVariable = "RECORD_VERSION"

// TestRecord writes down what this version stores: accounts of both providers and both grants, some rotations old, those that
// people have consented to among them, and one whose claim is open.
func TestRecord(t *testing.T) {
	version := os.Getenv(recordVariable)
	if version == "" {
		t.Fatal(recordVariable + " names no version")
	}
	folder := filepath.Clean(version)
	if _, err := os.Stat(folder); err == nil {
		t.Fatalf("%s is there already, and never changes", folder)
	}
	played, err := stage.Start(t.Context(), stage.Options{Dir: t.TempDir(), TokenLifetime: 15 * time.Second, Consent: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = played.Stop() }()
	operator, err := played.StartOperator(t.Context(), stage.OperatorOptions{Pages: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := played.ApplySamples(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := played.ApplyImports(t.Context(), stage.ImportOptions{RefreshBefore: 8 * time.Second}); err != nil {
		t.Fatal(err)
	}
	consents, err := played.ApplyConsents(t.Context(), stage.ImportOptions{RefreshBefore: 8 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ticket := ""
	for _, sample := range consents {
		ticket = follow(t, played, sample.Name)
	}
	admin := clientOf(t, played.Cluster)
	await(t, func(ctx context.Context) bool { return rotated(ctx, admin, 3) })
	_, err = played.Provider.Control(t.Context(), "/-/script", map[string]any{
		"client_id": "demo-smartbills-customers", "steps": []map[string]any{{"action": "hang", "unprocessed": true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	await(t, func(ctx context.Context) bool { return claimed(ctx, admin) })
	if err := operator.Kill(); err != nil {
		t.Fatal(err)
	}
	read := gather(t, admin)
	read.Ticket = ticket
	write(t, folder, read)
}

// follow is a person who consents. It returns the ticket of the link.
func follow(t *testing.T, played *stage.Stage, account string) string {
	t.Helper()
	link, err := played.Link(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	customer, err := person.New(person.Options{
		CAFiles: []string{played.Front.CAFile, played.Provider.CAFile}, Fields: map[string]string{"login": "customer of " + account},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer customer.Close()
	if page, err := customer.Follow(t.Context(), link); err != nil || page.Heading != "Connected" {
		t.Fatalf("a person ends at %q: %v", page.Heading, err)
	}
	_, ticket, _ := strings.Cut(link, "ticket=")
	return ticket
}

func await(t *testing.T, so func(context.Context) bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 2*time.Minute, true, func(ctx context.Context) (bool, error) { return so(ctx), nil })
	if err != nil {
		t.Fatal(err)
	}
}

func rotated(ctx context.Context, admin client.Client, times int64) bool {
	var list v1alpha1.ConnectedAccountList
	if admin.List(ctx, &list) != nil || len(list.Items) == 0 {
		return false
	}
	for i := range list.Items {
		if list.Items[i].Status.Rotations < times {
			return false
		}
	}
	return true
}

func claimed(ctx context.Context, admin client.Client) bool {
	var list v1alpha1.ConnectedAccountList
	if admin.List(ctx, &list) != nil {
		return false
	}
	for i := range list.Items {
		if list.Items[i].Status.Claim.ID != "" && list.Items[i].Spec.ClientRef.Name == "smartbills-customers" {
			return true
		}
	}
	return false
}

func gather(t *testing.T, admin client.Client) stored {
	t.Helper()
	var clients v1alpha1.OAuthClientList
	var accounts v1alpha1.ConnectedAccountList
	result := stored{Opened: map[string]opened{}}
	err := errors.Join(admin.List(t.Context(), &clients), admin.List(t.Context(), &accounts),
		admin.Get(t.Context(), types.NamespacedName{Namespace: stage.OperatorNamespace, Name: "oauth-operator-keyring"}, &result.Keyring))
	if err != nil {
		t.Fatal(err)
	}
	keyring, err := seal.ParseKeyring(result.Keyring.Data)
	if err != nil {
		t.Fatal(err)
	}
	result.Keyring = corev1.Secret{ObjectMeta: result.Keyring.ObjectMeta, Type: result.Keyring.Type, Data: result.Keyring.Data}
	result.Keyring.ManagedFields = nil
	for i := range clients.Items {
		clients.Items[i].ManagedFields = nil
		result.Clients = append(result.Clients, clients.Items[i])
	}
	for i := range accounts.Items {
		accounts.Items[i].ManagedFields = nil
		result.Accounts = append(result.Accounts, accounts.Items[i])
		result.Opened[accounts.Items[i].Name] = open(t, keyring, &accounts.Items[i])
	}
	return result
}

func write(t *testing.T, folder string, read stored) {
	t.Helper()
	text, err := yaml.Marshal(read)
	if err == nil {
		err = os.MkdirAll(folder, 0o750)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "stored.yaml"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
