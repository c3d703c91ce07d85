package controller

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
)

// claimsRemembered is how many of its own claims a process remembers for one account. A write of one that was given up
// may still arrive later.
const claimsRemembered = 8

// accountMemory is what this process remembers of an account. It saves requests and calls, and no token depends on it: a
// process that has just started knows none of it.
type accountMemory struct {
	uid types.UID
	// lastAttempt is when the last token request was sent.
	lastAttempt time.Time
	// version is the resourceVersion of the account as this process last wrote it or read it live, and when it wrote it:
	// a cache that shows an earlier one is behind.
	version     string
	writtenTime time.Time
	// deleting is when this process first tried to revoke the grant of the account, which is deleted.
	deleting time.Time
	// revoked is the fingerprint of the refresh token that was revoked at the provider.
	revoked string
	// refused: the API server last refused a credential.
	refused bool
	// held: a credential was seen. rotation is the highest of them.
	held     bool
	rotation int64
	// reseal: it is this account's turn to be sealed anew, under the key in use.
	reseal bool
	// secret is the token Secret that was last seen to be right. writable is the name and type of the one that could be written.
	secret   string
	writable string
	// unwritable is when it was last found that it cannot.
	unwritable time.Time
	// imported is what was seen of the Secret that the account imports from.
	imported seenImport
	// own are the claims that this process made, the last ones; claim is the one that was last seen in the status, as it
	// was then, and since when.
	own   []ownClaim
	claim v1alpha1.Claim
	since time.Time
	// code is the id of the claim of a code that was last seen in the status, and since when.
	code      string
	codeSince time.Time
}

// ownClaim is a claim that this process made, and what came of it.
type ownClaim struct {
	id    string
	state lifecycle.ClaimHolder
}

// claimed remembers a claim of this process's own, or what came of it.
func (m *accountMemory) claimed(id string, state lifecycle.ClaimHolder) {
	if id == "" {
		return
	}
	own := make([]ownClaim, 0, claimsRemembered+1)
	for _, claim := range m.own {
		if claim.id != id {
			own = append(own, claim)
		}
	}
	own = append(own, ownClaim{id, state})
	m.own = own[max(0, len(own)-claimsRemembered):]
}

// saw remembers that a credential was seen.
func (m *accountMemory) saw(known lifecycle.Credential) {
	if known.State == lifecycle.CredentialHeld {
		m.held, m.rotation = true, max(m.rotation, known.Rotation)
	}
}

// watch remembers the claim that is in the status, and returns whose it is and for how long it has been seen as it is.
func (m *accountMemory) watch(claim v1alpha1.Claim, journal, process string, now time.Time) (lifecycle.ClaimHolder, time.Duration) {
	if claim.ID == "" {
		m.claim, m.since = v1alpha1.Claim{}, time.Time{}
		return "", 0
	}
	if m.claim.ID != claim.ID || (m.claim.ContestedTime == nil) != (claim.ContestedTime == nil) {
		m.claim, m.since = claim, now
	}
	return m.holderOf(claim.ID, claim.Holder, journal, process), now.Sub(m.since)
}

// watchCode is watch, for the claim of a code.
func (m *accountMemory) watchCode(claim v1alpha1.CodeClaim, journal, process string, now time.Time) (lifecycle.ClaimHolder, time.Duration) {
	if claim.ID == "" {
		m.code, m.codeSince = "", time.Time{}
		return "", 0
	}
	if m.code != claim.ID {
		m.code, m.codeSince = claim.ID, now
	}
	return m.holderOf(claim.ID, claim.Holder, journal, process), now.Sub(m.codeSince)
}

// holderOf says whose a claim is.
func (m *accountMemory) holderOf(id string, holder v1alpha1.ClaimHolder, journal, process string) lifecycle.ClaimHolder {
	for _, own := range m.own {
		if own.id == id {
			return own.state
		}
	}
	if holder.Journal == journal && holder.Process != process {
		return lifecycle.ClaimOrphaned
	}
	return lifecycle.ClaimForeign
}

// memory holds what is remembered, by the account's name; an account of the same name with another UID begins anew.
type memory struct {
	mu       sync.Mutex
	accounts map[types.NamespacedName]accountMemory
	// importers are the accounts that have imported a refresh token, by its mark. The same token may lie in two Secrets.
	importers map[string]types.UID
	// unread are the accounts of which the journal holds a result that cannot be read.
	unread map[types.UID]struct{}
}

// setUnread notes whether the journal holds a result of an account that cannot be read.
func (m *memory) setUnread(account types.UID, unread bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !unread {
		delete(m.unread, account)
		return
	}
	if m.unread == nil {
		m.unread = map[types.UID]struct{}{}
	}
	m.unread[account] = struct{}{}
}

func (m *memory) isUnread(account types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, unread := m.unread[account]
	return unread
}

// imports notes that an account has imported, or is about to import, the refresh tokens with these marks. It returns
// whether no other account had the last of them before.
func (m *memory) imports(account types.UID, marks ...string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := true
	for _, mark := range marks {
		if m.importers == nil {
			m.importers = map[string]types.UID{}
		}
		by, taken := m.importers[mark]
		if first = !taken || by == account; first {
			m.importers[mark] = account
		}
	}
	return first
}

// importer is the account that is known to have imported the refresh token with this mark; "": none.
func (m *memory) importer(mark string) types.UID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.importers[mark]
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
