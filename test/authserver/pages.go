package main

import (
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"html/template"
	"net/http"
	"strings"

	"github.com/ory/fosite"
)

// The fields of the two forms.
const (
	paramReturn   = "return_to"
	paramUser     = "user"
	paramPassword = "password"
	paramDecision = "decision"
	decisionAllow = "allow"
)

const cookieSession = "__Host-session"

func tlsConfig(certificate tls.Certificate) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}
}

// pageHeaders are for everything that a browser gets. Where the form of the consent leads to is for the client's
// redirect URI to say, so there is no form-action.
func pageHeaders(header http.Header) {
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'")
}

// user is who is logged in, or "".
func (s *server) user(r *http.Request) string {
	cookie, err := r.Cookie(cookieSession)
	if err != nil {
		return ""
	}
	s.sessionsMu.Lock()
	defer s.sessionsMu.Unlock()
	return s.sessions[cookie.Value]
}

func (s *server) showLogin(w http.ResponseWriter, r *http.Request) {
	s.writeLogin(w, http.StatusOK, loginPage{Return: r.URL.Query().Get(paramReturn)})
}

// login looks at name and password, and sends the person back to what was asked before.
func (s *server) login(w http.ResponseWriter, r *http.Request) {
	page := loginPage{Return: r.PostFormValue(paramReturn), User: r.PostFormValue(paramUser)}
	password, known := s.config.Users[page.User]
	if !known || subtle.ConstantTimeCompare([]byte(password), []byte(r.PostFormValue(paramPassword))) != 1 {
		page.Wrong = true
		s.writeLogin(w, http.StatusForbidden, page)
		return
	}
	if !strings.HasPrefix(page.Return, pathAuthorize+"?") {
		http.Error(w, "you are logged in; go back to where you came from", http.StatusBadRequest)
		return
	}
	value := rand.Text()
	s.sessionsMu.Lock()
	s.sessions[value] = page.User
	s.sessionsMu.Unlock()
	http.SetCookie(w, &http.Cookie{
		Name: cookieSession, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	pageHeaders(w.Header())
	http.Redirect(w, r, page.Return, http.StatusSeeOther)
}

type loginPage struct {
	Return, User string
	Wrong        bool
}

func (s *server) writeLogin(w http.ResponseWriter, status int, page loginPage) {
	writePage(w, status, loginText, page)
}

type consentPage struct {
	Action, User, Client, Host string
	Scopes                     []string
}

func showConsent(w http.ResponseWriter, request fosite.AuthorizeRequester, user, action string) {
	writePage(w, http.StatusOK, consentText, consentPage{
		Action: action, User: user, Client: request.GetClient().GetID(), Host: request.GetRedirectURI().Host, Scopes: request.GetRequestedScopes(),
	})
}

func writePage(w http.ResponseWriter, status int, text string, page any) {
	parsed, err := template.New("page").Parse(head + text)
	if err != nil {
		http.Error(w, "the page is broken", http.StatusInternalServerError)
		return
	}
	pageHeaders(w.Header())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = parsed.Execute(w, page) // the browser has gone
}

const head = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<style>body{font:16px sans-serif;max-width:32em;margin:4em auto;padding:0 1em}label{display:block;margin:1em 0}button{margin-right:1em}</style>
`

const loginText = `<title>Log in</title>
<h1>Log in</h1>
{{if .Wrong}}<p role="alert">That is not the name or the password of anybody here.</p>
{{end}}<form method="post" action="/login">
<input type="hidden" name="return_to" value="{{.Return}}">
<label>Name <input name="user" value="{{.User}}" autocomplete="username" required autofocus></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Log in</button>
</form>
</html>
`

const consentText = `<title>Allow access?</title>
<h1>Allow access?</h1>
<p>You are logged in as <strong>{{.User}}</strong>. <strong>{{.Client}}</strong>, at {{.Host}}, asks for:</p>
<ul>{{range .Scopes}}<li>{{.}}</li>{{end}}</ul>
<form method="post" action="{{.Action}}">
<button name="decision" value="allow">Allow</button><button name="decision" value="deny">Deny</button>
</form>
</html>
`
