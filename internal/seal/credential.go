package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	strictjson "sigs.k8s.io/json"

	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// Credential is what the last exchange gave, and what it is bound to. Printing it, in whatever way, shows no token.
//
// Inside the seal it is a JSON object with these members. They are part of format version 1: a name never changes
// its meaning or type.
//
//	cid  ClientID         string
//	cns  ClientNamespace  string, absent if empty
//	iss  Issuer           string, absent if empty
//	org  Origins          array of strings, absent if nil
//	lin  Lineage          string
//	gsq  GrantSequence    integer >= 0, always present
//	rot  Rotation         integer >= 0, always present
//	csq  ClaimSequence    integer >= 0, always present
//	idn  Identity         string, absent if empty
//	iat  IssuedTime       RFC 3339 in UTC, whole seconds, "2006-01-02T15:04:05Z"; absent if zero
//	exp  ExpirationTime   likewise
//	at   AccessToken      string, absent if empty
//	rt   RefreshToken     string, absent if empty; at least one of the two is present
//	typ  TokenType        string, absent if empty
//	scp  Scopes           array of strings, absent if nil
//	rsc  RequestedScopes  array of strings, absent if nil
//	imp  Imports          array of strings, absent if nil
//	gtm  GrantTime        RFC 3339 as above; absent if zero
//	gsc  GrantedScopes    array of strings, absent if nil
//	apr  Approved         true; absent if false
//	cap  Captured         object of strings, absent if empty
//	par  Parameters       string, absent if empty
//
// A later version may add members to format version 1. Their names consist of lower-case letters and digits, and
// this version ignores them: after a downgrade the credential opens, and the next keep writes it without them. So
// only what an older version may safely not know, and lose, is added this way; anything else needs format
// version 2, which older versions refuse with ErrNewerFormat. Duplicate members, and names in any other spelling,
// are ErrMalformed.
type Credential struct {
	// ClientID is the client_id (RFC 6749 section 2.2) the tokens were issued to.
	ClientID string
	// ClientNamespace is the namespace of the OAuthClient whose registration and scopes the tokens come from.
	ClientNamespace string
	// Issuer is the issuer of the authorization server (RFC 8414 section 2), if it is known.
	Issuer string
	// Origins are all that may receive one of the tokens: token, refresh and revocation endpoint and their mTLS
	// aliases, each as scheme://host:port, sorted.
	Origins []string
	// Lineage identifies the consent or import that all these tokens descend from.
	Lineage string
	// GrantSequence, Rotation and ClaimSequence are the version of the credential. They only grow.
	GrantSequence, Rotation, ClaimSequence int64
	// Identity is whom the provider named as the one who granted access, if it did.
	Identity string
	// IssuedTime is when the tokens were received. UTC, whole seconds.
	IssuedTime time.Time
	// ExpirationTime is when the access token expires. UTC, whole seconds; zero if no expiry is known.
	ExpirationTime time.Time
	// AccessToken and RefreshToken are the tokens (RFC 6749 sections 1.4 and 1.5). Either may be absent, not both.
	AccessToken, RefreshToken secret.Value
	// TokenType is the token_type (RFC 6749 section 7.1), as the provider wrote it.
	TokenType string
	// Scopes are those that were granted, RequestedScopes those that were asked for. nil and empty differ.
	Scopes, RequestedScopes []string
	// Imports are the fingerprints of the refresh tokens that this account has imported, the newest last, so that none
	// of them is imported a second time: by then it has been spent. nil and empty differ.
	Imports []string
	// GrantTime is when the code of a person's consent was exchanged; zero if it came of none. UTC, whole seconds.
	GrantTime time.Time
	// GrantedScopes are those that the person granted, whatever later answers name. nil and empty differ.
	GrantedScopes []string
	// Approved: somebody has approved of whose access it is.
	Approved bool
	// Captured are values of callback and answers, by their key in the token Secret.
	Captured map[string]string
	// Parameters stand for those of the provider's own that the tokens were asked for with; "" is none. A version that does
	// not know it, and loses it, asks once more with client credentials.
	Parameters string
}

// timeLayout is RFC 3339 in UTC with whole seconds, and nothing else.
const timeLayout = "2006-01-02T15:04:05Z"

// errNoToken is why a text is not that of a credential.
var errNoToken = errors.New("there is neither an access token nor a refresh token")

// maxYear is the last year that timeLayout can spell.
const maxYear = 9999

