// Package compat_test holds what released versions have stored, and that this version reads it: a sealed credential is all
// that a person's consent depends on. What is in a folder of a version never changes.
package compat_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

// stored is what a version has left in a cluster: in <version>/stored.yaml.
type stored struct {
	Keyring  corev1.Secret               `json:"keyring"`
	Clients  []v1alpha1.OAuthClient      `json:"clients"`
	Accounts []v1alpha1.ConnectedAccount `json:"accounts"`
	// Opened is what is in each account's sealed credential, by the account's name. The tokens are those of a provider that
	// exists in tests only.
	Opened map[string]opened `json:"opened"`
	// Ticket is that of a link that was given out.
	Ticket string `json:"ticket,omitempty"`
}

// opened is a credential, legible.
type opened struct {
	ClientID        string    `json:"clientID"`
	ClientNamespace string    `json:"clientNamespace"`
	Origins         []string  `json:"origins"`
	GrantSequence   int64     `json:"grantSequence"`
	Rotation        int64     `json:"rotation"`
	ClaimSequence   int64     `json:"claimSequence"`
	Imports         int       `json:"imports"`
	IssuedTime      time.Time `json:"issuedTime"`
	ExpirationTime  time.Time `json:"expirationTime"`
	AccessToken     string    `json:"accessToken"`
	RefreshToken    string    `json:"refreshToken,omitempty"`
	Scopes          []string  `json:"scopes"`
	// From v0.2.0 on.
	Identity      string            `json:"identity,omitempty"`
	GrantTime     time.Time         `json:"grantTime,omitzero"`
	GrantedScopes []string          `json:"grantedScopes,omitempty"`
	Approved      bool              `json:"approved,omitempty"`
	Captured      map[string]string `json:"captured,omitempty"`
}

func legible(c seal.Credential) opened {
	return opened{
		ClientID: c.ClientID, ClientNamespace: c.ClientNamespace, Origins: c.Origins,
		GrantSequence: c.GrantSequence, Rotation: c.Rotation, ClaimSequence: c.ClaimSequence, Imports: len(c.Imports),
		IssuedTime: c.IssuedTime, ExpirationTime: c.ExpirationTime,
		AccessToken: c.AccessToken.Reveal(), RefreshToken: c.RefreshToken.Reveal(), Scopes: c.Scopes,
		Identity: c.Identity, GrantTime: c.GrantTime, GrantedScopes: c.GrantedScopes, Approved: c.Approved, Captured: c.Captured,
	}
}

func open(t *testing.T, keyring *seal.Keyring, account *v1alpha1.ConnectedAccount) opened {
	t.Helper()
	bound := account.Status.BoundTo
	credential, err := keyring.Open(seal.PurposeCredential, seal.Subject{
		ClusterID: bound.ClusterID, Namespace: account.Namespace, Name: account.Name, UID: bound.AccountUID,
	}, account.Status.SealedCredential)
	if err != nil {
		t.Fatalf("open the credential of %s: %v", account.Name, err)
	}
	return legible(credential)
}

// versions reads what is there, by version.
func versions(t *testing.T) map[string]stored {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("v*", "stored.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing is stored: %v", err)
	}
	all := map[string]stored{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var read stored
		if err := yaml.UnmarshalStrict(text, &read); err != nil {
			t.Fatalf("%s holds what this version does not know: %v", file, err)
		}
		all[filepath.Base(filepath.Dir(file))] = read
	}
	return all
}

func TestEveryCredentialOpens(t *testing.T) {
	t.Parallel()
	for version, read := range versions(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			keyring, err := seal.ParseKeyring(read.Keyring.Data)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]opened{}
			for i := range read.Accounts {
				got[read.Accounts[i].Name] = open(t, keyring, &read.Accounts[i])
			}
			if diff := cmp.Diff(read.Opened, got); diff != "" {
				t.Errorf("the credentials (-stored +opened):\n%s", diff)
			}
		})
	}
}

// A keyring of an earlier version is rotated like one of this version, and opens what it has sealed for as long as its key is
// there.
func TestEveryKeyringCanBeRotated(t *testing.T) {
	t.Parallel()
	for version, read := range versions(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			stored, err := seal.ParseKeyring(read.Keyring.Data)
			if err != nil {
				t.Fatal(err)
			}
			rotated := rotate(t, stored)
			if !rotated.Follows(stored) || rotated.ID() == stored.ID() {
				t.Error("what came of the keyring is not known for it")
			}
			for i := range read.Accounts {
				name := read.Accounts[i].Name
				if diff := cmp.Diff(read.Opened[name], open(t, rotated, &read.Accounts[i])); diff != "" {
					t.Errorf("the credential of %s (-stored +opened):\n%s", name, diff)
				}
			}
		})
	}
}

