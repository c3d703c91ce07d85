package lifecycle

import (
	"crypto/sha256"
	"encoding/hex"
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
	// Contest announces that a claim whose holder does not finish will be taken over.
	Contest Action = "Contest"
	// Unclaim clears a claim that nothing depends on.
	Unclaim Action = "Unclaim"
	// ImportToken takes over a refresh token that was obtained elsewhere.
	ImportToken Action = "ImportToken"
	// Adopt seals anew, for this account, what was sealed for an earlier one.
	Adopt Action = "Adopt"
	// Revoke ends the grant of a deleted account at the provider, and lets the account go.
	Revoke Action = "Revoke"
	// Approve seals that somebody has approved of whose access it is.
	Approve Action = "Approve"
	// Reseal seals anew, under the key in use, what was sealed under an earlier one.
	Reseal Action = "Reseal"
)

// Three faults can be mended without an event that reaches us: a Secret without our label that stands in the account's
// way, a definition, and whatever keeps a Secret from being written; and an exchange may end without one. So they are
// looked at now and then.
const (
	exchangeLook   = MinAttemptGap
	slotLook       = time.Minute
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
	// Refresh: the Exchange spends the refresh token. Otherwise it asks with the client's own credentials.
	Refresh bool
	// Code: the Exchange sends the code that was handed over, under a claim of its own.
	Code bool
	// Claim: the Exchange needs a claim. Attempt counts the tries of the refresh token; from 2 on, an earlier one is in doubt.
	Claim   bool
	Attempt int32
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
	return slices.Concat(guards(), claimRules(), calls())
}

// guards are the reasons to leave the provider alone that lie in the account, its client and the cluster.
func guards() []rule {
	list := []rule{
		{"to be revoked", func(f *Facts, _ time.Time) bool { return toRevoke(f) }, Revoke},
		{"deleted", func(f *Facts, _ time.Time) bool { return !f.Account.DeletionTimestamp.IsZero() }, Rest},
		{"api key", func(f *Facts, _ time.Time) bool { return keyed(f) }, Rest},
		{"schema too old", found(schemaTooOld), Rest},
		{"keyring missing", found(keyringMissing), Rest},
		{"exchange open", func(f *Facts, _ time.Time) bool { return f.ExchangeOpen }, Rest},
		{"adoption asked for", func(f *Facts, _ time.Time) bool { return adoptWanted(f) }, Adopt},
		{"credential not ours or not readable", found(credentialFault), Rest},
		// Before all that may keep an account from being refreshed: an earlier key goes only when nothing names it any more.
		{"sealed under an earlier key", func(f *Facts, _ time.Time) bool { return resealable(f) }, Reseal},
	}
	list = append(list, droppedRules()...)
	list = append(list, []rule{
		{"client not available", found(clientAvailable), Rest},
		{"client not ready", found(clientReady), Rest},
		{"scope not allowed", found(scopesAllowed), Rest},
		// A token whose use is in doubt is not left in doubt because the Secret is in somebody's way: what comes is kept.
		{"secret not possible", func(f *Facts, _ time.Time) bool { return secretFault(f) != nil && !claimed(f) }, Rest},
		{"secret owned by other", func(f *Facts, _ time.Time) bool { return secretOwned(f) != nil && !claimed(f) }, Rest},
		{"secret not writable", func(f *Facts, now time.Time) bool { return now.Before(writableTime(f)) && !claimed(f) }, Rest},
		{"suspended", found(suspended), Rest},
		{"too many accounts", found(tooManyAccounts), Rest},
	}...)
	list = append(list, codeRules()...)
	return append(list, []rule{
		{"refresh token to import", func(f *Facts, _ time.Time) bool { return importWanted(f) }, ImportToken},
		{"credential rolled back", found(rolledBack), Rest},
		{"not authorized", func(f *Facts, _ time.Time) bool { return authorizationFinal(f) }, Rest},
		{"endpoint changed", found(endpointChanged), Rest},
	}...)
}

// claimRules leave an open claim to whoever holds it, for as long as the holder may be at work.
func claimRules() []rule {
	return []rule{
		{"claim without use", func(f *Facts, _ time.Time) bool { return clearable(f) }, Unclaim},
		{"claimed by another", func(f *Facts, _ time.Time) bool { return claimed(f) && !left(f) }, Rest},
		{"claim left open", func(f *Facts, _ time.Time) bool { return claimed(f) && mustAnnounce(f) }, Contest},
		{"in doubt", func(f *Facts, now time.Time) bool { return claimed(f) && now.Before(retryTime(f, now)) }, Rest},
		{"too soon", func(f *Facts, now time.Time) bool { return !claimed(f) && tooSoon(f, now) }, Rest},
		{"client held back", heldBack, Rest},
	}
}

