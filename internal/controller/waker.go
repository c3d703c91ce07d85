package controller

import (
	"context"
	"errors"
	"sync"
	"time"

	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// Whoever was called has waited already, and goes before what is only due. Many that may go on at once do not.
const (
	calledPriority = 20
	wokenPriority  = 0
)

// waker starts laps for what no watch tells of. Without a queue, as in a replica without the lease, it does nothing: all
// accounts are looked at when that comes. The zero value is ready for use.
type waker struct {
	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
}

// source gives the waker the queue of the controller that it is added to. No lap begins before what it waits for.
func (w *waker) source(synced toolscache.InformerSynced) source.Source {
	return source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		if !toolscache.WaitForCacheSync(ctx.Done(), synced) {
			return errors.New("the watch of accounts did not begin in time")
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.queue = queue
		return nil
	})
}

func (w *waker) wake(priority int, after time.Duration, requests ...reconcile.Request) {
	w.mu.Lock()
	queue := w.queue
	w.mu.Unlock()
	if queue == nil || len(requests) == 0 {
		return
	}
	if prioritized, is := queue.(priorityqueue.PriorityQueue[reconcile.Request]); is {
		prioritized.AddWithOpts(priorityqueue.AddOpts{After: after, Priority: ptr.To(priority)}, requests...)
		return
	}
	for _, request := range requests {
		queue.AddAfter(request, after)
	}
}
