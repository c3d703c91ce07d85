package controller

import (
	"context"
	"errors"
	"sync"
	"time"

	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
)

// laps is where laps are asked for.
type laps = workqueue.TypedRateLimitingInterface[reconcile.Request]

// wanted is a lap that is to be made, and how urgent it is. See lifecycle.Urgency.
type wanted struct {
	reconcile.Request
	urgency int
}

// enqueue asks for laps. One that is asked for already keeps the higher urgency and the earlier time.
func enqueue(queue laps, after time.Duration, all ...wanted) {
	prioritized, is := queue.(priorityqueue.PriorityQueue[reconcile.Request])
	for _, each := range all {
		if is {
			prioritized.AddWithOpts(priorityqueue.AddOpts{After: after, Priority: &each.urgency}, each.Request)
		} else {
			queue.AddAfter(each.Request, after)
		}
	}
}

// lapsOf asks for laps of the accounts that an object is about. It need not for what is there when the watch begins, since
// all accounts are looked at then, and not before all watches have shown what there is.
func lapsOf[object client.Object](find func(context.Context, object) []wanted) handler.TypedEventHandler[object, reconcile.Request] {
	return handler.TypedFuncs[object, reconcile.Request]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[object], queue laps) {
			if !e.IsInInitialList {
				enqueue(queue, 0, find(ctx, e.Object)...)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[object], queue laps) {
			enqueue(queue, 0, find(ctx, e.ObjectOld)...)
			enqueue(queue, 0, find(ctx, e.ObjectNew)...)
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[object], queue laps) {
			enqueue(queue, 0, find(ctx, e.Object)...)
		},
	}
}

// ownLaps asks for laps of accounts that have changed. When the watch begins, each is as urgent as it looks: those that have
// a token do not keep those that have none waiting.
func (r *AccountReconciler) ownLaps() handler.EventHandler {
	urgency := func(object client.Object, least int) int {
		if account, is := object.(*v1alpha1.ConnectedAccount); is {
			return max(least, lifecycle.Urgency(account, r.Clock.Now()))
		}
		return least
	}
	ask := func(queue laps, object client.Object, urgency int) {
		enqueue(queue, 0, wanted{reconcile.Request{NamespacedName: client.ObjectKeyFromObject(object)}, urgency})
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, queue laps) {
			least := lifecycle.UrgencyChanged
			if e.IsInInitialList {
				least = lifecycle.UrgencyIdle
			}
			ask(queue, e.Object, urgency(e.Object, least))
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, queue laps) {
			least := lifecycle.UrgencyChanged
			if e.ObjectOld.GetResourceVersion() == e.ObjectNew.GetResourceVersion() {
				least = lifecycle.UrgencyIdle // the cache shows again what it has shown
			}
			ask(queue, e.ObjectNew, urgency(e.ObjectNew, least))
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, queue laps) {
			ask(queue, e.Object, lifecycle.UrgencyChanged)
		},
	}
}

// waker starts laps for what no watch tells of. Without a queue, as in a replica without the lease, it does nothing: all
// accounts are looked at when that comes. The zero value is ready for use.
type waker struct {
	mu    sync.Mutex
	queue laps
}

// source gives the waker the queue of the controller that it is added to. No lap begins before what it waits for.
func (w *waker) source(synced toolscache.InformerSynced) source.Source {
	return source.Func(func(ctx context.Context, queue laps) error {
		if !toolscache.WaitForCacheSync(ctx.Done(), synced) {
			return errors.New("the watch of accounts did not begin in time")
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.queue = queue
		return nil
	})
}

func (w *waker) wake(after time.Duration, all ...wanted) {
	w.mu.Lock()
	queue := w.queue
	w.mu.Unlock()
	if queue != nil {
		enqueue(queue, after, all...)
	}
}
