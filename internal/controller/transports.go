package controller

import (
	"crypto/sha256"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// Transports holds one HTTP transport for each client, so that no connection is ever shared between two registrations.
type Transports struct {
	Egress oauth.Egress
	Clock  clock.PassiveClock

	mu      sync.Mutex
	clients map[types.NamespacedName]transport
}

// transport is good for one client, by UID, that trusts certain authorities.
type transport struct {
	uid     types.UID
	trusted [sha256.Size]byte
	client  *oauth.Client
}

// of returns the client's transport, and makes a new one where the client or whom it trusts is another.
func (t *Transports) of(owner *v1alpha1.OAuthClient, rootCAs []byte) (*oauth.Client, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key, trusted := client.ObjectKeyFromObject(owner), sha256.Sum256(rootCAs)
	known, exists := t.clients[key]
	if exists && known.uid == owner.UID && known.trusted == trusted {
		return known.client, nil
	}
	made, err := oauth.NewClient(oauth.Options{RootCAs: rootCAs, Egress: t.Egress, Clock: t.Clock})
	if err != nil {
		return nil, err
	}
	if exists {
		known.client.Close()
	}
	if t.clients == nil {
		t.clients = map[types.NamespacedName]transport{}
	}
	t.clients[key] = transport{uid: owner.UID, trusted: trusted, client: made}
	return made, nil
}

// forget closes the transport of a client that is gone.
func (t *Transports) forget(key types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known, exists := t.clients[key]; exists {
		known.client.Close()
		delete(t.clients, key)
	}
}
