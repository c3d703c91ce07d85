package provider

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"strconv"
	"time"
)

// controlLimit bounds a request to the control API, in bytes. Hostile bodies may be large.
const controlLimit = 16 << 20

// stepMessage is a Step as the control API takes it. Holds go by name.
type stepMessage struct {
	Action            Action        `json:"action"`
	Times             int           `json:"times"`
	Grant             string        `json:"grant"`
	Unprocessed       bool          `json:"unprocessed"`
	DelayBeforeCommit duration      `json:"delay_before_commit"`
	HoldBeforeCommit  string        `json:"hold_before_commit"`
	DelayAfterCommit  duration      `json:"delay_after_commit"`
	HoldAfterCommit   string        `json:"hold_after_commit"`
	CutAt             int           `json:"cut_at"`
	Reply             *replyMessage `json:"reply"`
}

type replyMessage struct {
	Status     int         `json:"status"`
	Header     http.Header `json:"header"`
	Body       string      `json:"body"`
	BodyBase64 string      `json:"body_base64"`
}

// controlError is an error with an HTTP status of its own; others are 400.
type controlError struct {
	status int
	text   string
}

func (e *controlError) Error() string { return e.text }

// controlRoutes is the control API. README.md lists it.
func (s *Server) controlRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /-/healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /-/ledger", s.controlLedger)
	mux.HandleFunc("GET /-/stats", s.controlStats)
	mux.HandleFunc("POST /-/script", posted(func(message *struct {
		ClientID string        `json:"client_id"`
		Steps    []stepMessage `json:"steps"`
	},
	) (any, error) {
		return nil, s.controlScript(message.ClientID, message.Steps)
	}))
	mux.HandleFunc("DELETE /-/script", func(w http.ResponseWriter, r *http.Request) {
		s.ClearScript(r.URL.Query().Get("client_id"))
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /-/release", posted(func(message *struct {
		Hold string `json:"hold"`
	},
	) (any, error) {
		return nil, s.release(message.Hold)
	}))
	mux.HandleFunc("POST /-/revoke", posted(func(message *Revocation) (any, error) {
		revoked, err := s.Revoke(*message)
		return map[string]int{"revoked": revoked}, err
	}))
	mux.HandleFunc("POST /-/outage", posted(func(message *struct {
		Outage Outage `json:"outage"`
	},
	) (any, error) {
		return nil, s.SetOutage(message.Outage)
	}))
	mux.HandleFunc("POST /-/grant", posted(func(message *struct {
		ClientID string   `json:"client_id"`
		User     string   `json:"user"`
		Scopes   []string `json:"scopes"`
	},
	) (any, error) {
		return s.Grant(message.ClientID, message.User, message.Scopes...)
	}))
	mux.HandleFunc("POST /-/client-secret", posted(func(message *struct {
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret"`
	},
	) (any, error) {
		return nil, s.SetClientSecret(message.ClientID, message.ClientSecret)
	}))
	return mux
}

// posted reads a JSON message, strictly, and writes what do returns: nothing, or JSON, or an error. Wanting the JSON
// content type keeps the forms of a web page out.
func posted[M any](do func(*M) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || mediaType != "application/json" {
			http.Error(w, "the content type must be application/json", http.StatusUnsupportedMediaType)
			return
		}
		var message M
		if err := decodeStrictly(http.MaxBytesReader(w, r.Body, controlLimit), &message); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		result, err := do(&message)
		if err != nil {
			status := http.StatusBadRequest
			if special := (*controlError)(nil); errors.As(err, &special) {
				status = special.status
			}
			http.Error(w, err.Error(), status)
			return
		}
		if result == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		respond(w, result)
	}
}

// respond writes JSON. A client that has gone learns nothing, and that is its own affair.
func respond(w http.ResponseWriter, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n'))
}

func (s *Server) controlScript(clientID string, messages []stepMessage) error {
	steps := make([]Step, 0, len(messages))
	for _, each := range messages {
		step := Step{
			Action:            each.Action,
			Times:             each.Times,
			Grant:             each.Grant,
			Unprocessed:       each.Unprocessed,
			DelayBeforeCommit: time.Duration(each.DelayBeforeCommit),
			HoldBeforeCommit:  s.hold(each.HoldBeforeCommit),
			DelayAfterCommit:  time.Duration(each.DelayAfterCommit),
			HoldAfterCommit:   s.hold(each.HoldAfterCommit),
			CutAt:             each.CutAt,
		}
		if each.Reply != nil {
			body := []byte(each.Reply.Body)
			if each.Reply.BodyBase64 != "" {
				var err error
				if body, err = base64.StdEncoding.DecodeString(each.Reply.BodyBase64); err != nil {
					return err
				}
			}
			step.Reply = &Reply{Status: each.Reply.Status, Header: each.Reply.Header, Body: body}
		}
		steps = append(steps, step)
	}
	return s.Script(clientID, steps...)
}

// controlLedger sends the ledger's lines behind the number in the query's after.
func (s *Server) controlLedger(w http.ResponseWriter, r *http.Request) {
	after := uint64(0)
	if text := r.URL.Query().Get("after"); text != "" {
		var err error
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			http.Error(w, "after must be a number", http.StatusBadRequest)
			return
		}
	}
	reader, err := s.ledger.reader()
	var entries []Entry
	if err == nil && after > 0 {
		entries, _, err = decodeLedger(reader)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/jsonl")
	if after == 0 {
		_, _ = io.Copy(w, reader)
		return
	}
	encoder := json.NewEncoder(w)
	for _, each := range entries[min(after, uint64(len(entries))):] {
		if err := encoder.Encode(each); err != nil {
			return
		}
	}
}

func (s *Server) controlStats(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	stats := struct {
		TokenRequests int            `json:"token_requests"`
		ByClient      map[string]int `json:"by_client"`
		Tokens        int            `json:"tokens"`
		Outage        Outage         `json:"outage"`
	}{int(s.requests), maps.Clone(s.byClient), len(s.tokens.tokens), s.outage} // #nosec G115 -- a count of requests in one test
	s.mu.Unlock()
	respond(w, stats)
}