// calls are the reasons to call the provider.
func calls() []rule {
	return []rule{
		{"outcome to find out", func(f *Facts, _ time.Time) bool { return claimed(f) }, Exchange},
		{"no credential", func(f *Facts, _ time.Time) bool { return f.Credential.State == CredentialNone }, Exchange},
		{"no access token", func(f *Facts, _ time.Time) bool { return !f.Credential.HasAccessToken }, Exchange},
		{"request changed", func(f *Facts, now time.Time) bool { return requestChanged(f) && !now.Before(changeTime(f, now)) }, Exchange},
		{"clock went back", func(f *Facts, now time.Time) bool { return f.Credential.fromFuture(now) }, Exchange},
		{"refresh requested", refreshRequested, Exchange},
		{"refresh due", refreshDue, Exchange},

		{"nothing to do", func(*Facts, time.Time) bool { return true }, Rest},
	}
}

// heldBack: others like this one have failed. A token whose use is in doubt goes its own pace: it may have little time.
func heldBack(f *Facts, now time.Time) bool { return !claimed(f) && now.Before(f.Held.Until) }

// Waiting is the plan of an account that may make a token request and has to wait for its turn.
func Waiting(f *Facts) Plan {
	return Plan{Rule: "waits for its turn", Action: Rest, Publish: Publishable(f) && f.Secret != SecretCurrent}
}

// Deadline is when the account needs the token that it asks for: the earliest goes first. Zero: at once. So it is without a
// usable token, and where a refresh token is in doubt.
func Deadline(f *Facts) time.Time {
	if claimed(f) || handedOver(f) || f.Credential.State != CredentialHeld || !f.Credential.HasAccessToken {
		return time.Time{}
	}
	if f.Credential.ExpirationTime.IsZero() {
		return f.Credential.IssuedTime.Add(endless)
	}
	return f.Credential.ExpirationTime
}

// InDoubt reports whether the account goes its own pace, whatever becomes of the requests of others: the use of a refresh
// token has an outcome that nobody knows, or a person waits whose code is good for minutes.
func InDoubt(f *Facts) bool { return claimed(f) || handedOver(f) }

// MaxRequests is how many token requests of a client may be under way at once.
func MaxRequests(client *v1alpha1.OAuthClient) int {
	if limit := client.Spec.MaxConcurrentRequests; limit > 0 {
		return int(limit)
	}
	return defaultMaxRequests
}

const defaultMaxRequests = 8

// Decide makes a plan. It is a function of its arguments alone.
func Decide(f *Facts, now time.Time) Plan {
	f = seen(f)
	applies := func(r rule) bool { return r.when(f, now) }
	list := rules()
	first := list[slices.IndexFunc(list, applies)]
	if first.action == Exchange {
		plan := Plan{Rule: first.name, Action: Exchange, Scopes: requestedScopes(f)}
		switch {
		case handedOver(f):
			plan.Code, plan.Claim, plan.Attempt = true, true, 1
		case refreshes(f):
			plan.Scopes = refreshScopes(f)
			plan.Refresh, plan.Claim, plan.Attempt = true, SingleUse(f.Client) || claimed(f), nextAttemptNumber(f)
		}
		return plan
	}
	return Plan{Rule: first.name, Action: first.action, Publish: publishable(f) && f.Secret != SecretCurrent}
}

// writableTime is when it is worth to find out again whether the token Secret can be written; zero: it can.
func writableTime(f *Facts) time.Time {
	if f.SecretRefused.IsZero() {
		return time.Time{}
	}
	return f.SecretRefused.Add(publishLook)
}

// resealable: it is the account's turn to be sealed anew. Not while its refresh token is being spent: whoever does so writes
// the result on the copy that it has claimed, and seals that under the key in use anyhow.
func resealable(f *Facts) bool {
	return f.Reseal && f.Credential.State == CredentialHeld && !claimed(f)
}

// publishable: there is a credential, or a key, that may be in the Secret, and the Secret is ours to write.
func publishable(f *Facts) bool {
	if keyed(f) {
		return f.Account.DeletionTimestamp.IsZero() && f.APIKey.Held && f.Secret != SecretForeign && secretFault(f) == nil
	}
	return f.Account.DeletionTimestamp.IsZero() && f.Credential.State == CredentialHeld && f.Credential.HasAccessToken &&
		rolledBack(f) == nil && f.Secret != SecretForeign && secretFault(f) == nil && scopeExceeded(f) == nil && approvalMissing(f) == nil
}