// wireCredential is the JSON inside the seal. It is a type of its own so that a Credential that is marshalled by
// mistake shows no token. The tokens are plain text here, so no value of this type may leave this file.
type wireCredential struct {
	ClientID        string   `json:"cid"`
	Issuer          string   `json:"iss,omitempty"`
	Origins         []string `json:"org,omitzero"`
	Lineage         string   `json:"lin"`
	GrantSequence   *int64   `json:"gsq"`
	Rotation        *int64   `json:"rot"`
	ClaimSequence   *int64   `json:"csq"`
	Identity        string   `json:"idn,omitempty"`
	ClientNamespace string   `json:"cns,omitempty"`
	Issued          string   `json:"iat,omitempty"`
	Expires         string   `json:"exp,omitempty"`
	Access          string   `json:"at,omitempty"`
	Refresh         string   `json:"rt,omitempty"`
	Type            string   `json:"typ,omitempty"`
	Scopes          []string `json:"scp,omitzero"`
	RequestedScopes []string `json:"rsc,omitzero"`
	Imports         []string `json:"imp,omitzero"`

	Granted       string            `json:"gtm,omitempty"`
	GrantedScopes []string          `json:"gsc,omitzero"`
	Approved      bool              `json:"apr,omitempty"`
	Captured      map[string]string `json:"cap,omitempty"`
	Parameters    string            `json:"par,omitempty"`
}

// wireNames are the members of wireCredential.
const wireNames = " cid cns iss org lin gsq rot csq idn iat exp at rt typ scp rsc imp gtm gsc apr cap par "

// encodeCredential returns the JSON text of a credential.
func encodeCredential(c Credential) ([]byte, error) {
	if c.AccessToken.Empty() && c.RefreshToken.Empty() {
		return nil, fmt.Errorf("%w: %w", ErrInvalidInput, errNoToken)
	}
	return encodeTemplate(c)
}

// encodeTemplate returns the JSON text of a credential that need not hold a token yet.
func encodeTemplate(c Credential) ([]byte, error) {
	issued, issuedErr := encodeTime(c.IssuedTime)
	expires, expiresErr := encodeTime(c.ExpirationTime)
	granted, grantedErr := encodeTime(c.GrantTime)
	if err := errors.Join(issuedErr, expiresErr, grantedErr); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidInput, err)
	}
	origins := slices.Clone(c.Origins)
	slices.Sort(origins)
	wire := wireCredential{
		ClientID: c.ClientID, Issuer: c.Issuer, Origins: slices.Compact(origins),
		Lineage: c.Lineage, GrantSequence: &c.GrantSequence, Rotation: &c.Rotation, ClaimSequence: &c.ClaimSequence,
		Identity: c.Identity, ClientNamespace: c.ClientNamespace, Issued: issued, Expires: expires,
		Access: c.AccessToken.Reveal(), Refresh: c.RefreshToken.Reveal(), Type: c.TokenType,
		Scopes: c.Scopes, RequestedScopes: c.RequestedScopes, Imports: c.Imports,
		Granted: granted, GrantedScopes: c.GrantedScopes, Approved: c.Approved, Captured: c.Captured,
		Parameters: c.Parameters,
	}
	if err := errors.Join(wire.check(), wire.checkText()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidInput, err)
	}
	return encodeWire(wire)
}

