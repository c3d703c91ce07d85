package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/faults/proxy"
)

// written is what is looked at in a status. It is not the API's own type: what a mutant writes must be seen as well.
type written struct {
	Claim struct {
		ID            string `json:"id"`
		ContestedTime string `json:"contestedTime"`
	} `json:"claim"`
	SealedCredential string `json:"sealedCredential"`
	AuthorizationURL string `json:"authorizationURL"`
	Authorization    struct {
		HandOver struct {
			ID string `json:"id"`
		} `json:"handOver"`
		Exchange struct {
			ID string `json:"id"`
		} `json:"exchange"`
		LastOutcome struct {
			StateHash string `json:"stateHash"`
			Result    string `json:"result"`
		} `json:"lastOutcome"`
		Failures struct {
			Count int `json:"count"`
		} `json:"failures"`
	} `json:"authorization"`
	Conditions []struct {
		Type   string `json:"type"`
		Status string `json:"status"`
		Reason string `json:"reason"`
	} `json:"conditions"`
}

// accountOf is the account whose status a request writes; nil: it writes none that is known.
func (d *director) accountOf(r *proxy.Request) *actor {
	if !strings.Contains(r.Path, "/connectedaccounts/") || !strings.HasSuffix(r.Path, "/status") {
		return nil
	}
	parts := strings.Split(r.Path, "/")
	return d.actors[parts[len(parts)-2]]
}

// statusOf is the status as a request leaves it. The operator writes the whole; the pages patch the newest that was taken, by
// their fields alone, which are objects and texts: reading them over it is what the patch does.
func (a *actor) statusOf(r *proxy.Request) (written, bool) {
	var body struct {
		Status written `json:"status"`
	}
	if r.Method == http.MethodPatch {
		body.Status = a.newest
	}
	if json.Unmarshal(r.Body, &body) != nil {
		return written{}, false
	}
	return body.Status, true
}

// classify says what a request to the API server is about.
func (d *director) classify(r *proxy.Request) {
	if of := d.accountOf(r); of != nil {
		if status, exists := of.statusOf(r); exists {
			r.Class = proxy.Class{Kind: of.classOf(status), Account: of.Name, Claim: status.Claim.ID}
			if r.Class.Kind == classCodeClaim {
				r.Class.Claim = status.Authorization.Exchange.ID
			}
		}
		return
	}
	if _, rest, found := strings.Cut(r.Path, "/namespaces/"+namespace+"/secrets"); found {
		d.classifySecret(r, strings.TrimPrefix(rest, "/"))
	}
}

// classOf tells a status by how it differs from the newest that was taken.
func (a *actor) classOf(status written) string {
	if class := a.codeClassOf(status); class != "" {
		return class
	}
	switch {
	case a.sealed == "" && status.SealedCredential != "" && status.Claim.ID == "" && a.granted.IsZero():
		return classImport
	case status.Claim.ID != "" && status.Claim.ID != a.claim:
		return classClaim
	case status.SealedCredential != a.sealed:
		return classKeep
	case status.Claim.ID == "" && a.claim != "":
		return classFailure
	case status.Claim.ContestedTime != "" && !a.contested:
		return classContest
	}
	return classStatus
}

// codeClassOf is classOf, for what is about a code; "": nothing is.
func (a *actor) codeClassOf(status written) string {
	now := status.Authorization
	connected := now.LastOutcome.Result == string(v1alpha1.AuthorizationConnected) && now.LastOutcome.StateHash != a.connected
	switch {
	case now.HandOver.ID != "" && now.HandOver.ID != a.handOver:
		return classHandOver
	case now.Exchange.ID != "" && now.Exchange.ID != a.exchange:
		return classCodeClaim
	case connected && status.SealedCredential != a.sealed:
		return classCodeKeep
	case now.Exchange.ID == "" && a.exchange != "":
		return classCodeEnd
	}
	return ""
}

// classifySecret finds the account whose token Secret it is: by its name in the path, or in the body of one that is created,
// which need not be JSON.
func (d *director) classifySecret(r *proxy.Request, name string) {
	if of := d.actors[name]; of != nil {
		r.Class = proxy.Class{Kind: classSecret, Account: name}
		return
	}
	if name != "" {
		return
	}
	for each := range d.actors {
		if bytes.Contains(r.Body, []byte(each)) {
			r.Class = proxy.Class{Kind: classSecret, Account: each}
			return
		}
	}
}
