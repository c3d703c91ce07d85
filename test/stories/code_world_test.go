package stories_test

import (
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// pagesURL is where the pages would be. The stories play them.
const pagesURL = "https://oauth.example.com"

// handed is a code that was handed over.
type handed struct {
	state       v1alpha1.StateHash
	fingerprint string
	// excuses are why what it brought may be lost.
	excuses []string
	// kept: what it brought was kept.
	kept bool
}

// newCodeWorld makes a world with an account that nobody has consented to yet. A link is there at all times: a person may
// consent while the grant before works.
func newCodeWorld(t *testing.T, of kind) *world {
	t.Helper()
	return makeWorld(t, of, true)
}

func (w *world) consentURL() string {
	if !w.codes {
		return ""
	}
	return pagesURL
}

func (w *world) redirectURI() string { return pagesURL + "/callback/" + w.namespace + "/bills" }

// sendsToBrowser lets a client send a person to a browser.
func (w *world) sendsToBrowser(owner *v1alpha1.OAuthClient) {
	owner.Spec.Endpoints.Authorization = v1alpha1.AuthorizationEndpoint(w.provider.AuthorizeEndpoint(provider.Smartbills))
	owner.Spec.AuthorizationRequest.PKCE = v1alpha1.PKCENone
}

// handsOver is a person's consent, and what the pages make of the callback.
func (w *world) handsOver() {
	w.t.Helper()
	code, err := w.provider.Consent(clientID, user, w.redirectURI(), "")
	w.must(err)
	owner := &v1alpha1.OAuthClient{}
	key := w.account
	key.Name = "bills"
	w.must(suite.admin.Get(w.ctx(), key, owner))
	keys, err := seal.ParseConsentKeys(suite.keyring.ConsentData())
	w.must(err)
	account := w.read()
	if account.Status.AuthorizationURL == "" {
		w.violatedf("C3", "there is no link for the person")
	}
	now := metav1.NewTime(w.clock.Now())
	over := v1alpha1.HandOver{
		ID: fmt.Sprintf("over-%d", len(w.handed)+1), StateHash: v1alpha1.StateHash(fmt.Sprintf("state-%d", len(w.handed)+1)),
		ClientUID: string(owner.UID), ClientID: clientID, RedirectURI: w.redirectURI(),
		Attempt: max(account.Status.Authorization.Attempt, 1), HandedOverTime: &now,
	}
	over.Sealed, err = keys.SealHandOver(seal.HandOverBinding{
		AccountUID: string(account.UID), ClientUID: over.ClientUID, ClientID: clientID, RedirectURI: over.RedirectURI,
		Attempt: over.Attempt, StateHash: string(over.StateHash),
	}, seal.HandOver{Code: secret.New(code)})
	w.must(err)
	w.handed = append(w.handed, handed{state: over.StateHash, fingerprint: provider.Fingerprint(code)})
	w.sayf("a person consents, and the code is handed over")
	account.Status.Authorization.HandOver = over
	account.Status.Authorization.UsedStates = append(account.Status.Authorization.UsedStates, over.StateHash)
	w.must(suite.admin.Status().Update(w.ctx(), account))
	w.changed()
	w.remember(account)
}

// codeOpen: a code waits, or is being exchanged.
func codeOpen(account *v1alpha1.ConnectedAccount) bool {
	return account.Status.Authorization.HandOver.ID != "" || account.Status.Authorization.Exchange.ID != ""
}

// excuseCode notes something that nothing can be done about: nobody will ever know what the code has brought.
func (w *world) excuseCode(r *replica, why string) {
	w.t.Helper()
	for i := range w.handed {
		if w.handed[i].state == r.codeClaim.StateHash {
			w.debugf("excused from here on, for the code %s: %s", w.handed[i].state, why)
			w.handed[i].excuses = append(w.handed[i].excuses, why)
		}
	}
}

// checkCodeSend holds a request with a code against the ones before.
func (w *world) checkCodeSend(f *flight) {
	w.t.Helper()
	at := slices.IndexFunc(w.handed, func(h handed) bool { return h.fingerprint == f.request.CodeFingerprint })
	switch {
	case f.claimID == "":
		w.violatedf("C1", "a code is sent without a claim")
	case at < 0:
		w.violatedf("C1", "a code is sent that nobody has handed over")
	}
	for _, other := range w.sends {
		switch {
		case other.code && other.request.CodeFingerprint == f.request.CodeFingerprint:
			w.violatedf("C1", "a code is sent twice")
		case other.claimID == f.claimID:
			w.violatedf("C1", "two requests under one claim of a code")
		}
	}
}

// broughtBy is the code whose exchange brought the refresh token; -1: none.
func (w *world) broughtBy(token secret.Value) int {
	for _, f := range w.sends {
		if f.code && f.issued != "" && f.issued == provider.Fingerprint(token.Reveal()) {
			return slices.IndexFunc(w.handed, func(h handed) bool { return h.fingerprint == f.request.CodeFingerprint })
		}
	}
	return -1
}

// checkCodeWrite holds a write against what the codes have brought.
func (w *world) checkCodeWrite(was, now *v1alpha1.ConnectedAccount) {
	w.t.Helper()
	if !w.codes {
		return
	}
	old, held := w.open(was), w.open(now)
	if held.GrantSequence != old.GrantSequence || held.Lineage != old.Lineage {
		at := w.broughtBy(held.RefreshToken)
		if at < 0 {
			w.violatedf("C4", "the credential gives way to one that no code has brought")
			return
		}
		w.handed[at].kept = true
	}
	last := now.Status.Authorization.LastOutcome
	if before := was.Status.Authorization.LastOutcome; last.StateHash == before.StateHash && last.Result == before.Result {
		return
	}
	at := slices.IndexFunc(w.handed, func(h handed) bool { return h.state == last.StateHash })
	switch {
	case at < 0:
		w.violatedf("C3", "%s is said of a code that nobody has handed over", last.Result)
	case (last.Result == v1alpha1.AuthorizationConnected) != w.handed[at].kept:
		w.violatedf("C3", "%s is said of a code; that what it brought is kept: %t", last.Result, w.handed[at].kept)
	}
}

// judgeCodes looks at what became of the codes, when the account has come to rest.
func (w *world) judgeCodes(account *v1alpha1.ConnectedAccount) {
	w.t.Helper()
	if len(w.handed) == 0 {
		return
	}
	if codeOpen(account) {
		w.violatedf("C3", "a code is still open")
	}
	newest, last := w.handed[len(w.handed)-1], account.Status.Authorization.LastOutcome
	if last.StateHash != newest.state {
		w.violatedf("C3", "nothing is said of the last code, but %s of %s", last.Result, last.StateHash)
	}
	for i, h := range w.handed {
		granted := slices.ContainsFunc(w.sends, func(f *flight) bool {
			return f.code && f.issued != "" && f.request.CodeFingerprint == h.fingerprint
		})
		later := slices.ContainsFunc(w.handed[i+1:], func(h handed) bool { return h.kept })
		if granted && !h.kept && !later && len(h.excuses) == 0 {
			w.violatedf("C2", "what a code brought is lost, and nothing excuses it")
		}
	}
	switch {
	case newest.kept:
	case len(newest.excuses) > 0 && last.Result != v1alpha1.AuthorizationInDoubt:
		w.violatedf("C3", "%s is said of a code in doubt", last.Result)
	case account.Status.AuthorizationURL == "":
		w.violatedf("C3", "nothing came of the code (%s), and there is no link for the person", last.Result)
	}
}
