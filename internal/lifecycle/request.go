package lifecycle

import (
	"fmt"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// parseRequest is the time at which somebody wants a new token, in whole seconds as the issue of tokens is; zero: nobody
// does.
func parseRequest(account *v1alpha1.ConnectedAccount) (time.Time, error) {
	text, asked := account.Annotations[v1alpha1.AnnotationRefreshRequestedAt]
	if !asked {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("the annotation %s is not a time", v1alpha1.AnnotationRefreshRequestedAt)
	}
	return at.Truncate(time.Second), nil
}

// requestedTime is when a new token is wanted; zero: nobody wants one, or what is held is as new. A time that has not come
// is waited for: acted upon earlier, the token would be older than the request, which would then stand for ever.
func requestedTime(f *Facts) time.Time {
	at, err := parseRequest(f.Account)
	if err != nil || f.Credential.State != CredentialHeld || !at.After(f.Credential.IssuedTime) {
		return time.Time{}
	}
	return at
}

// refreshRequested: somebody wants a new token now. It comes no sooner after the last request than one for a change does.
func refreshRequested(f *Facts, now time.Time) bool {
	at := requestedTime(f)
	return !at.IsZero() && !now.Before(later(at, changeTime(f, now)))
}

// nextRefresh is when the held token is replaced, as far as time alone says.
func nextRefresh(f *Facts) time.Time {
	due, requested := dueTime(f), requestedTime(f)
	if due.IsZero() || !requested.IsZero() && requested.Before(due) {
		return requested
	}
	return due
}

// requestFault says, to whoever has asked in vain, how to ask.
func requestFault(account *v1alpha1.ConnectedAccount) string {
	if _, err := parseRequest(account); err != nil {
		return fmt.Sprintf("; %s, and asks for nothing: kubectl annotate --overwrite connectedaccount -n %s %s %s=$(date -u +%%FT%%TZ)",
			err, account.Namespace, account.Name, v1alpha1.AnnotationRefreshRequestedAt)
	}
	return ""
}
