package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

const (
	// pauseInterval is for how long a watch that has ended, or is not allowed, is let rest.
	pauseInterval = time.Second
	// requestWait is how long one request may take, where the user says nothing else.
	requestWait = time.Minute
	userAgent   = "kubectl-oauth"
)

// resource is a kind as the API server's paths and rules name it.
type resource struct {
	kind       schema.GroupVersionKind
	plural     string
	namespaced bool
}

// resources are all kinds that the plugin reads or writes. They are known beforehand, so that nothing has to be discovered.
func resources() []resource {
	ours := v1alpha1.GroupVersion()
	return []resource{
		{ours.WithKind("ConnectedAccount"), "connectedaccounts", true},
		{ours.WithKind("OAuthClient"), "oauthclients", true},
		{corev1.SchemeGroupVersion.WithKind("Secret"), "secrets", true},
		{corev1.SchemeGroupVersion.WithKind("ConfigMap"), "configmaps", true},
		{corev1.SchemeGroupVersion.WithKind("Service"), "services", true},
		{corev1.SchemeGroupVersion.WithKind("Namespace"), "namespaces", false},
		{eventsv1.SchemeGroupVersion.WithKind("Event"), "events", true},
		{appsv1.SchemeGroupVersion.WithKind("Deployment"), "deployments", true},
		{coordinationv1.SchemeGroupVersion.WithKind("Lease"), "leases", true},
		{apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"), "customresourcedefinitions", false},
		{admissionv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicy"), "validatingadmissionpolicies", false},
		{admissionv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicyBinding"), "validatingadmissionpolicybindings", false},
		{authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview"), "selfsubjectaccessreviews", false},
		{authenticationv1.SchemeGroupVersion.WithKind("SelfSubjectReview"), "selfsubjectreviews", false},
	}
}

// cluster is the API server, as the user sees it. What it returns is clean.
type cluster struct {
	api       client.WithWatch
	discovery discovery.DiscoveryInterface
	clock     clock.WithTicker
	// tell says to the user what they have to know meanwhile; it is clean.
	tell func(string)
	// longest is how long one request may take.
	longest time.Duration
}

func connect(config *rest.Config, errs io.Writer, at clock.WithTicker) (*cluster, error) {
	config = rest.CopyConfig(config)
	longest := cmp.Or(config.Timeout, requestWait)
	config.Timeout = 0 // which would end a watch, too
	config.UserAgent = userAgent
	config.QPS, config.Burst = 20, 40                             // a watch that the server ends at once is begun anew, but not without a bound
	tell := func(text string) { fmt.Fprintln(errs, clean(text)) } //nolint:errcheck // there is nobody left to tell
	config.WarningHandler = warningTeller{tell}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		v1alpha1.AddToScheme, corev1.AddToScheme, eventsv1.AddToScheme, appsv1.AddToScheme, coordinationv1.AddToScheme,
		apiextensionsv1.AddToScheme, admissionv1.AddToScheme, authorizationv1.AddToScheme, authenticationv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, each := range resources() {
		scope := meta.RESTScopeRoot
		if each.namespaced {
			scope = meta.RESTScopeNamespace
		}
		plural := each.kind.GroupVersion().WithResource(each.plural)
		mapper.AddSpecific(each.kind, plural, plural, scope)
	}
	api, err := client.NewWithWatch(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, err
	}
	found, err := discovery.NewDiscoveryClientForConfig(config)
	return &cluster{api: api, discovery: found, clock: at, tell: tell, longest: longest}, err
}

// warningTeller prints what the API server warns of.
type warningTeller struct{ tell func(string) }

// HandleWarningHeader is part of rest.WarningHandler.
func (w warningTeller) HandleWarningHeader(_ int, _, text string) { w.tell("warning: " + text) }

// bound bounds one request.
func (c *cluster) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.longest)
}

func (c *cluster) get(ctx context.Context, key types.NamespacedName, into client.Object) error {
	bounded, cancel := c.bound(ctx)
	defer cancel()
	err := c.api.Get(bounded, key, into)
	scrub(into)
	return c.explain(ctx, err, "get", into, key)
}

func (c *cluster) list(ctx context.Context, into client.ObjectList, options ...client.ListOption) error {
	asked := (&client.ListOptions{}).ApplyOptions(options)
	bounded, cancel := c.bound(ctx)
	defer cancel()
	err := c.api.List(bounded, into, options...)
	scrub(into)
	return c.explain(ctx, err, "list", into, types.NamespacedName{Namespace: asked.Namespace})
}

func (c *cluster) create(ctx context.Context, object client.Object) error {
	bounded, cancel := c.bound(ctx)
	defer cancel()
	return c.explain(ctx, c.api.Create(bounded, object), "create", object, client.ObjectKeyFromObject(object))
}

// patch changes an object by a merge patch.
func (c *cluster) patch(ctx context.Context, object client.Object, merge []byte) error {
	key := client.ObjectKeyFromObject(object)
	bounded, cancel := c.bound(ctx)
	defer cancel()
	err := c.api.Patch(bounded, object, client.RawPatch(types.MergePatchType, merge), client.FieldOwner(userAgent))
	scrub(object)
	return c.explain(ctx, err, "patch", object, key)
}

// account reads one.
func (c *cluster) account(ctx context.Context, key types.NamespacedName) (*v1alpha1.ConnectedAccount, error) {
	account := &v1alpha1.ConnectedAccount{}
	if err := c.get(ctx, key, account); err != nil {
		if apierrors.IsNotFound(err) && !notInstalled(err) {
			return nil, failf(ExitFailed, "there is no ConnectedAccount %s in the namespace %s", key.Name, key.Namespace)
		}
		return nil, err
	}
	return account, nil
}

// errEnough ends what is followed, well.
var errEnough = errors.New("enough")

// follow shows an account to a function, and again whenever it changes, until the function has seen enough. It waits for an API
// server that does not answer: the account was read a moment ago.
func (c *cluster) follow(ctx context.Context, account *v1alpha1.ConnectedAccount, see func(*v1alpha1.ConnectedAccount) (enough bool)) error {
	key := client.ObjectKeyFromObject(account)
	look := func(changed *v1alpha1.ConnectedAccount) error {
		switch {
		case changed.UID != account.UID:
			return failf(ExitFailed, "the account was deleted and created again meanwhile")
		case see(changed):
			return errEnough
		}
		return nil
	}
	options := []client.ListOption{
		client.InNamespace(key.Namespace), client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", key.Name)},
	}
	patience := patience{cluster: c}
	for {
		now, err := c.account(ctx, key)
		if err == nil {
			err = look(now)
		}
		if err == nil {
			from := &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: now.ResourceVersion}}
			err = c.watch(ctx, append(options, from), func(event watch.EventType, changed *v1alpha1.ConnectedAccount) error {
				if event == watch.Deleted {
					return failf(ExitFailed, "the account was deleted meanwhile")
				}
				return look(changed)
			})
		}
		if errors.Is(err, errEnough) {
			return nil
		}
		if err := patience.rest(ctx, err); err != nil {
			return err
		}
	}
}

