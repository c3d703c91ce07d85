package consent

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// result shows what came of an attempt, to the browser that made it.
func (h *Handler) result(w http.ResponseWriter, r *http.Request) {
	query, ok := parseQuery(r.URL.RawQuery)
	stateHash, _, single := single(query, "flow")
	if !ok || !single {
		h.nothingHere(w)
		return
	}
	keys := h.Keys.Current()
	if keys == nil {
		h.unavailable(w, "show a result", errNoKeys)
		return
	}
	flow, ok := h.flowOf(r, keys, stateHash, resultLifetime)
	if !ok {
		h.nothingHere(w)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askDeadline)
	defer cancel()
	account, err := h.Accounts.Account(ctx, flow.Ticket.Namespace, flow.Ticket.Name)
	if err != nil {
		h.cannotRead(w, "read an account", err, pageNothing)
		return
	}
	if string(account.UID) != flow.Ticket.AccountUID {
		h.nothingHere(w)
		return
	}
	shown := outcomeOf(account, v1alpha1.StateHash(stateHash), h.Clock.Now())
	shown.Account, shown.Namespace = account.Name, account.Namespace
	shown.Seen = query.Get("seen") == "1"
	looked, _ := strconv.Atoi(query.Get("looked")) // what is no number begins anew
	h.follow(&shown, stateHash, looked)
	h.pages.show(w, shown)
}

// follow has a page that is not finished look again by itself, at growing distances and for about two minutes. Then it waits
// for the person.
func (h *Handler) follow(shown *page, stateHash string, looked int) {
	if shown.kind != pageWorking {
		return
	}
	distances := []int{1, 1, 2, 2, 3, 4, 5, 5, 6, 8, 10, 10, 15, 20, 30}
	if looked < 0 || looked >= len(distances) {
		shown.kind = pageSlow
		shown.Again = h.resultURL(stateHash, 0, shown.Seen)
		return
	}
	shown.refreshAfter = time.Duration(distances[looked]) * time.Second
	shown.Again = h.resultURL(stateHash, looked+1, shown.Seen)
}

// outcomeOf is the page that tells what came of an attempt. The attempt is named by the hash of its state; what other attempts
// brought is nothing to this person.
func outcomeOf(account *v1alpha1.ConnectedAccount, stateHash v1alpha1.StateHash, now time.Time) page {
	known := account.Status.Authorization
	switch {
	case known.LastOutcome.StateHash == stateHash:
		return pageOf(known.LastOutcome, account)
	case known.Exchange.StateHash == stateHash:
		return page{kind: pageWorking}
	case known.HandOver.StateHash == stateHash:
		if handed := known.HandOver.HandedOverTime; handed != nil && now.After(handed.Add(handOverLifetime)) {
			return page{kind: pageLate}
		}
		return page{kind: pageWorking}
	case known.Denial.StateHash == stateHash:
		return denialPage(known.Denial.Code)
	}
	// It made room for others by now, or it was never handed over.
	return page{kind: pageUsed}
}

func pageOf(outcome v1alpha1.AuthorizationOutcome, account *v1alpha1.ConnectedAccount) page {
	kinds := map[v1alpha1.AuthorizationResult]pageKind{
		v1alpha1.AuthorizationConnected:      pageConnected,
		v1alpha1.AuthorizationNeedsApproval:  pageApproval,
		v1alpha1.AuthorizationWasDenied:      pageDenied,
		v1alpha1.AuthorizationRejected:       pageRejected,
		v1alpha1.AuthorizationInDoubt:        pageDoubt,
		v1alpha1.AuthorizationSubjectChanged: pageWrongAccount,
		v1alpha1.AuthorizationExpired:        pageLate,
	}
	kind, known := kinds[outcome.Result]
	if outcome.Error != "" && outcome.Result == v1alpha1.AuthorizationRejected {
		return denialPage(outcome.Error) // as before the operator has taken it up
	}
	if !known {
		return page{kind: pageRejected}
	}
	return page{kind: kind, Identity: outcome.Identity, Expected: account.Spec.ExpectedIdentity}
}

// denialPage tells a person's no, or a rule's, from a provider's trouble, and that from a request which it does not take.
func denialPage(code string) page {
	switch code {
	case "access_denied", "consent_required", "interaction_required", "login_required", "account_selection_required":
		return page{kind: pageDenied}
	case "server_error", "temporarily_unavailable", unrecognised:
		return page{kind: pageProviderError, Code: code}
	default:
		return page{kind: pageRejected, Code: code}
	}
}
