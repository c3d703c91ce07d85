package provider

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"
	"time"
)

// refusal is an OAuth error answer, RFC 6749 section 5.2, with a finer reason for the ledger.
type refusal struct {
	status int
	code   string
	reason string
	// challenge is the WWW-Authenticate header, if there is to be one.
	challenge string
}

// Error names the code and the reason; neither comes from a request.
func (r *refusal) Error() string { return r.code + ": " + r.reason }

func badRequest(code, reason string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: code, reason: reason}
}

// exchange is a token request that has passed authentication and the contract's list of parameters.
type exchange struct {
	registration *Registration
	params       map[string]string
	now          time.Time
}

// result is what a grant gave: tokens, or a refusal. Effects happen in both cases.
type result struct {
	tokens  pair
	refused *refusal
	effects []Entry
	// about names what was presented: lineage, fingerprints.
	about Entry
}

// grant runs the grant that the exchange asks for. The grant type is known and allowed.
func (s *tokenStore) grant(ex exchange) result {
	switch ex.params["grant_type"] {
	case GrantAuthorizationCode:
		return s.redeem(ex)
	case GrantRefreshToken:
		return s.refresh(ex)
	default:
		return s.clientCredentials(ex)
	}
}

// scopes gives what the request asks for within the ceiling; Smartbills has no scope in token requests, so
// it is the ceiling.
func (ex exchange) scopes(ceiling []string) ([]string, *refusal) {
	if ex.registration.Contract == Smartbills {
		return ceiling, nil
	}
	scopes, ok := parseScope(ex.params["scope"])
	if !ok {
		return nil, badRequest("invalid_scope", "malformed_scope")
	}
	if !within(scopes, ceiling) {
		return nil, badRequest("invalid_scope", "scope_beyond_the_granted")
	}
	return scopes, nil
}

// clientCredentials gives an access token, never a refresh token.
func (s *tokenStore) clientCredentials(ex exchange) result {
	scopes, refused := ex.scopes(ex.registration.Scopes)
	if refused != nil {
		return result{refused: refused}
	}
	made, entry := s.issue(wanted{registration: ex.registration, scopes: scopes}, ex.now)
	return result{tokens: made, effects: []Entry{entry}}
}

// newCode records a person's consent.
func (s *tokenStore) newCode(of *lineage, redirectURI, challenge string, now time.Time) (*code, Entry) {
	made := &code{
		value:       random(CodePrefix),
		lineage:     of,
		redirectURI: redirectURI,
		challenge:   challenge,
		expires:     now.Add(codeLifetime),
	}
	s.codes[made.value] = made
	entry := s.about(KindCodeIssued, of.registration, of)
	entry.CodeFingerprint = Fingerprint(made.value)
	entry.Scope = strings.Join(of.scopes, " ")
	entry.ExpiresTime = made.expires.UTC()
	return made, entry
}

// redeem exchanges a code. Any attempt by the right client spends it, a mistaken one too: whoever has half of what is
// needed does not get to guess the other half.
func (s *tokenStore) redeem(ex exchange) result {
	found := s.codes[ex.params["code"]]
	if found == nil || found.lineage.registration != ex.registration {
		return result{refused: badRequest("invalid_grant", "unknown_code")}
	}
	of := found.lineage
	answer := result{about: s.about(KindTokenRequest, ex.registration, of)}
	answer.about.CodeFingerprint = Fingerprint(found.value)
	event := answer.about
	if found.spent {
		event.Kind, event.Outcome, event.Reason = KindReused, Refused, "code"
		answer.effects = append([]Entry{event}, s.revokeLineage(of, "code_reused", ex.now)...)
		answer.refused = badRequest("invalid_grant", "reused_code")
		return answer
	}
	if !ex.now.Before(found.expires) {
		answer.refused = badRequest("invalid_grant", "expired_code")
		return answer
	}
	found.spent = true
	scopes, refused := ex.scopes(of.scopes)
	switch {
	case ex.params["redirect_uri"] != found.redirectURI:
		refused = badRequest("invalid_grant", "redirect_uri_mismatch")
	case !verifies(ex.params["code_verifier"], found.challenge):
		refused = badRequest("invalid_grant", "code_verifier_mismatch")
	}
	event.Kind, event.Outcome = KindCodeSpent, Granted
	if refused != nil {
		event.Outcome, event.Reason = Refused, refused.reason
		answer.refused, answer.effects = refused, []Entry{event}
		return answer
	}
	made, issued := s.issue(wanted{registration: ex.registration, lineage: of, scopes: scopes, newRefresh: true}, ex.now)
	issued.CodeFingerprint = event.CodeFingerprint
	answer.tokens, answer.effects = made, []Entry{event, issued}
	return answer
}

// verifies is RFC 7636 section 4.6, S256 only. Without a challenge there is no verifier either: it has been refused as
// an unknown parameter.
func verifies(verifier, challenge string) bool {
	if challenge == "" {
		return true
	}
	sum := sha256.Sum256([]byte(verifier))
	computed := base64.RawURLEncoding.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(computed), []byte(challenge)) == 1
}

// refresh spends a refresh token. A request that is refused for its scope leaves the token unspent.
func (s *tokenStore) refresh(ex exchange) result {
	presented := s.tokens[ex.params["refresh_token"]]
	if presented == nil || !presented.refresh || presented.registration != ex.registration {
		return result{refused: badRequest("invalid_grant", "unknown_refresh_token")}
	}
	answer := result{about: s.about(KindTokenRequest, ex.registration, presented.lineage)}
	answer.about.RefreshFingerprint = Fingerprint(presented.value)
	scopes, refused := ex.scopes(presented.scopes)
	if refused != nil {
		answer.refused = refused
		return answer
	}
	want := wanted{
		registration: ex.registration,
		lineage:      presented.lineage,
		scopes:       scopes,
		parent:       presented,
		newRefresh:   ex.registration.Reuse.Kind != Reusable,
	}
	switch {
	case presented.spent || presented.superseded:
		s.reuse(&answer, want, ex.now)
	case presented.revoked:
		answer.refused = badRequest("invalid_grant", "revoked_refresh_token")
	default:
		s.rotate(&answer, want, ex.now)
	}
	return answer
}
