package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var errNotRead = errors.New("whoever was to read it has not")

// together lets those who want the same Secret at the same time share a live read of it. Nobody gets what was read before it
// asked: who comes while a read is under way waits for the next one, with all others who do. Many accounts of one client are
// often due at once, and each reads the client's Secret. The zero value is ready for use.
type together struct {
	mu    sync.Mutex
	reads map[types.NamespacedName]*sharedRead
}

// sharedRead is a read, and what came of it once done is closed.
type sharedRead struct {
	done   chan struct{}
	secret *corev1.Secret
	err    error
	// next is the one after it; nil: nobody waits for that.
	next *sharedRead
}

// get reads a Secret, which the caller must not change.
func (t *together) get(ctx context.Context, live client.Reader, key types.NamespacedName) (*corev1.Secret, error) {
	before, read, mine := t.join(key)
	if !mine {
		select {
		case <-read.done:
			return read.secret, read.err
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for another read: %w", ctx.Err())
		}
	}
	if before != nil {
		<-before.done // it has a deadline
	}
	t.read(ctx, live, key, read)
	return read.secret, read.err
}

// join finds the read that the caller may share: the one to come. Where it is the caller's to make, mine says so, and before
// is the one that has to end first.
func (t *together) join(key types.NamespacedName) (before, read *sharedRead, mine bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before = t.reads[key]
	if before != nil && before.next != nil {
		return before, before.next, false
	}
	read = &sharedRead{done: make(chan struct{}), err: errNotRead}
	if before != nil {
		before.next = read
		return before, read, true
	}
	if t.reads == nil {
		t.reads = map[types.NamespacedName]*sharedRead{}
	}
	t.reads[key] = read
	return nil, read, true
}

// read reads, with a deadline of its own: others wait for what comes, though the caller's context has ended.
func (t *together) read(ctx context.Context, live client.Reader, key types.NamespacedName, read *sharedRead) {
	ctx, cancel := context.WithTimeout(detached(ctx), readyDeadline)
	defer cancel()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if read.next != nil {
			t.reads[key] = read.next
		} else {
			delete(t.reads, key)
		}
		close(read.done)
	}()
	secret := &corev1.Secret{}
	if read.err = live.Get(ctx, key, secret); read.err == nil {
		read.secret = secret
	}
}