// Publishable reports whether what the account holds now may be in its Secret.
func Publishable(f *Facts) bool { return publishable(seen(f)) }

func found(find func(*Facts) *Finding) func(*Facts, time.Time) bool {
	return func(f *Facts, _ time.Time) bool { return find(f) != nil }
}

func tooSoon(f *Facts, now time.Time) bool { return now.Before(nextAttempt(f, now)) }

// requestChanged: the credential was obtained with something that the spec does not say any more.
func requestChanged(f *Facts) bool {
	if refreshes(f) {
		return false // what the person consented to is not changed by asking otherwise
	}
	held, spec := f.Credential, f.Client.Spec
	// A client id that comes from a Secret is read only to make a request; it changes with the next one.
	otherID := spec.ClientID != "" && held.ClientID != spec.ClientID
	otherNamespace := held.ClientNamespace != "" && held.ClientNamespace != ClientNamespace(f.Account)
	otherToken := !sameSet(held.RequestedScopes, requestedScopes(f)) || held.Parameters != RequestParameters(f.Client)
	return otherID || otherNamespace || otherToken || !sameSet(held.Origins, ClientOrigins(f.Client))
}

// RequestParameters stands for the parameters of the provider's own that a token request is made with; "" is none. They say
// what the token is for, as an audience does, so that other ones need another token.
func RequestParameters(client *v1alpha1.OAuthClient) string {
	if len(client.Spec.TokenRequest.Parameters) == 0 {
		return ""
	}
	hash := sha256.New()
	for _, each := range client.Spec.TokenRequest.Parameters {
		_, _ = hash.Write([]byte(each.Name + "\x00" + each.Value + "\x00"))
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
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
	if !f.Account.DeletionTimestamp.IsZero() && Holds(f.Account) {
		return now.Add(revokePause)
	}
	if !f.Account.DeletionTimestamp.IsZero() {
		return time.Time{}
	}
	f = seen(f)
	account, after := *f.Account, *f
	account.Status = *status
	after.Account = &account

	all := findings(&after, now)
	// A token that expires makes the account not ready, and one from the future may be good again once that has come,
	// whether or not anything else can be done.
	token := publishedToken(&after)
	times := []time.Time{token.ExpirationTime, token.IssuedTime.Add(-clockTolerance), announceTime(&after)}
	if linkWanted(&after, now) && status.AuthorizationURL != "" && status.AuthorizationURL == f.Consent.Link.URL {
		times = append(times, renewTime(f.Consent.Link))
	}
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
	if heldBack(&after, now) && wants(&after, now) {
		times = append(times, after.Held.Since.Add(heldTold))
	}
	times = slices.DeleteFunc(times, func(at time.Time) bool { return !at.After(now) })
	if !keyed(&after) && actsDespite(&after, all) && (importWanted(&after) || !authorizationFinal(&after)) {
		times = append(times, nextCall(&after, now)...)
	}
	times = append(times, codeWake(&after, now, actsDespite(&after, all))...)
	if len(times) == 0 {
		return time.Time{}
	}
	return slices.MinFunc(times, time.Time.Compare)
}

// nextCall is when a rule will act, now at the earliest; none: not without an event.
func nextCall(f *Facts, now time.Time) []time.Time {
	switch {
	case f.ExchangeOpen:
		return []time.Time{now.Add(exchangeLook)}
	case codeClaimed(f), handedOver(f):
		return nil // its own times count
	case approvable(f):
		return []time.Time{now}
	case now.Before(restsFor(f, now)):
		return []time.Time{restsFor(f, now)}
	case importWanted(f) && claimed(f):
		return []time.Time{now}
	case importWanted(f):
		return []time.Time{later(now, writableTime(f))}
	case f.NoSlot:
		return []time.Time{now.Add(slotLook)}
	case claimed(f):
		return []time.Time{claimWake(f, now)}
	}
	soonest := later(later(now, f.Held.Until), later(nextAttempt(f, now), writableTime(f)))
	if f.Credential.State == CredentialHeld && !f.Credential.HasAccessToken {
		return []time.Time{soonest}
	}
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
	if requested := requestedTime(f); !requested.IsZero() {
		times = append(times, later(soonest, later(requested, changeTime(f, now))))
	}
	return times
}
