package main

import (
	"encoding/json"
	"os"
	"sync"
	"time"
)

// The kinds of entries.
const (
	kindConsented = "consented" // a person said yes, and a code was issued
	kindDenied    = "denied"
	kindIssued    = "issued"  // a grant began: its code was exchanged
	kindRotated   = "rotated" // a refresh token was spent, and another one issued
	kindReused    = "reused"  // a refresh token or a code was used a second time, and its family revoked
	kindRefused   = "refused" // any other token request that was refused
	kindRevoked   = "revoked" // at the revocation endpoint
)

// entry is a line of the ledger. No token or code is ever in it.
type entry struct {
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"`
	ClientID string    `json:"client_id,omitempty"`
	User     string    `json:"user,omitempty"`
	// Family is the same for all tokens that descend from one consent.
	Family string `json:"family,omitempty"`
	Grant  string `json:"grant,omitempty"`
	Error  string `json:"error,omitempty"`
	// Hint is what the library says beyond the error's code.
	Hint string `json:"hint,omitempty"`
}

// ledger appends what happens to a file, one JSON object on each line, before it is answered.
type ledger struct {
	mu   sync.Mutex
	file *os.File
}

func openLedger(path string) (*ledger, error) {
	if path == "" {
		path = os.DevNull
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &ledger{file: file}, nil
}

// write ends the process where it fails: a test that counts an incomplete ledger would find nothing wrong.
func (l *ledger) write(of entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of.Time = time.Now().UTC()
	line, err := json.Marshal(of)
	if err == nil {
		_, err = l.file.Write(append(line, '\n'))
	}
	if err != nil {
		panic(err)
	}
}
