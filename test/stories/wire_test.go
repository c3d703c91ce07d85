package stories_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

var errLost = errors.New("the connection to the API server broke off")

// k8sObject is any object, as the recorder of events wants it.
type k8sObject = k8sruntime.Object

// wire is what stands between a replica and the API server. Before and after each write the replica stands still; what it
// reads, it reads from the API server, unless its cache is told to be behind.
type wire struct {
	client.Client
	replica *replica
	cached  bool
}

// alive ends the goroutine of a replica that was killed.
func (c *wire) alive() {
	select {
	case <-c.replica.dead:
		runtime.Goexit()
	default:
	}
}

func (c *wire) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	c.alive()
	account, is := object.(*v1alpha1.ConnectedAccount)
	if is && c.cached && c.replica.stale != nil {
		c.replica.stale.DeepCopyInto(account)
		return nil
	}
	if err := c.replica.world.outage(); err != nil && !c.cached {
		return err
	}
	get := func() error { return c.Client.Get(ctx, key, object, options...) }
	if owner, is := object.(*v1alpha1.OAuthClient); is && c.cached {
		return seen(c.replica.world, key, owner, get)
	}
	if err := get(); err != nil {
		return err
	}
	if is {
		c.replica.world.remember(account)
	}
	return nil
}

func (c *wire) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	c.alive()
	return c.Client.List(ctx, list, options...)
}

func (c *wire) Create(ctx context.Context, object client.Object, options ...client.CreateOption) error {
	made := (&client.CreateOptions{}).ApplyOptions(options)
	return c.write(object, len(made.DryRun) > 0, func(object client.Object) error { return c.Client.Create(ctx, object, options...) })
}

func (c *wire) Update(ctx context.Context, object client.Object, options ...client.UpdateOption) error {
	made := (&client.UpdateOptions{}).ApplyOptions(options)
	return c.write(object, len(made.DryRun) > 0, func(object client.Object) error { return c.Client.Update(ctx, object, options...) })
}

func (c *wire) Delete(ctx context.Context, object client.Object, options ...client.DeleteOption) error {
	made := (&client.DeleteOptions{}).ApplyOptions(options)
	return c.write(object, len(made.DryRun) > 0, func(object client.Object) error { return c.Client.Delete(ctx, object, options...) })
}

func (c *wire) Status() client.SubResourceWriter { return statusWire{c.Client.Status(), c} }

// statusWire writes the status of accounts.
type statusWire struct {
	client.SubResourceWriter
	wire *wire
}

func (s statusWire) Update(ctx context.Context, object client.Object, options ...client.SubResourceUpdateOption) error {
	made := (&client.SubResourceUpdateOptions{}).ApplyOptions(options)
	return s.wire.write(object, len(made.DryRun) > 0, func(object client.Object) error {
		return s.SubResourceWriter.Update(ctx, object, options...)
	})
}

// write makes one write, between two points.
func (c *wire) write(object client.Object, dryRun bool, do func(client.Object) error) error {
	c.alive()
	w := c.replica.world
	if dryRun {
		if err := w.outage(); err != nil {
			return err
		}
		return do(object)
	}
	made := w.describe(object)
	unseen, _ := object.DeepCopyObject().(client.Object)
	c.replica.pending = late{c.replica, made, unseen, do}
	v := c.replica.park(point{phase: before, effect: made})
	if v.delay != nil {
		w.late = append(w.late, c.replica.pending)
		v.refuse = v.delay
	}
	if v.refuse == nil {
		v.refuse = w.outage()
	}
	if v.refuse != nil {
		c.replica.park(point{phase: after, effect: made, err: v.refuse})
		return v.refuse
	}
	if v.lose != nil {
		err := w.watched(c.replica, unseen, do)
		w.changed()
		if err == nil {
			made.text += " (the reply is lost)"
		}
		c.replica.park(point{phase: after, effect: made, err: err})
		return v.lose
	}
	err := w.watched(c.replica, object, do)
	w.changed()
	c.replica.park(point{phase: after, effect: made, err: err})
	return err
}

// late is a write that was sent, and that the API server has not got yet.
type late struct {
	by     *replica
	made   effect
	object client.Object
	do     func(client.Object) error
}

// arrives carries the write out, whatever has become of who made it.
func (l late) arrives() {
	w := l.by.world
	w.t.Helper()
	err := w.watched(l.by, l.object, l.do)
	w.changed()
	text := l.by.name + "'s write arrives late: " + l.made.text
	if err != nil {
		text += ": " + outcome(err)
	}
	w.sayf("%s", text)
}

// labelled reads Secrets as a cache does that holds those with a label only.
type labelled struct {
	*wire
	label string
}

func (l labelled) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	metadata, is := object.(*metav1.PartialObjectMetadata)
	if !is {
		return fmt.Errorf("a cache that holds metadata was asked for a %T", object)
	}
	get := func() error { return l.wire.Get(ctx, key, object, options...) }
	if err := seen(l.replica.world, key, metadata, get); err != nil {
		return err
	}
	value, is := object.GetLabels()[l.label]
	if !is || l.label == v1alpha1.LabelCredential && value != "true" {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, key.Name)
	}
	return nil
}

// List knows the one index that is asked for: by the account that owns a Secret, whose UID the label holds.
func (l labelled) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	wanted := (&client.ListOptions{}).ApplyOptions(options)
	owner := ""
	if wanted.FieldSelector != nil {
		owner, _ = wanted.FieldSelector.RequiresExactMatch("metadata.ownerReferences")
	}
	return l.wire.List(ctx, list, client.InNamespace(wanted.Namespace), client.MatchingLabels{l.label: owner})
}

// refusals that an API server is known for.
func conflict() error {
	return apierrors.NewConflict(schema.GroupResource{Resource: "connectedaccounts"}, "a", errors.New("somebody was faster"))
}

func denied() error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: "connectedaccounts"}, "a", errors.New("admission denied it"))
}

func broken() error { return apierrors.NewInternalError(errors.New("etcd has no leader")) }

// seen reads what a cache that is always in step shows: what was read since the last change of anything is not asked for
// again.
func seen[T interface {
	client.Object
	DeepCopyInto(into T)
}](w *world, key client.ObjectKey, object T, get func() error) error {
	name := fmt.Sprintf("%T %s", object, key)
	w.mu.Lock()
	known, is := w.cache[name].(T)
	w.mu.Unlock()
	if is {
		known.DeepCopyInto(object)
		return nil
	}
	if err := get(); err != nil {
		return err
	}
	kept, is := object.DeepCopyObject().(T)
	if is {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.cache[name] = kept
	}
	return nil
}

// changed empties the caches.
func (w *world) changed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cache = map[string]client.Object{}
}

// isSourceMark: the Secret is one that a person made, which the operator only annotates.
func isSourceMark(secret *corev1.Secret) bool {
	return metav1.GetControllerOf(secret) == nil
}
