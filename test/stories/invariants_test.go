package stories_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/secret"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// The invariants:
//
//	I1  a refresh token is sent once under each claim, and each attempt has one of its own
//	I2  what a process received and wrote down is not lost, unless something that nothing helps against is noted
//	I3  the status never goes back; a newer consent is never overwritten
//	I4  what was lost by us is told as RefreshTokenLost, never as the provider's word alone
//	I5  in the end the account works, or says that a person is needed, and then a new consent helps
//	I6  a replay never overwrites something newer
//	F1  nothing is lost where the provider forgives a second use for a while
//	FL  lost is never said of a refresh token that was not spent
//	PB  what is published is what is kept
//	C1  a code is sent once, under a claim of its own, and never by anybody else than who claimed it
//	C2  what a code brought, and a process wrote down, is kept, unless something that nothing helps against is noted
//	C3  of each code it is said what came of it, and truly so; one in doubt ends in a link for the person
//	C4  a credential gives way only to the one that a code has brought
func (w *world) violatedf(invariant, format string, arguments ...any) {
	w.t.Helper()
	text := invariant + ": " + fmt.Sprintf(format, arguments...)
	w.broken = append(w.broken, text)
	w.sayf("VIOLATED %s", text)
}

// verdict fails the test where an invariant was violated, with the whole narrative.
func (w *world) verdict() {
	if len(w.broken) > 0 {
		w.t.Errorf("violated: %s", strings.Join(w.broken, "; "))
	}
	if w.t.Failed() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.t.Logf("%s", strings.Join(w.log, "\n"))
	}
}

// watched makes a write, and compares the account before and after it.
func (w *world) watched(r *replica, object client.Object, do func(client.Object) error) error {
	account, is := object.(*v1alpha1.ConnectedAccount)
	if !is {
		return do(object)
	}
	was := w.read()
	if err := do(account); err != nil {
		return err
	}
	w.remember(account)
	now := account.DeepCopy()
	if now.Status.Claim.ID != "" && now.Status.Claim.Holder.Process == r.accounts.Process {
		r.claim, r.claimed = now.Status.Claim, w.clock.Now()
	}
	if claim := now.Status.Authorization.Exchange; claim.ID != "" && claim.Holder.Process == r.accounts.Process {
		r.codeClaim = claim
	}
	switch {
	case was.Status.Authorization.Exchange.ID != now.Status.Authorization.Exchange.ID && now.Status.Authorization.Exchange.ID != "":
		r.forCode = true
	case was.Status.Claim.ID != now.Status.Claim.ID && now.Status.Claim.ID != "":
		r.forCode = false
	}
	w.checkWrite(r, was, now)
	w.checkCodeWrite(was, now)
	return nil
}

// checkWrite holds a write against the invariants.
func (w *world) checkWrite(r *replica, was, now *v1alpha1.ConnectedAccount) {
	old, held := w.open(was), w.open(now)
	if versionOf(old).After(versionOf(held)) || now.Status.ClaimSequence < was.Status.ClaimSequence {
		invariant := "I3"
		if r.replaying {
			invariant = "I6"
		}
		w.violatedf(invariant, "the status goes back from %v to %v", versionOf(old), versionOf(held))
	}
	if now.Status.Failures.Class == was.Status.Failures.Class {
		return
	}
	switch oauth.Class(now.Status.Failures.Class) {
	case lifecycle.RefreshTokenLost:
		if w.kind.graceful() && !w.graceRanOut(held.RefreshToken) {
			w.violatedf("F1", "a refresh token is lost although the provider forgives")
		}
		if w.isLive(held.RefreshToken) {
			w.violatedf("FL", "lost is said of a refresh token that was not spent")
		}
	case oauth.RefreshTokenRejected:
		w.violatedf("I4", "a loss of ours is told as the provider's word")
	default:
	}
}

// checkSend holds a token request that the provider has decided against the ones before.
func (w *world) checkSend(r *replica) {
	w.t.Helper()
	f := r.flight
	defer func() { w.sends = append(w.sends, f) }()
	if f.code {
		w.checkCodeSend(f)
		return
	}
	if w.kind.reusable() {
		return
	}
	if f.claimID == "" {
		w.violatedf("I1", "sent without a claim")
	}
	for _, other := range w.sends {
		switch {
		case other.code:
		case other.claimID == f.claimID:
			w.violatedf("I1", "two requests under one claim")
		case other.request.RefreshFingerprint == f.request.RefreshFingerprint && other.attempt >= f.attempt && !other.wasPutOff():
			w.violatedf("I1", "a refresh token is sent again as attempt %d, after attempt %d", f.attempt, other.attempt)
		}
	}
}

// wasPutOff: the provider said that it did nothing, so that the next request is a first one again.
func (f *flight) wasPutOff() bool {
	return f.step.Unprocessed && f.step.Reply != nil && f.step.Reply.Status == http.StatusServiceUnavailable
}

// journals takes note of what a replica has put into its journal.
func (w *world) journals(r *replica) {
	w.t.Helper()
	w.effect(r, effect{"journals", "journals the answer"}, nil)
}

// isLive: the provider takes the refresh token as one that was never used.
func (w *world) isLive(token secret.Value) bool {
	return slices.ContainsFunc(w.provider.IssuedTokens(), func(issued provider.IssuedToken) bool {
		return issued.Refresh && issued.Live && issued.Value == token.Reveal()
	})
}

// judge looks at an account that has come to rest. A loss that is excused may show only when the token is used next.
func (w *world) judge() {
	w.t.Helper()
	account := w.read()
	held := w.open(account)
	told := unauthorized(account)
	w.judgeCodes(account)
	switch {
	case held.RefreshToken.Empty():
		return
	case w.isLive(held.RefreshToken) || w.mayBeLost(held):
	case told != v1alpha1.ReasonRefreshTokenLost:
		w.violatedf("I4", "the refresh token that is held is dead, and the account says %q", told)
	case w.kind.graceful():
		w.violatedf("F1", "a refresh token is lost although the provider forgives")
	default:
		w.violatedf("I2", "a refresh token is lost, and nothing excuses it")
	}
	if told != "" {
		return
	}
	published := &corev1.Secret{}
	err := suite.admin.Get(w.ctx(), types.NamespacedName{Namespace: w.namespace, Name: w.account.Name}, published)
	if err != nil || string(published.Data["access_token"]) != held.AccessToken.Reveal() {
		w.violatedf("PB", "the Secret does not hold the access token that is kept (%v)", err)
	}
}

// noteTakeover looks, where a refresh token in doubt is claimed again, for another who may hold what the first try brought
// and was asleep, or down, all through the wait. Where the second use ends the grant, nothing helps against that.
func (w *world) noteTakeover(r *replica, e effect) {
	w.t.Helper()
	if e.verb != "claims" || r.claim.Attempt < 2 || !w.kind.revokes() && !w.kind.graceful() {
		return
	}
	for _, other := range slices.Concat(w.replicas, w.fallen) {
		holds := other.busy && other.flight != nil || len(other.journalled()) > 0
		if other != r && holds && w.clock.Since(other.claimed) >= w.kind.reuse.Grace+takeoverWait {
			w.slept = true
			w.excuse(r, other.name+" was asleep, or down, all through the wait")
		}
	}
}
