package controller_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/internal/controller"
)

// countingReader numbers reads, each of which takes a second.
type countingReader struct {
	client.Reader
	begun atomic.Int64
	fail  error
}

func (r *countingReader) Get(_ context.Context, _ client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	number := r.begun.Add(1)
	time.Sleep(time.Second)
	object.SetResourceVersion(strconv.FormatInt(number, 10))
	return r.fail
}

func TestReadsAreSharedByThoseWhoAskedBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reader, shared := &countingReader{}, &controller.Together{}
		var asking sync.WaitGroup
		ask := func(name, want string) {
			asking.Go(func() {
				secret, err := shared.Get(t.Context(), reader, types.NamespacedName{Name: name})
				if err != nil || secret.ResourceVersion != want {
					t.Errorf("%s: got %v, %v, want read %s", name, secret, err, want)
				}
			})
			synctest.Wait()
		}
		ask("a", "1")
		for range 20 {
			ask("a", "3") // the first one began before they asked
		}
		ask("b", "2") // another Secret is read at once: reads are numbered as they begin
		time.Sleep(1500 * time.Millisecond)
		asking.Wait()
		if got := reader.begun.Load(); got != 3 {
			t.Errorf("%d reads, want 3", got)
		}
	})
}

func TestASharedReadThatFailsIsMadeAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reader, shared := &countingReader{fail: errors.New("gone")}, &controller.Together{}
		for want := range int64(3) {
			if _, err := shared.Get(t.Context(), reader, types.NamespacedName{Name: "a"}); !errors.Is(err, reader.fail) {
				t.Errorf("got %v", err)
			}
			if got := reader.begun.Load(); got != want+1 {
				t.Errorf("%d reads, want %d", got, want+1)
			}
		}
	})
}

func TestWhoGoesAwayKeepsNobodyFromASharedRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reader, shared := &countingReader{}, &controller.Together{}
		gone, leave := context.WithCancel(t.Context())
		key := types.NamespacedName{Name: "a"}
		read := func(ctx context.Context) <-chan error {
			ended := make(chan error, 1)
			go func() {
				_, err := shared.Get(ctx, reader, key)
				ended <- err
			}()
			synctest.Wait()
			return ended
		}
		first, second, third, fourth := read(gone), read(gone), read(gone), read(t.Context())
		leave()
		if err := <-third; !errors.Is(err, context.Canceled) {
			t.Errorf("who waits for another's read, and leaves: %v", err)
		}
		for name, ended := range map[string]<-chan error{"the first": first, "who makes the second": second, "who waits for that": fourth} {
			if err := <-ended; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := reader.begun.Load(); got != 2 {
			t.Errorf("%d reads, want 2", got)
		}
	})
}
