package consent

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oauth-operator/oauth-operator/internal/seal"
)

const (
	// cookiePrefix opens the name of each cookie; the hash of the state ends it, so that several tabs do not disturb each
	// other. With __Host- a browser takes it from this host alone, over https, and for all paths.
	cookiePrefix = "__Host-oauth-"
	// flowLifetime is how long a person may take at the provider, and resultLifetime how long they can see what came of it.
	flowLifetime   = 10 * time.Minute
	resultLifetime = 30 * time.Minute
	// maxCookie bounds a cookie, name and value: browsers drop longer ones.
	maxCookie = 4 << 10
	// maxFlows is how many cookies one browser keeps. More, and servers in front would refuse the headers.
	maxFlows = 4
	// clockSkew is how far the clocks of two replicas may be apart.
	clockSkew = time.Minute
)

var errCookieTooLarge = errors.New("the cookie would be larger than a browser keeps: shorten the client's issuer, identifier or list of captured fields")

var errNoKeys = errors.New("there are no keys: is the Secret oauth-operator-consent mounted, and did the operator write it")

// flowCookie is the cookie of an attempt. Strict would not arrive with the provider's redirect, Lax does.
func (h *Handler) flowCookie(keys *seal.ConsentKeys, stateHash string, flow seal.Cookie, lifetime time.Duration) (*http.Cookie, error) {
	hash, err := base64.RawURLEncoding.DecodeString(stateHash)
	if err != nil {
		return nil, fmt.Errorf("a state's hash is not one: %w", err)
	}
	value, err := keys.SealCookie(hash, flow)
	if err != nil {
		return nil, fmt.Errorf("seal a cookie: %w", err)
	}
	cookie := newCookie(cookiePrefix+stateHash, value, int(lifetime/time.Second))
	if len(cookie.Name)+len(cookie.Value) > maxCookie {
		return nil, errCookieTooLarge
	}
	return cookie, nil
}

func newCookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: maxAge, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

// flowOf opens the cookie of an attempt, if the browser has it and it is not older than lifetime.
func (h *Handler) flowOf(r *http.Request, keys *seal.ConsentKeys, stateHash string, lifetime time.Duration) (seal.Cookie, bool) {
	hash, err := base64.RawURLEncoding.Strict().DecodeString(stateHash)
	if err != nil {
		return seal.Cookie{}, false
	}
	cookies := r.CookiesNamed(cookiePrefix + stateHash)
	if len(cookies) != 1 || len(cookies[0].Value) > maxCookie {
		return seal.Cookie{}, false
	}
	flow, err := keys.OpenCookie(hash, cookies[0].Value)
	if err != nil {
		return seal.Cookie{}, false
	}
	age := h.Clock.Now().Sub(flow.StartTime)
	return flow, age <= lifetime && age >= -clockSkew
}

// surplus are cookies that take away those of a browser's oldest attempts, so that there is room for one more.
func (h *Handler) surplus(r *http.Request, keys *seal.ConsentKeys) []*http.Cookie {
	type held struct {
		name string
		at   time.Time
	}
	var all []held
	for _, cookie := range r.Cookies() {
		hash, ours := strings.CutPrefix(cookie.Name, cookiePrefix)
		if !ours {
			continue
		}
		flow, _ := h.flowOf(r, keys, hash, resultLifetime) // the zero one, the oldest of all, where it cannot be opened
		all = append(all, held{cookie.Name, flow.StartTime})
	}
	slices.SortFunc(all, func(a, b held) int { return cmp.Or(b.at.Compare(a.at), strings.Compare(a.name, b.name)) })
	var gone []*http.Cookie
	for i, each := range all {
		if i >= maxFlows-1 {
			gone = append(gone, newCookie(each.name, "", -1))
		}
	}
	return gone
}

// bindingOf is what is sealed for the controller is bound to.
func bindingOf(flow seal.Cookie, stateHash string) seal.HandOverBinding {
	return seal.HandOverBinding{
		AccountUID: flow.Ticket.AccountUID, ClientUID: flow.ClientUID, ClientID: flow.ClientID,
		RedirectURI: flow.RedirectURI, Attempt: flow.Ticket.Attempt, StateHash: stateHash,
	}
}
