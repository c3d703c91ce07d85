package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/storage"
)

// The endpoints.
const (
	pathAuthorize = "/oauth2/auth"
	pathToken     = "/oauth2/token"
	pathRevoke    = "/oauth2/revoke"
	pathLogin     = "/login"
	pathMe        = "/me"
)

const paramIssuer = "iss"

// hashCost is the least that bcrypt knows: the secrets are random, and a token request has better to do.
const hashCost = 4

type server struct {
	issuer   string
	config   config
	oauth    fosite.OAuth2Provider
	store    *storage.MemoryStore
	strategy *oauth2.HMACSHAStrategy
	ledger   *ledger

	// mu makes what reads and changes tokens one step. The library leaves that to its storage, and the one in memory has
	// no transactions.
	mu sync.Mutex

	sessionsMu sync.Mutex
	sessions   map[string]string // a cookie's value to who is logged in
}

func newServer(ctx context.Context, known config, lives lifetimes, issuer string, entries *ledger) (*server, error) {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails: it ends the process instead
	settings := &fosite.Config{
		AccessTokenLifespan:   lives.access,
		RefreshTokenLifespan:  lives.refresh,
		AuthorizeCodeLifespan: lives.code,
		AccessTokenIssuer:     issuer,
		TokenURL:              issuer + pathToken,
		GlobalSecret:          secret,
		HashCost:              hashCost,
		ScopeStrategy:         fosite.ExactScopeStrategy,
		// RFC 9700 section 2.1.1. Plain challenges stay refused.
		EnforcePKCE: true,
	}
	store := storage.NewMemoryStore()
	for _, each := range known.Clients {
		client, err := each.client(ctx, settings)
		if err != nil {
			return nil, err
		}
		store.Clients[each.ID] = client
	}
	strategy := compose.NewOAuth2HMACStrategy(settings)
	return &server{
		issuer: issuer, config: known, store: store, strategy: strategy, ledger: entries, sessions: map[string]string{},
		oauth: compose.Compose(settings, store, strategy,
			compose.OAuth2AuthorizeExplicitFactory,
			compose.OAuth2PKCEFactory,
			compose.OAuth2RefreshTokenGrantFactory,
			compose.OAuth2TokenRevocationFactory,
			compose.OAuth2TokenIntrospectionFactory,
		),
	}, nil
}

// client makes the library's client of a configured one.
func (c clientConfig) client(ctx context.Context, settings *fosite.Config) (fosite.Client, error) {
	client := &fosite.DefaultClient{
		ID: c.ID, RedirectURIs: c.RedirectURIs, Scopes: c.Scopes, Public: c.Secret == "",
		GrantTypes: []string{string(fosite.GrantTypeAuthorizationCode), string(fosite.GrantTypeRefreshToken)}, ResponseTypes: []string{"code"},
	}
	if c.Secret != "" {
		var err error
		if client.Secret, err = (&fosite.BCrypt{Config: settings}).Hash(ctx, []byte(c.Secret)); err != nil {
			return nil, err
		}
	}
	own := &fosite.ClientLifespanConfig{}
	if c.AccessTokenLifetime > 0 {
		lifetime := time.Duration(c.AccessTokenLifetime)
		own.AuthorizationCodeGrantAccessTokenLifespan, own.RefreshTokenGrantAccessTokenLifespan = &lifetime, &lifetime
	}
	if c.RefreshTokenLifetime > 0 {
		lifetime := time.Duration(c.RefreshTokenLifetime)
		own.AuthorizationCodeGrantRefreshTokenLifespan, own.RefreshTokenGrantRefreshTokenLifespan = &lifetime, &lifetime
	}
	return &fosite.DefaultClientWithCustomTokenLifespans{DefaultClient: client, TokenLifespans: own}, nil
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathAuthorize, s.authorize)
	mux.HandleFunc("POST "+pathAuthorize, s.authorize)
	mux.HandleFunc("GET "+pathLogin, s.showLogin)
	mux.HandleFunc("POST "+pathLogin, s.login)
	mux.HandleFunc("POST "+pathToken, s.token)
	mux.HandleFunc("POST "+pathRevoke, s.revoke)
	mux.HandleFunc("GET "+pathMe, s.me)
	// A person's yes must come from the page that asked.
	return http.NewCrossOriginProtection().Handler(mux)
}

// authorize is the authorization endpoint (RFC 6749 section 3.1). The page that asks posts to it, with the same query.
func (s *server) authorize(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	pageHeaders(w.Header())
	w = &issuerWriter{ResponseWriter: w, issuer: s.issuer}
	request, err := s.oauth.NewAuthorizeRequest(ctx, r)
	if err != nil {
		s.oauth.WriteAuthorizeError(ctx, w, request, err)
		return
	}
	user := s.user(r)
	client, auto := request.GetClient().GetID(), s.autoConsent(request.GetClient().GetID())
	switch {
	case user == "":
		http.Redirect(w, r, pathLogin+"?"+url.Values{paramReturn: {r.URL.RequestURI()}}.Encode(), http.StatusSeeOther)
	case r.Method == http.MethodGet && !auto:
		showConsent(w, request, user, r.URL.RequestURI())
	case r.Method == http.MethodPost && r.PostForm.Get(paramDecision) != decisionAllow:
		s.ledger.write(entry{Kind: kindDenied, ClientID: client, User: user})
		s.oauth.WriteAuthorizeError(ctx, w, request, fosite.ErrAccessDenied)
	default:
		s.consent(ctx, w, request, user)
	}
}