// patience is with an API server that does not answer for a while, as when it is started anew.
type patience struct {
	cluster *cluster
	told    bool
	// refused counts what it has refused since: it may answer before it knows its users' rights.
	refused int
}

// rest lets a moment pass, unless there is no use in it.
func (p *patience) rest(ctx context.Context, err error) error {
	const mostRefused = 10
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		p.told, p.refused = false, 0
	case passing(err) && !p.told:
		p.told = true
		p.cluster.tell("the API server does not answer, and is asked again until it does: " + err.Error())
	case passing(err):
	case p.told && p.refused < mostRefused && (apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)):
		p.refused++
	default:
		return err
	}
	return p.cluster.pause(ctx)
}

// passing: an error that is over once the API server runs again, or has less to do.
func passing(err error) bool {
	var known *failure
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &known):
		return false
	case errors.As(err, &status):
		const serverErrors = 500
		return status.Status().Code >= serverErrors || apierrors.IsTooManyRequests(err)
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded)
}

// watch shows changes of accounts to a function until the watch ends, or the function has an error. A watch that cannot be had
// ends at once: whoever follows looks again after a pause.
func (c *cluster) watch(ctx context.Context, options []client.ListOption, see func(watch.EventType, *v1alpha1.ConnectedAccount) error) error {
	changes, err := c.api.Watch(ctx, &v1alpha1.ConnectedAccountList{}, options...)
	if err != nil {
		return ctx.Err()
	}
	defer changes.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event, open := <-changes.ResultChan():
			account, is := event.Object.(*v1alpha1.ConnectedAccount)
			if !open || !is {
				return nil
			}
			scrub(account)
			if err := see(event.Type, account); err != nil {
				return err
			}
		}
	}
}

// pause lets a moment pass.
func (c *cluster) pause(ctx context.Context) error {
	timer := c.clock.NewTimer(pauseInterval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C():
		return nil
	}
}
