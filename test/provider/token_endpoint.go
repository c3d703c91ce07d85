package provider

import (
	"crypto/subtle"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
)

// tokenAnswer is RFC 6749 section 5.1 with the fields that both contracts document, and no other.
type tokenAnswer struct {
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	// AccountID is there where the registration wants the user named.
	AccountID string `json:"account_id,omitempty"`
}

// serveToken is the token endpoint of one contract.
func (s *Server) serveToken(contract Contract) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		request := readTokenRequest(contract, r)
		request.received = s.clock.Now()
		request.number = s.count(request.clientID())
		if s.unavailable() {
			s.replyUnavailable(w, request)
			return
		}
		step := s.script.take(request.clientID(), request.params["grant_type"])
		if step == nil {
			step = &Step{Action: ActAnswer, Times: 1}
		}
		s.play(w, r, request, *step)
	}
}

// play takes the request through the step: wait, commit, wait, reply. A client that hangs up meanwhile changes nothing.
func (s *Server) play(w http.ResponseWriter, r *http.Request, request *tokenRequest, step Step) {
	if !s.wait(step.DelayBeforeCommit, step.HoldBeforeCommit) {
		_ = s.recordUnprocessed(request, step, Abandoned)
		panic(http.ErrAbortHandler)
	}
	var reply Reply
	if step.Unprocessed {
		outcome := Scripted
		if step.Action == ActHang {
			outcome = Hung
		}
		if err := s.recordUnprocessed(request, step, outcome); err != nil {
			panic(http.ErrAbortHandler)
		}
	} else {
		reply = s.commit(request, step)
	}
	if !s.wait(step.DelayAfterCommit, step.HoldAfterCommit) {
		s.dropped(request)
	}
	switch step.Action {
	case ActHang:
		select {
		case <-r.Context().Done():
		case <-s.closing:
		}
		s.dropped(request)
	case ActDrop:
		s.dropped(request)
	case ActReply:
		s.send(w, request, *step.Reply, len(step.Reply.Body))
	case ActCut:
		s.send(w, request, reply, step.CutAt)
	default:
		s.send(w, request, reply, len(reply.Body))
	}
}

// wait reports whether it was waited to the end, and not cut short by the server's own end.
func (s *Server) wait(delay time.Duration, hold *Hold) bool {
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.closing:
			return false
		}
	}
	if hold != nil {
		hold.reachedOnce.Do(func() { close(hold.reached) })
		select {
		case <-hold.released:
		case <-s.closing:
			return false
		}
	}
	return true
}

// commit decides the request and writes all that follows from it to the ledger, as one.
func (s *Server) commit(request *tokenRequest, step Step) Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	decided := s.decide(request, now)
	reply := answerReply(decided.tokens, now)
	entry := s.requestEntry(request, step, Granted)
	entry.Status = http.StatusOK
	entry.Lineage, entry.User = decided.about.Lineage, decided.about.User
	if refused := decided.refused; refused != nil {
		reply = refusalReply(refused)
		entry.Outcome, entry.Status, entry.Error, entry.Reason = Refused, refused.status, refused.code, refused.reason
	}
	entries := []Entry{entry}
	for _, effect := range decided.effects {
		effect.Request = request.number
		entries = append(entries, effect)
	}
	if err := s.ledger.append(true, entries...); err != nil {
		return refusalReply(&refusal{status: http.StatusInternalServerError, code: "server_error"})
	}
	return reply
}

// decide authenticates the client and runs the grant.
func (s *Server) decide(request *tokenRequest, now time.Time) result {
	if request.problem != nil {
		return result{refused: request.problem}
	}
	registration, refused := s.authenticate(request)
	if refused != nil {
		return result{refused: refused}
	}
	switch grant := request.params["grant_type"]; {
	case grant == "":
		return result{refused: badRequest("invalid_request", "missing_parameter")}
	case !knownGrant(grant):
		return result{refused: badRequest("unsupported_grant_type", "grant_type")}
	case !registration.allows(grant):
		return result{refused: badRequest("unauthorized_client", "grant_not_registered")}
	}
	if refused := request.checkParameters(registration); refused != nil {
		return result{refused: refused}
	}
	return s.tokens.grant(exchange{registration: registration, params: request.params, now: now})
}

// authenticate wants id and secret in one place: in the body, or, for a registration that allows it, in the header.
func (s *Server) authenticate(request *tokenRequest) (*Registration, *refusal) {
	id, value := request.params["client_id"], request.params["client_secret"]
	reason, challenge := "client_authentication", ""
	if request.basic {
		reason, challenge = "header_authentication", `Basic realm="provider"`
		if value != "" {
			return nil, badRequest("invalid_request", "two_authentications")
		}
		id, value = request.basicID, request.basicValue
	}
	registration := s.registrations[id]
	if registration == nil || registration.Contract != request.contract || request.basic && !registration.AllowBasic ||
		subtle.ConstantTimeCompare([]byte(registration.ClientSecret), []byte(value)) != 1 {
		return nil, &refusal{status: http.StatusUnauthorized, code: "invalid_client", reason: reason, challenge: challenge}
	}
	return registration, nil
}