// consent makes the code, if the request's code challenge is as it has to be.
func (s *server) consent(ctx context.Context, w http.ResponseWriter, request fosite.AuthorizeRequester, user string) {
	for _, scope := range request.GetRequestedScopes() {
		request.GrantScope(scope)
	}
	s.mu.Lock()
	response, err := s.oauth.NewAuthorizeResponse(ctx, request, &fosite.DefaultSession{Subject: user, Username: user})
	s.mu.Unlock()
	if err != nil {
		s.oauth.WriteAuthorizeError(ctx, w, request, err)
		return
	}
	s.ledger.write(entry{Kind: kindConsented, ClientID: request.GetClient().GetID(), User: user, Family: request.GetID()})
	s.oauth.WriteAuthorizeResponse(ctx, w, request, response)
}

// token is the token endpoint (RFC 6749 section 3.2).
func (s *server) token(w http.ResponseWriter, r *http.Request) {
	// A client that hangs up does not undo what its request has begun.
	ctx := context.WithoutCancel(r.Context())
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = r.ParseForm() // the library says what is wrong with it
	about := s.about(ctx, r.PostForm)
	request, err := s.oauth.NewAccessRequest(ctx, r, &fosite.DefaultSession{})
	if client := request.GetClient(); client != nil {
		about.ClientID = client.GetID() // as it has proven
	}
	if err != nil {
		s.refuse(ctx, w, request, about, err)
		return
	}
	response, err := s.oauth.NewAccessResponse(ctx, request)
	if err != nil {
		s.refuse(ctx, w, request, about, err)
		return
	}
	// Many servers say whose access it is, each under a name of its own.
	response.SetExtra("account", map[string]any{"id": request.GetSession().GetSubject()})
	about.Kind, about.Family, about.User = kindIssued, request.GetID(), request.GetSession().GetSubject()
	if about.Grant == string(fosite.GrantTypeRefreshToken) {
		about.Kind = kindRotated
	}
	s.ledger.write(about)
	s.oauth.WriteAccessResponse(ctx, w, request, response)
}

func (s *server) refuse(ctx context.Context, w http.ResponseWriter, request fosite.AccessRequester, about entry, err error) {
	about.Kind = kindRefused
	if errors.Is(err, fosite.ErrInactiveToken) || errors.Is(err, fosite.ErrInvalidatedAuthorizeCode) {
		about.Kind = kindReused
	}
	said := fosite.ErrorToRFC6749Error(err)
	about.Error, about.Hint = said.ErrorField, said.Reason()
	s.ledger.write(about)
	s.oauth.WriteAccessError(ctx, w, request, err)
}

// about says what is known of a token request before anything is done about it. The library tells nothing of one that it
// refuses.
func (s *server) about(ctx context.Context, form url.Values) entry {
	about := entry{Grant: form.Get("grant_type")}
	if !slices.Contains([]string{string(fosite.GrantTypeAuthorizationCode), string(fosite.GrantTypeRefreshToken)}, about.Grant) {
		about.Grant = "other"
	}
	known, _ := s.store.GetRefreshTokenSession(ctx, s.strategy.RefreshTokenSignature(ctx, form.Get("refresh_token")), nil)
	if known == nil {
		known, _ = s.store.GetAuthorizeCodeSession(ctx, s.strategy.AuthorizeCodeSignature(ctx, form.Get("code")), nil)
	}
	if known != nil {
		about.Family, about.User = known.GetID(), known.GetSession().GetSubject()
	}
	return about
}

// revoke is the revocation endpoint (RFC 7009).
func (s *server) revoke(w http.ResponseWriter, r *http.Request) {
	ctx := context.WithoutCancel(r.Context())
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = r.ParseForm() // the library says what is wrong with it
	known, _ := s.store.GetRefreshTokenSession(ctx, s.strategy.RefreshTokenSignature(ctx, r.PostForm.Get("token")), nil)
	if known == nil {
		known, _ = s.store.GetAccessTokenSession(ctx, s.strategy.AccessTokenSignature(ctx, r.PostForm.Get("token")), nil)
	}
	err := s.oauth.NewRevocationRequest(ctx, r)
	about := entry{Kind: kindRevoked}
	if known != nil {
		about.ClientID, about.User, about.Family = known.GetClient().GetID(), known.GetSession().GetSubject(), known.GetID()
	}
	if err != nil {
		about.Kind, about.Error = kindRefused, fosite.ErrorToRFC6749Error(err).ErrorField
	}
	s.ledger.write(about)
	s.oauth.WriteRevocationResponse(ctx, w, err)
}

// me is the API: it tells an access token whose it is.
func (s *server) me(w http.ResponseWriter, r *http.Request) {
	session := &fosite.DefaultSession{}
	_, request, err := s.oauth.IntrospectToken(r.Context(), fosite.AccessTokenFromRequest(r), fosite.AccessToken, session)
	if err != nil {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		http.Error(w, "the access token is not good", http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"id": request.GetSession().GetSubject(), "client_id": request.GetClient().GetID(), "scopes": request.GetGrantedScopes(),
	})
}

func (s *server) autoConsent(id string) bool {
	return slices.ContainsFunc(s.config.Clients, func(each clientConfig) bool { return each.ID == id && each.AutoConsent })
}

// issuerWriter adds the issuer to what goes back to a client (RFC 9207), to errors too. The library knows no such parameter.
type issuerWriter struct {
	http.ResponseWriter
	issuer string
}

// WriteHeader is part of http.ResponseWriter.
func (w *issuerWriter) WriteHeader(status int) {
	target, err := url.Parse(w.Header().Get("Location"))
	if err == nil && target.IsAbs() {
		query := target.Query()
		query.Set(paramIssuer, w.issuer)
		target.RawQuery = query.Encode()
		w.Header().Set("Location", target.String())
	}
	w.ResponseWriter.WriteHeader(status)
}
