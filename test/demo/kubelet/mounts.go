package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/oauth-operator/oauth-operator/test/volume"
)

// mounts are the folders. What is to be written to one is decided when its delay is over, as a kubelet does which looks
// at the Secret when it is the Pod's turn.
type mounts struct {
	end     <-chan struct{}
	folders map[string]string
	delay   func() time.Duration
	log     io.Writer

	mu      sync.Mutex
	latest  map[string]map[string][]byte // by Secret
	version map[string]string            // resourceVersion of latest, for the log
	pending map[string]bool
	writers sync.WaitGroup
	errs    []error
}

func newMounts(end <-chan struct{}, set settings, log io.Writer) *mounts {
	random := rand.New(rand.NewPCG(set.seed, 0)) //nolint:gosec // a delay is no secret
	return &mounts{
		end: end, folders: set.mounts, log: log,
		delay:  func() time.Duration { return time.Duration(random.Int64N(int64(set.maxDelay) + 1)) },
		latest: map[string]map[string][]byte{}, version: map[string]string{}, pending: map[string]bool{},
	}
}

// changed notes what a Secret holds, and has it written later on.
func (m *mounts) changed(secret *corev1.Secret) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := secret.Name
	if m.folders[name] == "" {
		return
	}
	m.latest[name], m.version[name] = maps.Clone(secret.Data), secret.ResourceVersion
	if m.pending[name] {
		return
	}
	m.pending[name] = true
	delay := m.delay()
	fmt.Fprintf(m.log, "%s %s changed, is written in %s\n", time.Now().UTC().Format(time.RFC3339Nano), name, delay.Round(time.Millisecond)) //nolint:errcheck // a log
	m.writers.Go(func() { m.writeLater(name, delay) })
}

func (m *mounts) writeLater(name string, delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-m.end:
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending[name] = false
	if err := volume.Write(m.folders[name], m.latest[name]); err != nil {
		m.errs = append(m.errs, fmt.Errorf("write the files of the Secret %s: %w", name, err))
		return
	}
	fmt.Fprintf(m.log, "%s %s written, version %s\n", time.Now().UTC().Format(time.RFC3339Nano), name, m.version[name]) //nolint:errcheck // a log
}

// wait waits until nothing is being written, and returns what went wrong.
func (m *mounts) wait() error {
	m.writers.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(m.errs...)
}
