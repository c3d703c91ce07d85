// Package projection makes the content of a token Secret: what spec.secret says and a credential in, keys and values out.
//
// It is pure: it must never do I/O, look at a clock or remember anything. It runs nothing that a text says, and makes
// nothing larger than it has counted beforehand, with the largest token that there can be: what New accepts, Content can
// write, whatever the provider sends.
package projection

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// The keys that every token Secret has, some of them only where there is something to say. It never holds a refresh token
// or a client secret.
const (
	keyAccessToken   = "access_token"
	keyTokenType     = "token_type"
	keyExpiresAt     = "expires_at"
	keyScope         = "scope"
	keyAuthorization = "authorization"
	keyHeaders       = "headers"
	keyOnBehalfOf    = "on_behalf_of"
)

// Source is what a token Secret is made from.
type Source struct {
	AccessToken secret.Value
	// ExpirationTime is when the token expires; zero where that is not known.
	ExpirationTime time.Time
	Scopes         []string
	// OnBehalfOf is the connected account at the provider, and OnBehalfOfHeader the header that names it; "": none.
	OnBehalfOf, OnBehalfOfHeader string
}

// values are the default keys.
func (s Source) values() map[string]string {
	authorization := "Bearer " + s.AccessToken.Reveal()
	headers := "Authorization: " + authorization + "\n"
	values := map[string]string{
		keyAccessToken: s.AccessToken.Reveal(), keyTokenType: "Bearer", keyAuthorization: authorization,
	}
	if s.OnBehalfOf != "" {
		values[keyOnBehalfOf] = s.OnBehalfOf
		headers += s.OnBehalfOfHeader + ": " + s.OnBehalfOf + "\n"
	}
	values[keyHeaders] = headers
	if len(s.Scopes) > 0 {
		values[keyScope] = strings.Join(s.Scopes, " ")
	}
	if !s.ExpirationTime.IsZero() {
		values[keyExpiresAt] = s.ExpirationTime.UTC().Format(time.RFC3339)
	}
	return values
}

// Fault is why a Secret cannot be made as spec.secret says.
type Fault struct {
	// Reason is v1alpha1.ReasonInvalidSecretData or v1alpha1.ReasonSecretTooLarge.
	Reason string
	// Message says what to write instead.
	Message string
}

// Layout is how a Secret is made from a credential.
type Layout struct {
	// first are the further keys that are made from the default keys alone, second those that use one of the first.
	first, second map[string]text
}

// New reads what spec.secret says. What the API server refuses when it is applied is found here too: it may have been
// applied under another definition.
func New(spec v1alpha1.TokenSecret) (*Layout, *Fault) {
	layout := &Layout{first: map[string]text{}, second: map[string]text{}}
	parsed := map[string]text{}
	for _, key := range slices.Sorted(maps.Keys(spec.Data)) {
		if fault := checkKey(key); fault != nil {
			return nil, fault
		}
		var fault *Fault
		if parsed[key], fault = parse(key, string(spec.Data[key])); fault != nil {
			return nil, fault
		}
	}
	for _, key := range slices.Sorted(maps.Keys(parsed)) {
		uses, fault := parsed[key].uses(key, parsed)
		switch {
		case fault != nil:
			return nil, fault
		case uses:
			layout.second[key] = parsed[key]
		default:
			layout.first[key] = parsed[key]
		}
	}
	if fault := layout.checkSize(); fault != nil {
		return nil, fault
	}
	if fault := layout.checkType(spec.Type); fault != nil {
		return nil, fault
	}
	return layout, nil
}

// Content is what the Secret holds for a credential.
func (l *Layout) Content(source Source) map[string][]byte {
	values := source.values()
	content := map[string][]byte{}
	for _, texts := range []map[string]text{l.first, l.second} {
		made := map[string]string{}
		for key, text := range texts {
			made[key] = text.render(values)
		}
		maps.Copy(values, made)
	}
	for key, value := range values {
		content[key] = []byte(value)
	}
	return content
}

// checkKey finds a key that a Secret cannot have, or that has a meaning already.
func checkKey(key string) *Fault {
	odd := strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != ""
	switch {
	case key == "" || len(key) > maxKeyBytes || odd || key == "." || strings.HasPrefix(key, ".."):
		return invalid("spec.secret.data has a key that a Secret cannot have: write letters, digits, '-', '_' and '.', at most %d of them, and not '..' at the beginning", maxKeyBytes)
	case isDefault(key):
		return invalid("spec.secret.data cannot replace %s, which every token Secret has: write another key", key)
	}
	return nil
}

func isDefault(name string) bool {
	_, is := largest()[name]
	return is
}

func invalid(format string, arguments ...any) *Fault {
	return &Fault{Reason: v1alpha1.ReasonInvalidSecretData, Message: fmt.Sprintf(format, arguments...)}
}
