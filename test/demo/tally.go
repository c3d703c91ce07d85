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
	// rotates: the account has refresh tokens. spent is how many of them were used.
	rotates bool
	spent   int
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
	consents map[string]consentTally // by lineage
}

// consentTally is what the ledger says of the tokens of one consent. Whose it is shows in who uses them: what people call
// themselves at the provider is theirs to say.
type consentTally struct {
	workload string
	rotates  bool
	spent    int
}

func newTally(path string) *tally {
	return &tally{path: path, accounts: map[string]accountTally{}, consents: map[string]consentTally{}}
}

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
			return t.all(), nil
		}
		t.offset += int64(len(line))
		var entry provider.Entry
		if err := json.Unmarshal(bytes.TrimSpace(line), &entry); err != nil {
			return nil, err
		}
		t.count(entry)
	}
}

// all are the accounts, each with its consent.
func (t *tally) all() map[string]accountTally {
	all := maps.Clone(t.accounts)
	for _, consent := range t.consents {
		if of, known := all[consent.workload]; known {
			of.rotates, of.spent = consent.rotates, consent.spent
			all[consent.workload] = of
		}
	}
	return all
}

func (t *tally) count(entry provider.Entry) {
	if entry.Lineage != "" {
		t.countConsent(entry)
	}
	if entry.Kind != provider.KindAPI || entry.Workload == "" || entry.Expect != "" {
		return
	}
	of := t.accounts[entry.Workload]
	of.calls++
	switch {
	case entry.Outcome != provider.Granted:
		of.refused++
	case !slices.Contains(of.tokens, entry.AccessFingerprint):
		of.tokens = append(slices.Clone(of.tokens), entry.AccessFingerprint)
	default:
	}
	t.accounts[entry.Workload] = of
}

func (t *tally) countConsent(entry provider.Entry) {
	consent := t.consents[entry.Lineage]
	switch {
	case entry.Kind == provider.KindSpent:
		consent.spent++
	case entry.Kind == provider.KindIssued:
		consent.rotates = consent.rotates || entry.RefreshFingerprint != ""
	case entry.Kind == provider.KindAPI && entry.Expect == "" && entry.Outcome == provider.Granted:
		consent.workload = entry.Workload
	default:
	}
	t.consents[entry.Lineage] = consent
}
