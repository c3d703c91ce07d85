package provider

import (
	"crypto/rand"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
)

// Where people log in at another host. Whose login it is, the authorization endpoint knows by a cookie of its own: one that
// crosses sites, as it must to arrive with the other site's form. A second one that stays within the site tells whether there
// were two sites: if it arrives, a test that believes so would show nothing, and so it is refused.

const (
	loginPath = "/login"

	cookieCrossing = "__Host-crossing"
	cookieStaying  = "__Host-staying"
	// paramSession ties the form to the cookie, and paramFrom says where the form goes.
	paramSession = "session"
	paramFrom    = "from"

	maxLoginForm = 16 << 10
)

// loginOrigin is where people log in, as seen from a host: the port is the same.
func (s *Server) loginOrigin(host string) string {
	if _, port, err := net.SplitHostPort(host); err == nil {
		return "https://" + net.JoinHostPort(s.loginHost, port)
	}
	return "https://" + s.loginHost
}

// sendToLogin sends the browser to the other host, with the request.
func (s *Server) sendToLogin(w http.ResponseWriter, r *http.Request, request *authorizeRequest) {
	session := rand.Text()
	for name, mode := range map[string]http.SameSite{cookieCrossing: http.SameSiteNoneMode, cookieStaying: http.SameSiteLaxMode} {
		http.SetCookie(w, &http.Cookie{Name: name, Value: session, Path: "/", Secure: true, HttpOnly: true, SameSite: mode}) //nolint:gosec // that one comes from another site and one does not is what is tried
	}
	query := url.Values{paramSession: {Fingerprint(session)}, paramFrom: {"https://" + r.Host + r.URL.Path}}
	for name, values := range request.query {
		query[name] = values
	}
	w.Header().Set("Location", s.loginOrigin(r.Host)+loginPath+"?"+query.Encode())
	w.WriteHeader(http.StatusFound)
}

// serveLogin is the page at the other host.
func (s *Server) serveLogin(w http.ResponseWriter, r *http.Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	from := query.Get(paramFrom)
	registration := s.registrations[query.Get("client_id")]
	if err != nil || r.Method != http.MethodGet || from == "" || registration == nil {
		http.Error(w, "nobody was sent here with that", http.StatusBadRequest)
		return
	}
	query.Del(paramFrom)
	scopes, _ := parseScope(query.Get("scope"))
	// With no-referrer, browsers do not say which site a form comes from.
	w.Header().Set("Referrer-Policy", "strict-origin")
	w.Header().Set("Cache-Control", "no-store")
	showConsent(w, &authorizeRequest{registration: registration, query: query, scopes: scopes}, from)
}

// asked is the query of an authorization request: that of the URL, or what the form of the other host brings. Otherwise it
// says what is wrong.
func (s *Server) asked(r *http.Request) (raw string, status int, reason string) {
	if r.Method == http.MethodGet {
		return r.URL.RawQuery, 0, ""
	}
	if r.Method != http.MethodPost || s.loginHost == "" {
		return "", http.StatusMethodNotAllowed, "only GET"
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return "", http.StatusUnsupportedMediaType, "a form is wanted"
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxLoginForm))
	if err != nil {
		return "", http.StatusBadRequest, "the form cannot be read"
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", http.StatusBadRequest, "the form cannot be read"
	}
	if r.Header.Get("Origin") != s.loginOrigin(r.Host) {
		return "", http.StatusForbidden, "the form does not come from where people log in"
	}
	if _, err := r.Cookie(cookieStaying); err == nil {
		return "", http.StatusConflict, "where people log in is no other site"
	}
	session, err := r.Cookie(cookieCrossing)
	if err != nil || Fingerprint(session.Value) != form.Get(paramSession) {
		return "", http.StatusForbidden, "the browser was not sent to log in from here"
	}
	form.Del(paramSession)
	return form.Encode(), 0, ""
}
