package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// dataLink is the symbolic link that is swapped: each file of the mount is a link through it.
const dataLink = "..data"

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
	if err := writeMount(m.folders[name], m.latest[name]); err != nil {
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

// writeMount makes a folder hold the given files, and lets whoever reads it see either all old ones or all new ones. It
// does so as a kubelet does: the files lie in a folder of their own, and one rename makes ..data point to it.
func writeMount(folder string, files map[string][]byte) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	before, err := os.Readlink(filepath.Join(folder, dataLink))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	fresh, err := os.MkdirTemp(folder, time.Now().UTC().Format("..2006_01_02_15_04_05."))
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(fresh, name), content, 0o600); err != nil {
			return err
		}
	}
	swap := filepath.Join(folder, dataLink+"_tmp")
	if err := os.Symlink(filepath.Base(fresh), swap); err != nil {
		return err
	}
	if err := os.Rename(swap, filepath.Join(folder, dataLink)); err != nil {
		return err
	}
	if err := linkFiles(folder, files); err != nil {
		return err
	}
	if before != "" {
		return os.RemoveAll(filepath.Join(folder, before))
	}
	return nil
}

// linkFiles makes one link for each file, and removes those of files that are gone.
func linkFiles(folder string, files map[string][]byte) error {
	for name := range files {
		err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(folder, name))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if _, wanted := files[entry.Name()]; wanted || strings.HasPrefix(entry.Name(), "..") {
			continue
		}
		if err := os.Remove(filepath.Join(folder, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
