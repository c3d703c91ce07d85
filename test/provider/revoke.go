package provider

import (
	"crypto/subtle"
	"net/http"
)

// serveRevoke is the revocation endpoint of one contract (RFC 7009): a form, with the client's id and secret in it. A refresh
// token ends its lineage, an access token itself; a token that is not known is revoked already.
func (s *Server) serveRevoke(contract Contract) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.revocations++
		s.mu.Unlock()
		if s.unavailable() {
			http.Error(w, "the provider is not available", http.StatusServiceUnavailable)
			return
		}
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
			http.Error(w, "only POST of a form", http.StatusBadRequest)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
		if err := r.ParseForm(); err != nil || r.URL.RawQuery != "" {
			http.Error(w, "the form cannot be read", http.StatusBadRequest)
			return
		}
		if id, secret, basic := r.BasicAuth(); basic {
			r.PostForm.Set("client_id", id)
			r.PostForm.Set("client_secret", secret)
		}
		registration := s.registrations[r.PostForm.Get("client_id")]
		if registration == nil || registration.Contract != contract ||
			subtle.ConstantTimeCompare([]byte(registration.ClientSecret), []byte(r.PostForm.Get("client_secret"))) != 1 {
			s.reply(w, refusalReply(&refusal{status: http.StatusUnauthorized, code: "invalid_client"}))
			return
		}
		s.reply(w, s.revokeToken(registration, r.PostForm.Get("token")))
	}
}

func (s *Server) revokeToken(registration *Registration, value string) Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, now := s.tokens.tokens[value], s.clock.Now()
	if found == nil || found.registration != registration {
		return Reply{Status: http.StatusOK} // RFC 7009 section 2.2
	}
	var entries []Entry
	if found.refresh {
		entries = s.tokens.revokeLineage(found.lineage, "revoked_by_client", now)
	} else if s.tokens.revokeTokens([]*token{found}, now) > 0 {
		entry := s.tokens.about(KindRevoked, registration, found.lineage)
		entry.Reason = "revoked_by_client"
		entries = append(entries, entry)
	}
	if len(entries) > 0 {
		if err := s.ledger.append(true, entries...); err != nil {
			return refusalReply(&refusal{status: http.StatusInternalServerError, code: "server_error"})
		}
	}
	return Reply{Status: http.StatusOK}
}

func (s *Server) reply(w http.ResponseWriter, reply Reply) {
	for name, values := range reply.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(reply.Status)
	_, _ = w.Write(reply.Body)
}

// RevocationRequests counts the requests that arrived at the revocation endpoints.
func (s *Server) RevocationRequests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revocations
}
