package controller

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// accountMemory is what this process remembers of an account. It saves requests and calls, and nothing depends on it:
// a process that has just started knows none of it.
type accountMemory struct {
	uid types.UID
	// lastAttempt is when the last token request was sent.
	lastAttempt time.Time
	// version is the resourceVersion of the account as this process last wrote it or read it live, and when it wrote it:
	// a cache that shows an earlier one is behind.
	version     string
	writtenTime time.Time
	// kept: a credential was kept. refused: the API server last refused one.
	kept, refused bool
	// secret is the token Secret that was last seen to be right.
	secret string
}

// memory holds what is remembered, by the account's name; an account of the same name with another UID begins anew.
type memory struct {
	mu       sync.Mutex
	accounts map[types.NamespacedName]accountMemory
}

func (m *memory) of(account *v1alpha1.ConnectedAccount) accountMemory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.accounts[client.ObjectKeyFromObject(account)]; known.uid == account.UID {
		return known
	}
	return accountMemory{uid: account.UID}
}

func (m *memory) update(account *v1alpha1.ConnectedAccount, change func(*accountMemory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := client.ObjectKeyFromObject(account)
	known := m.accounts[key]
	if known.uid != account.UID {
		known = accountMemory{uid: account.UID}
	}
	change(&known)
	if m.accounts == nil {
		m.accounts = map[types.NamespacedName]accountMemory{}
	}
	m.accounts[key] = known
}

func (m *memory) forget(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.accounts, key)
}
