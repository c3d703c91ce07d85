package consent_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/oauth-operator/oauth-operator/internal/consent"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

func TestTheKeysFollowTheirFolder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	old := newTestKeys(t)
	both := old.rotated(t)
	write := func(data map[string][]byte) {
		for name, text := range data {
			if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	ticking := clocktesting.NewFakeClock(epoch())
	var log safeBuffer
	store := consent.NewKeyStore(consent.KeysInFolder(folder), ticking, slog.New(slog.NewTextHandler(&log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- store.Run(ctx) }()
	// step lets the time of one more reading pass, once the store waits for it.
	step := func() {
		waitFor(t, ticking.HasWaiters)
		ticking.Step(10 * time.Second)
	}

	waitFor(t, func() bool { return strings.Contains(log.String(), "no such file") })
	if store.Current() != nil {
		t.Error("there are keys out of nothing")
	}
	write(old.data)
	step()
	waitFor(t, func() bool { return store.Current() != nil })
	before := store.Current()
	later, err := both.consent.SealTicket(seal.Ticket{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.OpenTicket(later); err == nil {
		t.Fatal("the old keys open what the new key has sealed")
	}
	// What cannot be read leaves the keys as they are.
	write(map[string][]byte{seal.ConsentKeyset: []byte("{}")})
	step()
	waitFor(t, func() bool { return strings.Contains(log.String(), seal.ConsentKeyset+" is not") })
	write(map[string][]byte{seal.ConsentKeyset: bytes.Repeat([]byte(" "), 100<<10)})
	step()
	waitFor(t, func() bool { return strings.Contains(log.String(), "longer than") })
	if store.Current() != before {
		t.Error("keys that worked were given up for some that do not")
	}
	write(both.data)
	step()
	waitFor(t, func() bool { return store.Current() != before })
	if _, err := store.Current().OpenTicket(later); err != nil {
		t.Errorf("the new keys do not open what the new key has sealed: %v", err)
	}
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for _, text := range both.data {
		if strings.Contains(log.String(), string(text)) {
			t.Error("the log has keys in it")
		}
	}
}

// safeBuffer is a buffer that a test reads while others write.
type safeBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *safeBuffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(text)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}
