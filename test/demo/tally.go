package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

// accountTally is what the provider's ledger says of one workload so far.
type accountTally struct {
	calls   int
	refused int
	// tokens are the fingerprints of the tokens that were accepted, in the order of their first use.
	tokens []string
	// imported: the account takes over a consent. spent is how many of its refresh tokens were used.
	imported bool
	spent    int
}

// renewals is how often the workload has got another token.
func (t accountTally) renewals() int { return max(len(t.tokens)-1, 0) }

// tally follows a ledger that still grows. It is for the screen, and to know what to wait for; the verdict reads the
// ledger by itself.
type tally struct {
	path string

	mu       sync.Mutex
	offset   int64
	accounts map[string]accountTally
}

func newTally(path string) *tally { return &tally{path: path, accounts: map[string]accountTally{}} }

// read takes up what was written meanwhile, and returns the tallies by the workload's name.
func (t *tally) read() (map[string]accountTally, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	file, err := os.Open(t.path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	if _, err := file.Seek(t.offset, io.SeekStart); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(file)
	for {
		line, err := reader.ReadBytes('\n')
		if err != nil { // the end, perhaps within a line: the rest is read the next time
			return maps.Clone(t.accounts), nil
		}
		t.offset += int64(len(line))
		var entry provider.Entry
		if err := json.Unmarshal(bytes.TrimSpace(line), &entry); err != nil {
			return nil, err
		}
		t.count(entry)
	}
}

func (t *tally) count(entry provider.Entry) {
	name := entry.Workload
	if entry.Kind != provider.KindAPI {
		name = entry.User // as the stage names the users
	}
	of := t.accounts[name]
	switch {
	case name == "" || entry.Expect != "":
		return
	case entry.Kind == provider.KindSpent:
		of.spent++
	case entry.Kind == provider.KindIssued && entry.Request == 0:
		of.imported = true
	case entry.Kind != provider.KindAPI:
		return
	case entry.Outcome != provider.Granted:
		of.calls++
		of.refused++
	default:
		of.calls++
		if !slices.Contains(of.tokens, entry.AccessFingerprint) {
			of.tokens = append(slices.Clone(of.tokens), entry.AccessFingerprint)
		}
	}
	t.accounts[name] = of
}
