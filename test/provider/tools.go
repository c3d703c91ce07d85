package provider

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Grant is an access that was granted without a browser.
type Grant struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	ExpiresIn    int64  `json:"expires_in"`
	Lineage      string `json:"lineage"`
}

// Grant gives a user's consent and the tokens for it at once, as if obtained elsewhere: for imports, and for
// tests that begin with a thousand accounts. Scopes default to all of the registration's.
func (s *Server) Grant(clientID, user string, scopes ...string) (Grant, error) {
	registration := s.registrations[clientID]
	if registration == nil {
		return Grant{}, fmt.Errorf("client %q is not registered", clientID)
	}
	if len(scopes) == 0 {
		scopes = registration.Scopes
	}
	if !within(scopes, registration.Scopes) {
		return Grant{}, errors.New("a scope is beyond those of the registration")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	of := s.tokens.newLineage(registration, user, scopes, now)
	made, entry := s.tokens.issue(wanted{registration: registration, lineage: of, scopes: scopes, newRefresh: true}, now)
	entry.Reason = "granted_directly"
	if err := s.ledger.append(true, entry); err != nil {
		return Grant{}, err
	}
	return Grant{
		AccessToken:  made.access.value,
		RefreshToken: made.refresh.value,
		ExpiresIn:    int64(made.access.expires.Sub(now) / time.Second),
		Lineage:      of.id,
	}, nil
}

// Consent gives a user's consent and the code for it at once, without a browser. The challenge is of RFC 7636, for a
// registration that wants one. Scopes default to all of the registration's.
func (s *Server) Consent(clientID, user, redirectURI, challenge string, scopes ...string) (string, error) {
	registration := s.registrations[clientID]
	switch {
	case registration == nil:
		return "", fmt.Errorf("client %q is not registered", clientID)
	case !slices.Contains(registration.RedirectURIs, redirectURI):
		return "", errors.New("the redirect URI is not registered")
	case registration.PKCE != (challenge != ""):
		return "", errors.New("a challenge is wanted by a registration with PKCE, and by no other")
	}
	if len(scopes) == 0 {
		scopes = registration.Scopes
	}
	if !within(scopes, registration.Scopes) {
		return "", errors.New("a scope is beyond those of the registration")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	made, entry := s.tokens.newCode(s.tokens.newLineage(registration, user, scopes, now), redirectURI, challenge, now)
	if err := s.ledger.append(true, entry); err != nil {
		return "", err
	}
	return made.value, nil
}

// Revocation says what to revoke; exactly one of Fingerprint, Lineage and ClientID, the last with a User or without.
type Revocation struct {
	// Fingerprint of an access token ends that token; of a refresh token, its lineage.
	Fingerprint string `json:"fingerprint,omitempty"`
	Lineage     string `json:"lineage,omitempty"`
	ClientID    string `json:"client_id,omitempty"`
	// User limits the revocation of a client to the lineages of that user.
	User string `json:"user,omitempty"`
}

// Revoke ends tokens ahead of their time, as a person or the provider would. It returns how many tokens were live.
func (s *Server) Revoke(what Revocation) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	matches, entry, err := s.revocation(what)
	if err != nil {
		return 0, fmt.Errorf("revoke: %w", err)
	}
	var tokens []*token
	for _, each := range s.tokens.tokens {
		if matches(each) {
			tokens = append(tokens, each)
		}
	}
	if len(tokens) == 0 {
		return 0, errors.New("revoke: there is no such token")
	}
	if what.Fingerprint != "" && tokens[0].refresh {
		entry = s.tokens.about(KindRevoked, tokens[0].registration, tokens[0].lineage)
		tokens = tokens[0].lineage.tokens
	} else if what.Fingerprint != "" {
		entry = s.tokens.about(KindRevoked, tokens[0].registration, tokens[0].lineage)
		entry.AccessFingerprint = what.Fingerprint
	}
	entry.Reason = "revoked_by_test"
	ended := s.tokens.revokeTokens(tokens, now)
	return ended, s.ledger.append(true, entry)
}

// revocation gives the tokens that are meant, and the beginning of the ledger's entry.
func (s *Server) revocation(what Revocation) (func(*token) bool, Entry, error) {
	named := 0
	for _, each := range []string{what.Fingerprint, what.Lineage, what.ClientID} {
		if each != "" {
			named++
		}
	}
	if named != 1 || what.User != "" && what.ClientID == "" {
		return nil, Entry{}, errors.New("name exactly one of fingerprint, lineage and client")
	}
	switch {
	case what.Fingerprint != "":
		return func(t *token) bool { return Fingerprint(t.value) == what.Fingerprint }, Entry{}, nil
	case what.Lineage != "":
		of := s.tokens.lineages[what.Lineage]
		if of == nil {
			return nil, Entry{}, errors.New("the lineage is not known")
		}
		return func(t *token) bool { return t.lineage == of }, s.tokens.about(KindRevoked, of.registration, of), nil
	}
	registration := s.registrations[what.ClientID]
	if registration == nil {
		return nil, Entry{}, errors.New("the client is not registered")
	}
	entry := s.tokens.about(KindRevoked, registration, nil)
	entry.User = what.User
	return func(t *token) bool {
		return t.registration == registration && (what.User == "" || t.lineage != nil && t.lineage.user == what.User)
	}, entry, nil
}

// SetClientSecret replaces a client's secret. Tokens stay.
func (s *Server) SetClientSecret(clientID, value string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	registration := s.registrations[clientID]
	if registration == nil || value == "" {
		return fmt.Errorf("client %q is not registered, or the secret is empty", clientID)
	}
	registration.ClientSecret = value
	entry := registration.entry()
	entry.Reason = "client_secret_changed"
	return s.ledger.append(true, entry)
}

// SetAccessTokenLifetime changes how long access tokens live that a client is given from now on, in whole seconds.
func (s *Server) SetAccessTokenLifetime(clientID string, lifetime time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	registration := s.registrations[clientID]
	if registration == nil || lifetime < time.Second || lifetime%time.Second != 0 {
		return fmt.Errorf("client %q is not registered, or the lifetime is not whole seconds, at least one", clientID)
	}
	registration.AccessTokenLifetime = lifetime
	entry := registration.entry()
	entry.Reason = "access_token_lifetime_changed"
	return s.ledger.append(true, entry)
}

// IssuedToken is a token in the clear, for tests that search for leaks.
type IssuedToken struct {
	Value    string
	Refresh  bool
	ClientID string
	User     string
	Lineage  string
	// Live tells that the token could be used now.
	Live bool
}

// IssuedTokens returns the tokens in memory, live ones and those that ended within the retention, in the order of
// their values.
func (s *Server) IssuedTokens() []IssuedToken {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	issued := make([]IssuedToken, 0, len(s.tokens.tokens))
	for _, each := range s.tokens.tokens {
		made := IssuedToken{
			Value: each.value, Refresh: each.refresh, ClientID: each.registration.ClientID, Lineage: each.lineageID(),
			Live: each.live() && (each.refresh || now.Before(each.expires)),
		}
		if each.lineage != nil {
			made.User = each.lineage.user
		}
		issued = append(issued, made)
	}
	slices.SortFunc(issued, func(a, b IssuedToken) int {
		if a.Value < b.Value {
			return -1
		}
		return 1
	})
	return issued
}

// hold returns the hold of that name, made on first use, for steps that came over HTTP.
func (s *Server) hold(name string) *Hold {
	if name == "" {
		return nil
	}
	s.holdsMu.Lock()
	defer s.holdsMu.Unlock()
	if s.holds[name] == nil {
		s.holds[name] = NewHold()
	}
	return s.holds[name]
}

// release lets the hold's requests go and forgets it, so that the name can be used again.
func (s *Server) release(name string) error {
	s.holdsMu.Lock()
	defer s.holdsMu.Unlock()
	held := s.holds[name]
	if held == nil {
		return &controlError{status: http.StatusNotFound, text: "there is no such hold"}
	}
	held.Release()
	delete(s.holds, name)
	return nil
}
