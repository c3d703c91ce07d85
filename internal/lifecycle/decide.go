package lifecycle

import (
	"slices"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// Action is what a plan does about the provider.
type Action string

const (
	// Rest calls nobody.
	Rest Action = "Rest"
	// Exchange makes a token request, keeps the result and publishes it.
	Exchange Action = "Exchange"
)

// Three faults can be mended without an event that reaches us: a Secret without our label that stands in the account's
// way, a definition, and whatever keeps a Secret from being written. So they are looked at now and then.
const (
	secretLook     = 15 * time.Second
	definitionLook = time.Minute
	publishLook    = time.Minute
)

// Plan is what to do in one lap.
type Plan struct {
	// Rule is the name of the rule that decided, for logs and tests.
	Rule string
	// Action is what to do about the provider.
	Action Action
	// Publish: the Secret is to be made equal to the kept credential. It needs no provider. Never with an Exchange, since
	// whether what that brings may be published is known only when it is there.
	Publish bool
	// Scopes are what an Exchange asks for.
	Scopes []string
}

// rule is one line of the decision. It applies where when says so.
type rule struct {
	name   string
	when   func(f *Facts, now time.Time) bool
	action Action
}

// rules is the decision, in order; the first that applies decides. Every rule that rests stands before every rule that
// calls the provider, so that a reason not to call can never be overlooked.
func rules() []rule {
	return []rule{
		{"deleted", func(f *Facts, _ time.Time) bool { return !f.Account.DeletionTimestamp.IsZero() }, Rest},
		{"schema too old", found(schemaTooOld), Rest},
		{"keyring missing", found(keyringMissing), Rest},
		{"credential not ours or not readable", found(credentialFault), Rest},
		{"client not available", found(clientAvailable), Rest},
		{"client not ready", found(clientReady), Rest},
		{"scope not allowed", found(scopesAllowed), Rest},
		{"secret owned by other", found(secretOwned), Rest},
		{"suspended", found(suspended), Rest},
		{"too soon", tooSoon, Rest},

		{"no credential", func(f *Facts, _ time.Time) bool { return f.Credential.State == CredentialNone }, Exchange},
		{"request changed", func(f *Facts, now time.Time) bool { return requestChanged(f) && !now.Before(changeTime(f, now)) }, Exchange},
		{"clock went back", func(f *Facts, now time.Time) bool { return f.Credential.fromFuture(now) }, Exchange},
		{"refresh due", refreshDue, Exchange},

		{"nothing to do", func(*Facts, time.Time) bool { return true }, Rest},
	}
}

// Decide makes a plan. It is a function of its arguments alone.
func Decide(f *Facts, now time.Time) Plan {
	f = seen(f)
	applies := func(r rule) bool { return r.when(f, now) }
	list := rules()
	first := list[slices.IndexFunc(list, applies)]
	if first.action == Exchange {
		return Plan{Rule: first.name, Action: Exchange, Scopes: requestedScopes(f)}
	}
	return Plan{Rule: first.name, Action: Rest, Publish: publishable(f) && f.Secret != SecretCurrent}
}

// publishable: there is a credential that may be in the Secret, and the Secret is ours to write.
func publishable(f *Facts) bool {
	return f.Account.DeletionTimestamp.IsZero() && f.Credential.State == CredentialHeld &&
		f.Secret != SecretForeign && scopeExceeded(f) == nil
}

// ScopesPublishable reports whether a token with the granted scopes may be published for the account.
func ScopesPublishable(f *Facts) bool { return scopeExceeded(seen(f)) == nil }

func found(find func(*Facts) *Finding) func(*Facts, time.Time) bool {
	return func(f *Facts, _ time.Time) bool { return find(f) != nil }
}

func tooSoon(f *Facts, now time.Time) bool { return now.Before(nextAttempt(f, now)) }

// requestChanged: the credential was obtained with something that the spec does not say any more.
func requestChanged(f *Facts) bool {
	held, spec := f.Credential, f.Client.Spec
	// A client id that comes from a Secret is read only to make a request; it changes with the next one.
	otherID := spec.ClientID != "" && held.ClientID != spec.ClientID
	otherNamespace := held.ClientNamespace != "" && held.ClientNamespace != ClientNamespace(f.Account)
	return otherID || otherNamespace || !sameSet(held.Origins, ClientOrigins(f.Client)) || !sameSet(held.RequestedScopes, requestedScopes(f))
}

// changeTime is when a token request may be made because it would be another one than the last.
func changeTime(f *Facts, now time.Time) time.Time { return lastAttempt(f, now).Add(changeGap) }

func refreshDue(f *Facts, now time.Time) bool {
	due := dueTime(f)
	return !due.IsZero() && !now.Before(due)
}

// Wake is when the account must be looked at again even if nothing happens; zero: never. Never before now: what became
// due while the lap ran is due now.
func Wake(f *Facts, status *v1alpha1.ConnectedAccountStatus, now time.Time) time.Time {
	if !f.Account.DeletionTimestamp.IsZero() {
		return time.Time{}
	}
	f = seen(f)
	account, after := *f.Account, *f
	account.Status = *status
	after.Account = &account

	all := findings(&after)
	// A token that expires makes the account not ready, and one from the future may be good again once that has come,
	// whether or not anything else can be done.
	token := publishedToken(&after)
	times := []time.Time{token.ExpirationTime, token.IssuedTime.Add(-clockTolerance)}
	for _, finding := range all {
		switch finding.Reason {
		case v1alpha1.ReasonSchemaTooOld:
			times = append(times, now.Add(definitionLook))
		case v1alpha1.ReasonSecretOwnedByOther:
			times = append(times, now.Add(secretLook))
		}
	}
	if publishable(&after) && after.Secret != SecretCurrent {
		times = append(times, now.Add(publishLook))
	}
	times = slices.DeleteFunc(times, func(at time.Time) bool { return !at.After(now) })
	if callsDespite(all) {
		times = append(times, nextCall(&after, now)...)
	}
	if len(times) == 0 {
		return time.Time{}
	}
	return slices.MinFunc(times, time.Time.Compare)
}

// nextCall is when a rule will call the provider, now at the earliest; none: not without an event.
func nextCall(f *Facts, now time.Time) []time.Time {
	soonest := later(now, nextAttempt(f, now))
	if f.Credential.State == CredentialNone || f.Credential.fromFuture(now) {
		return []time.Time{soonest}
	}
	var times []time.Time
	if due := dueTime(f); !due.IsZero() {
		times = append(times, later(soonest, due))
	}
	if requestChanged(f) {
		times = append(times, later(soonest, changeTime(f, now)))
	}
	return times
}
