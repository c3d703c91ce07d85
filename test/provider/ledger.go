package provider

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const (
	// flushDelay bounds how long an API call stays out of the file.
	flushDelay = 50 * time.Millisecond
	// pendingLimit bounds the memory that waits for the file.
	pendingLimit = 64 << 10
)

// ledger appends entries to a file. An error is final: after it nothing can be granted, because a grant that the
// ledger does not know would make every test that reads it lie.
type ledger struct {
	now func() time.Time

	mu        sync.Mutex
	file      *os.File
	nameless  bool
	seq       uint64
	pending   []byte
	scheduled bool
	failed    error
}

// openLedger continues the file's numbering. A cut last line, left by a killed process, is removed first, or the next
// entry would be glued to it.
func openLedger(path string, now func() time.Time) (*ledger, error) {
	l := &ledger{now: now, nameless: path == ""}
	var err error
	if l.nameless {
		if l.file, err = os.CreateTemp("", "ledger-*.jsonl"); err == nil {
			err = os.Remove(l.file.Name())
		}
	} else {
		l.file, err = os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600) // #nosec G304 -- the path is the caller's wish
	}
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	if err := l.resume(); err != nil {
		_ = l.file.Close()
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	return l, nil
}

func (l *ledger) resume() error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() { // a device or a pipe cannot be read back
		return errors.New("it is not a regular file")
	}
	entries, whole, err := decodeLedger(l.file)
	if err != nil {
		return err
	}
	l.seq = uint64(len(entries))
	if err := l.file.Truncate(whole); err != nil {
		return err
	}
	_, err = l.file.Seek(whole, io.SeekStart)
	return err
}

// append numbers the entries and writes them in one go: at once, so that they stand in the file before anybody
// acts on them, or within flushDelay.
func (l *ledger) append(atOnce bool, entries ...Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	for _, entry := range entries {
		l.seq++
		entry.Seq, entry.Time = l.seq, l.now().UTC()
		line, err := json.Marshal(entry)
		if err != nil {
			l.failed = fmt.Errorf("write the ledger: %w", err)
			return l.failed
		}
		l.pending = append(append(l.pending, line...), '\n')
	}
	if atOnce || len(l.pending) > pendingLimit {
		return l.flushLocked()
	}
	if !l.scheduled {
		l.scheduled = true
		time.AfterFunc(flushDelay, func() { _ = l.flush() })
	}
	return nil
}

func (l *ledger) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.scheduled = false
	return l.flushLocked()
}

func (l *ledger) flushLocked() error {
	if l.failed != nil || len(l.pending) == 0 {
		return l.failed
	}
	if _, err := l.file.Write(l.pending); err != nil {
		l.failed = fmt.Errorf("write the ledger: %w", err)
	}
	l.pending = l.pending[:0]
	return l.failed
}

// reader gives the lines written so far.
func (l *ledger) reader() (io.Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.flushLocked(); err != nil && !errors.Is(err, os.ErrClosed) {
		return nil, err
	}
	if l.file == nil {
		return nil, os.ErrClosed
	}
	info, err := l.file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	return io.NewSectionReader(l.file, 0, info.Size()), nil
}

// close writes what is pending and syncs. Afterwards appending fails. A nameless file stays readable until the ledger
// is collected, since nobody could open it again.
func (l *ledger) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.flushLocked()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	if !l.nameless {
		err = errors.Join(err, l.file.Sync(), l.file.Close())
		l.file = nil
	}
	l.failed = fmt.Errorf("write the ledger: %w", os.ErrClosed)
	return err
}

// ReadLedger reads a ledger file. A last line without its line feed is left out: the server was killed while it wrote
// it, before it replied. Anything else that is not as the server writes it, a gap in the numbering
// too, is an error.
func ReadLedger(path string) ([]Entry, error) {
	file, err := os.Open(path) // #nosec G304 -- the path is the caller's wish
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	defer func() { _ = file.Close() }()
	entries, _, err := decodeLedger(file)
	return entries, err
}

// decodeLedger also returns the number of bytes that whole lines take.
func decodeLedger(source io.Reader) ([]Entry, int64, error) {
	var (
		entries []Entry
		whole   int64
		reader  = bufio.NewReader(source)
	)
	for {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return entries, whole, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read the ledger: %w", err)
		}
		var entry Entry
		if err := json.Unmarshal(bytes.TrimSuffix(line, []byte("\n")), &entry); err != nil {
			return nil, 0, fmt.Errorf("read line %d of the ledger: %w", len(entries)+1, err)
		}
		if entry.Seq != uint64(len(entries))+1 {
			return nil, 0, fmt.Errorf("line %d of the ledger has the number %d", len(entries)+1, entry.Seq)
		}
		entries = append(entries, entry)
		whole += int64(len(line))
	}
}
