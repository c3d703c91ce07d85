package consent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// keysEvery is how often the keys are read again. A mounted Secret follows within a minute or so anyhow, and a key is
// distributed long before it is used.
const keysEvery = 10 * time.Second

// keysSoon is how often, while there are none: in a new installation people wait for the operator to make them.
const keysSoon = time.Second

// KeySource reads the data of the Secret with the keys.
type KeySource func(ctx context.Context) (map[string][]byte, error)

// KeyStore holds the newest keys that could be read.
type KeyStore struct {
	source  KeySource
	clock   clock.WithTicker
	log     *slog.Logger
	current atomic.Pointer[seal.ConsentKeys]
	// read is what the keys were last made of, for Run alone.
	read map[string][]byte

	mu sync.Mutex
	// readTime is when they could last be read, takenTime since when they are these.
	readTime, takenTime time.Time
}

// NewKeyStore makes a store that is empty until Run has read something.
func NewKeyStore(source KeySource, ticking clock.WithTicker, log *slog.Logger) *KeyStore {
	return &KeyStore{source: source, clock: ticking, log: log}
}

// Current returns the keys; nil while there are none.
func (s *KeyStore) Current() *seal.ConsentKeys { return s.current.Load() }

// Run reads the keys again and again until the context ends. What cannot be read leaves the keys as they are: those that
// worked a moment ago are better than none.
func (s *KeyStore) Run(ctx context.Context) error {
	for {
		if err := s.refresh(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("consent: read the keys", "error", err)
		}
		pause := keysEvery
		if s.Current() == nil {
			pause = keysSoon
		}
		timer := s.clock.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C():
		}
	}
}

func (s *KeyStore) refresh(ctx context.Context) error {
	data, err := s.source(ctx)
	if err != nil {
		return err
	}
	if s.read != nil && maps.EqualFunc(s.read, data, bytes.Equal) {
		s.note(false)
		return nil
	}
	keys, err := seal.ParseConsentKeys(data)
	if err != nil {
		return err
	}
	s.current.Store(keys)
	s.read = data
	s.note(true)
	s.log.Info("consent: the keys were read")
	return nil
}

// note notes that the keys could be read, and whether they are others than before.
func (s *KeyStore) note(others bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readTime = s.clock.Now()
	if others {
		s.takenTime = s.readTime
	}
}

// times are when the keys could last be read, and since when they are these; zero: never.
func (s *KeyStore) times() (read, taken time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.readTime, s.takenTime
}

// maxKeyFile bounds a file with keys, in bytes.
const maxKeyFile = 64 << 10

// KeysInFolder reads the keys of a mounted Secret: one file for each entry. The kubelet replaces all of them at once.
func KeysInFolder(folder string) KeySource {
	return func(context.Context) (map[string][]byte, error) {
		data := map[string][]byte{}
		for _, name := range []string{seal.ConsentKeyset, seal.HandOverPublicKeyset} {
			content, err := readFile(filepath.Join(folder, name))
			if err != nil {
				return nil, fmt.Errorf("--consent-keys: %w", err)
			}
			data[name] = content
		}
		return data, nil
	}
}

func readFile(name string) (content []byte, err error) {
	file, err := os.Open(name) //nolint:gosec // a folder that a flag names
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	content, err = io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if len(content) > maxKeyFile {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, maxKeyFile)
	}
	return content, err
}
