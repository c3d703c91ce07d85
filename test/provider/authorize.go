package provider

import (
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The two parameters of the authorization endpoint that belong to no contract. They stand for the person: a login says
// who is there, and thereby yes, unless the decision is "deny".
const (
	paramLogin    = "login"
	paramDecision = "decision"
	decisionDeny  = "deny"
)

// maxParameter bounds what is echoed or kept, in bytes.
const maxParameter = 1024

// authorizeRequest is a checked authorization request, RFC 6749 section 4.1.1.
type authorizeRequest struct {
	registration *Registration
	query        url.Values
	scopes       []string
}

// serveAuthorize is the authorization endpoint of one contract, with its consent page.
func (s *Server) serveAuthorize(contract Contract) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		if s.unavailable() {
			http.Error(w, "the provider is not available", http.StatusServiceUnavailable)
			return
		}
		raw, status, reason := s.asked(r)
		if reason != "" {
			http.Error(w, reason, status)
			return
		}
		request, reason := s.readAuthorize(contract, raw)
		if reason != "" {
			// RFC 6749 section 4.1.2.1: where client or redirect URI are in doubt, nobody is sent anywhere.
			http.Error(w, reason, http.StatusBadRequest)
			return
		}
		if refused := request.check(); refused != "" {
			redirectBack(w, request, url.Values{"error": {refused}})
			return
		}
		user := request.query.Get(paramLogin)
		switch {
		case request.query.Get(paramDecision) == decisionDeny:
			redirectBack(w, request, url.Values{"error": {"access_denied"}})
		case user == "" && s.loginHost != "":
			s.sendToLogin(w, r, request)
		case user == "":
			showConsent(w, request, "")
		default:
			s.consent(w, request, user)
		}
	}
}

// consent makes the code.
func (s *Server) consent(w http.ResponseWriter, request *authorizeRequest, user string) {
	s.mu.Lock()
	now := s.clock.Now()
	of := s.tokens.newLineage(request.registration, user, request.scopes, now)
	made, entry := s.tokens.newCode(of, request.query.Get("redirect_uri"), request.query.Get("code_challenge"), now)
	err := s.ledger.append(true, entry)
	s.mu.Unlock()
	if err != nil {
		redirectBack(w, request, url.Values{"error": {"server_error"}})
		return
	}
	redirectBack(w, request, url.Values{"code": {made.value}})
}

// readAuthorize returns a reason instead of a request if it is not known, beyond doubt, where to send the browser.
func (s *Server) readAuthorize(contract Contract, raw string) (*authorizeRequest, string) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, "the query cannot be read"
	}
	for _, values := range query {
		if len(values) != 1 || len(values[0]) > maxParameter {
			return nil, "a parameter stands twice or is too long"
		}
	}
	registration := s.registrations[query.Get("client_id")]
	if registration == nil || registration.Contract != contract {
		return nil, "the client is not known"
	}
	if !slices.Contains(registration.RedirectURIs, query.Get("redirect_uri")) {
		return nil, "the redirect URI is not registered"
	}
	return &authorizeRequest{registration: registration, query: query}, ""
}

// check holds the request against the contract, and returns the OAuth error code, or "".
func (a *authorizeRequest) check() string {
	known := []string{"response_type", "client_id", "redirect_uri", "scope", "state", paramLogin, paramDecision}
	want := []string{"response_type", "scope"}
	if a.registration.Contract == SmartBusiness {
		want = append(want, "state")
	}
	if a.registration.PKCE {
		known = append(known, "code_challenge", "code_challenge_method")
		want = append(want, "code_challenge")
	}
	for name := range a.query {
		if !slices.Contains(known, name) {
			return "invalid_request"
		}
	}
	for _, name := range want {
		if a.query.Get(name) == "" {
			return "invalid_request"
		}
	}
	if a.registration.PKCE && (a.query.Get("code_challenge_method") != "S256" || len(a.query.Get("code_challenge")) != 43) {
		return "invalid_request"
	}
	if a.query.Get("response_type") != "code" {
		return "unsupported_response_type"
	}
	if !a.registration.allows(GrantAuthorizationCode) {
		return "unauthorized_client"
	}
	var ok bool
	if a.scopes, ok = parseScope(a.query.Get("scope")); !ok || !within(a.scopes, a.registration.Scopes) {
		return "invalid_scope"
	}
	return ""
}

// redirectBack sends the browser to the redirect URI with state and the given fields.
func redirectBack(w http.ResponseWriter, request *authorizeRequest, fields url.Values) {
	if state := request.query.Get("state"); state != "" {
		fields.Set("state", state)
	}
	target := request.query.Get("redirect_uri")
	separator := "?"
	if strings.Contains(target, "?") {
		separator = "&"
	}
	w.Header().Set("Location", target+separator+fields.Encode())
	w.WriteHeader(http.StatusFound)
}

// showConsent asks. The form repeats the request with the person's answer, so there is nothing to remember meanwhile. Without
// an action it goes to where the page is.
func showConsent(w http.ResponseWriter, request *authorizeRequest, action string) {
	page, err := template.New("consent").Parse(consentPage)
	if err != nil {
		http.Error(w, "the page is broken", http.StatusInternalServerError)
		return
	}
	hidden := map[string]string{}
	for name, values := range request.query {
		if name != paramLogin && name != paramDecision {
			hidden[name] = values[0]
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, map[string]any{
		"Contract": request.registration.Contract,
		"Client":   request.registration.ClientID,
		"Scopes":   request.scopes,
		"Hidden":   hidden,
		"Action":   action,
	})
}

const consentPage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{{.Contract}}: allow access?</title>
<style>body{font:16px sans-serif;max-width:32em;margin:4em auto}button{margin-right:1em}</style>
<h1>{{.Contract}}</h1>
<p><strong>{{.Client}}</strong> asks for access to:</p>
<ul>{{range .Scopes}}<li>{{.}}</li>{{end}}</ul>
<form{{with .Action}} method="post" action="{{.}}"{{else}} method="get"{{end}}>
{{range $name, $value := .Hidden}}<input type="hidden" name="{{$name}}" value="{{$value}}">
{{end}}<p><label>User <input name="login" required autofocus maxlength="64"></label></p>
<button name="decision" value="allow">Allow</button><button name="decision" value="deny" formnovalidate>Deny</button>
</form>
</html>
`