// encodeWire returns the JSON text of what goes into a seal.
func encodeWire(wire any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // a token full of '&' would grow sixfold
	if err := encoder.Encode(wire); err != nil {
		return nil, fmt.Errorf("%w: it does not become JSON", ErrInvalidInput)
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}

// decodeCredential is the inverse of encodeCredential.
func decodeCredential(text []byte) (Credential, error) {
	credential, err := decodeTemplate(text)
	if err != nil {
		return Credential{}, err
	}
	if credential.AccessToken.Empty() && credential.RefreshToken.Empty() {
		return Credential{}, fmt.Errorf("%w: it opens, but %w", ErrMalformed, errNoToken)
	}
	return credential, nil
}

// decodeTemplate is the inverse of encodeTemplate.
func decodeTemplate(text []byte) (Credential, error) {
	var wire wireCredential
	if err := decodeWire(text, &wire, wireNames); err != nil {
		return Credential{}, err
	}
	if err := wire.check(); err != nil {
		return Credential{}, fmt.Errorf("%w: it opens, but %w", ErrMalformed, err)
	}
	issued, issuedErr := decodeTime(wire.Issued)
	expires, expiresErr := decodeTime(wire.Expires)
	granted, grantedErr := decodeTime(wire.Granted)
	if err := errors.Join(issuedErr, expiresErr, grantedErr); err != nil {
		return Credential{}, fmt.Errorf("%w: it opens, but %w", ErrMalformed, err)
	}
	return Credential{
		ClientID: wire.ClientID, Issuer: wire.Issuer, Origins: wire.Origins,
		Lineage: wire.Lineage, GrantSequence: *wire.GrantSequence, Rotation: *wire.Rotation, ClaimSequence: *wire.ClaimSequence,
		Identity: wire.Identity, ClientNamespace: wire.ClientNamespace, IssuedTime: issued, ExpirationTime: expires,
		AccessToken: secret.New(wire.Access), RefreshToken: secret.New(wire.Refresh), TokenType: wire.Type,
		Scopes: wire.Scopes, RequestedScopes: wire.RequestedScopes, Imports: wire.Imports,
		GrantTime: granted, GrantedScopes: wire.GrantedScopes, Approved: wire.Approved, Captured: wire.Captured,
		Parameters: wire.Parameters,
	}, nil
}

// decodeWire is the inverse of encodeWire; names are the members that wire has. The text is authenticated, so what it
// refuses was written by a faulty or a newer version. The decoder's own errors are left out: they quote what they
// could not read.
func decodeWire(text []byte, wire any, names string) error {
	if !utf8.Valid(text) {
		return fmt.Errorf("%w: it opens, but its content is not UTF-8", ErrMalformed)
	}
	strictErrors, err := strictjson.UnmarshalStrict(text, wire)
	if err != nil {
		return fmt.Errorf("%w: it opens, but its content is not the JSON that belongs there", ErrMalformed)
	}
	for _, strictError := range strictErrors {
		if !isAdded(strictError, names) {
			return fmt.Errorf("%w: it opens, but a member of its content is duplicate or misspelt", ErrMalformed)
		}
	}
	return nil
}

// isAdded reports whether a finding of the strict decoder is a member that a later version may have added. A member
// that we know ourselves can only have been found for being there twice.
func isAdded(finding error, names string) bool {
	var field strictjson.FieldError
	if !errors.As(finding, &field) {
		return false
	}
	name := field.FieldPath()
	spelt := name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
	return spelt && !strings.Contains(names, " "+name+" ")
}

// check holds for everything that is sealed, before and after.
func (w *wireCredential) check() error {
	for _, counter := range []struct {
		name  string
		value *int64
	}{
		{"grant sequence", w.GrantSequence},
		{"rotation", w.Rotation},
		{"claim sequence", w.ClaimSequence},
	} {
		if counter.value == nil || *counter.value < 0 {
			return fmt.Errorf("the %s is missing or negative", counter.name)
		}
	}
	return nil
}

// checkText refuses what JSON would change silently: its encoder replaces every byte that is not UTF-8, and a
// refresh token that comes back changed is a refresh token lost.
func (w *wireCredential) checkText() error {
	for _, text := range []struct {
		name   string
		values []string
	}{
		{"client id", []string{w.ClientID}},
		{"issuer", []string{w.Issuer}},
		{"origins", w.Origins},
		{"lineage", []string{w.Lineage}},
		{"identity", []string{w.Identity}},
		{"client namespace", []string{w.ClientNamespace}},
		{"access token", []string{w.Access}},
		{"refresh token", []string{w.Refresh}},
		{"token type", []string{w.Type}},
		{"scopes", w.Scopes},
		{"requested scopes", w.RequestedScopes},
		{"imports", w.Imports},
		{"granted scopes", w.GrantedScopes},
		{"keys of captured values", slices.Collect(maps.Keys(w.Captured))},
		{"captured values", slices.Collect(maps.Values(w.Captured))},
		{"parameters", []string{w.Parameters}},
	} {
		for _, value := range text.values {
			if !utf8.ValidString(value) {
				return fmt.Errorf("the %s holds bytes that are not UTF-8", text.name)
			}
		}
	}
	return nil
}

// encodeTime spells a time; the zero time is "".
func encodeTime(t time.Time) (string, error) {
	if t.IsZero() {
		return "", nil
	}
	if year := t.UTC().Year(); year < 1 || year > maxYear {
		return "", fmt.Errorf("the year of a time is not between 1 and %d", maxYear)
	}
	return t.UTC().Format(timeLayout), nil
}

// decodeTime is the inverse of encodeTime.
func decodeTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(timeLayout, text)
	// The parser accepts fractions of a second that the layout does not have.
	if err != nil || t.Format(timeLayout) != text {
		return time.Time{}, errors.New("a time in its content is not RFC 3339 in UTC with whole seconds")
	}
	return t, nil
}
