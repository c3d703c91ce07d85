package main

import (
	"crypto/rand"
	"slices"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// lifetime is how long access tokens live: long enough that a rotation and a restart fit in, short enough for many of them.
const lifetime = 10 * time.Second

const (
	// codeLifetime is how long access tokens live where people consent. A code waits for five seconds after a refresh, so that
	// there are fewer of those.
	codeLifetime = 2 * lifetime
	// codeHold is the longest time for which a request about a code is held: less than pages and operator wait for an answer.
	codeHold = 6 * time.Second
	// consentScope is what people are asked for.
	consentScope = "invoices"
)

// kind is a kind of provider, and what the client says of it. Each has a client of its own, of its name.
type kind struct {
	name   string
	reuse  provider.ReusePolicy
	tokens v1alpha1.RefreshTokens
	// hold is the longest time for which one request of an account is held. Where there is a grace, the fault, a restart and
	// another try must fit into it.
	hold   time.Duration
	secret string
	// lifetime is how long access tokens live. consents: accounts begin with a person's consent.
	lifetime time.Duration
	consents bool
}

// kinds are all of them.
func kinds() []*kind {
	const (
		long  = 2500 * time.Millisecond
		short = 1200 * time.Millisecond
	)
	all := []*kind{
		{name: "strict", hold: long, reuse: provider.ReusePolicy{Kind: provider.Strict}, tokens: v1alpha1.RefreshTokens{OnReuse: v1alpha1.ReuseRejects}},
		{name: "family", hold: long, reuse: provider.ReusePolicy{Kind: provider.RevokeFamily}, tokens: v1alpha1.RefreshTokens{OnReuse: v1alpha1.ReuseRevokesGrant}},
		// What nobody declares is taken to be at its strictest.
		{name: "user", hold: long, reuse: provider.ReusePolicy{Kind: provider.RevokeUser}},
		{name: "reusable", hold: long, reuse: provider.ReusePolicy{Kind: provider.Reusable}, tokens: v1alpha1.RefreshTokens{Use: v1alpha1.RefreshTokenReusable}},
	}
	for _, grace := range []struct {
		name    string
		seconds int32
		hold    time.Duration
	}{{"10s", 10, short}, {"30s", 30, long}} {
		for _, each := range []struct {
			name string
			kind provider.ReuseKind
		}{{"same", provider.GraceSameSuccessor}, {"several", provider.GraceSeveral}, {"last", provider.GraceOnlyLast}} {
			all = append(all, &kind{
				name: each.name + "-" + grace.name, hold: grace.hold,
				reuse:  provider.ReusePolicy{Kind: each.kind, Grace: time.Duration(grace.seconds) * time.Second, AfterGrace: provider.RevokeFamily},
				tokens: v1alpha1.RefreshTokens{ReuseGraceSeconds: grace.seconds},
			})
		}
	}
	for _, each := range all {
		each.secret, each.lifetime = rand.Text(), lifetime
	}
	return all
}

// consentKinds are those of the runs in which people consent: what a provider does about a second use decides what becomes of
// an old grant beside a new one.
func consentKinds(lifetime time.Duration) []*kind {
	chosen := map[string]bool{"strict": true, "family": true, "user": true, "last-30s": true}
	all := slices.DeleteFunc(kinds(), func(k *kind) bool { return !chosen[k.name] })
	for _, each := range all {
		each.consents, each.lifetime, each.hold = true, lifetime, codeHold
	}
	return all
}

// registration is the client as the provider knows it.
func (k *kind) registration() provider.Registration {
	registered := provider.Registration{
		Contract: provider.Smartbills, ClientID: k.name, ClientSecret: k.secret, AccessTokenLifetime: k.lifetime, Reuse: k.reuse,
		RedirectURIs: []string{"https://operator.example/callback"},
	}
	if k.consents {
		registered.RedirectURIs = []string{"/callback/" + namespace + "/" + k.name}
		registered.Scopes, registered.PKCE = []string{consentScope}, true
	}
	return registered
}

func (k *kind) revokes() bool {
	return k.reuse.Kind == provider.RevokeFamily || k.reuse.Kind == provider.RevokeUser
}

func (k *kind) reusable() bool { return k.reuse.Kind == provider.Reusable }
