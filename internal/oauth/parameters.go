package oauth

import (
	"slices"
	"strings"
)

// Parameter is a parameter of a token request that no standard grant has, such as an audience, or the resource of RFC 8707.
type Parameter struct{ Name, Value string }

// ReservedParameters are the names that a Parameter cannot have, in whatever case: what the operator sends itself, what other
// grants send (RFC 7521, 7523, 8628 and 8693), and what would be a secret.
func ReservedParameters() []string {
	return []string{
		"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "scope",
		"code", "code_verifier", "redirect_uri", "refresh_token",
		"username", "password", "assertion", "device_code", "access_token",
		"subject_token", "subject_token_type", "actor_token", "actor_token_type", "requested_token_type",
	}
}

// furtherParameters gives the provider's own parameters, or says why they cannot be sent. The definition of the clients
// refuses the same; it may be another one than this version's.
func furtherParameters(reg Registration) (parameters []parameter, reason string) {
	names := map[string]bool{}
	for _, p := range reg.Parameters {
		// Of a name that comes twice in a JSON object nobody can say which one counts.
		twice := reg.BodyFormat == BodyJSON && names[p.Name]
		if !isParameterName(p.Name) || isReserved(p.Name) || p.Value == "" || !isVisible(p.Value) || twice {
			return nil, reasonParameter
		}
		names[p.Name] = true
		parameters = append(parameters, parameter{p.Name, p.Value})
	}
	return parameters, ""
}

// isParameterName reports whether text is a name that no server reads otherwise than it is written.
func isParameterName(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && !strings.ContainsRune("-._~[]", c)
	})
}

// isReserved reports whether a server might read the name as a reserved one. Some take '.' and '[' for '_', and what is in
// brackets for part of the value.
func isReserved(name string) bool {
	folded := strings.NewReplacer(".", "_", "[", "_").Replace(strings.ToLower(name))
	for end := range len(name) + 1 {
		if (end == len(name) || name[end] == '[') && slices.Contains(ReservedParameters(), folded[:end]) {
			return true
		}
	}
	return false
}
