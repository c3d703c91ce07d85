package provider

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// The headers by which a caller of the API tells the ledger who it is, and that it expects to be rejected.
const (
	HeaderWorkload   = "Test-Workload"
	HeaderExpect     = "Test-Expect"
	HeaderOnBehalfOf = "on-behalf-of"
)

// maxMark bounds what is copied from such a header, in bytes.
const maxMark = 128

// resource is a path of the API and what it wants. The zero resource is any other path.
type resource struct {
	pattern  string
	contract Contract
	scope    string
	// account tells that the path names an account, which on-behalf-of must name too.
	account bool
	body    string
}

func resources() []resource {
	return []resource{
		{pattern: "/v2/contacts", contract: SmartBusiness, scope: "contact", body: `{"contacts":[{"id":1,"name":"Muster AG"}]}`},
		{pattern: "/v2/invoices", contract: SmartBusiness, scope: "invoices", body: `{"invoices":[{"id":1,"total":"120.00"}]}`},
		{pattern: "/v1/invoices", contract: Smartbills, scope: "invoices", body: `{"data":[{"id":"inv_1","total":12000}]}`},
		{
			pattern: "/v1/accounts/{id}/invoices", contract: Smartbills, scope: "invoices", account: true,
			body: `{"data":[{"id":"inv_1","total":12000}]}`,
		},
	}
}

// verdict is the answer to one API call.
type verdict struct {
	status    int
	code      string // "" without an OAuth error
	reason    string
	challenge string
	token     *token
}

// serveResource answers one path of the API.
func (s *Server) serveResource(of resource) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		entry := Entry{Kind: KindAPI, Contract: of.contract, Path: "other", Outcome: Refused}
		if of.pattern != "" {
			entry.Path = r.URL.Path
		}
		entry.Workload, entry.Expect = mark(r.Header.Get(HeaderWorkload)), mark(r.Header.Get(HeaderExpect))
		entry.OnBehalfOf = mark(r.Header.Get(HeaderOnBehalfOf))
		judged := s.judge(of, r, &entry)
		header := w.Header()
		header.Set("Content-Type", "application/json")
		header.Set("Cache-Control", "no-store")
		if judged.challenge != "" {
			header.Set("WWW-Authenticate", judged.challenge)
		}
		body := of.body
		if judged.status != http.StatusOK {
			body = `{"error":"` + judged.code + `"}`
		}
		w.WriteHeader(judged.status)
		_, _ = w.Write([]byte(body)) // a caller that has gone learns nothing, and that is its own affair
	}
}

// judge decides a call and writes it to the ledger under the same lock, so that a call after a revocation also stands
// behind it.
func (s *Server) judge(of resource, r *http.Request, entry *Entry) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	var judged verdict
	if s.outage == Answering503 {
		judged = verdict{status: http.StatusServiceUnavailable, code: "temporarily_unavailable", reason: "outage"}
		entry.Outcome = Unavailable
	} else {
		judged = s.tokens.judge(of, r, s.clock.Now())
	}
	if judged.status == http.StatusOK {
		entry.Outcome = Granted
	}
	entry.Status, entry.Error, entry.Reason = judged.status, judged.code, judged.reason
	if t := judged.token; t != nil {
		entry.ClientID, entry.Lineage, entry.AccessFingerprint = t.registration.ClientID, t.lineageID(), Fingerprint(t.value)
		if t.lineage != nil {
			entry.User = t.lineage.user
		}
	} else if presented, ok := bearer(r); ok {
		entry.AccessFingerprint = Fingerprint(presented)
	}
	if err := s.ledger.append(false, *entry); err != nil {
		return verdict{status: http.StatusInternalServerError, code: "server_error"}
	}
	return judged
}

// bearer reads the token of RFC 6750 section 2.1: one header, the scheme in any case, one space.
func bearer(r *http.Request) (string, bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, value, found := strings.Cut(values[0], " ")
	if !found || !strings.EqualFold(scheme, "Bearer") || value == "" || strings.ContainsAny(value, " ,") {
		return "", false
	}
	return value, true
}

// judge is the check of a call, in the order that a real API has it: path, token, scope, account.
func (s *tokenStore) judge(of resource, r *http.Request, now time.Time) verdict {
	if of.pattern == "" {
		return verdict{status: http.StatusNotFound, code: "not_found", reason: "path"}
	}
	if r.Method != http.MethodGet {
		return verdict{status: http.StatusMethodNotAllowed, code: "method_not_allowed", reason: "method"}
	}
	if len(r.Header.Values("Authorization")) == 0 {
		// RFC 6750 section 3.1: no error code where no token was sent.
		return verdict{status: http.StatusUnauthorized, code: "unauthorized", reason: "missing_token", challenge: `Bearer realm="provider"`}
	}
	value, ok := bearer(r)
	if !ok {
		return challenged(http.StatusBadRequest, "invalid_request", "malformed_token", nil)
	}
	found := s.tokens[value]
	switch {
	case found == nil:
		return challenged(http.StatusUnauthorized, "invalid_token", "unknown_token", nil)
	case found.refresh:
		return challenged(http.StatusUnauthorized, "invalid_token", "refresh_token_as_access_token", found)
	case found.revoked:
		return challenged(http.StatusUnauthorized, "invalid_token", "revoked_token", found)
	case !now.Before(found.expires):
		return challenged(http.StatusUnauthorized, "invalid_token", "expired_token", found)
	case found.registration.Contract != of.contract:
		return challenged(http.StatusUnauthorized, "invalid_token", "wrong_contract", found)
	case len(found.registration.Scopes) > 0 && !slices.Contains(found.scopes, of.scope):
		refused := challenged(http.StatusForbidden, "insufficient_scope", "insufficient_scope", found)
		refused.challenge += `, scope="` + of.scope + `"`
		return refused
	}
	return judgeAccount(of, r, found)
}

// judgeAccount is Smartbills' on-behalf-of. SmartBusiness does not know the header and does not look at it.
func judgeAccount(of resource, r *http.Request, found *token) verdict {
	granted := verdict{status: http.StatusOK, token: found}
	values := r.Header.Values(HeaderOnBehalfOf)
	if of.contract != Smartbills || len(values) == 0 && !of.account {
		return granted
	}
	switch {
	case len(values) == 0:
		return verdict{status: http.StatusBadRequest, code: "invalid_request", reason: "missing_on_behalf_of", token: found}
	case len(values) > 1:
		return verdict{status: http.StatusBadRequest, code: "invalid_request", reason: "duplicate_on_behalf_of", token: found}
	case of.account && values[0] != r.PathValue("id"):
		return verdict{status: http.StatusForbidden, code: "access_denied", reason: "on_behalf_of_mismatch", token: found}
	case !slices.Contains(found.registration.Accounts, values[0]):
		return verdict{status: http.StatusForbidden, code: "access_denied", reason: "account_not_connected", token: found}
	}
	return granted
}

// challenged is a refusal of RFC 6750 section 3.1.
func challenged(status int, code, reason string, found *token) verdict {
	return verdict{
		status: status, code: code, reason: reason, token: found,
		challenge: `Bearer realm="provider", error="` + code + `"`,
	}
}

// mark copies what a caller says of itself: printable, short, and not a token.
func mark(text string) string {
	for _, prefix := range []string{AccessTokenPrefix, RefreshTokenPrefix, CodePrefix} {
		if strings.Contains(text, prefix) {
			return "(a token)"
		}
	}
	return text[:min(len(text), maxMark)]
}
