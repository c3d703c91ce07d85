// Package records is the form of what a run of the fault tests leaves behind: one folder, files of JSON lines. The runner
// writes it and the verdict reads it; neither knows the other.
//
// No token is ever in there, only fingerprints (provider.Fingerprint).
package records

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The files of a run, in its folder. Ledger and audit log are those of test/provider and test/cluster.
const (
	AccountsFile = "accounts.jsonl"
	FaultsFile   = "faults.jsonl"
	ProxyFile    = "proxy.jsonl"
	FinalFile    = "final.jsonl"
	PeopleFile   = "people.jsonl"
	LedgerFile   = "ledger.jsonl"
	AuditFile    = "audit.jsonl"
)

// Account is an account of the run, when it was created.
type Account struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
	// Provider is the name of the kind of provider.
	Provider string `json:"provider"`
	// Revokes: a second use ends the grant. Reusable: there is no second use. GraceSeconds: it is forgiven for so long.
	Revokes      bool    `json:"revokes,omitempty"`
	Reusable     bool    `json:"reusable,omitempty"`
	GraceSeconds float64 `json:"graceSeconds,omitempty"`
	// Imported is the fingerprint of the refresh token that it began with; "": it begins with nothing, and a person consents.
	Imported string    `json:"imported,omitempty"`
	Time     time.Time `json:"time"`
}

// FaultKind says what happened.
type FaultKind string

const (
	// PhaseBegins opens a phase, named in Fault.Phase; what Fault.Loss says holds for its accounts.
	PhaseBegins FaultKind = "phase"
	// ProcessStarts is a process of the operator.
	ProcessStarts FaultKind = "start"
	// ProcessKilled is a SIGKILL.
	ProcessKilled FaultKind = "kill"
	// ProcessStopped is a SIGSTOP.
	ProcessStopped FaultKind = "stop"
	// ProcessContinued is a SIGCONT.
	ProcessContinued FaultKind = "continue"
	// ProcessTerminated is a SIGTERM.
	ProcessTerminated FaultKind = "terminate"
	// ProcessEnded is the end of a process that was not killed.
	ProcessEnded FaultKind = "end"
	// WritesRefused begins an outage of the API server.
	WritesRefused FaultKind = "writes-refused"
	// WritesTaken ends it.
	WritesTaken FaultKind = "writes-taken"
	// LeaseRefused begins an outage of the lease alone.
	LeaseRefused FaultKind = "lease-refused"
	// LeaseTaken ends it.
	LeaseTaken FaultKind = "lease-taken"
	// ClientsMoved says that the clients name another host.
	ClientsMoved FaultKind = "clients-moved"
	// Calm says that from here on an account meets no fault until the next phase.
	Calm FaultKind = "calm"
)

// Loss says in which column a loss of a phase is counted.
type Loss string

const (
	// LossByKill is a loss that the time of a kill excuses or does not.
	LossByKill Loss = "kill"
	// LossBySIGTERM is one that nothing excuses.
	LossBySIGTERM Loss = "sigterm"
	// LossByOutage is another.
	LossByOutage Loss = "outage"
	// LossByReply is one where the reply itself was lost.
	LossByReply Loss = "reply"
)

// Fault is one line of the log of faults.
type Fault struct {
	// Time is before the signal was sent; Until when the process was gone.
	Time  time.Time `json:"time"`
	Until time.Time `json:"until,omitzero"`
	Kind  FaultKind `json:"kind"`
	Phase string    `json:"phase,omitempty"`
	Loss  Loss      `json:"loss,omitempty"`
	// Replica is the name of the proxy that the process speaks through to the API server.
	Replica string `json:"replica,omitempty"`
	Process string `json:"process,omitempty"`
	Account string `json:"account,omitempty"`
	// JournalGone: the next process of the replica has another journal. Journal lists the files in the old one.
	JournalGone bool     `json:"journalGone,omitempty"`
	Journal     []string `json:"journal,omitempty"`
}

// Final is an account at the end of the run.
type Final struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
	// Authorized is the status of the condition, Reason its reason.
	Authorized string `json:"authorized,omitempty"`
	Reason     string `json:"reason,omitempty"`
	Rotations  int64  `json:"rotations,omitempty"`
	Claim      string `json:"claim,omitempty"`
	// Linked: there is a link for a person. CodeOpen: a code waits, or is being exchanged.
	Linked   bool `json:"linked,omitempty"`
	CodeOpen bool `json:"codeOpen,omitempty"`
	// AlwaysLinked: the account wants a link at all times.
	AlwaysLinked bool `json:"alwaysLinked,omitempty"`
	// AccessFingerprint is that of the token in the Secret.
	AccessFingerprint string `json:"accessFingerprint,omitempty"`
	Rotation          string `json:"rotation,omitempty"`
}

// Visit is how far a person came who followed the link of an account. The page's address is not in here: it may hold a code.
type Visit struct {
	Time    time.Time `json:"time"`
	Account string    `json:"account"`
	// Flow is the hash of the attempt's state, where the person came to a result.
	Flow string `json:"flow,omitempty"`
	// Status and Heading are of the last page.
	Status  int    `json:"status,omitempty"`
	Heading string `json:"heading,omitempty"`
}

// Writer appends lines to a file. It is safe for concurrent use.
type Writer struct {
	mu   sync.Mutex
	file *os.File
	err  error
}

// Create starts a file of the folder.
func Create(folder, name string) (*Writer, error) {
	file, err := os.OpenFile(filepath.Join(folder, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write records: %w", err)
	}
	return &Writer{file: file}, nil
}

// Write appends a line. An error is kept for Close.
func (w *Writer) Write(line any) {
	text, err := json.Marshal(line)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		_, err = w.file.Write(append(text, '\n'))
	}
	w.err = errors.Join(w.err, err)
}

// Close closes the file and returns what went wrong since Create.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.err, w.file.Close())
}

// Read reads a file of the folder. One that is not there has no lines.
func Read[T any](folder, name string) ([]T, error) {
	content, err := os.ReadFile(filepath.Join(folder, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	var lines []T
	scanner := bufio.NewScanner(bytes.NewReader(content))
	scanner.Buffer(nil, 1<<24)
	for scanner.Scan() {
		var line T
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", name, len(lines)+1, err)
		}
		lines = append(lines, line)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return lines, nil
}