// The keys that links, cookies and hand-overs depend on are there from v0.2.0 on, and are given to the keyring of an earlier
// version, in which nothing else changes. A link that was given out is opened by this version.
func TestEveryKeyringServesTheConsentPages(t *testing.T) {
	t.Parallel()
	for version, read := range versions(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			completed := completedKeyring(t, version, read.Keyring.Data)
			keys, err := seal.ParseConsentKeys(completed.ConsentData())
			if err != nil {
				t.Fatal(err)
			}
			if read.Ticket == "" {
				return
			}
			if ticket, err := keys.OpenTicket(read.Ticket); err != nil || ticket.Name == "" {
				t.Errorf("a link of that time: %v", err)
			}
		})
	}
}

// completedKeyring is a stored keyring with the keys for consents, of which the first version had none.
func completedKeyring(t *testing.T, version string, data map[string][]byte) *seal.Keyring {
	t.Helper()
	stored, err := seal.ParseKeyring(data)
	if err != nil {
		t.Fatal(err)
	}
	if stored.HasConsentKeys() != (version != "v0.1.0") {
		t.Errorf("keys for consents: %v", stored.HasConsentKeys())
	}
	completed, err := stored.WithConsentKeys()
	if err != nil || !completed.HasConsentKeys() {
		t.Fatalf("they cannot be added: %v", err)
	}
	for entry, text := range stored.Data() {
		if !bytes.Equal(completed.Data()[entry], text) {
			t.Errorf("%s was changed", entry)
		}
	}
	return completed
}

// rotate makes a new key the one that seals.
func rotate(t *testing.T, stored *seal.Keyring) *seal.Keyring {
	t.Helper()
	added, err := stored.WithNewKey()
	if err != nil {
		t.Fatal(err)
	}
	keys := added.Keys()
	rotated, err := added.WithPrimary(keys[len(keys)-1].ID)
	if err != nil {
		t.Fatal(err)
	}
	return rotated
}

// What is restored into a cluster with the definitions of this version comes back as it was: nothing in it is refused, and
// nothing dropped.
func TestEveryObjectIsTakenAndKeptWhole(t *testing.T) {
	t.Parallel()
	stagetest.Assets(t)
	server, err := cluster.Start(t.Context(), cluster.Options{Manifests: []string{filepath.Join("..", "..", "config", "crd")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	admin := clientOf(t, server)
	for version, read := range versions(t) {
		for i := range read.Clients {
			restore(t, admin, version, &read.Clients[i], func(o *v1alpha1.OAuthClient) any { return o.Status })
		}
		for i := range read.Accounts {
			restore(t, admin, version, &read.Accounts[i], func(o *v1alpha1.ConnectedAccount) any { return o.Status })
		}
		// The next version's are of the same names.
		for i := range read.Clients {
			remove(t, admin, &read.Clients[i])
		}
		for i := range read.Accounts {
			remove(t, admin, &read.Accounts[i])
		}
	}
}

func clientOf(t *testing.T, server *cluster.Cluster) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	admin, err := client.New(server.Admin, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return admin
}

// restore creates an object, writes its status, and compares both with what is there then.
func restore[T client.Object](t *testing.T, admin client.Client, version string, object T, statusOf func(T) any) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: object.GetNamespace()}}
	if err := client.IgnoreAlreadyExists(admin.Create(t.Context(), namespace)); err != nil {
		t.Fatal(err)
	}
	wanted, is := object.DeepCopyObject().(T)
	if !is {
		t.Fatal("a copy is of another type")
	}
	object.SetResourceVersion("")
	object.SetUID("")
	created, is := object.DeepCopyObject().(T)
	if !is {
		t.Fatal("a copy is of another type")
	}
	if err := admin.Create(t.Context(), created); err != nil {
		t.Fatalf("%s: create %s: %v", version, object.GetName(), err)
	}
	object.SetResourceVersion(created.GetResourceVersion())
	object.SetUID(created.GetUID())
	if err := admin.Status().Update(t.Context(), object); err != nil {
		t.Fatalf("%s: write the status of %s: %v", version, object.GetName(), err)
	}
	if diff := cmp.Diff(asJSON(t, statusOf(wanted)), asJSON(t, statusOf(object))); diff != "" {
		t.Errorf("%s: the status of %s (-stored +kept):\n%s", version, object.GetName(), diff)
	}
}

func remove(t *testing.T, admin client.Client, object client.Object) {
	t.Helper()
	if err := admin.Delete(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

func asJSON(t *testing.T, value any) string {
	t.Helper()
	text, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
