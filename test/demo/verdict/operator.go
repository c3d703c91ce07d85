package main

import (
	"net/http"
	"slices"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/cluster"
)

const (
	operatorAgent = "oauth-operator"
	// pagesAgent is how the consent pages call themselves.
	pagesAgent  = "oauth-operator-consent"
	keyringName = "oauth-operator-keyring"
	leaseName   = "oauth-operator"
	consentName = "oauth-operator-consent"

	// repairTime is how long a token Secret may stay deleted or edited. It takes a fraction of a second; the operator may
	// be busy.
	repairTime = 5 * time.Second
)

// judgeOperator looks at what the operator did to the cluster: it must not have been refused anything, and have written
// nothing but what is its own.
func judgeOperator(v *verdict, events []cluster.AuditEvent, accounts []*account) {
	requests := 0
	marked := map[string]int{} // how often each Secret was marked as imported
	for _, event := range events {
		if event.User != operatorUser {
			if event.UserAgent == operatorAgent {
				v.wrongf("the operator acted as %s", event.User)
			}
			continue
		}
		requests++
		switch {
		case event.Code == http.StatusForbidden || event.Code == http.StatusUnauthorized:
			v.wrongf("the operator was refused: %s %s (%d)", event.Verb, event.RequestURI, event.Code)
		case marks(event, accounts):
			if succeeded(event) {
				marked[event.Name]++
			}
		case writes(event) && !event.DryRun && !itsOwn(event, accounts):
			v.wrongf("the operator wrote what is not its own: %s %s", event.Verb, event.RequestURI)
		}
	}
	for _, of := range accounts {
		if of.imported() && marked[of.source] != 1 {
			v.wrongf("the Secret %s, whose refresh token was taken over, was marked %d times", of.source, marked[of.source])
		}
	}
	if requests == 0 {
		v.wrongf("the audit log has no request of the operator")
	}
}

// marks: the Secret that an account imports from is updated, in which admission policies let the operator do nothing but
// note that.
func marks(event cluster.AuditEvent, accounts []*account) bool {
	return event.Group == "" && event.Resource == "secrets" && event.Verb == "update" &&
		slices.ContainsFunc(accounts, func(a *account) bool { return a.imported() && a.source == event.Name })
}

// itsOwn: statuses of its two kinds, token Secrets, its keyring and the keys of the consent pages once, its lease, events.
func itsOwn(event cluster.AuditEvent, accounts []*account) bool {
	home := event.Namespace == operatorNamespace
	switch {
	case event.Group == v1alpha1.Group && (event.Resource == resourceAccounts || event.Resource == resourceClients):
		// The pages, which run in the same process here, patch what is theirs, and the operator writes the whole.
		if event.UserAgent == pagesAgent {
			return event.Resource == resourceAccounts && event.Subresource == "status" && event.Verb == "patch"
		}
		return event.Subresource == "status" && event.Verb == "update"
	case event.Group == "" && event.Resource == "secrets" && home:
		return (event.Name == keyringName || event.Name == consentName) && event.Verb == "create"
	case event.Group == "" && event.Resource == "secrets":
		return isTokenSecret(event.Name, accounts)
	case event.Group == "coordination.k8s.io" && event.Resource == "leases":
		return home && event.Name == leaseName
	case event.Resource == "events" && (event.Group == "events.k8s.io" || event.Group == "" && home):
		// Leader election reports by events of the older kind.
		return event.Verb == "create" || event.Verb == "patch"
	}
	return false
}

func isTokenSecret(name string, accounts []*account) bool {
	return slices.ContainsFunc(accounts, func(a *account) bool { return a.secret == name })
}

// judgeRepairs wants a token Secret to have been deleted and one to have been edited by somebody, and each to have been
// put right by the operator soon.
func judgeRepairs(v *verdict, events []cluster.AuditEvent, accounts []*account) {
	deleted, edited := 0, 0
	for i, event := range events {
		if !succeeded(event) || event.Group != "" || event.Resource != "secrets" || event.User == operatorUser ||
			!writes(event) || !isTokenSecret(event.Name, accounts) {
			continue
		}
		repair := "update"
		if event.Verb == "delete" {
			repair = "create"
			deleted++
		} else {
			edited++
		}
		repaired := slices.ContainsFunc(events[i:], func(later cluster.AuditEvent) bool {
			return succeeded(later) && later.User == operatorUser && later.Verb == repair && later.Resource == "secrets" &&
				later.Name == event.Name && later.Namespace == event.Namespace && later.Written.Sub(event.Written) < repairTime
		})
		if !repaired {
			v.wrongf("%s of the Secret %s at %s was not put right by the operator within %s", event.Verb, event.Name, clock(event.Written), repairTime)
		}
	}
	if deleted == 0 || edited == 0 {
		v.wrongf("the demo did not try both: %d token Secrets were deleted and %d edited", deleted, edited)
	}
}
