package consent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

const (
	// maxUsedStates is how many states an account remembers as used up.
	maxUsedStates = 16
	// handOverLifetime is how long a code waits for the controller; the provider keeps it no longer.
	handOverLifetime = flowLifetime
	// writeAttempts is how often a hand-over is tried while others write the same status.
	writeAttempts = 4
	// idLength is that of a hand-over's name, in bytes.
	idLength = 16
)

// callback takes what the provider sent the browser back with (RFC 6749 section 4.1.2). All that can be refused is refused
// from memory, and always the same; after that there is one read and one write. The person ends up at a URL without a code.
func (h *Handler) callback(w http.ResponseWriter, r *http.Request, below string) {
	keys := h.Keys.Current()
	if keys == nil {
		h.unavailable(w, "take a callback", errNoKeys)
		return
	}
	stateHash, flow, got, ok := h.judge(r, keys, below)
	if !ok {
		h.pages.show(w, page{kind: pageRefused})
		return
	}
	// Whoever closes the tab now has consented all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), askDeadline)
	defer cancel()
	outcome, err := h.handOver(ctx, keys, stateHash, flow, got)
	switch {
	case errors.Is(err, ErrNotFound):
		h.nothingHere(w)
		return
	case err != nil:
		h.unavailable(w, "hand a code over", err)
		return
	case outcome.refused:
		h.pages.show(w, outcome.page)
		return
	}
	told := answerSeen
	if !outcome.seen {
		told = answerHandedOver
		h.Metrics.handed(got)
	}
	// The result can be looked at for a while longer than the sign-in may take.
	cookie, err := h.flowCookie(keys, stateHash, flow, resultLifetime)
	if err != nil {
		h.unavailable(w, "keep the cookie", err)
		return
	}
	http.SetCookie(w, cookie)
	h.pages.redirect(w, h.resultURL(stateHash, 0, outcome.seen), told)
}

// judge is all that can be said of a callback from memory.
func (h *Handler) judge(r *http.Request, keys *seal.ConsentKeys, below string) (stateHash string, flow seal.Cookie, got answer, ok bool) {
	if r.Method != http.MethodGet || !isNavigation(r.Header) {
		return "", flow, got, false
	}
	query, ok := parseQuery(r.URL.RawQuery)
	if !ok {
		return "", flow, got, false
	}
	state, ok := parseState(query)
	if !ok {
		return "", flow, got, false
	}
	stateHash = hashOf(state)
	if flow, ok = h.flowOf(r, keys, stateHash, flowLifetime); !ok {
		return "", flow, got, false
	}
	// Each client has a path of its own, so that one provider's code does not reach another (RFC 9700 section 4.4).
	if flow.RedirectURI != h.url(callbackPath+below) {
		return "", flow, got, false
	}
	got, ok = parseAnswer(query, flow.Issuer, flow.Capture)
	return stateHash, flow, got, ok
}

// handedOver is how a hand-over went. Where it was refused there is a page; seen is set where the state was used before.
type handedOver struct {
	refused, seen bool
	page          page
}

// handOver writes what a callback brought into the account's status, or finds that this was done before.
func (h *Handler) handOver(ctx context.Context, keys *seal.ConsentKeys, stateHash string, flow seal.Cookie, got answer) (handedOver, error) {
	var last error
	written := false
	for range writeAttempts {
		read, err := h.Accounts.Account(ctx, flow.Ticket.Namespace, flow.Ticket.Name)
		if err != nil {
			return handedOver{}, fmt.Errorf("read the account: %w", err)
		}
		account := read.DeepCopy()
		if string(account.UID) == flow.Ticket.AccountUID && isUsed(account, stateHash) {
			// By an earlier callback; or by our own write, whose answer was lost.
			return handedOver{seen: !written}, nil
		}
		if no, is := h.refuses(account, flow, got); is {
			return handedOver{refused: true, page: no}, nil
		}
		if err := h.enter(keys, account, stateHash, flow, got); err != nil {
			return handedOver{}, err
		}
		if last = h.Accounts.HandOver(ctx, read, account); last == nil {
			return handedOver{}, nil
		}
		written = written || !errors.Is(last, ErrConflict)
		if errors.Is(last, ErrNotFound) || ctx.Err() != nil {
			break
		}
	}
	return handedOver{}, fmt.Errorf("write the status: %w", last)
}

// isUsed reports whether a state was used up.
func isUsed(account *v1alpha1.ConnectedAccount, stateHash string) bool {
	return slices.Contains(account.Status.Authorization.UsedStates, v1alpha1.StateHash(stateHash))
}

// refuses says why an account does not take what a callback brought, if it does not.
func (h *Handler) refuses(account *v1alpha1.ConnectedAccount, flow seal.Cookie, got answer) (page, bool) {
	now := h.Clock.Now()
	if no, is := refusal(account, flow.Ticket, now); is {
		return no, true
	}
	// One at a time, or whoever has the link could replace another's code before it is exchanged, or write without end.
	waiting := account.Status.Authorization
	handed := waiting.HandOver.ID != "" && isFresh(waiting.HandOver.HandedOverTime, now)
	denied := waiting.Denial.Code != "" && isFresh(waiting.Denial.DeniedTime, now)
	switch {
	case got.denial != "" && (handed || denied):
		return denialPage(got.denial), true
	case handed:
		return page{kind: pageElsewhere, retryAfter: rateWindow}, true
	}
	return page{}, false
}

// isFresh reports whether the controller may still take up what was handed over then.
func isFresh(then *metav1.Time, now time.Time) bool {
	return then != nil && now.Before(then.Add(handOverLifetime))
}

// enter puts what a callback brought into a status, and uses its state up.
func (h *Handler) enter(keys *seal.ConsentKeys, account *v1alpha1.ConnectedAccount, stateHash string, flow seal.Cookie, got answer) error {
	now := metav1.NewTime(h.Clock.Now())
	into := &account.Status.Authorization
	into.UsedStates = append(into.UsedStates, v1alpha1.StateHash(stateHash))
	into.UsedStates = into.UsedStates[max(0, len(into.UsedStates)-maxUsedStates):]
	if got.denial != "" {
		into.Denial = v1alpha1.AuthorizationDenial{Code: got.denial, StateHash: v1alpha1.StateHash(stateHash), DeniedTime: &now}
		return nil
	}
	over := seal.HandOver{Code: got.code, Issuer: got.issuer, ScopeHash: flow.ScopeHash}
	for _, each := range got.captured {
		over.Captured = append(over.Captured, seal.CapturedField{Name: each.name, Value: each.value})
	}
	sealed, err := keys.SealHandOver(bindingOf(flow, stateHash), over)
	if err != nil {
		return fmt.Errorf("seal the code: %w", err)
	}
	id, err := h.random(idLength)
	if err != nil {
		return err
	}
	into.HandOver = v1alpha1.HandOver{
		ID: id, Sealed: sealed, SealedVerifier: flow.SealedVerifier, StateHash: v1alpha1.StateHash(stateHash),
		ClientUID: flow.ClientUID, ClientID: flow.ClientID, RedirectURI: flow.RedirectURI, Host: flow.TokenHost, Attempt: flow.Ticket.Attempt, HandedOverTime: &now,
	}
	return nil
}

// resultURL is where a person sees what came of it. The hash says nothing to whoever has not got the cookie.
func (h *Handler) resultURL(stateHash string, looked int, seen bool) string {
	target := h.url(resultPath) + "?flow=" + stateHash
	if looked > 0 {
		target += "&looked=" + strconv.Itoa(looked)
	}
	if seen {
		target += "&seen=1"
	}
	return target
}
