package provider

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// What tokens and codes begin with, so that a search for leaks can find them in any text. 43 characters of base64url,
// 256 random bits, follow.
const (
	AccessTokenPrefix  = "opat_"
	RefreshTokenPrefix = "oprt_"
	CodePrefix         = "opac_"
)

// sweepInterval is how often what is past its retention is looked for.
const sweepInterval = time.Minute

// lineage is one consent and the tokens that descend from it.
type lineage struct {
	id           string
	registration *Registration
	user         string
	scopes       []string
	tokens       []*token
	// lastSpent is the only token to which a grace can still apply: once a successor is spent, somebody has it.
	lastSpent *token
}

// token is an access token or a refresh token.
type token struct {
	value        string
	refresh      bool
	registration *Registration
	lineage      *lineage // nil for client credentials
	scopes       []string
	expires      time.Time // access tokens only; refresh tokens do not expire
	revoked      bool
	spent        bool   // refresh tokens only, as the rest
	superseded   bool   // a later sibling took its place
	successor    *token // the refresh token that the first spending gave
	ended        time.Time
}

func (t *token) lineageID() string {
	if t.lineage == nil {
		return ""
	}
	return t.lineage.id
}

// live says of a refresh token that it can be spent for the first time.
func (t *token) live() bool { return !t.spent && !t.superseded && !t.revoked }

// code is an authorization code.
type code struct {
	value       string
	lineage     *lineage
	redirectURI string
	challenge   string
	expires     time.Time
	spent       bool
}

// tokenStore is what the server knows about tokens and codes. Its methods return the ledger entries of
// what they did, in order. The server's mutex guards it.
type tokenStore struct {
	retention time.Duration
	tokens    map[string]*token
	codes     map[string]*code
	lineages  map[string]*lineage
	swept     time.Time
}

func newTokenStore(retention time.Duration) *tokenStore {
	return &tokenStore{
		retention: retention,
		tokens:    map[string]*token{},
		codes:     map[string]*code{},
		lineages:  map[string]*lineage{},
	}
}

func random(prefix string) string {
	bits := make([]byte, 32)
	_, _ = rand.Read(bits) // never fails: it ends the process instead
	return prefix + base64.RawURLEncoding.EncodeToString(bits)
}

func (s *tokenStore) newLineage(registration *Registration, user string, scopes []string, now time.Time) *lineage {
	s.sweep(now) // before, or the new lineage, which has nothing yet, would go with the others
	bits := make([]byte, 8)
	_, _ = rand.Read(bits)
	created := &lineage{id: "lineage-" + hex.EncodeToString(bits), registration: registration, user: user, scopes: scopes}
	s.lineages[created.id] = created
	return created
}

// add makes a token and remembers it.
func (s *tokenStore) add(made token) *token {
	s.tokens[made.value] = &made
	if made.lineage != nil {
		made.lineage.tokens = append(made.lineage.tokens, &made)
	}
	return &made
}

// wanted is what the caller of issue asks for.
type wanted struct {
	registration *Registration
	lineage      *lineage
	scopes       []string
	parent       *token
	// newRefresh asks for a refresh token; sameRefresh is one to hand out again.
	newRefresh  bool
	sameRefresh *token
}

// pair is what was issued; refresh may be nil.
type pair struct{ access, refresh *token }

// issue makes an access token, and a refresh token where one is wanted.
func (s *tokenStore) issue(want wanted, now time.Time) (pair, Entry) {
	s.sweep(now)
	made := pair{refresh: want.sameRefresh}
	made.access = s.add(token{
		value:        random(AccessTokenPrefix),
		registration: want.registration,
		lineage:      want.lineage,
		scopes:       want.scopes,
		expires:      now.Add(want.registration.AccessTokenLifetime),
	})
	entry := s.about(KindIssued, want.registration, want.lineage)
	entry.AccessFingerprint = Fingerprint(made.access.value)
	entry.Scope = strings.Join(want.scopes, " ")
	entry.ExpiresTime = made.access.expires.UTC()
	if want.newRefresh {
		made.refresh = s.add(token{
			value:        random(RefreshTokenPrefix),
			refresh:      true,
			registration: want.registration,
			lineage:      want.lineage,
			scopes:       want.lineage.scopes,
		})
	}
	if made.refresh != nil {
		entry.RefreshFingerprint = Fingerprint(made.refresh.value)
	}
	if want.parent != nil {
		entry.ParentFingerprint = Fingerprint(want.parent.value)
	}
	return made, entry
}

// about starts an entry with what registration and lineage say.
func (s *tokenStore) about(kind Kind, registration *Registration, of *lineage) Entry {
	entry := Entry{Kind: kind, Contract: registration.Contract, ClientID: registration.ClientID}
	if of != nil {
		entry.Lineage, entry.User = of.id, of.user
	}
	return entry
}

// revokeLineage ends every token of the lineage. It gives no entry if there was nothing left to end.
func (s *tokenStore) revokeLineage(of *lineage, reason string, now time.Time) []Entry {
	if s.revokeTokens(of.tokens, now) == 0 {
		return nil
	}
	entry := s.about(KindRevoked, of.registration, of)
	entry.Reason = reason
	return []Entry{entry}
}

// revokeUser ends every lineage that the user granted to the client.
func (s *tokenStore) revokeUser(registration *Registration, user, reason string, now time.Time) []Entry {
	var entries []Entry
	for _, id := range s.lineageIDs() {
		if of := s.lineages[id]; of.registration == registration && of.user == user {
			entries = append(entries, s.revokeLineage(of, reason, now)...)
		}
	}
	return entries
}

// lineageIDs is sorted: the ledger's order must not depend on a map's.
func (s *tokenStore) lineageIDs() []string {
	ids := make([]string, 0, len(s.lineages))
	for id := range s.lineages {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// revokeTokens returns how many of the tokens were still good for something.
func (s *tokenStore) revokeTokens(tokens []*token, now time.Time) int {
	ended := 0
	for _, each := range tokens {
		if each.revoked {
			continue
		}
		each.revoked = true
		if each.ended.IsZero() && (each.refresh || now.Before(each.expires)) {
			each.ended = now
			ended++
		}
	}
	return ended
}

// sweep forgets what ended longer than the retention ago.
func (s *tokenStore) sweep(now time.Time) {
	if now.Sub(s.swept) < sweepInterval {
		return
	}
	s.swept = now
	past := func(end time.Time) bool { return !end.IsZero() && now.Sub(end) > s.retention }
	gone := func(t *token) bool {
		if t.refresh {
			return past(t.ended)
		}
		return past(t.expires)
	}
	for value, each := range s.tokens {
		if gone(each) {
			delete(s.tokens, value)
		}
	}
	for value, each := range s.codes {
		if past(each.expires) {
			delete(s.codes, value)
		}
	}
	for id, each := range s.lineages {
		each.tokens = slices.DeleteFunc(each.tokens, gone)
		// A lineage without tokens may still have a code that nobody has brought back.
		if len(each.tokens) == 0 && !s.hasCode(each) {
			delete(s.lineages, id)
		}
	}
}

func (s *tokenStore) hasCode(of *lineage) bool {
	for _, each := range s.codes {
		if each.lineage == of {
			return true
		}
	}
	return false
}