// requestEntry copies nothing from the request but what is known to be harmless.
func (s *Server) requestEntry(request *tokenRequest, step Step, outcome Outcome) Entry {
	entry := Entry{
		Kind:         KindTokenRequest,
		Contract:     request.contract,
		Request:      request.number,
		ReceivedTime: request.received.UTC(),
		Format:       request.format,
		Outcome:      outcome,
	}
	if registration := s.registrations[request.clientID()]; registration != nil {
		entry.ClientID = registration.ClientID
	}
	if grant := request.params["grant_type"]; knownGrant(grant) {
		entry.Grant = grant
	} else if grant != "" {
		entry.Grant = "other"
	}
	if value := request.params["refresh_token"]; value != "" {
		entry.RefreshFingerprint = Fingerprint(value)
	}
	if value := request.params["code"]; value != "" {
		entry.CodeFingerprint = Fingerprint(value)
	}
	if label := step.label(); label != string(ActAnswer) {
		entry.Script = label
	}
	return entry
}

func (s *Server) recordUnprocessed(request *tokenRequest, step Step, outcome Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := s.requestEntry(request, step, outcome)
	if found := s.tokens.tokens[request.params["refresh_token"]]; found != nil && found.refresh {
		entry.Lineage, entry.User = found.lineage.id, found.lineage.user
	}
	return s.ledger.append(true, entry)
}

func answerReply(made pair, now time.Time) Reply {
	if made.access == nil {
		return Reply{}
	}
	answer := tokenAnswer{
		TokenType:   "Bearer",
		ExpiresIn:   int64(math.Floor(made.access.expires.Sub(now).Seconds())),
		AccessToken: made.access.value,
	}
	if made.refresh != nil {
		answer.RefreshToken = made.refresh.value
	}
	if of := made.access.lineage; of != nil && made.access.registration.NameUser {
		answer.AccountID = of.user
	}
	return jsonReply(http.StatusOK, answer)
}

func refusalReply(refused *refusal) Reply {
	reply := jsonReply(refused.status, map[string]string{"error": refused.code})
	if refused.challenge != "" {
		reply.Header.Set("WWW-Authenticate", refused.challenge)
	}
	if refused.status == http.StatusMethodNotAllowed {
		reply.Header.Set("Allow", http.MethodPost)
	}
	return reply
}

func jsonReply(status int, body any) Reply {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // strings and numbers only: it cannot be
	}
	return Reply{
		Status: status,
		Header: http.Header{
			"Content-Type":  {"application/json;charset=UTF-8"},
			"Cache-Control": {"no-store"},
			"Pragma":        {"no-cache"},
		},
		Body: text,
	}
}

// replyUnavailable is what a token request gets in an outage.
func (s *Server) replyUnavailable(w http.ResponseWriter, request *tokenRequest) {
	s.mu.Lock()
	entry := s.requestEntry(request, Step{Action: ActAnswer}, Unavailable)
	entry.Status = http.StatusServiceUnavailable
	_ = s.ledger.append(true, entry)
	s.mu.Unlock()
	reply := jsonReply(http.StatusServiceUnavailable, map[string]string{"error": "temporarily_unavailable"})
	s.send(w, request, reply, len(reply.Body))
}

// dropped closes the connection without a reply.
func (s *Server) dropped(request *tokenRequest) {
	s.replied(request, Entry{Outcome: Dropped})
	panic(http.ErrAbortHandler)
}

// send writes the header and n bytes of the body. If that is not all, or the client has gone, the connection is closed.
func (s *Server) send(w http.ResponseWriter, request *tokenRequest, reply Reply, n int) {
	header := w.Header()
	header["Content-Type"] = nil // or net/http would guess one where the reply has none
	for name, values := range reply.Header {
		header[name] = values
	}
	if header.Get("Content-Length") == "" {
		header.Set("Content-Length", strconv.Itoa(len(reply.Body)))
	}
	outcome := Written
	if n < len(reply.Body) {
		outcome = Cut
	}
	w.WriteHeader(reply.Status)
	sent, err := w.Write(reply.Body[:min(n, len(reply.Body))])
	if flushErr := http.NewResponseController(w).Flush(); err != nil || flushErr != nil {
		outcome = Failed
	}
	s.replied(request, Entry{Outcome: outcome, Status: reply.Status, Bytes: sent})
	if outcome != Written {
		panic(http.ErrAbortHandler)
	}
}

func (s *Server) replied(request *tokenRequest, entry Entry) {
	entry.Kind, entry.Contract, entry.Request = KindReplied, request.contract, request.number
	if registration := s.registrations[request.clientID()]; registration != nil {
		entry.ClientID = registration.ClientID
	}
	_ = s.ledger.append(false, entry) // a failure stops the next token request
}
